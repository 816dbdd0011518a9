//! Sinks: typed rows to a JSONL, CSV, TSV or Parquet file, or to standard output.
//!
//! Invariants
//! - In [`SinkMode::Whole`] the file appears complete, synced and under its name, or not at all.
//! - Memory is bounded by the buffer of a text sink and by one row group of a Parquet sink.
//! - Nothing is lost in a cell: what a source reads from a sink's file is what was written (CSV: with `raw_csv`; else
//!   cells that a spreadsheet would run as a formula begin with `'`).
use std::path::{Path, PathBuf};

use crate::format::{Compression, Format, guess};

mod file;
mod parquet;
mod text;

mod error;

pub use error::SinkError;
pub use text::csv_line;

use self::file::OutputFile;
use self::parquet::ParquetSink;
use self::text::TextSink;

/// Where rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkTarget {
    /// Standard output.
    Stdout,
    /// A file; a device or named pipe is written in place.
    File(PathBuf),
}

/// When rows become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SinkMode {
    /// All at once, by [`Sink::finish`].
    #[default]
    Whole,
    /// As they land, with each [`Sink::flush`]. Uncompressed JSONL, CSV and TSV only.
    Stream {
        /// Goes on after so many bytes of the existing file, as [`Sink::flush`] gave them; what follows is cut off.
        resume_at: Option<u64>,
    },
}

/// How an output is to be written.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// File or standard output.
    pub target: SinkTarget,
    /// `None`: by the name; JSONL on standard output.
    pub format: Option<Format>,
    /// `None`: by the name.
    pub compression: Option<Compression>,
    /// Leaves cells as they are that a spreadsheet would run as formulas.
    pub raw_csv: bool,
    /// An existing file may be replaced.
    pub overwrite: bool,
    /// When rows become visible.
    pub mode: SinkMode,
}

impl SinkOptions {
    /// Defaults for a path, or for standard output when it is `-`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let stdout = path.as_os_str() == "-";
        Self {
            target: if stdout { SinkTarget::Stdout } else { SinkTarget::File(path.into()) },
            format: None,
            compression: None,
            raw_csv: false,
            overwrite: false,
            mode: SinkMode::Whole,
        }
    }

    /// Whether a file could be created where the output is to be, so that a caller knows before any work.
    ///
    /// # Errors
    /// [`SinkError::Io`] with what the system said.
    pub fn probe(&self) -> Result<(), SinkError> {
        OutputFile::probe(self)
    }

    /// The format and compression that will be written.
    ///
    /// # Errors
    /// [`SinkError::UnknownFormat`] and [`SinkError::NotStreamable`], so that a caller can check before any work.
    pub fn shape(&self) -> Result<(Format, Compression), SinkError> {
        let (path, named, packed) = match &self.target {
            SinkTarget::Stdout => (Path::new("-"), Some(Format::Jsonl), Compression::None),
            SinkTarget::File(path) => {
                let (format, compression) = guess(path);
                (path.as_path(), format, compression)
            }
        };
        let Some(format) = self.format.or(named) else {
            return Err(SinkError::UnknownFormat { path: path.into() });
        };
        let compression = self.compression.unwrap_or(packed);
        let refused = match (self.mode, format, compression) {
            (SinkMode::Stream { .. }, Format::Parquet, _) => {
                Some("a Parquet file can be read only when complete")
            }
            (SinkMode::Stream { .. }, _, Compression::Gzip | Compression::Zstd) => {
                Some("a compressed file can be read only when complete")
            }
            _ => None,
        };
        match refused {
            Some(what) => Err(SinkError::NotStreamable { path: path.into(), what }),
            None => Ok((format, compression)),
        }
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text; takes any scalar, rendered.
    Text,
    /// 64-bit integer.
    Int,
    /// 64-bit float; NaN and infinities are null in JSONL and empty in CSV.
    Float,
    /// True or false.
    Bool,
    /// A JSON value. In CSV and Parquet a string is its text, null is nothing, all else JSON text.
    Json,
    /// A list of 32-bit floats; JSON text in CSV.
    Vector,
    /// Money: an `Int` of billionths. Decimal text in CSV and (as a string, so that no reader makes a float of it)
    /// in JSONL; DECIMAL(18, 9) in Parquet.
    Decimal9,
}

