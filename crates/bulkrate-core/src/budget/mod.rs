//! Requests -> reservation: the hard rule that settled + doubt + worst case in flight never passes a cap.
//!
//! Invariants
//! - A reservation takes from every cap that covers the item, or from none. Some caps cover only items with a tag.
//! - Doubt stays reserved until evidence settles it; nothing is released by a timer.
//! - The sums here always equal the fold of the ledger (checked when a job is opened).

mod in_doubt;
mod overcharge;

use std::collections::BTreeSet;

use crate::money::UsdNanos;

pub use in_doubt::{DoubtFacts, TooMuchDoubt};
pub use overcharge::Overcharges;

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
    /// The tag sets whose items it covers; `None`: every item.
    pub sets: Option<BTreeSet<u32>>,
}

impl Cap {
    #[must_use]
    pub fn new(scope: Scope, limit: UsdNanos) -> Self {
        let zero = UsdNanos::ZERO;
        Self { scope, limit, settled: zero, reserved: zero, doubt: zero, sets: None }
    }

    /// Whether items with this tag set count against the cap.
    #[must_use]
    pub fn covers(&self, tags: u32) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.contains(&tags))
    }

    /// Whether `bound` still fits.
    #[must_use]
    pub fn fits(&self, bound: UsdNanos) -> bool {
        self.committed().saturating_add(bound) <= self.limit
    }

    /// Whether `bound` will fit once everything in flight has cost nothing.
    #[must_use]
    pub fn may_fit(&self, bound: UsdNanos) -> bool {
        self.settled.saturating_add(self.doubt).saturating_add(bound) <= self.limit
    }

    fn over(&self, bound: UsdNanos) -> OverBudget {
        let may_free = self.may_fit(bound);
        OverBudget { scope: self.scope.clone(), limit: self.limit, left: self.left(), bound, may_free }
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
    /// Sets `bound` aside for an item with this tag set, or says which cap forbids it.
    pub fn reserve(&mut self, tags: u32, bound: UsdNanos) -> Result<(), OverBudget> {
        assert!(bound.0 >= 0, "a bound is never negative");
        if let Some(limit) = self.per_request.filter(|limit| bound > *limit) {
            return Err(OverBudget { scope: Scope::Request, limit, left: limit, bound, may_free: false });
        }
        if let Some(cap) = self.covering(tags).find(|cap| !cap.fits(bound)) {
            return Err(cap.over(bound));
        }
        self.reserved += bound;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.reserved += bound;
        }
        Ok(())
    }

    /// The cap of some items only that forbids this item, and its place: the others need not wait for it.
    #[must_use]
    pub fn forbidden_by_part(&self, tags: u32, bound: UsdNanos) -> Option<(usize, OverBudget)> {
        let mut parts =
            self.caps.iter().enumerate().filter(|(_, cap)| cap.sets.is_some() && cap.covers(tags));
        parts.find(|(_, cap)| !cap.fits(bound)).map(|(place, cap)| (place, cap.over(bound)))
    }

    fn covering(&self, tags: u32) -> impl Iterator<Item = &Cap> {
        self.caps.iter().filter(move |cap| cap.covers(tags))
    }

    /// Replaces a reservation by what it really cost.
    pub fn settle(&mut self, tags: u32, bound: UsdNanos, cost: UsdNanos) {
        self.release(tags, bound);
        self.settled += cost;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.settled += cost;
        }
    }

    /// Gives a reservation back: the request was surely not paid.
    pub fn release(&mut self, tags: u32, bound: UsdNanos) {
        self.reserved -= bound;
        assert!(self.reserved.0 >= 0, "more was released than was reserved");
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.reserved -= bound;
            assert!(cap.reserved.0 >= 0, "more was released under a cap than was reserved there");
        }
    }

    /// Turns a reservation into doubt: the request may have been paid.
    pub fn doubt(&mut self, tags: u32, bound: UsdNanos) {
        self.release(tags, bound);
        self.doubt += bound;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.doubt += bound;
        }
    }

    /// Books doubt for which nothing was reserved: somebody else made what may be billed.
    pub fn suspect(&mut self, tags: u32, bound: UsdNanos) {
        self.doubt += bound;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.doubt += bound;
        }
    }

    /// Ends a doubt. Caps of a period that began after it was booked never counted it.
    pub fn clear(&mut self, tags: u32, doubt: UsdNanos) {
        self.doubt -= doubt;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.doubt = UsdNanos((cap.doubt - doubt).0.max(0));
        }
    }

    /// Books what was paid without a reservation: a doubt that turned out to be a payment, a duplicate.
    pub fn spend(&mut self, tags: u32, cost: UsdNanos) {
        self.settled += cost;
        for cap in self.caps.iter_mut().filter(|cap| cap.covers(tags)) {
            cap.settled += cost;
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
        budget.reserve(0, UsdNanos(60)).unwrap();
        let waits = budget.reserve(0, UsdNanos(50)).unwrap_err();
        assert!(waits.may_free && waits.left == UsdNanos(40));
        budget.settle(0, UsdNanos(60), UsdNanos(30));
        budget.reserve(0, UsdNanos(50)).unwrap();
        budget.doubt(0, UsdNanos(50));
        let refused = budget.reserve(0, UsdNanos(50)).unwrap_err();
        assert!(!refused.may_free, "doubt does not free itself");
        assert_eq!(budget.caps[1].committed(), UsdNanos(80));
        budget.caps[1].doubt = UsdNanos::ZERO; // midnight has passed
        budget.clear(0, UsdNanos(50));
        budget.suspect(0, UsdNanos(9));
        assert_eq!((budget.doubt, budget.caps[0].committed()), (UsdNanos(9), UsdNanos(39)));
        budget.clear(0, UsdNanos(9));
        budget.spend(0, UsdNanos(20));
        assert_eq!((budget.doubt, budget.settled), (UsdNanos::ZERO, UsdNanos(50)));
        assert_eq!((budget.caps[0].committed(), budget.caps[1].committed()), (UsdNanos(50), UsdNanos(50)));
    }

    #[test]
    fn what_cost_more_than_its_bound_counts_and_stops_the_next() {
        let mut budget = Budget { caps: vec![Cap::new(Scope::Job, UsdNanos(100))], ..Budget::default() };
        budget.reserve(0, UsdNanos(40)).unwrap();
        budget.reserve(0, UsdNanos(40)).unwrap();
        budget.settle(0, UsdNanos(40), UsdNanos(600));
        let over = budget.reserve(0, UsdNanos(1)).unwrap_err();
        assert_eq!((over.left, over.may_free), (UsdNanos::ZERO, false), "passed, and nothing below zero");
        budget.settle(0, UsdNanos(40), UsdNanos(30));
        let sums = (budget.settled, budget.reserved, budget.caps[0].settled, budget.caps[0].reserved);
        assert_eq!(sums, (UsdNanos(630), UsdNanos::ZERO, UsdNanos(630), UsdNanos::ZERO));
        assert!(budget.reserve(0, UsdNanos(1)).is_err());
    }

    #[test]
    fn a_single_request_has_a_cap_of_its_own() {
        let mut budget = Budget { per_request: Some(UsdNanos(5)), ..Budget::default() };
        assert!(budget.reserve(0, UsdNanos(6)).is_err());
        assert!(budget.reserve(0, UsdNanos(5)).is_ok());
    }

    #[test]
    fn a_cap_on_a_tag_counts_its_items_alone() {
        let part = |limit| Cap {
            sets: Some(BTreeSet::from([1])),
            ..Cap::new(Scope::Tag("a=b".into()), UsdNanos(limit))
        };
        let mut budget =
            Budget { caps: vec![Cap::new(Scope::Job, UsdNanos(100)), part(10)], ..Budget::default() };
        budget.reserve(1, UsdNanos(8)).unwrap();
        assert!(
            budget.forbidden_by_part(1, UsdNanos(3)).is_some_and(|(place, over)| place == 1 && over.may_free)
        );
        assert_eq!(budget.reserve(1, UsdNanos(3)).unwrap_err().scope, Scope::Tag("a=b".into()));
        assert_eq!(budget.caps[0].reserved, UsdNanos(8), "all caps or none");
        // Other items do not see it.
        assert_eq!(budget.forbidden_by_part(2, UsdNanos(90)), None);
        budget.reserve(2, UsdNanos(90)).unwrap();
        assert_eq!(budget.reserve(2, UsdNanos(3)).unwrap_err().scope, Scope::Job);
        assert_eq!(budget.forbidden_by_part(2, UsdNanos(3)), None, "the job's cap is no part");
        budget.settle(1, UsdNanos(8), UsdNanos(8));
        assert!(budget.forbidden_by_part(1, UsdNanos(3)).is_some_and(|(_, over)| !over.may_free));
        budget.settle(2, UsdNanos(90), UsdNanos(1));
        assert_eq!((budget.caps[0].settled, budget.caps[1].settled), (UsdNanos(9), UsdNanos(8)));
    }

    proptest! {
        /// Whatever happens in whatever order, no cap is ever passed, and all caps see the same money.
        #[test]
        fn committed_never_passes_a_cap(steps in proptest::collection::vec((0_u8..4, 0_i64..50, 0_u32..2), 0..200), limit in 0_i64..300) {
            let tagged = Cap { sets: Some(BTreeSet::from([1])), ..Cap::new(Scope::Tag("a=b".into()), UsdNanos(limit / 3)) };
            let caps = vec![Cap::new(Scope::Job, UsdNanos(limit)), Cap::new(Scope::Day, UsdNanos(limit * 2)), tagged];
            let mut budget = Budget { caps, ..Budget::default() };
            let mut open: Vec<(u32, UsdNanos)> = Vec::new();
            for (what, amount, tags) in steps {
                match (what, open.pop()) {
                    (1, Some((tags, bound))) => budget.settle(tags, bound, UsdNanos(bound.0.min(amount))),
                    (2, Some((tags, bound))) => budget.release(tags, bound),
                    (3, Some((tags, bound))) => budget.doubt(tags, bound),
                    (_, kept) => {
                        open.extend(kept);
                        if budget.reserve(tags, UsdNanos(amount)).is_ok() {
                            open.push((tags, UsdNanos(amount)));
                        }
                    }
                }
                for cap in &budget.caps {
                    prop_assert!(cap.committed() <= cap.limit);
                    let covered = open.iter().filter(|(tags, _)| cap.covers(*tags)).map(|(_, bound)| *bound);
                    prop_assert_eq!(cap.reserved, covered.sum::<UsdNanos>());
                }
                for cap in budget.caps.iter().filter(|cap| cap.sets.is_none()) {
                    prop_assert_eq!((cap.settled, cap.reserved, cap.doubt), (budget.settled, budget.reserved, budget.doubt));
                }
                prop_assert_eq!(budget.reserved, open.iter().map(|(_, bound)| *bound).sum::<UsdNanos>());
            }
        }
    }
}
