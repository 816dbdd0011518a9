//! Sources and sinks on real files: one module per topic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod real_data;
mod round_trip;
mod sinks;
mod sources_csv;
mod sources_jsonl;
mod sources_packed;
mod sources_parquet;
mod support;
