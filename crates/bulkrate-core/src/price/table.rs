//! The price table as text: a header, one record a line, fields quoted where they hold a comma, a quote or a line end.

use std::borrow::Cow;

macro_rules! columns {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// The columns of a price table, in the order in which they are written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Column { $($name),* }

        impl Column {
            /// All columns, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in the header.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

columns! {
    Provider = "provider", ModelId = "model_id", Aliases = "aliases", Kind = "kind",
    Input = "input", Output = "output", CacheRead = "cache_read",
    CacheWrite5m = "cache_write_5m", CacheWrite1h = "cache_write_1h",
    BatchInput = "batch_input", BatchOutput = "batch_output", BatchCacheRead = "batch_cache_read",
    BatchCacheWrite5m = "batch_cache_write_5m",
    FlexInput = "flex_input", FlexOutput = "flex_output", FlexCacheRead = "flex_cache_read",
    LcThreshold = "lc_threshold", LcInput = "lc_input", LcOutput = "lc_output", LcCacheRead = "lc_cache_read",
    LcBatchInput = "lc_batch_input", LcBatchOutput = "lc_batch_output",
    ContextWindow = "context_window", MaxInput = "max_input", MaxOutput = "max_output",
    SupportsBatch = "supports_batch", SupportsVision = "supports_vision", SupportsPdf = "supports_pdf",
    SupportsJsonSchema = "supports_json_schema", SupportsReasoning = "supports_reasoning",
    BatchMaxRequests = "batch_max_requests", BatchMaxBytes = "batch_max_bytes",
    EnqueuedLimitNote = "enqueued_limit_note", LimitsBasis = "limits_basis",
    DeprecationDate = "deprecation_date", PriceNote = "price_note", Verification = "verification",
    Source = "source", AsOf = "as_of", ValidFrom = "valid_from", ValidTo = "valid_to", Successor = "successor",
}

/// One line of a price table: a cell for every column, empty where the table says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    cells: Vec<Cow<'a, str>>,
}

impl<'a> Record<'a> {
    /// A record with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self { cells: vec![Cow::Borrowed(""); Column::ALL.len()] }
    }

    #[must_use]
    pub fn get(&self, column: Column) -> &str {
        &self.cells[column as usize]
    }

    pub fn set(&mut self, column: Column, text: impl Into<Cow<'a, str>>) {
        self.cells[column as usize] = text.into();
    }

    /// Appends to a column that holds remarks, separated by ` | `.
    pub fn note(&mut self, text: &str) {
        let cell = self.cells[Column::PriceNote as usize].to_mut();
        if !cell.is_empty() {
            cell.push_str(" | ");
        }
        cell.push_str(text);
    }
}

