//! THE outcome table of a paid create: the only place that may decide that it can be sent again.

use crate::planted::{self, Bug};

/// What was seen of one create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Observed {
    /// Not one byte of the request left this host: no name, no connection, no TLS.
    NotSent,
    /// Time-out, reset or end of the connection after the first byte.
    NoAnswer,
    /// A whole answer. `names_batch`: a readable batch with an id; `own_error`: an error body in the provider's own shape.
    Answered { status: u16, names_batch: bool, own_error: bool },
}

/// What that proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    Accepted,
    /// Surely not paid.
    Refused,
    /// May have been accepted: only evidence may decide now.
    InDoubt,
}

#[must_use]
pub fn classify(observed: Observed) -> Proof {
    match observed {
        Observed::NotSent => Proof::Refused,
        Observed::NoAnswer => Proof::InDoubt,
        Observed::Answered { status: 200..=299, names_batch: true, .. } => Proof::Accepted,
        Observed::Answered { status: 400..=405 | 413 | 415 | 422 | 429, own_error: true, .. } => {
            Proof::Refused
        }
        Observed::Answered { status: 500.., .. } if planted::has(Bug::GatewayRefuses) => Proof::Refused,
        // 408, 409, 425, any 5xx, redirects, unreadable successes, pages of a proxy.
        Observed::Answered { .. } => Proof::InDoubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let answered = |status, names_batch, own_error| Observed::Answered { status, names_batch, own_error };
        assert_eq!(classify(Observed::NotSent), Proof::Refused);
        assert_eq!(classify(Observed::NoAnswer), Proof::InDoubt);
        for status in [200, 201, 202] {
            assert_eq!(classify(answered(status, true, false)), Proof::Accepted, "{status}");
            assert_eq!(classify(answered(status, false, false)), Proof::InDoubt, "{status}, no id");
        }
        for status in [400, 401, 402, 403, 404, 405, 413, 415, 422, 429] {
            assert_eq!(classify(answered(status, false, true)), Proof::Refused, "{status}");
            assert_eq!(classify(answered(status, false, false)), Proof::InDoubt, "{status}, a proxy's page");
        }
        for status in [100, 301, 302, 307, 406, 408, 409, 418, 425, 500, 502, 503, 504, 520, 529] {
            for own_error in [false, true] {
                assert_eq!(classify(answered(status, false, own_error)), Proof::InDoubt, "{status}");
            }
        }
    }

    /// Nothing but the provider's own refusal, or the proof that nothing was sent, is a refusal.
    #[test]
    fn every_status_that_is_not_in_the_table_is_doubt() {
        for status in 0..=999 {
            for (names_batch, own_error) in [(false, false), (false, true), (true, false), (true, true)] {
                let proof = classify(answered(status, names_batch, own_error));
                assert!(proof != Proof::Refused || own_error && (400..500).contains(&status), "{status}");
                assert!(proof != Proof::Accepted || names_batch && status / 100 == 2, "{status}");
            }
        }
        fn answered(status: u16, names_batch: bool, own_error: bool) -> Observed {
            Observed::Answered { status, names_batch, own_error }
        }
    }
}
