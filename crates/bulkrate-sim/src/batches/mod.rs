//! Batches: create, look, list, cancel. A task per batch moves it through its states in virtual time.

pub(crate) mod lines;
mod operation;
mod run;
pub(crate) mod spoil;
mod store;
mod validate;
pub(crate) mod words;

use crate::api::Endpoint;
use crate::config::Speaks;
use crate::errors::ApiError;
use crate::faults::{Fault, Place};
use crate::files::{File, page_size};
use crate::like::Manners;
use crate::server::{Reply, State};
pub(crate) use run::{pace, scaled};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
pub(crate) use store::{Batch, Batches, Shown, Status};

const METADATA_PAIRS_MAX: usize = 16;

/// A create request that passed every check.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Where the caller chooses it.
    pub(crate) id: Option<String>,
    pub(crate) endpoint: Endpoint,
    /// The model of all lines, where none names it.
    pub(crate) named: Option<String>,
    /// The endpoint as the create names it.
    pub(crate) url: String,
    pub(crate) input: Arc<File>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) output_secs: Option<u64>,
    /// Model and tokens that are counted as waiting from the create on.
    pub(crate) held: Option<(usize, u64)>,
    /// The folder of a bucket that results go to.
    pub(crate) place: Option<String>,
}

impl Order {
    /// Of a job of one model, which is shown with the fields of its create.
    pub(crate) fn of_job(
        endpoint: Endpoint,
        model: &str,
        input: Arc<File>,
        fields: Map<String, Value>,
    ) -> Self {
        Self {
            id: None,
            endpoint,
            named: Some(model.to_owned()),
            url: endpoint.path().to_owned(),
            input,
            metadata: Some(fields),
            output_secs: None,
            held: None,
            place: None,
        }
    }
}

/// POST /v1/batches. `None`: the connection closes without an answer.
pub(crate) fn create(
    state: &Arc<State>,
    body: &[u8],
    query: &HashMap<String, String>,
) -> Result<Option<Reply>, ApiError> {
    carry_out(state, order(state, body, query)?)
}

/// POST /v1beta/models/{model}:batchGenerateContent and :asyncBatchEmbedContent
pub(crate) fn create_of(
    state: &Arc<State>,
    endpoint: Endpoint,
    model: &str,
    body: &[u8],
) -> Result<Option<Reply>, ApiError> {
    carry_out(state, operation::order(state, endpoint, model, body)?)
}

pub(crate) fn carry_out(state: &Arc<State>, order: Order) -> Result<Option<Reply>, ApiError> {
    if let Some(wait) = state.batches.too_many(&state.clock, state.config.batches_per_hour) {
        let mut error = ApiError::new(
            429,
            "rate_limit_error",
            Some("rate_limit_exceeded"),
            "Rate limit reached for batch creations per hour.",
        );
        error.retry_after = Some(wait);
        return Err(error);
    }
    if state.faults.hit(Fault::CreateLate, Place::Create) {
        state.spawn_late(|state| {
            // Unless its input file is gone by then.
            if state.files.get(&order.input.id).is_some() {
                start(state, order);
            }
        });
        return Ok(None);
    }
    Ok(made(state, || start(state, order.clone()), |batch| batch.wire(state, false)))
}

/// What a create in time makes and answers, whosever batches they are. `None`: the connection closes without an answer.
pub(crate) fn made<B>(state: &State, start: impl Fn() -> B, view: impl FnOnce(&B) -> Value) -> Option<Reply> {
    let hit = |fault| state.faults.hit(fault, Place::Create);
    let twins = hit(Fault::MarkerTwice);
    if twins || hit(Fault::Twice) {
        start();
    }
    let batch = start();
    if twins || hit(Fault::CreateLost) {
        return None;
    }
    if hit(Fault::Create5xx) {
        return Some(Reply::html(502, "Bad Gateway"));
    }
    let mut view = view(&batch);
    if hit(Fault::CreateNoId) {
        for name in ["id", "name", "jobArn"] {
            view.as_object_mut().map(|fields| fields.remove(name));
        }
    }
    Some(Reply::of(&view))
}

pub(crate) fn start(state: &Arc<State>, order: Order) -> Arc<Batch> {
    // A name that is taken makes nothing new.
    if let Some(known) = order.id.as_deref().and_then(|id| state.batches.get(id)) {
        return known;
    }
    if state.faults.has(Fault::Foreign) {
        state.batches.add_foreign(state, order.endpoint);
    }
    let batch = state.batches.add(state, &order);
    let (owner, task) = (state.clone(), batch.clone());
    state.spawn(async move {
        run::drive(&owner, &task, &order.input).await;
        if let Some((model, tokens)) = order.held {
            owner.batches.release(model, tokens);
        }
    });
    batch
}

