//! Answers that are not what a provider says: nobody knows whether the call behind them ran.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;

use super::limits;
use crate::api::Reply;

/// An answer that is not the provider's: nobody knows whether the call ran.
pub(crate) fn foreign(reply: &Reply, now_unix_s: i64) -> Failure {
    let (status, body) = (reply.status, &reply.body);
    let what = if (300..400).contains(&status) {
        "a redirect, which is not followed"
    } else {
        "a page that is not the provider's"
    };
    // Half a secret would not be found again: a word that may be cut is left out.
    let shown = &body[..body.len().min(200)];
    let whole = if shown.len() == body.len() {
        shown
    } else {
        &shown[..shown.iter().rposition(u8::is_ascii_whitespace).unwrap_or(0)]
    };
    let start: String = String::from_utf8_lossy(whole).split_whitespace().collect::<Vec<_>>().join(" ");
    Failure {
        class: FailureClass::Transient,
        message: format!("status {status} with {what}: {start}"),
        provider_code: Some(status.to_string()),
        wait_ms: limits::wait_ms(&reply.headers, "", now_unix_s),
        maybe_paid: true,
    }
}

/// A success whose body is no JSON: most often a web page, because the base URL is not that of the API.
pub(crate) fn no_json(body: &[u8], error: &serde_json::Error) -> Failure {
    let page = body.trim_ascii_start().first() == Some(&b'<');
    let why = if page {
        "the answer is a web page (HTML) and no answer of the API".to_owned()
    } else {
        format!("the answer cannot be read: {error}")
    };
    unreadable(&why)
}

/// A success without anything in it that can be read.
pub(crate) fn unreadable(why: &str) -> Failure {
    Failure {
        class: FailureClass::Transient,
        message: why.to_owned(),
        provider_code: None,
        wait_ms: None,
        maybe_paid: true,
    }
}
