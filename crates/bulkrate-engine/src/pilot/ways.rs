//! The plans that are compared: which models, by which rule, and what the pilot proves of each.

use std::collections::BTreeSet;

use bulkrate_core::cascade::Accept;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{
    Candidate, Quality, Sheet, THRESHOLDS, Tried, Way, asked_again, best_accept, in_sequence,
};
use bulkrate_core::price::Quote;

use super::{Answers, Manner, Reads};
use crate::plan::{LanePlan, Plan};
use crate::spec::{CascadeSpec, Learned, RouterSpec};

/// Ways that are judged together, of which one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Family {
    /// One model, alone and in bundles, the smallest ones first.
    Alone(Vec<usize>),
    /// Cheap ones before the strong one, with the strictest rule first.
    Cascade { cheap: Vec<usize>, rules: Vec<Accept> },
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
        all.push(cascade(vec![*model], vec![Accept::Valid]));
        if let Some(field) = &reads.sure {
            let rule = |least_permille| Accept::Confidence { field: field.clone(), least_permille };
            all.push(cascade(vec![*model], THRESHOLDS.map(rule).into()));
        }
    }
    for (at, first) in cheap.iter().enumerate().filter(|_| !reads.free) {
        for second in &cheap[at + 1..] {
            all.push(cascade(
                vec![*first, *second],
                vec![Accept::Agreement { fields: reads.fields.clone() }],
            ));
        }
    }
    // No judge was asked.
    if let Some((own, places)) = own.filter(|(own, _)| !matches!(own.accept, Accept::Judge { .. })) {
        let rules = own_rules(&own.accept);
        let is_tried = |known: &Family| matches!(known, Family::Cascade { cheap, rules: tried } if *cheap == places && tried.contains(&rules[0]));
        if places.iter().all(|model| cheap.contains(model)) && !all.iter().any(is_tried) {
            all.push(cascade(places, rules));
        }
    }
    all
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
    pub quality: Quality,
    /// Of a cascade: places of the items that go on, of so many that are asked.
    pub rejected: Option<(Vec<usize>, u64)>,
    /// What the pilot has taught, where the way has a router.
    pub router: Option<Box<RouterSpec>>,
}

impl Judged {
    /// What is known of the models, with what goes on to the strong one and what that used. `strong`: its answers.
    pub(crate) fn learned(&self, known: &Learned, strong: Option<&Answers>) -> Learned {
        let Some((places, reached)) = &self.rejected else { return known.clone() };
        Learned {
            rejected: Some((places.len() as u64, *reached)),
            gone_on: strong.map(|answers| answers.ratios_of(places.iter().copied())),
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
    };
    families.iter().filter(|family| !is_reference(family)).map(one).collect()
}

fn is_reference(family: &Family) -> bool {
    matches!(family, Family::Alone(ways) if ways[..] == [0])
}

/// What the pilot proves of each family, each of which may be wrong as often as `doubt`.
pub(crate) fn prove(families: &[Family], sheet: &Sheet, loss_permille: u32, doubt: f64) -> Vec<Judged> {
    let measured = |found: Option<_>| found.map_or(Quality::Unknown, Quality::Measured);
    let judge = |family: &Family| match family {
        Family::Cascade { cheap, rules } => best_accept(sheet, cheap, rules, loss_permille, doubt)
            .map(|Tried { accept, rejected, reached, loss }| Judged {
                way: Way::cascade(cheap.clone(), accept),
                quality: measured(loss),
                rejected: Some((rejected, reached)),
                router: None,
            })
            .into_iter()
            .collect::<Vec<_>>(),
        Family::Alone(ways) => {
            let one = |(place, loss)| Judged {
                way: Way::alone(place),
                quality: if is_reference(family) { Quality::Reference } else { measured(loss) },
                rejected: None,
                router: None,
            };
            in_sequence(sheet, ways, loss_permille, doubt).into_iter().map(one).collect()
        }
    };
    families.iter().flat_map(judge).collect()
}

/// Each way in every lane, by the plan that was made of it, or why none could be. Whoever is in a cascade waits twice.
/// A plan of bundles holds what the pilot paid for them. `loose`: rows that they left without an answer of their own, of so many, by the
/// place of who was asked so.
pub(crate) fn candidates(
    manners: &[Manner],
    judged: &[Judged],
    plans: &[Result<Plan, String>],
    loose: &dyn Fn(usize) -> (u64, u64),
) -> Vec<Candidate> {
    let bundle = |judged: &Judged| manners[judged.way.last].bundle.unwrap_or(1);
    let plan_of = |place: usize| {
        let at = judged.iter().position(|one| one.way == Way::alone(place))?;
        plans[at].as_ref().ok()
    };
    let again = |place: usize| plan_of(asked_next(manners, place, &|smaller| plan_of(smaller).is_some())?);
    let each = |(judged, plan): (&Judged, &Result<Plan, String>)| {
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => return Lane::ALL.map(|lane| unplanned(judged, bundle(judged), lane, why)).to_vec(),
        };
        let sync = plan.lanes.iter().find(|lane| lane.lane == Lane::Sync && lane.unavailable.is_none());
        let rescue_s = sync.and_then(|lane| lane.seconds).map_or(0, |seconds| seconds + seconds / 10);
        let steps = judged.way.cascade.as_ref().map_or(1, |(cheap, _)| cheap.len() as u64 + 1);
        let one = |lane: &LanePlan| {
            let time_s = lane.seconds.unwrap_or(0).saturating_mul(steps);
            Candidate {
                way: judged.way.clone(),
                lane: lane.lane,
                bundle: bundle(judged),
                cost: plan.priced.then(|| {
                    let last = judged.way.last;
                    let again =
                        again(last).and_then(|plan| plan.lanes.iter().find(|one| one.lane == lane.lane));
                    // They fail by bundles, not by rows.
                    let (part, of) = loose(last);
                    let bundles = |rows: u64| rows.div_ceil(u64::from(bundle(judged)));
                    let (part, of) = (bundles(part), bundles(of));
                    again.map_or_else(
                        || quote(lane),
                        |again| asked_again(&quote(lane), &quote(again), part, of),
                    )
                }),
                time_s,
                // A batch that does not end in time is cancelled, and the rest is called one by one.
                latest_s: time_s + if lane.lane == Lane::Batch { rescue_s } else { 0 },
                quality: judged.quality,
                barred: lane.unavailable.clone(),
            }
        };
        plan.lanes.iter().map(one).collect::<Vec<_>>()
    };
    judged.iter().zip(plans).flat_map(each).collect()
}

