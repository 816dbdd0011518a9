//! Whether a pilot is worth its money.

use super::candidate::Candidate;
use crate::lane::Lane;
use crate::money::UsdNanos;

/// Of what all items would cost at the strong model alone a pilot should take less than this: what it saves is seldom more than some
/// multiples of it, and most of the time less.
const PERMILLE_MAX: i128 = 20;

/// The share of `whole`, what all items would cost at the strong model alone, that a pilot of `cost` takes, in permille; `None`: little
/// enough, or nothing is known of the whole.
#[must_use]
pub fn too_dear(cost: UsdNanos, whole: UsdNanos) -> Option<u64> {
    if whole <= UsdNanos::ZERO {
        return None;
    }
    let permille = i128::from(cost.0) * 1_000 / i128::from(whole.0);
    u64::try_from(permille).ok().filter(|_| permille >= PERMILLE_MAX)
}

/// What the plan at `winner` saves against the best of the strong model alone, where the pilot, which has `cost` so much, took as much or
/// more. `naive`: what all items, the pilot's included, would cost in calls of the strong model; of `all` plans prices are for the rest.
#[must_use]
pub fn unearned(cost: UsdNanos, naive: UsdNanos, all: &[Candidate], winner: usize) -> Option<UsdNanos> {
    let expected = |one: &Candidate| one.cost.as_ref().map(|cost| cost.expected);
    let strong = all.iter().filter(|one| one.way.is_reference());
    let called = strong.clone().find(|one| one.lane == Lane::Sync).and_then(expected)?;
    let best = strong.filter_map(expected).min()?;
    // Without a pilot its items would have cost there what the others do.
    let whole = naive.share_up(best.0.unsigned_abs(), called.0.unsigned_abs());
    not_saved(cost, whole, expected(all.get(winner)?)?)
}

fn not_saved(cost: UsdNanos, alone: UsdNanos, wins: UsdNanos) -> Option<UsdNanos> {
    let saved = (alone - wins).max(UsdNanos::ZERO);
    (cost > UsdNanos::ZERO && cost >= saved).then_some(saved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Quality, Way};
    use crate::price::Quote;

    #[test]
    fn a_pilot_of_two_percent_is_too_dear() {
        for (cost, whole, want) in
            [(0, 1_000, None), (19, 1_000, None), (20, 1_000, Some(20)), (31, 1_000, Some(31)), (5, 0, None)]
        {
            assert_eq!(too_dear(UsdNanos(cost), UsdNanos(whole)), want, "{cost} of {whole}");
        }
    }

    #[test]
    fn a_pilot_is_earned_by_what_its_plan_saves() {
        for (cost, alone, wins, want) in [
            (10, 100, 60, None),
            (40, 100, 60, Some(40)),
            (10, 100, 100, Some(0)), // the strong model alone wins
            (10, 100, 120, Some(0)),
            (0, 100, 100, None), // a pilot that cost nothing owes nothing
        ] {
            let found = not_saved(UsdNanos(cost), UsdNanos(alone), UsdNanos(wins));
            assert_eq!(found, want.map(UsdNanos), "{cost} for {alone} to {wins}");
        }
    }

    #[test]
    fn what_a_plan_saves_is_counted_over_the_pilots_items_too() {
        // 100 of 1,000 items were asked in the pilot; the rest costs 900 in calls and half of it in batches, with a cheap model 90.
        let plan = |model, lane, expected| Candidate {
            way: Way::alone(model),
            lane,
            bundle: 1,
            bundles: Vec::new(),
            mark: None,
            cost: Some(Quote {
                expected: UsdNanos(expected),
                p95: UsdNanos(expected),
                worst: UsdNanos(expected),
                learned: true,
            }),
            time_s: 0,
            latest_s: 0,
            quality: Quality::Unknown,
            barred: None,
        };
        let all = [plan(0, Lane::Sync, 900), plan(0, Lane::Batch, 450), plan(1, Lane::Batch, 90)];
        let unearned =
            |cost, winner| unearned(UsdNanos(cost), UsdNanos(1_000), &all, winner).map(|saved| saved.0);
        // All 1,000 would cost 500 in batches of the strong model: 410 are saved.
        for (cost, winner, want) in [(409, 2, None), (410, 2, Some(410)), (50, 1, Some(50)), (10, 9, None)] {
            assert_eq!(unearned(cost, winner), want, "a pilot of {cost}, plan {winner}");
        }
        assert_eq!(
            super::unearned(UsdNanos(9), UsdNanos(1_000), &all[1..], 1),
            None,
            "no price of calls is known"
        );
    }
}
