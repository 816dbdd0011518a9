//! The ways of answering that a pilot compares: which models, by which rule, in which sequence each is tried.

use std::collections::BTreeSet;

use super::accept::{Step, THRESHOLDS};
use super::manner::Manner;
use crate::cascade::Accept;

/// What of answers tells whether a cheap one can be accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// The field in which a model says how sure it is.
    pub sure: Option<String>,
    /// The fields in which two answers must be the same, or, where none is named, all of them. `None`: no two texts are.
    pub same: Option<Vec<String>>,
}

/// Ways that are judged together, of which one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Family {
    /// One model, alone and in bundles, the smallest ones first.
    Alone(Vec<usize>),
    /// Cheap ones before the strong one, with the strictest rule first.
    Cascade { cheap: Vec<usize>, rules: Vec<Accept> },
    /// The same with all of them in bundles, the smallest first.
    Bundled(Vec<Step>),
}

/// All that can be made of those that took part; the first of them is the strong one. `own`: the rule of the job's
/// cascade, and the places of its cheap models.
pub fn families(
    manners: &[Manner],
    took_part: &[bool],
    signs: &Signs,
    own: Option<(&Accept, Vec<usize>)>,
) -> Vec<Family> {
    let models: Vec<usize> =
        (0..took_part.len()).filter(|place| took_part[*place] && manners[*place].bundle.is_none()).collect();
    let mut all = Vec::new();
    for model in &models {
        // One item is the smallest bundle: whoever is asked in bundles is asked alone in the end, and must be good enough so, too.
        let mut alone = sequence(manners, took_part, *model);
        let sizes = if *model == 0 { alone.split_off(1) } else { Vec::new() };
        all.push(Family::Alone(alone));
        all.extend((!sizes.is_empty()).then_some(Family::Alone(sizes)));
    }
    let cascade = |cheap: Vec<usize>, rules: Vec<Accept>| Family::Cascade { cheap, rules };
    let cheap: Vec<usize> = models.into_iter().filter(|model| *model != 0).collect();
    for model in &cheap {
        all.extend(rules_of_one(signs).map(|rules| cascade(vec![*model], rules)));
    }
    for (at, first) in cheap.iter().enumerate() {
        let seconds = cheap[at + 1..].iter();
        all.extend(seconds.filter_map(|second| Some(cascade(vec![*first, *second], rule_of_two(signs)?))));
    }
    // No judge was asked.
    if let Some((accept, places)) = own.filter(|(accept, _)| !matches!(accept, Accept::Judge { .. })) {
        let rules = own_rules(accept);
        let is_tried = |known: &Family| matches!(known, Family::Cascade { cheap, rules: tried } if *cheap == places && tried.contains(&rules[0]));
        if places.iter().all(|model| cheap.contains(model)) && !all.iter().any(is_tried) {
            all.push(cascade(places, rules));
        }
    }
    all.extend(bundled(manners, took_part, &cheap, signs));
    all
}

/// The manners in which a model was asked, each by itself first and then in ever larger bundles. `model`: its place, alone.
#[must_use]
pub fn sequence(manners: &[Manner], took_part: &[bool], model: usize) -> Vec<usize> {
    let same = |place: &usize| manners[*place].model == manners[model].model;
    let sizes = (0..manners.len()).filter(|place| manners[*place].bundle.is_some()).filter(same);
    // A size that took no part ends the sequence: what lies beyond it is not tried on the strength of smaller ones.
    let sizes = sizes.skip_while(|place| !took_part[*place]).take_while(|place| took_part[*place]);
    std::iter::once(model).chain(sizes).collect()
}

/// Cascades whose models are all asked in bundles of one size, as a job has one size. A sequence goes from the smallest size to the largest at
/// the strictest rule, and from there on to looser ones.
fn bundled(manners: &[Manner], took_part: &[bool], cheap: &[usize], signs: &Signs) -> Vec<Family> {
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
        all.extend(rules_of_one(signs).filter_map(|rules| family(&[*model], &rules)));
        let seconds = cheap[at + 1..].iter();
        all.extend(seconds.filter_map(|second| family(&[*model, *second], &rule_of_two(signs)?)));
    }
    all
}

/// By what an answer of one cheap model may be accepted, each the strictest rule first.
fn rules_of_one(signs: &Signs) -> impl Iterator<Item = Vec<Accept>> {
    let sure = signs.sure.as_ref().map(|field| {
        THRESHOLDS.map(|least_permille| Accept::Confidence { field: field.clone(), least_permille }).into()
    });
    std::iter::once(vec![Accept::Valid]).chain(sure)
}

