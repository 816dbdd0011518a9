//! A small seeded generator for jitter and simulations. Not for secrets.

/// SplitMix64: one word of state, passes the usual statistical tests, same numbers on every platform.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number in `0.0 ..= 1.0`.
    pub fn unit(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// A whole number in `0 ..= max`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        scaled(self.next_u64(), max)
    }
}

/// A seed made of a text (FNV-1a): for short ids that are no secrets.
#[must_use]
pub fn seed_of(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Spreads the bits of `word`, so that neighbouring seeds give unrelated numbers.
#[must_use]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// `random` of all 64-bit words, scaled to a whole number in `0 ..= max`.
#[must_use]
pub fn scaled(random: u64, max: u64) -> u64 {
    let product = u128::from(random) * (u128::from(max) + 1);
    u64::try_from(product >> 64).unwrap_or(max)
}

/// `random` of all 64-bit words, scaled to `0.0 ..= 1.0`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "53 bits are kept, which is what a unit float holds")]
pub fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let (mut a, mut b) = (SplitMix64::new(7), SplitMix64::new(7));
        let mut buckets = [0_u32; 10];
        for _ in 0..10_000 {
            assert_eq!(a.next_u64(), b.next_u64());
            buckets[usize::try_from(a.up_to(9)).unwrap_or(0)] += 1;
            b.up_to(9);
        }
        assert!(buckets.iter().all(|count| (850..1_150).contains(count)), "{buckets:?}");
        assert_eq!((scaled(0, 5), scaled(u64::MAX, 5), scaled(u64::MAX, u64::MAX)), (0, 5, u64::MAX));
    }
}
