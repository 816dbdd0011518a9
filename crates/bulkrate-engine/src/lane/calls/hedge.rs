//! Copies of slow calls (`--hedge`): which calls are slow, which of the two counts, and what becomes of the other.
//!
//! Invariants
//! - An item has one lease, whatever is out for it: one of its two calls ends it.
//! - A call has one copy at most, and as long as one of the two is out no third is sent.
//! - A copy leaves after its doubt is durable, and as any other call: within the pace, the room and the budget.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_core::answer::Reading;
use bulkrate_core::collect::check;
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::pace::{HedgeRule, Tail, would_repeat};
use bulkrate_core::planted::{self, Bug};
use tokio::task::AbortHandle;

use super::Calls;
use crate::lane::gate::Flight;
use crate::run::land::Landing;
use crate::spec::SyncDoubt;

/// A lease: an item and its attempt.
pub(super) type Key = (Ordinal, u8);

/// The calls that are out, and their copies. There is none where the job does not hedge.
pub(super) struct Hedges {
    pub gates: Vec<Watched>,
    pub out: HashMap<Key, Pair>,
    /// When the next call may be slow.
    pub wake_us: Option<u64>,
}

/// Of one deployment.
pub(super) struct Watched {
    pub tail: Tail,
    /// Calls without a copy; the one that has been out longest first.
    pub alone: BTreeSet<(u64, Key)>,
    /// The submission that copies are booked under, once there is one.
    pub sub: Option<Sub>,
}

/// A call that is out, and its copy.
pub(super) struct Pair {
    /// The first call, as a copy of it would go out.
    pub first: Flight,
    /// The first call and the copy.
    pub legs: [Leg; 2],
    /// The lease has ended.
    pub landed: bool,
}

pub(super) enum Leg {
    No,
    /// Its intent is being made durable, or it waits for its place.
    Planned,
    Out(Sent),
    Over,
}

/// A call that is out.
pub(super) struct Sent {
    pub task: AbortHandle,
    /// The first byte of it may have left this host.
    pub left: Arc<AtomicBool>,
}

impl Sent {
    /// Gives it up. Whether it surely never left: nothing of it runs any more.
    fn close(&self) -> bool {
        self.task.abort();
        !self.left.load(Ordering::Relaxed)
    }
}

impl Flight {
    pub(super) fn key(&self) -> Key {
        (self.ready.ordinal, self.ready.attempt)
    }

    pub(super) fn landing(&self) -> Landing<'_> {
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
    pub(super) fn sent(&mut self, flight: Flight, sent: Sent) {
        let key = flight.key();
        if flight.copy {
            if let Some(pair) = self.out.get_mut(&key) {
                pair.legs[1] = Leg::Out(sent);
            }
            return;
        }
        let watched = &mut self.gates[flight.ready.deployment];
        watched.tail.sent();
        watched.alone.insert((flight.sent_us, key));
        self.out.insert(key, Pair { first: flight, legs: [Leg::Out(sent), Leg::No], landed: false });
    }

