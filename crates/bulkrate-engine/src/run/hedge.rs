//! The money of copies of slow calls (`--hedge`): a copy is doubt before it leaves ([ADR 15](../../../../docs/adr/0015-hedging.md)).
//!
//! Invariants
//! - Before a copy leaves its bound is durable as doubt, under a submission that leases nothing.
//! - Of a call and its copy one ends the item's lease; the doubt is the other's, and ends by evidence alone.
//! - What stands as doubt for copies counts against every cap, and is none of what holds new calls back (`max_in_doubt`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bulkrate_core::answer::Answer;
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::bears_copy;
use bulkrate_store::{LedgerEntry, LedgerKind, LedgerQuery, Submission, SubmissionState, Tx, View};

use super::job::Job;
use super::land::Landing;
use super::ledger::{At, Moved};
use super::ready::Ready;
use crate::EngineError;
use crate::decision::is_hedge;
use crate::spec::SyncDoubt;

/// What the row of a submission says that copies are booked under.
const EVIDENCE: &str = "{\"why\":\"copies of slow calls\"}";
/// The note of an entry about a copy.
const NOTE: &str = "W9: a copy of a slow call";
/// The note of doubt about one of the two that was lost: that is no window, and was not asked for.
const LOST: &str = "a call was lost while another for the same item was out";

/// The lever that hedging is, which costs: what was paid for answers that came second.
pub(crate) const HEDGE: &str = "hedge";

/// Copies of a job.
#[derive(Debug, Default)]
pub(crate) struct Hedging {
    /// Those that this run has sent; of them the ones that gave their item its answer, and those whose first call did.
    pub sent: u64,
    pub won: u64,
    pub lost: u64,
    /// What stands as doubt for them, of earlier runs as well.
    pub doubt: UsdNanos,
    /// The submissions of this run that they are booked under.
    pub subs: BTreeSet<Sub>,
    /// The job hedges, or did in an earlier run.
    pub any: bool,
    /// The most that any item may cost that was about to be sent.
    largest: UsdNanos,
    /// Items of which a call was lost beside another that is out, where such an item is asked no more (`--sync-doubt dead`).
    pub lost_beside: BTreeSet<Ordinal>,
}

