//! Copies of slow calls on their way: planned, their doubt made durable, and taken back where nobody needs them any more.

use std::rc::Rc;

use bulkrate_core::pace::Admit;
use bulkrate_core::planted::{self, Bug};

use super::hedge::{Hedges, Key, Leg, Watched};
use super::{Calls, Message};
use crate::lane::gate::Flight;

/// So many slow calls are looked at in a round: the budget may bear the copy of one and not that of another.
const LOOKS_MAX: usize = 8;

impl Calls {
    /// Plans copies of the calls that are slow, as far as there is room for them.
    pub(super) fn hedge(&mut self) {
        let Some(mut hedges) = self.hedges.take() else { return };
        hedges.wake_us = None;
        if !self.job.is_closing() && !self.job.holds_for_doubt() {
            for place in 0..hedges.gates.len() {
                let copies = self.copies(&mut hedges, place);
                if !copies.is_empty() {
                    self.commit_copies(&mut hedges.gates[place], copies);
                }
            }
        }
        self.hedges = Some(hedges);
    }

    /// The copies that may go to a deployment now, those of the slowest calls first; one that the budget does not bear holds up no
    /// smaller one behind it.
    fn copies(&mut self, hedges: &mut Hedges, place: usize) -> Vec<Flight> {
        let (job, now_us) = (Rc::clone(&self.job), self.job.clock.us());
        let (gate, watched) = (&mut self.gates[place], &mut hedges.gates[place]);
        let mut copies = Vec::new();
        let Some(slow_us) = watched.tail.slow_us() else { return copies };
        let due = |sent_us: u64| sent_us.saturating_add(slow_us);
        let slow: Vec<(u64, Key)> =
            watched.alone.iter().take(LOOKS_MAX).take_while(|call| due(call.0) <= now_us).copied().collect();
        for call in slow {
            let Some(pair) = hedges.out.get_mut(&call.1) else { continue };
            let first = &pair.first;
            if !watched.tail.may_copy() || !gate.has_room_beside(now_us) {
                break;
            }
            if !job.bears_copy(&first.ready) {
                continue;
            }
            if let Admit::At(at_us) = gate.admit(now_us, first.tokens) {
                hedges.wake_us = hedges.wake_us.into_iter().chain([at_us]).min();
                break;
            }
            job.suspect_copy(&first.ready);
            watched.tail.copied();
            watched.alone.remove(&call);
            pair.legs[1] = Leg::Planned;
            copies.push(Flight { copy: true, sent_us: 0, ..first.clone() });
        }
        let next = watched.alone.iter().take(LOOKS_MAX).map(|call| due(call.0)).find(|due| *due > now_us);
        hedges.wake_us = hedges.wake_us.into_iter().chain(next).min();
        self.in_flight += copies.len() as u64;
        copies
    }

    /// Their doubt is durable before any of them leaves.
    fn commit_copies(&mut self, watched: &mut Watched, copies: Vec<Flight>) {
        let job = Rc::clone(&self.job);
        let Some(place) = copies.first().map(|copy| copy.ready.deployment) else { return };
        let new = watched.sub.is_none();
        let sub = *watched.sub.get_or_insert_with(|| job.new_sub());
        job.state.borrow_mut().hedging.subs.insert(sub);
        let tx = job.copies_tx((sub, new), place, copies.iter().map(|copy| &copy.ready));
        let copies = if planted::has(Bug::CopyBeforeDoubt) {
            drop(self.outbox.send(Message::Committed(copies, Ok(()))));
            Vec::new()
        } else {
            copies
        };
        self.commit(tx, copies, false);
    }

    /// Whether a call that may leave now is a copy that nobody needs any more; then it is taken back.
    pub(super) fn is_needless(&self, flight: &Flight) -> bool {
        flight.copy && self.hedges.as_ref().is_none_or(|hedges| !hedges.wants(flight))
    }

    /// A copy does not leave: it is surely not paid.
    pub(super) fn take_back(&mut self, copy: &Flight) {
        self.book_unsent(copy);
        let Some(hedges) = &mut self.hedges else { return };
        hedges.gates[copy.ready.deployment].tail.uncopied();
        if let Some(pair) = hedges.out.get_mut(&copy.key()) {
            pair.legs[1] = Leg::No;
            if pair.landed {
                hedges.out.remove(&copy.key());
            }
        }
        self.landed_since_us.get_or_insert(self.job.clock.us());
    }
}
