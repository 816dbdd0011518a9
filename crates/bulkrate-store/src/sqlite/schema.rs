//! The tables. What people read is plain; what there are millions of is packed (`crate::pack`).

use rusqlite::Connection;

use super::failed;
use crate::error::StoreError;

/// Version of the tables; a higher one on disk is refused.
pub const SCHEMA_VERSION: i64 = 1;
/// `brat`: tells our files from other SQLite databases.
const APPLICATION_ID: i64 = 0x6272_6174;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE job (
  no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL,
  items INTEGER NOT NULL, created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, source TEXT NOT NULL,
  source_digest TEXT NOT NULL, catalogue_digest TEXT NOT NULL, spec TEXT NOT NULL, checkpoint TEXT, report TEXT) STRICT;

CREATE TABLE tag_set (
  job INTEGER NOT NULL REFERENCES job(no), no INTEGER NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (job, no)) STRICT, WITHOUT ROWID;

-- Packed. `keys` stands last: a scan that needs no keys does not read their pages.
CREATE TABLE item_chunk (
  job INTEGER NOT NULL REFERENCES job(no), first INTEGER NOT NULL, count INTEGER NOT NULL, offset INTEGER NOT NULL,
  items BLOB NOT NULL, keys BLOB NOT NULL, PRIMARY KEY (job, first)) STRICT;

-- `seq` is one counter for submissions and outcomes: the order in which things were committed.
CREATE TABLE submission (
  seq INTEGER PRIMARY KEY, sub TEXT NOT NULL UNIQUE, job INTEGER NOT NULL REFERENCES job(no), lane TEXT NOT NULL,
  provider TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
  reserved_usd_nanos INTEGER NOT NULL, segment INTEGER NOT NULL, items INTEGER NOT NULL, input_digest TEXT,
  input_bytes INTEGER NOT NULL, remote_input TEXT, remote_batch TEXT, remote_phase TEXT, remote_output TEXT,
  remote_errors TEXT, remote_total INTEGER NOT NULL, remote_completed INTEGER NOT NULL, remote_failed INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL, sent_at_ms INTEGER, ended_at_ms INTEGER, settled_at_ms INTEGER,
  output_cursor INTEGER NOT NULL, error_cursor INTEGER NOT NULL, epoch INTEGER NOT NULL, evidence TEXT) STRICT;
CREATE INDEX submission_job ON submission(job);

-- Packed: what a submission carried, in the order of its wire ids.
CREATE TABLE lease (
  seq INTEGER PRIMARY KEY REFERENCES submission(seq), job INTEGER NOT NULL, count INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX lease_job ON lease(job);

-- Packed.
CREATE TABLE outcome (
  seq INTEGER PRIMARY KEY, job INTEGER NOT NULL REFERENCES job(no), count INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX outcome_job ON outcome(job);

-- No reference to job: entries outlive it.
CREATE TABLE ledger (
  no INTEGER PRIMARY KEY, job INTEGER NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, lane TEXT, provider TEXT NOT NULL,
  model TEXT NOT NULL, tags INTEGER NOT NULL, lever TEXT, sub TEXT, items INTEGER NOT NULL, usd_nanos INTEGER NOT NULL,
  note TEXT) STRICT;
CREATE INDEX ledger_job ON ledger(job);

CREATE TABLE job_order (
  no INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES job(no), verb TEXT NOT NULL, payload TEXT NOT NULL,
  at_ms INTEGER NOT NULL) STRICT;
";

/// The version on disk; 0 = an empty file.
pub(super) fn version(conn: &Connection) -> Result<i64, StoreError> {
    let pragma = |name| {
        conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(failed("read the schema version"))
    };
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    let count = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = conn.query_row(count, [], |row| row.get(0)).map_err(failed("read the schema"))?;
    if tables > 0 && application != APPLICATION_ID {
        let why = "the file is not a bulkrate state".to_owned();
        return Err(StoreError::Corrupt { table: "(database file)", row: 0, why });
    }
    Ok(if tables == 0 { 0 } else { version })
}

/// Brings the tables to [`SCHEMA_VERSION`]; the caller has refused newer ones.
pub(super) fn create(conn: &Connection, inst: &str) -> Result<(), StoreError> {
    if version(conn)? != 0 {
        return Ok(());
    }
    // One transaction: a crash here leaves an empty file, which the next open fills.
    let tx = conn.unchecked_transaction().map_err(failed("create the tables"))?;
    tx.execute_batch(TABLES).map_err(failed("create the tables"))?;
    tx.execute("INSERT INTO meta VALUES ('inst', ?1), ('epoch', '0')", [inst])
        .map_err(failed("create the tables"))?;
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed("create the tables"))?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed("create the tables"))?;
    tx.commit().map_err(failed("create the tables"))
}
