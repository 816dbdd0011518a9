//! REMEMBERS. What was decided, kept so that a crash at any moment loses nothing and pays for nothing twice.
//!
//! Append and fold: items are written once in ordinal order, leases and outcomes are appended as they come, and the
//! state of an item is the fold of the three. The few rows that do change (jobs, submissions) and the ledger are plain
//! SQL tables that `sqlite3` and DuckDB can read; the many are packed, one BLOB row per chunk.
//!
//! Invariants
//! - A [`Store::commit`] is one durable transaction: all of its [`Tx`]s or nothing.
//! - What a committed row points at in a file was made durable before the row ([`Tx::sync_first`]).
//! - Leases and outcomes of a job come back in the order in which they were committed.
//! - Money is an `i64` of nano-dollars from end to end; a sum that overflows is an error, never a wrong number.

mod names;
pub mod row;
mod error;
mod store;
pub mod pack;
mod check;
mod totals;
mod mem;
mod sqlite;
mod writer;
pub mod fold;
pub mod conformance;

pub use error::StoreError;
pub use mem::MemStore;
pub use row::{
    Fate, ItemChunk, ItemKind, ItemRec, JobRow, JobState, Lease, LedgerEntry, LedgerKind, NewJob, NewOrder,
    Order, Outcome, Place, Submission, SubmissionState, Tx, Via,
};
pub use sqlite::{SCHEMA_VERSION, SqliteReader, SqliteStore};
pub use store::{LogChunk, Store, View};
pub use totals::{By, LedgerQuery, LedgerTotal, Spent, Sums};
pub use writer::{Committer, Done, Query, Urgency, Writer};
