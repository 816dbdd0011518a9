//! The plans that are compared: which models, by which rule, and what the pilot proves of each.

use std::collections::BTreeSet;

use bulkrate_core::cascade::Accept;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Quality, Sheet, Step, THRESHOLDS, Tried, Way, best_accept, cascades, in_sequence};
use bulkrate_core::prompt_cache::Wish;

use super::{Answers, Manner, Reads};
use crate::spec::{CascadeSpec, Learned, RouterSpec};

/// Ways that are judged together, of which one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Family {
    /// One model, alone and in bundles, the smallest ones first.
    Alone(Vec<usize>),
    /// Cheap ones before the strong one, with the strictest rule first.
    Cascade { cheap: Vec<usize>, rules: Vec<Accept> },
    /// The same with all of them in bundles, the smallest first.
    Bundled(Vec<Step>),
}

/// All that can be made of those that took part; the first of them is the strong one. `own`: the job's cascade, by places.
pub(crate) fn families(
    manners: &[Manner],
    took_part: &[bool],
    reads: &Reads,
    own: Option<(&CascadeSpec, Vec<usize>)>,
) -> Vec<Family> {
    let models: Vec<usize> =
        (0..took_part.len()).filter(|place| took_part[*place] && manners[*place].bundle.is_none()).collect();
    let mut all = Vec::new();
    for model in &models {
        let same = |place: &usize| manners[*place].model == manners[*model].model;
        let sizes = (0..manners.len()).filter(|place| manners[*place].bundle.is_some()).filter(same);
        // A size that took no part ends the sequence: what lies beyond it is not tried on the strength of smaller ones.
        let sizes = sizes.skip_while(|place| !took_part[*place]).take_while(|place| took_part[*place]);
        let sizes: Vec<usize> = sizes.collect();
        // One item is the smallest bundle: whoever is asked in bundles is asked alone in the end, and must be good enough so, too.
        match *model {
            0 => {
                all.push(Family::Alone(vec![0]));
                all.extend((!sizes.is_empty()).then_some(Family::Alone(sizes)));
            }
            model => all.push(Family::Alone([vec![model], sizes].concat())),
        }
    }
    let cascade = |cheap: Vec<usize>, rules: Vec<Accept>| Family::Cascade { cheap, rules };
    let cheap: Vec<usize> = models.into_iter().filter(|model| *model != 0).collect();
    for model in &cheap {
        all.extend(rules_of_one(reads).map(|rules| cascade(vec![*model], rules)));
    }
    for (at, first) in cheap.iter().enumerate() {
        let seconds = cheap[at + 1..].iter();
        all.extend(seconds.filter_map(|second| Some(cascade(vec![*first, *second], rule_of_two(reads)?))));
    }
    // No judge was asked.
    if let Some((own, places)) = own.filter(|(own, _)| !matches!(own.accept, Accept::Judge { .. })) {
        let rules = own_rules(&own.accept);
        let is_tried = |known: &Family| matches!(known, Family::Cascade { cheap, rules: tried } if *cheap == places && tried.contains(&rules[0]));
        if places.iter().all(|model| cheap.contains(model)) && !all.iter().any(is_tried) {
            all.push(cascade(places, rules));
        }
    }
    all.extend(bundled(manners, took_part, &cheap, reads));
    all
}

/// Cascades whose models are all asked in bundles of one size, as a job has one size. A sequence goes from the smallest size to the largest at
/// the strictest rule, and from there on to looser ones.
fn bundled(manners: &[Manner], took_part: &[bool], cheap: &[usize], reads: &Reads) -> Vec<Family> {
    let place = |model: usize, size: u32| {
        let same = |one: &Manner| one.model == manners[model].model && one.bundle == Some(size);
        manners.iter().position(same).filter(|place| took_part[*place])
    };
    let mut sizes: Vec<u32> = manners.iter().filter_map(|one| one.bundle).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let family = |models: &[usize], rules: &[Accept]| {
        let step = |size: u32, accept: &Accept| {
            let cheap: Option<Vec<usize>> = models.iter().map(|model| place(*model, size)).collect();
            Some(Step { cheap: cheap?, accept: accept.clone(), last: place(0, size)? })
        };
        let (strictest, looser) = rules.split_first()?;
        // A size that took no part ends the sequence.
        let mut steps: Vec<Step> = sizes.iter().map_while(|size| step(*size, strictest)).collect();
        let largest = steps.last()?.clone();
        steps.extend(looser.iter().map(|accept| Step { accept: accept.clone(), ..largest.clone() }));
        Some(Family::Bundled(steps))
    };
    let mut all = Vec::new();
    for (at, model) in cheap.iter().enumerate() {
        all.extend(rules_of_one(reads).filter_map(|rules| family(&[*model], &rules)));
        let seconds = cheap[at + 1..].iter();
        all.extend(seconds.filter_map(|second| family(&[*model, *second], &rule_of_two(reads)?)));
    }
    all
}

