//! Reads and writes: the two ends of a job. A source hands out borrowed rows of a file or of standard input; a sink
//! writes typed rows whole or not at all. This crate is blind: it speaks in columns and bytes and knows nothing of
//! items, requests or money.
//!
//! Invariants
//! - Memory is constant: it depends on the largest row, never on the number of rows.
//! - A row is handed out without an allocation of its own; it borrows the source's buffer until the next call.
//! - A place (`Position`) taken after row `k` and given back to `Source::open` yields row `k + 1` and what follows.
//! - An output file appears under its name complete and synced, or not at all (except in stream mode).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests"))]

mod format;
mod json;
mod source;

mod digest;
mod sink;

pub use digest::{Digest, Stamp, digest_file, digest_file_while, hex};
pub use format::{Compression, Format};
pub use json::{JsonFault, JsonKind, JsonRow, JsonScanner, JsonValue};
pub use sink::{
    Column, ColumnType, Sink, SinkError, SinkMode, SinkOptions, SinkReport, SinkTarget, Value, csv_line,
};
pub use source::{
    BadKind, BadLine, Cells, Foreign, Input, OnBadLine, Position, Row, RowData, Source, SourceError,
    SourceOptions,
};
