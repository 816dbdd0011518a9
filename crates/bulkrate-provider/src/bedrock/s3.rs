//! S3, as far as batches need it: one object put, read and deleted at a time. Its errors are XML.
//!
//! Buckets stand in the path: one host is then right for all of them, also for those with dots in their names.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use http::Method;

use super::errors::{ENDED_NAMES, Said};
use crate::api::{ApiError, Reply};
use crate::http::batches::in_path;
use crate::http::free::FreeClient;
use crate::http::limits::wait_ms;
use crate::http::sign::ENDED;
use crate::http::{strange, xml};

/// The path of an object that is called `s3://bucket/key`.
pub(super) fn path_of(uri: &str) -> String {
    let whole = uri.strip_prefix("s3://").unwrap_or(uri);
    whole.split('/').map(|part| format!("/{}", in_path(part))).collect()
}

/// An error as S3 wrote it; `None` where it is not one.
pub(super) fn read(reply: &Reply) -> Option<Said> {
    let body = std::str::from_utf8(&reply.body).ok()?;
    let name = xml::text(body, "Code").filter(|_| body.contains("<Error>"))?;
    Some(Said { name, message: xml::text(body, "Message").unwrap_or_default() })
}

/// What a reply that is no success means. A bucket that is not there, is another's or lies elsewhere is so for every file.
pub(super) fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    let Some(Said { name, mut message }) = read(reply) else { return strange::foreign(reply, now_unix_s) };
    let elsewhere = reply.header("x-amz-bucket-region");
    let class = match name.as_str() {
        "NoSuchKey" => FailureClass::ResultLostAtProvider,
        "SlowDown" | "ServiceUnavailable" => FailureClass::RateLimited,
        "RequestTimeout" => FailureClass::Timeout,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => {
            if let Some(region) = elsewhere {
                message = format!("{message}; the bucket lies in `{region}`, and `region` names another");
            }
            FailureClass::Auth
        }
        "EntityTooLarge" | "InvalidRequest" => FailureClass::RefusedByProvider,
        _ if reply.status >= 500 => FailureClass::Transient,
        _ => FailureClass::Auth,
    };
    let code = if ENDED_NAMES.contains(&name.as_str()) { ENDED.to_owned() } else { name };
    let wait_ms = wait_ms(&reply.headers, "", now_unix_s);
    Failure {
        class,
        message: format!("S3: {message} ({code})"),
        provider_code: Some(code),
        wait_ms,
        maybe_paid: false,
    }
}

/// Deletes an object. S3 says the same of one that was never there.
pub(super) async fn delete(free: &FreeClient, what: &str, uri: &str) -> Result<(), ApiError> {
    let reply = free.send(what, Method::DELETE, &path_of(uri), &[404]).await?;
    let is_gone = reply.status == 404 && read(&reply).is_some_and(|said| said.name == "NoSuchKey");
    // A fence may stand on this: only S3's own word counts.
    if is_gone || reply.status == 204 && reply.headers.contains_key("x-amz-request-id") {
        return Ok(());
    }
    free.accept(what, reply, &[])?;
    Err(free.error(what, None, FailureClass::Transient, "the answer does not say that it is deleted"))
}

/// Whether an object is there, by S3's own word; what it holds stays where it is.
pub(super) async fn is_there(free: &FreeClient, what: &str, uri: &str) -> Result<bool, ApiError> {
    let reply = free.send(what, Method::HEAD, &path_of(uri), &[301, 400, 403, 404]).await?;
    let is_s3s = |name: &&str| reply.headers.contains_key(*name);
    if reply.status == 200 && ["x-amz-request-id", "etag"].iter().any(is_s3s) {
        return Ok(true);
    }
    // What answers a HEAD has no words.
    is_absent(free, what, uri).await.map(|is_absent| !is_absent)
}

/// Whether an object is not there, by S3's own word; a bucket that is not there is another matter.
pub(super) async fn is_absent(free: &FreeClient, what: &str, uri: &str) -> Result<bool, ApiError> {
    let reply = free.send(what, Method::GET, &path_of(uri), &[404]).await?;
    match read(&reply).filter(|_| reply.status == 404) {
        Some(said) if said.name == "NoSuchKey" => Ok(true),
        _ => free.accept(what, reply, &[]).map(|_| false),
    }
}
