//! The state of every item: the fold of its record, its leases and its outcomes, in commit order.
//!
//! Two bytes an item, so that ten million fit in 20 MB. The engine feeds the same [`ItemStates`] live with what it
//! commits, and rebuilds it with [`ItemStates::load`] when it starts: both must be equal.
//!
//! Invariants
//! - I1: every item is in exactly one state, so the counts add up to the items (asserted).
//! - I6: a done item stays done, whatever else is fed.
//! - The lease is the guard: an outcome changes an item only if it ends the attempt that the item is leased for, or
//!   needs no lease ([`Via::is_attempt`]), is final, and the item is waiting.
//! - Applying an outcome again changes nothing (I11).

use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::planted::{self, Bug};

use crate::error::StoreError;
use crate::row::{Fate, ItemChunk, ItemKind, ItemRec, Lease, Outcome, Via};
use crate::store::{LogChunk, View};

/// Where one item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Shares its leader's.
    Follower = 0,
    /// Never became a request; final.
    Invalid = 1,
    /// Has not run yet, or its lease was void.
    Queued = 2,
    /// A submission carries it.
    Leased = 3,
    /// Waits for another attempt.
    Retry = 4,
    Done = 5,
    Dead = 6,
    Cancelled = 7,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Follower,
        Self::Invalid,
        Self::Queued,
        Self::Leased,
        Self::Retry,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Whether a submission may take the item.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Queued | Self::Retry)
    }

    /// Whether nothing more happens to a leader in this state.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Invalid | Self::Done | Self::Dead | Self::Cancelled)
    }
}

/// One item, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemState {
    pub state: State,
    /// Counted attempts in the batch lane, at most 15.
    pub batch_attempts: u8,
    /// Counted attempts in the flex and sync lanes, at most 15.
    pub call_attempts: u8,
}

// Bits of an item: 0-2 state, 3-6 batch attempts, 7-10 call attempts, 11-15 the open attempt modulo 31.
const STATE: u16 = 0x7;
const BATCH: u32 = 3;
const CALL: u32 = 7;
const OPEN: u32 = 11;
const COUNT: u16 = 0xf;
/// No attempt is open: what ends one now is late.
const CLOSED: u16 = 31;

/// What feeding an outcome did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Applied {
    /// The item has a new state.
    Landed,
    /// Late or double: nothing changed.
    Late,
}

/// Things that were fed and do not fit. All zero while the engine keeps its own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Misfits {
    /// Outcomes that ended no open attempt.
    pub late: u64,
    /// Leases of items that were leased already, final, or followers (I3).
    pub leases: u64,
    /// Ordinals beyond the items.
    pub unknown: u64,
}

/// How many items are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Counts([u64; 8]);

impl Counts {
    #[must_use]
    pub fn of(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Leaders that are not final.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.of(State::Queued) + self.of(State::Leased) + self.of(State::Retry)
    }
}

/// The states of a job's items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemStates {
    items: Vec<u16>,
    counts: Counts,
    misfits: Misfits,
    /// Items before this ordinal are counted in `asked` as well; `None`: all of them are asked for.
    end: Option<Ordinal>,
    asked: Counts,
}

impl ItemStates {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fold of all that a store holds of a job.
    pub fn load(store: &dyn View, job: u32) -> Result<Self, StoreError> {
        let mut states = Self::new();
        store.scan_kinds(job, &mut |_, kinds| {
            states.push_kinds(kinds.iter().copied());
            ControlFlow::Continue(())
        })?;
        store.scan_log(job, &mut |chunk| {
            states.feed(chunk);
            ControlFlow::Continue(())
        })?;
        states.check();
        Ok(states)
    }

    /// Appends the items of a chunk.
    pub fn push(&mut self, chunk: &ItemChunk) {
        self.push_kinds(chunk.items.iter().map(ItemRec::kind));
    }

