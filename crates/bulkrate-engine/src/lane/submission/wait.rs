//! Waits between the steps of a batch: long ones, that a wish cuts short.

use std::rc::Rc;

use bulkrate_core::submission::State;
use bulkrate_store::Submission;
use tokio::time::sleep_until;

use super::{is_left, must_run};
use crate::run::job::Job;

/// Sleeps, but not through a wish to stop or to cancel what was not cancelled yet.
pub(super) async fn wait(job: &Rc<Job>, at_ms: u64, state: State, row: &Submission) {
    // Held back because too much is in doubt: it goes as soon as less is.
    let held = state == State::Staged && job.clock.unix_ms() < at_ms;
    job.state.borrow_mut().held_batches += u64::from(held);
    sleep_or_wish(job, at_ms, state, row).await;
    job.state.borrow_mut().held_batches -= u64::from(held);
}

async fn sleep_or_wish(job: &Rc<Job>, at_ms: u64, state: State, row: &Submission) {
    let (sub, unsent) = (row.sub, matches!(state, State::Staging | State::Staged));
    let began_ms = job.clock.unix_ms();
    while !job.stop.is_detaching() {
        let until_ms = if state == State::Accepted { job.looks_by(began_ms, at_ms) } else { at_ms };
        if job.clock.unix_ms() >= until_ms {
            return;
        }
        if job.is_unwanted()
            && state != State::Cancelling
            && state != State::InDoubt
            && state != State::Fencing
            && !must_run(job, state, row)
        {
            return;
        }
        if unsent && is_left(job, row) {
            return;
        }
        if matches!(state, State::InDoubt | State::Fencing) && job.state.borrow().told.contains_key(&sub) {
            return;
        }
        if job.state.borrow().strays.contains_key(&sub) {
            return;
        }
        tokio::select! {
            biased; // the same world does the same
            () = sleep_until(job.clock.at_unix_ms(until_ms)) => {}
            () = job.stop.changed() => {}
            () = job.wishes.notified() => {}
            () = job.changed.notified(), if state == State::Staged => return,
        }
    }
}

impl Job {
    /// Whether open batches are to be cancelled: the job was, or its deadline is near.
    pub(crate) fn is_unwanted(&self) -> bool {
        let state = self.state.borrow();
        state.cancelled || state.near.switched
    }
}
