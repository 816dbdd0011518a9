//! What must hold once everything is over: the provider's bill, and the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkrate_core::ids::{Ordinal, Sub, WireId};
use bulkrate_core::lane::Lane;

use super::copies::copied;
use super::{Books, LeaseEnd, Leased};

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

/// Whether a line's batch is beside its submission: another one was adopted, or none is, or no row knows it. `first`: the batch that is
/// taken for a submission's own where its row names none and its create was delivered twice.
fn is_beside(books: &Books, first: &BTreeMap<Sub, Option<String>>, paid: &Paid) -> bool {
    let Some(sub) = paid.sub else { return false };
    if first.get(&sub).is_some_and(|first| *first != paid.batch)
        && books.rows.get(&sub).is_some_and(|row| row.batch.is_none())
    {
        return true;
    }
    books.rows.get(&sub).is_none_or(|row| {
        row.state.voids_leases() || row.batch.is_some() && row.batch.as_ref() != paid.batch.as_ref()
    })
}

/// I5: what is paid beside the submissions is what the ledger has as duplicates, each with its window, and nothing where no
/// window was open. `doubled`: of a second batch of these the bill alone tells (W2). Answers how much the ledger has too high for want of
/// usage, and how much it cannot know.
fn twice(
    books: &mut Books,
    beside: &BTreeMap<Sub, i128>,
    (windows, doubled): (bool, &BTreeSet<Sub>),
    usage: bool,
) -> (i128, i128) {
    let (mut above, mut hidden) = (0, 0);
    let subs: BTreeSet<Sub> = books.apart.keys().chain(beside.keys()).copied().collect();
    for sub in subs {
        let apart = books.apart.get(&sub).copied().unwrap_or_default();
        let paid = beside.get(&sub).copied().unwrap_or(0);
        let (least, most) = (apart.duplicate, apart.duplicate + apart.doubt);
        if paid > 0 && !windows {
            books.wrong("I5", format!("{paid} were paid for {sub} beside it, and no window was open"));
        }
        let unseen = if doubled.contains(&sub) { (paid - most).max(0) } else { 0 };
        if paid - unseen > most || usage && paid < least {
            books.wrong("I5", format!("{paid} were paid for {sub} beside it, the ledger has {apart:?}"));
        }
        above += (least - paid).max(0);
        hidden += unseen;
    }
    (above, hidden)
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
    if cost > bound {
        books.wrong("I9", format!("{by} cost {cost} for {items:?}, above the bound"));
    }
    if booked > 0 && (booked != cost || free > 0) {
        let of = if free > 0 { ", and some of them nothing" } else { "" };
        books.wrong("I9", format!("{by} cost {cost}, {booked} are booked for {items:?}{of}"));
    }
    0
}

/// What must hold once everything is over: I5, I8, I9. `windows`: whether W1, W2 or W5 may have opened, and the submissions of W2;
/// `usage`: all answers had one.
pub fn at_the_end(books: &mut Books, bill: &[Paid], windows: (bool, &BTreeSet<Sub>), usage: bool) {
    let total: i128 = bill.iter().map(|paid| i128::from(paid.cost)).sum();
    let mut beside: BTreeMap<Sub, i128> = BTreeMap::new();
    let mut first: BTreeMap<Sub, Option<String>> = BTreeMap::new();
    for paid in bill {
        if let Some(sub) = paid.sub.filter(|sub| windows.1.contains(sub)) {
            first.entry(sub).or_insert_with(|| paid.batch.clone());
        }
    }
    let (others, bill): (Vec<&Paid>, Vec<&Paid>) =
        bill.iter().partition(|paid| is_beside(books, &first, paid));
    for paid in others {
        *beside.entry(paid.sub.unwrap_or(Sub(0))).or_default() += i128::from(paid.cost);
    }
    let (settled, doubt) = (books.settled(), books.doubt());
    let own = total - beside.values().sum::<i128>();
    if let Some(cap) = books.cap.filter(|cap| own > i128::from(cap.0)) {
        books.wrong("I8", format!("the provider bills {total}, above the cap of {}", cap.0));
    }
    let mut times: HashMap<(Ordinal, usize), i128> = HashMap::new();
    let (above, hidden) = twice(books, &beside, windows, usage);
    let mut estimated: i128 = above + copied(books, &bill, usage);
    for paid in bill {
        if books.copies.has_copy(&paid.leases) {
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
    let (open, total) = (books.open, total - hidden);
    if settled - estimated > total || total > settled - estimated + doubt + open {
        books.wrong("I9", format!("settled {settled}, estimated too high by {estimated}, in doubt {doubt}, held {open}; the bill is {total}"));
    }
}
