//! CSV and TSV rows, as RFC 4180 has them and as programs write them.
//!
//! What is decided here
//! - Rows end with LF, CRLF or a lone CR; blank lines are skipped (a single empty cell is written `""`).
//! - A quote opens a quoted cell only as its first byte; after the closing quote only a delimiter or the end of the
//!   row may follow. Anything else is a bad row, since a lenient reading would silently swallow its neighbours.
//! - NUL and other control characters are kept in cells and refused in the header.
//! - After a fault of quoting reading goes on at the line after the one where the bad row started, not where it was
//!   thought to end.
use std::str::from_utf8;

use memchr::{memchr, memchr_iter, memchr3, memrchr};

use super::window::Window;
use super::{BadKind, BadLine, RowBuffer, SourceError, Span, Step, excerpt};

#[derive(Debug)]
pub(crate) struct CsvReader {
    pub window: Window,
    /// Line of the next record.
    pub line: u64,
    delimiter: u8,
    columns: usize,
    bytes_max: usize,
}

/// What the bytes at hand hold.
enum Parsed {
    /// A row of `length` bytes, its line end included in `total`.
    Row {
        length: usize,
        total: usize,
        quoted: bool,
        escaped: bool,
    },
    /// The bytes end within the row.
    More,
    Bad {
        kind: BadKind,
        at: usize,
    },
}

impl CsvReader {
    /// Reads the header and makes sure that something follows it.
    pub(crate) fn open(
        window: Window,
        delimiter: u8,
        bytes_max: usize,
        row: &mut RowBuffer,
    ) -> Result<(Self, Vec<String>), SourceError> {
        let mut reader = Self { window, line: 1, delimiter, columns: 0, bytes_max };
        let path = reader.window.input.path.clone();
        let columns = match reader.advance(row)? {
            Step::End => return Err(SourceError::EmptySource { path, header_only: false }),
            Step::Bad { bad, .. } => return Err(SourceError::BadLine { path, bad: Box::new(bad) }),
            Step::Row { .. } => {
                let text = row.text.as_str();
                let cell = |span: &Span| text[span.start as usize..span.end as usize].to_owned();
                row.spans.iter().map(cell).collect::<Vec<_>>()
            }
        };
        check_header(&path, &columns)?;
        reader.columns = columns.len();
        reader.blank_lines()?;
        if reader.window.bytes().is_empty() {
            return Err(SourceError::EmptySource { path, header_only: true });
        }
        Ok((reader, columns))
    }

    pub(crate) fn advance(&mut self, row: &mut RowBuffer) -> Result<Step, SourceError> {
        self.window.shrink();
        self.blank_lines()?;
        loop {
            let bytes = self.window.bytes();
            if bytes.is_empty() && self.window.ended {
                return Ok(Step::End);
            }
            row.spans.clear();
            let parsed = if bytes.is_empty() {
                Parsed::More
            } else {
                parse(bytes, self.window.ended, self.delimiter, &mut row.spans)
            };
            match parsed {
                Parsed::Row { length, .. } if length > self.bytes_max => return self.too_long(),
                Parsed::Row { length, total, quoted, escaped } => {
                    return Ok(self.take(row, length, total, quoted, escaped));
                }
                Parsed::More if bytes.len() > self.bytes_max => return self.too_long(),
                Parsed::More => self.window.fill()?,
                Parsed::Bad { kind, at } => return self.bad_quotes(kind, at),
            }
        }
    }

    /// Checks a row whose extent is known and copies it to `row`.
    fn take(
        &mut self,
        row: &mut RowBuffer,
        length: usize,
        total: usize,
        quoted: bool,
        escaped: bool,
    ) -> Step {
        let line = self.line;
        let bytes = &self.window.bytes()[..length];
        let expected = if self.columns == 0 { row.spans.len() } else { self.columns };
        let fault = match from_utf8(bytes) {
            Err(error) => {
                let at = error.valid_up_to();
                Some((BadKind::NotUtf8 { byte: bytes[at] }, at))
            }
            Ok(_) if row.spans.len() != expected => {
                let at = row.spans.get(expected).map_or(length, |span| span.start as usize);
                Some((BadKind::Ragged { expected, found: row.spans.len() }, at))
            }
            Ok(text) => {
                row.text.clear();
                row.text.push_str(text);
                None
            }
        };
        let bad = fault.map(|(kind, at)| describe(kind, bytes, at, line));
        let inside = if quoted { memchr_iter(b'\n', bytes).count() as u64 } else { 0 };
        self.line += inside + u64::from(total > length);
        self.window.consume(total);
        match bad {
            Some(bad) => Step::Bad { line, bad },
            None => {
                if escaped {
                    unescape(row);
                }
                Step::Row { line }
            }
        }
    }

    fn bad_quotes(&mut self, kind: BadKind, at: usize) -> Result<Step, SourceError> {
        let line = self.line;
        // How much of the row has arrived by now is chance; what is told of it must not be.
        let known = match kind {
            BadKind::BadQuote => at + 1,
            BadKind::TooLong { bytes_max } => bytes_max,
            _ => usize::MAX,
        };
        let bytes = self.window.bytes();
        let bad = describe(kind, &bytes[..known.min(bytes.len())], at, line);
        self.window.discard_line()?;
        self.line += 1;
        Ok(Step::Bad { line, bad })
    }

    fn too_long(&mut self) -> Result<Step, SourceError> {
        self.bad_quotes(BadKind::TooLong { bytes_max: self.bytes_max }, 0)
    }

