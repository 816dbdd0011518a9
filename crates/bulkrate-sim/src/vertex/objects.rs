//! A bucket of Cloud Storage: uploads of three kinds, lists, downloads, deletions. An object is a file whose id is `bucket/object`.

use super::tables;
use crate::faults::{Fault, Place};
use crate::files::{self, Content, File};
use crate::pieces::Pieces;
use crate::server::{Reply, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects on a page of a list, at most.
const PAGE: usize = 1_000;
/// Whole pieces of this are kept of a chunk that broke off.
const GRAIN_BYTES: usize = 256 << 10;

/// What an upload is to become.
#[derive(Debug)]
pub(super) enum Goal {
    Object {
        bucket: String,
        name: String,
        kind: String,
    },
    /// A table, by a job that says so.
    Load(String, Value),
}

impl Goal {
    fn path(&self) -> String {
        match self {
            Self::Object { bucket, .. } => format!("/upload/storage/v1/b/{bucket}/o"),
            Self::Load(project, _) => format!("/upload/bigquery/v2/projects/{project}/jobs"),
        }
    }

    fn reach(&self, state: &State, bytes: Bytes) -> Result<Value, Reply> {
        match self {
            Self::Object { bucket, name, kind } => Ok(store(state, bucket, name, kind, bytes)),
            Self::Load(project, job) => tables::load(state, project, job, &bytes),
        }
    }
}

/// A resumable upload under way, or done.
#[derive(Debug)]
struct Session {
    goal: Goal,
    bytes: Pieces,
    done: Option<Value>,
}

/// All resumable uploads.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn refused(status: u16, reason: &str, message: &str) -> Reply {
    let errors = json!([{"domain": "global", "reason": reason, "message": message}]);
    Reply::bytes(status, json!({"error": {"code": status, "message": message, "errors": errors}}).to_string())
}

pub(super) fn no_bucket() -> Reply {
    refused(404, "notFound", "The specified bucket does not exist.")
}

