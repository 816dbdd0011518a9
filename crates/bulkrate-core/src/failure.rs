//! Why an item did not get a good answer, and what that means for what happens next.

use std::fmt;
use std::str::FromStr;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Another attempt may succeed.
    RetryLater,
    /// No attempt at this item can succeed as it stands.
    GiveUp,
    /// Every item would fail the same way; the job stops and says why.
    HaltJob,
}

/// One row of the closed list of failures (`docs/reference/failures.md` prints this table).
macro_rules! failure_classes {
    ($($variant:ident, $name:literal, $verdict:ident, counts $counts:literal, exit $exit:literal, $means:literal;)*) => {
        /// The closed list of reasons for which an attempt, and in the end an item, fails.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FailureClass { $(#[doc = $means] $variant),* }

        impl FailureClass {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name used in results, dead letters, reports and the documentation.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name),* } }

            #[must_use]
            pub fn verdict(self) -> Verdict { match self { $(Self::$variant => Verdict::$verdict),* } }

            /// Whether the failure uses up one of the item's attempts.
            #[must_use]
            pub fn counts_as_attempt(self) -> bool { match self { $(Self::$variant => $counts),* } }

            /// The exit code of a job in which this is the gravest thing that happened.
            #[must_use]
            pub fn exit_code(self) -> u8 { match self { $(Self::$variant => $exit),* } }

            #[must_use]
            pub fn meaning(self) -> &'static str { match self { $(Self::$variant => $means),* } }
        }
    };
}

failure_classes! {
    InvalidInput, "invalid_input", GiveUp, counts false, exit 5, "the item could not be turned into a request; nothing was sent";
    RefusedByProvider, "refused_by_provider", GiveUp, counts true, exit 5, "the provider refused the request as malformed or unsupported";
    ContentPolicy, "content_policy", GiveUp, counts true, exit 5, "a content filter stopped the prompt or the answer";
    SchemaFailed, "schema_failed", RetryLater, counts true, exit 5, "the answer is not one of the choices, not JSON, or does not match the schema";
    Empty, "empty", RetryLater, counts true, exit 5, "the answer has no content";
    Truncated, "truncated", RetryLater, counts true, exit 5, "the answer was cut at the output maximum";
    Refusal, "refusal", RetryLater, counts true, exit 5, "the model declined to answer";
    Auth, "auth", HaltJob, counts false, exit 4, "the credentials were rejected";
    Billing, "billing", HaltJob, counts false, exit 4, "the account has no credit or reached its spend limit";
    ModelUnavailable, "model_unavailable", HaltJob, counts false, exit 1, "the provider does not know the model or the account may not use it";
    RateLimited, "rate_limited", RetryLater, counts false, exit 5, "a rate limit refused the call; waiting is not an attempt";
    Transient, "transient", RetryLater, counts true, exit 5, "the provider failed for a reason of its own";
    Timeout, "timeout", RetryLater, counts true, exit 5, "no answer within the time allowed";
    Expired, "expired", RetryLater, counts true, exit 5, "the batch's completion window ended before the item ran";
    BudgetExhausted, "budget_exhausted", GiveUp, counts false, exit 3, "the budget does not cover the item";
    Deadline, "deadline", GiveUp, counts false, exit 5, "the deadline passed before the item could run";
    AttemptsExhausted, "attempts_exhausted", GiveUp, counts true, exit 5, "every attempt allowed has failed";
    MaybePaidUnresolved, "maybe_paid_unresolved", GiveUp, counts true, exit 6, "the request may have been paid and no evidence could settle it";
    ResultLostAtProvider, "result_lost_at_provider", GiveUp, counts true, exit 5, "the provider ran the item but its result cannot be had";
    CancelledByUser, "cancelled_by_user", GiveUp, counts false, exit 5, "the job was cancelled";
    NotAccepted, "not_accepted", RetryLater, counts true, exit 5, "the cheap model of a cascade answered, and its answer was not accepted; a better model is asked";
    BundleFailed, "bundle_failed", RetryLater, counts false, exit 5, "asked together with others, the item got no answer that can be used; it is asked again with fewer, in the end alone";
}

impl FailureClass {
    /// The number kept in stored records; the order of the list above never changes.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FailureClass {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|class| class.name() == text)
            .ok_or_else(|| format!("`{text}` is not a failure class"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn stored_codes_never_move() {
        for (code, class) in FailureClass::ALL.iter().enumerate() {
            assert_eq!(usize::from(class.code()), code);
            assert_eq!(FailureClass::from_code(class.code()), Some(*class));
            assert_eq!(class.name().parse::<FailureClass>().unwrap(), *class);
        }
        assert_eq!(FailureClass::ALL.len(), 22);
        assert_eq!(FailureClass::Billing.code(), 8);
        assert_eq!(FailureClass::CancelledByUser.code(), 19);
        assert_eq!(FailureClass::NotAccepted.code(), 20);
        assert_eq!(FailureClass::BundleFailed.code(), 21);
    }
}
