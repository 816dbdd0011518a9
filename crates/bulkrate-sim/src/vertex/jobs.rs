//! Batch prediction jobs: from an object of a bucket to a folder of it. Counts are texts and come late.

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
    gcs_source: Source,
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
    gcs_destination: Destination,
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

/// POST batchPredictionJobs. `None`: the connection closes without an answer.
pub(super) fn create(
    state: &Arc<State>,
    (project, location): (&str, &str),
    body: &Bytes,
) -> Result<Option<Reply>, ApiError> {
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if (wanted.input_config.instances_format.as_str(), wanted.output_config.predictions_format.as_str())
        != ("jsonl", "jsonl")
    {
        return Err(invalid("Unsupported format: only jsonl is taken."));
    }
    let path = wanted.model.strip_prefix("publishers/").unwrap_or(&wanted.model);
    let (endpoint, model) = match path.split_once("/models/") {
        Some(("google", model)) => (Endpoint::Generate, model),
        Some(("anthropic", model)) => (Endpoint::Messages, model),
        _ => return Err(invalid(format!("Unsupported model: {}", wanted.model))),
    };
    let endpoint = match state.models.find(model)?.0.kind {
        Kind::Embedding => Endpoint::Embed,
        _ => endpoint,
    };
    let [source] = wanted.input_config.gcs_source.uris.as_slice() else {
        return Err(invalid("One input is taken."));
    };
    let source = object(source)?;
    let prefix = &wanted.output_config.gcs_destination.output_uri_prefix;
    let place = object(prefix)?.trim_end_matches('/').to_owned();
    // Whether it is there is found out when it is read.
    let input = state.files.get(source).unwrap_or_else(|| {
        Arc::new(File {
            id: source.to_owned(),
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
        ("prefix".to_owned(), prefix.clone().into()),
        ("scope".to_owned(), format!("projects/{project}/locations/{location}").into()),
    ]);
    batches::carry_out(
        state,
        Order {
            endpoint,
            named: Some(model.to_owned()),
            url: endpoint.path().to_owned(),
            input,
            metadata: Some(metadata),
            output_secs: None,
            held: None,
            place: Some(place),
        },
    )
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
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [format!("gs://{}", batch.input_file_id)]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": field("prefix")}},
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
        job["outputInfo"] = json!({"gcsOutputDirectory": directory});
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
            let message = format!("Failed to import data from gs://{}. {why}", batch.input_file_id);
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
