//! THE table: what status, reason and text of a Google error mean.
//!
//! A reason in `details` decides before `status`, and that before the HTTP status. Rows marked `text` hang on a text, as the API says
//! these things in no other field. That a quota is exceeded is said in one text, whether of a minute, a day or for good: what it says
//! of plan and billing means nothing.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::Reply;
use crate::http::limits::{go_duration_ms, now_unix_s, wait_ms};
use crate::http::strange;
use crate::http::table::{ANY, Row, Told, all, coded, row};
use crate::json::loose::LooseText;

/// The longest wait between two tries: a day's quota comes back at midnight of the Pacific coast, and asking costs nothing.
const DAY_WAIT_MS: u64 = 3_600_000;

/// An error as the API wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// `INVALID_ARGUMENT` and the like; empty where a line of a batch has only a number.
    pub status: String,
    /// The HTTP status that it stands for; for those that come without one.
    pub usual_status: u16,
    pub message: String,
    pub reason: Option<String>,
    /// A day's quota is used up.
    pub of_day: bool,
    pub retry_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(default)]
    code: Option<u16>,
    #[serde(borrow, default)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(borrow, default)]
    details: Option<&'a RawValue>,
}

/// A detail, of whatever type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow, default)]
    reason: LooseText<'a>,
    #[serde(borrow, default)]
    retry_delay: LooseText<'a>,
    #[serde(borrow, default)]
    violations: Vec<Violation<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Violation<'a> {
    #[serde(borrow, default)]
    quota_id: LooseText<'a>,
}

/// Reads an error body; `None` where it is not one (a proxy's page). Some come as the one entry of an array.
#[must_use]
pub fn read(body: &[u8]) -> Option<Said> {
    let outer: Outer<'_> = match body.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice::<[Outer<'_>; 1]>(body).map(|[one]| one),
        _ => serde_json::from_slice(body),
    }
    .ok()?;
    read_status(outer.error)
}

/// A `google.rpc.Status`.
pub(crate) fn read_status(raw: &RawValue) -> Option<Said> {
    let inner: Inner<'_> = serde_json::from_str(raw.get()).ok()?;
    let details = inner.details.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
    let details: Vec<Detail<'_>> =
        details.into_iter().flatten().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
    let violations = details.iter().flat_map(|detail| &detail.violations);
    let of_day =
        violations.filter_map(|violation| violation.quota_id.as_deref()).any(|id| id.contains("PerDay"));
    let retry_ms = details.iter().find_map(|detail| go_duration_ms(detail.retry_delay.as_deref()?));
    let status = inner.status.into_owned().unwrap_or_default();
    (!status.is_empty() || inner.code.is_some()).then(|| Said {
        usual_status: usual_status(&status, inner.code.unwrap_or(0)),
        of_day,
        retry_ms,
        reason: details.into_iter().find_map(|detail| detail.reason.into_owned()),
        status,
        message: inner.message.into_owned().unwrap_or_default(),
    })
}

/// Names of RPC errors, their numbers, and their HTTP statuses.
const RPC: &[(&str, u16, u16)] = &[
    ("INVALID_ARGUMENT", 3, 400),
    ("FAILED_PRECONDITION", 9, 400),
    ("OUT_OF_RANGE", 11, 400),
    ("UNAUTHENTICATED", 16, 401),
    ("PERMISSION_DENIED", 7, 403),
    ("NOT_FOUND", 5, 404),
    ("ABORTED", 10, 409),
    ("RESOURCE_EXHAUSTED", 8, 429),
    ("CANCELLED", 1, 499),
    ("UNAVAILABLE", 14, 503),
    ("DEADLINE_EXCEEDED", 4, 504),
];

/// The HTTP status of an error that came without one: its code is that of HTTP or that of RPCs.
fn usual_status(name: &str, code: u16) -> u16 {
    let by = |fits: &dyn Fn(&(&str, u16, u16)) -> bool| RPC.iter().find(|row| fits(row)).map(|row| row.2);
    let by_code = || if code >= 400 { Some(code) } else { by(&|row| row.1 == code) };
    by(&|row| row.0 == name).or_else(by_code).unwrap_or(500)
}

