//! Answers that cost more than was reserved for them: all are counted, and told now and then.
//!
//! The bound of a request is the most that its price list allows. An answer above it is booked as it is, so that the caps
//! know; that it happens at all is news to whoever set them.

use crate::money::UsdNanos;

/// Between two tellings there is so much time at least.
const TELL_EVERY_US: u64 = 60_000_000;

/// What of a job's answers cost more than their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overcharges {
    pub answers: u64,
    /// Booked beyond the bounds, in all.
    pub excess: UsdNanos,
    told_us: Option<u64>,
}

impl Overcharges {
    /// Counts one answer of which `cost` was booked. True: it is time to tell.
    pub fn note(&mut self, now_us: u64, bound: UsdNanos, cost: UsdNanos) -> bool {
        self.answers += 1;
        let excess = UsdNanos(cost.0.saturating_sub(bound.0).max(0));
        self.excess = self.excess.saturating_add(excess);
        let due = self.told_us.is_none_or(|at| now_us.saturating_sub(at) >= TELL_EVERY_US);
        if due {
            self.told_us = Some(now_us);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_one_a_minute_is_told() {
        let mut over = Overcharges::default();
        let told: Vec<u64> =
            (0_u64..300).filter(|second| over.note(second * 1_000_000, UsdNanos(10), UsdNanos(15))).collect();
        assert_eq!(told, [0, 60, 120, 180, 240]);
        assert_eq!((over.answers, over.excess), (300, UsdNanos(1_500)));
        // One that was not believed is booked at its bound.
        over.note(0, UsdNanos(10), UsdNanos(10));
        over.note(0, UsdNanos(0), UsdNanos::MAX);
        assert_eq!((over.answers, over.excess), (302, UsdNanos::MAX));
    }
}
