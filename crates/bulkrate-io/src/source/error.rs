//! What can go wrong while reading a source, and what a bad line looks like.
use std::io;
use std::path::{Path, PathBuf};

use crate::format::Format;

/// Why a source cannot be opened or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing lies at that path.
    #[error("no file at `{}`", path.display())]
    Missing {
        /// As the user gave it.
        path: PathBuf,
    },
    /// A folder or another thing that has no bytes to read.
    #[error("`{}` is a folder, not a file", path.display())]
    Folder {
        /// As the user gave it.
        path: PathBuf,
    },
    /// A pipe or a device: what was read once is not there for the second reading.
    #[error("`{}` is a pipe or a device, not a file", path.display())]
    NotAFile {
        /// As the user gave it.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not read `{}`", path.display())]
    Io {
        /// The file, or `-`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not one row.
    #[error("`{}` {}", path.display(), if *header_only { "has a header and no rows" } else { "is empty" })]
    EmptySource {
        /// The file, or `-`.
        path: PathBuf,
        /// True when there was at least a header.
        header_only: bool,
    },
    /// The name says nothing and the first bytes neither, or the bytes are of a kind that is not read.
    #[error("cannot tell how to read `{}`: {found}", path.display())]
    UnknownFormat {
        /// The file, or `-`.
        path: PathBuf,
        /// What was found there.
        found: Foreign,
    },
    /// A header that cannot name columns.
    #[error("`{}`: {what}", path.display())]
    BadHeader {
        /// The file, or `-`.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Two columns of one name.
    #[error("`{}` has two columns named `{name}` (columns {first} and {second})", path.display())]
    DuplicateColumn {
        /// The file, or `-`.
        path: PathBuf,
        /// The name they share.
        name: String,
        /// Number of the first, from 1.
        first: usize,
        /// Number of the second, from 1.
        second: usize,
    },
    /// One row is not as it must be, and `on_bad_line` is `fail`.
    #[error("`{}` {bad}", path.display())]
    BadLine {
        /// The file, or `-`.
        path: PathBuf,
        /// Which and why.
        bad: Box<BadLine>,
    },
    /// A compressed file that ends too early or does not unpack.
    #[error("`{}` is damaged: {compression} stops after {offset} unpacked bytes ({read} bytes of the file)", path.display())]
    Corrupt {
        /// The file, or `-`.
        path: PathBuf,
        /// `gzip` or `zstd`.
        compression: &'static str,
        /// Unpacked bytes before the fault.
        offset: u64,
        /// Bytes of the file taken so far.
        read: u64,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// A small file that unpacks to far too much.
    #[error("`{}` unpacks to more than {what}: {unpacked} bytes out of {read}", path.display())]
    DecompressionLimit {
        /// The file, or `-`.
        path: PathBuf,
        /// The limit that was passed.
        what: String,
        /// Unpacked bytes so far.
        unpacked: u64,
        /// Bytes of the file taken so far.
        read: u64,
    },
    /// Not Parquet, or damaged, or of a kind that is not read.
    #[error("`{}` cannot be read as Parquet: {what}", path.display())]
    BadParquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        what: String,
    },
    /// Parquet has its index at the end, so it cannot be read from a stream.
    #[error("Parquet cannot be read from standard input")]
    ParquetStream,
    /// A place from an earlier run that this file does not have.
    #[error("`{}` ends before record {record} (byte {offset}), where reading was to go on", path.display())]
    BadPosition {
        /// The file, or `-`.
        path: PathBuf,
        /// Record to go on at.
        record: u64,
        /// Its offset.
        offset: u64,
    },
}

impl SourceError {
    /// A stable name; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "source-missing",
            Self::Folder { .. } => "source-folder",
            Self::NotAFile { .. } => "source-not-a-file",
            Self::Io { .. } => "source-io",
            Self::EmptySource { .. } => "source-empty",
            Self::UnknownFormat { .. } | Self::ParquetStream => "source-unknown-format",
            Self::BadHeader { .. } => "source-bad-header",
            Self::DuplicateColumn { .. } => "source-duplicate-column",
            Self::BadLine { bad, .. } => bad.kind.code(),
            Self::Corrupt { .. } => "source-corrupt",
            Self::DecompressionLimit { .. } => "source-decompression-limit",
            Self::BadParquet { .. } => "source-bad-parquet",
            Self::BadPosition { .. } => "source-bad-position",
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => "check the path; `-` reads standard input".into(),
            Self::Folder { path } => format!("name a file in it, for example `{}/input.csv`", path.display()),
            Self::NotAFile { path } => {
                format!(
                    "sources are read twice; pipe it in: `bulkrate run - --name NAME ... < {}`",
                    path.display()
                )
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "give yourself the right to read the file".into()
            }
            Self::Io { .. } => return None,
            Self::EmptySource { .. } => "nothing was done; give a file with at least one row".into(),
            Self::UnknownFormat { found, .. } => found.hint(),
            Self::ParquetStream => "write it to a file first and name the file".into(),
            Self::BadHeader { .. } => {
                "the first line must hold the column names; mend it and run again".into()
            }
            Self::DuplicateColumn { .. } => "rename one of them in the header".into(),
            Self::BadLine { bad, .. } => bad.kind.hint(),
            Self::Corrupt { .. } => {
                "copy or download the file again; it was cut short or changed on the way".into()
            }
            Self::DecompressionLimit { .. } => "if the file is meant to be like that, unpack it first".into(),
            Self::BadParquet { .. } => {
                "check that the file is complete and really Parquet; supported codecs are \
                                        none, snappy and zstd"
                    .into()
            }
            Self::BadPosition { .. } => "the file changed since the job began; put the original back".into(),
        })
    }

    pub(crate) fn opening(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path: path.into() },
            _ => Self::reading(path, error),
        }
    }

    pub(crate) fn reading(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::IsADirectory => Self::Folder { path: path.into() },
            _ => Self::Io { path: path.into(), source: error },
        }
    }
}

