//! Sources: rows of a CSV, TSV, JSONL or Parquet file, or of standard input, in order and in constant memory.
//!
//! Invariants
//! - A row that is not as it must be is refused, skipped or handed out as `Bad`, as `on_bad_line` says; faults of the
//!   file itself (damaged archive, read error) always end the reading.
//! - With the same options the same file always yields the same records under the same numbers.
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::format::{Compression, Format, guess};

mod options;
mod input;
mod window;
mod start;

mod csv;
mod jsonl;
mod parquet;
mod parquet_text;
mod row;

mod error;

pub use error::{BadKind, BadLine, Foreign, SourceError};
pub use options::{Input, OnBadLine, Position, SourceOptions};
pub use row::{Cells, Row, RowData};

use self::csv::CsvReader;
pub(crate) use self::input::open_file;
use self::input::{ByteInput, ByteSource, UnpackLimits};
use self::jsonl::JsonlReader;
use self::parquet::ParquetReader;
use self::row::{RowBuffer, Span, Step, excerpt};
use self::start::{SNIFF_BYTES, first_sign, is_parquet, peek, refuse_foreign, resume, sniff};
use self::window::Window;

/// An open source.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    reader: Reader,
    format: Format,
    columns: Vec<String>,
    on_bad_line: OnBadLine,
    limit: u64,
    record: u64,
    skipped: u64,
    row: RowBuffer,
}

#[derive(Debug)]
enum Reader {
    Csv(CsvReader),
    Jsonl(JsonlReader),
    Parquet(Box<ParquetReader>),
}

impl Source {
    /// Opens a source, reads its header and checks that there is at least one row.
    ///
    /// # Errors
    /// Missing or unreadable file, unknown format, empty source, bad header, damaged Parquet footer.
    pub fn open(options: &SourceOptions) -> Result<Self, SourceError> {
        match &options.input {
            Input::Stdin => Self::from_reader(Box::new(std::io::stdin()), options),
            Input::File(path) => {
                let (file, size) = open_file(path)?;
                Self::start(path, Box::new(file), Some(size).filter(|size| *size > 0), options)
            }
        }
    }

