//! THE table: what the name, status and text of an AWS error mean.
//!
//! The name decides: a quota that is used up is a 400, and a model that is not ready a 429. Rows marked `text` hang on a text, as the
//! API says these things in no other field.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use serde::Deserialize;

use crate::api::Reply;
use crate::http::limits::{now_unix_s, wait_ms};
use crate::http::sign::ENDED;
use crate::http::strange;
use crate::http::table::{ANY, Row, Told, all, coded, row};
use crate::json::loose::LooseText;

/// The wait before a quota that is used up is tried again: jobs and days take a while.
const QUOTA_WAIT_MS: u64 = 60_000;
const DAY_WAIT_MS: u64 = 3_600_000;

/// An error as the API wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// `ThrottlingException`.
    pub name: String,
    pub message: String,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default, rename = "__type")]
    kind: LooseText<'a>,
    #[serde(borrow, default, alias = "Message")]
    message: LooseText<'a>,
}

/// Names of refusals because of credentials that have ended, here and at S3.
pub(super) const ENDED_NAMES: &[&str] = &["ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired"];

/// Reads an error; `None` where it is not one (a proxy's page). The name stands in a header, or in the body.
#[must_use]
pub fn read(reply: &Reply) -> Option<Said> {
    let body: Body<'_> = serde_json::from_slice(&reply.body).ok()?;
    let header = reply.header("x-amzn-errortype");
    let name = header.or(body.kind.as_deref())?;
    let name = name.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let message = body.message.as_deref().unwrap_or_default().to_owned();
    (!name.is_empty()).then(|| Said { name: name.to_owned(), message })
}

#[rustfmt::skip]
const TABLE: &[Row<Said>] = &[
    coded(ANY, |said| ENDED_NAMES.contains(&said.name.as_str()), FailureClass::Auth, ENDED),
    row(ANY, |said| said.is("UnrecognizedClientException") || said.is("InvalidSignatureException") || said.is("MissingAuthenticationTokenException"), FailureClass::Auth),
    row(ANY, |said| said.is("AccessDeniedException") && said.says("access to the model"), FailureClass::ModelUnavailable), // text
    row(ANY, |said| said.says("INVALID_PAYMENT_INSTRUMENT"), FailureClass::Billing), // text
    row(ANY, |said| said.is("AccessDeniedException"), FailureClass::Auth),
    row(ANY, |said| said.is("ResourceNotFoundException"), FailureClass::ModelUnavailable),
    row(ANY, |said| said.is("ValidationException") && (said.says("model identifier is invalid") || said.says("on-demand throughput")), FailureClass::ModelUnavailable), // text
    // What a job runs in and writes to is the same for all jobs.
    row(ANY, |said| said.is("ValidationException") && denies_place(&said.message), FailureClass::Auth), // text
    row(ANY, |said| said.is("ValidationException"), FailureClass::RefusedByProvider),
    coded(ANY, |said| said.is("ThrottlingException") && said.says("per day"), FailureClass::RateLimited, "daily_quota"), // text
    row(ANY, |said| said.is("ThrottlingException") || said.is("ServiceQuotaExceededException") || said.is("ModelNotReadyException"), FailureClass::RateLimited),
    row(ANY, |said| said.is("ModelTimeoutException"), FailureClass::Timeout),
    row(ANY, |said| said.is("ConflictException") || said.is("ModelErrorException"), FailureClass::Transient),
    // Everybody's capacity, not the account's: nothing ran, and to wait for room is no attempt.
    row(ANY, |said| said.is("ServiceUnavailableException"), FailureClass::RateLimited),
    row((401, 401), all, FailureClass::Auth),
    row((403, 403), all, FailureClass::Auth),
    row((404, 404), all, FailureClass::ModelUnavailable),
    row((429, 429), all, FailureClass::RateLimited),
    row((503, 503), all, FailureClass::RateLimited),
    row((400, 498), all, FailureClass::RefusedByProvider),
    row(ANY, all, FailureClass::Transient),
];

/// Whether a job is refused for its role, or for what the role may do in the bucket: a create says it, or the job that failed.
pub(super) fn denies_place(message: &str) -> bool {
    ["IAM role", "S3 bucket"].iter().any(|words| message.contains(words))
}

impl Said {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn says(&self, words: &str) -> bool {
        self.message.contains(words)
    }

    /// What the error means when it came with `status`. `maybe_paid` is false: the provider refused in its own words.
    #[must_use]
    pub fn failure(&self, status: u16, told_ms: Option<u64>) -> Failure {
        let wait_ms = match self.name.as_str() {
            "ThrottlingException" if self.says("per day") => Some(DAY_WAIT_MS),
            "ServiceQuotaExceededException" => told_ms.or(Some(QUOTA_WAIT_MS)),
            _ => told_ms,
        };
        Told { said: self, status, message: &self.message, code: Some(&self.name), wait_ms }.failure(TABLE)
    }
}

