//! A batch as Gemini shows it: a long-running operation, in whose metadata its state stands. Numbers are texts, zeros are left out.

use super::store::{Shown, Status};
use super::validate::validate;
use super::words::Words;
use super::{Batch, Order};
use crate::api::Endpoint;
use crate::clock::instant;
use crate::errors::{ApiError, invalid};
use crate::files::{self, Content, File};
use crate::server::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a batch of these calls is called.
fn type_of(endpoint: Endpoint) -> String {
    let name = if endpoint == Endpoint::Embed { "EmbedContentBatch" } else { "GenerateContentBatch" };
    format!("type.googleapis.com/google.ai.generativelanguage.v1main.{name}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    batch: Wanted,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    #[serde(alias = "display_name")]
    display_name: Option<String>,
    #[serde(alias = "input_config")]
    input_config: Input,
    #[serde(rename = "priority")]
    _priority: Option<Value>,
    #[serde(rename = "model")]
    _model: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    #[serde(alias = "file_name")]
    file_name: String,
}

/// What a create asks for. The model is that of its path, whatever lines say.
pub(super) fn order(state: &State, endpoint: Endpoint, model: &str, body: &[u8]) -> Result<Order, ApiError> {
    let bad = |why: String| invalid(format!("Invalid JSON payload received. {why}"));
    let Create { batch } = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    state.models.find(model)?;
    let id = batch.input_config.file_name.strip_prefix("files/").unwrap_or(&batch.input_config.file_name);
    let input = state.files.get(id).ok_or_else(|| files::forbidden(id))?;
    let held = room(state, endpoint, model, &input)?;
    let mut metadata = Map::new();
    if let Some(name) = batch.display_name {
        metadata.insert("displayName".to_owned(), name.into());
    }
    Ok(Order { held, ..Order::of_job(endpoint, model, input, metadata) })
}

/// Takes the room that so many tokens of the model need, where it is limited. A file that cannot be read is refused later.
fn room(
    state: &State,
    endpoint: Endpoint,
    model: &str,
    input: &File,
) -> Result<Option<(usize, u64)>, ApiError> {
    let (Some(limit), Content::Stored(bytes)) = (state.config.enqueued_tokens, &input.content) else {
        return Ok(None);
    };
    match validate(&state.models, (endpoint, Words::Gemini), "", Some(model), (bytes, None)) {
        Ok(plan) if state.batches.enqueue(plan.model, plan.tokens, Some(limit)) => {
            Ok(Some((plan.model, plan.tokens)))
        }
        Ok(_) => Err(ApiError::new(429, "RESOURCE_EXHAUSTED", Some("rate_limit_exceeded"), "")),
        Err(_) => Ok(None),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Validating => "PENDING",
        Status::InProgress | Status::Finalizing | Status::Cancelling => "RUNNING",
        Status::Completed => "SUCCEEDED",
        Status::Failed => "FAILED",
        Status::Expired => "EXPIRED",
        Status::Cancelled => "CANCELLED",
    }
}

impl Batch {
    /// The operation. `poll` is a look at this batch alone, which some faults count.
    pub(super) fn operation(&self, state: &State, poll: bool) -> Value {
        let mut life = self.life();
        let Shown { status, unknown, output, .. } = self.shown(&mut life, state, poll);
        let done = life.done(state.clock.now_ms());
        let name = format!("batches/{}", self.id);
        let mut metadata = json!({
            "@type": type_of(self.endpoint), "name": name, "model": format!("models/{}", self.named.as_deref().unwrap_or_default()),
            "state": format!("BATCH_STATE_{}", if unknown { "PAUSED" } else { word(status) }), "priority": "0",
            "createTime": instant(self.created_ms), "updateTime": instant(state.clock.now_ms()),
            "inputConfig": {"fileName": format!("files/{}", self.input_file_id)},
        });
        if let Some(display) = self.metadata.as_ref().and_then(|fields| fields.get("displayName")) {
            metadata["displayName"] = display.clone();
        }
        let stats = [
            ("requestCount", life.total),
            ("successfulRequestCount", done),
            ("failedRequestCount", life.failed),
            ("pendingRequestCount", life.total.saturating_sub(done + life.failed)),
        ];
        let stats: Map<String, Value> = stats
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| (name.to_owned(), n.to_string().into()))
            .collect();
        metadata["batchStats"] = stats.into();
        let ended =
            matches!(status, Status::Completed | Status::Failed | Status::Expired | Status::Cancelled);
        let at = [life.completed_at, life.failed_at, life.expired_at, life.cancelled_at];
        if let Some(at) = at.into_iter().flatten().next().filter(|_| ended) {
            metadata["endTime"] = instant(at * 1_000).into();
        }
        let mut operation = json!({"name": name});
        if let Some(file) = output.filter(|_| ended) {
            let file = if file.is_empty() { file } else { format!("files/{file}") };
            metadata["output"] = json!({"responsesFile": file});
            operation["response"] =
                json!({"@type": format!("{}Output", type_of(self.endpoint)), "responsesFile": file});
        }
        operation["metadata"] = metadata;
        if ended {
            operation["done"] = true.into();
        }
        let refused = life.errors.as_ref().and_then(|errors| errors.pointer("/data/0/message"));
        match status {
            Status::Failed => operation["error"] = json!({"code": 3, "message": refused}),
            Status::Cancelled => {
                operation["error"] = json!({"code": 1, "message": "The operation was cancelled."});
            }
            _ => {}
        }
        operation
    }
}
