//! BigQuery's JSON. Cells come as texts, whatever their type; a column of JSON as the text of it.

use std::borrow::Cow;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::write_json_text;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Dataset;
use crate::api::Reply;
use crate::gemini::errors;
use crate::http::batches::read;
use crate::json::loose::{Count, LooseText};
use crate::json::object::write_on_one_line;
use crate::vertex::wire::refused;

/// The code of a dataset that is not there.
const NO_DATASET: &str = "no_dataset";

/// What the columns of an input are, as its first line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Gemini's requests, which are texts: a column of JSON would refuse the whole load for one number that it cannot hold.
    Texts,
    /// Claude's.
    Requests,
    /// Open models', in OpenAI's form.
    Lines,
}

impl Form {
    /// Names of columns, and their types.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Texts => &[("custom_id", "STRING"), ("request", "STRING")],
            Self::Requests => &[("custom_id", "STRING"), ("request", "JSON")],
            Self::Lines => {
                &[("custom_id", "STRING"), ("method", "STRING"), ("url", "STRING"), ("body", "JSON")]
            }
        }
    }
}

/// The body of the job that loads lines into a table. That its id is the table's makes it one job, however often it is sent.
pub(super) fn load_job(
    project: &str,
    dataset: &Dataset,
    (table, location): (&str, &str),
    form: Form,
) -> Vec<u8> {
    let mut body = Vec::new();
    for (before, text) in [
        ("{\"jobReference\":{\"projectId\":", project),
        (",\"jobId\":", table),
        (",\"location\":", location),
        ("},\"configuration\":{\"load\":{\"destinationTable\":{\"projectId\":", &dataset.project),
        (",\"datasetId\":", &dataset.id),
        (",\"tableId\":", table),
    ] {
        body.extend_from_slice(before.as_bytes());
        write_json_text(text, &mut body);
    }
    body.extend_from_slice(b"},\"schema\":{\"fields\":[");
    let columns =
        form.columns().iter().map(|(name, kind)| format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}"));
    body.extend_from_slice(columns.collect::<Vec<_>>().join(",").as_bytes());
    body.extend_from_slice(
        b"]},\"sourceFormat\":\"NEWLINE_DELIMITED_JSON\",\"createDisposition\":\"CREATE_IF_NEEDED\",\"writeDisposition\":\"WRITE_EMPTY\"}}}",
    );
    body
}

/// Where a dataset is, and how long a table of it lives, where that is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) location: String,
    pub(super) expiration_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Located<'a> {
    #[serde(borrow)]
    location: LooseText<'a>,
    #[serde(borrow, default)]
    default_table_expiration_ms: LooseText<'a>,
}

/// A dataset.
pub(super) fn described(body: &[u8]) -> Result<Described, String> {
    let found: Located<'_> = read(body, "a dataset")?;
    let location = found.location.into_owned().ok_or("the answer does not say where the dataset is")?;
    let expiration = found.default_table_expiration_ms.into_owned().map(|text| text.parse::<u64>());
    let expiration_ms =
        expiration.transpose().map_err(|_| "the answer does not say how long tables of the dataset live")?;
    Ok(Described { location, expiration_ms })
}

/// What has come of a load.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Load {
    Running,
    Loaded(u64),
    Failed(Failure),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job<'a> {
    #[serde(borrow)]
    status: Status<'a>,
    #[serde(default)]
    statistics: Statistics,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow, default)]
    state: LooseText<'a>,
    #[serde(borrow, default)]
    error_result: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    reason: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
}