/// What a reply that is no success means for the one call it answers.
#[must_use]
pub fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    match read(reply) {
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

/// Whether a body is one of AWS's errors, whose names stand in a header.
pub(super) fn is_error_body(body: &[u8]) -> bool {
    serde_json::from_slice::<Body<'_>>(body).is_ok_and(|body| body.message.0.is_some())
}

/// Who asks is known and may not do this: no more is wrong with the credentials.
pub(super) fn denies_this(reply: &Reply) -> bool {
    read(reply).is_some_and(|said| said.is("AccessDeniedException"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    fn reply(status: u16, name: &str, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        if !name.is_empty() {
            headers.insert("x-amzn-errortype", HeaderValue::from_str(name).unwrap());
        }
        Reply { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn every_row_of_the_table() {
        use FailureClass::*;
        let invalid = "The provided model identifier is invalid.";
        let profile = "Invocation of model ID m with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or ARN of an inference profile that contains this model.";
        for (status, name, message, class, code, wait) in [
            (
                400,
                "ValidationException",
                "Malformed input request",
                RefusedByProvider,
                "ValidationException",
                None,
            ),
            (400, "ValidationException", invalid, ModelUnavailable, "ValidationException", None),
            (400, "ValidationException", profile, ModelUnavailable, "ValidationException", None),
            (
                400,
                "ServiceQuotaExceededException",
                "x",
                RateLimited,
                "ServiceQuotaExceededException",
                Some(QUOTA_WAIT_MS),
            ),
            (400, "ConflictException", "x", Transient, "ConflictException", None),
            (
                403,
                "AccessDeniedException",
                "User is not authorized to perform: bedrock:InvokeModel",
                Auth,
                "AccessDeniedException",
                None,
            ),
            (
                403,
                "AccessDeniedException",
                "You don't have access to the model with the specified model ID.",
                ModelUnavailable,
                "AccessDeniedException",
                None,
            ),
            (
                403,
                "AccessDeniedException",
                "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:x",
                Billing,
                "AccessDeniedException",
                None,
            ),
            (
                400,
                "ValidationException",
                "Could not assume provided IAM role x",
                Auth,
                "ValidationException",
                None,
            ),
            (403, "UnrecognizedClientException", "x", Auth, "UnrecognizedClientException", None),
            (403, "ExpiredTokenException", "x", Auth, ENDED, None),
            (400, "ExpiredTokenException", "x", Auth, ENDED, None),
            (404, "ResourceNotFoundException", "x", ModelUnavailable, "ResourceNotFoundException", None),
            (408, "ModelTimeoutException", "x", Timeout, "ModelTimeoutException", None),
            (424, "ModelErrorException", "x", Transient, "ModelErrorException", None),
            (429, "ThrottlingException", "Too many requests", RateLimited, "ThrottlingException", None),
            (
                429,
                "ThrottlingException",
                "Too many tokens per day, please wait",
                RateLimited,
                "daily_quota",
                Some(DAY_WAIT_MS),
            ),
            (429, "ModelNotReadyException", "x", RateLimited, "ModelNotReadyException", None),
            (500, "InternalServerException", "x", Transient, "InternalServerException", None),
            (503, "ServiceUnavailableException", "x", RateLimited, "ServiceUnavailableException", None),
            (418, "OfTomorrowException", "x", RefusedByProvider, "OfTomorrowException", None),
            (599, "OfTomorrowException", "x", Transient, "OfTomorrowException", None),
        ] {
            let full = format!("{name}:http://internal.amazon.com/coral/com.amazonaws.bedrock/");
            let typed = format!(r#"{{"__type":"com.amazonaws.bedrock#{name}","Message":"{message}"}}"#);
            for reply in
                [reply(status, &full, &format!(r#"{{"message":"{message}"}}"#)), reply(status, "", &typed)]
            {
                let failure = classify(&reply, 0);
                let seen =
                    (failure.class, failure.provider_code.as_deref(), failure.wait_ms, failure.maybe_paid);
                assert_eq!(seen, (class, Some(code), wait, false), "{reply:?}");
            }
        }
    }

    #[test]
    fn a_page_that_is_not_the_providers_may_hide_a_paid_call() {
        for reply in [
            reply(502, "", "<html>bad gateway</html>"),
            reply(403, "", r#"{"message":"Forbidden"}"#),
            reply(500, "", ""),
            reply(307, "x", "{}"),
        ] {
            assert!(classify(&reply, 0).maybe_paid, "{reply:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(status: u16, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = classify(&Reply { status, headers: HeaderMap::new(), body: Bytes::from(bytes) }, 0);
        }
    }
}
