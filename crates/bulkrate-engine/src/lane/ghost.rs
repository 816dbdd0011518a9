//! Batches with the mark of this store that it knows nothing of (W5): the state folder was restored from an old backup, or a
//! copy of it is at work somewhere else.
//!
//! Invariants
//! - A ghost's price at most is in doubt from the commit that finds it, and nothing new is sent until an operator has spoken.
//! - A ghost is booked once: what stands in the ledger is none. Entries outlive their jobs, so the batches of a job that was
//!   removed are known.
//! - A batch without our instance's mark is nobody's ghost (I14).

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prompt_cache::Meter;
use bulkrate_core::submission::{Phase, RemoteBatch};
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{LedgerEntry, LedgerKind, LedgerQuery, Tx, Urgency, View};

use crate::EngineError;
use crate::decision::{GHOST, is_ghost, is_operators};
use crate::deliver::spec_of;
use crate::run::heaps::{Of, count};
use crate::run::job::Job;
use crate::run::prompt_cache::Marked;

/// A batch nobody here knows, and a deployment of its account.
pub(super) struct Ghost {
    sub: Sub,
    batch: String,
    /// So many of its answers are billed at most.
    answers: u64,
    deployment: usize,
}

impl Ghost {
    /// `None`: it can have cost nothing, or its mark names no submission.
    pub(super) fn of(batch: &RemoteBatch, deployment: usize) -> Option<Self> {
        let sub = batch.marker.as_ref().and_then(|marker| Sub::parse(&marker.sub))?;
        let answers = answers(batch);
        (answers > 0).then(|| Self { sub, batch: batch.id.clone(), answers, deployment })
    }

    /// The note of its doubt, by which it is known again.
    fn note(&self) -> String {
        format!("{GHOST}batch {} runs or ran, and no row here knows it", self.batch)
    }

    fn tell(&self, job: &Job, what: &str) {
        job.alert("batch-unknown", &format!("batch {} has the mark of this state folder, which knows nothing of it: it was restored from an old backup, or a copy of it is at work; {what}", self.batch));
    }
}

/// How many answers of a batch are billed at most.
fn answers(batch: &RemoteBatch) -> u64 {
    let items = batch.marker.as_ref().map_or(0, |marker| u64::from(marker.items));
    match batch.phase {
        Phase::Failed | Phase::Cancelled => batch.counts.completed,
        // One that completed and counts nothing tells nothing.
        Phase::Completed | Phase::Expired if batch.counts.total > 0 => batch.counts.completed,
        _ => items.max(batch.counts.total),
    }
}

/// Books what may be billed for ghosts that the ledger does not know; from then on nothing new is sent.
pub(super) async fn book(job: &Rc<Job>, mut ghosts: Vec<Ghost>) -> Result<(), EngineError> {
    // Two of one create are one submission, and a list that lags shows a batch on two of its pages.
    ghosts.sort_by(|left, right| (left.sub, &left.batch).cmp(&(right.sub, &right.batch)));
    ghosts.dedup_by(|left, right| left.batch == right.batch);
    if !ghosts.is_empty() {
        forget_known(job, &mut ghosts)?;
    }
    if ghosts.is_empty() {
        return Ok(());
    }
    let bounds = dearest(job);
    let each = largest_bundle(job)?;
    let mut tx = Tx::new(job.no);
    for ghost in ghosts {
        let entry = entry(job, &ghost, &bounds, each);
        if entry.usd == UsdNanos::ZERO {
            // Nothing here has a price. It stays unbooked, so that a job that knows what it may cost books it.
            ghost.tell(job, "what it may cost this job cannot tell, as its own models have no price");
            continue;
        }
        ghost.tell(job, &format!("USD {} are booked as doubt, and nothing new is sent until `bulkrate doubt release {}` says what became of it", entry.usd, ghost.sub));
        count(job, std::slice::from_ref(&entry));
        let mut state = job.state.borrow_mut();
        state.note_size(entry.usd);
        state.ghosts.insert(ghost.sub, job.no);
        drop(state);
        tx.ledger.push(entry);
    }
    job.commit(tx, Urgency::Now).await
}

/// Drops those that the ledger knows.
fn forget_known(job: &Job, ghosts: &mut Vec<Ghost>) -> Result<(), EngineError> {
    let mut ours = HashSet::new();
    let mut booked = HashSet::new();
    job.reader.ledger_scan(&LedgerQuery::default(), &mut |entry| {
        match entry.note.as_deref().filter(|note| is_ghost(note) || is_operators(note)) {
            Some(note) => drop(booked.insert(note.to_owned())),
            None => ours.extend(entry.sub),
        }
        ControlFlow::Continue(())
    })?;
    ghosts.retain(|ghost| !ours.contains(&ghost.sub) && !booked.contains(&ghost.note()));
    Ok(())
}

/// The most items that one request of a ghost may hold: which job it was of, nothing here tells.
fn largest_bundle(job: &Job) -> Result<u64, EngineError> {
    let mut most = job.spec.request.bundle.unwrap_or(1);
    for row in job.reader.jobs()? {
        most = most.max(spec_of(&row)?.request.bundle.unwrap_or(1));
    }
    Ok(u64::from(most))
}

