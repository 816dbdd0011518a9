//! Second copies of slow calls (W9), pair by pair: a call, its copy, and what their process has heard of each.
//!
//! The ledger has sums of a run, so that they are compared with what all its pairs together may say; what a pair was billed is compared
//! with what that pair may have cost.

use std::collections::BTreeMap;

use bulkrate_core::ids::Ordinal;
use bulkrate_store::LedgerKind;

use super::{Books, LeaseEnd, Paid};

/// A lease: an item, and which of its leases.
type Key = (Ordinal, usize);

/// What a process has heard of one of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it is out, was closed, or was out for too long.
    Silent,
    /// A refusal in the provider's own words: it costs nothing.
    Refused,
    /// An answer that says what it has used, with what that costs.
    Answered(i64),
    /// An answer that does not say.
    Vague,
    /// The end of the connection, or what cannot be read.
    Lost,
}

impl Fate {
    /// What the call has cost, where that is known.
    fn cost(self) -> Option<i128> {
        match self {
            Self::Refused => Some(0),
            Self::Answered(nanos) => Some(nanos.into()),
            Self::Silent | Self::Vague | Self::Lost => None,
        }
    }
}

/// The calls for one lease that have left: one, or it and its copy.
#[derive(Debug, Clone)]
struct Pair {
    run: usize,
    bound: i128,
    legs: Vec<(usize, Fate)>,
}

/// So many, and what they may cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    items: i64,
    usd: i128,
}

impl Sum {
    pub(super) fn add(&mut self, items: i64, usd: i128) {
        self.items += items;
        self.usd += usd;
    }

    fn without(self, other: Self) -> Self {
        Self { items: self.items - other.items, usd: self.usd - other.usd }
    }

    fn and(self, other: Self) -> Self {
        Self { items: self.items + other.items, usd: self.usd + other.usd }
    }

    fn is_within(self, most: Self) -> bool {
        self.items <= most.items && self.usd <= most.usd
    }
}

/// What the ledger has of the copies of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    booked: Sum,
    cleared: Sum,
    duplicate: Sum,
    /// Doubt about one of two calls that was lost, which takes the place of the copy's.
    pub(super) lost: Sum,
    /// Copies that have left.
    left: Sum,
    /// It has ended by itself: all that it knew is in the ledger.
    over: bool,
}

/// The copies of a world.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    pub sent: u64,
    /// Calls that are no copies.
    pub calls: u64,
    runs: Vec<Run>,
    pairs: BTreeMap<Key, Pair>,
    /// By the number of a call: the lease that it is for.
    of_call: BTreeMap<usize, Key>,
}

impl Copies {
    /// Another process begins.
    pub(crate) fn next_run(&mut self) {
        self.runs.push(Run::default());
    }

    /// The process has ended by itself, as nothing was left to do.
    pub(crate) fn run_ends(&mut self) {
        self.run().over = true;
    }

    pub(super) fn run(&mut self) -> &mut Run {
        if self.runs.is_empty() {
            self.runs.push(Run::default());
        }
        let last = self.runs.len() - 1;
        &mut self.runs[last]
    }

    /// Whether these are the one lease of a call that has a copy.
    pub(super) fn has_copy(&self, leases: &[Key]) -> bool {
        let [key] = leases else { return false };
        self.pairs.get(key).is_some_and(|pair| pair.legs.len() > 1)
    }

    /// What the process has heard of a call.
    pub(crate) fn heard(&mut self, call: usize, fate: Fate) {
        let Some(pair) = self.of_call.get(&call).and_then(|key| self.pairs.get_mut(key)) else { return };
        pair.legs.iter_mut().filter(|(no, _)| *no == call).for_each(|leg| leg.1 = fate);
    }
}

impl Books {
    /// I4: a copy is in doubt before it leaves, and with all that it may cost.
    pub(super) fn leg_sent(&mut self, key: Key, call: usize) {
        if !self.hedges {
            return;
        }
        let bound =
            self.leases.get(&key.0).and_then(|leases| leases.get(key.1)).map_or(0, |of| of.lease.bound.0);
        let (copies, bound) = (&mut self.copies, i128::from(bound));
        copies.run();
        let run = copies.runs.len() - 1;
        let pair = copies.pairs.entry(key).or_insert(Pair { run, bound, legs: Vec::new() });
        pair.legs.push((call, Fate::Silent));
        let copy = pair.legs.len() > 1;
        copies.of_call.insert(call, key);
        *(if copy { &mut copies.sent } else { &mut copies.calls }) += 1;
        if copy {
            copies.run().left.add(1, bound);
            let (item, of) = (key.0, *copies.run());
            let in_doubt = of.booked.without(of.cleared).and(of.lost).and(self.known(run));
            if !of.left.is_within(in_doubt) {
                self.wrong(
                    "I4",
                    format!("a copy of the call for item {item} is sent, and is not in doubt: {of:?}"),
                );
            }
        }
    }

