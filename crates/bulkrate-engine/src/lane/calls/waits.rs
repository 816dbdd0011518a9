//! Items that may not go yet, by deployment: one that waits for its pace, or for an answer, holds up no item of another.
//!
//! The next item of each deployment is kept as it will be sent. What is met behind it, on the way to items of others, is
//! remembered by its number and read again when it is its turn. Nothing of it is leased.

use std::collections::VecDeque;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;

use super::Held;

/// So many items may wait behind others: 2 MB.
const BEHIND_MAX: usize = 1 << 18;
/// So many are passed over before messages are looked at again.
const PASSED_MAX: u32 = 256;

/// What waits at the gates of a job, and which of them have refused in this round.
#[derive(Default)]
pub(super) struct Waits {
    gates: Vec<Queue>,
    behind: usize,
    /// Items passed over in this round.
    passed: u32,
    /// The budget has refused, which holds for every gate.
    stalled: bool,
}

#[derive(Default)]
struct Queue {
    first: Option<Held>,
    behind: VecDeque<(Ordinal, Lane)>,
    refused: bool,
}

/// What may be tried next.
pub(super) enum Turn {
    Held(Held),
    /// To be read again.
    Behind(Ordinal, Lane),
}

impl Waits {
    pub(super) fn new(gates: usize) -> Self {
        Self { gates: (0..gates).map(|_| Queue::default()).collect(), ..Self::default() }
    }

    /// Every gate may be asked anew.
    pub(super) fn begin(&mut self) {
        (self.passed, self.stalled) = (0, false);
        self.gates.iter_mut().for_each(|gate| gate.refused = false);
    }

    /// What waits at a gate that has not refused in this round.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        let gate = self.gates.iter_mut().find(|gate| !gate.refused && !gate.is_empty())?;
        if let Some(first) = gate.first.take() {
            return Some(Turn::Held(first));
        }
        let (ordinal, lane) = gate.behind.pop_front()?;
        self.behind -= 1;
        Some(Turn::Behind(ordinal, lane))
    }

    /// Whether the gate at this place has refused in this round.
    pub(super) fn has_refused(&self, place: usize) -> bool {
        self.gates[place].refused
    }

    /// The gate at this place does not let the item through now.
    pub(super) fn refused(&mut self, held: Held) {
        self.gates[held.ready.deployment].refused = true;
        self.put(held, true);
    }

    /// The budget does not.
    pub(super) fn stall(&mut self, held: Held) {
        self.stalled = true;
        self.put(held, true);
    }

    /// An item whose gate has refused. `first`: it goes before those that wait already.
    pub(super) fn put(&mut self, held: Held, first: bool) {
        self.passed += 1;
        let gate = &mut self.gates[held.ready.deployment];
        if gate.is_empty() || first && gate.first.is_none() {
            gate.first = Some(held);
            return;
        }
        let mut items: Vec<(Ordinal, Lane)> = held.ordinals().map(|ordinal| (ordinal, held.came)).collect();
        self.behind += items.len();
        if first {
            items.reverse();
            items.into_iter().for_each(|item| gate.behind.push_front(item));
        } else {
            gate.behind.extend(items);
        }
    }

    /// An item was looked at that does not go by itself.
    pub(super) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Whether items that nobody has met yet may be looked at, `in_use` being the gates that they may come to.
    pub(super) fn looks_on(&self, mut in_use: impl Iterator<Item = usize>) -> bool {
        !self.stalled && self.behind < BEHIND_MAX && in_use.any(|place| !self.gates[place].refused)
    }

    /// Whether it is time to look at something else.
    pub(super) fn is_far(&self) -> bool {
        self.passed >= PASSED_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gates.iter().all(Queue::is_empty)
    }

    /// Whether nothing waits at one gate.
    pub(super) fn is_empty_at(&self, place: usize) -> bool {
        self.gates[place].is_empty()
    }

    /// Everything that waits at one gate.
    pub(super) fn take(&mut self, place: usize) -> Vec<(Ordinal, Lane)> {
        let gate = &mut self.gates[place];
        self.behind -= gate.behind.len();
        let mut all = Vec::with_capacity(gate.behind.len() + 1);
        if let Some(first) = gate.first.take() {
            all.extend(first.ordinals().map(|ordinal| (ordinal, first.came)));
        }
        all.extend(gate.behind.drain(..));
        all
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.gates.len());
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.behind.is_empty()
    }
}
