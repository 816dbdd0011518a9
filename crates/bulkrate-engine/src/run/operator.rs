//! Hears an operator's words about doubts and books what they mean.
//!
//! Invariants
//! - An order is removed in the commit that carries it out: a crash leaves it to the next run, and twice changes nothing.
//! - All that an operator's word moves stands in the ledger with who said it.

use std::collections::HashSet;
use std::rc::Rc;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{LedgerEntry, LedgerKind, Tx, Urgency};

use super::heaps::{Heaps, Of, booked, count};
use super::hedge::is_of_copies;
use super::job::Job;
use crate::EngineError;
use crate::decision::{Act, Decision, GHOST, HEDGE, VERB};
use crate::event::Event;
use crate::lane::pack::Planned;

/// A word about a batch that is still undecided, and the order it came by.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub order: u64,
    pub decision: Decision,
}

/// What goes with the commit that carries a word out.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    pub ledger: Vec<LedgerEntry>,
    pub orders_done: Vec<u64>,
}

/// Looks for orders about doubts. What is booked is decided at once; a batch that is undecided is decided by its own task.
pub(crate) fn hear(job: &Rc<Job>) -> Result<(), EngineError> {
    let orders: Vec<_> = job
        .reader
        .orders()?
        .into_iter()
        .filter(|order| order.order.verb == VERB)
        .filter(|order| order.order.job == job.no || holds(job, &order.order.payload))
        .collect();
    let known: HashSet<u64> = orders.iter().map(|order| order.no).collect();
    job.state.borrow_mut().told.retain(|_, told| known.contains(&told.order));
    for order in orders.into_iter().filter(|order| !job.state.borrow().heard.contains(&order.no)) {
        let decision: Option<Decision> = serde_json::from_str(&order.order.payload).ok();
        let sub = decision.as_ref().and_then(|decision| Sub::parse(&decision.sub));
        let (Some(decision), Some(sub)) = (decision, sub) else {
            drop_order(job, order.no, "an order about a doubt cannot be read and is dropped");
            continue;
        };
        let row = job.reader.submission(sub)?.filter(|row| row.job == job.no);
        if job.only_collects && row.is_none() {
            continue; // the run that it goes before hears of it, or the one beside it
        }
        if row.is_some_and(|row| row.lane == Lane::Batch && row.state.is_undecided()) {
            job.state.borrow_mut().told.entry(sub).or_insert(Told { order: order.no, decision });
            job.wishes.notify_waiters();
            job.changed.notify_waiters();
        } else {
            job.state.borrow_mut().told.remove(&sub);
            decide_booked(job, order.no, sub, &decision)?;
        }
    }
    Ok(())
}

/// Whether an order is about a ghost that holds this job, whichever job has booked it.
fn holds(job: &Job, payload: &str) -> bool {
    let decision: Option<Decision> = serde_json::from_str(payload).ok();
    let sub = decision.and_then(|decision| Sub::parse(&decision.sub));
    sub.is_some_and(|sub| job.state.borrow().ghosts.contains_key(&sub))
}

fn drop_order(job: &Job, order: u64, why: &str) {
    job.tell(&Event::Note { message: why });
    send(job, job.no, Acts { ledger: Vec::new(), orders_done: vec![order] });
}

/// Hands acts to the writer, for the job `no`; a commit that fails fails every later one too.
fn send(job: &Job, no: u32, acts: Acts) {
    job.state.borrow_mut().heard.extend(&acts.orders_done);
    let mut tx = Tx::new(no);
    (tx.ledger, tx.orders_done) = (acts.ledger, acts.orders_done);
    job.writer.send(tx, Urgency::Now, Box::new(|_| ()));
}