#[derive(Default, Deserialize)]
struct Statistics {
    #[serde(default)]
    load: Loaded,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Loaded {
    #[serde(default)]
    output_rows: Count,
}

/// A job that loads a table; one that failed has ended as well.
pub(super) fn load(body: &[u8]) -> Result<Load, String> {
    let job: Job<'_> = read(body, "a job that loads a table")?;
    if job.status.state.as_deref() != Some("DONE") {
        return Ok(Load::Running);
    }
    let Some(said) = job.status.error_result else {
        let rows = job.statistics.load.output_rows.or(None);
        return rows
            .map(Load::Loaded)
            .ok_or_else(|| "the load does not say how many rows it brought".to_owned());
    };
    let reason = said.reason.into_owned().unwrap_or_default();
    Ok(Load::Failed(Failure {
        class: class_of(&reason).unwrap_or(FailureClass::RefusedByProvider),
        message: format!("the table was not loaded: {}", said.message.as_deref().unwrap_or(&reason)),
        provider_code: Some(reason).filter(|reason| !reason.is_empty()),
        wait_ms: None,
        maybe_paid: false,
    }))
}

/// What a reason means, of those that say more than the status beside them.
fn class_of(reason: &str) -> Option<FailureClass> {
    Some(match reason {
        "rateLimitExceeded" | "jobRateLimitExceeded" | "quotaExceeded" => FailureClass::RateLimited,
        "billingNotEnabled" => FailureClass::Billing,
        "accessDenied" | "notFound" => FailureClass::Auth,
        "backendError" | "internalError" | "jobBackendError" | "jobInternalError" | "resourcesExceeded"
        | "stopped" | "tableUnavailable" | "timeout" => FailureClass::Transient,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    error: Inner<'a>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    errors: Vec<Said<'a>>,
}

/// What an error of BigQuery means. Quotas are a 403 there, and what is not there is a matter of the account, and of no model.
pub(in crate::vertex) fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    let failure = refused(reply, now_unix_s);
    let said = serde_json::from_slice::<Outer<'_>>(&reply.body).ok();
    let reason = said.and_then(|said| said.error.errors.into_iter().next()?.reason.0);
    let class = reason.as_deref().filter(|_| reply.status < 500).and_then(class_of);
    match (class, reason) {
        (Some(class), Some(reason)) => {
            let is_dataset = reply.status == 404 && failure.message.contains("Dataset");
            let code = if is_dataset { NO_DATASET.to_owned() } else { reason.into_owned() };
            Failure { class, provider_code: Some(code), ..failure }
        }
        _ => failure,
    }
}

/// Whether an error says that there is no such table: it may be the dataset or the project that is not there.
pub(super) fn says_no_table(body: &[u8]) -> bool {
    errors::read(body).is_some_and(|said| said.message.contains("Not found: Table"))
}

#[derive(Deserialize)]
struct Schemed<'a> {
    #[serde(borrow)]
    schema: Schema<'a>,
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    fields: Vec<Field<'a>>,
}

#[derive(Deserialize)]
struct Field<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    mode: LooseText<'a>,
}

impl Field<'_> {
    /// Whether each cell is one text, or none.
    fn is_text(&self) -> bool {
        matches!(self.kind.as_deref(), Some("STRING" | "JSON"))
            && matches!(self.mode.as_deref(), None | Some("NULLABLE" | "REQUIRED"))
    }
}

/// Columns that a line is made of, and whether what they hold is JSON.
const LINE: [(&str, bool); 5] =
    [("custom_id", false), ("status", false), ("request", true), ("response", true), (ERROR, true)];
/// That of open models, of which no page tells the type.
const ERROR: &str = "error";

/// Where they stand in a row of those of them that the table has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    at: [Option<usize>; 5],
    /// Their names in the table's order, with commas.
    selected: String,
}

impl Columns {
    /// Those of a table of results.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let table: Schemed<'_> = read(body, "a table")?;
        let is_read = |field: &&Field<'_>| {
            LINE.iter().any(|(name, _)| field.name == *name) && (field.name != ERROR || field.is_text())
        };
        let fields: Vec<&Field<'_>> = table.schema.fields.iter().filter(is_read).collect();
        if let Some(odd) = fields.iter().find(|field| !field.is_text()) {
            return Err(format!("the column `{}` of the table holds no texts", odd.name));
        }
        let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
        let at = LINE.map(|(name, _)| names.iter().position(|field| *field == name));
        match at {
            [_, _, _, Some(_), _] => Ok(Self { at, selected: names.join(",") }),
            _ => Err("the table has no column `response`".to_owned()),
        }
    }

    /// What is asked for of each row.
    pub(super) fn selected(&self) -> &str {
        &self.selected
    }

    /// Appends a row as a line of results. What should be JSON and is not stands there as text: it is read as no answer.
    pub(super) fn write(&self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(b'{');
        let mut first = true;
        for ((name, is_json), at) in LINE.into_iter().zip(self.at) {
            let Some(at) = at else { continue };
            let cell = row.cells.get(at).ok_or("a row is shorter than its table's columns")?;
            let Some(text) = cell.value.as_deref().filter(|text| !text.is_empty()) else { continue };
            out.extend_from_slice(if first { b"\"" } else { b",\"" });
            first = false;
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            if is_json && serde_json::from_str::<&RawValue>(text).is_ok() {
                write_on_one_line(text, out);
            } else {
                write_json_text(text, out);
            }
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// One page of a table.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) rows: Vec<Row<'a>>,
    pub(super) next: Option<String>,
    /// Of the whole table.
    pub(super) total: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow, rename = "f")]
    cells: Vec<Cell<'a>>,
}

/// A text or null; anything else makes the page one that cannot be read, and no cell that is empty.
#[derive(Debug, Deserialize)]
struct Cell<'a> {
    #[serde(borrow, rename = "v", deserialize_with = "text_or_null")]
    value: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text_or_null<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(from)?.map(|text| text.0))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    rows: Vec<Row<'a>>,
    #[serde(borrow, default)]
    page_token: LooseText<'a>,
    #[serde(default)]
    total_rows: Count,
}

impl<'a> Rows<'a> {
    /// A page says how many rows there are: what is whole, and that a batch has written nothing, is concluded from it.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, String> {
        let page: Page<'a> = read(body, "a page of a table")?;
        let total = page.total_rows.or(None).ok_or("the answer is not a page of a table")?;
        Ok(Self { rows: page.rows, next: page.page_token.into_owned(), total })
    }
}
