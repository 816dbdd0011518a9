//! From flags, environment, job file and `bulkrate.toml` to the job that the engine takes.
//!
//! Order: flags, then variables that begin with `BULKRATE_` (clap reads both), then the job file, then `bulkrate.toml` of the
//! working directory, then defaults. The modules stand in the order of the data: a value, a file's shape, its errors, the job.

pub mod value;
pub mod mix;
pub mod job_file;
pub(crate) mod account;
pub mod router;
pub mod filter;
mod cascade;
mod semantic;
mod toml_error;
mod error;
pub mod resolve;

pub use error::ConfigError;
pub use job_file::{Defaults, Layer};
pub use resolve::job;

#[cfg(test)]
mod tests;
