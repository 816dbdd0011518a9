//! How much money may be in doubt at once: above that nothing new is sent until some of it is known.
//!
//! Invariants
//! - Only what is in doubt already counts. Healthy submissions never hold anything back.
//! - One submission in doubt, however large, does not stop a job by default.

use crate::money::UsdNanos;

/// What the rule depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DoubtFacts {
    /// `max_in_doubt`, where the user set it.
    pub setting: Option<UsdNanos>,
    /// The job's cap, where it has one.
    pub cap: Option<UsdNanos>,
    /// The largest reservation of one submission so far.
    pub largest: UsdNanos,
    /// Doubt in the ledger, and the reservations of batches that may or may not exist.
    pub in_doubt: UsdNanos,
}

/// More is in doubt than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("USD {in_doubt} may have been paid without an answer, and `max_in_doubt` is USD {limit}")]
pub struct TooMuchDoubt {
    pub in_doubt: UsdNanos,
    pub limit: UsdNanos,
}

impl DoubtFacts {
    /// The most that may be in doubt while something new is sent; `None`: no cap to take a part of, so no limit.
    #[must_use]
    pub fn limit(&self) -> Option<UsdNanos> {
        self.setting.or_else(|| self.cap.map(|cap| UsdNanos(cap.0 / 4).max(self.largest)))
    }

    /// Whether something new may be sent.
    pub fn check(&self) -> Result<(), TooMuchDoubt> {
        match self.limit() {
            Some(limit) if self.in_doubt > limit => Err(TooMuchDoubt { in_doubt: self.in_doubt, limit }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_above_the_limit_holds_new_submissions_back() {
        for (setting, cap, largest, in_doubt, want) in [
            (None, Some(100), 0, 0, Ok(())),
            (None, Some(100), 0, 25, Ok(())), // up to a quarter of the cap
            (None, Some(100), 0, 26, Err(25)),
            (None, Some(100), 60, 60, Ok(())), // one largest submission is never too much
            (None, Some(100), 60, 61, Err(60)),
            (None, None, 60, 1_000, Ok(())), // without a cap there is nothing to take a part of
            (Some(10), None, 60, 11, Err(10)),
            (Some(10), Some(100), 60, 10, Ok(())),
            (Some(10), Some(100), 60, 11, Err(10)), // what the user set wins, also when it is less
            (Some(90), Some(100), 0, 90, Ok(())),
            (Some(0), Some(100), 60, 0, Ok(())), // nothing is in doubt yet
            (Some(0), Some(100), 60, 1, Err(0)),
        ] {
            let facts = DoubtFacts {
                setting: setting.map(UsdNanos),
                cap: cap.map(UsdNanos),
                largest: UsdNanos(largest),
                in_doubt: UsdNanos(in_doubt),
            };
            let got = facts.check().map_err(|error| error.limit.0);
            assert_eq!(got, want, "{facts:?}");
        }
    }
}