    /// Whether a copy that may leave now is still of use.
    pub(super) fn wants(&self, copy: &Flight) -> bool {
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

    /// A call has ended. Whether its lease does as well: not where its copy, or what it is a copy of, goes on or has landed. Then the
    /// doubt is this call's.
    pub(super) fn ends_lease(&mut self, flight: &Flight, reading: Option<&Reading<'_>>) -> bool {
        let ends = self.ends_pair(flight, reading);
        if ends {
            self.lease_over(flight, matches!(reading, Some(Reading::Answer(_))));
        }
        ends
    }

    fn ends_pair(&mut self, flight: &Flight, reading: Option<&Reading<'_>>) -> bool {
        let Some(hedges) = &mut self.hedges else { return true };
        let (key, now_us) = (flight.key(), self.job.clock.us());
        let Some(pair) = hedges.out.get_mut(&key) else { return true };
        let watched = &mut hedges.gates[flight.ready.deployment];
        if let Some(Reading::Answer(_)) = reading {
            watched.tail.answered(now_us.saturating_sub(flight.sent_us));
        }
        watched.alone.remove(&(pair.first.sent_us, key));
        let other = usize::from(!flight.copy);
        let hedged = pair.is_hedged();
        // What was not sent never was a copy.
        pair.legs[1 - other] = if reading.is_none() { Leg::No } else { Leg::Over };
        if pair.landed {
            hedges.out.remove(&key);
            return false;
        }
        let mut good = false;
        if hedged {
            let worth = worth(flight, reading);
            good = worth == Worth::Good;
            // The closed one may be paid: where an item is asked no more after that, its end is waited for.
            let ends = good || worth == Worth::Last && self.job.spec.run.sync_doubt == SyncDoubt::Resend;
            if !ends && matches!(pair.legs[other], Leg::Out(_)) {
                return false;
            }
        }
        // The other is given up. One that has ended has said so already: that is heard next.
        let closed = match &pair.legs[other] {
            Leg::Out(sent) if !sent.task.is_finished() => Some(sent.close()),
            _ => None,
        };
        // A copy that was closed before it left never was one.
        let unsent = hedged && closed == Some(true);
        if hedged {
            let hedging = &mut self.job.state.borrow_mut().hedging;
            *(if flight.copy { &mut hedging.won } else { &mut hedging.lost }) +=
                u64::from(good && (flight.copy || !unsent));
        }
        match &pair.legs[other] {
            Leg::Out(_) => {
                pair.landed = true;
                if closed.is_some() {
                    self.in_flight -= 1;
                    self.gates[flight.ready.deployment].dropped();
                    if flight.copy {
                        watched.tail.answered(now_us.saturating_sub(pair.first.sent_us));
                    } else if unsent {
                        watched.tail.uncopied();
                    }
                    hedges.out.remove(&key);
                }
            }
            Leg::Planned => pair.landed = true,
            Leg::No | Leg::Over => drop(hedges.out.remove(&key)),
        }
        if unsent {
            self.closed_unsent(flight);
        }
        true
    }

    /// The call beside one that has ended its lease was closed before it left: it cannot have been paid.
    fn closed_unsent(&self, ended: &Flight) {
        self.book_unsent(ended);
        let mut state = self.job.state.borrow_mut();
        state.tally.requests_sent -= 1;
        state.hedging.sent -= u64::from(!ended.copy);
    }

    /// A call has ended beside another that goes on or has landed. Where nobody knows whether it was paid it is in doubt.
    pub(super) fn book_beside(&self, flight: &Flight, reading: &Reading<'_>) {
        let Some(sub) = self.copies_sub(flight) else { return };
        match reading {
            Reading::Answer(answer) => self.job.pay_copy(flight.landing(), answer, sub),
            Reading::Failure(failure) if !failure.maybe_paid || planted::has(Bug::LostCopyCleared) => {
                self.job.clear_copy(&flight.ready, sub);
            }
            Reading::Failure(_) => self.job.lose_beside(flight.landing(), sub),
        }
    }

    /// The submission that copies of such a call are booked under.
    fn copies_sub(&self, flight: &Flight) -> Option<Sub> {
        self.hedges.as_ref()?.gates[flight.ready.deployment].sub
    }

    /// It was not sent.
    pub(super) fn book_unsent(&self, flight: &Flight) {
        if let Some(sub) = self.copies_sub(flight) {
            self.job.clear_copy(&flight.ready, sub);
        }
    }
}

/// What an answer is for the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Good,
    /// It is no good, and another would be none either.
    Last,
    Nothing,
}

fn worth(flight: &Flight, reading: Option<&Reading<'_>>) -> Worth {
    let Some(Reading::Answer(answer)) = reading else { return Worth::Nothing };
    match check(&flight.ready.expectation, answer) {
        Ok(_) => Worth::Good,
        Err(flaw) if would_repeat(flaw.class) => Worth::Last,
        Err(_) => Worth::Nothing,
    }
}
