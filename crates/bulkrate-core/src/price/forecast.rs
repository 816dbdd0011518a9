//! What a running job will have cost in the end, from what its ended items have cost.
//!
//! A plan counts tokens; a forecast counts money. All that an item cost is in it, attempts that failed and answers that a
//! cascade rejected included, so that it holds for every lane and every way of asking. Prompts differ in length and may be
//! sorted by it, so the cost of the rest is that of the ended items, corrected for how much longer or shorter the rest is
//! (`line`).

use super::line::Line;
use super::numbers::{float, wide};
use crate::money::UsdNanos;
use serde::{Deserialize, Serialize};

/// Fewer ended items than this forecast nothing.
pub const FORECAST_MIN: u64 = 50;
/// P95 over the mean of `n` items is at least `1 + 2 / sqrt(n)`: 1.28 from 50 and 1.2 from 100, as measured for outputs
/// with their long tail. Beyond 100 nobody has measured: that it falls with the root of `n` is taken on.
const TAIL: f64 = 2.0;

/// Running sums over ended items, in bytes of their requests and nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Measured {
    pub items: u64,
    pub bytes: u64,
    byte_squares: u128,
    /// What the attempts cost that ended an item, and what the others did.
    pub cost: u64,
    pub tried: u64,
    cost_squares: u128,
    cross: u128,
}

impl Measured {
    /// An item has ended with an attempt that cost so much, be it nothing.
    pub fn ended(&mut self, bytes: u64, cost: UsdNanos) {
        let (x, y) = (u128::from(bytes), u128::from(nanos(cost)));
        self.items = self.items.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.byte_squares = self.byte_squares.saturating_add(x * x);
        self.cost = self.cost.saturating_add(nanos(cost));
        self.cost_squares = self.cost_squares.saturating_add(y * y);
        self.cross = self.cross.saturating_add(x * y);
    }

    /// An attempt was paid and its item goes on.
    pub fn tried(&mut self, cost: UsdNanos) {
        self.tried = self.tried.saturating_add(nanos(cost));
    }

    /// All that was paid.
    #[must_use]
    pub fn paid(&self) -> u64 {
        self.cost.saturating_add(self.tried)
    }

    /// What one of `left` will cost: (expected, P95 of the mean of all of them).
    fn each(&self, left: &Left) -> (f64, f64) {
        let (n, m) = (float(self.items), float(left.items.max(1)));
        let sums = (float(self.bytes), float(self.cost));
        let line = Line::of(n, sums, (wide(self.byte_squares), wide(self.cost_squares)), wide(self.cross));
        let (mean_cost, mean_bytes) = line.means();
        // Longer prompts do not cost less, nor more than in proportion.
        let steepest = if mean_bytes > 0.0 { mean_cost / mean_bytes } else { 0.0 };
        let (expected, limit) = line.at(line.steepness().min(steepest), float(left.bytes) / m, m);
        let again = float(self.tried) / n;
        let p95 = (limit + again).max((expected + again) * (1.0 + TAIL / n.sqrt()));
        (expected + again, p95)
    }
}

/// The items that have not ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    pub items: u64,
    /// Bytes of their requests.
    pub bytes: u64,
    /// What they cost with each at its bound.
    pub worst: UsdNanos,
    /// What one of them costs in its lane and at its model, as a multiple of what it would have cost where the ended ones went.
    pub dearer: f64,
}

/// The items of one model that earlier jobs had not answered, those that have ended, and what was paid for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfModel {
    pub items: u64,
    pub ended: u64,
    pub paid: u64,
}

/// Of fewer ended items a model's price is not known.
const MODEL_MIN: u64 = 10;
/// As long as more of what is left than this goes to models whose price is not known, nothing is said.
const UNKNOWN_MAX: f64 = 0.1;

