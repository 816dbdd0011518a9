//! Which item goes next: one that has waited for its gate, or one that nobody has looked at yet.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_store::fold::State as ItemState;

use super::waits::Turn;
use super::{Calls, Held, LAND_MAX};
use crate::run::bundle::Parcel;
use crate::run::job::Retry;
use crate::run::ready::NotReady;
use crate::run::standing::By;

/// What became of an item that was read to be sent.
pub(super) enum Read {
    Ready(Held),
    /// It ended without a call, or goes to a batch.
    Ended,
    /// Nothing more is to be read for now.
    Stop,
}

impl Calls {
    /// The next item that a gate may let through: one that waits, or one that nobody has looked at.
    pub(super) fn pick(&mut self) -> Option<Held> {
        if self.job.bundle.is_some() {
            return self.pick_bundled();
        }
        loop {
            if let Some(turn) = self.waits.turn() {
                let (ordinal, lane) = match turn {
                    Turn::Held(held) => return Some(held),
                    Turn::Behind(ordinal, lane) => (ordinal, lane),
                };
                if !self.job.state.borrow().items.is_waiting(ordinal) {
                    continue; // taken by another lane while it waited
                }
                match self.read(ordinal, lane) {
                    Read::Ready(held) => return Some(held),
                    Read::Ended => continue,
                    Read::Stop => return None,
                }
            }
            let looks_on = self.waits.looks_on(self.job.places_in_use(&self.job.state.borrow(), By::Calls));
            if !looks_on || self.firsts.is_full() {
                return None;
            }
            if self.waits.is_far() {
                self.wake_us = Some(self.job.clock.us());
                return None;
            }
            let held = self.next()?;
            if !self.waits.has_refused(held.ready.deployment) {
                return Some(held);
            }
            let first = self.goes_before(&held);
            self.waits.put(held, first);
        }
    }

    /// What has run before or is urgent does not wait behind what is neither.
    pub(super) fn goes_before(&self, held: &Held) -> bool {
        let ordinal = held.ready.ordinal;
        let state = self.job.state.borrow();
        let fresh = state.items.get(ordinal).is_some_and(|item| item.state == ItemState::Queued);
        !fresh || state.is_urgent(ordinal)
    }

    /// The next item that wants a call and that nobody has looked at, read and encoded.
    fn next(&mut self) -> Option<Held> {
        loop {
            let (ordinal, lane) = self.coming()?;
            match self.read(ordinal, lane) {
                Read::Ready(held) => return Some(held),
                Read::Ended => {}
                Read::Stop => return None,
            }
        }
    }

    /// The next item that wants a call and that nobody has looked at.
    pub(super) fn coming(&self) -> Option<(Ordinal, Lane)> {
        let job = &self.job;
        let now_us = job.clock.us();
        let mut state = job.state.borrow_mut();
        // One canary at a time, and none while a batch or another call has an item.
        let alone = state.call_retries.is_empty() && state.items.counts().of(ItemState::Leased) == 0;
        let canary = alone && self.waits.is_empty() && self.gathering.is_empty() && job.awaits_canary(&state);
        let fresh = job.home != Lane::Batch || state.near.switched || canary;
        let lane = if job.home == Lane::Flex && !state.near.switched { Lane::Flex } else { Lane::Sync };
        let next = state.next_call(now_us, fresh, lane);
        // Nothing fresh is left: an item that waits for a batch may lead as well.
        let next = next.or_else(|| {
            if canary { state.next_batched(now_us).map(|ordinal| (ordinal, lane)) } else { None }
        });
        // Or one is called for instead of a batch.
        let instead = next.is_none() && !fresh && job.calls_for_batches(&state) && state.has_room_aside();
        next.or_else(|| instead.then(|| state.next_batched(now_us)).flatten().map(|next| (next, Lane::Batch)))
    }

    /// Reads and encodes an item.
    pub(super) fn read(&mut self, ordinal: Ordinal, lane: Lane) -> Read {
        let job = &self.job;
        let now_us = job.clock.us();
        match job.serve(ordinal) {
            Ok(false) => {}
            Ok(true) => return self.has_ended(now_us),
            Err(error) => {
                job.fail(error);
                return Read::Stop;
            }
        }
        let mut body = Vec::with_capacity(1_024);
        let came = job.lane_of(ordinal, lane);
        let (lane, ready) = match job.ready(ordinal, came, &mut body) {
            Err(NotReady::Lane(other)) => {
                body.clear();
                (other, job.ready(ordinal, other, &mut body))
            }
            ready => (came, ready),
        };
        match ready {
            // Of a model whose batches are taken: it waits for one, beside the queue that it came from.
            Ok(ready) if lane == Lane::Batch => {
                job.state.borrow_mut().wait_for(ready.deployment, [ordinal]);
                job.changed.notify_waiters();
                self.waits.pass();
                if self.waits.is_far() {
                    self.wake_us = Some(now_us);
                    return Read::Stop;
                }
                Read::Ended
            }
            Ok(ready) if job.deployments[ready.deployment].account.api.calls().is_none() => {
                job.batch_instead(ordinal, lane);
                self.landed_since_us.get_or_insert(now_us);
                Read::Ended
            }
            Ok(ready) => Read::Ready(Held { came, ..Held::of(Parcel::alone(ready), lane, body) }),
            Err(NotReady::Unsupported(why)) => {
                job.bury(ordinal, lane, FailureClass::InvalidInput, &why);
                self.has_ended(now_us)
            }
            // The choice has changed in between: it is taken anew.
            Err(NotReady::Lane(lane)) => {
                job.state.borrow_mut().queue(Retry { due_us: now_us, ordinal, lane });
                Read::Ended
            }
            Err(NotReady::Engine(error)) => {
                job.fail(error);
                Read::Stop
            }
        }
    }

    /// An item has ended without a call. What is much is written before more is read.
    fn has_ended(&mut self, now_us: u64) -> Read {
        self.landed_since_us.get_or_insert(now_us);
        let many = self.job.state.borrow().outcomes.len() >= LAND_MAX;
        if many {
            self.wake_us = Some(now_us);
        }
        if many || self.job.is_closing() { Read::Stop } else { Read::Ended }
    }
}
