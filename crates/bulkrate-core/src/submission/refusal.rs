//! Why a provider refused a batch as a whole after taking it, and what that means for the job.

use super::remote::RemoteBatch;
use crate::answer::Failure;
use crate::failure::FailureClass;

/// The code by which a full queue of tokens is told.
pub const QUEUE_FULL: &str = "token_limit_exceeded";

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

/// `Limit: 2,000,000 enqueued tokens` in the provider's message.
#[must_use]
pub fn enqueued_limit(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("Limit: ")?;
    let digits: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_message() {
        for (text, want) in [
            ("Enqueued token limit reached. Limit: 2,000,000 enqueued tokens.", Some(2_000_000)),
            ("Limit: 90", Some(90)),
            ("Limit: none", None),
            ("no such thing", None),
        ] {
            assert_eq!(enqueued_limit(text), want, "{text}");
        }
    }
}
