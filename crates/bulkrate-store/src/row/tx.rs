//! What is committed together.

use std::fs::File;
use std::sync::Arc;

use super::{ItemChunk, JobState, Lease, LedgerEntry, Outcome, Submission};

/// Changes to one job that become durable together, applied in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct Tx {
    pub job: u32,
    /// Made durable (`sync_data`) before the commit: the files that the rows below point into.
    pub sync_first: Vec<Arc<File>>,
    /// Appended: each begins where the one before it ended.
    pub items: Vec<ItemChunk>,
    /// `(number, JSON object)`, written once.
    pub tag_sets: Vec<(u32, String)>,
    pub outcomes: Vec<Outcome>,
    /// Inserted, or replaced by `sub`; leases only with the first.
    pub submissions: Vec<(Submission, Option<Vec<Lease>>)>,
    pub ledger: Vec<LedgerEntry>,
    /// Numbers of the orders that this commit carries out.
    pub orders_done: Vec<u64>,
    pub job_state: Option<JobState>,
    /// Replaces the spec: budget and limits may change between runs.
    pub spec: Option<String>,
    pub checkpoint: Option<String>,
    pub report: Option<String>,
    /// Sets the job's `updated_at_ms` where given.
    pub at_ms: Option<i64>,
}

impl Tx {
    #[must_use]
    pub fn new(job: u32) -> Self {
        Self { job, ..Self::default() }
    }

    /// Leases that the commit creates.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.submissions.iter().filter_map(|(_, leases)| leases.as_ref()).map(Vec::len).sum()
    }
}
