//! A container of Azure Blob Storage, as far as batches need it: blobs that are put as a whole, read from their beginning, looked at, listed
//! and deleted. A blob is a file whose id is its path. The account is called `blobs`, and stands in the path as stand-ins have it.

use super::entra;
use super::manners::{Call, Own, bearer};
use crate::batches::Batch;
use crate::clock::instant;
use crate::errors::ApiError;
use crate::faults::Place;
use crate::files::{self, File, Spoilt};
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{Method, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// The account, where all blobs are.
pub(super) const STORE: &str = "/blobs/";
/// What a blob is for that a batch may be made of.
const INPUT: &str = "batch";
const VERSION: &str = "x-ms-version";

/// The call, if it is one to the store.
pub(super) fn own(method: &Method, path: &str) -> Option<Own> {
    path.strip_prefix(STORE)?;
    let (place, label) = match method.as_str() {
        "PUT" => (Place::Upload, "PUT blob"),
        "DELETE" => (Place::Delete, "DELETE blob"),
        "HEAD" => (Place::Models, "HEAD blob"),
        _ if path[STORE.len()..].contains('/') => (Place::Content, "GET blob"),
        _ => (Place::Models, "GET container"),
    };
    Some(Own { place, label })
}

/// Container and the rest of a path.
fn parts(path: &str) -> (&str, &str) {
    let rest = path.strip_prefix(STORE).unwrap_or_default();
    rest.split_once('/').unwrap_or((rest, ""))
}

fn refused(status: u16, code: &'static str, message: &str) -> ApiError {
    ApiError::new(status, "", Some(code), message)
}

/// A token for the storage, or a shared access signature.
fn admit(state: &State, call: &Call<'_>) -> Result<(), ApiError> {
    let token = bearer(call.headers);
    let signature = call.query.get("sig").map(String::as_str).unwrap_or_default();
    match () {
        () if !token.is_empty() && !call.headers.contains_key(VERSION) => Err(refused(
            400,
            "MissingRequiredHeader",
            "An HTTP header that's mandatory for this request is not specified.",
        )),
        () if !token.is_empty() && !entra::opens_storage(state, token) => Err(refused(
            401,
            "InvalidAuthenticationInfo",
            "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
        )),
        () if token.is_empty() && signature.is_empty() => Err(refused(
            401,
            "NoAuthenticationInformation",
            "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
        )),
        () if signature.contains("wrong") => Err(refused(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.",
        )),
        () => Ok(()),
    }
}

pub(super) fn serve(state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
    admit(state, call)?;
    let (container, name) = parts(call.path);
    if state.config.bucket.as_ref().is_some_and(|known| known != container) {
        return Err(refused(404, "ContainerNotFound", "The specified container does not exist."));
    }
    let mut reply = match (call.method.as_str(), name) {
        ("GET", "") => list(state, container, call),
        ("PUT", name) if !name.is_empty() => put(state, call)?,
        ("GET", _) => read(state, call)?,
        ("HEAD", _) => described(state, call)?,
        ("DELETE", _) if state.files.remove(call.path) => Reply::empty(202),
        ("DELETE", _) => return Err(absent()),
        _ => {
            return Err(refused(
                405,
                "UnsupportedHttpVerb",
                "The resource doesn't support specified Http Verb.",
            ));
        }
    };
    reply.header("x-ms-request-id", &state.keys.id("", 32, true));
    reply.header(VERSION, "2021-08-06");
    Ok(reply)
}

fn absent() -> ApiError {
    refused(404, "BlobNotFound", "The specified blob does not exist.")
}

/// PUT of a whole blob: blocks are not known here.
fn put(state: &State, call: &Call<'_>) -> Result<Reply, ApiError> {
    if call.query.contains_key("comp")
        || call.headers.get("x-ms-blob-type").is_none_or(|kind| kind != "BlockBlob")
    {
        return Err(refused(
            400,
            "InvalidHeaderValue",
            "The value for one of the HTTP headers is not in the correct format.",
        ));
    }
    let taken = call.headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == "*");
    if taken && state.files.get(call.path).is_some() {
        return Err(refused(409, "BlobAlreadyExists", "The specified blob already exists."));
    }
    let file = state.files.put(
        call.path.to_owned(),
        (parts(call.path).1, INPUT),
        state.clock.now(),
        call.body.clone(),
    );
    let mut reply = Reply::empty(201);
    tagged(&mut reply, &file);
    reply.header("x-ms-request-server-encrypted", "true");
    Ok(reply)
}

fn tagged(reply: &mut Reply, file: &File) {
    reply.header("etag", &format!("\"0x{:X}{:X}\"", file.created_at, file.bytes));
    reply.header("last-modified", "Mon, 01 Nov 2027 00:00:00 GMT");
}

fn described(state: &State, call: &Call<'_>) -> Result<Reply, ApiError> {
    let file = state.files.get(call.path).ok_or_else(absent)?;
    let mut reply = Reply::empty(200);
    tagged(&mut reply, &file);
    reply.header("x-ms-blob-type", "BlockBlob");
    reply.header("content-length", &file.bytes.to_string());
    Ok(reply)
}