    fn push_kinds(&mut self, kinds: impl Iterator<Item = ItemKind>) {
        for kind in kinds {
            let state = match kind {
                ItemKind::Leader => State::Queued,
                ItemKind::Follower => State::Follower,
                ItemKind::Invalid => State::Invalid,
            };
            if self.is_asked(self.items.len()) {
                self.asked.0[state as usize] += 1;
            }
            self.items.push(state as u16 | CLOSED << OPEN);
            self.counts.0[state as usize] += 1;
        }
        self.check();
    }

    /// Feeds a piece of the history.
    pub fn feed(&mut self, chunk: LogChunk<'_>) {
        match chunk {
            LogChunk::Leases { state, leases, .. } => {
                self.lease(leases);
                if state.voids_leases() {
                    self.release(leases);
                }
            }
            LogChunk::Outcomes(outcomes) => {
                for outcome in outcomes {
                    self.outcome(outcome);
                }
            }
        }
        self.check();
    }

    /// A submission takes items.
    pub fn lease(&mut self, leases: &[Lease]) {
        for lease in leases {
            let Some(slot) = self.items.get_mut(lease.ordinal as usize) else {
                self.misfits.unknown += 1;
                continue;
            };
            let before = *slot & STATE;
            if before != State::Queued as u16 && before != State::Retry as u16 {
                self.misfits.leases += 1;
                continue;
            }
            *slot = *slot & !(STATE | CLOSED << OPEN) | State::Leased as u16 | open(lease.attempt);
            self.moved(lease.ordinal, before, State::Leased as u16);
        }
    }

    /// A submission was proved unpaid: what it still leases is queued again. A late answer to it may still fill the
    /// item until another submission takes it.
    pub fn release(&mut self, leases: &[Lease]) {
        for lease in leases {
            let Some(slot) = self.items.get_mut(lease.ordinal as usize) else {
                self.misfits.unknown += 1;
                continue;
            };
            if *slot & STATE == State::Leased as u16 && *slot & (CLOSED << OPEN) == open(lease.attempt) {
                *slot = *slot & !STATE | State::Queued as u16;
                self.moved(lease.ordinal, State::Leased as u16, State::Queued as u16);
            }
        }
    }

    /// An attempt ended.
    pub fn outcome(&mut self, outcome: &Outcome) -> Applied {
        let Some(slot) = self.items.get_mut(outcome.ordinal as usize) else {
            self.misfits.unknown += 1;
            return Applied::Late;
        };
        let before = *slot & STATE;
        let Some(after) = after(*slot, outcome) else {
            // The outcome that says why an item is invalid changes nothing and is no misfit.
            if before != State::Invalid as u16 {
                self.misfits.late += 1;
            }
            return Applied::Late;
        };
        *slot = after;
        self.moved(outcome.ordinal, before, after & STATE);
        Applied::Landed
    }

    fn moved(&mut self, ordinal: Ordinal, before: u16, after: u16) {
        let asked = self.end.is_some_and(|end| ordinal < end);
        for counts in [Some(&mut self.counts), asked.then_some(&mut self.asked)].into_iter().flatten() {
            counts.0[usize::from(before)] -= 1;
            counts.0[usize::from(after)] += 1;
        }
    }

    fn is_asked(&self, place: usize) -> bool {
        self.end.is_some_and(|end| place < end as usize)
    }

    /// From now on [`Self::asked`] counts only the items before `end`.
    pub fn ask_until(&mut self, end: Ordinal) {
        self.end = Some(end);
        self.asked = Counts::default();
        for bits in self.items.iter().take(end as usize) {
            self.asked.0[usize::from(bits & STATE)] += 1;
        }
    }

    /// The counts of the items that are asked for: all, or those that [`Self::ask_until`] names.
    #[must_use]
    pub fn asked(&self) -> Counts {
        if self.end.is_some() { self.asked } else { self.counts }
    }

    #[must_use]
    pub fn get(&self, ordinal: Ordinal) -> Option<ItemState> {
        self.items.get(ordinal as usize).map(|bits| unpack(*bits))
    }

    /// Whether a submission may take the item.
    #[must_use]
    pub fn is_waiting(&self, ordinal: Ordinal) -> bool {
        self.get(ordinal).is_some_and(|item| item.state.is_waiting())
    }

