//! THE table: what status, type, code and text of an Anthropic error mean.
//!
//! `error.details.error_code` decides before `error.type`, and that before the status. Three rows (marked `text`) hang on a text, as
//! the API says these things in no other field.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Reply;
use crate::http::table::{ANY, Row, Told, all, row};
use crate::http::{limits, strange};
use crate::json::loose::LooseText;

/// An error as the API wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub kind: String,
    pub code: Option<String>,
    pub message: String,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    error: Inner<'a>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(borrow, default)]
    details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    error_code: LooseText<'a>,
}

/// Reads an error body; `None` where it is not one (a proxy's page).
#[must_use]
pub fn read(body: &[u8]) -> Option<Said> {
    let inner = serde_json::from_slice::<Outer<'_>>(body).ok()?.error;
    let details = inner.details.and_then(|details| serde_json::from_str::<Details<'_>>(details.get()).ok());
    Some(Said {
        kind: inner.kind.into_owned()?,
        code: details.and_then(|details| details.error_code.into_owned()),
        message: inner.message.into_owned().unwrap_or_default(),
    })
}

/// Money ran out, or the account is closed: no wait cures it, whatever the status.
const BILLING: &[&str] = &[
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_billing_unavailable",
    "linked_organization_spend_limit_reached",
    "organization_on_hold",
];

#[rustfmt::skip]
const TABLE: &[Row<Said>] = &[
    row(ANY, |said| said.coded(BILLING), FailureClass::Billing),
    row(ANY, |said| said.coded(&["cmek_key_disabled"]), FailureClass::Auth),
    row(ANY, |said| said.kind == "billing_error", FailureClass::Billing),
    row((402, 402), all, FailureClass::Billing),
    row((400, 400), |said| said.message.contains("credit balance is too low"), FailureClass::Billing), // text
    row((400, 400), |said| said.message.starts_with("You have reached your specified"), FailureClass::Billing), // text: a limit of one's own
    row((400, 400), |said| said.message.contains("content filtering policy"), FailureClass::ContentPolicy), // text
    // A setting of the account, and so it is with each of its calls.
    row((400, 400), |said| said.message.contains("`anthropic-beta` header"), FailureClass::Auth), // text
    row((401, 401), all, FailureClass::Auth),
    row((403, 403), all, FailureClass::Auth),
    row((404, 404), all, FailureClass::ModelUnavailable),
    row((408, 409), all, FailureClass::Transient),
    row((429, 429), all, FailureClass::RateLimited),
    row((400, 499), all, FailureClass::RefusedByProvider),
    row((504, 504), |said| said.kind == "timeout_error", FailureClass::Timeout),
    // Everybody's capacity, not the account's: nothing ran, and to wait for room is no attempt.
    row(ANY, |said| said.kind == "overloaded_error", FailureClass::RateLimited),
    row(ANY, all, FailureClass::Transient),
];

impl Said {
    fn coded(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// What the error means when it came with `status`. `maybe_paid` is false: the provider refused in its own words.
    #[must_use]
    pub fn failure(&self, status: u16, wait_ms: Option<u64>) -> Failure {
        let code = Some(self.code.as_deref().unwrap_or(&self.kind));
        Told { said: self, status, message: &self.message, code, wait_ms }.failure(TABLE)
    }

    /// The status that an error of this type has; for those that come without one of their own.
    #[must_use]
    pub fn usual_status(&self) -> u16 {
        match self.kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    }
}

/// What a reply that is no success means for the one call it answers.
#[must_use]
pub fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    match read(&reply.body) {
        Some(said) if reply.status >= 400 => {
            said.failure(reply.status, limits::wait_ms(&reply.headers, "", now_unix_s))
        }
        // The edge says it with a page or with nothing. What was not taken in was not run.
        _ if reply.status == 413 => {
            let message = "the request is larger than the API takes (32 MB)".to_owned();
            Said { kind: "request_too_large".to_owned(), code: None, message }.failure(413, None)
        }
        _ => strange::foreign(reply, now_unix_s),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn error(kind: &str, code: &str, message: &str) -> String {
        let details =
            if code.is_empty() { "null".to_owned() } else { format!(r#"{{"error_code":"{code}"}}"#) };
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}","details":{details}}},"request_id":"req_1"}}"#
        )
    }

    #[test]
    fn every_row_of_the_table() {
        use FailureClass::*;
        for (status, kind, code, message, class) in [
            (
                400,
                "invalid_request_error",
                "",
                "messages: at least one message is required",
                RefusedByProvider,
            ),
            (
                400,
                "invalid_request_error",
                "",
                "Your credit balance is too low to access the Anthropic API.",
                Billing,
            ),
            (400, "invalid_request_error", "", "You have reached your specified API usage limits.", Billing),
            (400, "invalid_request_error", "", "Output blocked by content filtering policy", ContentPolicy),
            (400, "invalid_request_error", "organization_on_hold", "x", Billing),
            (400, "invalid_request_error", "cmek_key_disabled", "x", Auth),
            (
                400,
                "invalid_request_error",
                "",
                "Unexpected value(s) `x` for the `anthropic-beta` header. Please consult our documentation",
                Auth,
            ),
            (401, "authentication_error", "", "invalid x-api-key", Auth),
            (402, "billing_error", "linked_organization_spend_limit_reached", "x", Billing),
            (402, "billing_error", "", "x", Billing),
            (403, "permission_error", "", "x", Auth),
            (404, "not_found_error", "", "model: claude-nobody", ModelUnavailable),
            (409, "conflict_error", "", "x", Transient),
            (413, "request_too_large", "", "x", RefusedByProvider),
            (429, "rate_limit_error", "", "x", RateLimited),
            (429, "rate_limit_error", "ramp_limit_exceeded", "x", RateLimited),
            (429, "rate_limit_error", "enforced_spend_limit_reached", "x", Billing),
            (429, "rate_limit_error", "contract_spend_limit_reached", "x", Billing),
            (500, "api_error", "", "x", Transient),
            (503, "api_error", "cmek_key_unreachable", "x", Transient),
            (504, "timeout_error", "", "x", Timeout),
            (529, "overloaded_error", "", "Overloaded", RateLimited),
            (418, "of_tomorrow", "", "x", RefusedByProvider),
        ] {
            let failure = classify(&reply(status, &error(kind, code, message)), 0);
            let shown = if code.is_empty() { kind } else { code };
            assert_eq!(
                (failure.class, failure.provider_code.as_deref(), failure.maybe_paid),
                (class, Some(shown), false),
                "{status} {kind} {code} {message}"
            );
        }
    }

    #[test]
    fn a_page_that_is_not_the_providers_may_hide_a_paid_call() {
        for (status, body, class, maybe_paid) in [
            (502, "<html>bad gateway</html>", FailureClass::Transient, true),
            (529, "<html>overloaded</html>", FailureClass::Transient, true),
            (500, "", FailureClass::Transient, true),
            (403, r#"{"message":"Forbidden"}"#, FailureClass::Transient, true),
            (404, "{}", FailureClass::Transient, true),
            (500, r#"{"error":"x"}"#, FailureClass::Transient, true),
            (307, r#"{"error":{"type":"api_error","message":"x"}}"#, FailureClass::Transient, true),
            (413, "<html>too large</html>", FailureClass::RefusedByProvider, false),
            (413, "", FailureClass::RefusedByProvider, false),
        ] {
            let failure = classify(&reply(status, body), 0);
            assert_eq!((failure.class, failure.maybe_paid), (class, maybe_paid), "{status} {body}");
        }
    }

    #[test]
    fn only_a_retry_has_a_wait() {
        for (kind, code, wait) in [
            ("rate_limit_error", "", Some(7_000)),
            ("rate_limit_error", "enforced_spend_limit_reached", None),
        ] {
            let mut busy = reply(429, &error(kind, code, "x"));
            busy.headers.insert("retry-after", HeaderValue::from_static("7"));
            assert_eq!(classify(&busy, 0).wait_ms, wait, "{code}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(status: u16, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = classify(&Reply { status, headers: HeaderMap::new(), body: Bytes::from(bytes) }, 0);
        }
    }
}