/// By what an answer of one cheap model may be accepted, each the strictest rule first.
fn rules_of_one(reads: &Reads) -> impl Iterator<Item = Vec<Accept>> {
    let sure = reads.sure.as_ref().map(|field| {
        THRESHOLDS.map(|least_permille| Accept::Confidence { field: field.clone(), least_permille }).into()
    });
    std::iter::once(vec![Accept::Valid]).chain(sure)
}

/// By what that of two may be; `None`: no two texts are the same.
fn rule_of_two(reads: &Reads) -> Option<Vec<Accept>> {
    (!reads.free).then(|| vec![Accept::Agreement { fields: reads.fields.clone() }])
}

/// The job's own rule, the strictest first: of log-probabilities other thresholds are tried too.
fn own_rules(accept: &Accept) -> Vec<Accept> {
    let Accept::Sureness { measure, least_permille: own } = *accept else { return vec![accept.clone()] };
    let mut least = THRESHOLDS.to_vec();
    least.extend((!THRESHOLDS.contains(&own)).then_some(own));
    least.sort_unstable_by(|one, other| other.cmp(one));
    least.into_iter().map(|least_permille| Accept::Sureness { measure, least_permille }).collect()
}

/// A family's way, with what goes on to the strong model and what is lost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub way: Way,
    /// How its prompts are marked for a prompt cache, where that is compared.
    pub mark: Option<Wish>,
    pub quality: Quality,
    /// Of a cascade: places of the items that go on, of so many that are asked.
    pub rejected: Option<(Vec<usize>, u64)>,
    /// What the pilot has taught, where the way has a router.
    pub router: Option<Box<RouterSpec>>,
}

impl Judged {
    /// What is known of the models, with what goes on to the last one and what that used. `last`: its answers.
    pub(crate) fn learned(&self, known: &Learned, last: Option<&Answers>) -> Learned {
        let Some((places, reached)) = &self.rejected else { return known.clone() };
        Learned {
            rejected: Some((places.len() as u64, *reached)),
            gone_on: last.map(|answers| answers.ratios_of(places.iter().copied())),
            ..known.clone()
        }
    }
}

/// The plans of a look whose quality is measured, by names. Thresholds of one field count as one, and so do sizes of bundles that are
/// tried in one sequence.
pub(crate) fn measured_plans(families: &[Family], names: &[String]) -> BTreeSet<String> {
    let name = |place: &usize| names.get(*place).map_or("", String::as_str);
    let one = |family: &Family| match family {
        Family::Alone(ways) => format!("{} ", ways.iter().map(name).collect::<Vec<_>>().join(", ")),
        Family::Cascade { cheap, rules } => {
            let models: Vec<&str> = cheap.iter().chain([&0]).map(name).collect();
            let rule = rules.first().map(ToString::to_string).unwrap_or_default();
            format!("{} {rule}", models.join(" > "))
        }
        Family::Bundled(steps) => {
            let one = |step: &Step| {
                let models: Vec<&str> = step.cheap.iter().chain([&step.last]).map(name).collect();
                format!("{} {}", models.join(" > "), step.accept)
            };
            steps.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    };
    families.iter().filter(|family| !is_reference(family)).map(one).collect()
}

fn is_reference(family: &Family) -> bool {
    matches!(family, Family::Alone(ways) if ways[..] == [0])
}

/// What the pilot proves of each family, each of which may be wrong as often as `doubt`.
pub(crate) fn prove(families: &[Family], sheet: &Sheet, loss_permille: u32, doubt: f64) -> Vec<Judged> {
    let measured = |found: Option<_>| found.map_or(Quality::Unknown, Quality::Measured);
    let cascade = |Tried { step, rejected, reached, loss }| Judged {
        way: Way { last: step.last, ..Way::cascade(step.cheap, step.accept) },
        mark: None,
        quality: measured(loss),
        rejected: Some((rejected, reached)),
        router: None,
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
            let one = |(place, loss)| Judged {
                way: Way::alone(place),
                mark: None,
                quality: if is_reference(family) { Quality::Reference } else { measured(loss) },
                rejected: None,
                router: None,
            };
            in_sequence(sheet, ways, loss_permille, doubt).into_iter().map(one).collect()
        }
    };
    families.iter().flat_map(judge).collect()
}

