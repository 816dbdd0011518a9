//! Embeddings of a job's prompts, made before it runs by an ordinary job of their own ([ADR 19](../../../docs/adr/0019-embeddings.md)).
//!
//! Invariants
//! - Money is spent by that job alone: its leases, its ledger, its budget. Whatever happens, a text is paid for once.
//! - The vectors are one file, written as a whole once the texts have their outcomes; a run that has it asks for none of them again.
//! - An item without a vector is asked like any other.
//!
//! What is compared is decided in `bulkrate_core::semantic`; `engine/embed.rs` acts.

mod kept;
mod texts;
mod job;
mod vectors;
mod build;
mod worth;

pub(crate) use build::build;
pub(crate) use job::embedding_job;
pub(crate) use kept::{Kept, Maker};
pub(crate) use texts::{Texts, write_texts};
pub(crate) use vectors::{Vectors, VectorsWriter};
pub(crate) use worth::{pays_from, warnings};

/// What stands for what embeddings cost, among the levers that save.
pub(crate) const EMBEDDING: &str = "embedding";
