//! How long the batches of a model took in all jobs of this state folder.

use bulkrate_core::lane::Lane;
use bulkrate_core::pace::{BatchCurve, BatchTime, batch_curve};
use bulkrate_core::submission::Phase;
use bulkrate_store::{Submission, SubmissionState, View};

use crate::EngineError;
use crate::deployment::Deployment;

/// So many of the newest batches are looked at: providers change.
const BATCHES_MAX: usize = 1_000;

/// What is known of the batches of the slowest of these deployments; `None` if of one of them nothing is.
pub(crate) fn curve_of<'d>(
    view: &dyn View,
    deployments: impl Iterator<Item = &'d Deployment>,
    now_ms: u64,
) -> Result<Option<BatchCurve>, EngineError> {
    let able = deployments.filter(|found| found.unavailable(Lane::Batch).is_none());
    let mut batches = view.batches()?;
    if batches.is_empty() {
        return Ok(None);
    }
    batches.sort_unstable_by_key(|batch| std::cmp::Reverse(batch.created_at_ms));
    let mut slowest: Option<BatchCurve> = None;
    for found in able {
        let own = batches
            .iter()
            .filter(|batch| batch.provider == found.row.provider && batch.model == found.pinned);
        let times: Vec<BatchTime> =
            own.filter_map(|batch| batch_time(batch, now_ms)).take(BATCHES_MAX).collect();
        let Some(curve) = batch_curve(&times, hour(now_ms)) else { return Ok(None) };
        slowest = slowest.filter(|slow| slow.q95_us >= curve.q95_us).or(Some(curve));
    }
    Ok(slowest)
}

/// From its create to when its end was seen. What says nothing of how long batches run is left out: refused ones, and those of which
/// nobody knows whether they are there.
fn batch_time(batch: &Submission, now_ms: u64) -> Option<BatchTime> {
    let sent_ms = u64::try_from(batch.sent_at_ms?).ok()?;
    let phase = batch.remote_phase.as_deref();
    let done = phase == Some(Phase::Completed.name());
    let cut = [Phase::Expired, Phase::Cancelled].iter().any(|cut| phase == Some(cut.name()));
    let runs = matches!(batch.state, SubmissionState::Accepted | SubmissionState::Cancelling);
    let end_ms = match batch.ended_at_ms {
        Some(ended_ms) if done || cut => u64::try_from(ended_ms).ok()?,
        None if runs => now_ms,
        _ => return None,
    };
    let took_us = end_ms.saturating_sub(sent_ms).saturating_mul(1_000);
    Some(BatchTime { hour: hour(sent_ms), took_us, done: done && !runs })
}

/// Hour of the day, UTC.
fn hour(unix_ms: u64) -> u8 {
    u8::try_from(unix_ms / 3_600_000 % 24).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::Sub;

    #[test]
    fn what_a_batch_says_of_its_time() {
        use SubmissionState::{Accepted, Cancelling, InDoubt, Refused, Settled};
        const HOUR_MS: i64 = 3_600_000;
        let sent_ms = 100 * 24 * HOUR_MS + 5 * HOUR_MS;
        for (state, phase, ended_h, want) in [
            (Settled, Some("completed"), Some(2), Some((2, true))),
            (Settled, Some("expired"), Some(24), Some((24, false))),
            (Settled, Some("cancelled"), Some(1), Some((1, false))),
            (Settled, Some("failed"), Some(1), None), // refused as a whole: it never ran
            (Settled, Some("vanished"), Some(9), None),
            (Accepted, Some("in_progress"), None, Some((10, false))), // still out
            (Cancelling, Some("cancelling"), None, Some((10, false))),
            (InDoubt, None, None, None),
            (Refused, None, None, None),
        ] {
            let mut batch = Submission::new(Sub::new(1, 2), 1, Lane::Batch, state, sent_ms);
            batch.sent_at_ms = Some(sent_ms);
            batch.remote_phase = phase.map(str::to_owned);
            batch.ended_at_ms = ended_h.map(|hours| sent_ms + hours * HOUR_MS);
            let got = batch_time(&batch, u64::try_from(sent_ms + 10 * HOUR_MS).unwrap());
            let got = got.map(|time| (time.took_us / 3_600_000_000, time.done, time.hour));
            assert_eq!(got, want.map(|(hours, done)| (hours, done, 5)), "{state:?} {phase:?}");
        }
    }
}
