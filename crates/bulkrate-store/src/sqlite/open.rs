//! Opening a state directory, for the engine and for everyone else.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::lock::Lock;
use super::{failed, io_failed, schema};
use crate::error::StoreError;

const FILE: &str = "state.db";
/// Long enough for a reader's checkpoint; a program that holds the file longer is reported.
const BUSY: Duration = Duration::from_secs(10);

/// The state as any process may have it: read, and leave orders. Works while an engine writes.
#[derive(Debug)]
pub struct SqliteReader {
    pub(super) conn: Connection,
    pub(super) inst: String,
    pub(super) epoch: u64,
}

/// The state as the one engine has it.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) reader: SqliteReader,
    /// Items of each job, as committed.
    pub(super) items: HashMap<u32, u64>,
    /// The next `seq`.
    pub(super) next_seq: i64,
    /// A write has failed: the file is not written again by this process.
    pub(super) halted: bool,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the state in `dir` for writing and creates what is missing: the directory (0700), the database (0600),
    /// a `.gitignore`. `inst` is a random id, kept if the state is new; `now_ms` is told to whoever finds the lock taken.
    ///
    /// # Errors
    /// `Locked` by another engine, `Newer` schema, `Corrupt`, `Io`.
    pub fn open(dir: &Path, inst: &str, now_ms: i64) -> Result<Self, StoreError> {
        create_dir(dir)?;
        let lock = Lock::take(dir, now_ms)?;
        let ignore = dir.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(io_failed("write", &ignore))?;
        }
        let path = dir.join(FILE);
        // SQLite gives the files beside the database the database's mode.
        private(&path).map_err(io_failed("create", &path))?;
        let conn = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(failed("open"))?;
        set_up(&conn)?;
        refuse_newer(&path, schema::version(&conn)?)?;
        let pragmas = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                       PRAGMA wal_autocheckpoint = 2000;";
        conn.execute_batch(pragmas).map_err(failed("prepare the database"))?;
        schema::create(&conn, inst)?;
        let epoch = "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'";
        conn.execute(epoch, []).map_err(failed("begin an epoch"))?;
        let next = "SELECT 1 + max(coalesce((SELECT max(seq) FROM submission), 0), coalesce((SELECT max(seq) FROM outcome), 0))";
        let next_seq = conn.query_row(next, [], |row| row.get(0)).map_err(failed("read the last number"))?;
        let reader = SqliteReader::new(conn)?;
        let items = reader.items_by_job()?;
        Ok(Self { reader, items, next_seq, halted: false, _lock: lock })
    }

    /// Opens the state in `dir` beside a running engine, or without one. Never creates anything.
    ///
    /// # Errors
    /// `Missing`, `Newer` schema, `Corrupt`.
    pub fn open_reader(dir: &Path) -> Result<SqliteReader, StoreError> {
        if dir.is_file() {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(StoreError::Io { doing: "use as the state directory", path: dir.to_owned(), source });
        }
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(StoreError::Missing { dir: dir.to_owned() });
        }
        let writable = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Another user's state can still be read, without leaving orders.
        let conn = Connection::open_with_flags(&path, writable)
            .or_else(|_| Connection::open_with_flags(&path, read_only))
            .map_err(failed("open"))?;
        set_up(&conn)?;
        match schema::version(&conn)? {
            0 => Err(StoreError::Missing { dir: dir.to_owned() }),
            found => refuse_newer(&path, found).and_then(|()| SqliteReader::new(conn)),
        }
    }
}

impl SqliteReader {
    fn new(conn: Connection) -> Result<Self, StoreError> {
        let meta = |key: &str| {
            conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0))
                .map_err(failed("read the state's id"))
        };
        let (inst, epoch) = (meta("inst")?, meta("epoch")?);
        let epoch = epoch.parse().map_err(|_| StoreError::Corrupt {
            table: "meta",
            row: 0,
            why: "`epoch` is no number".into(),
        })?;
        Ok(Self { conn, inst, epoch })
    }
}

fn set_up(conn: &Connection) -> Result<(), StoreError> {
    conn.busy_timeout(BUSY).map_err(failed("set the time-out"))?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.execute_batch("PRAGMA cache_size = -1000; PRAGMA trusted_schema = OFF;")
        .map_err(failed("prepare the connection"))
}

fn refuse_newer(path: &Path, found: i64) -> Result<(), StoreError> {
    match found {
        0..=schema::SCHEMA_VERSION => Ok(()),
        _ => Err(StoreError::Newer { path: path.to_owned(), found, known: schema::SCHEMA_VERSION }),
    }
}

/// Opens a file for reading and writing that only its owner may read, creating it.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(io_failed("create", dir))?;
    #[cfg(unix)]
    {
        // A directory that was there before may be open to others.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir, mode).map_err(io_failed("restrict", dir))?;
    }
    Ok(())
}
