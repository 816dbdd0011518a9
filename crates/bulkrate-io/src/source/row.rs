//! What a source hands out: one record, borrowed from a buffer that is used again for the next.
use super::BadLine;
use crate::json::{JsonRow, JsonScanner};

/// What a reader found at its place. `line` is where the record starts.
pub(crate) enum Step {
    End,
    Row { line: u64 },
    Bad { line: u64, bad: BadLine },
}

/// One record.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its number in the source, from 0; bad rows count under [`super::OnBadLine::Dead`] only.
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
    /// A row that could not be read; only with [`super::OnBadLine::Dead`].
    Bad(BadLine),
}

/// The cells of a row in the order of [`super::Source::columns`].
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    pub(super) text: &'a str,
    pub(super) spans: &'a [Span],
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
