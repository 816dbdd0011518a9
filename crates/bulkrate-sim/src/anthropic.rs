//! Anthropic's manners around its calls: keys and versions, headers, errors, the list of models.

use crate::catalogue::Catalogue;
use crate::errors::{ApiError, invalid};
use crate::limits::{Headroom, Left};
use crate::rng::push_base62;
use crate::server::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The version that knows no sampling parameters.
pub(crate) const WITHOUT_SAMPLING: &str = "2026-10-21";
const VERSIONS: &[&str] = &["2023-06-01", WITHOUT_SAMPLING];
const BETA: &str = "anthropic-beta";
/// Betas that calls and batches of messages may name, as Anthropic's client lists them.
const BETAS: &[&str] = &[
    "compact-2026-09-04",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "extended-cache-ttl-2025-04-11",
    "fast-mode-2026-02-01",
    "files-api-2025-04-14",
    "interleaved-thinking-2025-05-14",
    "message-batches-2024-09-24",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "structured-outputs-2025-11-13",
    "thinking-token-count-2026-05-13",
    "token-efficient-tools-2025-02-19",
];

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// One of the two forms of a key, and a version.
pub(crate) fn authenticate(known: Option<&str>, headers: &HeaderMap) -> Result<(), ApiError> {
    let own = text(headers, "x-api-key");
    let bearer = text(headers, "authorization").strip_prefix("Bearer ").unwrap_or_default().trim();
    let refused = |message: &str| Err(ApiError::new(401, "authentication_error", None, message));
    let key = match (own, bearer) {
        ("", "") => return refused("x-api-key header is required"),
        (key, "") | ("", key) => key,
        _ => return refused("only one of x-api-key and Authorization may be set"),
    };
    if known.is_some_and(|known| known != key) {
        return refused("invalid x-api-key");
    }
    let bad = |message: String| Err(invalid(message));
    match text(headers, "anthropic-version") {
        "" => bad("anthropic-version: header is required".to_owned()),
        version if VERSIONS.contains(&version) => check_betas(headers),
        version => bad(format!("anthropic-version: \"{version}\" is not a valid version")),
    }
}

/// The headers by which a call is to be read, as far as it has them.
pub(crate) fn told(headers: &HeaderMap) -> impl Iterator<Item = (&'static str, &str)> {
    ["anthropic-version", BETA]
        .into_iter()
        .filter(|name| headers.contains_key(*name))
        .map(|name| (name, text(headers, name)))
}

/// A beta that nobody knows is refused, and so is an empty header.
fn check_betas(headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers.contains_key(BETA).then(|| text(headers, BETA));
    let named = sent.into_iter().flat_map(|betas| betas.split(',')).map(str::trim);
    let unknown: Vec<String> =
        named.filter(|beta| !BETAS.contains(beta)).map(|beta| format!("`{beta}`")).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!(
            "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation at docs.anthropic.com or try again without the header.",
            unknown.join(", ")
        ))),
    }
}

/// Whether the version of a call knows sampling parameters.
pub(crate) fn knows_sampling(headers: &HeaderMap) -> bool {
    text(headers, "anthropic-version") != WITHOUT_SAMPLING
}

/// What the version of a call does not know, whatever its value.
pub(crate) fn check_fields(samples: bool, body: &[u8]) -> Result<(), ApiError> {
    if samples {
        return Ok(());
    }
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    match ["temperature", "top_p", "top_k"].into_iter().find(|name| fields.contains_key(*name)) {
        Some(name) => Err(ApiError::invalid(None, name, format!("{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

fn request_id(key: u64) -> String {
    let mut id = b"req_01".to_vec();
    push_base62(&mut id, key, 22);
    String::from_utf8(id).unwrap_or_default()
}

/// What every answer has.
pub(crate) fn headers(headers: &mut HeaderMap, key: u64) {
    if let Ok(id) = HeaderValue::from_str(&request_id(key)) {
        headers.insert(HeaderName::from_static("request-id"), id);
    }
    let organization = HeaderValue::from_static("00000000-0000-4000-8000-000000000000");
    headers.insert(HeaderName::from_static("anthropic-organization-id"), organization);
}

/// What is left, and when all of it is back.
pub(crate) fn headroom(reply: &mut Reply, headroom: &Headroom) {
    let mut add = |names: [&'static str; 3], left: Left, unit: u64| {
        reply.header(names[0], &left.limit.to_string());
        reply.header(names[1], &(left.remaining / unit * unit).to_string());
        reply.header(names[2], &instant(left.reset));
    };
    if let Some(left) = headroom.requests {
        let names = [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ];
        add(names, left, 1);
    }
    if let Some(left) = headroom.tokens {
        let names = [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ];
        add(names, left, 1_000);
    }
}

/// So long from now, by the real clock: limits are kept in real time.
fn instant(span: Duration) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from((since + span).as_millis()).unwrap_or(0);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// An error in Anthropic's shape.
pub(crate) fn error(reply: Reply, key: u64) -> Reply {
    let Some(error) = reply.said_error() else { return reply };
    let message = error["message"].as_str().unwrap_or_default();
    let (status, body) = error_body(reply.status, error["code"].as_str(), message, key);
    let mut reply = reply.with_body(Bytes::from(serde_json::to_vec(&body).unwrap_or_default()));
    reply.status = status;
    reply.headers.retain(|(name, _)| name != "retry-after-ms");
    reply
}

/// Status and body of an error.
pub(crate) fn error_body(status: u16, code: Option<&str>, message: &str, key: u64) -> (u16, Value) {
    let (status, kind, detail) = match (status, code.unwrap_or_default()) {
        (429, "insufficient_quota") => (429, "rate_limit_error", Some("enforced_spend_limit_reached")),
        (429, "slow_down") => (429, "rate_limit_error", Some("ramp_limit_exceeded")),
        (403, "model_not_found") => (404, kind(404), None),
        (503, _) => (529, "overloaded_error", None),
        (status, _) => (status, kind(status), None),
    };
    let mut shaped = json!({"type": kind, "message": message});
    if let Some(code) = detail {
        shaped["details"] = json!({"error_code": code});
    }
    (status, json!({"type": "error", "error": shaped, "request_id": request_id(key)}))
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

fn listed(id: &str) -> Value {
    json!({"id": id, "type": "model", "display_name": id, "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active"})
}

pub(crate) fn models(models: &Catalogue) -> Reply {
    let names = models.names();
    let data: Vec<Value> = names.iter().map(|name| listed(name)).collect();
    Reply::of(&json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()}))
}

pub(crate) fn model(models: &Catalogue, id: &str) -> Result<Reply, ApiError> {
    models.find(id).map(|_| Reply::of(&listed(id)))
}