    /// The first item at or after `from` that has not run yet, or whose lease was void.
    #[must_use]
    pub fn next_queued(&self, from: Ordinal) -> Option<Ordinal> {
        let rest = self.items.get(from as usize..)?;
        let place = rest.iter().position(|bits| bits & STATE == State::Queued as u16)?;
        from.checked_add(u32::try_from(place).ok()?)
    }

    /// Whether the item is leased for this very attempt.
    #[must_use]
    pub fn is_leased_for(&self, ordinal: Ordinal, attempt: u8) -> bool {
        self.items.get(ordinal as usize).is_some_and(|bits| {
            bits & STATE == State::Leased as u16
                && (bits & (CLOSED << OPEN) == open(attempt) || planted::has(Bug::NoAttemptGuard))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ordinal, ItemState)> {
        (0..).zip(self.items.iter().map(|bits| unpack(*bits)))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn misfits(&self) -> Misfits {
        self.misfits
    }

    /// The counts with every follower counted in its leader's state: what people are told of a job.
    pub fn resolved(&self, store: &dyn View, job: u32) -> Result<Counts, StoreError> {
        let mut counts = self.counts;
        store.scan_items(job, 0, &mut |chunk| {
            for item in &chunk.items {
                if let ItemRec::Follower { leader } = item
                    && let Some(of) = self.get(*leader)
                {
                    counts.0[State::Follower as usize] -= 1;
                    counts.0[of.state as usize] += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(counts)
    }

    /// I1, from the running counts.
    fn check(&self) {
        assert_eq!(self.counts.total(), self.items.len() as u64, "I1: every item is in exactly one state");
    }

    /// I1, by counting every item again; for `verify` and tests.
    pub fn recount(&self) -> Counts {
        let mut counts = Counts::default();
        for bits in &self.items {
            counts.0[usize::from(bits & STATE)] += 1;
        }
        assert_eq!(counts, self.counts, "I1: the running counts are the states");
        counts
    }
}

/// The bits of an open attempt.
fn open(attempt: u8) -> u16 {
    (u16::from(attempt) % CLOSED) << OPEN
}

#[allow(clippy::cast_possible_truncation, reason = "masked to four bits")]
fn unpack(bits: u16) -> ItemState {
    ItemState {
        state: State::ALL[usize::from(bits & STATE)],
        batch_attempts: (bits >> BATCH & COUNT) as u8,
        call_attempts: (bits >> CALL & COUNT) as u8,
    }
}

/// The item's bits after the outcome; `None` = it does not apply.
fn after(bits: u16, outcome: &Outcome) -> Option<u16> {
    let state = State::ALL[usize::from(bits & STATE)];
    if outcome.fate == Fate::Revive {
        let revived = matches!(state, State::Dead | State::Cancelled) && !outcome.via.is_attempt();
        return revived.then_some(State::Queued as u16 | CLOSED << OPEN);
    }
    let fits = if outcome.via.is_attempt() {
        (state == State::Leased || state.is_waiting())
            && (bits & (CLOSED << OPEN) == open(outcome.attempt) || planted::has(Bug::NoAttemptGuard))
    } else {
        state.is_waiting() && outcome.fate == Fate::Final
    };
    if !fits {
        return None;
    }
    let next = match (outcome.fate, outcome.class) {
        (Fate::Retry | Fate::Escalate, _) => State::Retry,
        (_, None) => State::Done,
        (_, Some(FailureClass::CancelledByUser)) => State::Cancelled,
        (_, Some(_)) => State::Dead,
    };
    let mut bits = bits & !(STATE | CLOSED << OPEN) | next as u16 | CLOSED << OPEN;
    if outcome.fate == Fate::Escalate {
        bits &= !(COUNT << BATCH | COUNT << CALL); // another model: its attempts are counted from the first
    } else if outcome.counted && outcome.via.is_attempt() {
        let shift = if outcome.via == Via::Batch { BATCH } else { CALL };
        if bits >> shift & COUNT < COUNT {
            bits += 1 << shift;
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests;