/// GET of a blob, or of the first bytes of it.
fn read(state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let file = state.files.get(call.path).ok_or_else(absent)?;
    let most = call.headers.get("x-ms-range").or_else(|| call.headers.get(header::RANGE));
    let most = most.and_then(|range| range.to_str().ok()?.strip_prefix("bytes=0-")?.parse::<u64>().ok());
    let mut spoilt = Spoilt::drawn(state);
    let whole = file.bytes.saturating_sub(spoilt.cut);
    let Some(most) = most else {
        let mut reply = files::content(state, call.path, &spoilt).map_err(|_| absent())?;
        tagged(&mut reply, &file);
        reply.header("x-ms-blob-type", "BlockBlob");
        return Ok(reply);
    };
    if whole == 0 {
        return Err(refused(
            416,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
        ));
    }
    let last = most.min(whole - 1);
    spoilt.cut = file.bytes - (last + 1);
    let mut reply = files::content(state, call.path, &spoilt).map_err(|_| absent())?;
    reply.status = 206;
    tagged(&mut reply, &file);
    reply.header("x-ms-blob-type", "BlockBlob");
    reply.header("content-range", &format!("bytes 0-{last}/{whole}"));
    Ok(reply)
}

/// GET of a container: all names that begin so.
fn list(state: &State, container: &str, call: &Call<'_>) -> Reply {
    let prefix = call.query.get("prefix").map(String::as_str).unwrap_or_default();
    let begins = format!("{STORE}{container}/");
    let mut found: Vec<Arc<File>> = state.files.all();
    found.retain(|file| file.id.strip_prefix(&begins).is_some_and(|name| name.starts_with(prefix)));
    found.sort_by(|one, other| one.id.cmp(&other.id));
    let blobs: String = found.iter().map(|file| {
        let name = &file.id[begins.len()..];
        format!("<Blob><Name>{name}</Name><Properties><Content-Length>{}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>", file.bytes)
    }).collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://127.0.0.1{STORE}\" ContainerName=\"{container}\"><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"
    );
    let mut reply = Reply::bytes(200, body);
    reply.content_type = Some("application/xml");
    reply
}

/// An error of a call to the store, in its words.
pub(super) fn error(reply: Reply) -> Reply {
    let Some(said) = reply.said_error() else { return reply };
    let message = said["message"].as_str().unwrap_or_default();
    let code = match (reply.status, said["code"].as_str().unwrap_or_default()) {
        (401, _) => "InvalidAuthenticationInfo",
        (403, "" | "PERMISSION_DENIED") => "AuthorizationPermissionMismatch",
        (503 | 529, _) => "ServerBusy",
        (500.., _) => "InternalError",
        (_, code) => code,
    };
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}\nTime:{}</Message></Error>",
        instant(0)
    );
    let mut reply = reply.with_body(Bytes::from(body));
    reply.content_type = Some("application/xml");
    reply.header("x-ms-error-code", code);
    reply
}

/// The body of a create in the words of one that is made of a file. On one that is made of a blob nothing can be written.
pub(super) fn create(body: Value) -> Result<Value, ApiError> {
    let Some(input) = body["input_blob"].as_str() else { return Ok(body) };
    let wrong = |param: &str, why: &str| Err(ApiError::invalid(Some("invalid_request"), param, why));
    if !body["metadata"].is_null() {
        return wrong("metadata", "metadata is not supported with input_blob.");
    }
    if !body["input_file_id"].is_null() {
        return wrong("input_file_id", "input_file_id and input_blob cannot be used together.");
    }
    let path = |url: &str| url.find(STORE).map(|at| url[at..].trim_end_matches('/').to_owned());
    let (Some(blob), Some(folder)) = (path(input), body["output_folder"]["url"].as_str().and_then(path))
    else {
        return wrong("output_folder", "An input_blob needs an output_folder of the same kind.");
    };
    let origin = &input[..input.len() - input[input.find(STORE).unwrap_or(0)..].len()];
    let mut body = body.clone();
    body["metadata"] = json!({"origin": origin, "folder": folder});
    body["input_file_id"] = json!(blob);
    Ok(body)
}

/// Whether a batch's input is a blob.
pub(crate) fn is_blob(input: &str) -> bool {
    input.starts_with(STORE)
}

/// The id of one of its results.
pub(crate) fn result(batch: &Batch, name: &str) -> String {
    format!("{}/{}/{name}.jsonl", batch.told("folder"), batch.id.trim_start_matches("batch_"))
}

/// A batch that was made of a blob. What it is called that results would be is named when it has ended, whether they are there or not.
pub(super) fn shaped(batch: &mut Value) {
    let origin = batch["metadata"]["origin"].as_str().unwrap_or_default().to_owned();
    let folder = batch["metadata"]["folder"].as_str().unwrap_or_default().to_owned();
    let guid = batch["id"].as_str().unwrap_or_default().trim_start_matches("batch_").to_owned();
    let has_ended =
        ["completed", "cancelled", "expired", "failed"].iter().any(|word| batch["status"] == *word);
    for (id, blob, name) in
        [("output_file_id", "output_blob", "results"), ("error_file_id", "error_blob", "errors")]
    {
        batch[blob] = match has_ended {
            true => json!(format!("{origin}{folder}/{guid}/{name}.jsonl")),
            false => json!(""),
        };
        batch[id] = Value::Null;
    }
    batch["input_blob"] = json!(format!("{origin}{}", batch["input_file_id"].as_str().unwrap_or_default()));
    batch["input_file_id"] = Value::Null;
    batch["metadata"] = Value::Null;
}
