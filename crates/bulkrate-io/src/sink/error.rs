//! What can go wrong while writing a sink.
use std::io;
use std::path::{Path, PathBuf};

use crate::format::Format;

/// Why an output cannot be opened, written or put in its place. Unless it says otherwise, no file was replaced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Something lies there already and may not be replaced.
    #[error("`{}` exists already; nothing was written", path.display())]
    Exists {
        /// The output file.
        path: PathBuf,
    },
    /// It was written for this job, and changed since: what is in it now may be nowhere else.
    #[error("`{}` was edited since it was written, or replaced; nothing was written", path.display())]
    Edited {
        /// The output file.
        path: PathBuf,
    },
    /// Another process is writing the same file.
    #[error("another process is writing `{}`", path.display())]
    Busy {
        /// The output file.
        path: PathBuf,
    },
    /// The folder the file would lie in is missing, or the path is a folder.
    #[error("cannot write `{}`: {what}", path.display())]
    BadPath {
        /// The output file.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// A file that the job itself needs lies there.
    #[error("cannot write `{}`: {what}", path.display())]
    Precious {
        /// The output file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// No room left on the device.
    #[error("the disk is full: `{}` could not be written and no file was replaced", path.display())]
    DiskFull {
        /// The output file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not {doing} `{}`; no file was replaced", path.display())]
    Io {
        /// The output file, or `-`.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name says nothing about the format.
    #[error("cannot tell in which format to write `{}`", path.display())]
    UnknownFormat {
        /// The output file.
        path: PathBuf,
    },
    /// A format that is complete only at its end cannot show rows as they land.
    #[error("rows cannot be streamed to `{}`: {what}", path.display())]
    NotStreamable {
        /// The output file.
        path: PathBuf,
        /// Which part cannot.
        what: &'static str,
    },
    /// A stream was to go on at a place the file does not have.
    #[error("`{}` has {found} bytes; writing was to go on after byte {resume_at}", path.display())]
    BadResume {
        /// The output file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Where writing was to go on.
        resume_at: u64,
    },
    /// Two columns of one name, or none at all.
    #[error("{what}")]
    BadColumns {
        /// What is wrong.
        what: String,
    },
    /// A row that does not fit the columns. A bug in the caller.
    #[error("row {row} does not fit the columns: {what}")]
    BadRow {
        /// Its number, from 0.
        row: u64,
        /// What does not fit.
        what: String,
    },
    /// The Parquet writer failed.
    #[error("could not write `{}` as Parquet: {what}; no file was replaced", path.display())]
    Parquet {
        /// The output file.
        path: PathBuf,
        /// What the writer said.
        what: String,
    },
}

impl SinkError {
    /// A stable name; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } | Self::Edited { .. } => "sink-exists",
            Self::Busy { .. } => "sink-busy",
            Self::BadPath { .. } | Self::Precious { .. } => "sink-bad-path",
            Self::DiskFull { .. } => "sink-disk-full",
            Self::Io { .. } => "sink-io",
            Self::UnknownFormat { .. } => "sink-unknown-format",
            Self::NotStreamable { .. } => "sink-not-streamable",
            Self::BadResume { .. } => "sink-bad-resume",
            Self::BadColumns { .. } => "sink-bad-columns",
            Self::BadRow { .. } => "sink-bad-row",
            Self::Parquet { .. } => "sink-parquet",
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Edited { .. } => {
                "keep it under another name, choose another `--out`, or replace it with `--force`".into()
            }
            Self::Exists { .. } => "choose another name, or replace it with `--force`".into(),
            Self::Busy { .. } => "wait for the other process, or choose another name".into(),
            Self::BadPath { path, .. } => {
                let folder = path.parent().unwrap_or(Path::new("."));
                format!("check the path; create the folder with `mkdir -p {}`", folder.display())
            }
            Self::Precious { .. } => "choose another name; `--force` does not replace this file".into(),
            Self::DiskFull { .. } => {
                "free some space and run the same command again; no answer is lost".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "give yourself the right to write there, or choose another folder".into()
            }
            Self::UnknownFormat { .. } => {
                format!("let the name end in .jsonl, .csv, .tsv or .parquet, or say one of {}", Format::NAMES)
            }
            Self::NotStreamable { .. } => {
                "stream to a plain .jsonl, .csv or .tsv file, or leave `--stream` out".into()
            }
            Self::BadResume { .. } => {
                "the file was changed since; remove it and write the results anew".into()
            }
            Self::BadColumns { .. } => "rename the column of the input".into(),
            Self::Io { .. } | Self::BadRow { .. } | Self::Parquet { .. } => return None,
        })
    }

    /// The reader of a pipe went away: for standard output that is no error worth a message.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::NotFound => Self::BadPath { path, what: "its folder does not exist" },
            io::ErrorKind::IsADirectory => Self::BadPath { path, what: "it is a folder" },
            _ => Self::Io { path, doing, source },
        }
    }
}
