//! Sources: rows of a CSV, TSV, JSONL or Parquet file, or of standard input, in order and in constant memory.
//!
//! Invariants
//! - A row that is not as it must be is refused, skipped or handed out as `Bad`, as `on_bad_line` says; faults of the
//!   file itself (damaged archive, read error) always end the reading.
//! - With the same options the same file always yields the same records under the same numbers.
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::format::{Compression, Format, guess};
use crate::json::{JsonRow, JsonScanner};

mod input;
mod window;

mod csv;
mod jsonl;
mod parquet;
mod parquet_text;

mod error;

pub use error::{BadKind, BadLine, SourceError};

use self::csv::CsvReader;
use self::input::{ByteInput, ByteSource, UnpackLimits, open_file};
use self::jsonl::JsonlReader;
use self::parquet::ParquetReader;
use self::window::Window;

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
    /// The row is left out and counted in [`Source::skipped`].
    Skip,
    /// The row is handed out as [`RowData::Bad`] and takes a record number.
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
    /// Computes the digest of the file while reading it; see [`Source::digest`].
    pub digest: bool,
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
            digest: false,
        }
    }
}

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

/// The row that is handed out; its memory is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    pub text: String,
    pub spans: Vec<Span>,
    pub json: JsonScanner,
}

/// Where a cell lies in the text of its row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
    /// Holds doubled quotes still.
    pub escaped: bool,
}

/// What a reader found at its place. `line` is where the record starts.
pub(crate) enum Step {
    End,
    Row { line: u64 },
    Bad { line: u64, bad: BadLine },
}

/// One record.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its number in the source, from 0; bad rows count under [`OnBadLine::Dead`] only.
    pub record: u64,
    /// Line of the file it starts on, from 1 (in Parquet: its row, from 1).
    pub line: u64,
    /// What it holds.
    pub data: RowData<'a>,
}

/// What a record holds.
#[derive(Debug)]
pub enum RowData<'a> {
    /// One cell per column (CSV, TSV, Parquet).
    Cells(Cells<'a>),
    /// One JSON object, checked, its top-level pairs found (JSONL).
    Json(JsonRow<'a>),
    /// A row that could not be read; only with [`OnBadLine::Dead`].
    Bad(BadLine),
}

/// The cells of a row in the order of [`Source::columns`].
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    text: &'a str,
    spans: &'a [Span],
}

impl<'a> Cells<'a> {
    /// The cell of column `index`.
    pub fn get(&self, index: usize) -> Option<&'a str> {
        self.spans.get(index).map(|span| &self.text[span.start as usize..span.end as usize])
    }

    /// Number of cells: that of the columns.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never true: a source has at least one column.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Cells in column order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let text = self.text;
        self.spans.iter().map(move |span| &text[span.start as usize..span.end as usize])
    }
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
        let digest = options.digest;
        let input = ByteSource { path: path.into(), reader, total, head, compression, limits, digest };
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

    /// SHA-256 of the raw bytes, equal to [`crate::digest_file`]. `None` before the end was reached, without
    /// `SourceOptions::digest`, after a seek, and for Parquet, whose bytes are not read in order.
    pub fn digest(&self) -> Option<[u8; 32]> {
        match &self.reader {
            Reader::Csv(reader) => reader.window.input.digest(),
            Reader::Jsonl(reader) => reader.window.input.digest(),
            Reader::Parquet(_) => None,
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

/// Goes on at `start`: by a seek in the plain file at `path`, else by reading up to there.
fn resume(window: &mut Window, path: Option<&Path>, start: Position) -> Result<(), SourceError> {
    let Position { record, offset, .. } = start;
    let place = window.input.path.clone();
    let beyond = || SourceError::BadPosition { path: place.clone(), record, offset };
    let Some(path) = path else {
        return if window.skip_to(offset)? { Ok(()) } else { Err(beyond()) };
    };
    let (mut file, size) = open_file(path)?;
    if size == 0 {
        return if window.skip_to(offset)? { Ok(()) } else { Err(beyond()) };
    }
    if offset > size {
        return Err(beyond());
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| SourceError::reading(path, error))?;
    let limits = UnpackLimits { ratio_max: None, bytes_max: None };
    let input = ByteSource {
        path: path.into(),
        reader: Box::new(file),
        total: Some(size - offset),
        head: Vec::new(),
        compression: Compression::None,
        limits,
        digest: false,
    };
    window.jump(ByteInput::new(input)?, offset);
    Ok(())
}

/// Takes the first bytes for a look; fewer only at the end of the input.
fn peek(path: &Path, reader: &mut impl Read) -> Result<Vec<u8>, SourceError> {
    let mut head = Vec::with_capacity(8);
    reader.by_ref().take(4).read_to_end(&mut head).map_err(|error| SourceError::reading(path, error))?;
    Ok(head)
}

fn is_parquet(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

/// How far to look for the first byte that is not blank.
const SNIFF_BYTES: usize = 64 << 10;

fn first_sign(bytes: &[u8]) -> Option<u8> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.iter().find(|byte| !byte.is_ascii_whitespace()).copied()
}

/// Tells JSONL from CSV by the first byte that is not blank. A file whose name says nothing is not taken for CSV.
fn sniff(path: &Path, bytes: &[u8], input: &Input) -> Result<Format, SourceError> {
    match first_sign(bytes) {
        Some(b'{') => Ok(Format::Jsonl),
        _ if *input == Input::Stdin => Ok(Format::Csv),
        None => Err(SourceError::EmptySource { path: path.into(), header_only: false }),
        Some(b'[') => {
            let found =
                "it holds a JSON array; write one object per line (`jq -c '.[]' in.json > out.jsonl`)";
            Err(SourceError::UnknownFormat { path: path.into(), found })
        }
        Some(_) => Err(SourceError::UnknownFormat { path: path.into(), found: "its name does not say" }),
    }
}

/// Refuses kinds of file that people rename to `.csv`, before their bytes are called bad rows.
fn refuse_foreign(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let found = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16; convert it (`iconv -f UTF-16 -t UTF-8`)",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive or an Excel workbook; save it as CSV",
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "it is an old Excel workbook; save it as CSV",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "it is compressed twice, or said not to be compressed"
        }
        _ => return Ok(()),
    };
    Err(SourceError::UnknownFormat { path: path.into(), found })
}

/// The first bytes of a row for a message.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const EXCERPT_BYTES: usize = 256;
    let mut end = bytes.len().min(EXCERPT_BYTES);
    // Not in the middle of a character: continuation bytes look like 10xxxxxx.
    while end < bytes.len() && end > EXCERPT_BYTES - 4 && bytes[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
