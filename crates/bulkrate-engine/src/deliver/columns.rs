//! The columns of an output: input columns, answer columns, and what became of the item.

use std::borrow::Cow;
use std::collections::HashSet;

use bulkrate_core::request::Kind;
use bulkrate_io::{Column, ColumnType, Format, JsonKind, JsonScanner, JsonValue};
use serde_json::Value as Json;

use crate::EngineError;
use crate::prepare::Shape;
use crate::spec::{JobSpec, RequestSpec};

/// The number of a row's item, from 1.
pub(crate) const ITEM_COLUMN: &str = "_item";

/// What every row ends with.
pub(super) const TAIL: [(&str, ColumnType); 6] = [
    ("_status", ColumnType::Text),
    ("_error", ColumnType::Text),
    ("_model", ColumnType::Text),
    ("_lane", ColumnType::Text),
    ("_cost_usd", ColumnType::Decimal9),
    ("_attempts", ColumnType::Int),
];

/// How a row is laid out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<Column>,
    pub(crate) lead: Lead,
    pub(crate) answer: AnswerForm,
}

/// What a row begins with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lead {
    /// So many input columns: the first of `Layout::columns`.
    Input(usize),
    /// `custom_id`, for sources that hold whole requests.
    CustomId,
    /// `_item`, the item's number from 1, and `_id` where the job has ids.
    Item { id: bool },
}

/// How an answer becomes columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AnswerForm {
    /// All of it in `answer`.
    Whole,
    /// One column per top-level property of the schema.
    Fields(Vec<Column>),
    /// A list of numbers in `embedding`.
    Vector,
}

/// The columns of a job's output, checked for collisions before anything is spent. `source_columns`: the header, or
/// the keys seen in a table of JSON lines.
pub(crate) fn columns(
    spec: &JobSpec,
    format: Format,
    source_columns: &[String],
    shape: Shape,
) -> Result<Vec<Column>, EngineError> {
    let layout = if spec.sink.stream {
        Layout::streamed(spec, shape)?
    } else {
        Layout::new(spec, format, source_columns, shape, spec.sink.answers_only)?
    };
    Ok(layout.columns)
}

impl Layout {
    pub(crate) fn new(
        spec: &JobSpec,
        format: Format,
        source_columns: &[String],
        shape: Shape,
        answers_only: bool,
    ) -> Result<Self, EngineError> {
        let lead = match shape {
            _ if answers_only => Lead::Item { id: spec.source.id.is_some() || shape != Shape::Table },
            Shape::Table => Lead::Input(source_columns.len()),
            Shape::Unified | Shape::OpenAi | Shape::Foreign(_) => Lead::CustomId,
        };
        Self::with(lead, spec, format, source_columns, shape)
    }

    /// Rows as they land: the number and the id of the item, and the answer.
    pub(crate) fn streamed(spec: &JobSpec, shape: Shape) -> Result<Self, EngineError> {
        Self::with(Lead::Item { id: true }, spec, Format::Jsonl, &[], shape)
    }

    fn with(
        lead: Lead,
        spec: &JobSpec,
        format: Format,
        source_columns: &[String],
        shape: Shape,
    ) -> Result<Self, EngineError> {
        // A line of JSON keeps the types of its values; cells of the other formats are text.
        let cell = if format == Format::Jsonl { ColumnType::Json } else { ColumnType::Text };
        let mut columns: Vec<Column> = match lead {
            Lead::Input(_) => source_columns.iter().map(|name| Column::new(name, cell)).collect(),
            Lead::CustomId => vec![Column::new("custom_id", ColumnType::Text)],
            Lead::Item { id } => {
                let id = id.then(|| Column::new("_id", ColumnType::Text));
                std::iter::once(Column::new(ITEM_COLUMN, ColumnType::Int)).chain(id).collect()
            }
        };
        let answer = answer_form(&spec.request, shape);
        match &answer {
            AnswerForm::Whole => columns.push(Column::new("answer", whole_type(&spec.request, shape))),
            AnswerForm::Fields(fields) => columns.extend(fields.iter().cloned()),
            AnswerForm::Vector => columns.push(Column::new("embedding", ColumnType::Vector)),
        }
        columns.extend(TAIL.map(|(name, kind)| Column::new(name, kind)));
        refuse_twins(&columns)?;
        Ok(Self { columns, lead, answer })
    }
}

fn refuse_twins(columns: &[Column]) -> Result<(), EngineError> {
    let mut seen = HashSet::new();
    match columns.iter().find(|column| !seen.insert(column.name.as_str())) {
        None => Ok(()),
        Some(twin) => Err(EngineError::BadSpec {
            code: "column-collision",
            what: format!("two columns of the output would be named `{}`", twin.name),
            why: "an answer column has the name of an input column or of another answer column; rename it in the source or in the schema, or pass `--answers-only`"
                .to_owned(),
        }),
    }
}

fn answer_form(request: &RequestSpec, shape: Shape) -> AnswerForm {
    match request.kind {
        Kind::Embedding => AnswerForm::Vector,
        Kind::Chat if shape == Shape::Table && request.choices.is_empty() => {
            schema_fields(request.schema.as_deref()).map_or(AnswerForm::Whole, AnswerForm::Fields)
        }
        Kind::Chat | Kind::Moderation | Kind::Decision | Kind::Image => AnswerForm::Whole,
    }
}

fn whole_type(request: &RequestSpec, shape: Shape) -> ColumnType {
    let json = matches!(request.kind, Kind::Moderation | Kind::Image)
        || (shape == Shape::Table && request.schema.is_some() && request.choices.is_empty());
    if json { ColumnType::Json } else { ColumnType::Text }
}

/// The properties of an object schema in the order of the schema's text.
fn schema_fields(schema: Option<&str>) -> Option<Vec<Column>> {
    let schema = schema?;
    let (mut outer, mut inner) = (JsonScanner::new(), JsonScanner::new());
    let schema = outer.scan(schema).ok()?;
    let object = schema.get("type").is_none_or(|kind| kind.as_str().as_deref() == Some("object"));
    let properties = schema.get("properties").filter(|value| object && value.kind() == JsonKind::Object)?;
    let properties = inner.scan(properties.raw()).ok()?;
    let field = |(name, value): (Cow<'_, str>, JsonValue<'_>)| {
        let property = serde_json::from_str(value.raw()).unwrap_or_default();
        Column::new(name, property_type(&property))
    };
    let fields: Vec<Column> = properties.iter().map(field).collect();
    (!fields.is_empty()).then_some(fields)
}

/// The one type that a property's values have besides null; JSON for anything less plain.
fn property_type(property: &Json) -> ColumnType {
    let named = match property.get("type") {
        Some(Json::String(name)) => Some(name.as_str()),
        Some(Json::Array(names)) => {
            let mut others = names.iter().filter_map(Json::as_str).filter(|name| *name != "null");
            others.next().filter(|_| others.next().is_none())
        }
        _ => None,
    };
    let text = |value: &Json| value.is_string() || value.is_null();
    match named {
        Some("string") => ColumnType::Text,
        Some("integer") => ColumnType::Int,
        Some("number") => ColumnType::Float,
        Some("boolean") => ColumnType::Bool,
        None if property
            .get("enum")
            .and_then(Json::as_array)
            .is_some_and(|values| !values.is_empty() && values.iter().all(text)) =>
        {
            ColumnType::Text
        }
        _ => ColumnType::Json,
    }
}
