//! Fireworks' batches: jobs under the account's id and a name of the caller's, from one data set to another. No job is cancelled: it is
//! deleted.

use super::Splice;
use super::manners::{Call, Entered, Manners, Own, said};
use crate::clock::instant;
use crate::errors::ApiError;
use crate::faults::Place;
use crate::files::{self, File, Spoilt, UPLOAD_BYTES_MAX};
use crate::multipart;
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{Method, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const CALLS: &str = "/inference/v1";
/// The one account.
const ACCOUNT: &str = "/v1/accounts/sim/";
/// Where the files of data sets are read, with a signature and without a key.
const STORE: &str = "/gcs/";
/// Of a data set whose lines are not there yet.
const EMPTY: &str = "uploading";
/// What its file is called.
const NAME: &str = "input.jsonl";
/// Virtual seconds until a data set may be read.
const READY_SECS: u64 = 5;
/// Fields of a chat that are not OpenAI's.
pub(super) const OWN: &[&str] = &["top_k", "min_p", "context_length_exceeded_behavior", "prompt_cache_key"];

#[derive(Debug)]
pub(super) struct Fireworks;

impl Manners for Fireworks {
    fn enter(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
    ) -> Result<Entered, ApiError> {
        let to = |path: String| Ok(Entered { path: Some(path), ..Entered::default() });
        if let Some(rest) = path.strip_prefix(CALLS) {
            let there = ["/chat/", "/embeddings", "/models"].iter().any(|part| rest.starts_with(part));
            return if there { to(format!("/v1{rest}")) } else { Ok(Entered::default()) };
        }
        if path.starts_with("/sim/") {
            return to(path.to_owned());
        }
        let own = |place, label| Ok(Entered { own: Some(Own { place, label }), ..Entered::default() });
        if method == Method::GET && path.starts_with(STORE) {
            let own = Some(Own { place: Place::Content, label: "GET of a signed URL" });
            return Ok(Entered { own, is_open: true, ..Entered::default() });
        }
        let rest = path.strip_prefix(ACCOUNT).unwrap_or_default();
        match (method.as_str(), rest.split_once('/').unwrap_or((rest, ""))) {
            ("GET", _) if path == "/v1/accounts" => own(Place::Models, "GET /v1/accounts"),
            ("POST", ("datasets", "")) => own(Place::Upload, "POST datasets"),
            ("POST", ("datasets", id)) if id.ends_with(":upload") => {
                own(Place::Upload, "POST datasets/{id}:upload")
            }
            ("GET", ("datasets", id)) if id.ends_with(":getDownloadEndpoint") => {
                own(Place::Content, "GET datasets/{id}:getDownloadEndpoint")
            }
            ("GET", ("datasets", _)) => own(Place::Upload, "GET datasets/{id}"),
            ("DELETE", ("datasets", _)) => own(Place::Delete, "DELETE datasets/{id}"),
            ("DELETE", ("batchInferenceJobs", id)) => {
                to(format!("/v1/batches/{id}/cancel")).map(|entered| Entered { is_post: true, ..entered })
            }
            (_, ("batchInferenceJobs", "")) => {
                let number = |name: &str| query.get(name).filter(|text| !text.is_empty()).cloned();
                let mut own = query.clone();
                own.insert("limit".to_owned(), number("pageSize").unwrap_or_else(|| "50".to_owned()));
                own.insert("offset".to_owned(), number("pageToken").unwrap_or_default());
                let path = Some("/v1/batches".to_owned());
                Ok(Entered { path, query: Some(own), ..Entered::default() })
            }
            ("GET", ("batchInferenceJobs", id)) => to(format!("/v1/batches/{id}")),
            _ => Ok(Entered::default()),
        }
    }

    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        if let Some(id) = call.path.strip_prefix(STORE) {
            return stored(state, id, call);
        }
        let rest = call.path.strip_prefix(ACCOUNT).unwrap_or_default();
        let set = rest.strip_prefix("datasets/").unwrap_or_default();
        match (call.method.as_str(), set.split_once(':').unwrap_or((set, ""))) {
            ("GET", ("", _)) => {
                Ok(Reply::of(&json!({"accounts": [{"name": "accounts/sim"}], "nextPageToken": ""})))
            }
            ("POST", ("", _)) => make(state, call.body),
            ("POST", (id, "upload")) => fill(state, id, call),
            ("GET", (id, "getDownloadEndpoint")) => addresses(state, id, call),
            ("DELETE", (id, _)) => match forget(state, id) {
                true => Ok(Reply::of(&json!({}))),
                false => Err(absent()),
            },
            (_, (id, _)) => state.files.get(id).map(|file| Reply::of(&view(state, &file))).ok_or_else(absent),
        }
    }

    fn create(&self, body: Value, query: &HashMap<String, String>) -> Result<Value, ApiError> {
        let text = |name: &str| body[name].as_str().ok_or_else(|| ApiError::missing(name));
        let last = |name: &str| text(name).map(|text| text.rsplit('/').next().unwrap_or_default().to_owned());
        let (model, input) = (text("model")?, last("inputDatasetId")?);
        let output = last("outputDatasetId").unwrap_or_else(|_| format!("bij-{input}"));
        Ok(json!({
            "endpoint": "/v1/chat/completions", "input_file_id": input, "completion_window": "24h", "model": model,
            "metadata": {"output": output}, "id": query.get("batchInferenceJobId"),
        }))
    }

    fn input(&self, file: Arc<File>, order: &Value) -> Arc<File> {
        let (endpoint, model) = (order["endpoint"].to_string(), Some(order["model"].to_string()));
        Splice { endpoint, model, renames: &[], drops: OWN }.into_file(file)
    }

    fn has_flat_lines(&self) -> bool {
        true
    }

    fn error(&self, status: u16, error: &Value) -> Option<Value> {
        let code = match status {
            400 => 3,
            404 => 5,
            409 => 6,
            429 => 8,
            401 | 403 => {
                return Some(
                    json!({"error": {"message": error["message"], "param": null, "code": "UNAUTHORIZED", "type": "error"}}),
                );
            }
            _ => 13,
        };
        Some(json!({"code": code, "message": error["message"], "details": []}))
    }

    fn leave(&self, _: &State, entered: &Entered, reply: Reply) -> Reply {
        let Some(value) = said(&reply) else { return reply };
        let is_batch = |one: &Value| one["object"] == "batch";
        let shaped = match (value["object"].as_str(), value["data"].as_array()) {
            (Some("batch"), _) if entered.is_post => json!({}),
            // What is deleted is gone, once it has been cleaned up.
            (Some("batch"), _) if value["status"] == "cancelled" => return Reply::error(&absent()),
            (Some("batch"), _) => job(&value),
            (Some("list"), Some(listed)) if entered.query.is_some() && listed.iter().all(is_batch) => {
                let told = |name: &str| entered.query.as_ref()?.get(name)?.parse::<usize>().ok();
                let next = told("offset").unwrap_or(0) + listed.len();
                let token = if value["has_more"] == true { next.to_string() } else { String::new() };
                let kept = listed.iter().filter(|one| one["status"] != "cancelled").map(job);
                json!({"batchInferenceJobs": kept.collect::<Vec<_>>(), "nextPageToken": token})
            }
            _ => return reply,
        };
        reply.with_body(serde_json::to_vec(&shaped).unwrap_or_default().into())
    }
}

