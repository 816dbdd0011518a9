//! Google's files: resumable uploads, and what was uploaded or made.

use crate::clock::instant;
use crate::errors::{ApiError, invalid};
use crate::files::{self, Content, File, UPLOAD_BYTES_MAX};
use crate::pieces::Pieces;
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const LIFE_SECS: u64 = 48 * 3_600;
/// Whole pieces of this are kept of a chunk that broke off, and chunks but for the last are made of it.
const GRAIN_BYTES: usize = 256 << 10;

/// An upload under way, or done.
#[derive(Debug, Default)]
struct Upload {
    name: Option<String>,
    kind: String,
    length: Option<usize>,
    bytes: Pieces,
    /// The answer to its last byte.
    done: Option<Value>,
}

/// All uploads of the account.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    by_id: Mutex<HashMap<String, Upload>>,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// POST /upload/v1beta/files: the beginning, or more of one that has begun.
pub(crate) fn upload(
    state: &State,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    match query.get("upload_id") {
        None => begin(state, headers, body),
        Some(id) => go_on(state, id, headers, body),
    }
}

fn begin(state: &State, headers: &HeaderMap, body: &Bytes) -> Result<Reply, ApiError> {
    if text(headers, "x-goog-upload-protocol") != "resumable"
        || text(headers, "x-goog-upload-command") != "start"
    {
        return Err(invalid(
            "X-Goog-Upload-Protocol and X-Goog-Upload-Command must begin a resumable upload.",
        ));
    }
    let about: Value = serde_json::from_slice(body).unwrap_or_default();
    let of_file =
        |names: [&str; 2]| names.iter().find_map(|name| about["file"][*name].as_str()).map(str::to_owned);
    let length = text(headers, "x-goog-upload-header-content-length").parse::<usize>().ok();
    if length.is_some_and(|length| length > UPLOAD_BYTES_MAX) {
        return Err(invalid("The file is too large."));
    }
    let upload = Upload {
        name: of_file(["displayName", "display_name"]),
        kind: of_file(["mimeType", "mime_type"])
            .unwrap_or_else(|| text(headers, "x-goog-upload-header-content-type").to_owned()),
        length,
        ..Upload::default()
    };
    let id = state.keys.id("", 40, false);
    let host =
        Some(text(headers, header::HOST.as_str())).filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
    let mut reply = Reply::bytes(200, "");
    let url = format!("http://{host}/upload/v1beta/files?upload_id={id}&upload_protocol=resumable");
    reply.header("x-goog-upload-url", &url);
    reply.header("x-goog-upload-status", "active");
    reply.header("x-goog-upload-chunk-granularity", &GRAIN_BYTES.to_string());
    state.uploads.lock().insert(id, upload);
    Ok(reply)
}

fn go_on(state: &State, id: &str, headers: &HeaderMap, body: &Bytes) -> Result<Reply, ApiError> {
    let mut uploads = state.uploads.lock();
    let upload =
        uploads.get_mut(id).ok_or_else(|| ApiError::not_found("Upload has already been terminated."))?;
    let commands: Vec<&str> = text(headers, "x-goog-upload-command").split(',').map(str::trim).collect();
    if commands.contains(&"upload") && upload.done.is_none() {
        let offset = text(headers, "x-goog-upload-offset").parse::<usize>().ok();
        if offset != Some(upload.bytes.len()) {
            return Err(invalid(
                "Upload request started at an offset that is not the number of bytes received.",
            ));
        }
        upload.bytes.add(body.clone(), upload.length.unwrap_or(0));
    }
    let finalizes = commands.contains(&"finalize");
    if finalizes && upload.done.is_none() {
        if upload.length.is_some_and(|length| length != upload.bytes.len()) {
            return Err(invalid("The upload holds another number of bytes than was announced."));
        }
        upload.done = Some(finish(state, upload));
    }
    let mut reply = match &upload.done {
        Some(file) => Reply::of(file),
        None => Reply::bytes(200, ""),
    };
    reply.header("x-goog-upload-status", if upload.done.is_some() { "final" } else { "active" });
    reply.header("x-goog-upload-size-received", &upload.bytes.len().to_string());
    Ok(reply)
}

fn finish(state: &State, upload: &mut Upload) -> Value {
    let bytes = upload.bytes.take();
    let created_at = state.clock.now();
    let file = state.files.add(File {
        id: state.keys.id("", 12, true),
        bytes: bytes.len() as u64,
        created_at,
        expires_at: Some(created_at + LIFE_SECS),
        filename: upload.name.clone().unwrap_or_default(),
        purpose: upload.kind.clone(),
        content: Content::Stored(bytes),
    });
    json!({"file": view(&file)})
}

fn view(file: &File) -> Value {
    let made = matches!(file.content, Content::Lines(..));
    let name = format!("files/{}", file.id);
    let mut view = json!({
        "name": name, "displayName": file.filename, "mimeType": if made { "application/jsonl" } else { &file.purpose },
        "sizeBytes": file.bytes.to_string(), "createTime": instant(file.created_at * 1_000), "updateTime": instant(file.created_at * 1_000),
        "expirationTime": instant(file.expires_at.unwrap_or(file.created_at + LIFE_SECS) * 1_000), "sha256Hash": "NTk3Yjk2",
        "uri": format!("https://generativelanguage.googleapis.com/v1beta/{name}"), "state": "ACTIVE",
        "source": if made { "GENERATED" } else { "UPLOADED" },
    });
    if made {
        view["downloadUri"] =
            format!("https://generativelanguage.googleapis.com/download/v1beta/{name}:download?alt=media")
                .into();
    }
    view
}

pub(crate) fn retrieve(state: &State, id: &str) -> Result<Reply, ApiError> {
    state.files.get(id).map(|file| Reply::of(&view(&file))).ok_or_else(|| files::forbidden(id))
}

/// What was made here can be had, and nothing else.
pub(crate) fn is_downloadable(state: &State, id: &str) -> Result<(), ApiError> {
    match state.files.get(id).map(|file| matches!(file.content, Content::Lines(..))) {
        Some(true) => Ok(()),
        Some(false) => Err(invalid("Only generated files can be downloaded.")),
        None => Err(files::forbidden(id)),
    }
}
