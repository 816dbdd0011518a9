//! What a provider sends, and what stands between it and us.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bulkrate_core::answer::Reading;
use bulkrate_core::request::Kind;
use bulkrate_provider::http::limits;
use bulkrate_provider::openai::{Dialect, OpenAi};
use bulkrate_provider::{CallError, ChatEndpoint, Exchange, Provider, Reply, Settings, Wire};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const KINDS: [Kind; Kind::ALL.len()] = Kind::ALL;

/// A line that leads nowhere: nothing is sent.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Exchange for Nowhere {
    async fn exchange(&self, _: http::Method, path: &str, _: Bytes) -> Result<Reply, CallError> {
        Err(CallError::NotSent { origin: path.to_owned(), why: "there is no network here".to_owned() })
    }
}

fn open(chat_endpoint: ChatEndpoint) -> Arc<dyn Provider> {
    let settings = Settings { chat_endpoint, trust_body_cost: true, ..Settings::default() };
    let nowhere: Arc<dyn Exchange> = Arc::new(Nowhere);
    match OpenAi::over(Dialect::OPENAI, &settings, &nowhere) {
        Ok(api) => Arc::new(api),
        Err(error) => panic!("{error}"),
    }
}

/// Nothing is sent to where it would be.
fn of(name: &str) -> Arc<dyn Provider> {
    let base_url = Some("http://127.0.0.1:1".to_owned());
    let role_arn = Some("arn:aws:iam::1:role/r".to_owned());
    let storage = Some(if name == "vertex" { "gs://bucket" } else { "s3://b" }.to_owned());
    match bulkrate_provider::open(name, &Settings { base_url, role_arn, storage, ..Settings::default() }) {
        Ok(api) => api,
        Err(error) => panic!("{error}"),
    }
}

fn apis() -> &'static [Arc<dyn Provider>; 6] {
    static APIS: OnceLock<[Arc<dyn Provider>; 6]> = OnceLock::new();
    APIS.get_or_init(|| {
        let openai = [ChatEndpoint::ChatCompletions, ChatEndpoint::Responses].map(open);
        let [chat, responses] = openai;
        [chat, responses, of("anthropic"), of("gemini"), of("bedrock"), of("vertex")]
    })
}

pub(crate) fn wire() -> &'static dyn Wire {
    apis()[0].wire()
}

/// A failure says why, shortly: it ends in a report.
fn looked_at(reading: &Reading<'_>) {
    if let Reading::Failure(failure) = reading {
        assert!(failure.message.len() <= 64 << 10, "a message of {} bytes", failure.message.len());
    }
}

pub fn batch_line(bytes: &[u8]) {
    for (api, kind) in apis().iter().flat_map(|api| KINDS.map(|kind| (api, kind))) {
        match api.batches().map(|batches| batches.read_line(kind, bytes)) {
            Some(Ok(line)) => looked_at(&line.reading),
            Some(Err(why)) => assert!(!why.is_empty()),
            None => {} // no batches, no lines
        }
    }
}

/// The first byte chooses the status.
pub fn reply(bytes: &[u8]) {
    let (first, body) = bytes.split_first().unwrap_or((&0, &[]));
    let statuses = [200, 200, 200, 400, 401, 404, 408, 429, 500, 502, 503, 529, 302, 204];
    let status = statuses[usize::from(*first) % statuses.len()];
    let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body) };
    for (api, kind) in apis().iter().flat_map(|api| KINDS.map(|kind| (api, kind))) {
        looked_at(&api.wire().read(kind, &reply));
    }
}

const NAMES: [&str; 8] = [
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];

/// Lines of values; the first byte of each chooses its header. A wait is between a millisecond and an hour.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let message = String::from_utf8_lossy(bytes);
    for now in [0, 1_790_000_000, i64::MAX, i64::MIN] {
        if let Some(wait) = limits::wait_ms(&headers, &message, now) {
            assert!((1..=3_600_000).contains(&wait), "{wait}");
        }
    }
    let _ = (limits::limit_hints(&headers), limits::go_duration_ms(&message));
    let _ = (limits::text_wait_ms(&message), limits::http_date_unix_s(&message));
}
