//! The rows, in the order in which a job meets them.

mod job;
mod item;
mod submission;
mod outcome;
mod ledger;
mod tx;

pub use item::{ItemChunk, ItemKind, ItemRec};
pub use job::{JobRow, JobState, NewJob, NewOrder, Order};
pub use ledger::{LedgerEntry, LedgerKind};
pub use outcome::{Fate, Outcome, Place, Via};
pub use submission::{Lease, Submission, SubmissionState};
pub use tx::Tx;
