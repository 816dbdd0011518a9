//! What each deployment has of a job's batches, and when it takes the next one.
//!
//! A limit of enqueued tokens, a pause after a refusal and a number of batches at once bind one model at one account, never the
//! others of the job: items of a deployment that takes none for now wait beside the queue, and those behind them go on.

use std::collections::VecDeque;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_store::Submission;

use super::breaker::Breaker;
use super::crowd::Crowd;
use crate::run::job::{Job, Retry, State};
use crate::run::recover::sender;
use crate::run::standing::By;

/// Items that are looked at in vain, at most: each was rendered to see whose it is. What is behind them waits with them.
pub(super) const ASIDE_MAX: usize = 100_000;

/// The batches of one deployment.
#[derive(Debug, Default)]
pub(crate) struct BatchQueue {
    /// Batches that are driven now.
    pub batches: u32,
    /// Input tokens in batches that have not ended.
    pub tokens: u64,
    /// As set, or as a refusal told.
    pub tokens_max: Option<u64>,
    /// After a refusal; microseconds on the job's clock.
    pub not_before_us: u64,
    pub refused_in_a_row: u32,
    pub breaker: Breaker,
    pub(super) crowd: Crowd,
    /// Items that were taken for a batch while none could begin.
    waiting: VecDeque<Ordinal>,
}

impl BatchQueue {
    pub(crate) fn new(tokens_max: Option<u64>) -> Self {
        Self { tokens_max, ..Self::default() }
    }

    /// What is left of the limit.
    fn headroom(&self) -> u64 {
        self.tokens_max.map_or(u64::MAX, |most| most.saturating_sub(self.tokens))
    }

    /// Tokens that the next batch is packed for. What is counted while no batch is at work is of batches whose end nobody knows, and may
    /// not be there: the whole limit is tried then, and not a batch of a single item. Once that was refused, what is left of it.
    pub(super) fn room(&self) -> u64 {
        match (self.batches, self.refused_in_a_row, self.headroom()) {
            (0, 0, _) | (0, _, 0) => self.tokens_max.unwrap_or(u64::MAX),
            (_, _, left) => left,
        }
    }

    /// Whether items wait beside the queue.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether limits alone keep the next batch back. `at_once`: as many as may run at the same time do.
    pub(super) fn is_full(&self, now_us: u64, at_once: bool) -> bool {
        let refused = now_us < self.not_before_us;
        refused || self.batches > 0 && self.headroom() == 0 || at_once
    }

    /// With no batch at work one is tried whatever is counted: the count may be wrong, and nothing else would set it right.
    fn has_room(&self, now_us: u64) -> bool {
        let open = now_us >= self.not_before_us && !self.breaker.holds(now_us);
        open && (self.headroom() > 0 || self.batches == 0)
    }
}

impl State {
    /// What the sender of a batch has; `None`: it is none of the job's deployments any more.
    pub(crate) fn queue_of(&mut self, job: &Job, submission: &Submission) -> Option<&mut BatchQueue> {
        sender(job, submission).map(|place| &mut self.batch_queues[place])
    }

    /// When a pause ends that a refusal began, or a deployment that was left is looked at: the next of them.
    pub(super) fn pause_over_us(&self, now_us: u64) -> Option<u64> {
        let pauses = self.batch_queues.iter().map(|queue| queue.not_before_us);
        let looks = self.batch_queues.iter().filter_map(|queue| queue.breaker.opens_at(now_us));
        pauses.chain(looks).filter(|over_us| *over_us > now_us).min()
    }

    /// Items that were taken for batches of a deployment and wait beside the queue.
    pub(crate) fn wait_for(&mut self, place: usize, ordinals: impl IntoIterator<Item = Ordinal>) {
        self.batch_queues[place].waiting.extend(ordinals);
    }

    /// Whether more of them may.
    pub(super) fn has_room_aside(&self) -> bool {
        self.batch_queues.iter().map(|queue| queue.waiting.len()).sum::<usize>() < ASIDE_MAX
    }

    /// They wait no longer: another deployment, or another lane, takes them.
    pub(crate) fn wait_no_more(&mut self, place: usize) {
        for ordinal in std::mem::take(&mut self.batch_queues[place].waiting) {
            self.queue(Retry { due_us: 0, ordinal, lane: Lane::Batch });
        }
    }

    fn next_waiting(&mut self, place: usize) -> Option<Ordinal> {
        let Self { batch_queues, items, .. } = self;
        std::iter::from_fn(|| batch_queues[place].waiting.pop_front()).find(|next| items.is_waiting(*next))
    }
}

impl Job {
    /// Whether a deployment takes a batch now.
    pub(super) fn takes_batch(&self, state: &State, place: usize, now_us: u64) -> bool {
        state.batch_queues[place].has_room(now_us) && !self.runs_enough(state, place)
    }

    /// Whether as many batches of its account run as may at once.
    pub(super) fn runs_enough(&self, state: &State, place: usize) -> bool {
        let account = &self.deployments[place].account;
        let at_once = account.api.batches().and_then(|api| api.facts().at_once);
        let of_account = || {
            let all = self.deployments.iter().zip(&state.batch_queues);
            all.filter(|(found, _)| found.account.id == account.id)
                .map(|(_, queue)| queue.batches)
                .sum::<u32>()
        };
        at_once.is_some_and(|most| of_account() >= most)
    }

    /// Whether an item may be found that a batch can be begun with.
    pub(super) fn has_takers(&self, state: &State, now_us: u64) -> bool {
        let room = state.has_room_aside();
        // What is met on the way and called for instead is not gathered without end.
        if self.calls_for_batches(state) && state.call_retries.len() >= ASIDE_MAX {
            return false;
        }
        self.places_in_use(state, By::Batches).any(|place| {
            let found = room || !state.batch_queues[place].waiting.is_empty();
            found && self.takes_batch(state, place, now_us)
        })
    }

    /// The next item for a batch, with `of` for one of this deployment that is being filled: what waited for it comes first.
    pub(super) fn next_batched(&self, of: Option<usize>) -> Option<Ordinal> {
        let (now_us, mut state) = (self.clock.us(), self.state.borrow_mut());
        let places = of.map_or(0..state.batch_queues.len(), |place| place..place + 1);
        let mut waited = places.filter(|place| !state.batch_queues[*place].waiting.is_empty());
        let waited = waited.find(|place| of.is_some() || self.takes_batch(&state, *place, now_us));
        waited.and_then(|place| state.next_waiting(place)).or_else(|| state.next_batched(now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_whose_end_nobody_knows_does_not_make_the_others_small() {
        for (tokens_max, tokens, batches, refused_in_a_row, room, takes) in [
            (None, 900, 0, 0, u64::MAX, true),
            (Some(1_000), 0, 0, 0, 1_000, true),
            (Some(1_000), 400, 1, 0, 600, true),
            (Some(1_000), 1_000, 1, 0, 0, false),
            // Nothing is at work, and something is counted.
            (Some(1_000), 1_000, 0, 0, 1_000, true),
            (Some(1_000), 990, 0, 0, 1_000, true),
            // The limit was met all the same: it is there.
            (Some(1_000), 990, 0, 1, 10, true),
            (Some(1_000), 1_000, 0, 1, 1_000, true),
        ] {
            let queue = BatchQueue { tokens_max, tokens, batches, refused_in_a_row, ..BatchQueue::default() };
            assert_eq!((queue.room(), queue.has_room(0)), (room, takes), "{queue:?}");
        }
    }
}