/// Who is asked what a bundle leaves, which goes in halves: the same model in the largest of the smaller sizes of which there is a plan, or
/// an item at a time.
fn asked_next(manners: &[Manner], place: usize, has_plan: &dyn Fn(usize) -> bool) -> Option<usize> {
    let half = manners[place].bundle? / 2;
    let is_smaller = |one: &Manner| one.model == manners[place].model && one.bundle.unwrap_or(1) <= half;
    let smaller = (0..manners.len()).filter(|one| is_smaller(&manners[*one]) && has_plan(*one));
    smaller.max_by_key(|one| manners[*one].bundle)
}

fn quote(lane: &LanePlan) -> Quote {
    Quote { expected: lane.expected, p95: lane.p95, worst: lane.worst, learned: lane.learned }
}

fn unplanned(judged: &Judged, bundle: u32, lane: Lane, why: &str) -> Candidate {
    Candidate {
        way: judged.way.clone(),
        lane,
        bundle,
        cost: None,
        time_s: 0,
        latest_s: 0,
        quality: judged.quality,
        barred: Some(why.to_owned()),
    }
}

/// What a budget leaves for the job after its pilots.
pub(crate) fn left_of(budget: Option<UsdNanos>, spent: UsdNanos) -> Option<UsdNanos> {
    budget.map(|budget| UsdNanos((budget.0 - spent.0).max(0)))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(all.iter().map(shown).collect::<Vec<_>>(), ["[0]", "[1, 2, 3]", "[4, 5]", "[4] valid 0"]);
        let names: Vec<String> = manners.iter().map(ToString::to_string).collect();
        let plans = measured_plans(&all, &names);
        assert_eq!(plans.into_iter().collect::<Vec<_>>(), ["a > s valid", "a, a x5 ", "s x5, s x10, s x20 "]);

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
    fn what_a_bundle_leaves_goes_in_halves() {
        let of = |model: &str, bundle| Manner { model: model.to_owned(), bundle };
        let manners = [
            of("a", None),
            of("b", None),
            of("b", Some(2)),
            of("b", Some(5)),
            of("b", Some(10)),
            of("b", Some(20)),
        ];
        for (place, missing, want) in [
            (1, None, None),
            (2, None, Some(1)),
            (3, None, Some(2)),
            (4, None, Some(3)),
            (5, None, Some(4)),
            (5, Some(4), Some(3)),
            (2, Some(1), None),
        ] {
            let found = asked_next(&manners, place, &|one| Some(one) != missing);
            assert_eq!(found, want, "{place} without {missing:?}");
        }
    }

    #[test]
    fn a_budget_is_never_less_than_nothing() {
        let usd = UsdNanos::dollars;
        for (budget, spent, left) in [(Some(5), 2, Some(3)), (Some(1), 2, Some(0)), (None, 2, None)] {
            assert_eq!(left_of(budget.map(usd), usd(spent)), left.map(usd));
        }
    }
}