/// Each way as often as there are marks for the prompt cache to compare: the same answers at another price, so that no look is spent on it.
pub(crate) fn by_mark(judged: Vec<Judged>, marks: &dyn Fn(&Judged) -> &'static [Wish]) -> Vec<Judged> {
    let each = |one: Judged| match marks(&one) {
        [] => vec![one],
        marks => marks.iter().map(|mark| Judged { mark: Some(*mark), ..one.clone() }).collect(),
    };
    judged.into_iter().flat_map(each).collect()
}

/// What a budget leaves for the job after its pilots.
pub(crate) fn left_of(budget: Option<UsdNanos>, spent: UsdNanos) -> Option<UsdNanos> {
    budget.map(|budget| UsdNanos((budget.0 - spent.0).max(0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::cascade::{Measure, Opinion};
    use bulkrate_core::plan::Said;

    /// Models of these names, each by itself.
    fn alone(models: usize) -> Vec<Manner> {
        (0..models).map(|model| Manner { model: format!("m{model}"), bundle: None }).collect()
    }

    fn shown(family: &Family) -> String {
        match family {
            Family::Alone(ways) => format!("{ways:?}"),
            Family::Cascade { cheap, rules } => format!("{cheap:?} {} 0", rules[0]),
            Family::Bundled(steps) => {
                let one = |step: &Step| format!("{:?} {} {}", step.cheap, step.accept, step.last);
                steps.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn sure() -> Reads {
        Reads { sure: Some("confidence".to_owned()), ..Reads::default() }
    }

    #[test]
    fn every_way_is_there_once() {
        let of = |took_part: &[bool], reads: &Reads| {
            families(&alone(took_part.len()), took_part, reads, None).iter().map(shown).collect::<Vec<_>>()
        };
        let free = Reads { free: true, ..Reads::default() };
        assert_eq!(of(&[true], &sure()), ["[0]"]);
        assert_eq!(of(&[true, true], &free), ["[0]", "[1]", "[1] valid 0"]);
        assert_eq!(
            of(&[true, true, false, true], &sure()),
            [
                "[0]",
                "[1]",
                "[3]",
                "[1] valid 0",
                "[1] confidence>=0.99 0",
                "[3] valid 0",
                "[3] confidence>=0.99 0",
                "[1, 3] agree 0",
            ]
        );
        // The job's own rule is one of those that are tried, or is one more.
        let own = |accept| CascadeSpec { models: vec!["m".to_owned()], accept };
        let with = |accept| families(&alone(2), &[true, true], &sure(), Some((&own(accept), vec![1]))).len();
        let sure_of = |least_permille| Accept::Confidence { field: "confidence".to_owned(), least_permille };
        assert_eq!((with(Accept::Valid), with(sure_of(800)), with(sure_of(333))), (4, 4, 5));
        assert_eq!(with(Accept::Judge { model: "m".to_owned() }), 4);
        // By log-probabilities all thresholds are tried, and its own among them.
        let probable = |least_permille| Accept::Sureness { measure: Measure::Margin, least_permille };
        let all = families(&alone(2), &[true, true], &sure(), Some((&own(probable(920)), vec![1])));
        let Family::Cascade { rules, .. } = &all[4] else { panic!("{all:?}") };
        assert_eq!((all.len(), rules.len()), (5, THRESHOLDS.len() + 1));
        assert_eq!(rules[2..5], [950, 920, 900].map(probable));
    }

    #[test]
    fn doubt_is_shared_by_all_that_are_measured() {
        let all = families(&alone(3), &[true, true, true], &Reads::default(), None);
        let names = ["s", "a", "b"].map(str::to_owned);
        let plans = measured_plans(&all, &names);
        assert_eq!(
            plans.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a ", "a > b > s agree", "a > s valid", "b ", "b > s valid"]
        );
        assert!(measured_plans(&all[..1], &names).is_empty());
    }

    #[test]
    fn the_sizes_of_a_models_bundles_are_one_look_from_the_smallest_on() {
        let sizes = [None, Some(5), Some(10), Some(20)];
        let manners: Vec<Manner> = ["s", "a"]
            .into_iter()
            .flat_map(|model| sizes.map(|bundle| Manner { model: model.to_owned(), bundle }))
            .collect();
        let took_part = [true, true, true, true, true, true, false, true];
        let all = families(&manners, &took_part, &Reads::default(), None);
        assert_eq!(
            all.iter().map(shown).collect::<Vec<_>>(),
            ["[0]", "[1, 2, 3]", "[4, 5]", "[4] valid 0", "[5] valid 1"]
        );
        let names: Vec<String> = manners.iter().map(ToString::to_string).collect();
        let plans = measured_plans(&all, &names);
        let all = ["a > s valid", "a x5 > s x5 valid", "a, a x5 ", "s x5, s x10, s x20 "];
        assert_eq!(plans.into_iter().collect::<Vec<_>>(), all);

        // Of 400 items 3 are lost in fives, 3 in tens and 40 in twenties: fives and tens are proved.
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
    fn cascades_of_bundles_have_one_size_for_all_their_models() {
        let of = |model: &str, bundle| Manner { model: model.to_owned(), bundle };
        let all = ["s", "a", "b"]
            .into_iter()
            .flat_map(|model| [None, Some(5), Some(10)].map(|size| of(model, size)));
        let manners: Vec<Manner> = all.collect();
        let bundled = |took_part: [bool; 9], reads: &Reads| {
            let all = families(&manners, &took_part, reads, None);
            all.iter().filter(|one| matches!(one, Family::Bundled(_))).map(shown).collect::<Vec<_>>()
        };
        let free = Reads { free: true, ..Reads::default() };
        let (a, b) = ("[4] valid 1, [5] valid 2", "[7] valid 1, [8] valid 2");
        assert_eq!(bundled([true; 9], &free), [a, b]);
        let agree = "[4, 7] agree 1, [5, 8] agree 2";
        assert_eq!(bundled([true; 9], &Reads::default()), [a, agree, b]);
        // Nobody was asked in fives: tens are not tried on the strength of nothing. The strong model was asked in none: nor is anybody.
        let without = |place: usize| std::array::from_fn(|at| at != place);
        assert_eq!(bundled(without(4), &free), [b]);
        assert_eq!(bundled(without(5), &free), ["[4] valid 1", b]);
        assert!(bundled(without(1), &free).is_empty());
        // Sizes at the strictest rule, then looser ones at the largest.
        let sure = bundled(without(7), &sure());
        assert!(
            sure[1].starts_with("[4] confidence>=0.99 1, [5] confidence>=0.99 2, [5] confidence>=0.98 2"),
            "{sure:?}"
        );
        assert!(sure[1].ends_with("[5] confidence>=0.5 2"), "{}", sure[1]);
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

    #[test]
    fn each_way_is_there_under_each_mark() {
        const BOTH: &[Wish] = &[Wish::Auto, Wish::Off];
        let judged = |place| Judged {
            way: Way::alone(place),
            mark: None,
            quality: Quality::Unknown,
            rejected: None,
            router: None,
        };
        let marks = |one: &Judged| if one.way.last == 1 { BOTH } else { &[] };
        let all = by_mark(vec![judged(0), judged(1)], &marks);
        let found: Vec<(usize, Option<Wish>)> = all.iter().map(|one| (one.way.last, one.mark)).collect();
        assert_eq!(found, [(0, None), (1, Some(Wish::Auto)), (1, Some(Wish::Off))]);
    }

    #[test]
    fn a_budget_is_never_less_than_nothing() {
        let usd = UsdNanos::dollars;
        for (budget, spent, left) in [(Some(5), 2, Some(3)), (Some(1), 2, Some(0)), (None, 2, None)] {
            assert_eq!(left_of(budget.map(usd), usd(spent)), left.map(usd));
        }
    }
}
