//! The file store: uploads as received, and the output files of batches, which are made again on each download.

use crate::batches::lines::{Run, Side};
use crate::errors::{ApiError, invalid};
use crate::faults::{Fault, Place};
use crate::like::Splice;
use crate::multipart::{self, Part};
use crate::server::{Reply, State};
use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes a batch input may have: 200 MiB.
pub(crate) const UPLOAD_BYTES_MAX: usize = 209_715_200;
const BATCH_FILE_SECS: u64 = 30 * 86_400;

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Stored(Bytes),
    /// Lines that lack what their job says for all of them.
    Bare(Bytes, Arc<Splice>),
    Lines(Arc<Run>, Side),
}

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) bytes: u64,
    pub(crate) created_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) filename: String,
    pub(crate) purpose: String,
    pub(crate) content: Content,
}

#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    object: &'static str,
    bytes: u64,
    created_at: u64,
    expires_at: Option<u64>,
    filename: &'a str,
    purpose: &'a str,
    status: &'static str,
    status_details: Option<()>,
}

#[derive(Serialize)]
struct Listing<'a> {
    object: &'static str,
    data: Vec<View<'a>>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
}

impl File {
    fn view(&self) -> View<'_> {
        View {
            id: &self.id,
            object: "file",
            bytes: self.bytes,
            created_at: self.created_at,
            expires_at: self.expires_at,
            filename: &self.filename,
            purpose: &self.purpose,
            status: "processed",
            status_details: None,
        }
    }
}

/// All files of the account, in order of creation.
#[derive(Debug, Default)]
pub(crate) struct Files {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    by_id: HashMap<String, Arc<File>>,
    order: Vec<String>,
}

impl Files {
    pub(crate) fn add(&self, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.order.push(file.id.clone());
        shelf.by_id.insert(file.id.clone(), file.clone());
        file
    }

    /// A file that was stored takes the place of one of its id.
    pub(crate) fn put(
        &self,
        id: String,
        (filename, purpose): (&str, &str),
        created_at: u64,
        bytes: Bytes,
    ) -> Arc<File> {
        self.remove(&id);
        self.add(File {
            id,
            bytes: bytes.len() as u64,
            created_at,
            expires_at: None,
            filename: filename.to_owned(),
            purpose: purpose.to_owned(),
            content: Content::Stored(bytes),
        })
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<File>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    pub(crate) fn remove(&self, id: &str) -> bool {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.order.retain(|known| known != id);
        shelf.by_id.remove(id).is_some()
    }

    /// Those whose ids begin so.
    pub(crate) fn starting_with(&self, start: &str) -> Vec<Arc<File>> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.by_id.values().filter(|file| file.id.starts_with(start)).cloned().collect()
    }

    /// Newest first.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.order.iter().rev().filter_map(|id| shelf.by_id.get(id).cloned()).collect()
    }
}

fn no_file(id: &str) -> ApiError {
    let mut error = ApiError::not_found(format!("No such File object: {id}"));
    error.param = Some("id".to_owned());
    error
}

/// What Google says of a file that is not there.
pub(crate) fn forbidden(id: &str) -> ApiError {
    let message = format!("You do not have permission to access the File {id} or it may not exist.");
    ApiError::new(403, "PERMISSION_DENIED", None, message)
}

/// POST /v1/files
pub(crate) fn upload(state: &State, content_type: &str, body: &Bytes) -> Result<Reply, ApiError> {
    let broken = || invalid("Could not parse multipart form data.");
    let parts = multipart::boundary(content_type)
        .and_then(|boundary| multipart::parse(body, boundary))
        .ok_or_else(broken)?;
    let field = |name: &str| parts.iter().find(|part| part.name == name);
    let text = |name: &str| field(name).map(|part| String::from_utf8_lossy(&part.data).trim().to_owned());
    let purpose = text("purpose").ok_or_else(|| invalid("'purpose' is a required property"))?;
    if !["assistants", "batch", "fine-tune", "vision", "user_data", "evals"].contains(&purpose.as_str()) {
        return Err(ApiError::invalid(
            None,
            "purpose",
            format!(
                "'{purpose}' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'"
            ),
        ));
    }
    let file = field("file").ok_or_else(|| invalid("'file' is a required property"))?;
    if purpose == "batch" {
        sniff(file)?;
    }
    let created_at = state.clock.now();
    let file = state.files.add(File {
        id: state.keys.id("file-", 22, false),
        bytes: file.data.len() as u64,
        created_at,
        expires_at: life(text("expires_after[seconds]"), &purpose)?.map(|secs| created_at + secs),
        filename: file.filename.clone().unwrap_or_else(|| "upload".to_owned()),
        purpose,
        content: Content::Stored(file.data.clone()),
    });
    Ok(Reply::of(&file.view()))
}

