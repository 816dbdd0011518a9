//! One kept answer: what it says, and what was seen of it.

use super::rule::{Observation, Similarity, Threshold, fit};
use crate::cascade::Opinion;

/// Of one answer so many observations are kept; then the oldest goes.
const OBSERVATIONS_MAX: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Entry {
    said: Opinion,
    seen: std::collections::VecDeque<Observation>,
    threshold: Option<Threshold>,
    /// The threshold does not know of the last observations. It is fitted when it is asked for: a start recalls many.
    stale: bool,
}

impl Entry {
    /// What one takes at most.
    pub(super) const BYTES_MAX: usize = size_of::<Self>() + OBSERVATIONS_MAX * size_of::<Observation>();

    pub(super) fn new(said: Opinion) -> Self {
        Self { said, seen: std::collections::VecDeque::new(), threshold: None, stale: false }
    }

    pub(super) fn says(&self, said: Opinion) -> bool {
        self.said == said
    }

    /// Compares it with what a model said of a prompt that is so similar.
    pub(super) fn observe(&mut self, similarity: Similarity, said: Opinion) -> bool {
        let right = self.says(said);
        self.note(Observation { similarity, right });
        right
    }

    pub(super) fn note(&mut self, seen: Observation) {
        if self.seen.len() == OBSERVATIONS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
        self.stale = true;
    }

    /// From how like on its answer is right; `None`: too little was seen.
    pub(super) fn threshold(&mut self) -> Option<Threshold> {
        if std::mem::take(&mut self.stale) {
            self.threshold = fit(self.seen.make_contiguous());
        }
        self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_fitted_when_it_is_asked_for_and_knows_all_that_was_seen() {
        let mut late = Entry::new(Opinion([1; 16]));
        let mut early = late.clone();
        for at in 0..300_u16 {
            let seen = Observation { similarity: Similarity(700 + at), right: at > 40 };
            late.note(seen);
            early.note(seen);
            assert_eq!(early.threshold().is_some(), at >= 5, "{at}");
        }
        assert!(late.stale && late.threshold.is_none());
        assert_eq!(late.threshold(), early.threshold());
        assert!(!late.stale);
    }
}
