//! Batch prediction jobs: from an object of a bucket to a folder of it, or from a table to another. Counts are texts and come late.

use super::tables::{self, SCHEME as TABLE};
use crate::api::Endpoint;
use crate::batches::{self, Batch, Listing, Order, Shown, Status};
use crate::catalogue::Kind;
use crate::clock::instant;
use crate::errors::{ApiError, invalid};
use crate::files::{Content, File};
use crate::server::{Reply, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The version that Claude's bodies name.
const CLAUDE: &str = "vertex-2023-10-16";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    display_name: String,
    model: String,
    input_config: InputConfig,
    output_config: OutputConfig,
    #[serde(default)]
    labels: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InputConfig {
    instances_format: String,
    gcs_source: Option<Source>,
    bigquery_source: Option<TableSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TableSource {
    input_uri: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    uris: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutputConfig {
    predictions_format: String,
    gcs_destination: Option<Destination>,
    bigquery_destination: Option<TableDestination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TableDestination {
    output_uri: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Destination {
    output_uri_prefix: String,
}

/// A request to Claude in the words of its own API: the path names the model, and the body the version.
pub(crate) fn claude_body(body: &[u8], model: &str) -> Result<Bytes, ApiError> {
    let mut fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if fields.contains_key("model") {
        return Err(invalid("model: Extra inputs are not permitted"));
    }
    match fields.remove("anthropic_version") {
        Some(version) if version == CLAUDE => {}
        Some(version) => return Err(invalid(format!("anthropic_version: {version} is not a valid version"))),
        None => return Err(invalid("anthropic_version: Field required")),
    }
    fields.insert("model".to_owned(), model.into());
    Ok(Bytes::from(serde_json::to_vec(&fields).unwrap_or_default()))
}

/// `bucket/object` of an address.
fn object(address: &str) -> Result<&str, ApiError> {
    address
        .strip_prefix("gs://")
        .filter(|object| object.contains('/'))
        .ok_or_else(|| invalid(format!("Invalid Google Cloud Storage URI: {address}")))
}

/// What a job reads, and where it writes.
struct Ends {
    /// As a file's id.
    source: String,
    input: Option<Arc<File>>,
    place: String,
    /// As it was asked for.
    prefix: String,
}

impl Ends {
    fn of(state: &State, wanted: &Wanted) -> Result<Self, ApiError> {
        let (from, to) = (&wanted.input_config, &wanted.output_config);
        match (from.instances_format.as_str(), to.predictions_format.as_str()) {
            ("jsonl", "jsonl") => {
                let uris = from.gcs_source.as_ref().map(|source| source.uris.as_slice());
                let (Some([source]), Some(destination)) = (uris, &to.gcs_destination) else {
                    return Err(invalid("One input and one destination in Cloud Storage are taken."));
                };
                let (source, prefix) = (object(source)?.to_owned(), destination.output_uri_prefix.clone());
                let place = object(&prefix)?.trim_end_matches('/').to_owned();
                Ok(Self { input: state.files.get(&source), source, place, prefix })
            }
            ("bigquery", "bigquery") => {
                let (Some(source), Some(destination)) = (&from.bigquery_source, &to.bigquery_destination)
                else {
                    return Err(invalid("One input and one destination in BigQuery are taken."));
                };
                let (source, prefix) = (source.input_uri.clone(), destination.output_uri.clone());
                let (input, place) = tables::ends(state, &source, &prefix).map_err(invalid)?;
                Ok(Self { source, input, place, prefix })
            }
            _ => Err(invalid("Unsupported format: only jsonl to jsonl and bigquery to bigquery are taken.")),
        }
    }
}

/// POST batchPredictionJobs. `None`: the connection closes without an answer.
pub(super) fn create(
    state: &Arc<State>,
    (project, location): (&str, &str),
    body: &Bytes,
) -> Result<Option<Reply>, ApiError> {
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    let path = wanted.model.strip_prefix("publishers/").unwrap_or(&wanted.model);
    let (endpoint, model) = match path.split_once("/models/") {
        Some(("google", model)) => (Endpoint::Generate, Cow::Borrowed(model)),
        Some(("anthropic", model)) => (Endpoint::Messages, Cow::Borrowed(model)),
        Some(_) if location == "global" => {
            return Err(invalid("The global endpoint for open models isn't supported."));
        }
        Some((publisher, model)) => (Endpoint::Chat, Cow::Owned(format!("{publisher}/{model}"))),
        None => return Err(invalid(format!("Unsupported model: {}", wanted.model))),
    };
    let model = &*model;
    let endpoint = match state.models.find(model)?.0.kind {
        Kind::Embedding => Endpoint::Embed,
        _ => endpoint,
    };
    let Ends { source, input, place, prefix } = Ends::of(state, &wanted)?;
    if place.starts_with(TABLE) && endpoint == Endpoint::Embed {
        return Err(invalid(format!("BigQuery is not supported for {model}.")));
    }
    // Whether it is there is found out when it is read.
    let input = input.unwrap_or_else(|| {
        Arc::new(File {
            id: source.clone(),
            bytes: 0,
            created_at: state.clock.now(),
            expires_at: None,
            filename: String::new(),
            purpose: String::new(),
            content: Content::Stored(Bytes::new()),
        })
    });
    let metadata = Map::from_iter([
        ("displayName".to_owned(), wanted.display_name.into()),
        ("model".to_owned(), wanted.model.clone().into()),
        ("labels".to_owned(), wanted.labels.into()),
        ("prefix".to_owned(), prefix.into()),
        ("scope".to_owned(), format!("projects/{project}/locations/{location}").into()),
    ]);
    let job = Order::of_job(endpoint, model, input, metadata);
    batches::carry_out(state, Order { place: Some(place), ..job })
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Validating => "PENDING",
        Status::InProgress | Status::Finalizing => "RUNNING",
        Status::Cancelling => "CANCELLING",
        Status::Completed => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::Expired => "EXPIRED",
        Status::Cancelled => "CANCELLED",
    }
}

/// An input's address, by its id.
fn address(input: &str) -> String {
    if input.starts_with(TABLE) { input.to_owned() } else { format!("gs://{input}") }
}

fn input_config(input: &str) -> Value {
    let address = address(input);
    match input.starts_with(TABLE) {
        true => json!({"instancesFormat": "bigquery", "bigquerySource": {"inputUri": address}}),
        false => json!({"instancesFormat": "jsonl", "gcsSource": {"uris": [address]}}),
    }
}

fn output_config(prefix: &Value) -> Value {
    match prefix.as_str().is_some_and(|prefix| prefix.starts_with(TABLE)) {
        true => json!({"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": prefix}}),
        false => json!({"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": prefix}}),
    }
}

/// The job. `poll` is a look at this one alone, which some faults count.
pub(crate) fn view(batch: &Batch, state: &State, poll: bool) -> Value {
    let mut life = batch.life();
    let Shown { status, unknown, output, .. } = batch.shown(&mut life, state, poll);
    let fields = batch.metadata.clone().unwrap_or_default();
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let scope = field("scope").as_str().unwrap_or("projects/other/locations/us-central1").to_owned();
    let ended = matches!(status, Status::Completed | Status::Failed | Status::Expired | Status::Cancelled);
    let mut job = json!({
        "name": format!("{scope}/batchPredictionJobs/{}", batch.id), "displayName": field("displayName"), "model": field("model"),
        "inputConfig": input_config(&batch.input_file_id), "outputConfig": output_config(&field("prefix")),
        "state": format!("JOB_STATE_{}", if unknown { "PAUSED" } else { word(status) }),
        "createTime": instant(batch.created_ms), "updateTime": instant(state.clock.now_ms()), "labels": field("labels"),
    });
    if let Some(start) = life.in_progress_at {
        job["startTime"] = instant(start * 1_000).into();
    }
    let ends = [life.completed_at, life.failed_at, life.cancelled_at];
    if let Some(at) = ends.into_iter().flatten().next().filter(|_| ended) {
        job["endTime"] = instant(at * 1_000).into();
    }
    if let Some(directory) = output.filter(|_| ended) {
        job["outputInfo"] = match directory.starts_with(TABLE) {
            true => tables::made(&directory),
            false => json!({"gcsOutputDirectory": directory}),
        };
    }
    if ended && status != Status::Failed {
        let rest = life.total.saturating_sub(life.completed + life.failed);
        let counts =
            [("successfulCount", life.completed), ("failedCount", life.failed), ("incompleteCount", rest)];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        job["completionStats"] =
            Map::from_iter(counts.map(|(name, count)| (name.to_owned(), count.to_string().into()))).into();
    }
    let refused =
        life.errors.as_ref().and_then(|errors| errors.pointer("/data/0/message")).and_then(Value::as_str);
    match status {
        Status::Failed => {
            let why = refused.unwrap_or_default();
            let message = format!("Failed to import data from {}. {why}", address(&batch.input_file_id));
            job["error"] = json!({"code": 3, "message": message});
        }
        Status::Cancelled => job["error"] = json!({"code": 1, "message": "CANCELED"}),
        _ => {}
    }
    job
}

fn find(state: &State, id: &str) -> Result<Arc<Batch>, ApiError> {
    batches::find(state, id).map_err(|_| ApiError::not_found("The BatchPredictionJob does not exist."))
}

pub(super) fn get(state: &State, id: &str) -> Result<Reply, ApiError> {
    find(state, id)?;
    batches::retrieve(state, id)
}

pub(super) fn cancel(state: &State, id: &str) -> Result<Reply, ApiError> {
    find(state, id)?;
    batches::cancel(state, id)?;
    Ok(Reply::of(&json!({})))
}

/// One that runs is not deleted.
pub(super) fn delete(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    let status = batch.life().status;
    if !matches!(status, Status::Completed | Status::Failed | Status::Expired | Status::Cancelled) {
        return Err(invalid("The BatchPredictionJob is not in a terminal state."));
    }
    batches::forget(state, id)?;
    Ok(Reply::of(&json!({"name": format!("operations/{id}"), "done": true, "response": {}})))
}

/// GET batchPredictionJobs, newest first; a token is the number of those before.
pub(super) fn list(state: &State, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (size, before) = (number("pageSize").unwrap_or(50).clamp(1, 100), number("pageToken"));
    let listing = Listing::of(state, before.is_some())?;
    let mut found = state.batches.visible(&state.clock, listing.lag_ms);
    found.reverse();
    let mut jobs: Vec<Value> = found.iter().map(|batch| view(batch, state, false)).collect();
    if let Some(filter) = query.get("filter") {
        let wanted = filter.split(" AND ").map(condition).collect::<Result<Vec<_>, _>>()?;
        jobs.retain(|job| wanted.iter().all(|wanted| wanted.holds(job)));
    }
    let start = before.filter(|_| !listing.repeats).unwrap_or(0) + usize::from(listing.skips);
    let page: Vec<Value> = jobs.iter().skip(start).take(size).cloned().collect();
    let mut body = json!({});
    if start + page.len() < jobs.len() {
        body["nextPageToken"] = (start + page.len()).to_string().into();
    }
    if !page.is_empty() {
        body["batchPredictionJobs"] = page.into();
    }
    Ok(Reply::of(&body))
}

/// One condition of a filter.
enum Condition {
    /// What is at a path is this text.
    Is(String, String),
    CreatedAfter(jiff::Timestamp),
}

impl Condition {
    fn holds(&self, job: &Value) -> bool {
        match self {
            Self::Is(path, value) => job.pointer(path).is_some_and(|field| field == value),
            Self::CreatedAfter(then) => {
                let created = job["createTime"].as_str().and_then(|text| text.parse().ok());
                created.is_some_and(|created: jiff::Timestamp| created > *then)
            }
        }
    }
}

fn condition(text: &str) -> Result<Condition, ApiError> {
    if let Some(then) = text.strip_prefix("create_time>") {
        let then = then.trim().strip_prefix('"').and_then(|then| then.strip_suffix('"')?.parse().ok());
        return then.map(Condition::CreatedAfter).ok_or_else(|| invalid(format!("Invalid filter: {text}")));
    }
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let value = value.trim().trim_matches('"').to_owned();
    let path = match name.trim() {
        "display_name" => "/displayName".to_owned(),
        "state" => "/state".to_owned(),
        name => match name.strip_prefix("labels.") {
            Some(label) => format!("/labels/{label}"),
            None => return Err(invalid(format!("Invalid filter: {text}"))),
        },
    };
    Ok(Condition::Is(path, value))
}
