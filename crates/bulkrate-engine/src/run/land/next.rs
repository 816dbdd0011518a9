//! What comes after a failed attempt: another one, a dead letter, another deployment or the end of the run.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::retry::{Alarm, Failure as LadderFailure, Ladder, Next};

use super::receipt::via;
use super::{End, Landing};
use crate::deployment::Deployment;
use crate::run::job::{Halt, Job, Retry, State};
use crate::run::standing::By;

/// So many items go ahead of the batches, one after the other, until one is answered.
const CANARIES: u64 = 3;

/// What the flex lane answers when it has no room.
const NO_CAPACITY: &str = "resource_unavailable";

impl Job {
    /// Asks the ladder; counts the attempt.
    pub(super) fn next(&self, landing: Landing<'_>, class: FailureClass, end: &End<'_>) -> Next {
        let now_us = self.clock.us();
        let random = self.random();
        let mut state = self.state.borrow_mut();
        let random = state.jitter.unwrap_or(random);
        let switch_in_us = if state.near.switched { Some(0) } else { None };
        let trouble = state.trouble.entry(landing.ready.ordinal).or_default();
        trouble.attempts.record(landing.lane, class);
        let since = *trouble.waiting_since_us.get_or_insert(now_us);
        // Nor does one whose bundle came apart wait for capacity.
        if class.counts_as_attempt() || class == FailureClass::BundleFailed {
            trouble.waiting_since_us = None;
        }
        let mut attempts = trouble.attempts;
        if state.brought[landing.ready.deployment].is_off() {
            attempts.bundles = 0; // it goes alone from now on, and so stays in its lane
        }
        let canary = landing.lane != Lane::Batch && attempts.batch == 0 && self.awaits_canary(&state);
        // Nor does an item in a hurry ever join a batch.
        let urgent = state.is_urgent(landing.ready.ordinal);
        let found = &self.deployments[landing.ready.deployment];
        let failure = LadderFailure {
            class,
            lane: landing.lane,
            retry_after_us: end.wait_ms.map(|wait| wait.saturating_mul(1_000)),
            no_capacity: end.provider_code == Some(NO_CAPACITY),
            waited_us: now_us.saturating_sub(since),
            switch_in_us,
            max_tokens: landing.ready.max_tokens,
            max_tokens_model: found
                .max_output()
                .map_or(u32::MAX, |most| u32::try_from(most.0).unwrap_or(u32::MAX)),
            random,
        };
        // What is called for instead of a batch has no batches left to fail in, or it would be called for without end.
        let instead = self.may_stand_in.mixed
            && landing.lane != Lane::Batch
            && self.home == Lane::Batch
            && attempts.batch < self.ladder.batch_max;
        // No batch begins before the canary has ended, so its attempts are calls.
        let ladder = match (found.account.api.calls(), canary || urgent || instead) {
            (None, _) => self.ladder.without_calls(),
            (Some(_), true) => Ladder { home: Lane::Sync, ..self.ladder },
            (Some(_), false) => self.ladder,
        };
        ladder.next(&attempts, &failure)
    }

    /// Deployments that calls go to now: those that are named, or what stands in for them.
    pub(crate) fn in_use<'j>(&'j self, state: &'j State) -> impl Iterator<Item = &'j Deployment> {
        self.places_in_use(state, By::Calls).map(|place| &self.deployments[place])
    }

    /// Whether every item can be called for, whoever serves it.
    pub(crate) fn has_calls(&self, state: &State) -> bool {
        self.in_use(state).all(|found| found.account.api.calls().is_some())
    }

    /// Whether the batches of this job wait for the first item to end.
    pub(crate) fn awaits_canary(&self, state: &State) -> bool {
        let wanted = self.home == Lane::Batch && self.spec.run.canary && self.has_calls(state);
        let (failed, ended) = state.meter.counts();
        let judged = ended > failed || ended >= CANARIES;
        wanted && !judged && state.ratios.iter().all(|ratios| ratios.items == 0)
    }

    /// An item that wants a call, of whoever has none: one in a hurry, or left over by an earlier run.
    pub(crate) fn batch_instead(&self, ordinal: Ordinal, lane: Lane) {
        if self.home != Lane::Batch {
            return self.bury(
                ordinal,
                lane,
                FailureClass::InvalidInput,
                "the provider of its model has no calls",
            );
        }
        self.state.borrow_mut().queue(Retry { due_us: 0, ordinal, lane: Lane::Batch });
        self.changed.notify_waiters();
    }

    /// Queues the next attempt, buries the item, or stops the job.
    pub(super) fn follow(&self, landing: Landing<'_>, next: Next, end: &End<'_>, told: FailureClass) {
        let ordinal = landing.ready.ordinal;
        let now_us = self.clock.us();
        let mut state = self.state.borrow_mut();
        match next {
            Next::Again { lane, wait_us, max_tokens } => {
                if told == FailureClass::RateLimited && end.provider_code == Some(NO_CAPACITY) {
                    state.tally.no_capacity += 1;
                } else if told == FailureClass::RateLimited {
                    state.tally.rate_limited += 1;
                } else {
                    state.tally.retries += 1;
                }
                if let Some(trouble) = state.trouble.get_mut(&ordinal) {
                    trouble.max_tokens = max_tokens.or(trouble.max_tokens);
                }
                state.queue(Retry { due_us: now_us.saturating_add(wait_us), ordinal, lane });
            }
            Next::Dead(class) => {
                state.trouble.remove(&ordinal);
                state.climb.ended(ordinal);
                let before = self.awaits_canary(&state);
                let code = end.provider_code.unwrap_or("");
                let alarm = state.count_dead(ordinal, via(landing.lane), class, code);
                if let Some(class) = state.meter.same().filter(|_| before && !self.awaits_canary(&state)) {
                    let message = format!(
                        "each of the {CANARIES} items that went ahead of the batches failed the same way: {}",
                        end.message
                    );
                    state.halted.get_or_insert(Halt { class, message });
                }
                let proved = state.flaws.ended(class);
                drop(state);
                self.sound(alarm, end.message);
                if let Some((flawed, judged)) = proved {
                    self.halt_for_flaws(flawed, judged, end.message);
                }
            }
            Next::Halt(class) => {
                state.queue(Retry { due_us: now_us, ordinal, lane: landing.lane });
                self.halt_or_fall_back(&mut state, landing.ready.deployment, class, end.message);
            }
        }
        self.changed.notify_waiters();
    }

    pub(super) fn sound(&self, alarm: Alarm, message: &str) {
        match alarm {
            Alarm::Quiet => {}
            Alarm::Alert { failed, total } => {
                self.alert(
                    "failure-threshold",
                    &format!("{failed} of {total} items have failed; the last one: {message}"),
                );
            }
            Alarm::Stop(class) => {
                let message = format!("every item so far failed the same way: {message}");
                self.state.borrow_mut().halted.get_or_insert(Halt { class, message });
            }
        }
    }
}
