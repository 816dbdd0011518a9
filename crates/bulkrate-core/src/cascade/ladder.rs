//! What a failed attempt at a cheap model means: its own ladder goes on, or the better model is asked.

use crate::failure::FailureClass;
use crate::retry::Next;

/// Where an item goes after an attempt that a cheap model failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// What the ladder of attempts says holds.
    On,
    /// The next model is asked, for this reason.
    Up(FailureClass),
}

/// `next`: what the ladder of attempts says of the failure.
#[must_use]
pub fn goes(class: FailureClass, next: Next) -> Goes {
    use FailureClass::{
        Empty, MaybePaidUnresolved, NotAccepted, Refusal, ResultLostAtProvider, SchemaFailed,
    };
    match (class, next) {
        // It has answered; the same model would be paid for what it cannot do.
        (NotAccepted | SchemaFailed | Empty | Refusal, Next::Again { .. } | Next::Dead(_)) => Goes::Up(class),
        // What may have been paid, or was and is lost, is asked for again by nobody.
        (_, Next::Dead(MaybePaidUnresolved | ResultLostAtProvider)) => Goes::On,
        (_, Next::Dead(dead)) => Goes::Up(dead),
        (_, Next::Again { .. } | Next::Halt(_)) => Goes::On,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Lane;

    #[test]
    fn what_would_end_an_item_at_a_cheap_model_goes_up() {
        use FailureClass as Class;
        let again = Next::Again { lane: Lane::Batch, wait_us: 1, max_tokens: None };
        for (class, next, want) in [
            (Class::NotAccepted, again, Goes::Up(Class::NotAccepted)),
            (Class::SchemaFailed, again, Goes::Up(Class::SchemaFailed)),
            (Class::Refusal, Next::Dead(Class::Refusal), Goes::Up(Class::Refusal)),
            (Class::Truncated, again, Goes::On),
            (Class::Truncated, Next::Dead(Class::Truncated), Goes::Up(Class::Truncated)),
            (Class::Transient, again, Goes::On),
            (Class::Transient, Next::Dead(Class::AttemptsExhausted), Goes::Up(Class::AttemptsExhausted)),
            (
                Class::RefusedByProvider,
                Next::Dead(Class::RefusedByProvider),
                Goes::Up(Class::RefusedByProvider),
            ),
            (Class::MaybePaidUnresolved, Next::Dead(Class::MaybePaidUnresolved), Goes::On),
            (Class::ResultLostAtProvider, Next::Dead(Class::ResultLostAtProvider), Goes::On),
            (Class::RateLimited, again, Goes::On),
            (Class::Auth, Next::Halt(Class::Auth), Goes::On),
        ] {
            assert_eq!(goes(class, next), want, "{class} {next:?}");
        }
    }
}