fn absent() -> ApiError {
    ApiError::not_found("resource not found")
}

/// POST datasets
fn make(state: &State, body: &Bytes) -> Result<Reply, ApiError> {
    let said: Value = serde_json::from_slice(body).map_err(|error| crate::errors::from_parse(&error))?;
    let id = said["datasetId"].as_str().ok_or_else(|| ApiError::missing("datasetId"))?;
    let is_plain = |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'-';
    if id.is_empty() || id.len() > 63 || !id.bytes().all(is_plain) {
        return Err(crate::errors::invalid(format!(
            "invalid id {id}: a-z, 0-9 and - are allowed, at most 63"
        )));
    }
    let counted = said["dataset"]["exampleCount"].as_str().and_then(|count| count.parse::<u64>().ok());
    if !said["dataset"]["userUploaded"].is_object() || counted.is_none() {
        return Err(crate::errors::invalid("example_count is required for uploaded datasets"));
    }
    if state.files.get(id).is_some() {
        return Err(ApiError::taken(&format!("dataset {id}")));
    }
    let file = state.files.put(id.to_owned(), (NAME, EMPTY), state.clock.now(), Bytes::new());
    Ok(Reply::of(&view(state, &file)))
}

/// POST datasets/{id}:upload
fn fill(state: &State, id: &str, call: &Call<'_>) -> Result<Reply, ApiError> {
    let found = state.files.get(id).ok_or_else(absent)?;
    let kind = call.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let parts = multipart::boundary(kind).and_then(|boundary| multipart::parse(call.body, boundary));
    let parts = parts.ok_or_else(|| crate::errors::invalid("could not parse the form"))?;
    let file = parts.iter().find(|part| part.name == "file").ok_or_else(|| ApiError::missing("file"))?;
    if is_ready(state, &found) {
        return Err(crate::errors::invalid(format!("dataset {id} is not in state UPLOADING")));
    }
    if file.data.is_empty() || file.data.len() > UPLOAD_BYTES_MAX {
        return Err(crate::errors::invalid("the file is empty or too large"));
    }
    let file = state.files.put(id.to_owned(), (NAME, "batch"), state.clock.now(), file.data.clone());
    Ok(Reply::of(&json!({
        "bytes": file.bytes, "created_at": file.created_at, "filename": NAME,
        "id": format!("accounts/sim/datasets/{id}"), "object": "file", "purpose": "dataset",
    })))
}

fn is_ready(state: &State, file: &File) -> bool {
    file.purpose != EMPTY && state.clock.now().saturating_sub(file.created_at) >= READY_SECS
}

fn view(state: &State, file: &File) -> Value {
    let ready = is_ready(state, file);
    json!({
        "name": format!("accounts/sim/datasets/{}", file.id), "createTime": instant(file.created_at * 1_000),
        "exampleCount": "0", "format": "FORMAT_UNSPECIFIED", "state": if ready { "READY" } else { "UPLOADING" },
        "status": {"code": "OK", "message": ""}, "userUploaded": {},
    })
}

