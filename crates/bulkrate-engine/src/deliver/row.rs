//! One row of the output, from what it begins with and what became of its item.

use std::borrow::Cow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::semantic::numbers;
use bulkrate_io::{
    Column, ColumnType, JsonKind, JsonRow, JsonScanner, JsonValue, RowData, Sink, SinkReport, Value,
};

use super::columns::{AnswerForm, Layout, Lead};
use super::review::ReviewWriter;
use crate::EngineError;
use crate::prepare::Shape;
use crate::result_line::{ResponseLine, ResultLine};

/// What is known of an item besides its outcome. `data` is `None` where the source is not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) data: Option<&'a RowData<'a>>,
    pub(crate) id: Option<&'a str>,
}

/// What became of an item.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'a> {
    Open,
    NoLine { class: Option<FailureClass>, cost: UsdNanos },
    Line { line: &'a ResultLine<'a>, cost: UsdNanos },
}

/// A sink and the memory that its rows use again.
#[derive(Debug)]
pub(crate) struct RowWriter {
    sink: Option<Sink>,
    review: Option<ReviewWriter>,
    layout: Layout,
    values: Vec<Value<'static>>,
    scanner: JsonScanner,
    /// Unescaped texts, one per answer field.
    texts: Vec<String>,
    vector: Vec<f32>,
    error: String,
}

impl RowWriter {
    pub(crate) fn new(sink: Option<Sink>, layout: Layout, review: Option<ReviewWriter>) -> Self {
        let fields = if let AnswerForm::Fields(fields) = &layout.answer { fields.len() } else { 0 };
        Self {
            sink,
            review,
            texts: vec![String::new(); fields.max(1)],
            values: Vec::with_capacity(layout.columns.len()),
            layout,
            scanner: JsonScanner::new(),
            vector: Vec::new(),
            error: String::new(),
        }
    }

    /// Whether a row names the user's id of its item apart from the input columns.
    pub(crate) fn wants_id(&self) -> bool {
        matches!(self.layout.lead, Lead::CustomId | Lead::Item { id: true })
    }

    /// `for_review`: the row goes to the sample as well.
    pub(crate) fn write(
        &mut self,
        number: u64,
        head: Head<'_>,
        outcome: Outcome<'_>,
        for_review: bool,
    ) -> Result<(), EngineError> {
        let Self { sink, review, layout, values, scanner, texts, vector, error } = self;
        error.clear();
        let mut row = recycle(std::mem::take(values));
        lead(layout, number, head, &mut row);
        let scratch = Scratch { scanner, texts, vector, error };
        match outcome {
            Outcome::Open => {
                row.resize(layout.columns.len(), Value::Null);
                let status = row.len() - 6;
                row[status] = Value::Text("open");
            }
            Outcome::NoLine { class, cost } => {
                row.resize(layout.columns.len() - 6, Value::Null);
                let reason = class.map(|class| reason(class.name(), class.meaning(), scratch.error));
                let status = Value::Text(class.map_or("succeeded", status_of));
                row.extend([
                    status,
                    reason.map_or(Value::Null, Value::Text),
                    Value::Null,
                    Value::Null,
                    Value::Int(cost.0),
                    Value::Int(0),
                ]);
            }
            Outcome::Line { line, cost } => landed(layout, line, cost, scratch, &mut row)?,
        }
        if let Some(sink) = sink {
            sink.write(&row)?;
        }
        if for_review && let Some(review) = review {
            review.write(number, head, &row)?;
        }
        *values = recycle(row);
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<u64, EngineError> {
        Ok(self.sink.as_mut().map(Sink::flush).transpose()?.unwrap_or(0))
    }

    /// The results, and the items in the sample.
    pub(crate) fn finish(self) -> Result<(SinkReport, u64), EngineError> {
        let review_items = self.review.map(ReviewWriter::finish).transpose()?.unwrap_or(0);
        let report = self.sink.map(Sink::finish).transpose()?;
        Ok((report.unwrap_or(SinkReport { rows: 0, bytes: 0 }), review_items))
    }
}

/// Buffers of the writer, borrowed for one row.
struct Scratch<'r> {
    scanner: &'r mut JsonScanner,
    texts: &'r mut [String],
    vector: &'r mut Vec<f32>,
    error: &'r mut String,
}

