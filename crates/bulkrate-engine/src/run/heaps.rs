//! Money that was reserved or doubted, by all that it is reported by, and the ledger's entries about it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{LedgerEntry, LedgerKind, LedgerQuery, View};

use super::job::Job;
use super::ready::Ready;
use crate::EngineError;

/// What is alike in all that money is reported by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Of {
    pub tags: u32,
    pub lane: Option<Lane>,
    pub provider: String,
    pub model: String,
}

/// Items and money.
pub(crate) type Heaps = BTreeMap<Of, (u32, UsdNanos)>;

impl Of {
    /// An item of a batch.
    pub(crate) fn item(job: &Job, ready: &Ready) -> Self {
        let (provider, model) = job.names(ready.deployment);
        Self { tags: ready.tags, lane: Some(Lane::Batch), provider, model }
    }

    /// An entry of the ledger about a heap of a submission. `note` says why it stands there.
    pub(crate) fn entry(
        &self,
        job: &Job,
        kind: LedgerKind,
        sub: Sub,
        (items, usd): (u32, UsdNanos),
        note: String,
    ) -> LedgerEntry {
        LedgerEntry {
            job: job.no,
            at_ms: job.clock.row_ms(),
            kind,
            lane: self.lane,
            provider: self.provider.clone(),
            model: self.model.clone(),
            tags: self.tags,
            lever: None,
            sub: Some(sub),
            items,
            usd,
            note: Some(note),
        }
    }
}

/// The reservation of a batch.
pub(crate) fn heaps_of(job: &Job, items: &[Ready]) -> Heaps {
    let mut heaps = Heaps::new();
    for ready in items {
        let heap = heaps.entry(Of::item(job, ready)).or_default();
        *heap = (heap.0 + 1, heap.1 + ready.bound);
    }
    heaps
}

/// What is booked as doubt about a submission and was not cleared.
pub(crate) fn booked(view: &dyn View, job: u32, sub: Sub) -> Result<Heaps, EngineError> {
    let mut heaps = Heaps::new();
    for kind in [LedgerKind::Doubt, LedgerKind::DoubtCleared] {
        let query = LedgerQuery { kind: Some(kind), ..LedgerQuery::of_job(job) };
        view.ledger_scan(&query, &mut |entry| {
            if entry.sub == Some(sub) {
                let of = Of {
                    tags: entry.tags,
                    lane: entry.lane,
                    provider: entry.provider.clone(),
                    model: entry.model.clone(),
                };
                let heap = heaps.entry(of).or_default();
                if kind == LedgerKind::Doubt {
                    *heap = (heap.0.saturating_add(entry.items), heap.1.saturating_add(entry.usd));
                } else {
                    heap.1 -= entry.usd;
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    heaps.retain(|_, (_, usd)| *usd > UsdNanos::ZERO);
    Ok(heaps)
}

/// What entries beside a reservation mean for the caps of this run.
pub(crate) fn count(job: &Job, entries: &[LedgerEntry]) {
    let mut state = job.state.borrow_mut();
    for entry in entries {
        match entry.kind {
            LedgerKind::Doubt => state.budget.suspect(entry.tags, entry.usd),
            LedgerKind::DoubtCleared => state.budget.clear(entry.tags, entry.usd),
            LedgerKind::Settle | LedgerKind::Duplicate => state.budget.spend(entry.tags, entry.usd),
            _ => {}
        }
    }
}