fn order(state: &State, body: &[u8], query: &HashMap<String, String>) -> Result<Order, ApiError> {
    let raw = body;
    let body: Value = serde_json::from_slice(raw).map_err(|error| crate::errors::from_parse(&error))?;
    let body = match state.manners() {
        Some(manners) => manners.create(manners.stage(state, raw, body)?, query)?,
        None => body,
    };
    let id = body["id"].as_str().map(str::to_owned);
    if let Some(id) = id.as_deref().filter(|id| state.batches.get(id).is_some()) {
        return Err(ApiError::taken(id));
    }
    let file_id = text(&body, "input_file_id")?;
    let endpoint = text(&body, "endpoint")?;
    let window = text(&body, "completion_window")?;
    let url = endpoint.to_owned();
    let with_version = format!("/v1{endpoint}");
    let endpoint = Endpoint::from_path(endpoint)
        .or_else(|| {
            Endpoint::from_path(&with_version).filter(|_| state.manners().is_some_and(Manners::deploys))
        })
        .ok_or_else(|| unsupported("endpoint", endpoint, &Endpoint::ALL.map(Endpoint::path)))?;
    if window != "24h" {
        return Err(unsupported("completion_window", window, &["24h"]));
    }
    let metadata = metadata(&body)?;
    let output_secs = body.pointer("/output_expires_after/seconds").and_then(Value::as_u64);
    let input = state.files.get(file_id).ok_or_else(|| {
        let message = format!("Cannot find file {file_id}, or project proj_sim does not have access to it.");
        ApiError::invalid(Some("invalid_request"), "file_id", message)
    })?;
    if input.purpose != "batch" {
        let message = format!(
            "Invalid file purpose: '{}'. The input file of a batch must have purpose 'batch'.",
            input.purpose
        );
        return Err(ApiError::invalid(Some("invalid_value"), "input_file_id", message));
    }
    let age_secs = state.clock.now().saturating_sub(input.created_at);
    if let Some(error) = state.manners().and_then(|manners| manners.refuses_file(file_id, age_secs)) {
        return Err(error);
    }
    let input = state.manners().map_or(input.clone(), |manners| manners.input(input, &body));
    Ok(Order { id, endpoint, named: None, url, input, metadata, output_secs, held: None, place: None })
}

fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Err(ApiError::missing(name)),
        Some(value) => value.as_str().ok_or_else(|| ApiError::bad_type(name, "a string", &value.to_string())),
    }
}

fn unsupported(param: &str, value: &str, allowed: &[&str]) -> ApiError {
    let allowed = allowed.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
    ApiError::invalid(
        Some("invalid_value"),
        param,
        format!("Invalid value: '{value}'. Supported values are: {allowed}."),
    )
}

fn metadata(body: &Value) -> Result<Option<Map<String, Value>>, ApiError> {
    let map = match body.get("metadata") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(ApiError::bad_type("metadata", "an object", &other.to_string())),
    };
    if map.len() > METADATA_PAIRS_MAX {
        let message = format!(
            "Invalid 'metadata': too many properties. Expected at most {METADATA_PAIRS_MAX}, but got {}.",
            map.len()
        );
        return Err(ApiError::invalid(Some("object_above_max_properties"), "metadata", message));
    }
    for (key, value) in map {
        let param = format!("metadata.{key}");
        let Some(value) = value.as_str() else {
            return Err(ApiError::bad_type(&param, "a string", &value.to_string()));
        };
        if key.chars().count() > 64 || value.chars().count() > 512 {
            return Err(ApiError::invalid(
                Some("string_above_max_length"),
                &param,
                format!("Invalid '{param}': string too long."),
            ));
        }
    }
    Ok(Some(map.clone()))
}

impl Batch {
    /// As the service shows it.
    fn wire(&self, state: &State, poll: bool) -> Value {
        if self.place.is_some() || state.config.speaks == Speaks::Vertex {
            crate::vertex::job(self, state, poll)
        } else if self.endpoint.is_googles() {
            self.operation(state, poll)
        } else {
            self.view(state, poll).into()
        }
    }
}

pub(crate) fn find(state: &State, id: &str) -> Result<Arc<Batch>, ApiError> {
    state.batches.get(id).ok_or_else(|| ApiError::not_found(format!("No batch found with id '{id}'.")))
}

