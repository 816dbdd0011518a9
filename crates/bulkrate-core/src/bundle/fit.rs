//! How many items have room in one request: what a plan promises and what a run does.

use std::fmt;

use super::pays::ID_TOKENS;
use super::{INPUT_TOKENS_MAX, SIZE_MAX};
use crate::money::UsdNanos;

/// What limits how many items go in one request, other than the size that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    Prompt,
    Answers,
    Price,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt => write!(f, "a bundle's prompt has at most {INPUT_TOKENS_MAX} tokens"),
            Self::Answers => f.write_str("the answers of all must have room in one of the model's"),
            Self::Price => f.write_str("the cap for one request holds for all of a bundle"),
        }
    }
}

/// What one item asks of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Prompt tokens of an item alone, and those that each further one adds.
    pub prompt: (u64, u64),
    /// The most output tokens of one item, and of the model.
    pub output: (u64, Option<u64>),
    /// The most that an item costs alone, and the cap for one request.
    pub price: (UsdNanos, Option<UsdNanos>),
}

/// Of `size` items as many as have room together, and what limits them. One always has: it is asked alone.
#[must_use]
pub fn fitting(size: u32, room: &Room) -> (u32, Option<Limit>) {
    let (first, next) = room.prompt;
    let prompt = match INPUT_TOKENS_MAX.checked_sub(first) {
        Some(left) => left.checked_div(next).map_or(u64::from(SIZE_MAX), |more| more + 1),
        None => 1,
    };
    let (each, most) = room.output;
    let answers = most.map(|most| most / each.saturating_add(u64::from(ID_TOKENS)).max(1));
    let (bound, cap) = room.price;
    let price = cap.filter(|_| bound > UsdNanos::ZERO).map(|cap| u64::try_from(cap.0 / bound.0).unwrap_or(0));
    let limits = [(Some(prompt), Limit::Prompt), (answers, Limit::Answers), (price, Limit::Price)];
    let least = limits.into_iter().filter_map(|(most, limit)| Some((most?, limit))).min();
    match least.filter(|(most, _)| *most < u64::from(size)) {
        Some((most, limit)) => (u32::try_from(most).unwrap_or(u32::MAX).max(1), Some(limit)),
        None => (size, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_limit_is_told() {
        let room = Room { prompt: (500, 100), output: (40, Some(2_000)), price: (UsdNanos(10), None) };
        assert_eq!(fitting(20, &room), (20, None));
        assert_eq!(fitting(100, &room), (40, Some(Limit::Answers)));
        assert_eq!(fitting(100, &Room { output: (40, None), ..room }), (76, Some(Limit::Prompt)));
        let capped = Room { price: (UsdNanos(10), Some(UsdNanos(75))), ..room };
        assert_eq!(fitting(20, &capped), (7, Some(Limit::Price)));
        assert_eq!(fitting(7, &capped), (7, None));
        for alone in [
            Room { prompt: (INPUT_TOKENS_MAX + 1, 10), ..room },
            Room { output: (1_500, Some(2_000)), ..room },
            Room { price: (UsdNanos(10), Some(UsdNanos(9))), ..room },
        ] {
            assert_eq!(fitting(20, &alone).0, 1, "{alone:?}");
        }
        assert_eq!(fitting(50, &Room::default()), (50, None));
    }
}