/// The same memory for values that borrow something else.
fn recycle<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| Value::Null).collect()
}

fn status_of(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Expired => "expired",
        FailureClass::CancelledByUser => "cancelled",
        _ => "errored",
    }
}

fn reason<'r>(class: &str, message: &str, out: &'r mut String) -> &'r str {
    out.extend([class, ": ", message]);
    out
}

fn lead<'r>(layout: &'r Layout, number: u64, head: Head<'r>, row: &mut Vec<Value<'r>>) {
    let id = head.id.map_or(Value::Null, Value::Text);
    match layout.lead {
        Lead::Input(count) => input(&layout.columns[..count], head.data, row),
        Lead::CustomId => row.push(id),
        Lead::Item { id: with_id } => {
            row.push(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)));
            row.extend(with_id.then_some(id));
        }
    }
}

fn input<'r>(columns: &'r [Column], data: Option<&'r RowData<'r>>, row: &mut Vec<Value<'r>>) {
    match data {
        Some(RowData::Cells(cells)) => {
            row.extend((0..columns.len()).map(|place| cells.get(place).map_or(Value::Null, Value::Text)));
        }
        Some(RowData::Json(json)) => {
            let start = row.len();
            // Most lines of a file share their keys and their order.
            let same = json.len() == columns.len()
                && columns.iter().zip(json.iter()).all(|(column, (key, value))| {
                    row.push(Value::Json(value.raw()));
                    key == column.name
                });
            if !same {
                row.truncate(start);
                row.extend(columns.iter().map(|column| {
                    json.get(&column.name).map_or(Value::Null, |value| Value::Json(value.raw()))
                }));
            }
        }
        Some(RowData::Bad(_)) | None => row.extend(columns.iter().map(|_| Value::Null)),
    }
}

fn landed<'r>(
    layout: &'r Layout,
    line: &'r ResultLine<'r>,
    cost: UsdNanos,
    scratch: Scratch<'r>,
    row: &mut Vec<Value<'r>>,
) -> Result<(), EngineError> {
    let Scratch { scanner, texts, vector, error } = scratch;
    let width = layout.columns.len() - 6;
    if let Some(response) = &line.response {
        match &layout.answer {
            AnswerForm::Vector => {
                embedding(response, line.item, vector)?;
                row.push(Value::Vector(vector));
            }
            AnswerForm::Whole => row.push(whole(response, line.item, &mut texts[0])?),
            AnswerForm::Fields(fields) => {
                let parsed = response.parsed.map_or("{}", |raw| raw.get());
                let object = scanner.scan(parsed).map_err(|fault| unreadable(line.item, fault.what))?;
                for (place, (field, text)) in fields.iter().zip(texts.iter_mut()).enumerate() {
                    let value = property(object, place, &field.name);
                    row.push(value.map_or(Value::Null, |value| typed(field, value, text, error)));
                }
            }
        }
    }
    row.resize(width, Value::Null);
    if let Some(failure) = &line.error {
        reason(&failure.class, &failure.message, error);
    }
    let named = |text: &'r str| if text.is_empty() { Value::Null } else { Value::Text(text) };
    row.extend([
        Value::Text(&line.status),
        named(error),
        named(&line.model),
        named(&line.lane),
        Value::Int(cost.0),
        Value::Int(i64::from(line.attempts.unwrap_or(u32::from(line.attempt)))),
    ]);
    Ok(())
}

fn whole<'r>(
    response: &'r ResponseLine<'r>,
    item: u32,
    scratch: &'r mut String,
) -> Result<Value<'r>, EngineError> {
    if let Some(text) = &response.text {
        return Ok(Value::Text(text));
    }
    if let Some(parsed) = response.parsed {
        return Ok(Value::Json(parsed.get()));
    }
    if response.embedding.is_none() {
        return Ok(Value::Null);
    }
    // A line of the source asked for an embedding although the job did not: its numbers as a JSON array.
    let mut vector = Vec::new();
    embedding(response, item, &mut vector)?;
    *scratch = serde_json::to_string(&vector).map_err(|_| unreadable(item, "not a list of numbers"))?;
    Ok(Value::Json(scratch))
}

