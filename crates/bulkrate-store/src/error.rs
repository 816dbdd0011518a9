//! What can go wrong with the state, and what to do about it.

use std::path::PathBuf;
use std::sync::Arc;

/// A store that could not do what was asked. Each has a page `docs/errors/<code>.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("state directory `{}` is in use by process {}", dir.display(), pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string()))]
    Locked { dir: PathBuf, pid: Option<u32>, since_ms: Option<i64> },
    #[error("there is no state in `{}`", dir.display())]
    Missing { dir: PathBuf },
    #[error("state in `{}` has schema version {found}; this bulkrate knows versions up to {known}", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("state is damaged: table `{table}`, row {row}: {why}")]
    Corrupt { table: &'static str, row: i64, why: String },
    #[error("no space is left for the state")]
    Full {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not {doing} `{}`", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a result file could not be made durable")]
    Sync {
        #[source]
        source: std::io::Error,
    },
    #[error("the state stayed locked by another process while trying to {doing}")]
    Busy { doing: &'static str },
    #[error("the state database failed to {doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the state is open for reading only")]
    ReadOnly,
    #[error("there is no job number {job} in the state")]
    NoSuchJob { job: u32 },
    #[error("job {job}: the commit was refused: {why}")]
    Rejected { job: u32, why: String },
    #[error("an amount of money in the state exceeds the range of nano-dollars")]
    Overflow,
    #[error("the state takes no more commits since one failed: {first}")]
    Halted { first: Arc<StoreError> },
    #[error("the state's writer has stopped")]
    Stopped,
}

impl StoreError {
    /// A stable name; `docs/errors/<code>.md` explains it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "state-locked",
            Self::Missing { .. } => "state-missing",
            Self::Newer { .. } => "state-newer",
            Self::Corrupt { .. } => "state-corrupt",
            Self::Full { .. } => "state-full",
            Self::Io { .. } | Self::Sync { .. } => "state-io",
            Self::Busy { .. } => "state-busy",
            Self::Database { .. } => "state-database",
            Self::ReadOnly => "state-read-only",
            Self::NoSuchJob { .. } => "state-no-such-job",
            Self::Rejected { .. } | Self::Overflow => "state-rejected",
            Self::Halted { .. } | Self::Stopped => "state-halted",
        }
    }

    /// One line a user can act on.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Locked { .. } => "wait for it or stop it; `bulkrate status`, `cancel` and `results` work beside it; or give another `--state DIR`".into(),
            Self::Missing { .. } => "check `--state DIR`; a first `bulkrate run` creates the state".into(),
            Self::Newer { .. } => "use the newer bulkrate that wrote it, or another `--state DIR`".into(),
            Self::Corrupt { table: "(database file)", .. } => "keep a copy of the directory, then restore a backup of it, or go on in another with `--state DIR`".into(),
            Self::Corrupt { .. } => "keep a copy of the directory, then run `bulkrate verify` or restore a backup".into(),
            Self::Full { .. } => "free some space and run the same command again; nothing that was committed is lost".into(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => "`--state DIR` names a folder; give another, or leave it out for `.bulkrate`".into(),
            Self::Io { .. } | Self::Sync { .. } => "check the disk and the directory's permissions, then run the same command again".into(),
            Self::Busy { .. } => "close other programs that hold the state database open for writing, then try again".into(),
            Self::Database { .. } => "check the disk and the directory's permissions, then run the same command again".into(),
            Self::ReadOnly => "run the command as the user who owns the state directory".into(),
            Self::NoSuchJob { .. } => "list the jobs with `bulkrate status`".into(),
            Self::Rejected { .. } | Self::Overflow => "this is a bug in bulkrate; nothing was written; please report it".into(),
            Self::Halted { first } => first.hint(),
            Self::Stopped => "run the same command again; nothing that was committed is lost".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page_and_every_error_a_hint() {
        let (dir, path) = (PathBuf::from("d"), PathBuf::from("d/f"));
        let io = || std::io::Error::other("x");
        let errors = [
            StoreError::Locked { dir: dir.clone(), pid: None, since_ms: None },
            StoreError::Missing { dir },
            StoreError::Newer { path: path.clone(), found: 2, known: 1 },
            StoreError::Corrupt { table: "job", row: 1, why: "x".into() },
            StoreError::Full { source: Box::new(io()) },
            StoreError::Io { doing: "open", path, source: io() },
            StoreError::Sync { source: io() },
            StoreError::Busy { doing: "begin" },
            StoreError::Database { doing: "begin", source: rusqlite::Error::InvalidQuery },
            StoreError::ReadOnly,
            StoreError::NoSuchJob { job: 1 },
            StoreError::Rejected { job: 1, why: "x".into() },
            StoreError::Overflow,
            StoreError::Halted { first: Arc::new(StoreError::Overflow) },
            StoreError::Stopped,
        ];
        let damaged = |table| StoreError::Corrupt { table, row: 0, why: "x".into() }.hint();
        // What cannot be opened cannot be verified.
        assert!(damaged("job").contains("verify") && !damaged("(database file)").contains("verify"));
        for error in errors {
            let page = format!("{}/../../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), error.code());
            assert!(std::path::Path::new(&page).exists(), "{page}");
            assert!(!error.hint().is_empty() && !error.to_string().ends_with('.'), "{error}");
        }
    }
}
