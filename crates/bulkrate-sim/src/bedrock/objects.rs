//! S3, as far as jobs need it: objects put, read, listed and deleted. Answers and errors are XML, and nothing is said of success.

use super::Verb;
use crate::errors::ApiError;
use crate::files::{self, File, Spoilt};
use crate::server::{Reply, State};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

const XML: &str = "application/xml";
/// Objects that a page of a list has at most.
const PAGE: usize = 1_000;

/// How an object is called among the files of the account.
pub(super) fn uri(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

pub(super) fn answer(
    state: &Arc<State>,
    verb: Verb,
    bucket: &str,
    key: &str,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    if state.config.bucket.as_deref().is_some_and(|known| known != bucket) {
        return Err(ApiError::new(404, "NoSuchBucket", None, "The specified bucket does not exist"));
    }
    if let Some(region) = state.config.bucket_region.as_deref() {
        return Ok(elsewhere(bucket, region, verb));
    }
    let id = uri(bucket, key);
    match verb {
        Verb::Put => Ok(put(state, &id, body)),
        Verb::Delete => {
            state.files.remove(&id);
            Ok(Reply::empty(204))
        }
        Verb::List => Ok(list(state, bucket, query)),
        Verb::Head => {
            let file = state.files.get(&id).ok_or_else(no_key)?;
            let mut reply = Reply::empty(200);
            reply.header("x-amz-meta-length", &file.bytes.to_string());
            Ok(reply)
        }
        Verb::Get => {
            let spoilt = Spoilt::drawn(state);
            if spoilt.gone || state.files.get(&id).is_none() {
                return Err(no_key());
            }
            let mut reply = files::content(state, &id, &spoilt)?;
            reply.content_type = Some("binary/octet-stream");
            reply.header("etag", &etag(&id));
            Ok(reply)
        }
    }
}

/// A bucket of another region is told, and where it is; what answers a HEAD has no words.
fn elsewhere(bucket: &str, region: &str, verb: Verb) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.</Message><Endpoint>{bucket}.s3.{region}.amazonaws.com</Endpoint><Bucket>{bucket}</Bucket><RequestId>SIM</RequestId></Error>"
    );
    let mut reply = if verb == Verb::Head { Reply::empty(301) } else { Reply::bytes(301, body) };
    reply.content_type = Some(XML);
    reply.header("x-amz-bucket-region", region);
    reply
}

fn no_key() -> ApiError {
    ApiError::new(404, "NoSuchKey", None, "The specified key does not exist.")
}

fn etag(id: &str) -> String {
    format!("\"{:032x}\"", super::digest(id))
}

fn put(state: &State, id: &str, body: &Bytes) -> Reply {
    store(state, id, body.clone());
    let mut reply = Reply::empty(200);
    reply.header("etag", &etag(id));
    reply
}

/// Writes an object; one of the same key goes.
pub(super) fn store(state: &State, id: &str, bytes: Bytes) {
    let name = id.rsplit('/').next().unwrap_or_default();
    state.files.put(id.to_owned(), (name, "object"), state.clock.now(), bytes);
}

/// By key. A token is the key after which the page begins.
fn list(state: &State, bucket: &str, query: &HashMap<String, String>) -> Reply {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let start = uri(bucket, text("prefix"));
    let max = query.get("max-keys").and_then(|text| text.parse().ok()).unwrap_or(PAGE).min(PAGE);
    let after = uri(bucket, text("continuation-token"));
    let mut found: Vec<Arc<File>> = state.files.starting_with(&start);
    found.sort_by(|left, right| left.id.cmp(&right.id));
    found.retain(|file| file.id > after);
    let more = found.len() > max;
    found.truncate(max);
    let root = uri(bucket, "");
    let key = |file: &File| escaped(file.id.strip_prefix(&root).unwrap_or(&file.id));
    let contents: String = found
        .iter()
        .map(|file| {
            format!(
                "<Contents><Key>{}</Key><ETag>{}</ETag><Size>{}</Size></Contents>",
                key(file),
                escaped(&etag(&file.id)),
                file.bytes
            )
        })
        .collect();
    let next = found.last().filter(|_| more).map_or_else(String::new, |last| {
        format!("<NextContinuationToken>{}</NextContinuationToken>", key(last))
    });
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{max}</MaxKeys><IsTruncated>{more}</IsTruncated>{contents}{next}</ListBucketResult>",
        escaped(text("prefix")),
        found.len(),
    );
    let mut reply = Reply::bytes(200, body);
    reply.content_type = Some(XML);
    reply
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An error in S3's shape, whose names are its own.
pub(super) fn error(status: u16, name: &str, message: &str) -> Reply {
    let (status, code) = match name {
        "ExpiredTokenException" => (400, "ExpiredToken"),
        "UnrecognizedClientException" => (403, "InvalidAccessKeyId"),
        "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
        "AccessDeniedException" | "MissingAuthenticationTokenException" => (403, "AccessDenied"),
        "ThrottlingException" | "ServiceUnavailableException" => (503, "SlowDown"),
        "InternalServerException" => (500, "InternalError"),
        "ResourceNotFoundException" if message.contains("bucket") => (404, "NoSuchBucket"),
        "ResourceNotFoundException" => (404, "NoSuchKey"),
        _ => (status, "InvalidRequest"),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message><RequestId>SIM</RequestId></Error>",
        escaped(message)
    );
    let mut reply = Reply::bytes(status, body);
    reply.content_type = Some(XML);
    reply
}
