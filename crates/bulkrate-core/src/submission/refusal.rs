//! Why a provider refused a batch as a whole after taking it, and what that means for the job.

use super::remote::RemoteBatch;
use crate::answer::Failure;
use crate::failure::FailureClass;

/// The code by which a full queue of tokens is told.
pub const QUEUE_FULL: &str = "token_limit_exceeded";

/// The code by which it is told that the provider may not read the input: so it is with every batch, until it may.
pub const DENIED: &str = "input_no_permissions";

/// The failure of a batch that ran nothing and costs nothing.
#[must_use]
pub fn of_batch(remote: &RemoteBatch) -> Failure {
    let told = remote.errors.first();
    let code = told.and_then(|error| error.code.as_deref()).unwrap_or("");
    let text = told.map_or("the provider gave no reason", |error| error.message.as_str());
    let class = match code {
        QUEUE_FULL | "too_many_requests" => FailureClass::RateLimited,
        "billing_hard_limit_reached" => FailureClass::Billing,
        "model_not_found" => FailureClass::ModelUnavailable,
        DENIED => FailureClass::Auth,
        // Somebody has touched the blob.
        "input_modified" => FailureClass::Transient,
        _ => FailureClass::RefusedByProvider,
    };
    Failure {
        class,
        message: format!("batch {} was refused: {text}", remote.id),
        provider_code: Some(code.to_owned()),
        wait_ms: None,
        maybe_paid: false,
    }
}

/// `Limit: 2,000,000 enqueued tokens` in the provider's message, or Azure's `the configured limit of 30K`.
#[must_use]
pub fn enqueued_limit(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("Limit: ").or_else(|| message.split_once("configured limit of "))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
    let digits: String = rest[..end].chars().filter(char::is_ascii_digit).collect();
    let unit = match rest[end..].chars().next() {
        Some('K') => 1_000,
        Some('M') => 1_000_000,
        Some('B') => 1_000_000_000,
        _ => 1,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::{BatchCounts, BatchError, Owner, Phase};

    #[test]
    fn a_code_says_whose_fault_it_is() {
        let class = |code: Option<&str>| {
            let error = BatchError { code: code.map(str::to_owned), message: "why".to_owned(), line: None };
            let failure = of_batch(&RemoteBatch {
                id: "b".to_owned(),
                phase: Phase::Failed,
                status: "failed".to_owned(),
                input_file: None,
                output_file: None,
                error_file: None,
                counts: BatchCounts::default(),
                errors: vec![error],
                created_at: None,
                ended_at: None,
                expires_at: None,
                marker: None,
                owner: Owner::Unknown,
            });
            assert!(!failure.maybe_paid && failure.message == "batch b was refused: why", "{failure:?}");
            failure.class
        };
        for (code, want) in [
            (Some(QUEUE_FULL), FailureClass::RateLimited),
            (Some("billing_hard_limit_reached"), FailureClass::Billing),
            (Some("model_not_found"), FailureClass::ModelUnavailable),
            (Some(DENIED), FailureClass::Auth),
            (Some("input_modified"), FailureClass::Transient),
            (Some("invalid_request"), FailureClass::RefusedByProvider),
            (None, FailureClass::RefusedByProvider),
        ] {
            assert_eq!(class(code), want, "{code:?}");
        }
    }

    #[test]
    fn the_limit_is_read_from_the_message() {
        for (text, want) in [
            ("Enqueued token limit reached. Limit: 2,000,000 enqueued tokens.", Some(2_000_000)),
            ("Limit: 90", Some(90)),
            ("surpassed the configured limit of 30K for the deployment 'gpt-4.1-batch'.", Some(30_000)),
            ("the configured limit of 5B for", Some(5_000_000_000)),
            ("the configured limit of many", None),
            ("Limit: none", None),
            ("no such thing", None),
        ] {
            assert_eq!(enqueued_limit(text), want, "{text}");
        }
    }
}
