//! Which items share a leader's outcome, and how many of all those a run is asked for (`--limit`).

use std::collections::HashMap;

use bulkrate_core::ids::Ordinal;

/// Followers by leader; only leaders that have any.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    all: HashMap<Ordinal, u32>,
    /// Those that the run is asked for, where that is not all of them.
    asked: Option<HashMap<Ordinal, u32>>,
    /// Items at and beyond this are not asked for.
    end: Ordinal,
}

impl Followers {
    pub(crate) fn new(end: Ordinal) -> Self {
        Self { all: HashMap::new(), asked: (end < Ordinal::MAX).then(HashMap::new), end }
    }

    pub(crate) fn add(&mut self, item: Ordinal, leader: Ordinal) {
        *self.all.entry(leader).or_default() += 1;
        if let Some(asked) = self.asked.as_mut().filter(|_| item < self.end) {
            *asked.entry(leader).or_default() += 1;
        }
    }

    /// All that share a leader's outcome: what is saved on them is booked whoever asks.
    pub(crate) fn of(&self, leader: Ordinal) -> u64 {
        u64::from(self.all.get(&leader).copied().unwrap_or(0))
    }

    /// Of the items that the run is asked for, how many a leader's outcome decides: itself (0 or 1) and its followers.
    pub(crate) fn decides(&self, leader: Ordinal) -> (u64, u64) {
        let asked = self.asked.as_ref().unwrap_or(&self.all).get(&leader).copied().unwrap_or(0);
        (u64::from(leader < self.end), u64::from(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_before_the_limit_are_decided() {
        for (end, want) in [(Ordinal::MAX, (1, 3)), (8, (1, 2)), (3, (1, 0)), (2, (0, 0))] {
            let mut followers = Followers::new(end);
            for item in [3, 7, 9] {
                followers.add(item, 2);
            }
            assert_eq!((followers.of(2), followers.decides(2)), (3, want), "{end}");
            assert_eq!((followers.of(0), followers.decides(0)), (0, (u64::from(end > 0), 0)));
        }
    }
}
