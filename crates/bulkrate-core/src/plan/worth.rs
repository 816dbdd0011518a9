//! Whether a pilot is worth its money.

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

/// What the plan that wins saves against the best of the strong model alone, where a pilot of `cost` took as much or more.
#[must_use]
pub fn unearned(cost: UsdNanos, alone: UsdNanos, wins: UsdNanos) -> Option<UsdNanos> {
    let saved = (alone - wins).max(UsdNanos::ZERO);
    (cost > UsdNanos::ZERO && cost >= saved).then_some(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let found = unearned(UsdNanos(cost), UsdNanos(alone), UsdNanos(wins));
            assert_eq!(found, want.map(UsdNanos), "{cost} for {alone} to {wins}");
        }
    }
}
