//! The invariants, as functions over committed rows and the provider's bill.
//!
//! The fold here is not the store's: a bug in one must not hide in the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bulkrate_core::ids::{Ordinal, Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Fate, ItemRec, Lease, LedgerEntry, LedgerKind, Outcome, SubmissionState, Tx};

use crate::copies::{Copies, copied, times_sent};

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

/// One lease, and what became of it.
#[derive(Debug, Clone)]
pub struct Leased {
    pub lease: Lease,
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
    fn break_(&mut self, invariant: &'static str, what: String) {
        if self.found.len() < 20 {
            self.found.push(Violation { invariant, what });
        }
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
    }

    /// I5: what is paid twice is booked with the window that it came through.
    fn entry(&mut self, entry: &LedgerEntry) {
        let (note, usd) = (entry.note.as_deref().unwrap_or(""), i128::from(entry.usd.0));
        let window = note.starts_with("W1: ") || note.starts_with("W5: ");
        if note.starts_with("W9: ") {
            return self.copy(entry.kind, u64::from(entry.items), usd);
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
                    self.copies.lost += usd;
                }
            }
            LedgerKind::DoubtCleared => {
                apart.doubt -= usd.min(apart.doubt);
                apart.waits &= !note.starts_with("operator ");
            }
            LedgerKind::Duplicate => {
                apart.duplicate += usd;
                if !window {
                    self.break_("I5", format!("{usd} of {sub} are a duplicate of no window: {note}"));
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

    fn outcome(&mut self, outcome: &Outcome) {
        let ordinal = outcome.ordinal;
        let Some(item) = self.items.get(ordinal as usize).copied() else {
            return self.break_("I1", format!("an outcome of item {ordinal}, which is unknown"));
        };
        self.costs += i128::from(outcome.cost.0);
        let next = match (outcome.fate, outcome.class) {
            (Fate::Final, None) => Item::Done,
            (Fate::Final, Some(_)) => Item::Dead,
            _ => Item::Waiting,
        };
        if !outcome.via.is_attempt() {
            if item != Item::Waiting && item != Item::Invalid {
                self.break_("I6", format!("item {ordinal} was {item:?} and is ended without a lease"));
            }
            self.items[ordinal as usize] = next;
            return;
        }
        // I7: a result comes from a submission that leases that item for that very attempt.
        match item {
            Item::Leased { attempt, .. } if attempt == outcome.attempt => {}
            Item::Done => self.break_("I6", format!("item {ordinal} is done and gets another outcome")),
            other => {
                let attempt = outcome.attempt;
                self.break_("I7", format!("attempt {attempt} of item {ordinal} ends, which is {other:?}"));
            }
        }
        let end = LeaseEnd::Outcome {
            cost: outcome.cost,
            estimated: outcome.estimated,
            good: outcome.class.is_none(),
        };
        self.end(ordinal, end);
        self.items[ordinal as usize] = next;
    }

    /// Ends the newest lease of an item.
    fn end(&mut self, ordinal: Ordinal, end: LeaseEnd) {
        let Some(last) = self.leases.get_mut(&ordinal).and_then(|leases| leases.last_mut()) else { return };
        if last.end == LeaseEnd::Open {
            self.open -= i128::from(last.lease.bound.0);
            last.end = end;
        }
    }

    fn submission(&mut self, row: &bulkrate_store::Submission, leases: Option<&[Lease]>) {
        let sub = row.sub;
        if !self.rows.contains_key(&sub) {
            let mut held = Vec::new();
            for lease in leases.unwrap_or_default() {
                let item = self.items.get(lease.ordinal as usize).copied();
                if item != Some(Item::Waiting) {
                    self.break_("I3", format!("{sub} leases item {}, which is {item:?}", lease.ordinal));
                }
                if self.lost.as_ref().is_some_and(|lost| lost.contains(&lease.ordinal)) {
                    let item = lease.ordinal;
                    self.break_(
                        "I5",
                        format!("item {item} is leased again, and a call of it may have been paid"),
                    );
                }
                if let Some(item) = self.items.get_mut(lease.ordinal as usize) {
                    *item = Item::Leased { sub, attempt: lease.attempt };
                }
                let of = self.leases.entry(lease.ordinal).or_default();
                held.push((lease.ordinal, of.len()));
                of.push(Leased { lease: *lease, lane: row.lane, end: LeaseEnd::Open, sent: 0 });
                self.open += i128::from(lease.bound.0);
            }
            let fresh = Row {
                state: row.state,
                digest: row.input_digest.clone(),
                input: row.remote_input.clone(),
                lane: row.lane,
                leases: held,
                held: false,
                doubt: 0,
                batch: None,
            };
            self.rows.insert(sub, fresh);
        }
        let before = self.rows.get(&sub).map(|row| row.state);
        if let Some(known) = self.rows.get_mut(&sub) {
            known.state = row.state;
            known.held |= row.state == SubmissionState::Unresolved;
            known.input.clone_from(&row.remote_input);
            known.batch.clone_from(&row.remote_batch);
        }
        if before.is_some_and(|before| before.is_terminal() && before != row.state) {
            self.break_("I13", format!("{sub} was {before:?} and is {:?}", row.state));
        }
        let held = self.rows.get(&sub).map(|row| row.leases.clone()).unwrap_or_default();
        for (ordinal, _) in held {
            let Some(Item::Leased { sub: of, .. }) = self.items.get(ordinal as usize).copied() else {
                continue;
            };
            if of != sub {
                continue;
            }
            if row.state.voids_leases() {
                self.end(ordinal, LeaseEnd::Void);
                self.items[ordinal as usize] = Item::Waiting;
            } else if row.state == SubmissionState::Settled {
                self.break_("I1", format!("{sub} is settled and item {ordinal} still leased"));
            }
        }
    }

    /// What must hold at every commit.
    fn balance(&mut self) {
        let (reserved, committed) = (self.reserved(), self.settled() + self.doubt() + self.reserved());
        self.peak = self.peak.max(committed);
        if reserved != self.open {
            self.break_("I8", format!("{reserved} are reserved for leases that may cost {}", self.open));
        }
        // What a window let through was sent by nobody here.
        let committed = committed - self.beside();
        if let Some(cap) = self.cap.filter(|cap| committed > i128::from(cap.0)) {
            self.break_("I8", format!("{committed} are committed of a cap of {}", cap.0));
        }
        let settled = self.sum(LedgerKind::Settle);
        if settled != self.costs {
            self.break_("I9", format!("the ledger settles {settled}, the receipts say {}", self.costs));
        }
    }

    /// I4, for a batch: the intent is durable, and says what is sent.
    pub fn create_sent(&mut self, sub: Option<Sub>, digest: &str, input: &str) {
        let row = sub.and_then(|sub| self.rows.get(&sub)).cloned();
        let fits = row.as_ref().is_some_and(|row| {
            row.state == SubmissionState::Sending
                && row.digest.as_deref() == Some(digest)
                && row.input.as_deref() == Some(input)
        });
        if !fits {
            let what = format!("a create of {sub:?} is sent, and its row is {row:?}");
            self.break_("I4", what);
        }
        for (ordinal, at) in row.map(|row| row.leases).unwrap_or_default() {
            self.sent(ordinal, at, 1);
        }
    }

    /// I4, for a call: the item is leased by a group that is durable.
    pub fn call_sent(&mut self, ordinal: Ordinal) -> Option<usize> {
        let last = self.leases.get(&ordinal).map_or(0, Vec::len).checked_sub(1);
        let open = last.and_then(|at| self.leases.get(&ordinal)?.get(at));
        if !open.is_some_and(|leased| leased.end == LeaseEnd::Open && leased.lane != Lane::Batch) {
            self.break_("I4", format!("a call for item {ordinal} is sent, and its lease is {open:?}"));
        }
        if let Some(at) = last {
            let copy = times_sent(&self.leases, ordinal, at) > 0;
            *(if copy { &mut self.copies.sent } else { &mut self.copies.calls }) += 1;
            if self.copies.sent > self.copies.booked {
                self.break_(
                    "I4",
                    format!("a copy of the call for item {ordinal} is sent, and is not in doubt"),
                );
            }
            self.sent(ordinal, at, if self.hedges { 2 } else { 1 });
        }
        last
    }

    /// A call ended, and nobody knows whether it was paid.
    pub fn call_lost(&mut self, items: &[(Ordinal, usize)]) {
        if let Some(lost) = &mut self.lost {
            lost.extend(items.iter().map(|(item, _)| *item));
        }
    }

    /// `most`: a call may have a copy.
    fn sent(&mut self, ordinal: Ordinal, at: usize, most: u32) {
        let Some(leased) = self.leases.get_mut(&ordinal).and_then(|leases| leases.get_mut(at)) else {
            return;
        };
        leased.sent += 1;
        if leased.sent > most {
            let times = leased.sent;
            self.break_("I3", format!("lease {at} of item {ordinal} is sent {times} times"));
        }
    }

    pub fn wrong(&mut self, invariant: &'static str, what: String) {
        self.break_(invariant, what);
    }
}

/// One payment in the provider's bill.
#[derive(Debug, Clone)]
pub struct Paid {
    /// Its items, and which of their leases; none where it came with a submission that the store does not know.
    pub leases: Vec<(Ordinal, usize)>,
    pub sub: Option<Sub>,
    pub cost: i64,
    pub by: String,
    /// The batch of a line.
    pub batch: Option<String>,
}

/// I9, W8: only what the provider did not tell is in doubt. `refused`: lines that it answered with a refusal.
pub fn doubts(books: &mut Books, refused: &BTreeSet<String>) {
    let mut told: BTreeSet<(&str, Sub, usize)> = BTreeSet::new();
    for line in refused {
        let Some((batch, id)) = line.split_once(' ') else { continue };
        let id = WireId::parse(id);
        told.extend(id.iter().flat_map(|id| id.places().map(|place| (batch, id.sub, place))));
    }
    for (sub, row) in books.rows.clone() {
        if row.lane != Lane::Batch || row.held {
            continue;
        }
        let mut open: i128 = 0;
        for (place, (ordinal, at)) in row.leases.iter().enumerate() {
            let lease = books.leases.get(ordinal).and_then(|leases| leases.get(*at));
            if !told.contains(&(row.batch.as_deref().unwrap_or("?"), sub, place)) {
                open += lease.map_or(0, |leased| i128::from(leased.lease.bound.0));
            }
        }
        if row.doubt > open {
            books.wrong(
                "I9",
                format!("{} of {sub} are in doubt; all but {open} were refused in so many words", row.doubt),
            );
        }
    }
}

/// Whether a line's batch is beside its submission: another one was adopted, or none is, or no row knows it.
fn is_beside(books: &Books, paid: &Paid) -> bool {
    let Some(sub) = paid.sub else { return false };
    books.rows.get(&sub).is_none_or(|row| {
        row.state.voids_leases() || row.batch.is_some() && row.batch.as_ref() != paid.batch.as_ref()
    })
}

/// I5: what is paid beside the submissions is what the ledger has as duplicates, each with its window, and nothing where no
/// window was open. Answers how much of it the ledger has too high for want of usage.
fn twice(books: &mut Books, beside: &BTreeMap<Sub, i128>, windows: bool, usage: bool) -> i128 {
    let mut above = 0;
    let subs: BTreeSet<Sub> = books.apart.keys().chain(beside.keys()).copied().collect();
    for sub in subs {
        let apart = books.apart.get(&sub).copied().unwrap_or_default();
        let paid = beside.get(&sub).copied().unwrap_or(0);
        let (least, most) = (apart.duplicate, apart.duplicate + apart.doubt);
        if paid > 0 && !windows {
            books.wrong("I5", format!("{paid} were paid for {sub} beside it, and no window was open"));
        }
        if paid > most || usage && paid < least {
            books.wrong("I5", format!("{paid} were paid for {sub} beside it, the ledger has {apart:?}"));
        }
        above += (least - paid).max(0);
    }
    above
}

/// I5, I9: what was paid for one request is what its items cost together. Answers how much of it was estimated too high.
fn receipt(books: &mut Books, paid: &Paid) -> i128 {
    let of = |(item, at): &(Ordinal, usize)| books.leases.get(item)?.get(*at);
    let leases: Vec<Leased> = paid.leases.iter().filter_map(of).cloned().collect();
    let (by, items, cost) = (&paid.by, &paid.leases, i128::from(paid.cost));
    let (mut booked, mut bound, mut is_estimated, mut free) = (0, 0, false, 0);
    for leased in &leases {
        match leased.end {
            LeaseEnd::Void => {
                books.wrong("I5", format!("{by} paid for {items:?}, and a lease was given back"));
                return 0;
            }
            LeaseEnd::Open => return 0,
            LeaseEnd::Outcome { cost, estimated, .. } => {
                booked += i128::from(cost.0);
                bound += i128::from(leased.lease.bound.0);
                is_estimated |= estimated;
                free += usize::from(cost.0 == 0);
            }
        }
    }
    if is_estimated {
        if cost > booked {
            books.wrong("I9", format!("{by} cost {cost} for {items:?} and is estimated at {booked}"));
        }
        return booked - cost;
    }
    if booked == 0 {
        if cost > bound {
            books.wrong("I9", format!("{by} cost {cost} for {items:?}, above the bound"));
        }
    } else if booked != cost || free > 0 {
        let of = if free > 0 { ", and some of them nothing" } else { "" };
        books.wrong("I9", format!("{by} cost {cost}, {booked} are booked for {items:?}{of}"));
    }
    0
}

/// What must hold once everything is over: I5, I8, I9. `windows`: whether W1 or W5 may have opened; `usage`: all answers had one.
pub fn at_the_end(books: &mut Books, bill: &[Paid], windows: bool, usage: bool) {
    let total: i128 = bill.iter().map(|paid| i128::from(paid.cost)).sum();
    let mut beside: BTreeMap<Sub, i128> = BTreeMap::new();
    let (others, bill): (Vec<&Paid>, Vec<&Paid>) = bill.iter().partition(|paid| is_beside(books, paid));
    for paid in others {
        *beside.entry(paid.sub.unwrap_or(Sub(0))).or_default() += i128::from(paid.cost);
    }
    let (settled, doubt) = (books.settled(), books.doubt());
    let own = total - beside.values().sum::<i128>();
    if let Some(cap) = books.cap.filter(|cap| own > i128::from(cap.0)) {
        books.wrong("I8", format!("the provider bills {total}, above the cap of {}", cap.0));
    }
    let mut times: HashMap<(Ordinal, usize), i128> = HashMap::new();
    let mut estimated: i128 = twice(books, &beside, windows, usage) + copied(books, &bill, usage);
    for paid in bill {
        if let [(ordinal, at)] = paid.leases[..]
            && times_sent(&books.leases, ordinal, at) > 1
        {
            continue;
        }
        if paid.leases.is_empty() {
            books.wrong("I5", format!("{} was paid, which no lease asked for", paid.by));
        }
        for key in &paid.leases {
            *times.entry(*key).or_default() += 1;
            if times[key] > 1 {
                books.wrong("I5", format!("{} pays lease {} of item {} again", paid.by, key.1, key.0));
            }
        }
        estimated += receipt(books, paid);
    }
    // Settled <= bill <= settled + doubt; where nothing is in doubt, equal.
    let open = books.open;
    if settled - estimated > total || total > settled - estimated + doubt + open {
        books.wrong("I9", format!("settled {settled}, estimated too high by {estimated}, in doubt {doubt}, held {open}; the bill is {total}"));
    }
}
