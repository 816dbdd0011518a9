//! THE table: what status, type, code and text of an OpenAI-shaped error mean.
//!
//! Logic never hangs on a text, but for two that no other field tells apart (rows marked `text`).

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Reply;
use crate::http::table::{ANY, Row, Told, all, coded, row};
use crate::http::{limits, strange};
use crate::json::loose::LooseText;

/// An error as a provider wrote it, whatever the shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub message: String,
    pub kind: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
    /// `{"error": {...}}` with a message: the shape of OpenAI itself. Others are taken from servers that speak it loosely.
    pub is_nested: bool,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    code: LooseText<'a>,
    #[serde(borrow, default)]
    param: LooseText<'a>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    code: LooseText<'a>,
    #[serde(borrow, default)]
    param: LooseText<'a>,
}

/// Reads an error body; `None` where it is not one (a proxy's page).
#[must_use]
pub fn read(body: &[u8]) -> Option<Said> {
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    if let Some(error) = outer.error {
        let said = read_inner(error)?;
        // xAI's code stands beside its text.
        let code = said.code.or_else(|| outer.code.into_owned().filter(|_| !said.is_nested));
        return Some(Said { code, ..said });
    }
    // Flat: SGLang's `{"object":"error","message":...}`, or a bare `detail` of a FastAPI server.
    let is_flat = outer.object.as_deref() == Some("error") || outer.kind.is_some() || outer.code.is_some();
    if let (true, Some(message)) = (is_flat, outer.message.as_deref()) {
        return Some(Said {
            message: message.to_owned(),
            kind: outer.kind.into_owned(),
            code: outer.code.into_owned(),
            param: outer.param.into_owned(),
            is_nested: false,
        });
    }
    let detail = outer.detail?.get();
    let message = serde_json::from_str::<String>(detail).unwrap_or_else(|_| detail.to_owned());
    Some(Said { message, ..Said::default() })
}

/// The value of `error`: an object, or the bare text that vLLM answers to a wrong key.
pub(super) fn read_inner(error: &RawValue) -> Option<Said> {
    if let Ok(message) = serde_json::from_str::<String>(error.get()) {
        return Some(Said { message, ..Said::default() });
    }
    let inner: Inner<'_> = serde_json::from_str(error.get()).ok()?;
    let is_nested = inner.message.is_some();
    if !is_nested && inner.kind.is_none() && inner.code.is_none() {
        return None;
    }
    Some(Said {
        message: inner.message.into_owned().unwrap_or_default(),
        kind: inner.kind.into_owned(),
        code: inner.code.into_owned(),
        param: inner.param.into_owned(),
        is_nested,
    })
}

/// Money ran out: a 429 that no wait can cure.
const BILLING: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
];

const POLICY: &[&str] = &[
    "content_policy_violation",
    "moderation_blocked",
    "content_filter",
    "invalid_prompt",
    "bio_policy",
    "cyber_policy",
    "misalignment_policy_violation",
];

/// Nothing of this name is there, or it does other things: no item of the job can be answered.
const NO_MODEL: &[&str] = &["model_not_found", "DeploymentNotFound", "OperationNotSupported"];

/// A server's own queue is full: nothing ran, and waiting for room is no attempt.
const QUEUE_FULL: &[&str] = &["ServiceUnavailableError", "Service Unavailable", "unavailable_error"];