/// A doubt whose items have ended already, or that has none here: only money is left to decide.
fn decide_booked(job: &Job, order: u64, sub: Sub, decision: &Decision) -> Result<(), EngineError> {
    if job.state.borrow().hedging.subs.contains(&sub) {
        drop_order(
            job,
            order,
            &format!("{sub}: copies of calls go out under it; say it once this run has ended"),
        );
        return Ok(());
    }
    let no = job.state.borrow().ghosts.get(&sub).copied().unwrap_or(job.no);
    let heaps = booked(&*job.reader, no, sub)?;
    if heaps.is_empty() {
        drop_order(
            job,
            order,
            &format!("nothing is in doubt about {sub} any more; the order about it is dropped"),
        );
        return Ok(());
    }
    let row = job.reader.submission(sub)?;
    let (ghost, copies) = (row.is_none(), row.as_ref().is_some_and(is_of_copies));
    if matches!(decision.act, Act::Adopt { .. }) {
        let why = if ghost { "no row here says which items it has" } else { "it is over" };
        drop_order(job, order, &format!("{sub}: {why}, so there is nothing to adopt a batch for"));
        return Ok(());
    }
    let mut ledger = cleared(job, sub, &heaps, decision);
    for entry in &mut ledger {
        entry.job = no;
        if (ghost || copies) && entry.kind == LedgerKind::Settle {
            // Its items are asked and paid for here as well.
            entry.kind = LedgerKind::Duplicate;
            let window = if ghost { GHOST } else { HEDGE };
            entry.note = Some(format!("{window}{}", decision.note()));
        }
    }
    if no == job.no {
        count(job, &ledger);
    }
    if copies {
        job.state.borrow_mut().hedging.decided(&ledger);
    }
    send(job, no, Acts { ledger, orders_done: vec![order] });
    job.state.borrow_mut().ghosts.remove(&sub);
    job.tell(&Event::Note { message: &format!("{sub}: {}", decision.note()) });
    job.changed.notify_waiters();
    Ok(())
}

/// The entries that end a booked doubt, or say that it stands.
pub(crate) fn cleared(job: &Job, sub: Sub, heaps: &Heaps, decision: &Decision) -> Vec<LedgerEntry> {
    let entry = |kind, of: &Of, heap| of.entry(job, kind, sub, heap, decision.note());
    let mut entries = Vec::new();
    for (of, (items, usd)) in heaps {
        let kept = matches!(decision.act, Act::Adopt { .. } | Act::Paid { cost: None, .. });
        let ends = if kept { UsdNanos::ZERO } else { *usd };
        entries.push(entry(LedgerKind::DoubtCleared, of, (*items, ends)));
    }
    if let Act::Paid { cost: Some(cost), .. } = decision.act {
        for (of, items, share) in shares(heaps, cost) {
            entries.push(entry(LedgerKind::Settle, of, (items, share)));
        }
    }
    entries
}

/// The entries beside a reservation that is given back on an operator's word: a doubt booked and cleared in one.
pub(crate) fn released(job: &Job, sub: Sub, heaps: &Heaps, decision: &Decision) -> Vec<LedgerEntry> {
    let pair = |(of, heap): (&Of, &(u32, UsdNanos))| {
        [LedgerKind::Doubt, LedgerKind::DoubtCleared]
            .map(|kind| of.entry(job, kind, sub, *heap, decision.note()))
    };
    heaps.iter().flat_map(pair).collect()
}

/// A cost told for all, shared by what each could have cost at most; exact in the sum.
fn shares(heaps: &Heaps, cost: UsdNanos) -> Vec<(&Of, u32, UsdNanos)> {
    let all: i128 = heaps.values().map(|(_, usd)| i128::from(usd.0)).sum();
    let (mut seen, mut given) = (0, 0);
    let share = |(of, (items, usd)): (_, &(u32, UsdNanos))| {
        seen += i128::from(usd.0);
        let until = if all == 0 { 0 } else { i128::from(cost.0) * seen / all };
        let own = i64::try_from(until - given).unwrap_or(0);
        given = until;
        (of, *items, UsdNanos(own))
    };
    heaps.iter().map(share).collect()
}

/// Carries out what waits for this job and nothing else: nothing is sent that costs.
pub(crate) async fn obey(job: &Rc<Job>, open: Vec<Planned>) -> Result<(), EngineError> {
    hear(job)?;
    for planned in open {
        let told = job.state.borrow().told.contains_key(&planned.submission.sub);
        if told {
            crate::lane::submission::drive(Rc::clone(job), planned).await;
        }
    }
    if let Some(error) = job.state.borrow_mut().failed.take() {
        return Err(error);
    }
    job.settle_pending()?;
    job.commit(Tx::new(job.no), Urgency::Now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_shared_to_the_nano_dollar() {
        let of = |tags| Of { tags, lane: None, provider: String::new(), model: String::new() };
        let heaps: Heaps =
            (0..3_u32).map(|tags| (of(tags), (1, UsdNanos(i64::from(tags) * 7 + 1)))).collect();
        for cost in [0, 1, 5, 23, 24] {
            let shares = shares(&heaps, UsdNanos(cost));
            assert_eq!(shares.iter().map(|(_, _, share)| share.0).sum::<i64>(), cost);
            assert!(shares.iter().all(|(of, _, share)| (0..=heaps[*of].1.0).contains(&share.0)), "{cost}");
        }
    }
}