#[rustfmt::skip]
const TABLE: &[Row<Said>] = &[
    row(ANY, |said| said.because(&["API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "SERVICE_DISABLED"]), FailureClass::Auth),
    row(ANY, |said| said.because(&["BILLING_DISABLED", "CONSUMER_SUSPENDED"]), FailureClass::Billing),
    row((400, 400), |said| said.message.starts_with("API key not valid") || said.message.starts_with("API key expired"), FailureClass::Auth), // text
    row((400, 400), |said| said.status == "FAILED_PRECONDITION" && said.message.contains("billing"), FailureClass::Billing), // text
    row((400, 400), |said| said.status == "FAILED_PRECONDITION" && said.message.contains("location is not supported"), FailureClass::Auth), // text
    row((401, 401), all, FailureClass::Auth),
    row((402, 402), all, FailureClass::Billing),
    row((403, 403), all, FailureClass::Auth),
    row((404, 404), all, FailureClass::ModelUnavailable),
    row((408, 409), all, FailureClass::Transient),
    // The account has none of this model, however long it waits, and is told to try again in some seconds.
    row((429, 429), |said| said.message.contains("limit: 0,"), FailureClass::Billing), // text
    coded((429, 429), |said| said.of_day, FailureClass::RateLimited, "daily_quota"),
    row((429, 429), all, FailureClass::RateLimited),
    row((499, 499), all, FailureClass::Transient),
    row((400, 498), all, FailureClass::RefusedByProvider),
    // Everybody's capacity, not the account's: nothing ran, and to wait for room is no attempt.
    row((503, 503), all, FailureClass::RateLimited),
    row((504, 504), all, FailureClass::Timeout),
    row(ANY, all, FailureClass::Transient),
];

impl Said {
    fn because(&self, reasons: &[&str]) -> bool {
        self.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
    }

    /// What the error means when it came with `status`. `maybe_paid` is false: the provider refused in its own words.
    #[must_use]
    pub fn failure(&self, status: u16, told_ms: Option<u64>) -> Failure {
        let code = self.reason.as_deref().or(Some(&self.status)).filter(|code| !code.is_empty());
        let wait_ms = if self.of_day { Some(DAY_WAIT_MS) } else { told_ms.or(self.retry_ms) };
        let wait_ms = wait_ms.filter(|wait| *wait > 0).map(|wait| wait.min(DAY_WAIT_MS));
        Told { said: self, status, message: &self.message, code, wait_ms }.failure(TABLE)
    }
}

/// What a reply that is no success means for the one call it answers.
#[must_use]
pub fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    match read(&reply.body) {
        Some(said) if reply.status >= 400 => {
            said.failure(reply.status, wait_ms(&reply.headers, "", now_unix_s))
        }
        _ => strange::foreign(reply, now_unix_s),
    }
}

/// The same, now.
pub(super) fn of(reply: &Reply) -> Failure {
    classify(reply, now_unix_s())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;
    use proptest::prelude::*;

    const QUOTA: &str = include_str!("../../fixtures/gemini/quota.json");

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn error(code: u16, status: &str, message: &str, details: &str) -> String {
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}","details":[{details}]}}}}"#
        )
    }

    #[test]
    fn every_row_of_the_table() {
        use FailureClass::*;
        let info = |reason: &str| {
            format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}"#
            )
        };
        let location = "User location is not supported for the API use.";
        let billing =
            "Gemini API free tier is not available in your country. Please enable billing on your project.";
        for (status, word, message, details, class, code) in [
            (
                400,
                "INVALID_ARGUMENT",
                "Request contains an invalid argument.",
                "",
                RefusedByProvider,
                "INVALID_ARGUMENT",
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                &*info("API_KEY_INVALID"),
                Auth,
                "API_KEY_INVALID",
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                "",
                Auth,
                "INVALID_ARGUMENT",
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "API key expired. Please renew the API key.",
                "",
                Auth,
                "INVALID_ARGUMENT",
            ),
            (400, "FAILED_PRECONDITION", location, "", Auth, "FAILED_PRECONDITION"),
            (400, "FAILED_PRECONDITION", billing, "", Billing, "FAILED_PRECONDITION"),
            (400, "FAILED_PRECONDITION", "x", "", RefusedByProvider, "FAILED_PRECONDITION"),
            (401, "UNAUTHENTICATED", "x", "", Auth, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED", "x", "", Auth, "PERMISSION_DENIED"),
            (403, "PERMISSION_DENIED", "x", &info("BILLING_DISABLED"), Billing, "BILLING_DISABLED"),
            (404, "NOT_FOUND", "models/gemini-0 is not found", "", ModelUnavailable, "NOT_FOUND"),
            (409, "ABORTED", "x", "", Transient, "ABORTED"),
            (413, "INVALID_ARGUMENT", "x", "", RefusedByProvider, "INVALID_ARGUMENT"),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "Resource has been exhausted (e.g. check quota).",
                "",
                RateLimited,
                "RESOURCE_EXHAUSTED",
            ),
            (499, "CANCELLED", "x", "", Transient, "CANCELLED"),
            (500, "INTERNAL", "x", "", Transient, "INTERNAL"),
            (
                503,
                "UNAVAILABLE",
                "The model is overloaded. Please try again later.",
                "",
                RateLimited,
                "UNAVAILABLE",
            ),
            (504, "DEADLINE_EXCEEDED", "x", "", Timeout, "DEADLINE_EXCEEDED"),
            (418, "OF_TOMORROW", "x", "", RefusedByProvider, "OF_TOMORROW"),
        ] {
            let body = error(status, word, message, details);
            for body in [body.clone(), format!("[{body}]\n")] {
                let failure = classify(&reply(status, &body), 0);
                let seen = (failure.class, failure.provider_code.as_deref(), failure.maybe_paid);
                assert_eq!(seen, (class, Some(code), false), "{body}");
            }
        }
    }

    #[test]
    fn quotas_are_told_apart_by_their_ids_and_not_by_what_the_text_says_of_billing() {
        let of = |body: &str| {
            let failure = classify(&reply(429, body), 0);
            (failure.class, failure.provider_code.unwrap(), failure.wait_ms)
        };
        let limited = FailureClass::RateLimited;
        assert_eq!(of(QUOTA), (limited, "RESOURCE_EXHAUSTED".to_owned(), Some(31_200)));
        let day = QUOTA.replace("PerModelPerMinute", "PerModelPerDay");
        assert_eq!(of(&day), (limited, "daily_quota".to_owned(), Some(DAY_WAIT_MS)));
        // A wait helps nothing where there is no quota at all, though one is named.
        let never = QUOTA.replace(
            "rate-limits.\\n",
            "rate-limits.\\n* Quota exceeded for metric: x, limit: 0, model: m\\n",
        );
        assert_eq!(of(&never), (FailureClass::Billing, "RESOURCE_EXHAUSTED".to_owned(), None));
        let huge = QUOTA.replace("31.2s\"", "90000s\"");
        assert_eq!(of(&huge).2, Some(DAY_WAIT_MS));
    }

    #[test]
    fn a_page_that_is_not_the_providers_may_hide_a_paid_call() {
        for (status, body) in [
            (502, "<html>bad gateway</html>"),
            (500, ""),
            (404, "{}"),
            (403, r#"{"error":"x"}"#),
            (500, "[]"),
        ] {
            let failure = classify(&reply(status, body), 0);
            assert_eq!(
                (failure.class, failure.maybe_paid),
                (FailureClass::Transient, true),
                "{status} {body}"
            );
        }
        assert!(classify(&reply(307, QUOTA), 0).maybe_paid);
    }

    #[test]
    fn the_error_of_a_line_has_the_status_that_its_code_stands_for() {
        for (error, status) in [
            (r#"{"code":400,"message":"x"}"#, 400),
            (r#"{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}"#, 429),
            (r#"{"code":3,"message":"x"}"#, 400),
            (r#"{"code":8,"message":"x"}"#, 429),
            (r#"{"code":13,"message":"x"}"#, 500),
            (r#"{"message":"x","status":"UNAVAILABLE"}"#, 503),
        ] {
            let raw: Box<RawValue> = serde_json::from_str(error).unwrap();
            assert_eq!(read_status(&raw).unwrap().usual_status, status, "{error}");
        }
        let raw: Box<RawValue> = serde_json::from_str(r#"{"message":"x"}"#).unwrap();
        assert_eq!(read_status(&raw), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(status: u16, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = classify(&Reply { status, headers: HeaderMap::new(), body: Bytes::from(bytes) }, 0);
        }
    }
}