/// By what that of two may be; `None`: no two texts are the same.
fn rule_of_two(signs: &Signs) -> Option<Vec<Accept>> {
    signs.same.as_ref().map(|fields| vec![Accept::Agreement { fields: fields.clone() }])
}

/// The job's own rule, the strictest first: of log-probabilities other thresholds are tried too.
fn own_rules(accept: &Accept) -> Vec<Accept> {
    let Accept::Sureness { measure, least_permille: own } = *accept else { return vec![accept.clone()] };
    let mut least = THRESHOLDS.to_vec();
    least.extend((!THRESHOLDS.contains(&own)).then_some(own));
    least.sort_unstable_by(|one, other| other.cmp(one));
    least.into_iter().map(|least_permille| Accept::Sureness { measure, least_permille }).collect()
}

/// The plans of a look whose quality is measured, by names. Thresholds of one field count as one, and so do sizes of bundles that are
/// tried in one sequence.
pub fn measured_plans(families: &[Family], names: &[String]) -> BTreeSet<String> {
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

pub(super) fn is_reference(family: &Family) -> bool {
    matches!(family, Family::Alone(ways) if ways[..] == [0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cascade::Measure;

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

    fn same() -> Signs {
        Signs { same: Some(Vec::new()), ..Signs::default() }
    }

    fn sure() -> Signs {
        Signs { sure: Some("confidence".to_owned()), ..same() }
    }

    #[test]
    fn every_way_is_there_once() {
        let of = |took_part: &[bool], signs: &Signs| {
            families(&alone(took_part.len()), took_part, signs, None).iter().map(shown).collect::<Vec<_>>()
        };
        let free = Signs::default();
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
        let with = |accept| families(&alone(2), &[true, true], &sure(), Some((&accept, vec![1]))).len();
        let sure_of = |least_permille| Accept::Confidence { field: "confidence".to_owned(), least_permille };
        assert_eq!((with(Accept::Valid), with(sure_of(800)), with(sure_of(333))), (4, 4, 5));
        assert_eq!(with(Accept::Judge { model: "m".to_owned() }), 4);
        // By log-probabilities all thresholds are tried, and its own among them.
        let probable = |least_permille| Accept::Sureness { measure: Measure::Margin, least_permille };
        let all = families(&alone(2), &[true, true], &sure(), Some((&probable(920), vec![1])));
        let Family::Cascade { rules, .. } = &all[4] else { panic!("{all:?}") };
        assert_eq!((all.len(), rules.len()), (5, THRESHOLDS.len() + 1));
        assert_eq!(rules[2..5], [950, 920, 900].map(probable));
    }

    #[test]
    fn doubt_is_shared_by_all_that_are_measured() {
        let all = families(&alone(3), &[true, true, true], &same(), None);
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
        let all = families(&manners, &took_part, &same(), None);
        assert_eq!(
            all.iter().map(shown).collect::<Vec<_>>(),
            ["[0]", "[1, 2, 3]", "[4, 5]", "[4] valid 0", "[5] valid 1"]
        );
        let names: Vec<String> = manners.iter().map(ToString::to_string).collect();
        let plans = measured_plans(&all, &names);
        let all = ["a > s valid", "a x5 > s x5 valid", "a, a x5 ", "s x5, s x10, s x20 "];
        assert_eq!(plans.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn cascades_of_bundles_have_one_size_for_all_their_models() {
        let of = |model: &str, bundle| Manner { model: model.to_owned(), bundle };
        let all = ["s", "a", "b"]
            .into_iter()
            .flat_map(|model| [None, Some(5), Some(10)].map(|size| of(model, size)));
        let manners: Vec<Manner> = all.collect();
        let bundled = |took_part: [bool; 9], signs: &Signs| {
            let all = families(&manners, &took_part, signs, None);
            all.iter().filter(|one| matches!(one, Family::Bundled(_))).map(shown).collect::<Vec<_>>()
        };
        let free = Signs::default();
        let (a, b) = ("[4] valid 1, [5] valid 2", "[7] valid 1, [8] valid 2");
        assert_eq!(bundled([true; 9], &free), [a, b]);
        let agree = "[4, 7] agree 1, [5, 8] agree 2";
        assert_eq!(bundled([true; 9], &same()), [a, agree, b]);
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
}
