//! What a pilot proves of each family of ways.

use super::accept::{Tried, best_accept, cascades};
use super::candidate::{Quality, Way};
use super::families::{Family, is_reference};
use super::proof::in_sequence;
use super::sheet::Sheet;

/// A family's way, with what goes on to the strong model and what is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    pub way: Way,
    pub quality: Quality,
    /// Of a cascade: places of the items that go on, of so many that are asked.
    pub rejected: Option<(Vec<usize>, u64)>,
}

/// What the pilot proves of each family, each of which may be wrong as often as `doubt`.
pub fn prove(families: &[Family], sheet: &Sheet, loss_permille: u32, doubt: f64) -> Vec<Tested> {
    let measured = |found: Option<_>| found.map_or(Quality::Unknown, Quality::Measured);
    let cascade = |Tried { step, rejected, reached, loss }| Tested {
        way: Way { last: step.last, ..Way::cascade(step.cheap, step.accept) },
        quality: measured(loss),
        rejected: Some((rejected, reached)),
    };
    let judge = |family: &Family| match family {
        Family::Cascade { cheap, rules } => best_accept(sheet, cheap, rules, loss_permille, doubt)
            .into_iter()
            .map(cascade)
            .collect::<Vec<_>>(),
        Family::Bundled(steps) => {
            // Of one size the loosest rule that is proved, as it sends least to the strong model.
            let mut kept = cascades(sheet, steps, loss_permille, doubt);
            kept.reverse();
            kept.dedup_by_key(|tried| tried.step.last);
            kept.into_iter().rev().map(cascade).collect()
        }
        Family::Alone(ways) => {
            let one = |(place, loss)| Tested {
                way: Way::alone(place),
                quality: if is_reference(family) { Quality::Reference } else { measured(loss) },
                rejected: None,
            };
            in_sequence(sheet, ways, loss_permille, doubt).into_iter().map(one).collect()
        }
    };
    families.iter().flat_map(judge).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cascade::{Accept, Opinion};
    use crate::plan::{Said, Step};

    /// Of 400 items 3 are lost in fives, 3 in tens and 40 in twenties: fives and tens are proved.
    #[test]
    fn the_first_size_that_is_not_proved_ends_the_sequence() {
        let said = |lost: usize| -> Vec<Said> {
            (0..400)
                .map(|item| Said {
                    usable: true,
                    opinion: Some(Opinion([u8::from(item < lost); 16])),
                    ..Said::default()
                })
                .collect()
        };
        let sheet = |lost: [usize; 4]| Sheet {
            models: lost.map(said).into(),
            labelled: false,
            reached: vec![true; 400],
        };
        for (lost, proved) in [
            ([0, 3, 3, 40], &[1, 2][..]),
            ([0, 40, 3, 3], &[1]),
            ([0, 0, 0, 0], &[1, 2, 3]),
            ([0, 3, 40, 0], &[1]),
        ] {
            let judged = prove(&[Family::Alone(vec![1, 2, 3])], &sheet(lost), 30, 0.05);
            let ways: Vec<usize> = judged.iter().map(|one| one.way.last).collect();
            assert_eq!(ways, proved, "{lost:?}");
        }
    }

    #[test]
    fn of_each_size_a_cascade_is_there_by_the_loosest_rule_that_is_proved() {
        // The strong model says 0 alone and in bundles; the cheap one in fives, and in tens, is ever less sure, and errs where it is below 0.8.
        let said = |item: u16| Said {
            usable: true,
            opinion: Some(Opinion([u8::from(item < 200); 16])),
            sure_permille: Some(600 + u32::from(item)),
            ..Said::default()
        };
        let strong = vec![Said { usable: true, opinion: Some(Opinion([0; 16])), ..Said::default() }; 400];
        let cheap: Vec<Said> = (0..400).map(said).collect();
        let models = vec![strong.clone(), cheap.clone(), strong.clone(), cheap.clone(), strong, cheap];
        let sheet = Sheet { models, labelled: false, reached: vec![true; 400] };
        let sure = |least_permille| Accept::Confidence { field: "sure".to_owned(), least_permille };
        let step = |last: usize, least| Step { cheap: vec![last + 1], accept: sure(least), last };
        let steps = [(2, 990), (4, 990), (4, 900), (4, 800), (4, 600)].map(|(last, least)| step(last, least));
        let judged = prove(&[Family::Bundled(steps.into())], &sheet, 20, 0.05);
        let found: Vec<(usize, String)> =
            judged.iter().map(|one| (one.way.last, one.way.cascade.clone().unwrap().1.to_string())).collect();
        assert_eq!(found, [(2, "sure>=0.99".to_owned()), (4, "sure>=0.8".to_owned())]);
        assert_eq!(judged[1].rejected.as_ref().map(|(places, of)| (places.len(), *of)), Some((200, 400)));
    }
}
