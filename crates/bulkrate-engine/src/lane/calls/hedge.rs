//! Copies of slow calls (`--hedge`): which calls are slow, which of the two counts, and what becomes of the other.
//!
//! Invariants
//! - An item has one lease, whatever is out for it: one of its two calls ends it.
//! - A call has one copy at most, and as long as one of the two is out no third is sent.
//! - A copy leaves after its doubt is durable, and as any other call: within the pace, the room and the budget.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use bulkrate_core::answer::Reading;
use bulkrate_core::collect::check;
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::pace::{Admit, HedgeRule, Tail};
use bulkrate_store::Urgency;
use tokio::task::AbortHandle;

use super::{Calls, Message};
use crate::lane::gate::Flight;
use crate::run::land::Landing;

/// A lease: an item and its attempt.
type Key = (Ordinal, u8);

/// The calls that are out, and their copies. There is none where the job does not hedge.
pub(super) struct Hedges {
    gates: Vec<Watched>,
    out: HashMap<Key, Pair>,
    /// When the next call may be slow.
    pub wake_us: Option<u64>,
}

/// Of one deployment.
struct Watched {
    tail: Tail,
    /// Calls without a copy; the one that has been out longest first.
    alone: BTreeSet<(u64, Key)>,
    /// The submission that copies are booked under, once there is one.
    sub: Option<Sub>,
}

/// A call that is out, and its copy.
struct Pair {
    /// The first call, as a copy of it would go out.
    first: Flight,
    /// The first call and the copy.
    legs: [Leg; 2],
    /// The lease has ended.
    landed: bool,
}

enum Leg {
    No,
    /// Its intent is being made durable, or it waits for its place.
    Planned,
    Out(AbortHandle),
    Over,
}

impl Flight {
    fn key(&self) -> Key {
        (self.ready.ordinal, self.ready.attempt)
    }

    fn landing(&self) -> Landing<'_> {
        Landing { ready: &self.ready, lane: self.lane, sub: None, group: self.group }
    }
}

impl Pair {
    /// Whether its copy has left.
    fn is_hedged(&self) -> bool {
        matches!(self.legs[1], Leg::Out(_) | Leg::Over)
    }
}

impl Hedges {
    pub(super) fn new(gates: usize, rule: HedgeRule) -> Box<Self> {
        let watched = || Watched { tail: Tail::new(rule), alone: BTreeSet::new(), sub: None };
        Box::new(Self { gates: (0..gates).map(|_| watched()).collect(), out: HashMap::new(), wake_us: None })
    }

    /// A call has left.
    pub(super) fn sent(&mut self, flight: Flight, task: AbortHandle) {
        let key = flight.key();
        if flight.copy {
            if let Some(pair) = self.out.get_mut(&key) {
                pair.legs[1] = Leg::Out(task);
            }
            return;
        }
        let watched = &mut self.gates[flight.ready.deployment];
        watched.tail.sent();
        watched.alone.insert((flight.sent_us, key));
        self.out.insert(key, Pair { first: flight, legs: [Leg::Out(task), Leg::No], landed: false });
    }

    /// A call was answered.
    fn answered(&mut self, flight: &Flight, now_us: u64) {
        if self.out.contains_key(&flight.key()) {
            let tail = &mut self.gates[flight.ready.deployment].tail;
            tail.answered(now_us.saturating_sub(flight.sent_us));
        }
    }

    /// Whether a copy that may leave now is still of use.
    fn wants(&self, copy: &Flight) -> bool {
        self.out.get(&copy.key()).is_some_and(|pair| !pair.landed && matches!(pair.legs[0], Leg::Out(_)))
    }
}

impl Calls {
    /// The call as it is watched; `None`: it is one that has no copy.
    pub(super) fn watched(&self, flight: &Flight) -> Option<Flight> {
        self.hedges.as_ref()?;
        let judged = || self.job.state.borrow().climb.awaiting(flight.ready.ordinal).is_some();
        let may = flight.copy || flight.lane == Lane::Sync && flight.more.is_empty() && !judged();
        may.then(|| flight.clone())
    }

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

    /// The copies that may go to a deployment now, those of the slowest calls first.
    fn copies(&mut self, hedges: &mut Hedges, place: usize) -> Vec<Flight> {
        let (job, now_us) = (Rc::clone(&self.job), self.job.clock.us());
        let (gate, watched) = (&mut self.gates[place], &mut hedges.gates[place]);
        let mut copies = Vec::new();
        let Some(slow_us) = watched.tail.slow_us() else { return copies };
        while let Some(&(sent_us, key)) = watched.alone.first() {
            let due_us = sent_us.saturating_add(slow_us);
            if now_us < due_us {
                hedges.wake_us = hedges.wake_us.into_iter().chain([due_us]).min();
                break;
            }
            let Some(pair) = hedges.out.get_mut(&key) else { break };
            let first = &pair.first;
            if !watched.tail.may_copy() || !gate.has_room_beside(now_us) || !job.bears_copy(&first.ready) {
                break;
            }
            if let Admit::At(at_us) = gate.admit(now_us, first.tokens) {
                hedges.wake_us = hedges.wake_us.into_iter().chain([at_us]).min();
                break;
            }
            job.suspect_copy(&first.ready);
            watched.tail.copied();
            watched.alone.pop_first();
            pair.legs[1] = Leg::Planned;
            copies.push(Flight { copy: true, sent_us: 0, ..first.clone() });
        }
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
        if self.lends() {
            self.flush(true);
        }
        let outbox = self.outbox.clone();
        job.writer.send(
            tx,
            Urgency::Now,
            Box::new(move |result| {
                let result = result.map_err(|error| crate::error::stored(&error));
                drop(outbox.send(Message::Committed(copies, result)));
            }),
        );
    }

