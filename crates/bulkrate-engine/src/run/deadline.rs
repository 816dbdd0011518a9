//! Near its deadline what is left of a batch job goes to the sync lane; a missed deadline is told once.

use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::pace::{Leave, Nearing, cancel_us, leave};
use bulkrate_core::submission::PollPace;

use super::job::{Job, State};

/// Calls a second that are assumed for the end of a batch job while nothing is known.
const RATE_ASSUMED: f64 = 10.0;
const LATENCY_P99_US: u64 = 20_000_000;
/// What has ended is waited for so long before others are left: its answers are about to land.
const LANDING: Duration = Duration::from_secs(60);

/// How near the deadline of a batch job is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nearness {
    /// Running batches are looked at as often as may be.
    pub looks: bool,
    /// Batches are left: what they have not done goes to the sync lane.
    pub switched: bool,
    /// That it has passed was told.
    pub late_told: bool,
}

pub(super) fn watch(job: &Rc<Job>) {
    let Some(deadline_ms) = job.deadline_ms else { return };
    let now_ms = job.clock.unix_ms();
    let is_closing = job.is_closing();
    let mut state = job.state.borrow_mut();
    if now_ms >= deadline_ms && !state.near.late_told && state.open() > 0 {
        state.near.late_told = true;
        drop(state);
        job.alert("deadline-missed", "the deadline has passed; the job goes on");
        return;
    }
    // Where nothing new is sent no other lane would take over what is cancelled.
    if is_closing
        || job.home != Lane::Batch
        || job.spec.run.lane.is_some()
        || state.near.switched
        || state.open() == 0
        || !job.has_calls(&state)
    {
        return;
    }
    match leave(&nearing(job, &state, now_ms, deadline_ms)) {
        Leave::Wait => {}
        Leave::Look if state.near.looks => {}
        Leave::Look => {
            state.near.looks = true;
            job.wishes.notify_waiters();
        }
        Leave::Now if state.is_landing(now_ms, deadline_ms) => {}
        Leave::Now => {
            state.near.switched = true;
            state.leave_batches();
            drop(state);
            let words = match job.holds_batches() {
                true => "open batches cannot be cancelled and are waited for, what is in none of them runs in the sync lane".to_owned(),
                false => format!("open batches are cancelled, what they finished {}, the rest runs in the sync lane", job.of_cancelled(None)),
            };
            job.alert("deadline-switch", &format!("the deadline is near: {words}"));
            job.changed.notify_waiters();
            job.wishes.notify_waiters();
        }
    }
}

fn nearing(job: &Job, state: &State, now_ms: u64, deadline_ms: u64) -> Nearing {
    let run = &job.spec.run;
    let works = !state.brought.iter().any(super::bundle::Brought::is_off);
    let sizes = (0..job.deployments.len()).map(|place| job.bundle_at(place).unwrap_or(1));
    let each = sizes.min().filter(|_| works).unwrap_or(1);
    let span_us = run.deadline_ms.unwrap_or(0).saturating_mul(1_000);
    Nearing {
        now_us: now_ms.saturating_mul(1_000),
        deadline_us: deadline_ms.saturating_mul(1_000).saturating_sub(cancel_us(span_us)),
        // What is in a batch that runs to its end is nobody else's to call for.
        open: state.open().saturating_sub(if job.holds_batches() { state.in_batches() } else { 0 }),
        done: if job.hands_out_cancelled() { state.done_in_batches() } else { 0 },
        items_per_s: sync_rate(&state.call_rates, run.rpm, each),
        latency_p99_us: LATENCY_P99_US,
        look_us: run.poll_min_ms.saturating_mul(1_000),
    }
}

/// Items a second that the sync lane will ask of what is left: as learned, and where there are several deployments as the
/// slowest of them; else by the limit that was configured; else an assumption. `each`: items of one call.
fn sync_rate(learned: &[Option<f64>], rpm: Option<u64>, each: u32) -> f64 {
    let configured = || rpm.map(|rpm| f64::from(u32::try_from(rpm).unwrap_or(u32::MAX)) / 60.0);
    let learned = learned.iter().copied().flatten().reduce(f64::min);
    learned.unwrap_or_else(|| configured().unwrap_or(RATE_ASSUMED) * f64::from(each))
}

impl State {
    /// Items that running batches told to be answered when they were last looked at.
    fn done_in_batches(&self) -> u64 {
        self.batches.values().filter(|batch| batch.goes_on()).map(|batch| batch.completed).sum()
    }

    /// Items of running batches.
    fn in_batches(&self) -> u64 {
        self.batches.values().filter(|batch| batch.goes_on()).map(|batch| batch.items).sum()
    }

    /// Whether a batch has just ended, whose answers nobody has counted yet: a minute, and no longer than half of what is kept for
    /// cancels.
    fn is_landing(&self, now_ms: u64, deadline_ms: u64) -> bool {
        let kept_ms = cancel_us(deadline_ms.saturating_sub(now_ms).saturating_mul(1_000)) / 2_000;
        let longest_ms = kept_ms.min(u64::try_from(LANDING.as_millis()).unwrap_or(u64::MAX));
        let since = |ms: i64| now_ms.saturating_sub(u64::try_from(ms).unwrap_or(0));
        let ended = |batch: &crate::event::BatchLine| batch.batch.is_some() && !batch.goes_on();
        self.batches.values().any(|batch| ended(batch) && since(batch.since_ms) < longest_ms)
    }
}

impl Job {
    /// Whether all providers are known to hand out what a cancelled batch had done.
    fn hands_out_cancelled(&self) -> bool {
        let mut batches = self.deployments.iter().filter_map(|found| found.account.api.batches());
        batches.all(|api| api.facts().cut_shows)
    }

    /// Whether no batch of the job can be cancelled.
    fn holds_batches(&self) -> bool {
        let mut batches = self.deployments.iter().filter_map(|found| found.account.api.batches()).peekable();
        batches.peek().is_some() && batches.all(|api| api.facts().cannot_cancel)
    }

    /// How often batches are looked at.
    pub(crate) fn poll_pace(&self) -> PollPace {
        let pace = self.spec.run.pace();
        if self.state.borrow().near.looks { PollPace { max_ms: pace.min_ms, ..pace } } else { pace }
    }

    /// When a wait for the next look at a batch is over that began at one time and was to last until another: sooner, once the
    /// deadline has come near.
    pub(crate) fn looks_by(&self, began_ms: u64, at_ms: u64) -> u64 {
        let soon_ms = began_ms.saturating_add(self.spec.run.poll_min_ms);
        if self.state.borrow().near.looks { at_ms.min(soon_ms) } else { at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_goes_by_the_learned_rate_before_any_other() {
        for (learned, rpm, each, want) in [
            (vec![None], None, 1, RATE_ASSUMED),
            (vec![None], None, 20, RATE_ASSUMED * 20.0),
            (vec![None], Some(6_000), 1, 100.0),
            (vec![None], Some(6_000), 20, 2_000.0),
            (vec![Some(250.0), None], Some(6_000), 20, 250.0), // headers know better than the configuration
            (vec![Some(250.0), Some(3.0)], None, 1, 3.0),
        ] {
            assert!((sync_rate(&learned, rpm, each) - want).abs() < 1e-9, "{learned:?} {rpm:?} {each}");
        }
    }
}