/// The property of an answer; answers mostly keep the order of the schema.
fn property<'a>(object: JsonRow<'a>, place: usize, name: &str) -> Option<JsonValue<'a>> {
    match object.at(place) {
        Some((key, value)) if key == name => Some(value),
        _ => object.get(name),
    }
}

/// The value as its column wants it. What does not fit is left out, and `error` says so.
fn typed<'r>(field: &Column, value: JsonValue<'r>, text: &'r mut String, error: &mut String) -> Value<'r> {
    let raw = value.raw();
    let fits = match (field.kind, value.kind()) {
        (_, JsonKind::Null) => Some(Value::Null),
        (ColumnType::Text, _) => Some(Value::Text(value.cell_in(text))),
        (ColumnType::Int, JsonKind::Number) => integer(raw).map(Value::Int),
        (ColumnType::Float, JsonKind::Number) => raw.parse().ok().map(Value::Float),
        (ColumnType::Bool, JsonKind::Bool) => Some(Value::Bool(raw == "true")),
        (ColumnType::Json, _) => Some(Value::Json(raw)),
        _ => None,
    };
    fits.unwrap_or_else(|| {
        let gap = if error.is_empty() { "" } else { "; " };
        error.extend([
            gap,
            "`",
            field.name.as_str(),
            "` does not fit its column: ",
            &raw[..raw.floor_char_boundary(64)],
        ]);
        Value::Null
    })
}

/// A whole number of 64 bits, also where it is written `3.0`.
fn integer(raw: &str) -> Option<i64> {
    raw.parse().ok().or_else(|| {
        let (whole, fraction) = raw.split_once('.')?;
        fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse().ok())?
    })
}

/// Base64 of little-endian `f32`, or an array of numbers.
pub(crate) fn embedding(
    response: &ResponseLine<'_>,
    item: u32,
    out: &mut Vec<f32>,
) -> Result<(), EngineError> {
    out.clear();
    let raw = response.embedding.map_or("[]", |raw| raw.get());
    let read = match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(base64) => floats(base64, out),
        None => numbers(raw, out),
    };
    read.ok_or_else(|| unreadable(item, "the embedding is neither base64 nor a list of numbers"))
}

fn floats(base64: &str, out: &mut Vec<f32>) -> Option<()> {
    let mut bits = 0_u32;
    let mut held = 0;
    let mut bytes = [0_u8; 4];
    let mut place = 0;
    for digit in base64.trim_end_matches('=').bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes[place] = (bits >> held & 0xff) as u8;
            place += 1;
            if place == 4 {
                out.push(f32::from_le_bytes(bytes));
                place = 0;
            }
        }
    }
    (place == 0).then_some(())
}

fn unreadable(item: u32, what: &str) -> EngineError {
    EngineError::Internal(format!("the stored answer of item {} cannot be read: {what}", u64::from(item) + 1))
}

/// The user's id of a record: the id column, the `custom_id` of a request line, or else its number.
pub(crate) fn id_of_row<'a>(
    data: &RowData<'a>,
    shape: Shape,
    column: Option<&IdColumn>,
    number: u64,
) -> Cow<'a, str> {
    let id = match (data, shape, column) {
        (RowData::Json(row), Shape::Unified | Shape::OpenAi, _) => {
            row.get("custom_id").and_then(|id| id.as_str())
        }
        (RowData::Json(row), Shape::Foreign(dialect), _) => {
            dialect.form().ids.iter().find_map(|name| row.get(name)?.as_str())
        }
        (RowData::Json(row), Shape::Table, Some(column)) => row.get(&column.name).map(|id| id.cell()),
        (RowData::Cells(cells), _, Some(column)) => cells.get(column.place).map(Cow::Borrowed),
        _ => None,
    };
    id.unwrap_or_else(|| Cow::Owned(number.to_string()))
}

/// The column that holds the ids, and where it is among the cells.
#[derive(Debug, Clone)]
pub(crate) struct IdColumn {
    pub(crate) name: String,
    pub(crate) place: usize,
}

impl IdColumn {
    pub(crate) fn of(name: Option<&str>, columns: &[String]) -> Option<Self> {
        let name = name?;
        let place = columns.iter().position(|column| column == name).unwrap_or(usize::MAX);
        Some(Self { name: name.to_owned(), place })
    }
}
