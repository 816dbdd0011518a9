//! JSONL, CSV and TSV output, plain or packed.
//!
//! What is decided here
//! - CSV rows end with LF; a cell is quoted only where it must be. A table of one column writes an empty cell as `""`.
//! - Without `raw_csv` a cell or column name that starts with `= + - @ TAB CR NUL` gets a leading `'`, because a
//!   spreadsheet would run it as a formula. A cell that is a plain decimal number (`-1.5`, `+3e2`) stays as it is.
//! - In CSV and TSV a JSON string is its text and a JSON null is nothing; other JSON stays JSON.
//! - JSON values are checked before they are embedded: one bad value must not make a line unreadable.
use std::borrow::Cow;
use std::io::{self, Write};

use memchr::{memchr, memchr2, memchr3};

use super::file::OutputFile;
use super::{Column, ColumnType, SinkError, Value, misfit};
use crate::format::{Compression, Format};
use crate::json::is_json;

const BUFFER_BYTES: usize = 128 << 10;

pub(crate) struct TextSink {
    encoder: Encoder,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    style: Style,
    columns: Vec<Column>,
    /// JSONL: what stands before each value, `{"name":` or `,"name":`.
    keys: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Jsonl,
    Csv { delimiter: u8, raw: bool },
}

enum Encoder {
    Plain(OutputFile),
    Gzip(flate2::write::GzEncoder<OutputFile>),
    Zstd(zstd::stream::write::Encoder<'static, OutputFile>),
}

impl TextSink {
    pub(crate) fn new(
        file: OutputFile,
        format: Format,
        compression: Compression,
        raw: bool,
        columns: &[Column],
    ) -> Result<Self, SinkError> {
        let style = match format {
            Format::Jsonl => Style::Jsonl,
            Format::Tsv => Style::Csv { delimiter: b'\t', raw },
            _ => Style::Csv { delimiter: b',', raw },
        };
        let fresh = file.bytes == 0;
        let keys = columns.iter().enumerate().map(|(index, column)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            json_string(&column.name, &mut key);
            key.push(b':');
            key
        });
        let (keys, encoder) = (keys.collect(), Encoder::new(file, compression)?);
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        let mut sink = Self { encoder, buffer, scratch: Vec::new(), style, columns: columns.to_vec(), keys };
        if let (Style::Csv { delimiter, raw }, true) = (style, fresh) {
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    sink.buffer.push(delimiter);
                }
                csv_cell(&column.name, delimiter, raw, columns.len() == 1, &mut sink.buffer);
            }
            sink.buffer.push(b'\n');
        }
        Ok(sink)
    }

    pub(crate) fn write(&mut self, row: u64, values: &[Value<'_>]) -> Result<(), SinkError> {
        let start = self.buffer.len();
        let result = match self.style {
            Style::Jsonl => self.json_row(values),
            Style::Csv { delimiter, raw } => self.csv_row(values, delimiter, raw),
        };
        if let Err(what) = result {
            self.buffer.truncate(start);
            return Err(SinkError::BadRow { row, what });
        }
        if self.buffer.len() >= BUFFER_BYTES { self.drain() } else { Ok(()) }
    }

    fn json_row(&mut self, values: &[Value<'_>]) -> Result<(), String> {
        let out = &mut self.buffer;
        for ((column, key), value) in self.columns.iter().zip(&self.keys).zip(values) {
            out.extend_from_slice(key);
            match (column.kind, value) {
                (_, Value::Null) => out.extend_from_slice(b"null"),
                (ColumnType::Text | ColumnType::Json, Value::Text(text)) => json_string(text, out),
                (ColumnType::Text, Value::Json(text)) => json_string(text, out),
                (ColumnType::Text, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
                    out.push(b'"');
                    scalar(value, out);
                    out.push(b'"');
                }
                (ColumnType::Decimal9, Value::Int(nanos)) => {
                    out.push(b'"');
                    decimal9(*nanos, out);
                    out.push(b'"');
                }
                (ColumnType::Json, Value::Json(text)) => json_value(text, column, out)?,
                (ColumnType::Float | ColumnType::Json, Value::Float(number)) if !number.is_finite() => {
                    out.extend_from_slice(b"null");
                }
                _ if fits(column.kind, value) => scalar(value, out),
                _ => return Err(misfit(column, value)),
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn csv_row(&mut self, values: &[Value<'_>], delimiter: u8, raw: bool) -> Result<(), String> {
        let (out, alone) = (&mut self.buffer, values.len() == 1);
        for (index, (column, value)) in self.columns.iter().zip(values).enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            match (column.kind, value) {
                (_, Value::Null) => csv_cell("", delimiter, raw, alone, out),
                (ColumnType::Text, Value::Text(text) | Value::Json(text))
                | (ColumnType::Json, Value::Text(text)) => csv_cell(text, delimiter, raw, alone, out),
                (ColumnType::Json, Value::Json(text)) => match plain(text, column)? {
                    Plain::Null => csv_cell("", delimiter, raw, alone, out),
                    Plain::Text(text) => csv_cell(&text, delimiter, raw, alone, out),
                    Plain::Other => {
                        self.scratch.clear();
                        one_line(text, &mut self.scratch);
                        // JSON starts with none of the formula signs but the minus of a number.
                        csv_quoted(&self.scratch, delimiter, alone, out);
                    }
                },
                (ColumnType::Vector, Value::Vector(_)) => {
                    self.scratch.clear();
                    scalar(value, &mut self.scratch);
                    csv_quoted(&self.scratch, delimiter, alone, out);
                }
                (ColumnType::Decimal9, Value::Int(nanos)) => decimal9(*nanos, out),
                (_, Value::Float(number)) if !number.is_finite() && fits(column.kind, value) => {
                    csv_cell("", delimiter, raw, alone, out);
                }
                _ if fits(column.kind, value) => scalar(value, out),
                _ => return Err(misfit(column, value)),
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn drain(&mut self) -> Result<(), SinkError> {
        let result = self.encoder.write_all(&self.buffer);
        self.buffer.clear();
        result.map_err(|error| SinkError::io(&self.encoder.file().path, "write", error))
    }

    pub(crate) fn flush(&mut self) -> Result<u64, SinkError> {
        self.drain()?;
        self.encoder.flush().map_err(|error| SinkError::io(&self.encoder.file().path, "write", error))?;
        Ok(self.encoder.file().bytes)
    }

    pub(crate) fn sync(&mut self) -> Result<u64, SinkError> {
        let bytes = self.flush()?;
        self.encoder.file().sync()?;
        Ok(bytes)
    }

    pub(crate) fn finish(mut self) -> Result<u64, SinkError> {
        self.drain()?;
        let path = self.encoder.file().path.clone();
        let mut file = self.encoder.finish().map_err(|error| SinkError::io(&path, "write", error))?;
        file.commit()
    }
}

impl std::fmt::Debug for TextSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("TextSink");
        out.field("file", self.encoder.file()).field("style", &self.style).finish_non_exhaustive()
    }
}

impl Encoder {
    fn new(file: OutputFile, compression: Compression) -> Result<Self, SinkError> {
        Ok(match compression {
            Compression::None => Self::Plain(file),
            Compression::Gzip => {
                Self::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
            }
            Compression::Zstd => {
                let path = file.path.clone();
                let encoder = zstd::stream::write::Encoder::new(file, 3).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                });
                Self::Zstd(encoder.map_err(|error| SinkError::io(&path, "open", error))?)
            }
        })
    }

    fn file(&self) -> &OutputFile {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }

    fn finish(self) -> io::Result<OutputFile> {
        match self {
            Self::Plain(file) => Ok(file),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Which values a column takes in their own text.
fn fits(kind: ColumnType, value: &Value<'_>) -> bool {
    use ColumnType as C;
    match value {
        Value::Null => true,
        Value::Text(_) | Value::Json(_) => matches!(kind, C::Text | C::Json),
        Value::Int(_) => matches!(kind, C::Text | C::Int | C::Float | C::Json),
        Value::Float(_) => matches!(kind, C::Text | C::Float | C::Json),
        Value::Bool(_) => matches!(kind, C::Text | C::Bool | C::Json),
        Value::Vector(_) => matches!(kind, C::Vector | C::Json),
    }
}

/// Numbers, booleans and vectors as JSON has them.
pub(crate) fn scalar(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Float(number) => json_float(*number, out),
        Value::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Vector(numbers) => {
            out.push(b'[');
            for (index, number) in numbers.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json_float(*number, out);
            }
            out.push(b']');
        }
        Value::Null | Value::Text(_) | Value::Json(_) => {}
    }
}

/// The shortest text that reads back as the same number; `null` for what JSON cannot say.
fn json_float(number: impl serde::Serialize, out: &mut Vec<u8>) {
    // Writing a number to memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

/// What a JSON value is where cells hold text.
pub(crate) enum Plain<'a> {
    Null,
    /// A string, without its quotes and escapes.
    Text(Cow<'a, str>),
    /// Numbers, booleans, lists and objects stay JSON.
    Other,
}

/// Reads a JSON value as a cell shows it.
pub(crate) fn plain<'a>(json: &'a str, column: &Column) -> Result<Plain<'a>, String> {
    check_json(json, column)?;
    let json = json.trim();
    if json == "null" {
        return Ok(Plain::Null);
    }
    let Some(text) = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) else {
        return Ok(Plain::Other);
    };
    if memchr(b'\\', text.as_bytes()).is_none() {
        return Ok(Plain::Text(Cow::Borrowed(text)));
    }
    // Half a surrogate pair is JSON and no text.
    serde_json::from_str(json).map(|text| Plain::Text(Cow::Owned(text))).map_err(|_| no_json(column))
}

fn check_json(text: &str, column: &Column) -> Result<(), String> {
    if is_json(text) { Ok(()) } else { Err(no_json(column)) }
}

fn no_json(column: &Column) -> String {
    format!("column `{}` got text that is not JSON", column.name)
}

fn json_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Embeds JSON text on one line: line breaks between its tokens (inside strings there are none) become spaces.
fn json_value(text: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), String> {
    check_json(text, column)?;
    one_line(text, out);
    Ok(())
}

fn one_line(json: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(json.trim().as_bytes());
    if memchr2(b'\n', b'\r', &out[start..]).is_some() {
        out[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
}

/// Billionths as decimal text without trailing zeros: `0.0015`.
pub(crate) fn decimal9(nanos: i64, out: &mut Vec<u8>) {
    let (whole, part) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if nanos < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    if part > 0 {
        let mut digits = [b'0'; 9];
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(part).as_bytes();
        digits[9 - text.len()..].copy_from_slice(text);
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        out.push(b'.');
        out.extend_from_slice(&digits[..end]);
    }
}

/// A line of CSV with its line break, for what is no table of results: cells quoted and guarded as a sink does it.
#[must_use]
pub fn csv_line(cells: &[String]) -> String {
    let mut out = Vec::new();
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        csv_cell(cell, b',', false, cells.len() == 1, &mut out);
    }
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

/// A text cell, guarded against being run as a formula unless `raw`. `alone`: the only cell of its row.
fn csv_cell(text: &str, delimiter: u8, raw: bool, alone: bool, out: &mut Vec<u8>) {
    if raw || !is_formula(text) {
        return csv_quoted(text.as_bytes(), delimiter, alone, out);
    }
    let start = out.len();
    csv_quoted(text.as_bytes(), delimiter, alone, out);
    // Inside the quotes, where there are any: there it is part of the cell.
    let at = start + usize::from(out[start] == b'"');
    out.insert(at, b'\'');
}

fn is_formula(text: &str) -> bool {
    matches!(text.as_bytes().first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | 0)) && !is_number(text)
}

/// An optional sign, digits with at most one point, an optional exponent.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    digits(whole) && digits(part) && whole.len() + part.len() > 0 && digits(exponent) && !exponent.is_empty()
}

fn csv_quoted(cell: &[u8], delimiter: u8, alone: bool, out: &mut Vec<u8>) {
    let special = memchr3(delimiter, b'\n', b'\r', cell).is_some() || memchr(b'"', cell).is_some();
    // A byte order mark at the start of the file would be taken for one; a lone empty cell for a blank line.
    let mistaken = cell.starts_with(b"\xef\xbb\xbf") || (alone && cell.is_empty());
    if !special && !mistaken {
        out.extend_from_slice(cell);
        return;
    }
    out.push(b'"');
    let mut rest = cell;
    while let Some(at) = memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'"');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_guarded_and_numbers_are_not() {
        for (cell, want) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-cmd", "'-cmd"),
            ("+49 151", "'+49 151"),
            ("\tx", "'\tx"),
            ("\0x", "'\0x"),
            ("\rx", "\"'\rx\""),
            ("=A1,\"b\"", "\"'=A1,\"\"b\"\"\""),
            ("-1.5", "-1.5"),
            ("+3e-2", "+3e-2"),
            ("-.5", "-.5"),
            ("-", "'-"),
            ("-1-1", "'-1-1"),
            ("-1e", "'-1e"),
            ("plain", "plain"),
            (" =1", " =1"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            csv_cell(cell, b',', false, false, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{cell:?}");
        }
    }

    #[test]
    fn money_is_exact_decimal_text() {
        for (nanos, want) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000, "0.0015"),
            (2_000_000_000, "2"),
            (-1_250_000_000, "-1.25"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            let mut out = Vec::new();
            decimal9(nanos, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
