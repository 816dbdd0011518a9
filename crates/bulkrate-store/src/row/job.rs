//! A job, and the orders that other processes leave for the engine that runs it.

use crate::names::named;

named! {
    /// Where a job stands.
    JobState {
        /// Items are still being read and prepared.
        Preparing = "preparing",
        Running = "running",
        Cancelled = "cancelled",
        Done = "done",
    }
}

/// A job as it is handed in. Budget, deadline and limits live in `spec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Hash of the canonical spec and the source; unique in a store.
    pub id: String,
    /// What the user calls it.
    pub name: String,
    /// The whole spec, JSON.
    pub spec: String,
    /// Where the items come from, as the user wrote it.
    pub source: String,
    pub source_digest: String,
    /// The catalogue the job was priced with.
    pub catalogue_digest: String,
    pub created_at_ms: i64,
}

/// A job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Number in this store, from 1, never used twice.
    pub no: u32,
    pub id: String,
    pub name: String,
    pub spec: String,
    pub source: String,
    pub source_digest: String,
    pub catalogue_digest: String,
    pub created_at_ms: i64,
    pub state: JobState,
    /// Items appended so far; kept by the store itself.
    pub items: u64,
    pub updated_at_ms: i64,
    /// Where intake stands, JSON; the engine's own words.
    pub checkpoint: Option<String>,
    /// The final report, JSON.
    pub report: Option<String>,
}

impl JobRow {
    /// The row of a job that was just created under number `no`.
    #[must_use]
    pub fn new(no: u32, job: &NewJob) -> Self {
        let NewJob { id, name, spec, source, source_digest, catalogue_digest, created_at_ms } = job.clone();
        Self {
            no,
            id,
            name,
            spec,
            source,
            source_digest,
            catalogue_digest,
            created_at_ms,
            state: JobState::Preparing,
            items: 0,
            updated_at_ms: created_at_ms,
            checkpoint: None,
            report: None,
        }
    }
}

/// What another process asks the engine to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub job: u32,
    /// `cancel`, `retry`, ...
    pub verb: String,
    /// JSON, or empty.
    pub payload: String,
    pub at_ms: i64,
}

/// An order that waits. It is removed in the commit that carries it out ([`crate::Tx::orders_done`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub no: u64,
    pub order: NewOrder,
}
