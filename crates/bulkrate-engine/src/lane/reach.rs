//! Whether an account has ever answered in this run. One that has is waited for, however long it is away; one that has not
//! may not be where its address says, and a job does not wait for that without end.

use bulkrate_core::failure::FailureClass;
use bulkrate_provider::ApiError;

use crate::run::job::{Halt, Job};

/// An address that has never answered in this run is tried for so long.
const PATIENCE_US: u64 = 120_000_000;

/// What a run has met with at one account.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    answered: bool,
    /// When the first of the calls began that brought nothing at all.
    silent_since_us: Option<u64>,
}

impl Reach {
    fn answered(&mut self) {
        self.answered = true;
    }

    /// A call that began at `began_us` brought nothing. Whether that is enough.
    fn silent(&mut self, began_us: u64, now_us: u64) -> bool {
        let since_us = *self.silent_since_us.get_or_insert(began_us);
        !self.answered && now_us.saturating_sub(since_us) >= PATIENCE_US
    }
}

/// Something came back from the account, good or bad.
pub(super) fn answered(job: &Job, account: &str) {
    let mut state = job.state.borrow_mut();
    match state.reach.get_mut(account) {
        Some(reach) => reach.answered(),
        None => state.reach.entry(account.to_owned()).or_default().answered(),
    }
}

/// Nothing came back of a call that began at `began_us`. True: nothing ever has, for long enough, and the job stops.
pub(super) fn silent(job: &Job, account: &str, began_us: u64, why: &str) -> bool {
    let now_us = job.clock.us();
    let mut state = job.state.borrow_mut();
    if !state.reach.entry(account.to_owned()).or_default().silent(began_us, now_us) {
        return false;
    }
    if state.halted.is_some() {
        return true;
    }
    let message = format!(
        "{why}; no answer has come from there in this run, for {} minutes: check `--base-url`, the network and the proxy; nothing is lost",
        PATIENCE_US / 60_000_000
    );
    // Which class it is matters to nobody: the report says `never_answered`.
    state.halted = Some(Halt { class: FailureClass::Transient, message: message.clone() });
    state.halted_as = Some(crate::report::NEVER_ANSWERED);
    drop(state);
    job.alert("never-answered", &message);
    job.changed.notify_waiters();
    true
}

/// Takes in a free call that failed. True: the job stops, as with [`silent`].
pub(super) fn heard(job: &Job, account: &str, error: &ApiError, began_us: u64) -> bool {
    if error.is_unanswered() {
        return silent(job, account, began_us, &error.to_string());
    }
    if error.status.is_some() {
        answered(job, account);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it is given up, if it is asked every ten seconds for an hour and answers at `answers_at_s`.
    fn given_up_at_s(answers_at_s: Option<u64>) -> Option<u64> {
        let mut reach = Reach::default();
        (0..3_600).step_by(10).find(|second| {
            if answers_at_s == Some(*second) {
                reach.answered();
                return false;
            }
            reach.silent(second * 1_000_000, second * 1_000_000 + 1_000)
        })
    }

    #[test]
    fn who_never_answered_is_given_up_and_who_did_is_waited_for() {
        for (answers_at_s, want) in
            [(None, Some(120)), (Some(0), None), (Some(110), None), (Some(130), Some(120))]
        {
            assert_eq!(given_up_at_s(answers_at_s), want, "{answers_at_s:?}");
        }
        // One call that took so long by itself is one call.
        assert!(Reach::default().silent(0, PATIENCE_US));
    }
}