#[rustfmt::skip]
const TABLE: &[Row<Said>] = &[
    row(ANY, |said| said.named(BILLING), FailureClass::Billing),
    row((402, 402), all, FailureClass::Billing),
    row(ANY, |said| said.named(POLICY), FailureClass::ContentPolicy),
    row(ANY, |said| said.named(NO_MODEL), FailureClass::ModelUnavailable),
    row((401, 401), all, FailureClass::Auth),
    row((403, 403), all, FailureClass::Auth),
    row((404, 404), all, FailureClass::ModelUnavailable),
    coded((429, 429), Said::is_flex_refusal, FailureClass::RateLimited, "resource_unavailable"), // text
    coded((429, 429), |said| said.named(&["slow_down"]), FailureClass::RateLimited, "slow_down"),
    coded((429, 429), |said| said.message.starts_with("Request too large"), FailureClass::RefusedByProvider, "request_too_large"), // text
    row((429, 429), all, FailureClass::RateLimited),
    row((498, 498), all, FailureClass::RateLimited), // Groq: no flex capacity
    row(ANY, |said| said.named(&["token_limit_exceeded", "rate_limit_exceeded"]), FailureClass::RateLimited),
    row((408, 409), all, FailureClass::Transient),
    row((425, 425), all, FailureClass::Transient),
    coded((400, 400), |said| said.param.as_deref() == Some("service_tier"), FailureClass::RefusedByProvider, "service_tier"),
    row((400, 499), all, FailureClass::RefusedByProvider),
    row((503, 503), |said| said.named(QUEUE_FULL), FailureClass::RateLimited),
    row(ANY, all, FailureClass::Transient),
];

impl Said {
    fn named(&self, names: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|name| names.contains(&name.as_str()))
    }

    fn is_flex_refusal(&self) -> bool {
        self.named(&["resource_unavailable"])
            || self.message.to_ascii_lowercase().contains("resource unavailable")
    }

    /// What the error means when it came with `status`. `maybe_paid` is false: the provider refused in its own words.
    #[must_use]
    pub fn failure(&self, status: u16, wait_ms: Option<u64>) -> Failure {
        let code = self.code.as_deref().or(self.kind.as_deref());
        Told { said: self, status, message: &self.message, code, wait_ms }.failure(TABLE)
    }
}

/// What a reply that is no success means for the one call it answers.
#[must_use]
pub fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    match read(&reply.body) {
        Some(said) if reply.status >= 400 => {
            let wait = limits::wait_ms(&reply.headers, &said.message, now_unix_s);
            said.failure(reply.status, wait)
        }
        _ => strange::foreign(reply, now_unix_s),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;
    use proptest::prelude::*;

    #[derive(Deserialize)]
    struct Case<'a> {
        status: u16,
        #[serde(borrow)]
        body: &'a RawValue,
        class: &'a str,
        code: &'a str,
        #[serde(default)]
        wait_ms: Option<u64>,
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn every_row_of_the_table() {
        for line in include_str!("../../fixtures/openai/errors.jsonl").lines() {
            let case: Case<'_> = serde_json::from_str(line).unwrap();
            let failure = classify(&reply(case.status, case.body.get()), 0);
            let got =
                (failure.class.name(), failure.provider_code.as_deref(), failure.wait_ms, failure.maybe_paid);
            assert_eq!(got, (case.class, Some(case.code), case.wait_ms, false), "{line}");
        }
    }

    #[test]
    fn a_page_that_is_not_the_providers_may_hide_a_paid_call() {
        for (status, body) in [
            (502, "<html>bad gateway</html>"),
            (400, "<html>"),
            (500, ""),
            (503, "null"),
            (404, "{}"),
            (403, r#"{"message":"Forbidden"}"#),
            (307, r#"{"error":{"message":"x"}}"#),
            (500, r#"{"error":{}}"#),
            (500, r#"{"error":7}"#),
        ] {
            let failure = classify(&reply(status, body), 0);
            assert_eq!(
                (failure.class, failure.maybe_paid),
                (FailureClass::Transient, true),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn only_a_retry_has_a_wait() {
        let mut refused =
            reply(400, r#"{"error":{"message":"x","type":"invalid_request_error","code":null}}"#);
        refused.headers.insert("retry-after", http::HeaderValue::from_static("7"));
        assert_eq!(classify(&refused, 0).wait_ms, None);
        let mut busy =
            reply(429, r#"{"error":{"message":"x","type":"requests","code":"rate_limit_exceeded"}}"#);
        busy.headers.insert("retry-after", http::HeaderValue::from_static("7"));
        assert_eq!(classify(&busy, 0).wait_ms, Some(7_000));
    }

    proptest! {
        #[test]
        fn reading_never_panics(status: u16, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = classify(&Reply { status, headers: HeaderMap::new(), body: Bytes::from(bytes) }, 0);
        }
    }
}
