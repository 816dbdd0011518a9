//! Which items a reviewer sees.

use crate::ids::Ordinal;
use crate::pace::rng::{mix, seed_of};

/// A share of a job's items, chosen by a hash of the job and the item's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    seed: u64,
    /// An item is in if its hash is below; one more than any hash when all are.
    below: u128,
}

impl Sample {
    /// `job`: the job's id. `permille`: the share in thousandths; 0 chooses none, 1,000 or more all.
    #[must_use]
    pub fn new(job: &str, permille: u32) -> Self {
        Self { seed: mix(seed_of(job)), below: (u128::from(permille.min(1_000)) << 64) / 1_000 }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.below == 0
    }

    /// Whether an item is in the sample.
    #[must_use]
    pub fn picks(&self, ordinal: Ordinal) -> bool {
        let place = self.seed.wrapping_add(u64::from(ordinal).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        u128::from(mix(place)) < self.below
    }
}
