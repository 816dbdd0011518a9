//! Items whose prompts begin alike: one call of each beginning goes alone until it is answered, and the others of it are set aside.
//!
//! Invariant: a first call is a lease, and where a lease ends the others go. Nothing of what is set aside is leased.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;

use super::{Calls, Held};
use crate::lane::gate::Flight;
use crate::run::job::Retry;

impl Calls {
    /// Whether an item begins as a call does that is out for the first time. Then it is set aside.
    pub(super) fn waits_for_first(&mut self, held: &Held) -> bool {
        let Some(beginning) = held.ready.beginning() else { return false };
        let row = || (held.ready.ordinal, held.came);
        let waits = self.firsts.waits(beginning, self.job.clock.us(), row);
        if waits {
            self.waits.pass();
        }
        waits
    }

    /// A call was leased.
    pub(super) fn note_first(&mut self, flight: &Flight) {
        if let Some(beginning) = flight.ready.beginning() {
            self.firsts.leased(beginning, flight.key(), self.job.clock.us());
        }
    }

    /// The leases of a call have ended.
    pub(super) fn lease_over(&mut self, flight: &Flight, answered: bool) {
        self.job.state.borrow_mut().call_over(flight.bound());
        if let Some(beginning) = flight.ready.beginning() {
            let free = self.firsts.ended(beginning, flight.key(), answered, self.job.clock.us());
            self.queue_all(free);
        }
    }

    /// First calls that are slow are waited for no longer.
    pub(super) fn let_slow_go(&mut self) {
        if self.firsts.due_us().is_some() {
            let free = self.firsts.overdue(self.job.clock.us());
            self.queue_all(free);
        }
    }

    fn queue_all(&self, items: Vec<(Ordinal, Lane)>) {
        let due_us = self.job.clock.us();
        let mut state = self.job.state.borrow_mut();
        items.into_iter().for_each(|(ordinal, lane)| state.queue(Retry { due_us, ordinal, lane }));
    }
}
