//! JSONL rows: one JSON object per line.
//!
//! What is decided here
//! - Lines end with LF only (U+2028 and a lone CR are no line ends); a CR before it is dropped; blank lines are skipped.
//! - Every line is checked whole, so a broken one is found here and not by whoever uses its values.
use std::str::from_utf8;

use memchr::memchr;

use super::window::Window;
use super::{BadKind, BadLine, RowBuffer, SourceError, Step, excerpt};
use crate::json::JsonScanner;

#[derive(Debug)]
pub(crate) struct JsonlReader {
    pub window: Window,
    /// Line of the next record.
    pub line: u64,
    bytes_max: usize,
}

impl JsonlReader {
    /// Makes sure that there is a line and reads the keys of the first, without consuming it.
    pub(crate) fn open(
        window: Window,
        bytes_max: usize,
        row: &mut RowBuffer,
    ) -> Result<(Self, Vec<String>), SourceError> {
        let mut reader = Self { window, line: 1, bytes_max };
        let Some(length) = reader.find()? else {
            return Err(SourceError::EmptySource {
                path: reader.window.input.path.clone(),
                header_only: false,
            });
        };
        let line = &reader.window.bytes()[..length.min(bytes_max)];
        let mut keys = Vec::<String>::new();
        if let Some(object) = from_utf8(line).ok().and_then(|text| row.json.scan(text).ok()) {
            for (key, _) in object.iter() {
                // Of equal keys the last wins when values are read; as a column they are one.
                if !keys.iter().any(|known| *known == key) {
                    keys.push(key.into_owned());
                }
            }
        }
        Ok((reader, keys))
    }

    /// Goes to the next line that is not blank; its length without LF, or `None` at the end.
    fn find(&mut self) -> Result<Option<usize>, SourceError> {
        loop {
            let bytes = self.window.bytes();
            let end = memchr(b'\n', bytes);
            let length = end.unwrap_or(bytes.len());
            if end.is_none() && !self.window.ended && length <= self.bytes_max {
                self.window.fill()?;
            } else if bytes[..length].iter().any(|byte| !byte.is_ascii_whitespace())
                || length > self.bytes_max
            {
                return Ok(Some(length));
            } else if end.is_some() {
                self.window.consume(length + 1);
                self.line += 1;
            } else {
                self.window.consume(length);
                return Ok(None);
            }
        }
    }

    pub(crate) fn advance(&mut self, row: &mut RowBuffer) -> Result<Step, SourceError> {
        self.window.shrink();
        let Some(length) = self.find()? else { return Ok(Step::End) };
        let line = self.line;
        let bytes = &self.window.bytes()[..length];
        let fault = if length > self.bytes_max {
            Some((BadKind::TooLong { bytes_max: self.bytes_max }, 0))
        } else {
            check(bytes.strip_suffix(b"\r").unwrap_or(bytes), &mut row.text, &mut row.json)
        };
        let bad = fault.map(|(kind, at)| BadLine {
            kind,
            line,
            row_line: line,
            column: at as u64 + 1,
            excerpt: excerpt(bytes),
        });
        match self.window.bytes().get(length) {
            Some(b'\n') => self.window.consume(length + 1),
            _ => self.window.discard_line()?,
        }
        self.line += 1;
        Ok(bad.map_or(Step::Row { line }, |bad| Step::Bad { line, bad }))
    }
}

/// `\ud83d`
const ESCAPE_BYTES: usize = 6;

/// Copies a good line to `text` and finds its pairs; else what is wrong and at which byte.
fn check(bytes: &[u8], text: &mut String, json: &mut JsonScanner) -> Option<(BadKind, usize)> {
    match from_utf8(bytes) {
        Ok(line) => {
            text.clear();
            text.push_str(line);
            let fault = json.check(line).err()?;
            let kind = match line.get(fault.offset..fault.offset + ESCAPE_BYTES) {
                Some(escape) if fault.lone_surrogate => BadKind::LoneSurrogate { escape: escape.to_owned() },
                _ => BadKind::NotJson { what: fault.what },
            };
            Some((kind, fault.offset))
        }
        Err(error) => {
            let at = error.valid_up_to();
            Some((BadKind::NotUtf8 { byte: bytes[at] }, at))
        }
    }
}
