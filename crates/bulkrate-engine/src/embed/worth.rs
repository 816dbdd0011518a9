//! Whether embeddings can pay for themselves.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::ASKED_MIN;

use crate::plan::{EmbeddingPlan, LanePlan};
use crate::spec::{JobSpec, RunSpec};

/// The share of the requests, in thousandths and rounded up, that must be served for embeddings to cost no more than they save.
pub(crate) fn pays_from(cost: UsdNanos, lane: &LanePlan) -> Option<u64> {
    let (cost, whole) = (u128::try_from(cost.0).ok()?, u128::try_from(lane.expected.0).ok()?);
    (whole > 0).then(|| u64::try_from((cost * 1_000).div_ceil(whole)).unwrap_or(u64::MAX))
}

/// The most that can be served, in thousandths: but for one row of twenty all of them; of batches about the allowed share of the rows
/// before each, and none while all of them are out at once.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 950")]
fn served_most(run: &RunSpec, lane: &LanePlan, error_permille: u32) -> u64 {
    let most = ((1.0 - ASKED_MIN) * 1_000.0).round() as u64;
    match (lane.lane, lane.batches) {
        (Lane::Batch, Some(batches)) => {
            let waves = batches.div_ceil(u64::from(run.batches_max).max(1));
            (waves.saturating_sub(1) * u64::from(error_permille) / 2).min(most)
        }
        _ => most,
    }
}

/// What a plan says of embeddings that cost more than the semantic cache could save with them.
pub(crate) fn warnings(spec: &JobSpec, lane: &LanePlan, of: &EmbeddingPlan) -> Option<String> {
    let error_permille = spec.request.semantic.as_ref()?.error_permille;
    let most = served_most(&spec.run, lane, error_permille);
    if of.requests == 0 || of.pays_from_permille? < most.max(1) {
        return None;
    }
    if most == 0 {
        return Some(
            "all batches of this job are out at once, so that nothing can be served: the embeddings would be paid for nothing. Leave \
             them out, take the sync lane, or smaller batches, few at once (`--batch-items-max`, `--batches-max`)"
                .to_owned(),
        );
    }
    let saves = lane.expected.share_up(most, 1_000);
    Some(format!(
        "the embeddings cost USD {}, and with them the semantic cache saves USD {saves} at most: they do not pay",
        of.expected
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(lane: Lane, expected: i64, batches: Option<u64>) -> LanePlan {
        LanePlan {
            lane,
            unavailable: None,
            expected: UsdNanos(expected),
            p95: UsdNanos(expected),
            worst: UsdNanos(expected),
            learned: false,
            seconds: None,
            seconds_p95: None,
            batches,
        }
    }

    #[test]
    fn what_must_be_served_is_compared_with_what_can_be() {
        let run = |batches_max| RunSpec { batches_max, ..RunSpec::default() };
        for (of, batches_max, cost, pays, most) in [
            (lane(Lane::Sync, 1_000, None), 50, 20, Some(20), 950),
            (lane(Lane::Sync, 1_000, None), 50, 2_000, Some(2_000), 950),
            (lane(Lane::Sync, 0, None), 50, 20, None, 950),
            (lane(Lane::Batch, 999, Some(3)), 50, 1, Some(2), 0),
            (lane(Lane::Batch, 1_000, Some(10)), 1, 20, Some(20), 225),
            (lane(Lane::Batch, 1_000, Some(400)), 1, 20, Some(20), 950),
        ] {
            let found = (pays_from(UsdNanos(cost), &of), served_most(&run(batches_max), &of, 50));
            assert_eq!(found, (pays, most), "{of:?}");
        }
    }
}
