//! Whether a cascade pays: `cheap + (1 - a) x strong < strong` iff the accepted share `a` is above `cheap / strong`.

use crate::money::UsdNanos;
use crate::review::lowers;

/// What a job's cascade has brought so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worth {
    accepted: u64,
    rejected: u64,
    /// What the cheap answers cost at the standard price, and what the strong model would have cost for the same usage.
    cheap: UsdNanos,
    strong: UsdNanos,
    /// Answers that were not the last word on their item, and what they cost: many of them are out before one is judged.
    asked: u64,
    asked_cost: UsdNanos,
    off: bool,
}

impl Worth {
    /// The last word of the cheap models on an item, after so many others `before` it. True: from now on the cascade is off, which
    /// is said once.
    pub fn judged(&mut self, accepted: bool, cheap: UsdNanos, strong: UsdNanos, before: u64) -> bool {
        self.accepted += u64::from(accepted);
        self.rejected += u64::from(!accepted);
        let each = self.asked_cost.0 / i64::try_from(self.asked.max(1)).unwrap_or(i64::MAX);
        self.cheap = self.cheap.saturating_add(cheap).saturating_add(UsdNanos(each).times(before));
        self.strong = self.strong.saturating_add(strong);
        // One look is as good as the next, however often.
        let loses = !self.off && lowers(self.accepted, self.accepted + self.rejected, self.pays_from());
        self.off |= loses;
        loses
    }

    /// A cheap answer that is not the last word: what it cost counts.
    pub fn asked(&mut self, cheap: UsdNanos) {
        self.asked += 1;
        self.asked_cost = self.asked_cost.saturating_add(cheap);
    }

    /// The share that must be accepted for the cascade to pay.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        reason = "a share of sums of money, compared with a share of counts"
    )]
    pub fn pays_from(&self) -> f64 {
        if self.strong <= UsdNanos::ZERO { 0.0 } else { self.cheap.0 as f64 / self.strong.0 as f64 }
    }

    /// Too little is accepted for what the cheap answers cost: nobody new is asked them.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off
    }

    /// Accepted, and judged in all.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.accepted, self.accepted + self.rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::rng::SplitMix64;

    /// After how many items a cascade that accepts so many of a thousand, at a price ratio, is off; `None`: it stays on.
    fn off_after(accepted_permille: u64, ratio: i64, items: u64, seed: u64) -> Option<u64> {
        let (mut worth, mut rng) = (Worth::default(), SplitMix64::new(seed));
        (1..=items).find(|_| {
            let accepted = rng.next_u64() % 1_000 < accepted_permille;
            worth.judged(accepted, UsdNanos(1_000), UsdNanos(1_000 * ratio), 0)
        })
    }

    #[test]
    fn one_that_loses_is_off_soon_and_one_that_pays_is_not() {
        // Ratio 20: it pays from 5 % on.
        assert!((1..=200).contains(&off_after(0, 20, 10_000, 1).unwrap_or(0)));
        assert!(off_after(10, 20, 10_000, 2).is_some_and(|after| after < 1_000));
        assert!(off_after(300, 2, 10_000, 3).is_some_and(|after| after < 300));
        for seed in 0..40 {
            assert_eq!(off_after(80, 20, 3_000, seed), None, "{seed}");
            assert_eq!(off_after(700, 2, 3_000, seed), None, "{seed}");
        }
        // Just at the limit: less than one job of a hundred, whatever the number of looks.
        let false_alarms = (0..200).filter(|seed| off_after(50, 20, 2_000, 7_000 + seed).is_some()).count();
        assert!(false_alarms <= 4, "{false_alarms}");
    }

    #[test]
    fn a_second_cheap_model_makes_the_way_dearer() {
        let mut worth = Worth::default();
        // A hundred are out before the first is judged: only its own share of them counts.
        (0..100).for_each(|_| worth.asked(UsdNanos(30)));
        assert!(!worth.judged(true, UsdNanos(20), UsdNanos(100), 1));
        assert!((worth.pays_from() - 0.5).abs() < 1e-12);
        assert_eq!(worth.counts(), (1, 1));
        assert!(
            !Worth::default().judged(false, UsdNanos(1), UsdNanos::ZERO, 0),
            "nothing is known of a free model"
        );
    }

    #[test]
    fn a_model_that_is_as_dear_is_off_at_once() {
        let mut worth = Worth::default();
        assert!((0..50).any(|_| worth.judged(false, UsdNanos(5), UsdNanos(5), 0)));
    }
}