/// Why a text is not a price table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("the table is empty; its first line names the columns")]
    Empty,
    #[error("column `{0}` is not known")]
    UnknownColumn(String),
    #[error("column `{0}` is named twice")]
    DoubledColumn(&'static str),
    #[error("column `{0}` is missing")]
    MissingColumn(&'static str),
    #[error("{found} fields where the header has {wanted}")]
    Ragged { found: usize, wanted: usize },
    #[error("a quoted field is not closed or goes on after its closing quote")]
    Quote,
}

/// Columns without which a row says nothing.
const REQUIRED: [Column; 4] = [Column::Provider, Column::ModelId, Column::Kind, Column::Input];

/// Splits a table into records with the line on which each starts, from 1. Columns may stand in any order and the
/// optional ones may be absent. On error: the line and what is wrong there.
pub fn read(text: &str) -> Result<Vec<(usize, Record<'_>)>, (usize, TableError)> {
    let mut lines = Splitter { text: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut fields = Vec::with_capacity(Column::ALL.len());
    lines.next(&mut fields)?.ok_or((1, TableError::Empty))?;
    let order = header(&fields).map_err(|error| (1, error))?;
    let mut records = Vec::with_capacity(256);
    while let Some(line) = lines.next(&mut fields)? {
        if fields.len() == 1 && fields[0].is_empty() {
            continue;
        }
        if fields.len() != order.len() {
            return Err((line, TableError::Ragged { found: fields.len(), wanted: order.len() }));
        }
        let mut record = Record::empty();
        for (column, field) in order.iter().zip(fields.drain(..)) {
            record.cells[*column as usize] = field;
        }
        records.push((line, record));
    }
    Ok(records)
}

/// Writes a table that [`read`] gives back unchanged.
#[must_use]
pub fn write(records: &[Record<'_>]) -> String {
    let names: Vec<&str> = Column::ALL.iter().map(|column| column.name()).collect();
    let mut out = names.join(",");
    out.push('\n');
    for record in records {
        for (at, cell) in record.cells.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            if cell.contains([',', '"', '\n', '\r']) {
                out.push('"');
                out.push_str(&cell.replace('"', "\"\""));
                out.push('"');
            } else {
                out.push_str(cell);
            }
        }
        out.push('\n');
    }
    out
}

fn header(names: &[Cow<'_, str>]) -> Result<Vec<Column>, TableError> {
    let mut order: Vec<Column> = Vec::with_capacity(names.len());
    for name in names {
        let column = Column::ALL.iter().copied().find(|column| column.name() == name.trim());
        let column = column.ok_or_else(|| TableError::UnknownColumn(name.trim().to_owned()))?;
        if order.contains(&column) {
            return Err(TableError::DoubledColumn(column.name()));
        }
        order.push(column);
    }
    match REQUIRED.into_iter().find(|column| !order.contains(column)) {
        Some(missing) => Err(TableError::MissingColumn(missing.name())),
        None => Ok(order),
    }
}

struct Splitter<'a> {
    text: &'a str,
    line: usize,
}

impl<'a> Splitter<'a> {
    /// Fills `fields` with the next record; `None` at the end. Returns the line on which the record starts.
    fn next(&mut self, fields: &mut Vec<Cow<'a, str>>) -> Result<Option<usize>, (usize, TableError)> {
        fields.clear();
        if self.text.is_empty() {
            return Ok(None);
        }
        let start = self.line;
        loop {
            let (field, rest) = if self.text.starts_with('"') {
                self.quoted().ok_or((start, TableError::Quote))?
            } else {
                let end = memchr::memchr2(b',', b'\n', self.text.as_bytes()).unwrap_or(self.text.len());
                (Cow::Borrowed(&self.text[..end]), &self.text[end..])
            };
            let last = !rest.starts_with(',');
            let field = match field {
                Cow::Borrowed(text) if last => Cow::Borrowed(text.strip_suffix('\r').unwrap_or(text)),
                other => other,
            };
            fields.push(field);
            self.text = rest.get(1..).unwrap_or("");
            if last {
                self.line += 1;
                return Ok(Some(start));
            }
        }
    }

    /// A quoted field at the start of the text, and what follows it: a comma, a line end or nothing.
    fn quoted(&mut self) -> Option<(Cow<'a, str>, &'a str)> {
        let body = &self.text[1..];
        let mut from = 0;
        loop {
            let quote = from + memchr::memchr(b'"', &body.as_bytes()[from..])?;
            if body[quote + 1..].starts_with('"') {
                from = quote + 2;
                continue;
            }
            let raw = &body[..quote];
            self.line += raw.matches('\n').count();
            let rest = &body[quote + 1..];
            let rest = if rest.starts_with("\r\n") { &rest[1..] } else { rest };
            if !(rest.is_empty() || rest.starts_with([',', '\n'])) {
                return None;
            }
            return Some((
                if raw.contains('"') { Cow::Owned(raw.replace("\"\"", "\"")) } else { Cow::Borrowed(raw) },
                rest,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_line_ends_and_column_order_are_read() {
        let text =
            "model_id,provider,kind,input,price_note\r\nm,p,chat,1,\"a, \"\"b\"\"\nc\"\r\n\nn,q,chat,2,\n";
        let records = read(text).unwrap();
        assert_eq!(records.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
        let (_, first) = &records[0];
        assert_eq!((first.get(Column::Provider), first.get(Column::ModelId)), ("p", "m"));
        assert_eq!(first.get(Column::PriceNote), "a, \"b\"\nc");
        assert_eq!(records[1].1.get(Column::Input), "2");
    }

    #[test]
    fn a_broken_table_names_the_line() {
        let head = "provider,model_id,kind,input\n";
        for (text, want) in [
            (String::new(), (1, TableError::Empty)),
            ("provider,model_id,kind,price\n".to_owned(), (1, TableError::UnknownColumn("price".into()))),
            ("provider,model_id,kind\n".to_owned(), (1, TableError::MissingColumn("input"))),
            ("provider,kind,kind\n".to_owned(), (1, TableError::DoubledColumn("kind"))),
            (format!("{head}a,b,chat,1\na,b,chat\n"), (3, TableError::Ragged { found: 3, wanted: 4 })),
            (format!("{head}a,\"b,chat,1\n"), (2, TableError::Quote)),
            (format!("{head}a,\"b\"x,chat,1\n"), (2, TableError::Quote)),
        ] {
            assert_eq!(read(&text).unwrap_err(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cells in proptest::collection::vec("[a-z,\"\n\r ]{0,6}", 1..20)) {
            let mut record = Record::empty();
            record.set(Column::Provider, "p");
            for (column, cell) in Column::ALL[4..].iter().zip(&cells) {
                record.set(*column, cell.as_str());
            }
            let text = write(std::slice::from_ref(&record));
            let back = read(&text).unwrap();
            prop_assert_eq!(&back[0].1, &record);
            prop_assert_eq!(write(&[back[0].1.clone()]), text.clone());
        }
    }
}
