//! What becomes of a job when the free calls of its batches fail: a person is told once for an outage, what cannot get
//! better stops the job, and a provider that refuses batch after batch is asked less and less often.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::ids::Sub;
use bulkrate_core::submission::{ASKED_MAX_MS, PollPace};
use bulkrate_provider::ApiError;
use bulkrate_store::Submission;

use crate::EngineError;
use crate::event::Event;
use crate::run::job::{Halt, Job};

/// A free call that has brought nothing for so long, its own tries included, is told of.
const PATIENCE: Duration = Duration::from_secs(30);
/// A person is told when so many batches in a row were refused.
const REFUSED_TOLD: u32 = 3;

/// A page that sends one elsewhere may be up for a moment; one that comes so often in a row is what the address says.
const REDIRECTS_MAX: u32 = 3;

/// Redirects in a row of one batch's calls.
#[derive(Debug, Default)]
pub(super) struct Redirects(Cell<u32>);

impl Redirects {
    /// A call was answered.
    pub(super) fn none(&self) {
        self.0.set(0);
    }
}

/// What the batches of a job have met with.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// Batches of which the provider says nothing, or nothing that can be read.
    unanswered: HashSet<Sub>,
    /// Result lines of a batch that is being landed: refused for now, and others.
    lines: HashMap<Sub, (u64, u64)>,
}

/// The provider says nothing good of a batch. Told once, however many batches wait for the outage to end.
pub(super) fn begins(job: &Job, sub: Sub, message: &str) {
    let told = {
        let mut state = job.state.borrow_mut();
        let told = !state.outages.unanswered.is_empty();
        state.outages.unanswered.insert(sub);
        told
    };
    if !told {
        let message = format!("batch {sub}: {message}; asking again, ever less often, nothing is lost");
        job.alert("batch-unanswered", &message);
    }
}

/// Nobody asks after the batch any more.
pub(super) fn forget(job: &Job, sub: Sub) {
    let mut state = job.state.borrow_mut();
    state.outages.lines.remove(&sub);
    state.outages.unanswered.remove(&sub);
}

/// The provider speaks of the batch again.
pub(super) fn ends(job: &Job, sub: Sub) {
    let over = {
        let mut state = job.state.borrow_mut();
        state.outages.unanswered.remove(&sub) && state.outages.unanswered.is_empty()
    };
    if over {
        job.tell(&Event::Note { message: "the provider answers for the batches again" });
    }
}

/// Waits for a free call, and tells when that takes long: it may be repeated inside for minutes.
pub(super) async fn patiently<T>(job: &Job, sub: Sub, what: &str, call: impl Future<Output = T>) -> T {
    tokio::pin!(call);
    tokio::select! {
        biased;
        done = &mut call => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let waited = PATIENCE.as_secs();
    begins(job, sub, &format!("{what}: no good answer for {waited} s (a rate limit, or an outage)"));
    call.await
}

/// Sleeps, but not through a wish to stop.
pub(super) async fn pause(job: &Job, wait: Duration) {
    tokio::select! {
        biased; // the same world does the same
        () = tokio::time::sleep(wait) => {}
        () = job.stop.changed() => {}
    }
}

/// Whether an error of a free call means that every further call would fail like it, as with credentials that are refused
/// or an address that sends one elsewhere: then the job stops. Its batches stay at the provider, and the next run goes on
/// with them.
pub(super) fn halts(job: &Job, error: &ApiError, redirects: &Redirects) -> bool {
    let class = error.failure.class;
    let redirected = redirects.0.get() + 1;
    redirects.0.set(if error.is_redirect() { redirected } else { 0 });
    let message = if error.is_redirect() && redirected >= REDIRECTS_MAX {
        format!(
            "{error}; nothing is sent to where it leads: set `--base-url` to the address of the API, then run the job again, it goes on where it is"
        )
    } else if class.verdict() == Verdict::HaltJob {
        error.to_string()
    } else {
        return false;
    };
    job.state.borrow_mut().halted.get_or_insert(Halt { class, message });
    job.changed.notify_waiters();
    true
}

/// What this machine failed with in a free call: no provider can mend that.
pub(super) fn local(error: &ApiError, what: &'static str, path: &Path) -> Option<EngineError> {
    Some(EngineError::Io { what, path: path.display().to_string(), source: error.local()? })
}

/// A batch was refused for now: the next one of its deployment waits, longer each time.
pub(super) fn refused(job: &Job, submission: &Submission, asked_ms: Option<u64>, message: &str) {
    let random = job.random();
    let pace = job.spec.run.pace().soon();
    let mut state = job.state.borrow_mut();
    let mut often = 0;
    if let Some(queue) = state.queue_of(job, submission) {
        let wait_ms = wait_ms(pace, queue.refused_in_a_row, asked_ms, random);
        let until_us = job.clock.us().saturating_add(wait_ms.saturating_mul(1_000));
        queue.not_before_us = queue.not_before_us.max(until_us);
        queue.refused_in_a_row = queue.refused_in_a_row.saturating_add(1);
        often = queue.refused_in_a_row;
    }
    drop(state);
    job.tell(&Event::Note { message });
    if often == REFUSED_TOLD {
        let message = format!(
            "{message}; {REFUSED_TOLD} batches in a row were refused, the next ones are tried ever less often"
        );
        job.alert("batches-refused", &message);
    }
}

/// What the provider asks for is believed at first; one that goes on refusing is asked ever less often.
fn wait_ms(pace: PollPace, before: u32, asked_ms: Option<u64>, random: u64) -> u64 {
    match asked_ms.map(|asked| asked.min(ASKED_MAX_MS)) {
        Some(asked) if before < REFUSED_TOLD => asked,
        asked => pace.wait_ms(before, random).max(asked.unwrap_or(0)),
    }
}

/// Takes note of a result line.
pub(super) fn note_line(job: &Job, sub: Sub, reading: &Reading<'_>) {
    let limited = matches!(reading, Reading::Failure(Failure { class: FailureClass::RateLimited, .. }));
    let mut state = job.state.borrow_mut();
    let (refused, others) = state.outages.lines.entry(sub).or_default();
    *refused += u64::from(limited);
    *others += u64::from(!limited);
}

/// A batch was landed to its end. One whose lines all say `later` was refused, whatever its state says.
pub(super) fn landed(job: &Job, submission: &Submission) {
    let sub = submission.sub;
    let lines = job.state.borrow_mut().outages.lines.remove(&sub);
    match lines {
        Some((refused, 0)) if refused > 0 => {
            let message = format!("batch {sub}: each of its {refused} requests was refused by a rate limit");
            self::refused(job, submission, None, &message);
        }
        Some(_) => {
            if let Some(queue) = job.state.borrow_mut().queue_of(job, submission) {
                queue.refused_in_a_row = 0;
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_batches_wait_longer_each_time_up_to_the_maximum() {
        let pace = PollPace { min_ms: 60_000, max_ms: 300_000 };
        let waits = |asked| (0..8).map(|before| wait_ms(pace, before, asked, 0) / 1_000).collect::<Vec<_>>();
        assert_eq!(waits(None), [60, 90, 135, 202, 300, 300, 300, 300]);
        assert_eq!(waits(Some(2_000)), [2, 2, 2, 202, 300, 300, 300, 300]);
        assert_eq!(wait_ms(pace, 0, Some(u64::MAX), 0), ASKED_MAX_MS);
        assert!(wait_ms(pace, 9, None, u64::MAX) <= 330_000);
    }
}