/// Extension, size and first line; later lines are looked at when a batch is made of the file.
fn sniff(file: &Part) -> Result<(), ApiError> {
    let refuse = |message: String| {
        let mut error = invalid(message);
        error.detail = true;
        error
    };
    if file.data.len() > UPLOAD_BYTES_MAX {
        let message = format!("The batch input file is larger than the {UPLOAD_BYTES_MAX} maximum");
        return Err(ApiError::new(413, "invalid_request_error", None, message));
    }
    if !file.filename.as_deref().is_some_and(|name| name.ends_with(".jsonl")) {
        return Err(refuse("Invalid file format for Batch API. Must be .jsonl".to_owned()));
    }
    if file.data.is_empty() {
        return Err(refuse("File is empty.".to_owned()));
    }
    let end = memchr::memchr(b'\n', &file.data).unwrap_or(file.data.len());
    if serde_json::from_slice::<IgnoredAny>(&file.data[..end]).is_err() {
        return Err(refuse("Invalid file format for Batch API. Must be .jsonl".to_owned()));
    }
    Ok(())
}

fn life(asked: Option<String>, purpose: &str) -> Result<Option<u64>, ApiError> {
    match asked {
        None => Ok((purpose == "batch").then_some(BATCH_FILE_SECS)),
        Some(secs) => match secs.parse::<u64>() {
            Ok(secs) if (3_600..=2_592_000).contains(&secs) => Ok(Some(secs)),
            _ => Err(ApiError::invalid(
                Some("invalid_value"),
                "expires_after.seconds",
                format!("Invalid value: '{secs}'. Expected 3600 to 2592000 seconds."),
            )),
        },
    }
}

/// GET /v1/files
pub(crate) fn list(state: &State, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let limit = page_size(query, 10_000, 10_000)?;
    let mut files = state.files.all();
    if query.get("order").is_some_and(|order| order == "asc") {
        files.reverse();
    }
    files.retain(|file| query.get("purpose").is_none_or(|purpose| *purpose == file.purpose));
    let start = match query.get("after") {
        Some(after) => files.iter().position(|file| file.id == *after).map_or(files.len(), |at| at + 1),
        None => 0,
    };
    let page = &files[start..files.len().min(start.saturating_add(limit))];
    Ok(Reply::of(&Listing {
        object: "list",
        data: page.iter().map(|file| file.view()).collect(),
        first_id: page.first().map(|file| file.id.as_str()),
        last_id: page.last().map(|file| file.id.as_str()),
        has_more: start + page.len() < files.len(),
    }))
}

/// The `limit` of a list call.
pub(crate) fn page_size(
    query: &HashMap<String, String>,
    default: usize,
    most: usize,
) -> Result<usize, ApiError> {
    match query.get("limit").map(|limit| limit.parse::<usize>()) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::invalid(
            Some("invalid_value"),
            "limit",
            format!("Invalid 'limit': expected an integer from 1 to {most}."),
        )),
    }
}

/// GET /v1/files/{id}
pub(crate) fn retrieve(state: &State, id: &str) -> Result<Reply, ApiError> {
    state.files.get(id).map(|file| Reply::of(&file.view())).ok_or_else(|| no_file(id))
}

/// DELETE /v1/files/{id}
pub(crate) fn delete(state: &State, id: &str) -> Result<Reply, ApiError> {
    if !state.files.remove(id) {
        return Err(no_file(id));
    }
    Ok(Reply::of(&serde_json::json!({"id": id, "object": "file", "deleted": true})))
}

/// What faults do to a download.
#[derive(Debug, Default)]
pub(crate) struct Spoilt {
    /// 404.
    pub(crate) gone: bool,
    /// Bytes that are missing at the end.
    pub(crate) cut: u64,
    /// The same lines in another order.
    pub(crate) reordered: bool,
}

impl Spoilt {
    /// What the faults of this download are.
    pub(crate) fn drawn(state: &State) -> Self {
        let hit = |fault| state.faults.hit(fault, Place::Content);
        let tail = state.faults.call(Fault::CutTail, Place::Content);
        Self {
            gone: hit(Fault::FileGone),
            cut: tail.map_or(0, |hit| if hit.word == Some("newline") { 1 } else { 10 }),
            reordered: hit(Fault::FileChanges),
        }
    }
}

/// GET /v1/files/{id}/content
pub(crate) fn content(state: &Arc<State>, id: &str, spoilt: &Spoilt) -> Result<Reply, ApiError> {
    let file = state.files.get(id).filter(|_| !spoilt.gone).ok_or_else(|| no_file(id))?;
    let length = file.bytes.saturating_sub(spoilt.cut);
    let mut reply = match &file.content {
        Content::Stored(bytes) | Content::Bare(bytes, _) => {
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            Reply::bytes(200, bytes.slice(..bytes.len().min(size)))
        }
        Content::Lines(run, side) => {
            let run = if spoilt.reordered { Arc::new(run.reordered()) } else { run.clone() };
            Reply::pieces(200, length, run.stream(state, *side, length))
        }
    };
    reply.content_type = Some("application/octet-stream");
    Ok(reply)
}