/// `each`: so many items are in one of its requests at most.
fn entry(job: &Job, ghost: &Ghost, bounds: &[UsdNanos], each: u64) -> LedgerEntry {
    let (provider, model) = job.names(ghost.deployment);
    let of = Of { tags: 0, lane: Some(Lane::Batch), provider, model };
    let items = ghost.answers.saturating_mul(each);
    let heap = (u32::try_from(items).unwrap_or(u32::MAX), price(bounds, items));
    of.entry(job, LedgerKind::Doubt, ghost.sub, heap, ghost.note())
}

/// What the job's items cost at most in a batch, the dearest first. Which of them a ghost carries, nothing here tells.
fn dearest(job: &Job) -> Vec<UsdNanos> {
    let items: Vec<u32> = {
        let state = job.state.borrow();
        let runs = |state| !matches!(state, ItemState::Follower | ItemState::Invalid);
        state.items.iter().filter(|(_, item)| runs(item.state)).map(|(ordinal, _)| ordinal).collect()
    };
    // Under which mark it went out, nothing here tells either: a bound holds the price of the dearest.
    let dearest = |one: &Marked| Marked::new(Meter::fixed(one.meter.dearest()));
    let dearest = job.state.borrow().prompt_cache.iter().map(dearest).collect();
    let today = std::mem::replace(&mut job.state.borrow_mut().prompt_cache, dearest);
    let mut body = Vec::new();
    let mut bounds: Vec<UsdNanos> = Vec::with_capacity(items.len());
    for ordinal in items {
        body.clear();
        bounds.extend(job.ready(ordinal, Lane::Batch, &mut body).ok().map(|ready| ready.bound));
    }
    job.state.borrow_mut().prompt_cache = today;
    bounds.sort_unstable_by(|left, right| right.cmp(left));
    bounds
}

/// The most that so many items cost; more than there are count as the dearest of them.
fn price(bounds: &[UsdNanos], items: u64) -> UsdNanos {
    let known = bounds.iter().take(usize::try_from(items).unwrap_or(usize::MAX));
    let sum = known.fold(UsdNanos::ZERO, |sum, bound| sum.saturating_add(*bound));
    let more = items.saturating_sub(bounds.len() as u64);
    sum.saturating_add(bounds.first().copied().unwrap_or_default().times(more))
}

/// The ghosts of which no operator has spoken, and the jobs in whose ledger they stand. A job that was removed took the
/// question with it.
pub(crate) fn standing(view: &dyn View) -> Result<BTreeMap<Sub, u32>, EngineError> {
    let mut standing: BTreeMap<Sub, u32> = BTreeMap::new();
    let books = |entry: &LedgerEntry| {
        entry.kind == LedgerKind::Doubt
            && entry.usd > UsdNanos::ZERO
            && entry.note.as_deref().is_some_and(is_ghost)
    };
    let mut any = false;
    let doubts = LedgerQuery { kind: Some(LedgerKind::Doubt), ..LedgerQuery::default() };
    view.ledger_scan(&doubts, &mut |entry| {
        any |= books(entry);
        if any { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if !any {
        return Ok(standing);
    }
    // In their order: what is found after an operator's word is another question.
    view.ledger_scan(&LedgerQuery::default(), &mut |entry| {
        let Some(sub) = entry.sub else { return ControlFlow::Continue(()) };
        if books(entry) {
            standing.insert(sub, entry.job);
        } else if entry.note.as_deref().is_some_and(is_operators) {
            standing.remove(&sub);
        }
        ControlFlow::Continue(())
    })?;
    let jobs: HashSet<u32> = view.jobs()?.iter().map(|job| job.no).collect();
    standing.retain(|_, job| jobs.contains(job));
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::fixture::remote;
    use bulkrate_core::submission::{BatchCounts, Marker};

    #[test]
    fn what_a_ghost_may_have_answered() {
        let sub = Sub::new(1, 1).to_string();
        let marker = Some(Marker { inst: "i".into(), sub, items: 7, digest: String::new() });
        for (phase, total, completed, want) in [
            (Phase::InProgress, 0, 0, 7),
            (Phase::InProgress, 7, 2, 7),
            (Phase::Completed, 7, 6, 6),
            (Phase::Completed, 0, 0, 7),
            (Phase::Cancelled, 7, 3, 3),
            (Phase::Failed, 0, 0, 0),
        ] {
            let counts = BatchCounts { total, completed, failed: 0 };
            let batch = RemoteBatch { counts, marker: marker.clone(), ..remote(phase) };
            assert_eq!(
                Ghost::of(&batch, 0).map_or(0, |ghost| ghost.answers),
                want,
                "{phase:?} {total} {completed}"
            );
        }
    }

    #[test]
    fn a_ghost_is_priced_as_the_dearest_items() {
        let bounds = [UsdNanos(9), UsdNanos(5), UsdNanos(1)];
        for (answers, want) in [(0, 0), (1, 9), (2, 14), (3, 15), (5, 33)] {
            assert_eq!(price(&bounds, answers), UsdNanos(want));
        }
        assert_eq!(price(&[], 5), UsdNanos::ZERO);
    }
}
