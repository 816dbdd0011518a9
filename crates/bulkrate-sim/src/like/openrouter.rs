//! OpenRouter's batches: requests in the create, results in the batch itself once it has ended, and no way to cancel one.

use super::Splice;
use super::manners::{Call, Entered, Manners, Own, said};
use crate::batches;
use crate::batches::Batch;
use crate::errors::{ApiError, invalid};
use crate::faults::{Fault, Place};
use crate::files::{Content, File};
use crate::server::{Reply, State};
use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const BASE: &str = "/api/v1";
const REQUESTS_MAX: usize = 5_000;
const ID_CHARS_MAX: usize = 64;
/// What a provider behind it may take: four days.
const LIFE_SECS: u64 = 4 * 86_400;
/// Fields of a chat that are not OpenAI's.
pub(super) const OWN: &[&str] =
    &["top_k", "min_p", "provider", "models", "transforms", "usage", "reasoning", "plugins"];

#[derive(Debug)]
pub(super) struct OpenRouter;

impl Manners for OpenRouter {
    fn enter(&self, method: &Method, path: &str, _: &HashMap<String, String>) -> Result<Entered, ApiError> {
        let to = |path: String| Ok(Entered { path: Some(path), ..Entered::default() });
        if path.starts_with("/sim/") {
            return to(path.to_owned());
        }
        let Some(rest) = path.strip_prefix(BASE) else { return Ok(Entered::default()) };
        let own = |place, label| Ok(Entered { own: Some(Own { place, label }), ..Entered::default() });
        match (method.as_str(), rest.strip_prefix("/batches/")) {
            ("GET", Some(id)) if !id.contains('/') => own(Place::Poll, "GET /v1/batches/{id}"),
            ("DELETE", Some(id)) if !id.contains('/') => own(Place::Delete, "DELETE /v1/batches/{id}"),
            (_, Some(_)) => Ok(Entered::default()),
            _ if rest == "/batches" || rest.starts_with("/chat/") || rest.starts_with("/models") => {
                to(format!("/v1{rest}"))
            }
            _ => Ok(Entered::default()),
        }
    }

    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        let id = crate::server::decoded(call.path.rsplit('/').next().unwrap_or_default());
        let batch = batches::find(state, &id)?;
        match call.method {
            &Method::DELETE => purge(state, &batch),
            _ => look(state, &batch),
        }
    }

    fn stage(&self, state: &State, raw: &[u8], mut body: Value) -> Result<Value, ApiError> {
        let missing = |name: &str| ApiError::missing(name);
        // It is read while it comes.
        let at = |name: &str| memchr::memmem::find(raw, format!("\"{name}\"").as_bytes());
        for name in ["endpoint", "model"] {
            if at(name) > at("requests") {
                return Err(invalid(format!("`{name}` must appear before `requests`")));
            }
        }
        let model = body["model"].as_str().ok_or_else(|| missing("model"))?.to_owned();
        let Some(Value::Array(requests)) = body.get_mut("requests").map(Value::take) else {
            return Err(missing("requests"));
        };
        let items = requests.len().to_string();
        let lines = lines(requests, &model)?;
        let id = state.keys.id("inline-", 22, false);
        state.files.put(id.clone(), ("input.jsonl", "batch"), state.clock.now(), Bytes::from(lines));
        Ok(json!({
            "endpoint": body["endpoint"], "model": model, "input_file_id": id, "metadata": {"model": model, "items": items},
            "completion_window": body.get("completion_window").cloned().unwrap_or_else(|| json!("24h")),
        }))
    }

    fn input(&self, file: Arc<File>, order: &Value) -> Arc<File> {
        let (endpoint, model) = (order["endpoint"].to_string(), Some(order["model"].to_string()));
        Splice { endpoint, model, renames: &[], drops: OWN }.into_file(file)
    }

    fn leave(&self, _: &State, _: &Entered, reply: Reply) -> Reply {
        let Some(value) = said(&reply) else { return reply };
        let is_batch = |one: &Value| one["object"] == "batch";
        match (value["object"].as_str(), value["data"].as_array()) {
            (Some("batch"), _) => {
                let accepted = reply.with_body(bytes(&shaped(&value)));
                Reply { status: 202, ..accepted }
            }
            (Some("list"), Some(listed)) if listed.iter().all(is_batch) => {
                let mut list = value.clone();
                list["data"] = listed.iter().map(shaped).collect();
                reply.with_body(bytes(&list))
            }
            _ => reply,
        }
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

/// The requests of a create, a line each.
fn lines(requests: Vec<Value>, model: &str) -> Result<Vec<u8>, ApiError> {
    if requests.is_empty() || requests.len() > REQUESTS_MAX {
        return Err(invalid(format!("`requests` must hold from 1 to {REQUESTS_MAX} requests")));
    }
    let (mut lines, mut ids) = (Vec::new(), HashSet::new());
    for mut request in requests {
        let id = request["custom_id"].as_str().unwrap_or_default().to_owned();
        let Some(body) = request["body"].as_object_mut().filter(|_| !id.is_empty()) else {
            return Err(invalid("each request needs a `custom_id` and a `body`"));
        };
        if body.remove("model").is_some_and(|other| other != model) {
            return Err(invalid(format!("the model of request `{id}` is not that of the batch")));
        }
        if id.chars().count() > ID_CHARS_MAX || !ids.insert(id.clone()) {
            return Err(invalid(format!("the `custom_id` `{id}` is too long or not unique")));
        }
        lines.extend_from_slice(request.to_string().as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}

/// GET /batches/{id}
fn look(state: &Arc<State>, batch: &Batch) -> Result<Reply, ApiError> {
    let hit = |fault| state.faults.hit(fault, Place::Poll);
    if hit(Fault::Gone) {
        return Err(ApiError::not_found(format!("Batch {} not found", batch.id)));
    }
    let view = Value::Object(batch.view(state, true));
    let mut shown = shaped(&view);
    if !matches!(view["status"].as_str(), Some("completed" | "expired" | "cancelled")) {
        return Ok(Reply::of(&shown));
    }
    if hit(Fault::Purged) {
        return Err(ApiError::new(410, "invalid_request_error", None, "Batch results were purged"));
    }
    if hit(Fault::Locked) {
        shown["error"] = json!({"code": 402, "message": "Insufficient credits to release the results"});
        return Ok(Reply::bytes(402, bytes(&shown)));
    }
    let run = ["output_file_id", "error_file_id"].into_iter().find_map(|name| {
        let file = state.files.get(view[name].as_str()?)?;
        match &file.content {
            Content::Lines(run, _) => Some(run.clone()),
            Content::Stored(_) | Content::Bare(..) => None,
        }
    });
    let Some(run) = run else { return Ok(Reply::of(&shown)) };
    let mut rows: Vec<u8> = Vec::new();
    for at in 0..run.order.len() {
        run.line_at(state, at, |_, _, text| {
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                if !rows.is_empty() {
                    rows.push(b',');
                }
                rows.extend_from_slice(&row(line));
            }
        });
    }
    // Before the last fields, as the documentation shows it.
    shown.as_object_mut().map(|fields| (fields.remove("results"), fields.remove("error")));
    let mut body = bytes(&shown).to_vec();
    body.pop();
    body.extend_from_slice(b",\"results\":[");
    body.extend_from_slice(&rows);
    body.extend_from_slice(b"],\"error\":null}");
    Ok(Reply::bytes(200, body))
}

/// A line of OpenAI's as a result: it has an answer, or an error without a status.
fn row(line: &[u8]) -> Vec<u8> {
    let Ok(mut said) = serde_json::from_slice::<Value>(line) else { return line.to_vec() };
    let status = said["response"]["status_code"].as_u64();
    let kind = match status {
        Some(200) => {
            let choices = said["response"]["body"]["choices"].as_array_mut();
            for choice in choices.into_iter().flatten() {
                choice["native_finish_reason"] = choice["finish_reason"].clone();
            }
            return said.to_string().into_bytes();
        }
        Some(429) => "rate_limit_exceeded",
        Some(status) if status < 500 => "invalid_request",
        Some(_) => "server",
        None => "timeout",
    };
    let error = match status {
        Some(_) => said["response"]["body"]["error"].take(),
        None => said["error"].take(),
    };
    said["response"] = Value::Null;
    said["error"] = json!({
        "message": error["message"], "type": error["type"].as_str().unwrap_or("server_error"), "param": null,
        "error_type": kind,
    });
    said.to_string().into_bytes()
}

/// DELETE /batches/{id}
fn purge(state: &State, batch: &Batch) -> Result<Reply, ApiError> {
    if !batch.life().status.is_ended() {
        let message = "Only batches in a terminal status can be deleted";
        return Err(ApiError::new(409, "invalid_request_error", None, message));
    }
    state.batches.remove(&batch.id);
    Ok(Reply::of(&json!({
        "id": batch.id, "object": "batch",
        "deletion": {"openrouter": "deleted", "upstream": {"provider": "Simulated", "status": "unsupported"}},
    })))
}

/// A batch of OpenAI's, without its results.
fn shaped(batch: &Value) -> Value {
    let ended = ["completed_at", "failed_at", "expired_at", "cancelled_at"];
    let finalized = ended.into_iter().find_map(|name| batch[name].as_u64());
    let created = batch["created_at"].as_u64().unwrap_or(0);
    let refused = batch["errors"]["data"][0]["message"].as_str();
    let usage = batch["usage"].as_object().map(|usage| {
        let number = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (input, output) = (number("input_tokens"), number("output_tokens"));
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output, "cost": null, "is_byok": false})
    });
    let mut counts = batch["request_counts"].clone();
    // They came with the create: nobody has to read a file for their number.
    if let Some(items) = batch["metadata"]["items"].as_str().and_then(|items| items.parse::<u64>().ok()) {
        counts["total"] = json!(items);
    }
    let mut shown: Map<String, Value> = Map::new();
    // A fault may have taken it.
    if let Some(id) = batch.get("id") {
        shown.insert("id".to_owned(), id.clone());
    }
    for (name, value) in [
        ("object", json!("batch")),
        ("endpoint", batch["endpoint"].clone()),
        ("model", json!(batch["metadata"]["model"].as_str().unwrap_or("openai/somebody-elses"))),
        ("provider", json!("Simulated")),
        ("completion_window", json!("24h")),
        ("status", batch["status"].clone()),
        ("created_at", json!(created)),
        ("expires_at", json!(created + LIFE_SECS)),
        ("finalized_at", json!(finalized)),
        ("request_counts", counts),
        ("usage", json!(usage)),
        ("results", Value::Null),
        ("error", json!(refused.map(|why| json!({"message": why})))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_batch_is_looked_at_and_deleted_and_never_cancelled() {
        let enter = |method: &Method, path: &str| {
            let entered = OpenRouter.enter(method, path, &HashMap::new()).unwrap_or_default();
            (entered.path, entered.own.map(|own| own.label))
        };
        let to = |path: &str| (Some(path.to_owned()), None);
        assert_eq!(enter(&Method::POST, "/api/v1/batches"), to("/v1/batches"));
        assert_eq!(enter(&Method::POST, "/api/v1/chat/completions"), to("/v1/chat/completions"));
        assert_eq!(enter(&Method::GET, "/api/v1/batches/b"), (None, Some("GET /v1/batches/{id}")));
        assert_eq!(enter(&Method::DELETE, "/api/v1/batches/b"), (None, Some("DELETE /v1/batches/{id}")));
        for path in ["/api/v1/batches/b/cancel", "/v1/batches", "/api/v1/files", "/api/v1/embeddings"] {
            assert_eq!(enter(&Method::POST, path), (None, None), "{path}");
        }
    }

    #[test]
    fn requests_are_checked_as_they_come() {
        let one = |id: &str, model: &str| json!({"custom_id": id, "body": {"model": model, "messages": []}});
        let text = String::from_utf8(lines(vec![one("a", "m"), one("b", "m")], "m").unwrap()).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("model"), "{text}");
        let long = "x".repeat(65);
        for bad in [
            vec![],
            vec![one("a", "other")],
            vec![one("a", "m"), one("a", "m")],
            vec![one(&long, "m")],
            vec![json!({"custom_id": "a"})],
        ] {
            assert_eq!(lines(bad.clone(), "m").unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn a_failure_has_no_status_of_its_own() {
        let line = br#"{"id":"r","custom_id":"a","response":{"status_code":429,"request_id":"q","body":{"error":{"message":"slow","type":"requests","code":429}}},"error":null}"#;
        let row: Value = serde_json::from_slice(&row(line)).unwrap();
        assert_eq!(
            (&row["response"], &row["error"]["error_type"]),
            (&Value::Null, &json!("rate_limit_exceeded"))
        );
    }
}