/// What a file turned out to be that cannot be read as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Neither name nor first bytes tell.
    #[error("its name does not say")]
    Nameless,
    /// One array of all rows.
    #[error("it holds a JSON array")]
    JsonArray,
    /// Text of another encoding.
    #[error("it is UTF-16")]
    Utf16,
    /// Excel's, or an archive.
    #[error("it is a zip archive or an Excel workbook")]
    Zip,
    /// Excel's of long ago.
    #[error("it is an old Excel workbook")]
    OldWorkbook,
    /// Compressed where that was not expected, or once more.
    #[error("it is compressed twice, or said not to be compressed")]
    StillCompressed,
}

impl Foreign {
    /// What the user can do about it.
    fn hint(self) -> String {
        match self {
            Self::Nameless => format!("say what it is with `--format`: one of {}", Format::NAMES),
            Self::JsonArray => "write one object per line: `jq -c '.[]' in.json > out.jsonl`".into(),
            Self::Utf16 => {
                "convert it: `iconv -f UTF-16 -t UTF-8 in.csv > out.csv`, then name the new file".into()
            }
            Self::Zip | Self::OldWorkbook => "unpack it, or save the sheet as CSV, and name that file".into(),
            Self::StillCompressed => {
                "unpack it, or end its name in `.gz` or `.zst` if it is compressed once".into()
            }
        }
    }
}

/// A row that could not be read, with where and why: all that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// What is wrong.
    pub kind: BadKind,
    /// Line of the file, from 1, on which the fault lies (a quoted cell may span lines).
    pub line: u64,
    /// Line on which the row starts.
    pub row_line: u64,
    /// Byte of that line, from 1.
    pub column: u64,
    /// The first 256 bytes of the row; bytes that are not text are shown as U+FFFD.
    pub excerpt: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "line {}, column {}: {}", self.line, self.column, self.kind)?;
        if self.row_line == self.line {
            Ok(())
        } else {
            write!(out, " (the row starts on line {})", self.row_line)
        }
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKind {
    /// Another number of cells than the header has.
    #[error("the row has {found} cells and the header {expected}")]
    Ragged {
        /// Columns of the header.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
    /// Text right after a closing quote.
    #[error("text after a closing quote; a quote inside a quoted cell must be doubled")]
    BadQuote,
    /// A quoted cell that runs to the end of the file.
    #[error("a quoted cell opens here and never closes")]
    OpenQuote,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8: byte 0x{byte:02x}")]
    NotUtf8 {
        /// The first such byte.
        byte: u8,
    },
    /// A line that is not one JSON object.
    #[error("not a JSON object: {what}")]
    NotJson {
        /// What is wrong at that place.
        what: &'static str,
    },
    /// Half of a character, written as an escape.
    #[error("`{escape}` is half of a character (a surrogate without its other half), which no text can hold")]
    LoneSurrogate {
        /// As it stands there.
        escape: String,
    },
    /// Longer than `record_bytes_max`.
    #[error("the row is longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
}

impl BadKind {
    /// A stable name; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Ragged { .. } => "source-ragged-row",
            Self::BadQuote | Self::OpenQuote => "source-bad-quote",
            Self::NotUtf8 { .. } => "source-not-utf8",
            Self::NotJson { .. } | Self::LoneSurrogate { .. } => "source-bad-json",
            Self::TooLong { .. } => "source-row-too-long",
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> String {
        let skip = "or leave such rows out with `--on-bad-line skip` (`dead` keeps a record of each)";
        match self {
            Self::Ragged { .. } => {
                format!(
                    "a cell that holds the delimiter or a line break must be in quotes; mend the row, {skip}"
                )
            }
            Self::BadQuote | Self::OpenQuote => format!("mend the quotes of that row, {skip}"),
            Self::NotUtf8 { .. } => format!(
                "convert the file, for example `iconv -f WINDOWS-1252 -t UTF-8 in.csv > out.csv`; {skip}"
            ),
            Self::NotJson { .. } => {
                format!("every line must be one whole JSON object; mend the line, {skip}")
            }
            Self::LoneSurrogate { .. } => format!(
                "whoever wrote the file cut a text inside a character (an emoji, for example): write both halves, as in `\\ud83d\\ude00`, or `\\ufffd` in its place; {skip}"
            ),
            Self::TooLong { .. } => {
                format!("a missing closing quote or line break is the usual cause; mend the file, {skip}")
            }
        }
    }
}
