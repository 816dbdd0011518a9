//! Together's batches: jobs that show no counts, listed all at once, over files that go up to an address of their own.

use super::Splice;
use super::manners::{Call, Entered, Manners, Own, guid, said};
use crate::bedrock::hex;
use crate::clock::instant;
use crate::errors::ApiError;
use crate::faults::Place;
use crate::files::{Content, File, UPLOAD_BYTES_MAX};
use crate::multipart;
use crate::server::{self, Reply, State};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// Where files go up, with a signature and without a key.
const STORE: &str = "/r2/";
const FILES: &str = "/v1/files";
/// Of a file whose bytes are there and were not looked into.
const RAW: &str = "raw";
/// Virtual seconds that a file is looked into.
const LOOK_SECS: u64 = 10;
/// Fields of a chat that are not OpenAI's.
pub(super) const OWN: &[&str] = &["top_k", "min_p", "repetition_penalty", "safety_model"];

#[derive(Debug)]
pub(super) struct Together;

impl Manners for Together {
    fn enter(&self, method: &Method, path: &str, _: &HashMap<String, String>) -> Result<Entered, ApiError> {
        let own = |label| Some(Own { place: Place::Upload, label });
        if method == Method::PUT && path.starts_with(STORE) {
            return Ok(Entered { own: own("PUT of a presigned URL"), is_open: true, ..Entered::default() });
        }
        if method == Method::POST && path == FILES {
            return Ok(Entered { own: own("POST /v1/files"), ..Entered::default() });
        }
        if method == Method::POST && path.starts_with(FILES) && path.ends_with("/preprocess") {
            return Ok(Entered { own: own("POST /v1/files/{id}/preprocess"), ..Entered::default() });
        }
        let parts = [FILES, "/v1/batches", "/v1/chat/", "/v1/embeddings", "/v1/models", "/sim/"];
        let there = parts.iter().any(|part| path.starts_with(part));
        let creates = method == Method::POST && path == "/v1/batches";
        Ok(Entered { path: there.then(|| path.to_owned()), creates, ..Entered::default() })
    }

    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        if let Some(id) = call.path.strip_prefix(STORE) {
            return put(state, id, call);
        }
        match call.path.strip_prefix(FILES).and_then(|rest| rest.strip_suffix("/preprocess")) {
            Some(id) => look(state, id.trim_start_matches('/')),
            None => announce(state, call),
        }
    }

    fn lists_all(&self) -> bool {
        true
    }

    fn create(&self, body: Value, _: &HashMap<String, String>) -> Result<Value, ApiError> {
        let endpoint = body["endpoint"].as_str().unwrap_or_default();
        if endpoint != "/v1/chat/completions" {
            let message = format!("Invalid endpoint: {endpoint}");
            return Err(ApiError::invalid(Some("invalid_request_error"), "endpoint", message));
        }
        Ok(json!({"endpoint": endpoint, "input_file_id": body["input_file_id"], "completion_window": "24h"}))
    }

    fn input(&self, file: Arc<File>, order: &Value) -> Arc<File> {
        let endpoint = order["endpoint"].to_string();
        Splice { endpoint, model: None, renames: &[], drops: OWN }.into_file(file)
    }

    fn batch_id(&self, hex: &str) -> String {
        guid(hex)
    }

    fn leave(&self, state: &State, entered: &Entered, reply: Reply) -> Reply {
        let Some(value) = said(&reply) else { return reply };
        let is_batch = |one: &Value| one["object"] == "batch";
        let shaped = match (value["object"].as_str(), value["data"].as_array()) {
            (Some("batch"), _) if entered.creates => json!({"job": job(state, &value), "warning": null}),
            (Some("batch"), _) => job(state, &value),
            (Some("list"), Some(listed)) if listed.iter().all(is_batch) && !listed.is_empty() => {
                listed.iter().map(|one| job(state, one)).collect()
            }
            (Some("list"), Some(listed)) if listed.is_empty() => json!([]),
            (Some("file"), _) if value["deleted"] == true => json!({"id": value["id"], "deleted": true}),
            (Some("file"), _) => file(state, &value),
            _ => return reply,
        };
        reply.with_body(serde_json::to_vec(&shaped).unwrap_or_default().into())
    }
}

/// What a form says, in either of its encodings.
fn form(headers: &HeaderMap, body: &Bytes) -> HashMap<String, String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match multipart::boundary(kind).and_then(|boundary| multipart::parse(body, boundary)) {
        Some(parts) => {
            let text = |data: &Bytes| String::from_utf8_lossy(data).trim().to_owned();
            parts.iter().map(|part| (part.name.clone(), text(&part.data))).collect()
        }
        None => server::query(std::str::from_utf8(body).ok()),
    }
}

