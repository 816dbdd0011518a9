//! How a source is to be read, and where to go on.
use std::path::{Path, PathBuf};

use crate::format::{Compression, Format};

/// Where rows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input; read once, from its start.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// `-` is standard input, anything else a path.
    pub fn from_arg(arg: impl AsRef<Path>) -> Self {
        let path = arg.as_ref();
        if path.as_os_str() == "-" { Self::Stdin } else { Self::File(path.into()) }
    }
}

/// What becomes of a row that is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadLine {
    /// Reading ends with an error that names the place.
    #[default]
    Fail,
    /// The row is left out and counted in [`super::Source::skipped`].
    Skip,
    /// The row is handed out as [`super::RowData::Bad`] and takes a record number.
    Dead,
}

/// A place between two rows, to go on from later. For Parquet only `record` counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Position {
    /// Number of the next record, from 0.
    pub record: u64,
    /// Line of the file the next record starts on, from 1.
    pub line: u64,
    /// Offset of the next record in the unpacked bytes.
    pub offset: u64,
}

/// How a source is to be read.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// File or standard input.
    pub input: Input,
    /// `None`: by the name, for standard input by the first byte.
    pub format: Option<Format>,
    /// `None`: by the first bytes, whatever the name says.
    pub compression: Option<Compression>,
    /// What becomes of bad rows.
    pub on_bad_line: OnBadLine,
    /// Between cells; `None`: comma in CSV, tab in TSV.
    pub delimiter: Option<u8>,
    /// Reads no record with this number or a higher one.
    pub limit: Option<u64>,
    /// Goes on from here instead of the first row.
    pub start: Option<Position>,
    /// Longest row, in bytes; bounds the memory.
    pub record_bytes_max: usize,
    /// Most that a compressed file may unpack to, as a multiple of its size (counted from 64 MiB on).
    pub ratio_max: Option<u64>,
    /// Most bytes that a compressed file may unpack to.
    pub unpacked_bytes_max: Option<u64>,
}

impl SourceOptions {
    /// Defaults for a path, or for standard input when it is `-`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            input: Input::from_arg(path),
            format: None,
            compression: None,
            on_bad_line: OnBadLine::Fail,
            delimiter: None,
            limit: None,
            start: None,
            record_bytes_max: 32 << 20,
            ratio_max: Some(100),
            unpacked_bytes_max: None,
        }
    }
}