    /// I5: an entry about copies is doubt, the end of it, or what came second.
    pub(super) fn copy(&mut self, kind: LedgerKind, items: i64, usd: i128) {
        // An operator's word, and what another process left, are not of this one.
        let run = self.copies.run();
        match kind {
            LedgerKind::Doubt => run.booked.add(items, usd),
            LedgerKind::DoubtCleared => run.cleared.add(items, usd),
            LedgerKind::Duplicate => run.duplicate.add(items, usd),
            other => self.wrong("I5", format!("{usd} of copies are booked as {other}")),
        }
    }

    /// Doubts of a run that evidence has ended: of each pair the calls whose cost is known, less the one that ended the lease.
    fn known(&self, run: usize) -> Sum {
        let mut sum = Sum::default();
        for (key, pair) in self.copies.pairs.iter().filter(|(_, pair)| pair.run == run) {
            let known = pair.legs.iter().filter(|(_, fate)| fate.cost().is_some()).count();
            let ends = i64::try_from(known).unwrap_or(0) - i64::from(self.is_settled(*key));
            if ends > 0 && pair.legs.len() > 1 {
                sum.add(1, pair.bound);
            }
        }
        sum
    }

    /// Whether a lease has ended with what an answer cost.
    fn is_settled(&self, key: Key) -> bool {
        let end = self.leases.get(&key.0).and_then(|leases| leases.get(key.1)).map(|leased| leased.end);
        matches!(end, Some(LeaseEnd::Outcome { cost, estimated: false, .. }) if cost.0 > 0)
    }

    /// I5: no doubt about a copy ends but by the cost of a call that is known, or because the copy never left. What was lost beside
    /// another stays in doubt under another name.
    pub(super) fn copies_are_proved(&mut self) {
        if !self.hedges || self.copies.runs.is_empty() {
            return;
        }
        let no = self.copies.runs.len() - 1;
        let (run, known) = (self.copies.runs[no], self.known(no));
        let ended = run.cleared.without(run.lost);
        let unsent = run.booked.without(run.left);
        if !ended.is_within(known.and(unsent)) {
            self.wrong(
                "I5",
                format!("doubt about copies is cleared that nothing has ended: {run:?}, known {known:?}"),
            );
        }
        let silent = self.copies.pairs.values().filter(|pair| pair.run == no);
        let lost = silent.filter(|pair| pair.legs.iter().any(|(_, fate)| fate.cost().is_none())).count();
        if run.lost.items > i64::try_from(lost).unwrap_or(0) {
            self.wrong(
                "I5",
                format!("more calls are booked as lost beside others than were: {run:?}, {lost}"),
            );
        }
    }
}

/// I5: what a call and its copy were billed is what its lease was settled at, what came second, or what is in doubt about the two.
/// Answers how much was estimated too high.
pub(super) fn copied(books: &mut Books, bill: &[&Paid], usage: bool) -> i128 {
    let mut paid: BTreeMap<Key, (usize, i128)> = BTreeMap::new();
    for charge in bill.iter().filter(|charge| books.copies.has_copy(&charge.leases)) {
        let of = paid.entry(charge.leases[0]).or_default();
        *of = (of.0 + 1, of.1 + i128::from(charge.cost));
    }
    let (mut above, runs) = (0, books.copies.runs.clone());
    let mut told = vec![(Sum::default(), 0); runs.len()];
    for (key, pair) in books.copies.pairs.clone().into_iter().filter(|(_, pair)| pair.legs.len() > 1) {
        let (times, cost) = paid.get(&key).copied().unwrap_or_default();
        let landed = match books.leases[&key.0][key.1].end {
            LeaseEnd::Outcome { cost, .. } => i128::from(cost.0),
            LeaseEnd::Open | LeaseEnd::Void => 0,
        };
        // What each of the two is known to have cost, or its bound.
        let known: Vec<i128> = pair.legs.iter().filter_map(|(_, fate)| fate.cost()).collect();
        let silent = pair.legs.len() - known.len();
        let most = known.iter().sum::<i128>() + pair.bound * i128::try_from(silent).unwrap_or(0);
        if times > pair.legs.len() || cost > most || usage && landed > cost {
            let of = format!("item {}, lease {}", key.0, key.1);
            books.wrong(
                "I5",
                format!("{of}: billed {times} times, {cost} in all, landed at {landed}: {pair:?}"),
            );
        }
        above += (landed - cost).max(0);
        let (sum, twice) = &mut told[pair.run];
        *twice += known.iter().sum::<i128>() - if books.is_settled(key) { landed } else { 0 };
        if silent == 0 {
            sum.add(1, pair.bound);
        }
    }
    for (run, (known, twice)) in runs.iter().zip(told) {
        // A run that has ended by itself has told all that it knew; a call that was lost beside a copy that never left took its doubt over.
        let must = known.and(run.booked.without(run.left));
        if run.over && (!must.is_within(run.cleared) || run.duplicate.usd != twice) {
            let what =
                format!("a run knew of copies {known:?}, and {twice} that came second; it booked {run:?}");
            books.wrong("I5", what);
        }
        if run.duplicate.usd > twice {
            books.wrong("I5", format!("{twice} came second, and a run booked {run:?}"));
        }
    }
    above
}