    /// Skips line ends before a record.
    fn blank_lines(&mut self) -> Result<(), SourceError> {
        loop {
            let ended = self.window.ended;
            let step = match self.window.bytes() {
                [] | [b'\r'] if !ended => 0,
                [b'\r', b'\n', ..] => 2,
                [b'\r' | b'\n', ..] => 1,
                _ => return Ok(()),
            };
            if step == 0 {
                self.window.fill()?;
            } else {
                self.window.consume(step);
                self.line += 1;
            }
        }
    }
}

/// The bad row with the line and column of byte `at` of it.
fn describe(kind: BadKind, bytes: &[u8], at: usize, line: u64) -> BadLine {
    let before = &bytes[..at.min(bytes.len())];
    let column = before.len() - memrchr(b'\n', before).map_or(0, |end| end + 1) + 1;
    let (row_line, line) = (line, line + memchr_iter(b'\n', before).count() as u64);
    BadLine { kind, line, row_line, column: column as u64, excerpt: excerpt(bytes) }
}

/// Finds the cells of the row at the start of `bytes`, which are not empty. `ended`: nothing follows them.
fn parse(bytes: &[u8], ended: bool, delimiter: u8, spans: &mut Vec<Span>) -> Parsed {
    let (mut at, mut quoted, mut escaped) = (0, false, false);
    loop {
        let end = if bytes.get(at) == Some(&b'"') {
            match quoted_cell(bytes, at, ended) {
                Quoted::Cell { end, doubled } => {
                    quoted = true;
                    escaped |= doubled;
                    spans.push(Span { start: short(at + 1), end: short(end - 1), escaped: doubled });
                    end
                }
                Quoted::More => return Parsed::More,
                Quoted::Open => return Parsed::Bad { kind: BadKind::OpenQuote, at },
            }
        } else {
            let end = plain_cell(bytes, at, delimiter);
            spans.push(Span { start: short(at), end: short(end), escaped: false });
            end
        };
        let row = |total| Parsed::Row { length: end, total, quoted, escaped };
        match bytes.get(end) {
            Some(byte) if *byte == delimiter => at = end + 1,
            Some(b'\n') => return row(end + 1),
            Some(b'\r') if bytes.get(end + 1) == Some(&b'\n') => return row(end + 2),
            Some(b'\r') if ended || end + 1 < bytes.len() => return row(end + 1),
            None if ended => return row(end),
            Some(b'\r') | None => return Parsed::More,
            Some(_) => return Parsed::Bad { kind: BadKind::BadQuote, at: end },
        }
    }
}

/// Fits: rows are capped at 1 GiB.
fn short(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// The end of the unquoted cell that starts at `at`. Most cells of a table are short: a plain loop finds those
/// before a vector search has started.
fn plain_cell(bytes: &[u8], at: usize, delimiter: u8) -> usize {
    const SHORT_BYTES: usize = 12;
    let rest = &bytes[at.min(bytes.len())..];
    let near = &rest[..rest.len().min(SHORT_BYTES)];
    match near.iter().position(|byte| *byte == delimiter || *byte == b'\n' || *byte == b'\r') {
        Some(length) => at + length,
        None => {
            let far = &rest[near.len()..];
            at + near.len() + memchr3(delimiter, b'\n', b'\r', far).unwrap_or(far.len())
        }
    }
}

enum Quoted {
    /// `end` is the byte after the closing quote.
    Cell {
        end: usize,
        doubled: bool,
    },
    More,
    Open,
}

/// The quoted cell that opens at `at`.
fn quoted_cell(bytes: &[u8], at: usize, ended: bool) -> Quoted {
    let (mut from, mut doubled) = (at + 1, false);
    loop {
        let Some(found) = memchr(b'"', &bytes[from..]) else {
            return if ended { Quoted::Open } else { Quoted::More };
        };
        let end = from + found + 1;
        match bytes.get(end) {
            Some(b'"') => (from, doubled) = (end + 1, true),
            None if !ended => return Quoted::More,
            _ => return Quoted::Cell { end, doubled },
        }
    }
}

/// Appends every cell with doubled quotes once more without them and points its span there.
fn unescape(row: &mut RowBuffer) {
    for span in row.spans.iter_mut().filter(|span| span.escaped) {
        let start = row.text.len();
        let (mut from, end) = (span.start as usize, span.end as usize);
        while let Some(found) = memchr(b'"', &row.text.as_bytes()[from..end]) {
            row.text.extend_from_within(from..from + found + 1);
            from += found + 2;
        }
        row.text.extend_from_within(from..end);
        (span.start, span.end) = (short(start), short(row.text.len()));
    }
}

/// Names must be usable: unlike one another and free of control characters.
pub(crate) fn check_header(path: &std::path::Path, columns: &[String]) -> Result<(), SourceError> {
    let path = || path.to_path_buf();
    let mut seen = std::collections::HashMap::with_capacity(columns.len());
    for (index, name) in columns.iter().enumerate() {
        if name.contains('\0') {
            let what =
                format!("the name of column {} holds a NUL byte, so this is not a text table", index + 1);
            return Err(SourceError::BadHeader { path: path(), what });
        }
        if let Some(first) = seen.insert(name.as_str(), index) {
            let (first, second) = (first + 1, index + 1);
            return Err(SourceError::DuplicateColumn { path: path(), name: name.clone(), first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