    /// Reads `reader` as if it were standard input.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn from_reader(reader: Box<dyn Read + Send>, options: &SourceOptions) -> Result<Self, SourceError> {
        Self::start(Path::new("-"), reader, None, &SourceOptions { input: Input::Stdin, ..options.clone() })
    }

    fn start(
        path: &Path,
        mut reader: Box<dyn Read + Send>,
        total: Option<u64>,
        options: &SourceOptions,
    ) -> Result<Self, SourceError> {
        let head = peek(path, &mut reader)?;
        let (named, _) = guess(path);
        let format = options.format.or_else(|| is_parquet(&head).then_some(Format::Parquet)).or(named);
        if format == Some(Format::Parquet) {
            return match &options.input {
                Input::Stdin => Err(SourceError::ParquetStream),
                Input::File(_) => Self::parquet(path, &head, options),
            };
        }
        let compression = options.compression.unwrap_or_else(|| Compression::from_magic(&head));
        let limits = UnpackLimits { ratio_max: options.ratio_max, bytes_max: options.unpacked_bytes_max };
        let input = ByteSource { path: path.into(), reader, total, head, compression, limits };
        let mut window = Window::new(ByteInput::new(input)?);
        window.fill()?;
        // Blank lines may come first, and a slow pipe may have given little yet.
        while format.is_none()
            && !window.ended
            && first_sign(window.bytes()).is_none()
            && window.bytes().len() < SNIFF_BYTES
        {
            window.fill()?;
        }
        let format = format.map_or_else(|| sniff(path, window.bytes(), &options.input), Ok)?;
        refuse_foreign(path, window.bytes())?;
        if window.bytes().starts_with(b"\xef\xbb\xbf") {
            window.consume(3);
        }
        Self::text(path, format, window, compression, options)
    }

    fn text(
        path: &Path,
        format: Format,
        window: Window,
        compression: Compression,
        options: &SourceOptions,
    ) -> Result<Self, SourceError> {
        // Offsets inside a row are 32 bits wide.
        let bytes_max = options.record_bytes_max.min(1 << 30);
        let mut row = RowBuffer::default();
        let (mut reader, columns) = if format == Format::Jsonl {
            let (reader, keys) = JsonlReader::open(window, bytes_max, &mut row)?;
            (Reader::Jsonl(reader), keys)
        } else {
            let delimiter = options.delimiter.unwrap_or(if format == Format::Tsv { b'\t' } else { b',' });
            let (reader, columns) = CsvReader::open(window, delimiter, bytes_max, &mut row)?;
            (Reader::Csv(reader), columns)
        };
        let start = options.start.unwrap_or_default();
        if let Some((window, line)) = reader.window()
            && start.offset > window.offset
        {
            let seekable = compression == Compression::None;
            resume(window, seekable.then_some(path).filter(|_| options.input != Input::Stdin), start)?;
            *line = start.line;
        }
        Ok(Self::assemble(path, format, reader, columns, options, row))
    }

    fn parquet(path: &Path, head: &[u8], options: &SourceOptions) -> Result<Self, SourceError> {
        if !head.is_empty() && !is_parquet(head) {
            let what = "it does not start with `PAR1`, as every Parquet file does".to_owned();
            return Err(SourceError::BadParquet { path: path.into(), what });
        }
        let (reader, columns) =
            ParquetReader::open(path, options.start.unwrap_or_default().record, options.limit)?;
        let reader = Reader::Parquet(Box::new(reader));
        Ok(Self::assemble(path, Format::Parquet, reader, columns, options, RowBuffer::default()))
    }

    fn assemble(
        path: &Path,
        format: Format,
        reader: Reader,
        columns: Vec<String>,
        options: &SourceOptions,
        row: RowBuffer,
    ) -> Self {
        let record = options.start.unwrap_or_default().record;
        let (limit, on_bad_line) = (options.limit.unwrap_or(u64::MAX), options.on_bad_line);
        Self { path: path.into(), reader, format, columns, on_bad_line, limit, record, skipped: 0, row }
    }

    /// The next record, or `None` at the end or the limit. What it borrows lasts until the next call.
    ///
    /// # Errors
    /// A bad row under [`OnBadLine::Fail`]; a fault of the file itself.
    #[expect(clippy::should_implement_trait, reason = "rows borrow the source, which `Iterator` cannot say")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, SourceError> {
        let line = loop {
            if self.record >= self.limit {
                return Ok(None);
            }
            let step = match &mut self.reader {
                Reader::Csv(reader) => reader.advance(&mut self.row)?,
                Reader::Jsonl(reader) => reader.advance(&mut self.row)?,
                Reader::Parquet(reader) => reader.advance(&mut self.row)?,
            };
            match step {
                Step::End => return Ok(None),
                Step::Row { line } => break line,
                Step::Bad { line, bad } => match self.on_bad_line {
                    OnBadLine::Fail => {
                        return Err(SourceError::BadLine { path: self.path.clone(), bad: Box::new(bad) });
                    }
                    OnBadLine::Skip => self.skipped += 1,
                    OnBadLine::Dead => {
                        let record = self.record;
                        self.record += 1;
                        return Ok(Some(Row { record, line, data: RowData::Bad(bad) }));
                    }
                },
            }
        };
        let record = self.record;
        self.record += 1;
        let (text, spans) = (self.row.text.as_str(), self.row.spans.as_slice());
        let data = match self.reader {
            Reader::Jsonl(_) => RowData::Json(self.row.json.row(text)),
            _ => RowData::Cells(Cells { text, spans }),
        };
        Ok(Some(Row { record, line, data }))
    }

    /// Column names: the header, or the keys of the first object of a JSONL source (empty when that line is bad).
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What the source was read as.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The place after the last record handed out.
    pub fn position(&self) -> Position {
        let record = self.record;
        match &self.reader {
            Reader::Csv(reader) => Position { record, line: reader.line, offset: reader.window.offset },
            Reader::Jsonl(reader) => Position { record, line: reader.line, offset: reader.window.offset },
            Reader::Parquet(_) => Position { record, line: record + 1, offset: record },
        }
    }

    /// Bad rows left out so far, under [`OnBadLine::Skip`].
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of the file (packed, where it is) taken so far; for progress. After a seek both counts are of the rest.
    pub fn bytes_read(&self) -> u64 {
        match &self.reader {
            Reader::Csv(reader) => reader.window.input.raw_bytes(),
            Reader::Jsonl(reader) => reader.window.input.raw_bytes(),
            Reader::Parquet(reader) => reader.bytes_read(),
        }
    }

    /// Size of the file; unknown for standard input and pipes.
    pub fn bytes_total(&self) -> Option<u64> {
        match &self.reader {
            Reader::Csv(reader) => reader.window.input.raw_total(),
            Reader::Jsonl(reader) => reader.window.input.raw_total(),
            Reader::Parquet(reader) => Some(reader.bytes_total),
        }
    }

    /// Number of rows where the file says so (Parquet).
    pub fn rows_total(&self) -> Option<u64> {
        match &self.reader {
            Reader::Parquet(reader) => Some(reader.rows_total),
            _ => None,
        }
    }
}

impl Reader {
    fn window(&mut self) -> Option<(&mut Window, &mut u64)> {
        match self {
            Self::Csv(reader) => Some((&mut reader.window, &mut reader.line)),
            Self::Jsonl(reader) => Some((&mut reader.window, &mut reader.line)),
            Self::Parquet(_) => None,
        }
    }
}
