//! The plans that are compared: which models, by which rule, and what the pilot proves of each.

use std::collections::BTreeSet;

use bulkrate_core::cascade::Accept;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Candidate, Quality, Sheet, THRESHOLDS, Tried, Way, best_accept, loss};
use bulkrate_core::price::Quote;

use super::{Answers, Reads};
use crate::plan::{LanePlan, Plan};
use crate::spec::{CascadeSpec, Learned};

/// Ways that are judged together: one model, or cheap ones with rules of which one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    pub cheap: Vec<usize>,
    /// The strictest first; none: a model alone.
    pub rules: Vec<Accept>,
    pub last: usize,
}

/// All that can be made of the models that took part; the first of them is the strong one. `own`: the job's cascade, by places of
/// models.
pub(crate) fn families(
    took_part: &[bool],
    reads: &Reads,
    own: Option<(&CascadeSpec, Vec<usize>)>,
) -> Vec<Family> {
    let models: Vec<usize> = (0..took_part.len()).filter(|model| took_part[*model]).collect();
    let mut all: Vec<Family> =
        models.iter().map(|model| Family { cheap: Vec::new(), rules: Vec::new(), last: *model }).collect();
    let cascade = |cheap: Vec<usize>, rules: Vec<Accept>| Family { cheap, rules, last: 0 };
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
        let own = cascade(places, own_rules(&own.accept));
        let whole = own.cheap.iter().all(|model| cheap.contains(model));
        if whole && !all.iter().any(|known| known.cheap == own.cheap && known.rules.contains(&own.rules[0])) {
            all.push(own);
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

/// The plans of a look whose quality is measured, by names. Thresholds of one field count as one.
pub(crate) fn measured_plans(families: &[Family], names: &[String]) -> BTreeSet<String> {
    let name = |place: &usize| names.get(*place).map_or("", String::as_str);
    let one = |family: &Family| {
        let models: Vec<&str> = family.cheap.iter().chain([&family.last]).map(name).collect();
        let rule = family.rules.first().map(ToString::to_string).unwrap_or_default();
        format!("{} {rule}", models.join(" > "))
    };
    families.iter().filter(|family| !is_reference(family)).map(one).collect()
}

fn is_reference(family: &Family) -> bool {
    family.cheap.is_empty() && family.last == 0
}

/// What the pilot proves of each family, each of which may be wrong as often as `doubt`.
pub(crate) fn prove(families: &[Family], sheet: &Sheet, loss_permille: u32, doubt: f64) -> Vec<Judged> {
    let measured = |found: Option<_>| found.map_or(Quality::Unknown, Quality::Measured);
    let judge = |family: &Family| match best_accept(sheet, &family.cheap, &family.rules, loss_permille, doubt)
    {
        Some(Tried { accept, rejected, reached, loss }) => Judged {
            way: Way { cascade: Some((family.cheap.clone(), accept)), last: family.last },
            quality: measured(loss),
            rejected: Some((rejected, reached)),
        },
        None => Judged {
            way: Way::alone(family.last),
            quality: if is_reference(family) {
                Quality::Reference
            } else {
                measured(loss(sheet, |item| sheet.said(family.last, item), doubt))
            },
            rejected: None,
        },
    };
    families.iter().map(judge).collect()
}

/// Each way in every lane, by the plan that was made of it, or why none could be. Whoever is in a cascade waits twice.
pub(crate) fn candidates(judged: &[Judged], plans: &[Result<Plan, String>]) -> Vec<Candidate> {
    let each = |(judged, plan): (&Judged, &Result<Plan, String>)| {
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => return Lane::ALL.map(|lane| unplanned(judged, lane, why)).to_vec(),
        };
        let sync = plan.lanes.iter().find(|lane| lane.lane == Lane::Sync && lane.unavailable.is_none());
        let rescue_s = sync.and_then(|lane| lane.seconds).map_or(0, |seconds| seconds + seconds / 10);
        let steps = judged.way.cascade.as_ref().map_or(1, |(cheap, _)| cheap.len() as u64 + 1);
        let one = |lane: &LanePlan| {
            let time_s = lane.seconds.unwrap_or(0).saturating_mul(steps);
            Candidate {
                way: judged.way.clone(),
                lane: lane.lane,
                bundle: 1,
                cost: plan.priced.then_some(Quote {
                    expected: lane.expected,
                    p95: lane.p95,
                    worst: lane.worst,
                    learned: lane.learned,
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

fn unplanned(judged: &Judged, lane: Lane, why: &str) -> Candidate {
    Candidate {
        way: judged.way.clone(),
        lane,
        bundle: 1,
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
    use bulkrate_core::cascade::Measure;

    fn sure() -> Reads {
        Reads { sure: Some("confidence".to_owned()), ..Reads::default() }
    }

    #[test]
    fn every_way_is_there_once() {
        let shown = |families: Vec<Family>| {
            let rule = |family: &Family| family.rules.first().map(ToString::to_string).unwrap_or_default();
            families
                .iter()
                .map(|family| format!("{:?} {} {}", family.cheap, rule(family), family.last))
                .collect::<Vec<_>>()
        };
        let free = Reads { free: true, ..Reads::default() };
        assert_eq!(shown(families(&[true], &sure(), None)), ["[]  0"]);
        assert_eq!(shown(families(&[true, true], &free, None)), ["[]  0", "[]  1", "[1] valid 0"]);
        let all = families(&[true, true, false, true], &sure(), None);
        assert_eq!(
            shown(all),
            [
                "[]  0",
                "[]  1",
                "[]  3",
                "[1] valid 0",
                "[1] confidence>=0.99 0",
                "[3] valid 0",
                "[3] confidence>=0.99 0",
                "[1, 3] agree 0",
            ]
        );
        // The job's own rule is one of those that are tried, or is one more.
        let own = |accept| CascadeSpec { models: vec!["m".to_owned()], accept };
        let with = |accept| families(&[true, true], &sure(), Some((&own(accept), vec![1]))).len();
        let sure_of = |least_permille| Accept::Confidence { field: "confidence".to_owned(), least_permille };
        assert_eq!((with(Accept::Valid), with(sure_of(800)), with(sure_of(333))), (4, 4, 5));
        assert_eq!(with(Accept::Judge { model: "m".to_owned() }), 4);
        // By log-probabilities all thresholds are tried, and its own among them.
        let probable = |least_permille| Accept::Sureness { measure: Measure::Margin, least_permille };
        let all = families(&[true, true], &sure(), Some((&own(probable(920)), vec![1])));
        let rules = &all[4].rules;
        assert_eq!((all.len(), rules.len()), (5, THRESHOLDS.len() + 1));
        assert_eq!(rules[2..5], [950, 920, 900].map(probable));
    }

    #[test]
    fn doubt_is_shared_by_all_that_are_measured() {
        let all = families(&[true, true, true], &Reads::default(), None);
        let names = ["s", "a", "b"].map(str::to_owned);
        let plans = measured_plans(&all, &names);
        assert_eq!(
            plans.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a ", "a > b > s agree", "a > s valid", "b ", "b > s valid"]
        );
        assert!(measured_plans(&all[..1], &names).is_empty());
    }

    #[test]
    fn a_budget_is_never_less_than_nothing() {
        let usd = UsdNanos::dollars;
        for (budget, spent, left) in [(Some(5), 2, Some(3)), (Some(1), 2, Some(0)), (None, 2, None)] {
            assert_eq!(left_of(budget.map(usd), usd(spent)), left.map(usd));
        }
    }
}