    /// Whether a call that may leave now is a copy that nobody needs any more; then it is taken back.
    pub(super) fn is_needless(&self, flight: &Flight) -> bool {
        flight.copy && self.hedges.as_ref().is_none_or(|hedges| !hedges.wants(flight))
    }

    /// A copy does not leave: it is surely not paid.
    pub(super) fn take_back(&mut self, copy: &Flight) {
        let Some(hedges) = &mut self.hedges else { return };
        let watched = &mut hedges.gates[copy.ready.deployment];
        watched.tail.uncopied();
        if let Some(sub) = watched.sub {
            self.job.clear_copy(&copy.ready, sub);
        }
        if let Some(pair) = hedges.out.get_mut(&copy.key()) {
            pair.legs[1] = Leg::No;
            if pair.landed {
                hedges.out.remove(&copy.key());
            }
        }
        self.landed_since_us.get_or_insert(self.job.clock.us());
    }

    /// A call has ended. Whether its lease does as well: not where its copy, or what it is a copy of, goes on or has landed. Then the
    /// doubt is this call's.
    pub(super) fn ends_lease(&mut self, flight: &Flight, reading: Option<&Reading<'_>>) -> bool {
        let ends = self.ends_pair(flight, reading);
        if ends {
            self.job.state.borrow_mut().calls_bound -= flight.bound();
        }
        ends
    }

    fn ends_pair(&mut self, flight: &Flight, reading: Option<&Reading<'_>>) -> bool {
        let Some(hedges) = &mut self.hedges else { return true };
        let (key, now_us) = (flight.key(), self.job.clock.us());
        if let Some(Reading::Answer(_)) = reading {
            hedges.answered(flight, now_us);
        }
        let Some(pair) = hedges.out.get_mut(&key) else { return true };
        let watched = &mut hedges.gates[flight.ready.deployment];
        watched.alone.remove(&(pair.first.sent_us, key));
        let other = usize::from(!flight.copy);
        let hedged = pair.is_hedged();
        // What was not sent never was a copy.
        pair.legs[1 - other] = if reading.is_none() { Leg::No } else { Leg::Over };
        if pair.landed {
            hedges.out.remove(&key);
            return false;
        }
        if hedged {
            let good = is_good(flight, reading);
            if !good && matches!(pair.legs[other], Leg::Out(_)) {
                return false;
            }
            let hedging = &mut self.job.state.borrow_mut().hedging;
            *(if flight.copy { &mut hedging.won } else { &mut hedging.lost }) += u64::from(good);
        }
        match &pair.legs[other] {
            Leg::Out(task) => {
                // One that has ended has said so already: that is heard next.
                pair.landed = true;
                if !task.is_finished() {
                    task.abort();
                    self.in_flight -= 1;
                    self.gates[flight.ready.deployment].dropped();
                    if flight.copy {
                        watched.tail.answered(now_us.saturating_sub(pair.first.sent_us));
                    }
                    hedges.out.remove(&key);
                }
            }
            Leg::Planned => pair.landed = true,
            Leg::No | Leg::Over => drop(hedges.out.remove(&key)),
        }
        true
    }

    /// A call has ended beside another that goes on or has landed. Where nobody knows whether it was paid its doubt stands.
    pub(super) fn book_beside(&self, flight: &Flight, reading: &Reading<'_>) {
        let sub = self.hedges.as_ref().and_then(|hedges| hedges.gates[flight.ready.deployment].sub);
        let Some(sub) = sub else { return };
        match reading {
            Reading::Answer(answer) => self.job.pay_copy(flight.landing(), answer, sub),
            Reading::Failure(failure) if !failure.maybe_paid => self.job.clear_copy(&flight.ready, sub),
            Reading::Failure(_) => {}
        }
    }

    /// It was not sent.
    pub(super) fn book_unsent(&self, flight: &Flight) {
        if let Some(sub) = self.hedges.as_ref().and_then(|hedges| hedges.gates[flight.ready.deployment].sub) {
            self.job.clear_copy(&flight.ready, sub);
        }
    }
}

/// Whether an answer may be the item's.
fn is_good(flight: &Flight, reading: Option<&Reading<'_>>) -> bool {
    matches!(reading, Some(Reading::Answer(answer)) if check(&flight.ready.expectation, answer).is_ok())
}