/// GET /v1/batches/{id}
pub(crate) fn retrieve(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    if state.faults.hit(Fault::Gone, Place::Poll) {
        return Err(ApiError::not_found(format!("No batch found with id '{id}'.")));
    }
    Ok(Reply::of(&batch.wire(state, true)))
}

/// POST /v1/batches/{id}/cancel
pub(crate) fn cancel(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    batch.ask_cancel(&state.clock).map_err(|status| {
        let message = format!("Cannot cancel a batch with status '{}'.", status.word());
        ApiError::new(409, "invalid_request_error", None, message)
    })?;
    Ok(match batch.endpoint.is_googles() {
        true => Reply::of(&serde_json::json!({})),
        false => Reply::of(&batch.wire(state, false)),
    })
}

/// DELETE /v1beta/batches/{id}: it is stopped, and listed no more.
pub(crate) fn forget(state: &State, id: &str) -> Result<(), ApiError> {
    let batch = find(state, id)?;
    let _ = batch.ask_cancel(&state.clock); // it may have ended
    state.batches.remove(id);
    Ok(())
}

/// How a list is served, whosever batches they are.
pub(crate) struct Listing {
    /// Batches younger than this are not shown.
    pub(crate) lag_ms: u64,
    /// The page is the first once more, whatever was asked for.
    pub(crate) repeats: bool,
    /// The page leaves out its first batch.
    pub(crate) skips: bool,
}

impl Listing {
    /// `goes_on`: a page after another is asked for.
    pub(crate) fn of(state: &State, goes_on: bool) -> Result<Self, ApiError> {
        let hit = |fault| state.faults.hit(fault, Place::List);
        let mut lag = state.config.list_lag_secs;
        if hit(Fault::ListLag) && lag <= 0.0 {
            lag = 120.0;
        }
        // Nothing is ever so old: the list is empty.
        let lag_ms = if hit(Fault::ListEmpty) { u64::MAX } else { crate::clock::ms(lag) };
        let page = state.faults.call(Fault::ListPage, Place::List);
        let page = page.map(|hit| hit.word_or(state.keys.fresh()));
        if page == Some("fails") {
            return Err(ApiError::server());
        }
        let repeats = goes_on && (page == Some("repeats") || hit(Fault::ListRepeat));
        Ok(Self { lag_ms, repeats, skips: page == Some("skips") })
    }
}

/// GET /v1beta/batches, newest first; a token is the number of those before.
pub(crate) fn operations(state: &State, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (size, before) = (number("pageSize").unwrap_or(50).clamp(1, 1_000), number("pageToken"));
    let listing = Listing::of(state, before.is_some())?;
    let mut batches = state.batches.visible(&state.clock, listing.lag_ms);
    batches.reverse();
    let start = before.filter(|_| !listing.repeats).unwrap_or(0) + usize::from(listing.skips);
    let page: Vec<Value> =
        batches.iter().skip(start).take(size).map(|batch| batch.wire(state, false)).collect();
    let mut body = serde_json::json!({});
    if start + page.len() < batches.len() {
        body["nextPageToken"] = (start + page.len()).to_string().into();
    }
    if !page.is_empty() {
        body["operations"] = page.into();
    }
    Ok(Reply::of(&body))
}

/// GET /v1/batches
pub(crate) fn list(state: &State, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let limit = match state.manners().is_some_and(Manners::lists_all) {
        true => usize::MAX,
        false => page_size(query, 20, 100)?,
    };
    let listing = Listing::of(state, query.contains_key("after"))?;
    let mut batches = state.batches.visible(&state.clock, listing.lag_ms);
    batches.reverse();
    let start = match query.get("after").filter(|_| !listing.repeats) {
        Some(after) => batches.iter().position(|batch| batch.id == *after).map_or(batches.len(), |at| at + 1),
        // Only some services count what they pass over.
        None => query
            .get("offset")
            .filter(|_| state.manners().is_some())
            .map_or(0, |text| text.parse().unwrap_or(0)),
    };
    let start = batches.len().min(start + usize::from(listing.skips));
    let page = &batches[start..batches.len().min(start.saturating_add(limit))];
    let data: Vec<Map<String, Value>> = page.iter().map(|batch| batch.view(state, false)).collect();
    Ok(Reply::of(&serde_json::json!({
        "object": "list",
        "data": data,
        "first_id": page.first().map(|batch| &batch.id),
        "last_id": page.last().map(|batch| &batch.id),
        "has_more": start + page.len() < batches.len(),
    })))
}
