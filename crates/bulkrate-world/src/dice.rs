//! Chance, from one seed.

use bulkrate_core::pace::rng::SplitMix64;

/// A stream of choices; streams of one seed for different purposes do not disturb each other.
#[derive(Debug, Clone)]
pub struct Dice(SplitMix64);

impl Dice {
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut first = SplitMix64::new(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(SplitMix64::new(first.next_u64()))
    }

    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 to below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.word() % end }
    }

    /// From `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// With so many chances in a thousand.
    pub fn permille(&mut self, chances: u64) -> bool {
        self.below(1_000) < chances
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, usize::try_from(self.below(at as u64 + 1)).unwrap_or(0));
        }
    }
}
