//! `max_in_doubt`: what may have been paid without an answer is summed, and above the limit nothing new is sent.
//!
//! What is held back waits where it is. Doubt about a batch may end at any poll; if nothing is left that could end
//! one, the run does.

use std::ops::ControlFlow;

use bulkrate_core::budget::{DoubtFacts, Scope, TooMuchDoubt};
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::KnownBy;
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{LedgerKind, LedgerQuery, Submission, View};

use super::job::{Job, State};
use crate::EngineError;
use crate::decision::is_hedge;

/// The largest submission of earlier runs. Calls that a crash left unanswered are one: their doubt was booked at once.
pub(crate) fn largest(
    view: &dyn View,
    job: u32,
    submissions: &[Submission],
) -> Result<UsdNanos, EngineError> {
    let mut largest = submissions.iter().map(|submission| submission.reserved).max().unwrap_or_default();
    let (mut at_ms, mut at_once) = (i64::MIN, UsdNanos::ZERO);
    let doubts = LedgerQuery { kind: Some(LedgerKind::Doubt), ..LedgerQuery::of_job(job) };
    view.ledger_scan(&doubts, &mut |entry| {
        if entry.note.as_deref().is_some_and(is_hedge) {
            return ControlFlow::Continue(());
        }
        if entry.at_ms != at_ms {
            (at_ms, at_once) = (entry.at_ms, UsdNanos::ZERO);
        }
        at_once = at_once.saturating_add(entry.usd);
        largest = largest.max(at_once);
        ControlFlow::Continue(())
    })?;
    Ok(largest)
}

impl State {
    /// Whether more is in doubt than may be while something new is sent.
    pub(crate) fn too_much_doubt(&self, setting: Option<UsdNanos>) -> Option<TooMuchDoubt> {
        let cap = self.budget.caps.iter().find(|cap| cap.scope == Scope::Job).map(|cap| cap.limit);
        let batches: UsdNanos = self.doubted.values().copied().sum();
        // Copies were asked for: what they may cost is no sign that something is wrong.
        let in_doubt = (self.budget.doubt - self.hedging.doubt).saturating_add(batches);
        DoubtFacts { setting, cap, largest: self.largest_submission, in_doubt }.check().err()
    }

    /// Whether nothing new may be sent until less is in doubt, or an operator has spoken of a ghost.
    pub(crate) fn waits_for_doubt(&self, setting: Option<UsdNanos>) -> bool {
        !self.ghosts.is_empty() || self.too_much_doubt(setting).is_some()
    }

    /// Whether nothing is out that could end by itself, and give its money back: only what waits for an operator or for doubt to
    /// become less.
    pub(crate) fn has_nothing_out(&self) -> bool {
        let standing = self.unresolved + self.held_batches;
        if self.calls_in_flight > 0 || self.batches.len() as u64 > standing {
            return false;
        }
        // A batch that is being packed or taken up again is not shown yet.
        self.items.counts().of(ItemState::Leased) == 0 || standing > 0
    }

    /// Keeps account of a batch that may or may not exist.
    pub(crate) fn note_doubt(&mut self, submission: &Submission) {
        // A batch is seen in `sending` only where the process that was sending is gone.
        if submission.state.is_undecided() {
            self.doubted.insert(submission.sub, submission.reserved);
        } else {
            self.doubted.remove(&submission.sub);
        }
    }

    /// Keeps account of creates that are under way or in doubt.
    pub(crate) fn note_create(&mut self, submission: &Submission) {
        match submission.state.of_batch() {
            Some(state) if submission.state.is_undecided() => {
                self.creates.insert(submission.sub, (submission.account.clone(), state));
            }
            _ => drop(self.creates.remove(&submission.sub)),
        }
    }

    /// Whether a batch that is staged has to wait for another of its account.
    pub(crate) fn awaits_create(&self, submission: &Submission, known_by: KnownBy) -> bool {
        let mut others = self.creates.iter().filter(|(sub, _)| **sub != submission.sub);
        others.any(|(_, (account, state))| *account == submission.account && known_by.waits_for(*state))
    }

    /// A submission is planned: how large it is.
    pub(crate) fn note_size(&mut self, reserved: UsdNanos) {
        self.largest_submission = self.largest_submission.max(reserved);
    }
}

impl Job {
    /// Whether nothing new may be sent because of what is in doubt.
    pub(crate) fn holds_for_doubt(&self) -> bool {
        self.state.borrow().waits_for_doubt(self.spec.run.max_in_doubt)
    }

    /// Tells it, once each time that the limit is passed.
    pub(crate) fn watch_doubt(&self) {
        let mut state = self.state.borrow_mut();
        let over = state.too_much_doubt(self.spec.run.max_in_doubt).filter(|_| state.open() > 0);
        if over.is_some() == state.doubt_told {
            return;
        }
        state.doubt_told = over.is_some();
        drop(state);
        match over {
            Some(over) => {
                self.alert("in-doubt-limit", &format!("{over}; nothing new is sent until less is in doubt"));
            }
            None => self.changed.notify_waiters(),
        }
    }
}
