//! Requests -> reservation: the hard rule that settled + doubt + worst case in flight never passes a cap.
//!
//! Invariants
//! - A reservation takes from every cap that covers the item, or from none.
//! - Doubt stays reserved until evidence settles it; nothing is released by a timer.
//! - The sums here always equal the fold of the ledger (checked when a job is opened).

use crate::money::UsdNanos;

/// What a cap covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    Job,
    /// One request alone.
    Request,
    /// Everything spent since midnight UTC, over all jobs of the state directory.
    Day,
    /// The same since the first of the month.
    Month,
    /// Items carrying this tag, as `key=value`.
    Tag(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job => f.write_str("job"),
            Self::Request => f.write_str("per-request"),
            Self::Day => f.write_str("day"),
            Self::Month => f.write_str("month"),
            Self::Tag(tag) => write!(f, "tag `{tag}`"),
        }
    }
}

/// One cap and what counts against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    pub scope: Scope,
    pub limit: UsdNanos,
    pub settled: UsdNanos,
    pub reserved: UsdNanos,
    pub doubt: UsdNanos,
}

impl Cap {
    #[must_use]
    pub fn new(scope: Scope, limit: UsdNanos) -> Self {
        Self { scope, limit, settled: UsdNanos::ZERO, reserved: UsdNanos::ZERO, doubt: UsdNanos::ZERO }
    }

    #[must_use]
    pub fn committed(&self) -> UsdNanos {
        self.settled + self.reserved + self.doubt
    }

    #[must_use]
    pub fn left(&self) -> UsdNanos {
        UsdNanos((self.limit - self.committed()).0.max(0))
    }
}

/// A reservation that no longer fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {scope} budget of USD {limit} has USD {left} left, and the next request may cost up to USD {bound}"
)]
pub struct OverBudget {
    pub scope: Scope,
    pub limit: UsdNanos,
    pub left: UsdNanos,
    pub bound: UsdNanos,
    /// Whether room will come back when what is in flight settles.
    pub may_free: bool,
}

/// All caps of one job, and the largest single request it may make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    pub caps: Vec<Cap>,
    pub per_request: Option<UsdNanos>,
    /// What the job itself has in each state, whether capped or not.
    pub settled: UsdNanos,
    pub reserved: UsdNanos,
    pub doubt: UsdNanos,
}

impl Budget {
    /// Sets `bound` aside, or says which cap forbids it.
    pub fn reserve(&mut self, bound: UsdNanos) -> Result<(), OverBudget> {
        assert!(bound.0 >= 0, "a bound is never negative");
        if let Some(limit) = self.per_request.filter(|limit| bound > *limit) {
            return Err(OverBudget { scope: Scope::Request, limit, left: limit, bound, may_free: false });
        }
        if let Some(cap) = self.caps.iter().find(|cap| cap.committed().saturating_add(bound) > cap.limit) {
            let without_flight = cap.settled + cap.doubt;
            let may_free = without_flight.saturating_add(bound) <= cap.limit;
            return Err(OverBudget {
                scope: cap.scope.clone(),
                limit: cap.limit,
                left: cap.left(),
                bound,
                may_free,
            });
        }
        self.reserved += bound;
        for cap in &mut self.caps {
            cap.reserved += bound;
        }
        Ok(())
    }

    /// Replaces a reservation by what it really cost.
    pub fn settle(&mut self, bound: UsdNanos, cost: UsdNanos) {
        self.release(bound);
        self.settled += cost;
        for cap in &mut self.caps {
            cap.settled += cost;
        }
    }

    /// Gives a reservation back: the request was surely not paid.
    pub fn release(&mut self, bound: UsdNanos) {
        self.reserved -= bound;
        assert!(self.reserved.0 >= 0, "more was released than was reserved");
        for cap in &mut self.caps {
            cap.reserved -= bound;
        }
    }

    /// Turns a reservation into doubt: the request may have been paid.
    pub fn doubt(&mut self, bound: UsdNanos) {
        self.release(bound);
        self.doubt += bound;
        for cap in &mut self.caps {
            cap.doubt += bound;
        }
    }

    /// Takes in what an earlier process left: sums read from the ledger.
    pub fn restore(&mut self, settled: UsdNanos, reserved: UsdNanos, doubt: UsdNanos) {
        self.settled += settled;
        self.reserved += reserved;
        self.doubt += doubt;
        for cap in self.caps.iter_mut().filter(|cap| cap.scope == Scope::Job) {
            cap.settled += settled;
            cap.reserved += reserved;
            cap.doubt += doubt;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_request_waits_or_is_refused() {
        let mut budget = Budget {
            caps: vec![Cap::new(Scope::Job, UsdNanos(100)), Cap::new(Scope::Day, UsdNanos(1_000))],
            ..Budget::default()
        };
        budget.reserve(UsdNanos(60)).unwrap();
        let waits = budget.reserve(UsdNanos(50)).unwrap_err();
        assert!(waits.may_free && waits.left == UsdNanos(40));
        budget.settle(UsdNanos(60), UsdNanos(30));
        budget.reserve(UsdNanos(50)).unwrap();
        budget.doubt(UsdNanos(50));
        let refused = budget.reserve(UsdNanos(50)).unwrap_err();
        assert!(!refused.may_free, "doubt does not free itself");
        assert_eq!(budget.caps[1].committed(), UsdNanos(80));
    }

    #[test]
    fn a_single_request_has_a_cap_of_its_own() {
        let mut budget = Budget { per_request: Some(UsdNanos(5)), ..Budget::default() };
        assert!(budget.reserve(UsdNanos(6)).is_err());
        assert!(budget.reserve(UsdNanos(5)).is_ok());
    }

    proptest! {
        /// Whatever happens in whatever order, no cap is ever passed, and all caps see the same money.
        #[test]
        fn committed_never_passes_a_cap(steps in proptest::collection::vec((0_u8..4, 0_i64..50), 0..200), limit in 0_i64..300) {
            let mut budget = Budget { caps: vec![Cap::new(Scope::Job, UsdNanos(limit)), Cap::new(Scope::Day, UsdNanos(limit * 2))], ..Budget::default() };
            let mut open: Vec<UsdNanos> = Vec::new();
            for (what, amount) in steps {
                match (what, open.pop()) {
                    (1, Some(bound)) => budget.settle(bound, UsdNanos(bound.0.min(amount))),
                    (2, Some(bound)) => budget.release(bound),
                    (3, Some(bound)) => budget.doubt(bound),
                    (_, kept) => {
                        open.extend(kept);
                        if budget.reserve(UsdNanos(amount)).is_ok() {
                            open.push(UsdNanos(amount));
                        }
                    }
                }
                for cap in &budget.caps {
                    prop_assert!(cap.committed() <= cap.limit);
                    prop_assert_eq!((cap.settled, cap.reserved, cap.doubt), (budget.settled, budget.reserved, budget.doubt));
                }
                prop_assert_eq!(budget.reserved, open.iter().copied().sum::<UsdNanos>());
            }
        }
    }
}