/// What one of `left` items costs, as a multiple of what an ended one did, where the models of a job are not done at the same pace: one that is
/// asked in bundles is far ahead of one that is not. Each model's items are taken to cost what its ended ones did. `None`: too many go to
/// models that have hardly begun.
#[must_use]
pub fn of_models(models: &[OfModel], left: u64) -> Option<f64> {
    if models.len() < 2 {
        return Some(1.0);
    }
    let sum = |of: fn(&OfModel) -> u64| models.iter().map(of).fold(0, u64::saturating_add);
    // Items that ended unmeasured, such as those a similar one was served for, are taken to be spread over all models.
    let open = float(sum(|one| one.ended).saturating_add(left)) / float(sum(|one| one.items).max(1));
    let (mut known, mut unknown, mut cost, mut ended, mut paid) = (0.0, 0.0, 0.0, 0, 0);
    for one in models {
        let rest = (float(one.items) * open - float(one.ended)).max(0.0);
        if one.ended < MODEL_MIN {
            unknown += rest;
            continue;
        }
        known += rest;
        cost += rest * float(one.paid) / float(one.ended);
        (ended, paid) = (ended + one.ended, paid + one.paid);
    }
    if unknown > UNKNOWN_MAX * (known + unknown) {
        return None;
    }
    let differs = known > 0.0 && paid > 0;
    Some(if differs { cost / known / (float(paid) / float(ended)) } else { 1.0 })
}

/// What a job will have cost in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// As far below what is expected as the P95 is above: less than this it will hardly cost.
    #[serde(default)]
    pub low: UsdNanos,
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    /// Ended items that it rests on, and items that it is about.
    pub measured: u64,
    pub left: u64,
}

impl Forecast {
    /// `spent`, doubt included, and what the rest will cost. `None` as long as too little has ended.
    #[must_use]
    pub fn of(measured: &Measured, spent: UsdNanos, left: &Left) -> Option<Self> {
        if measured.items < FORECAST_MIN {
            return None;
        }
        let (each, each_p95) = measured.each(left);
        let sum = |each: f64| {
            let rest = dollars(each * left.dearer * float(left.items)).min(left.worst);
            spent.saturating_add(rest)
        };
        Some(Self {
            low: sum(2.0 * each - each_p95),
            expected: sum(each),
            p95: sum(each_p95),
            measured: measured.items,
            left: left.items,
        })
    }

    /// Whether it is all but sure that `cap` will not do. Whoever planned the job knew more than its first answers tell, so what these
    /// leave open speaks for the plan.
    #[must_use]
    pub fn passes(&self, cap: UsdNanos) -> bool {
        self.low > cap
    }

    /// How many of the items that are left `cap` is not expected to pay for.
    #[must_use]
    pub fn left_over(&self, spent: UsdNanos, cap: UsdNanos) -> u64 {
        let (rest, room) = (nanos(self.expected - spent), nanos(cap - spent));
        let paid = u128::from(self.left) * u128::from(room.min(rest)) / u128::from(rest.max(1));
        self.left.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX))
    }
}

/// A credit counts as nothing.
fn nanos(usd: UsdNanos) -> u64 {
    u64::try_from(usd.0).unwrap_or(0)
}