fn no_object(bucket: &str, object: &str) -> Reply {
    refused(404, "notFound", &format!("No such object: {bucket}/{object}"))
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(super) fn bucket(name: &str) -> Reply {
    Reply::of(
        &json!({"kind": "storage#bucket", "id": name, "name": name, "location": "US-CENTRAL1", "storageClass": "STANDARD"}),
    )
}

pub(super) fn upload(
    state: &State,
    bucket: &str,
    head: &http::request::Parts,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Reply {
    let kind = query.get("uploadType").map(String::as_str).unwrap_or_default();
    let named = query.get("name").cloned();
    match (kind, query.get("upload_id"), named) {
        ("resumable", Some(id), _) => go_on(state, id, &head.headers, body),
        ("resumable", None, named) => {
            let about: Value = serde_json::from_slice(body).unwrap_or_default();
            let Some(name) = named.or_else(|| about["name"].as_str().map(str::to_owned)) else {
                return refused(400, "required", "Required parameter: name");
            };
            let kind = text(&head.headers, "x-upload-content-type").to_owned();
            begin(state, Goal::Object { bucket: bucket.to_owned(), name, kind }, head)
        }
        ("media", None, Some(name)) => {
            let kind = text(&head.headers, "content-type");
            Reply::of(&store(state, bucket, &name, kind, body.clone()))
        }
        ("multipart", None, named) => match related(text(&head.headers, "content-type"), body) {
            Some((about, kind, media)) => match named.or_else(|| about["name"].as_str().map(str::to_owned)) {
                Some(name) => Reply::of(&store(state, bucket, &name, &kind, media)),
                None => refused(400, "required", "Required parameter: name"),
            },
            None => refused(400, "parseError", "Parse Error"),
        },
        _ => refused(400, "invalid", "Invalid value for uploadType"),
    }
}

pub(super) fn begin(state: &State, goal: Goal, head: &http::request::Parts) -> Reply {
    let id = state.keys.id("", 40, false);
    let host = Some(text(&head.headers, header::HOST.as_str())).filter(|host| !host.is_empty());
    let (host, path) = (host.unwrap_or("127.0.0.1"), goal.path());
    let url = format!("http://{host}{path}?uploadType=resumable&upload_id={id}");
    state.sessions.lock().insert(id, Session { goal, bytes: Pieces::default(), done: None });
    let mut reply = Reply::bytes(200, "");
    reply.header("location", &url);
    reply
}

pub(super) fn go_on(state: &State, id: &str, headers: &HeaderMap, body: &Bytes) -> Reply {
    let mut sessions = state.sessions.lock();
    let Some(session) = sessions.get_mut(id) else {
        return refused(404, "notFound", "Not Found");
    };
    if let Some(done) = &session.done {
        return Reply::of(done);
    }
    let range = text(headers, "content-range").strip_prefix("bytes ").unwrap_or_default();
    let (span, total) = range.split_once('/').unwrap_or((range, "*"));
    if let Some((from, _)) = span.split_once('-') {
        if from.parse::<usize>().ok() != Some(session.bytes.len()) {
            return refused(400, "badRequest", "The bytes do not follow on those that have arrived.");
        }
        session.bytes.add(body.clone(), total.parse().unwrap_or(0));
    }
    let whole = total.parse::<usize>().ok() == Some(session.bytes.len());
    if !whole && span != "*" && !session.bytes.len().is_multiple_of(GRAIN_BYTES) {
        let kept = session.bytes.len() / GRAIN_BYTES * GRAIN_BYTES;
        session.bytes.truncate(kept);
    }
    if whole {
        let bytes = session.bytes.take();
        return match session.goal.reach(state, bytes) {
            Ok(done) => Reply::of(session.done.insert(done)),
            Err(refused) => refused,
        };
    }
    let mut reply = Reply::bytes(308, "");
    if let Some(last) = session.bytes.len().checked_sub(1) {
        reply.header("range", &format!("bytes=0-{last}"));
    }
    reply
}

/// The JSON, the type and the bytes of an upload in two parts.
pub(super) fn related(content_type: &str, body: &Bytes) -> Option<(Value, String, Bytes)> {
    let boundary =
        content_type.split("boundary=").nth(1)?.split(';').next()?.trim().trim_matches(['"', '\'']);
    let mark = format!("--{boundary}");
    let at = |from: usize, what: &[u8]| memchr::memmem::find(body.get(from..)?, what).map(|at| from + at);
    let first = at(0, mark.as_bytes())? + mark.len();
    let about = at(first, b"\r\n\r\n").or_else(|| at(first, b"\n\n").map(|at| at - 2))? + 4;
    let second = at(about, mark.as_bytes())?;
    let head = at(second, b"\r\n\r\n").or_else(|| at(second, b"\n\n").map(|at| at - 2))? + 4;
    let end = at(head, format!("\r\n{mark}").as_bytes())?;
    let said = String::from_utf8_lossy(body.get(second..head)?).to_ascii_lowercase();
    let kind = said.split("content-type:").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let about = serde_json::from_slice(body.get(about..second)?.trim_ascii_end()).ok()?;
    Some((about, kind.trim().to_owned(), body.slice(head..end)))
}

/// An object takes the place of one that has its name.
fn store(state: &State, bucket: &str, name: &str, kind: &str, bytes: Bytes) -> Value {
    let file = state.files.put(format!("{bucket}/{name}"), (name, kind), state.clock.now(), bytes);
    view(bucket, &file)
}

fn view(bucket: &str, file: &File) -> Value {
    let at = i64::try_from(file.created_at).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
    let generation = format!("{}000001", file.created_at);
    let mut view = json!({
        "kind": "storage#object", "id": format!("{}/{generation}", file.id), "name": file.filename, "bucket": bucket,
        "generation": generation, "metageneration": "1", "contentType": file.purpose, "storageClass": "STANDARD",
        "size": file.bytes.to_string(), "timeCreated": at, "updated": at,
    });
    if let Content::Stored(bytes) = &file.content {
        view["crc32c"] = STANDARD.encode(crc32c(bytes).to_be_bytes()).into();
    }
    view
}

/// CRC-32C, as objects are summed with.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ CRC32C[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(!0, step)
}

/// What each byte does to a sum.
const CRC32C: [u32; 256] = {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let (mut table, mut byte) = ([0; 256], 0_u32);
    while byte < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// GET /storage/v1/b/{bucket}/o, by name; a token is the name of the last one before.
pub(super) fn list(state: &State, bucket: &str, query: &HashMap<String, String>) -> Reply {
    let prefix = format!("{bucket}/{}", query.get("prefix").map(String::as_str).unwrap_or_default());
    let size = query.get("maxResults").and_then(|text| text.parse().ok()).unwrap_or(PAGE).clamp(1, PAGE);
    let mut found: Vec<Arc<File>> =
        state.files.all().into_iter().filter(|file| file.id.starts_with(&prefix)).collect();
    found.sort_by(|one, other| one.filename.cmp(&other.filename));
    if let Some(after) = query.get("pageToken") {
        found.retain(|file| file.filename > *after);
    }
    let page: Vec<Value> = found.iter().take(size).map(|file| view(bucket, file)).collect();
    let mut body = json!({"kind": "storage#objects"});
    if let Some(last) = found.get(size.saturating_sub(1)).filter(|_| found.len() > size) {
        body["nextPageToken"] = last.filename.clone().into();
    }
    if !page.is_empty() {
        body["items"] = page.into();
    }
    Reply::of(&body)
}

pub(super) fn retrieve(state: &State, bucket: &str, object: &str) -> Reply {
    match state.files.get(&format!("{bucket}/{object}")) {
        Some(file) => Reply::of(&view(bucket, &file)),
        None => no_object(bucket, object),
    }
}

pub(super) fn media(state: &Arc<State>, bucket: &str, object: &str) -> Reply {
    let spoilt = files::Spoilt::drawn(state);
    if state.faults.hit(Fault::Forbidden, Place::Content) {
        let message = "bulkrate does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).";
        return refused(403, "forbidden", message);
    }
    files::content(state, &format!("{bucket}/{object}"), &spoilt)
        .unwrap_or_else(|_| no_object(bucket, object))
}

pub(super) fn delete(state: &State, bucket: &str, object: &str) -> Reply {
    if !state.files.remove(&format!("{bucket}/{object}")) {
        return no_object(bucket, object);
    }
    Reply::empty(204)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(STANDARD.encode(crc32c(b"").to_be_bytes()), "AAAAAA==");
    }

    #[test]
    fn an_upload_in_two_parts() {
        let body = Bytes::from_static(
            b"--==7==\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{\"name\": \"in/a.jsonl\"}\r\n--==7==\r\ncontent-type: text/plain\r\n\r\none\r\ntwo\r\n--==7==--",
        );
        let (about, kind, media) = related("multipart/related; boundary=\"==7==\"", &body).unwrap();
        assert_eq!(
            (about["name"].as_str(), kind.as_str(), media.as_ref()),
            (Some("in/a.jsonl"), "text/plain", &b"one\r\ntwo"[..])
        );
        assert!(related("multipart/related", &body).is_none());
    }
}
