//! Reading the world's store as another connection would.

use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_store::{
    ItemChunk, ItemKind, JobRow, Lease, LedgerEntry, LedgerQuery, LedgerTotal, LogChunk, NewOrder, Order,
    Outcome, Spent, StoreError, Submission, View,
};

use crate::hub::{Shared, lock};

/// A view that sees every commit at once.
pub(crate) struct Window {
    pub world: Shared,
    pub inst: String,
}

impl View for Window {
    fn inst(&self) -> &str {
        &self.inst
    }
    fn epoch(&self) -> u64 {
        lock(&self.world).store.epoch()
    }
    fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        lock(&self.world).store.meta(key)
    }
    fn jobs(&self) -> Result<Vec<JobRow>, StoreError> {
        lock(&self.world).store.jobs()
    }
    fn job(&self, no: u32) -> Result<Option<JobRow>, StoreError> {
        lock(&self.world).store.job(no)
    }
    fn job_by_id(&self, id: &str) -> Result<Option<JobRow>, StoreError> {
        lock(&self.world).store.job_by_id(id)
    }
    fn tag_sets(&self, job: u32) -> Result<Vec<(u32, String)>, StoreError> {
        lock(&self.world).store.tag_sets(job)
    }
    fn scan_items(
        &self,
        job: u32,
        from: Ordinal,
        each: &mut dyn FnMut(&ItemChunk) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        lock(&self.world).store.scan_items(job, from, each)
    }
    fn scan_kinds(
        &self,
        job: u32,
        each: &mut dyn FnMut(Ordinal, &[ItemKind]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        lock(&self.world).store.scan_kinds(job, each)
    }
    fn item_chunk_of(&self, job: u32, ordinal: Ordinal) -> Result<Option<ItemChunk>, StoreError> {
        lock(&self.world).store.item_chunk_of(job, ordinal)
    }
    fn submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        lock(&self.world).store.submissions(job)
    }
    fn submission(&self, sub: Sub) -> Result<Option<Submission>, StoreError> {
        lock(&self.world).store.submission(sub)
    }
    fn leases(&self, sub: Sub) -> Result<Vec<Lease>, StoreError> {
        lock(&self.world).store.leases(sub)
    }
    fn scan_log(
        &self,
        job: u32,
        each: &mut dyn FnMut(LogChunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        lock(&self.world).store.scan_log(job, each)
    }
    fn scan_outcomes(
        &self,
        job: u32,
        each: &mut dyn FnMut(&[Outcome]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        lock(&self.world).store.scan_outcomes(job, each)
    }
    fn ledger_totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError> {
        lock(&self.world).store.ledger_totals(query)
    }
    fn ledger_scan(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        lock(&self.world).store.ledger_scan(query, each)
    }
    fn spent_since(&self, from_ms: i64) -> Result<Spent, StoreError> {
        lock(&self.world).store.spent_since(from_ms)
    }
    fn put_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        lock(&self.world).store.put_order(order)
    }
    fn orders(&self) -> Result<Vec<Order>, StoreError> {
        lock(&self.world).store.orders()
    }
}