#[allow(clippy::cast_possible_truncation, reason = "an estimate; the cast saturates")]
fn dollars(nanos: f64) -> UsdNanos {
    // A product such as 1,000 x 1.2 may come out a hair above the whole number that it is.
    UsdNanos((nanos.max(0.0) * (1.0 - 1e-12)).ceil() as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::pace::rng::SplitMix64;
    use proptest::prelude::*;

    const RICH: UsdNanos = UsdNanos(i64::MAX);

    fn measured(items: impl IntoIterator<Item = (u64, i64)>) -> Measured {
        let mut sums = Measured::default();
        items.into_iter().for_each(|(bytes, cost)| sums.ended(bytes, UsdNanos(cost)));
        sums
    }

    fn left(items: u64, bytes: u64) -> Left {
        Left { items, bytes: items * bytes, worst: RICH, dearer: 1.0 }
    }

    #[test]
    fn the_rest_costs_what_ended_items_did() {
        for (n, each, rest, want) in [
            (49, 1_000, left(1_000, 400), None), // too few to say anything
            (50, 1_000, left(1_000, 400), Some((767_158, 1_050_000, 1_332_843))),
            (100, 1_000, left(1_000, 400), Some((900_000, 1_100_000, 1_300_000))),
            (10_000, 1_000, left(1_000, 400), Some((10_980_000, 11_000_000, 11_020_000))),
            (100, 1_000, left(0, 0), Some((100_000, 100_000, 100_000))),
            // In the lane where the rest goes each costs twice as much, or half of it.
            (100, 1_000, Left { dearer: 2.0, ..left(1_000, 400) }, Some((1_700_000, 2_100_000, 2_500_000))),
            (100, 1_000, Left { dearer: 0.5, ..left(1_000, 400) }, Some((500_000, 600_000, 700_000))),
            // More than each at its bound nothing costs.
            (
                100,
                1_000,
                Left { worst: UsdNanos(1_050_000), ..left(1_000, 400) },
                Some((900_000, 1_100_000, 1_150_000)),
            ),
            (100, 0, left(1_000, 400), Some((0, 0, 0))), // a free model
        ] {
            let sums = measured((0..n).map(|_| (400, each)));
            let got = Forecast::of(&sums, UsdNanos(each * n as i64), &rest);
            assert_eq!(
                got.map(|got| (got.low.0, got.expected.0, got.p95.0)),
                want,
                "{n} items, then {rest:?}"
            );
        }
    }

    #[test]
    fn a_model_that_is_ahead_of_another_does_not_make_the_rest_dearer() {
        let of = |items, ended, each| OfModel { items, ended, paid: ended * each };
        for (models, left, want) in [
            // Of 300 dear rows 200 are done, of 700 cheap ones 100: what is left is 100 x 20 + 600 x 1 over 700, and was 4,100 over 300.
            (&[of(300, 200, 20), of(700, 100, 1)][..], 700, Some(2_600.0 / 700.0 / (4_100.0 / 300.0))),
            // The same where half of the rows ended unmeasured.
            (&[of(600, 200, 20), of(1_400, 100, 1)], 700, Some(2_600.0 / 700.0 / (4_100.0 / 300.0))),
            // At one pace, of one model, of free ones.
            (&[of(300, 30, 20), of(700, 70, 1)], 900, Some(1.0)),
            (&[of(300, 200, 20)], 100, Some(1.0)),
            (&[of(300, 200, 0), of(700, 10, 0)], 790, Some(1.0)),
            (&[], 10, Some(1.0)),
            // Of most of the rest nothing is known; of a few rows that does not matter.
            (&[of(300, 200, 20), of(700, 9, 1)], 791, None),
            (&[of(990, 200, 20), of(10, 0, 0)], 800, Some(1.0)),
        ] {
            let found = of_models(models, left);
            let is_it = found.zip(want).map_or(found == want, |(found, want)| (found - want).abs() < 1e-9);
            assert!(is_it, "{models:?}: {found:?}, not {want:?}");
        }
    }

    #[test]
    fn attempts_that_ended_nothing_are_expected_again() {
        let mut sums = measured((0..100).map(|_| (400, 1_000)));
        (0..50).for_each(|_| sums.tried(UsdNanos(1_000)));
        let got = Forecast::of(&sums, UsdNanos(150_000), &left(100, 400)).unwrap();
        assert_eq!((got.expected.0, got.p95.0), (300_000, 330_000));
    }

    #[test]
    fn a_source_that_is_sorted_by_length_misleads_nobody() {
        // Cost in proportion to the length, or with half of it the same for all; the short ones first, or the long ones.
        for (fixed, slope) in [(0, 10), (2_000, 5), (4_000, 0)] {
            for long_first in [false, true] {
                let mut items: Vec<(u64, i64)> =
                    (0..4_000_u64).map(|at| (200 + at / 5, fixed + slope * (200 + at as i64 / 5))).collect();
                if long_first {
                    items.reverse();
                }
                let (done, rest) = items.split_at(400);
                let spent: i64 = done.iter().map(|(_, cost)| cost).sum();
                let bill: i64 = items.iter().map(|(_, cost)| cost).sum();
                let bytes = rest.iter().map(|(bytes, _)| bytes).sum();
                let rest = Left { bytes, ..left(rest.len() as u64, 0) };
                let got = Forecast::of(&measured(done.iter().copied()), UsdNanos(spent), &rest).unwrap();
                let off = (got.expected.0 - bill).abs() * 100 / bill;
                assert!(
                    off <= 1 && got.p95.0 >= bill,
                    "{fixed} + {slope} a byte: {off} % off, {got:?} for {bill}"
                );
            }
        }
    }

    #[test]
    fn p95_covers_the_bill() {
        // Lengths and outputs with a long tail: at least 475 of 500 jobs cost no more than the P95 of their first items.
        for n in [50_u64, 100, 400] {
            let covered = (1..=500).filter(|seed| {
                let mut rng = SplitMix64::new(*seed);
                let mut uniform = || (rng.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0;
                let mut item = || {
                    let normal =
                        (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                    let bytes = 200 + (uniform() * 800.0) as u64;
                    (bytes, bytes as i64 * 12 + (45_000.0 * (0.7 * normal - 0.245).exp()) as i64)
                };
                let done: Vec<_> = (0..n).map(|_| item()).collect();
                let rest: Vec<_> = (0..2_000).map(|_| item()).collect();
                let sum = |items: &[(u64, i64)]| items.iter().map(|(_, cost)| cost).sum::<i64>();
                let bytes = rest.iter().map(|(bytes, _)| bytes).sum();
                let spent = UsdNanos(sum(&done));
                let got = Forecast::of(&measured(done), spent, &Left { bytes, ..left(2_000, 0) }).unwrap();
                got.p95.0 >= spent.0 + sum(&rest)
            });
            let covered = covered.count();
            assert!(covered >= 475, "from {n} items: covered {covered} of 500");
        }
    }

    /// The looks of a job, a hundredth apart, under a cap: how many items had ended when two in a row said that it will not do.
    fn paused_after(costs: &[i64], cap: i64) -> Option<u64> {
        let (mut sums, mut spent, mut before) = (Measured::default(), 0, false);
        let step = (costs.len() as u64 / 100).max(10);
        for cost in costs {
            sums.ended(400, UsdNanos(*cost));
            spent += cost;
            if !sums.items.checked_sub(FORECAST_MIN).is_some_and(|more| more.is_multiple_of(step)) {
                continue;
            }
            let rest = left(costs.len() as u64 - sums.items, 400);
            let passes = Forecast::of(&sums, UsdNanos(spent), &rest).unwrap().passes(UsdNanos(cap));
            if passes && before {
                return Some(sums.items);
            }
            before = passes;
        }
        None
    }

    #[test]
    fn a_job_that_costs_what_its_pilot_promised_is_not_paused() {
        // Caps at a plan's P95: a pilot of 100 or more promises at most 1.05 to 1.2 times what it expects.
        for n in [300, 1_000, 5_000, 20_000] {
            for permille in [1_000, 1_050, 1_080, 1_120, 1_160, 1_200] {
                let costs = vec![1_000; n];
                assert_eq!(paused_after(&costs, n as i64 * permille), None, "{n} items, {permille} permille");
            }
        }
    }

    #[test]
    fn answers_that_vary_seldom_pause_a_job_that_its_budget_holds_and_dear_ones_always_do() {
        for n in [300_u64, 1_000, 5_000] {
            let of = |seed: u64| {
                let mut rng = SplitMix64::new(seed);
                let mut uniform = || (rng.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0;
                let mut normal =
                    || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                (0..n).map(|_| (45_000.0 * (0.7 * normal() - 0.245).exp()) as i64).collect::<Vec<_>>()
            };
            let jobs: Vec<Vec<i64>> = (1..=200).map(of).collect();
            let paused = |permille: i64| {
                let cap = |costs: &[i64]| costs.iter().sum::<i64>() / 1_000 * permille;
                jobs.iter().filter_map(|costs| paused_after(costs, cap(costs))).collect::<Vec<_>>()
            };
            assert!(paused(1_050).len() <= 4, "{n} items: {} of 200", paused(1_050).len());
            assert_eq!(paused(1_200).len(), 0, "{n} items");
            for (permille, most) in [(500, 110.max(n / 40)), (800, (n * 3 / 10).max(200))] {
                let dear = paused(permille);
                assert!(
                    dear.len() == 200 && dear.iter().all(|ended| *ended <= most),
                    "{n} items, {permille} permille: {dear:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_cap_leaves_over() {
        let forecast = Forecast {
            low: UsdNanos(700),
            expected: UsdNanos(900),
            p95: UsdNanos(1_100),
            measured: 100,
            left: 1_000,
        };
        for (cap, want) in [(100, 1_000), (600, 375), (900, 0), (5_000, 0), (50, 1_000)] {
            assert_eq!(forecast.left_over(UsdNanos(100), UsdNanos(cap)), want, "a cap of {cap}");
        }
    }

    proptest! {
        #[test]
        fn low_expected_and_p95_stand_in_order_above_what_is_spent(
            items in proptest::collection::vec((0_u64..5_000_000, 0_i64..10_000_000_000), 50..200),
            left_items in 0_u64..100_000_000, bytes in 0_u64..1_000_000, spent in 0_i64..1_000_000_000_000,
            worst in 0_i64..i64::MAX, dearer in 0.0_f64..4.0,
        ) {
            let left = Left {
                items: left_items, bytes: left_items * bytes, worst: UsdNanos(worst), dearer,
            };
            let got = Forecast::of(&measured(items), UsdNanos(spent), &left).unwrap();
            prop_assert!(UsdNanos(spent) <= got.low && got.low <= got.expected && got.expected <= got.p95, "{got:?}");
        }
    }
}