/// POST /v1/files: a file is announced, and the answer says where it goes. One of the same bytes is there already.
fn announce(state: &State, call: &Call<'_>) -> Result<Reply, ApiError> {
    let said = form(call.headers, call.body);
    let text =
        |name: &str| said.get(name).filter(|text| !text.is_empty()).ok_or_else(|| ApiError::missing(name));
    let (purpose, name) = (text("purpose")?, text("file_name")?);
    if purpose != "batch-api" {
        let message = format!("Invalid purpose: {purpose}");
        return Err(ApiError::invalid(Some("invalid_request_error"), "purpose", message));
    }
    let sum = said.get("checksum").map_or("", String::as_str);
    if !sum.is_empty() && (sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(ApiError::invalid(Some("invalid_request_error"), "checksum", "Invalid checksum"));
    }
    let fresh = state.keys.id("", 32, true);
    let id = format!("file-{}", guid(if sum.is_empty() { &fresh } else { sum }));
    if state.files.get(&id).is_some_and(|file| file.purpose != RAW) {
        let known = json!({"error": {"message": "File already exists", "type": "conflict"}, "file_id": id});
        return Ok(Reply::bytes(409, known.to_string()));
    }
    let host = call.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let mut reply = Reply::empty(302);
    let name = name.replace(|sign: char| !sign.is_ascii_alphanumeric() && !"-_.".contains(sign), "_");
    reply.header("location", &format!("http://{host}{STORE}{id}?name={name}&sum={sum}&X-Amz-Signature=f00d"));
    reply.header("x-together-file-id", &id);
    Ok(reply)
}

/// PUT of a presigned URL: the bytes, and nothing of the account.
fn put(state: &State, id: &str, call: &Call<'_>) -> Result<Reply, ApiError> {
    let told = |name: &str| call.query.get(name).map_or("", String::as_str);
    if call.headers.contains_key(header::AUTHORIZATION) {
        return Err(crate::errors::invalid("Only one auth mechanism allowed"));
    }
    if told("X-Amz-Signature") != "f00d" {
        return Err(ApiError::new(403, "invalid_request_error", None, "SignatureDoesNotMatch"));
    }
    let digest = || hex(&Sha256::digest(call.body));
    if call.body.len() > UPLOAD_BYTES_MAX || !told("sum").is_empty() && told("sum") != digest() {
        return Err(crate::errors::invalid("The checksum does not match"));
    }
    state.files.put(id.to_owned(), (told("name"), RAW), state.clock.now(), call.body.clone());
    Ok(Reply::empty(200))
}

/// POST /v1/files/{id}/preprocess: all of it is there.
fn look(state: &State, id: &str) -> Result<Reply, ApiError> {
    let found = state.files.get(id).ok_or_else(|| ApiError::not_found(format!("File {id} not found")))?;
    let Content::Stored(bytes) = &found.content else {
        return Err(crate::errors::invalid("This file was not uploaded"));
    };
    let now = state.clock.now();
    let kept = state.files.put(id.to_owned(), (&found.filename, "batch"), now, bytes.clone());
    let view = json!({"id": kept.id, "bytes": kept.bytes, "created_at": kept.created_at, "filename": kept.filename, "purpose": "batch"});
    Ok(Reply::of(&file(state, &view)))
}

fn file(state: &State, view: &Value) -> Value {
    let age = state.clock.now().saturating_sub(view["created_at"].as_u64().unwrap_or(0));
    let awaited = view["purpose"] == "batch" && age < LOOK_SECS;
    json!({
        "id": view["id"], "bytes": view["bytes"], "created_at": view["created_at"], "filename": view["filename"],
        "FileType": "jsonl", "object": "file", "purpose": "batch-api",
        "processing_status": if awaited { "PENDING" } else { "COMPLETED" },
    })
}

fn job(state: &State, batch: &Value) -> Value {
    let at = |name: &str| batch[name].as_u64().map(|secs| instant(secs * 1_000));
    let status = match batch["status"].as_str().unwrap_or_default() {
        "finalizing" | "cancelling" => "IN_PROGRESS".to_owned(),
        other => other.to_ascii_uppercase(),
    };
    let counts = &batch["request_counts"];
    let count = |name: &str| counts[name].as_f64().unwrap_or(0.0);
    let done = (count("completed") + count("failed")) * 100.0 / count("total").max(1.0);
    let input = batch["input_file_id"].as_str().unwrap_or_default();
    let refused = batch["errors"]["data"][0]["message"].as_str();
    let mut job = json!({
        "user_id": "user_sim", "input_file_id": input,
        "file_size_bytes": state.files.get(input).map(|file| file.bytes), "status": status,
        "job_deadline": at("expires_at"), "created_at": at("created_at"), "endpoint": batch["endpoint"],
        "progress": done, "model_id": batch["model"], "output_file_id": batch["output_file_id"],
        "error_file_id": batch["error_file_id"], "error": refused, "completed_at": at("completed_at"),
    });
    // A fault may have taken it.
    if let Some(id) = batch.get("id") {
        job["id"] = id.clone();
    }
    job
}
