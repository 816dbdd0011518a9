//! The embedded store: one SQLite file in WAL mode, one writer, any number of readers.
//!
//! `engine.lock` is held by the one engine; every other process opens a [`SqliteReader`].

mod lock;
mod schema;
mod open;
mod read;
mod submissions;
mod ledger;
mod commit;

pub use open::{SqliteReader, SqliteStore};
pub use schema::SCHEMA_VERSION;

use std::io;

use rusqlite::ErrorCode;

use crate::error::StoreError;
use crate::pack::Damage;

/// Names what failed and tells a full disk, a busy file and damage from the rest.
fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { source: Box::new(source) },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { doing },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { table: "(database file)", row: 0, why: source.to_string() }
        }
        _ => StoreError::Database { doing, source },
    }
}

fn io_failed(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { source: Box::new(source) },
        _ => StoreError::Io { doing, path, source },
    }
}

/// A stored value that is never written.
fn damaged(table: &'static str, row: i64) -> impl Fn(Damage) -> StoreError {
    move |damage| StoreError::Corrupt { table, row, why: damage.to_string() }
}

/// An unsigned number as SQLite keeps it. Sizes and cursors fit; more is a damaged caller.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Runs a query and reads every row.
fn all<T>(
    doing: &'static str,
    statement: &mut rusqlite::Statement<'_>,
    values: impl rusqlite::Params,
    read: impl Fn(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = statement.query(values).map_err(failed(doing))?;
    let mut list = Vec::new();
    while let Some(row) = rows.next().map_err(failed(doing))? {
        list.push(read(row)?);
    }
    Ok(list)
}
