//! What every store can do. The conformance suite says what these mean; both stores pass it.

use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;

use crate::error::StoreError;
use crate::row::{
    ItemChunk, ItemKind, JobRow, Lease, LedgerEntry, NewJob, NewOrder, Order, Outcome, Submission,
    SubmissionState, Tx,
};
use crate::totals::{LedgerQuery, LedgerTotal, Spent};

/// A piece of a job's history, in commit order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChunk<'a> {
    /// The leases a submission began with; `state` is the submission's state now.
    Leases {
        sub: Sub,
        lane: Lane,
        state: SubmissionState,
        leases: &'a [Lease],
    },
    Outcomes(&'a [Outcome]),
}

/// What any process may do while an engine runs: read, and leave an order.
///
/// Scans call `each` chunk by chunk, in order, until it breaks.
pub trait View: Send {
    /// Random id of this store, set when it was created; marks our batches at providers.
    fn inst(&self) -> &str;
    /// Counts the times the store was opened for writing; what an earlier epoch was sending is in doubt.
    fn epoch(&self) -> u64;
    fn meta(&self, key: &str) -> Result<Option<String>, StoreError>;
    /// What is broken in the way the rows are kept (pages, indexes), whatever they say; the first few. Reads all of them.
    fn breakage(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// All jobs, oldest first.
    fn jobs(&self) -> Result<Vec<JobRow>, StoreError>;
    fn job(&self, no: u32) -> Result<Option<JobRow>, StoreError>;
    fn job_by_id(&self, id: &str) -> Result<Option<JobRow>, StoreError>;
    fn tag_sets(&self, job: u32) -> Result<Vec<(u32, String)>, StoreError>;

    /// Items from the chunk that holds `from` on.
    fn scan_items(
        &self,
        job: u32,
        from: Ordinal,
        each: &mut dyn FnMut(&ItemChunk) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// As `scan_items` from 0, but only the first ordinal and the kinds: reads a fraction of the bytes.
    fn scan_kinds(
        &self,
        job: u32,
        each: &mut dyn FnMut(Ordinal, &[ItemKind]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// The chunk that holds an item.
    fn item_chunk_of(&self, job: u32, ordinal: Ordinal) -> Result<Option<ItemChunk>, StoreError>;

    /// A job's submissions in the order of their creation.
    fn submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError>;
    /// A job's batches that are not over: neither calls nor in a terminal state. What a start has to look at.
    fn open_submissions(&self, job: u32) -> Result<Vec<Submission>, StoreError> {
        let mut open = self.submissions(job)?;
        open.retain(|of| of.state != SubmissionState::Call && !of.state.is_terminal());
        Ok(open)
    }
    /// The batches of all jobs.
    fn batches(&self) -> Result<Vec<Submission>, StoreError> {
        let mut found = Vec::new();
        for job in self.jobs()? {
            found.extend(self.submissions(job.no)?.into_iter().filter(|row| row.lane == Lane::Batch));
        }
        Ok(found)
    }
    fn submission(&self, sub: Sub) -> Result<Option<Submission>, StoreError>;
    /// What a submission leased; empty where it is unknown.
    fn leases(&self, sub: Sub) -> Result<Vec<Lease>, StoreError>;
    /// Leases and outcomes of a job, in commit order; what [`crate::fold`] takes.
    fn scan_log(
        &self,
        job: u32,
        each: &mut dyn FnMut(LogChunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    fn scan_outcomes(
        &self,
        job: u32,
        each: &mut dyn FnMut(&[Outcome]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// All submissions of a job with their leases, in the order of their creation.
    fn scan_leases(
        &self,
        job: u32,
        each: &mut dyn FnMut(&Submission, &[Lease]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for submission in self.submissions(job)? {
            let leases = self.leases(submission.sub)?;
            if each(&submission, &leases).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Sums by group, ordered by the groups' values.
    fn ledger_totals(&self, query: &LedgerQuery) -> Result<Vec<LedgerTotal>, StoreError>;
    /// Entries that match, in commit order; `query.by` is not looked at.
    fn ledger_scan(
        &self,
        query: &LedgerQuery,
        each: &mut dyn FnMut(&LedgerEntry) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;
    /// What counts against a cap that began at `from_ms`, over all jobs: what was settled and doubted since, and what is
    /// reserved now.
    fn spent_since(&self, from_ms: i64) -> Result<Spent, StoreError>;

    /// Leaves an order for the engine; returns its number.
    fn put_order(&self, order: &NewOrder) -> Result<u64, StoreError>;
    /// Orders that wait, oldest first. [`Tx::orders_done`] removes them with the commit that carries them out.
    fn orders(&self) -> Result<Vec<Order>, StoreError>;
}

impl std::fmt::Debug for dyn View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// What only the one engine that holds the lock may do.
pub trait Store: View {
    /// Adds a job; its id must be new.
    fn create_job(&mut self, job: &NewJob) -> Result<u32, StoreError>;
    /// Makes all of them durable in one transaction, or none.
    fn commit(&mut self, txs: &[Tx]) -> Result<(), StoreError>;
    fn set_meta(&mut self, key: &str, value: &str) -> Result<(), StoreError>;
    /// Removes a job and all that belongs to it, except its ledger entries (the caps of the day count them).
    fn delete_job(&mut self, no: u32) -> Result<(), StoreError>;
}
