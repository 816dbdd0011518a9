//! Run millions of LLM requests at the lowest price, pay for each answer once, and never lose a row.
//!
//! The binary and, for Rust programs, the facade: [`engine`] runs jobs, [`core`] has the nouns and the prices, [`config`] reads
//! job files, [`app::accounts`] opens providers. The modules stand in the order in which a command passes them.

pub mod cli;
pub mod config;
pub mod app;
pub mod report;

pub use bulkrate_core as core;
pub use bulkrate_engine as engine;