impl Hedging {
    /// What earlier runs left.
    pub(crate) fn of(view: &dyn View, job: u32) -> Result<Box<Self>, EngineError> {
        let mut standing: BTreeMap<Option<Sub>, UsdNanos> = BTreeMap::new();
        let query = |kind| LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(job) };
        view.ledger_scan(&query(LedgerKind::Doubt), &mut |entry| {
            if entry.note.as_deref().is_some_and(is_hedge) {
                *standing.entry(entry.sub).or_default() += entry.usd;
            }
            ControlFlow::Continue(())
        })?;
        if !standing.is_empty() {
            view.ledger_scan(&query(LedgerKind::DoubtCleared), &mut |entry| {
                if let Some(of) = standing.get_mut(&entry.sub) {
                    *of -= entry.usd;
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(Box::new(Self { doubt: standing.into_values().sum(), any: true, ..Self::default() }))
    }

    /// An item is about to be sent.
    pub(crate) fn note(&mut self, ready: &Ready) {
        self.largest = self.largest.max(ready.bound).max(ready.strong.unwrap_or_default());
    }

    /// An operator has decided what copies of an earlier run have cost.
    pub(super) fn decided(&mut self, ledger: &[LedgerEntry]) {
        let cleared = ledger.iter().filter(|entry| entry.kind == LedgerKind::DoubtCleared);
        self.doubt -= cleared.map(|entry| entry.usd).sum::<UsdNanos>();
    }
}

/// Answers that came second, and what they cost.
pub(crate) fn paid_twice(view: &dyn View, job: u32) -> Result<(u64, UsdNanos), EngineError> {
    let mut sum = (0_u64, UsdNanos::ZERO);
    let query = LedgerQuery { kind: Some(LedgerKind::Duplicate), ..LedgerQuery::of_job(job) };
    view.ledger_scan(&query, &mut |entry| {
        if entry.note.as_deref().is_some_and(is_hedge) {
            sum = (sum.0.saturating_add(u64::from(entry.items)), sum.1.saturating_add(entry.usd));
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}

/// Whether copies are booked under a submission.
pub(crate) fn is_of_copies(row: &Submission) -> bool {
    row.state == SubmissionState::Call && row.evidence.as_deref() == Some(EVIDENCE)
}

fn at(ready: &Ready, sub: Sub) -> At {
    At { lane: Some(Lane::Sync), deployment: ready.deployment, tags: ready.tags, sub: Some(sub) }
}

impl Job {
    /// Whether every cap has room for a copy, and the items that have no answer yet are not left without. Where one waits for money
    /// none has: what is there is its.
    pub(crate) fn bears_copy(&self, ready: &Ready) -> bool {
        let state = self.state.borrow();
        if state.blocked.is_some() || state.parked.len() > 0 {
            return false;
        }
        let (open, largest) = (state.open(), state.hedging.largest);
        let (_, ended) = state.meter.counts();
        let mean = UsdNanos(state.budget.settled.0 / i64::try_from(ended.max(1)).unwrap_or(i64::MAX));
        let mut covering = state.budget.caps.iter().filter(|cap| cap.covers(ready.tags));
        covering.all(|cap| bears_copy(cap.left(), ready.bound, open, mean, largest))
    }

    /// What a copy may cost counts from now on.
    pub(crate) fn suspect_copy(&self, ready: &Ready) {
        let mut state = self.state.borrow_mut();
        state.budget.suspect(ready.tags, ready.bound);
        state.hedging.doubt += ready.bound;
    }

    /// The commit after which copies may leave. `new`: the first under this submission.
    pub(crate) fn copies_tx<'c>(
        &self,
        (sub, new): (Sub, bool),
        deployment: usize,
        copies: impl Iterator<Item = &'c Ready>,
    ) -> Tx {
        let now_ms = self.clock.row_ms();
        let mut tx = Tx::new(self.no);
        if new {
            let found = &self.deployments[deployment];
            let mut row = Submission::new(sub, self.no, Lane::Sync, SubmissionState::Call, now_ms);
            row.provider.clone_from(&found.row.provider);
            row.account.clone_from(&found.account.id);
            row.model.clone_from(&found.pinned);
            row.epoch = self.epoch;
            row.evidence = Some(EVIDENCE.to_owned());
            tx.submissions.push((row, Some(Vec::new())));
        }
        let mut doubted = Moved::default();
        for ready in copies {
            doubted.add(LedgerKind::Doubt, Some(NOTE), at(ready, sub), 1, ready.bound);
        }
        tx.ledger = doubted.take(self.no, now_ms, |place| self.names(place));
        tx
    }

    /// The call that the doubt was about has surely not been paid.
    pub(crate) fn clear_copy(&self, ready: &Ready, sub: Sub) {
        let mut state = self.state.borrow_mut();
        state.budget.clear(ready.tags, ready.bound);
        state.hedging.doubt -= ready.bound;
        state.unflushed += ready.bound;
        state.moved.add(LedgerKind::DoubtCleared, Some(NOTE), at(ready, sub), 1, ready.bound);
    }

    /// The call was lost beside another: its doubt is as that of any call that was, and none that was asked for.
    pub(crate) fn lose_beside(&self, landing: Landing<'_>, sub: Sub) {
        let ready = landing.ready;
        let dead = self.spec.run.sync_doubt == SyncDoubt::Dead && self.is_open(ready);
        let mut state = self.state.borrow_mut();
        state.hedging.doubt -= ready.bound;
        let (of_copy, of_call) = (at(ready, sub), At { sub: landing.group, ..at(ready, sub) });
        state.moved.add(LedgerKind::DoubtCleared, Some(NOTE), of_copy, 1, ready.bound);
        state.moved.add(LedgerKind::Doubt, Some(LOST), of_call, 1, ready.bound);
        if dead {
            state.hedging.lost_beside.insert(ready.ordinal);
        }
    }

    /// Whether an item is asked no more unless what is out for it answers: a call of it was lost.
    pub(crate) fn is_lost_beside(&self, ready: &Ready) -> bool {
        self.state.borrow().hedging.lost_beside.contains(&ready.ordinal)
    }

    /// It was answered, and the answer is not the item's: what it cost was paid twice. As long as nobody says what that is the
    /// doubt stands, which is as much as it can be.
    pub(crate) fn pay_copy(&self, landing: Landing<'_>, answer: &Answer<'_>, sub: Sub) {
        let (ready, receipt) = (landing.ready, self.receipt(landing, answer));
        self.watch_cost(landing, &receipt);
        if receipt.estimated {
            return;
        }
        self.clear_copy(ready, sub);
        let mut state = self.state.borrow_mut();
        state.budget.spend(ready.tags, receipt.cost);
        state.unflushed -= receipt.cost.min(ready.bound);
        state.moved.add(LedgerKind::Duplicate, Some(NOTE), at(ready, sub), 1, receipt.cost);
    }
}
