//! The invariants, as functions over committed rows and the provider's bill.
//!
//! The fold here is not the store's: a bug in one must not hide in the other.

mod fold;
mod sent;
mod copies;
mod end;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{ItemRec, Lease, LedgerEntry, LedgerKind, SubmissionState, Tx};

pub use copies::{Copies, Fate};
pub use end::{Paid, at_the_end, doubts};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I1` to `I19`.
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Where one item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    Waiting,
    Leased { sub: Sub, attempt: u8 },
    Done,
    Dead,
    Follower(Ordinal),
    Invalid,
}

/// A provider and one of its models.
pub type Whom = (&'static str, &'static str);

/// One lease, and what became of it.
#[derive(Debug, Clone)]
pub struct Leased {
    pub lease: Lease,
    pub sub: Sub,
    pub lane: Lane,
    pub end: LeaseEnd,
    /// Paid requests that were sent for it.
    pub sent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    Open,
    /// An outcome with this cost; `good`: an answer that counts.
    Outcome {
        cost: UsdNanos,
        estimated: bool,
        good: bool,
    },
    Void,
}

/// A submission as its row says.
#[derive(Debug, Clone)]
pub struct Row {
    pub state: SubmissionState,
    /// The provider and the model that it is for.
    pub to: (String, String),
    pub digest: Option<String>,
    pub input: Option<String>,
    pub lane: Lane,
    pub leases: Vec<(Ordinal, usize)>,
    /// It was once left to the operator.
    pub held: bool,
    /// Its bounds that were booked as doubt.
    pub doubt: i128,
    /// The batch that it was answered for, or that was adopted.
    pub batch: Option<String>,
}

/// What a window let through beside a submission: twins of its create (W1), or all of it where no row knows it (W5).
#[derive(Debug, Clone, Copy, Default)]
pub struct Apart {
    /// Doubt that stands.
    pub doubt: i128,
    pub duplicate: i128,
    /// A ghost of which no operator has spoken.
    pub waits: bool,
}

/// The fold of what is durable, checked at every commit.
#[derive(Debug, Clone, Default)]
pub struct Books {
    pub items: Vec<Item>,
    /// By item: its leases, in order.
    pub leases: HashMap<Ordinal, Vec<Leased>>,
    pub rows: BTreeMap<Sub, Row>,
    pub apart: BTreeMap<Sub, Apart>,
    pub copies: Copies,
    pub sums: BTreeMap<&'static str, i128>,
    pub costs: i128,
    /// Bounds of leases that are open.
    pub open: i128,
    pub cap: Option<UsdNanos>,
    /// Slow calls have copies.
    pub hedges: bool,
    /// Items a call of which was lost, where such an item is asked no more.
    pub lost: Option<BTreeSet<Ordinal>>,
    /// The largest that was ever committed against the cap.
    pub peak: i128,
    pub commits: u64,
    pub found: Vec<Violation>,
}

impl Books {
    pub fn wrong(&mut self, invariant: &'static str, what: String) {
        if self.found.len() < 20 {
            self.found.push(Violation { invariant, what });
        }
    }

    /// Whether a row names this input file.
    #[must_use]
    pub fn knows(&self, input: &str) -> bool {
        self.rows.values().any(|row| row.input.as_deref() == Some(input))
    }

    #[must_use]
    pub fn sum(&self, kind: LedgerKind) -> i128 {
        self.sums.get(kind.name()).copied().unwrap_or(0)
    }

    /// What may have been paid and is not known to be.
    #[must_use]
    pub fn doubt(&self) -> i128 {
        self.sum(LedgerKind::Doubt) - self.sum(LedgerKind::DoubtCleared)
    }

    #[must_use]
    pub fn settled(&self) -> i128 {
        self.sum(LedgerKind::Settle) + self.sum(LedgerKind::Duplicate)
    }

    #[must_use]
    pub fn reserved(&self) -> i128 {
        self.sum(LedgerKind::Reserve) - self.sum(LedgerKind::Release)
    }

    /// Takes in one durable commit.
    pub fn commit(&mut self, txs: &[Tx]) {
        for tx in txs {
            for chunk in &tx.items {
                for item in &chunk.items {
                    self.items.push(match item {
                        ItemRec::Leader { .. } => Item::Waiting,
                        ItemRec::Follower { leader } => Item::Follower(*leader),
                        ItemRec::Invalid => Item::Invalid,
                    });
                }
            }
            for outcome in &tx.outcomes {
                self.outcome(outcome);
            }
            for (row, leases) in &tx.submissions {
                self.submission(row, leases.as_deref());
            }
            for entry in &tx.ledger {
                *self.sums.entry(entry.kind.name()).or_default() += i128::from(entry.usd.0);
                self.entry(entry);
            }
        }
        self.commits += 1;
        self.balance();
        self.copies_are_proved();
    }

    /// I5: what is paid twice is booked with the window that it came through.
    fn entry(&mut self, entry: &LedgerEntry) {
        let (note, usd) = (entry.note.as_deref().unwrap_or(""), i128::from(entry.usd.0));
        let window = note.starts_with("W1: ") || note.starts_with("W5: ");
        if note.starts_with("W9: ") {
            return self.copy(entry.kind, i64::from(entry.items), usd);
        }
        let Some(sub) = entry.sub else { return };
        let apart = self.apart.entry(sub).or_default();
        match entry.kind {
            LedgerKind::Doubt if window => {
                apart.doubt += usd;
                apart.waits |= usd > 0 && note.starts_with("W5: ");
            }
            LedgerKind::Doubt => {
                if let Some(row) = self.rows.get_mut(&sub) {
                    row.doubt += usd;
                }
                if note.starts_with("a call was lost while another") {
                    self.copies.run().lost.add(i64::from(entry.items), usd);
                }
            }
            LedgerKind::DoubtCleared => {
                apart.doubt -= usd.min(apart.doubt);
                apart.waits &= !note.starts_with("operator ");
            }
            LedgerKind::Duplicate => {
                apart.duplicate += usd;
                if !window {
                    self.wrong("I5", format!("{usd} of {sub} are a duplicate of no window: {note}"));
                }
            }
            _ => {}
        }
    }

    /// Money that a window let through.
    fn beside(&self) -> i128 {
        self.apart.values().map(|apart| apart.doubt + apart.duplicate).sum()
    }

    /// The ghosts of which the operator has not spoken.
    #[must_use]
    pub fn ghosts(&self) -> Vec<Sub> {
        self.apart.iter().filter(|(_, apart)| apart.waits && apart.doubt > 0).map(|(sub, _)| *sub).collect()
    }

    /// What must hold at every commit.
    fn balance(&mut self) {
        let (reserved, committed) = (self.reserved(), self.settled() + self.doubt() + self.reserved());
        self.peak = self.peak.max(committed);
        if reserved != self.open {
            self.wrong("I8", format!("{reserved} are reserved for leases that may cost {}", self.open));
        }
        // What a window let through was sent by nobody here.
        let committed = committed - self.beside();
        if let Some(cap) = self.cap.filter(|cap| committed > i128::from(cap.0)) {
            self.wrong("I8", format!("{committed} are committed of a cap of {}", cap.0));
        }
        let settled = self.sum(LedgerKind::Settle);
        if settled != self.costs {
            self.wrong("I9", format!("the ledger settles {settled}, the receipts say {}", self.costs));
        }
    }
}
