//! Each way of answering in every lane, with what it costs and how long it takes.

use bulkrate_core::lane::Lane;
use bulkrate_core::plan::{Candidate, Manner, Way, asked_again, asked_next, bundles_of, gone_on, times};
use bulkrate_core::price::Quote;
use bulkrate_core::prompt_cache::Wish;

use super::Judged;
use crate::plan::{LanePlan, Plan};

/// Each way in every lane, by the plan that was made of it, or why none could be.
/// A plan of bundles holds what the pilot paid for them. `loose`: rows that they left without an answer of their own, of so many, by the
/// place of who was asked so.
pub(crate) fn candidates(
    manners: &[Manner],
    judged: &[Judged],
    plans: &[Result<Plan, String>],
    loose: &dyn Fn(usize) -> (u64, u64),
) -> Vec<Candidate> {
    let bundles = |way: &Way| bundles_of(manners, way);
    let fears = Fears { manners, judged, plans, loose };
    let each = |(judged, plan): (&Judged, &Result<Plan, String>)| {
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => {
                return Lane::ALL.map(|lane| unplanned(judged, bundles(&judged.way), lane, why)).to_vec();
            }
        };
        let sync = plan.lanes.iter().find(|lane| lane.lane == Lane::Sync && lane.unavailable.is_none());
        let sync_s = sync.and_then(|lane| lane.seconds);
        let one = |lane: &LanePlan| {
            let (time_s, latest_s) = times(&judged.way, lane.lane, lane.seconds, sync_s);
            let (bundle, bundles) = bundles(&judged.way);
            Candidate {
                way: judged.way.clone(),
                lane: lane.lane,
                bundle,
                bundles,
                mark: judged.mark,
                cost: plan.priced.then(|| fears.cost(judged, lane)),
                time_s,
                latest_s,
                quality: judged.quality,
                barred: lane.unavailable.clone(),
            }
        };
        // Of an hour in batches nothing was measured, and at what is assumed of them it never pays.
        let is_known = |lane: &&LanePlan| judged.mark != Some(Wish::Hour) || lane.lane != Lane::Batch;
        plan.lanes.iter().filter(is_known).map(one).collect::<Vec<_>>()
    };
    judged.iter().zip(plans).flat_map(each).collect()
}

/// What may go wrong with bundles, and what is asked again then.
struct Fears<'a> {
    manners: &'a [Manner],
    judged: &'a [Judged],
    plans: &'a [Result<Plan, String>],
    loose: &'a dyn Fn(usize) -> (u64, u64),
}

impl Fears<'_> {
    /// The plan of one asked by itself, under this mark where it has any.
    fn plan_of(&self, place: usize, mark: Option<Wish>) -> Option<&Plan> {
        let mut own =
            (0..self.judged.len()).filter(|at| self.judged[*at].way == Way::alone(place)).peekable();
        let first = *own.peek()?;
        let at = own.find(|at| self.judged[*at].mark == mark).unwrap_or(first);
        self.plans[at].as_ref().ok()
    }

    /// A lane's cost, with what bundles of each of its models leave, which is asked again.
    fn cost(&self, judged: &Judged, lane: &LanePlan) -> Quote {
        let mut total = quote(lane);
        for place in judged.way.models().filter(|place| self.manners[*place].bundle.is_some()) {
            let smaller = |one: usize| self.plan_of(one, judged.mark).is_some();
            let next =
                asked_next(self.manners, place, &smaller).and_then(|next| self.plan_of(next, judged.mark));
            let again = next.and_then(|plan| plan.lanes.iter().find(|one| one.lane == lane.lane)).map(quote);
            let again = again.map(|again| match judged.part_at(place) {
                Some((part, of)) => gone_on(&again, part, of),
                None => again,
            });
            // They fail by bundles, not by rows.
            let bundles = |rows: u64| rows.div_ceil(u64::from(self.manners[place].bundle.unwrap_or(1)));
            let (part, of) = (self.loose)(place);
            if let Some(again) = again {
                total = asked_again(&total, &again, bundles(part), bundles(of));
            }
        }
        total
    }
}

fn quote(lane: &LanePlan) -> Quote {
    Quote { expected: lane.expected, p95: lane.p95, worst: lane.worst, learned: lane.learned }
}

fn unplanned(judged: &Judged, (bundle, bundles): (u32, Vec<u32>), lane: Lane, why: &str) -> Candidate {
    Candidate {
        way: judged.way.clone(),
        lane,
        bundle,
        bundles,
        mark: judged.mark,
        cost: None,
        time_s: 0,
        latest_s: 0,
        quality: judged.quality,
        barred: Some(why.to_owned()),
    }
}