/// The files of the job whose results go to a data set: its answers, and its failures.
fn results(state: &State, set: &str) -> Vec<(&'static str, String)> {
    let all = state.batches.visible(&state.clock, 0);
    let Some(batch) = all.iter().find(|batch| batch.told("output") == set) else { return Vec::new() };
    let mut life = batch.life();
    let shown = batch.shown(&mut life, state, true);
    let files = [("BIJOutputSet.jsonl", shown.output), ("error-data", shown.error)];
    files.into_iter().filter_map(|(name, id)| Some((name, id?))).collect()
}

/// GET datasets/{id}:getDownloadEndpoint
fn addresses(state: &State, set: &str, call: &Call<'_>) -> Result<Reply, ApiError> {
    let host = call.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let there = results(state, set).into_iter().filter(|(_, id)| state.files.get(id).is_some());
    let signed = "X-Goog-Expires=599&X-Goog-Signature=f00d";
    let urls: serde_json::Map<String, Value> = there
        .map(|(name, id)| {
            (format!("dataset/{set}/{name}"), json!(format!("http://{host}{STORE}{id}?{signed}")))
        })
        .collect();
    if urls.is_empty() { Err(absent()) } else { Ok(Reply::of(&json!({"filenameToSignedUrls": urls}))) }
}

/// GET of a signed address.
fn stored(state: &Arc<State>, id: &str, call: &Call<'_>) -> Result<Reply, ApiError> {
    let signature = call.query.get("X-Goog-Signature").map(String::as_str);
    if call.headers.contains_key(header::AUTHORIZATION) || signature != Some("f00d") {
        return Err(ApiError::new(403, "invalid_request_error", None, "SignatureDoesNotMatch"));
    }
    files::content(state, id, &Spoilt::drawn(state))
}

/// DELETE datasets/{id}: an input, or results.
fn forget(state: &State, set: &str) -> bool {
    let ids = results(state, set).into_iter().map(|(_, id)| id).chain([set.to_owned()]);
    ids.filter(|id| state.files.remove(id)).count() > 0
}

fn job(batch: &Value) -> Value {
    let state = match batch["status"].as_str().unwrap_or_default() {
        "in_progress" => "RUNNING".to_owned(),
        "finalizing" => "WRITING_RESULTS".to_owned(),
        "cancelling" => "DELETING_CLEANING_UP".to_owned(),
        other => other.to_ascii_uppercase(),
    };
    let at = |name: &str| batch[name].as_u64().map(|secs| instant(secs * 1_000));
    let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or(0);
    let (total, done, failed) = (count("total"), count("completed"), count("failed"));
    let refused = batch["errors"]["data"][0]["message"].as_str();
    let named =
        |kind: &str, id: &Value| json!(format!("accounts/sim/{kind}/{}", id.as_str().unwrap_or_default()));
    let mut job = json!({
        "displayName": "", "createTime": at("created_at"), "expireTime": at("expires_at"),
        "inputDatasetId": named("datasets", &batch["input_file_id"]),
        "outputDatasetId": named("datasets", &batch["metadata"]["output"]), "model": batch["model"],
        "inferenceParameters": {"extraBody": "{}"}, "continuedFromJobName": "", "precision": "BF16",
        "jobProgress": {
            "totalInputRequests": total, "totalProcessedRequests": done + failed,
            "successfullyProcessedRequests": done, "failedRequests": failed,
        },
        "state": format!("JOB_STATE_{state}"),
        "status": {"code": if refused.is_some() { "INVALID_ARGUMENT" } else { "OK" }, "message": refused.unwrap_or_default()},
    });
    // A fault may have taken it.
    if let Some(id) = batch.get("id") {
        job["name"] = named("batchInferenceJobs", id);
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_stands_beside_the_calls() {
        let enter = |method: &Method, path: &str| {
            let entered = Fireworks.enter(method, path, &HashMap::new()).unwrap_or_default();
            (entered.path, entered.own.map(|own| own.label))
        };
        let to = |path: &str| (Some(path.to_owned()), None);
        assert_eq!(enter(&Method::POST, "/inference/v1/chat/completions"), to("/v1/chat/completions"));
        assert_eq!(enter(&Method::POST, "/v1/accounts/sim/batchInferenceJobs"), to("/v1/batches"));
        assert_eq!(enter(&Method::GET, "/v1/accounts/sim/batchInferenceJobs/j"), to("/v1/batches/j"));
        assert_eq!(
            enter(&Method::DELETE, "/v1/accounts/sim/batchInferenceJobs/j"),
            to("/v1/batches/j/cancel")
        );
        assert_eq!(
            enter(&Method::POST, "/v1/accounts/sim/datasets/d:upload").1,
            Some("POST datasets/{id}:upload")
        );
        for path in ["/v1/chat/completions", "/inference/v1/files", "/v1/accounts/other/datasets"] {
            assert_eq!(enter(&Method::POST, path), (None, None), "{path}");
        }
    }
}
