//! Second copies of slow calls (W9): what the ledger says of them, and what the bill does.

use std::collections::{BTreeMap, HashMap};

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_store::LedgerKind;

use crate::check::{Books, LeaseEnd, Leased, Paid};

/// The copies of a world.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copies {
    /// Those whose doubt was made durable.
    pub booked: u64,
    pub sent: u64,
    /// Calls that are no copies.
    pub calls: u64,
    /// Doubt that stands.
    pub doubt: i128,
    /// Doubt about one of two calls that was lost.
    pub lost: i128,
    pub duplicate: i128,
}

impl Books {
    /// I5: a copy is in doubt before it leaves, and only what was in doubt is cleared.
    pub(crate) fn copy(&mut self, kind: LedgerKind, items: u64, usd: i128) {
        let copies = &mut self.copies;
        match kind {
            LedgerKind::Doubt => {
                copies.booked += items;
                copies.doubt += usd;
            }
            LedgerKind::DoubtCleared => copies.doubt -= usd,
            LedgerKind::Duplicate => copies.duplicate += usd,
            other => self.wrong("I5", format!("{usd} of copies are booked as {other}")),
        }
        if self.copies.doubt < 0 {
            self.wrong(
                "I5",
                format!("more doubt about copies was cleared than was booked: {:?}", self.copies),
            );
        }
    }
}

/// How often a lease was sent.
pub(crate) fn times_sent(leases: &HashMap<Ordinal, Vec<Leased>>, ordinal: Ordinal, at: usize) -> u32 {
    leases.get(&ordinal).and_then(|leases| leases.get(at)).map_or(0, |leased| leased.sent)
}

/// I5: what calls with a copy have cost is what their leases and the duplicates say, and what may be missing there is in doubt.
/// Answers how much was estimated too high.
pub(crate) fn copied(books: &mut Books, bill: &[&Paid], usage: bool) -> i128 {
    let mut keys: BTreeMap<(Ordinal, usize), u32> = BTreeMap::new();
    for (ordinal, leases) in &books.leases {
        let sent =
            leases.iter().enumerate().filter(|(_, leased)| leased.sent > 1 && leased.lane != Lane::Batch);
        keys.extend(sent.map(|(at, _)| ((*ordinal, at), 0)));
    }
    let mut paid: i128 = 0;
    for charge in bill {
        if let [key] = charge.leases[..]
            && let Some(times) = keys.get_mut(&key)
        {
            *times += 1;
            paid += i128::from(charge.cost);
        }
    }
    if let Some((key, times)) = keys.iter().find(|(_, times)| **times > 2) {
        books.wrong("I5", format!("lease {} of item {} is paid {times} times", key.1, key.0));
    }
    let (mut booked, mut doubt) = (books.copies.duplicate, books.copies.doubt + books.copies.lost);
    for (ordinal, at) in keys.keys() {
        match books.leases[ordinal][*at].end {
            LeaseEnd::Outcome { cost, .. } if cost.0 > 0 => booked += i128::from(cost.0),
            _ => doubt += i128::from(books.leases[ordinal][*at].lease.bound.0),
        }
    }
    if usage && booked > paid || paid > booked + doubt {
        books.wrong("I5", format!("calls with copies cost {paid}; booked are {booked}, in doubt {doubt}"));
    }
    (booked - paid).max(0)
}
