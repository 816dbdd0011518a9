//! Every lane side by side, with its price and time, and the one that is chosen.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::{LaneChoice, LanePrices, Priority, choose_lane};

use super::quotes::quote;
use super::{Facts, batchable, untaken};
use crate::EngineError;
use crate::cascade_plan::cascaded;
use crate::exact::ModelCount;
use crate::plan::LanePlan;
use crate::prepare::Stats;
use crate::spec::RunSpec;

/// Typical time of a batch, for the plan, while too few have run here; the provider promises 24 hours and most end within one.
const BATCH_SECONDS: u64 = 3_600;
const SECOND_US: u64 = 1_000_000;
/// A call's latency and places, assumed for the plan while nothing is known.
const CALL_SECONDS: u32 = 2;

/// Every lane with its price and time.
pub(super) fn lanes(
    facts: &Facts<'_>,
    stats: &Stats,
    counts: Option<&[ModelCount]>,
    requests: u64,
    leaders: u64,
) -> Result<Vec<LanePlan>, EngineError> {
    let run = &facts.spec.run;
    let models = &stats.models;
    let share = |amount: UsdNanos| amount.share_up(requests, leaders);
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        let quote = cascaded(facts, stats, lane, quote(facts, stats, counts, lane, &|model| model)?)?;
        let unavailable = facts
            .deployments
            .iter()
            .enumerate()
            .filter(|(place, found)| {
                facts.cheap.contains(place) || models.iter().any(|model| model.model == found.pinned)
            })
            .find_map(|(_, found)| found.unavailable(lane));
        let unavailable = unavailable.or_else(|| match lane {
            Lane::Batch => batchable::refused(facts, requests),
            Lane::Flex | Lane::Sync => None,
        });
        let unavailable = unavailable.or_else(|| untaken::refused(facts, lane));
        lanes.push(LanePlan {
            lane,
            unavailable,
            expected: share(quote.expected),
            p95: share(quote.p95),
            worst: share(quote.worst),
            learned: quote.learned,
            seconds: Some(seconds(facts, lane, requests)),
            seconds_p95: facts
                .curve
                .filter(|_| lane == Lane::Batch)
                .map(|curve| (curve.q95_us.saturating_mul(waves(run, requests))).div_ceil(SECOND_US)),
            batches: (lane == Lane::Batch).then(|| requests.div_ceil(run.shard(requests, 1))),
        });
    }
    Ok(lanes)
}

fn seconds(facts: &Facts<'_>, lane: Lane, requests: u64) -> u64 {
    let run = &facts.spec.run;
    match lane {
        Lane::Batch => {
            let one = facts.curve.map_or(BATCH_SECONDS, |curve| curve.median_us.div_ceil(SECOND_US));
            one.saturating_mul(waves(run, requests))
        }
        Lane::Flex | Lane::Sync => {
            let paced = run.rpm.map_or(0, |rpm| requests.saturating_mul(60) / rpm.max(1));
            let placed = requests
                .saturating_mul(u64::from(CALL_SECONDS))
                .div_ceil(u64::from(run.concurrency_max).clamp(1, 200));
            paced.max(placed).max(u64::from(CALL_SECONDS).min(requests))
        }
    }
}

/// How many batches run one after the other, as no more than so many are out at once.
fn waves(run: &RunSpec, requests: u64) -> u64 {
    let batches = requests.div_ceil(run.shard(requests, 1));
    batches.div_ceil(u64::from(run.batches_max).max(1)).max(1)
}

/// The lane that the job goes in, and why.
pub(super) fn choose(
    facts: &Facts<'_>,
    lanes: &[LanePlan],
    requests: u64,
) -> Result<(Lane, String), EngineError> {
    let find = |lane: Lane| lanes.iter().find(|plan| plan.lane == lane);
    let refused = |lane: Lane, plan: Option<&LanePlan>| {
        plan.and_then(|plan| plan.unavailable.clone())
            .map(|why| EngineError::LaneUnavailable { lane: lane.name(), why })
    };
    if let Some(lane) = facts.spec.run.lane {
        // Who asks for batches wants the answers all the same.
        let few = batchable::too_few(facts, requests).filter(|_| lane == Lane::Batch);
        if let (Some(why), None) = (few, refused(Lane::Sync, find(Lane::Sync))) {
            return Ok((Lane::Sync, format!("{why}: they go one by one")));
        }
        return match refused(lane, find(lane)) {
            Some(error) => Err(error),
            None => Ok((lane, "as asked".to_owned())),
        };
    }
    let available = |lane: Lane| find(lane).is_some_and(|plan| plan.unavailable.is_none());
    // Where there are no calls, no deadline and no hurry makes any.
    if !available(Lane::Sync) && available(Lane::Batch) {
        return Ok((Lane::Batch, "the only lane available here".to_owned()));
    }
    let price = |lane: Lane| find(lane).filter(|plan| plan.unavailable.is_none()).map(|plan| plan.expected);
    let run = &facts.spec.run;
    // Nothing learned yet: what the plan's own seconds assume.
    let assumed = f64::from(run.concurrency_max.clamp(1, 200)) / f64::from(CALL_SECONDS);
    let rate = run.rpm.map_or(assumed, |rpm| f64::from(u32::try_from(rpm).unwrap_or(u32::MAX)) / 60.0);
    let (lane, why) = choose_lane(&LaneChoice {
        now_us: facts.now_us,
        deadline_us: run.deadline_ms.map(|ms| facts.created_ms.saturating_add(ms).saturating_mul(1_000)),
        items: requests,
        priority: if run.high_priority { Priority::Fast } else { Priority::Cheap },
        prices: LanePrices { batch: price(Lane::Batch), flex: price(Lane::Flex), sync: price(Lane::Sync) },
        items_per_s: rate,
        latency_p99_us: 20_000_000,
        // Batches that are out are waited for, however long others took.
        batch_q95_us: facts
            .curve
            .filter(|_| !facts.batches_out)
            .map(|curve| curve.q95_us.saturating_mul(waves(run, requests))),
        batch_held: batchable::is_held(facts) && !facts.batches_out,
        batch_available: available(Lane::Batch),
        flex_available: available(Lane::Flex),
    });
    match refused(lane, find(lane)) {
        Some(error) => Err(error),
        None => Ok((lane, why.to_owned())),
    }
}
