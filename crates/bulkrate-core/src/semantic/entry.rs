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
}

impl Entry {
    /// What one takes at most.
    pub(super) const BYTES_MAX: usize = size_of::<Self>() + OBSERVATIONS_MAX * size_of::<Observation>();

    pub(super) fn new(said: Opinion) -> Self {
        Self { said, seen: std::collections::VecDeque::new(), threshold: None }
    }

    /// Compares it with what a model said of a prompt that is so similar.
    pub(super) fn observe(&mut self, similarity: Similarity, said: Opinion) -> bool {
        let right = self.said == said;
        self.note(Observation { similarity, right });
        right
    }

    pub(super) fn note(&mut self, seen: Observation) {
        if self.seen.len() == OBSERVATIONS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
        self.threshold = fit(self.seen.make_contiguous());
    }

    /// From how like on its answer is right; `None`: too little was seen.
    pub(super) fn threshold(&self) -> Option<Threshold> {
        self.threshold
    }
}