/// A column of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<String>, kind: ColumnType) -> Self {
        Self { name: name.into(), kind }
    }
}

/// One value of a row. `Null` fits every column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing: `null`, an empty cell.
    Null,
    /// Text.
    Text(&'a str),
    /// An integer; in a `Decimal9` column billionths.
    Int(i64),
    /// A float.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// One JSON value as text.
    Json(&'a str),
    /// A list of floats.
    Vector(&'a [f32]),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkReport {
    /// Rows written through this sink.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// An open output.
#[derive(Debug)]
pub struct Sink {
    writer: Writer,
    columns: usize,
    rows: u64,
}

#[derive(Debug)]
enum Writer {
    Text(Box<TextSink>),
    Parquet(Box<ParquetSink>),
}

impl Sink {
    /// Opens an output with these columns. In stream mode a CSV header is written when the file is empty.
    ///
    /// # Errors
    /// Existing file without `overwrite`, unknown or unfit format, bad path, two columns of one name.
    pub fn open(options: &SinkOptions, columns: &[Column]) -> Result<Self, SinkError> {
        let (format, compression) = options.shape()?;
        check_columns(columns)?;
        let file = OutputFile::open(options)?;
        let writer = match format {
            Format::Parquet => Writer::Parquet(Box::new(ParquetSink::new(file, columns)?)),
            _ => Writer::Text(Box::new(TextSink::new(file, format, compression, options.raw_csv, columns)?)),
        };
        Ok(Self { writer, columns: columns.len(), rows: 0 })
    }

    /// Appends a row: one value per column.
    ///
    /// # Errors
    /// [`SinkError::BadRow`] when the values do not fit the columns; disk full and other write errors. After any
    /// error the sink must be dropped.
    pub fn write(&mut self, row: &[Value<'_>]) -> Result<(), SinkError> {
        if row.len() != self.columns {
            let what = format!("{} values for {} columns", row.len(), self.columns);
            return Err(SinkError::BadRow { row: self.rows, what });
        }
        match &mut self.writer {
            Writer::Text(sink) => sink.write(self.rows, row)?,
            Writer::Parquet(sink) => sink.write(self.rows, row)?,
        }
        self.rows += 1;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// In stream mode: makes the rows written so far visible and returns the size of the file, a place to resume at.
    /// In whole mode rows stay hidden and the number says only what has left the buffers.
    ///
    /// # Errors
    /// Disk full and other write errors.
    pub fn flush(&mut self) -> Result<u64, SinkError> {
        match &mut self.writer {
            Writer::Text(sink) => sink.flush(),
            Writer::Parquet(sink) => Ok(sink.bytes()),
        }
    }

    /// As `flush`, and syncs the file to its device: what was counted survives a power cut.
    ///
    /// # Errors
    /// As `flush`.
    pub fn sync(&mut self) -> Result<u64, SinkError> {
        match &mut self.writer {
            Writer::Text(sink) => sink.sync(),
            Writer::Parquet(sink) => Ok(sink.bytes()),
        }
    }

    /// Completes the file, syncs it and puts it in its place.
    ///
    /// # Errors
    /// Disk full and other write errors; a file that appeared there meanwhile. Nothing is replaced then.
    pub fn finish(self) -> Result<SinkReport, SinkError> {
        let bytes = match self.writer {
            Writer::Text(sink) => sink.finish()?,
            Writer::Parquet(sink) => sink.finish()?,
        };
        Ok(SinkReport { rows: self.rows, bytes })
    }
}

fn check_columns(columns: &[Column]) -> Result<(), SinkError> {
    let mut seen = std::collections::HashSet::new();
    let what = match columns.iter().find(|column| !seen.insert(column.name.as_str())) {
        Some(twin) => format!("two columns of the output are named `{}`", twin.name),
        None if columns.is_empty() => "the output has no columns".to_owned(),
        None => return Ok(()),
    };
    Err(SinkError::BadColumns { what })
}

/// For `BadRow`: what the value is, to a reader.
pub(crate) fn misfit(column: &Column, value: &Value<'_>) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Text(_) => "text",
        Value::Int(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Bool(_) => "a boolean",
        Value::Json(_) => "JSON",
        Value::Vector(_) => "a vector",
    };
    format!("column `{}` of type {:?} got {kind}", column.name, column.kind)
}
