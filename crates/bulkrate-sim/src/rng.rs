//! Seeded hashes: every random-looking choice is a function of a seed and a counter or a content, so runs can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};

/// Finaliser of splitmix64: a bijection that spreads every input bit.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 64-bit hash of `bytes`, eight at a time. Not for adversaries.
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut state = mix(seed ^ bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(0x9FB2_1C65_1E98_DF25);
        state ^= state >> 32;
    }
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(last))
}

/// Maps a hash to `0.0 <= x < 1.0`.
pub(crate) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Maps a hash to `0..bound`; 0 when `bound` is 0.
pub(crate) fn below(hash: u64, bound: usize) -> usize {
    let wide = u128::from(hash) * (bound as u128);
    usize::try_from(wide >> 64).unwrap_or(0)
}

/// Appends `digits` hexadecimal digits derived from `key`.
pub(crate) fn push_hex(out: &mut Vec<u8>, key: u64, digits: usize) {
    push_alphabet(out, key, digits, b"0123456789abcdef");
}

/// Appends `digits` letters and digits derived from `key`.
pub(crate) fn push_base62(out: &mut Vec<u8>, key: u64, digits: usize) {
    push_alphabet(out, key, digits, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
}

fn push_alphabet(out: &mut Vec<u8>, key: u64, digits: usize, alphabet: &[u8]) {
    let base = alphabet.len() as u64;
    let (mut block, mut left) = (0_u64, 0_u64);
    for position in 0..digits {
        if position % 8 == 0 {
            block += 1;
            left = mix(key ^ mix(block));
        }
        out.push(alphabet[usize::try_from(left % base).unwrap_or(0)]);
        left /= base;
    }
}

/// Source of fresh keys for ids and latencies.
#[derive(Debug)]
pub(crate) struct Keys {
    seed: u64,
    next: AtomicU64,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: mix(seed), next: AtomicU64::new(0) }
    }

    pub(crate) fn fresh(&self) -> u64 {
        mix(self.seed ^ self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// An id such as `file-` and 22 letters.
    pub(crate) fn id(&self, prefix: &str, digits: usize, hex: bool) -> String {
        let mut out = prefix.as_bytes().to_vec();
        let key = self.fresh();
        if hex {
            push_hex(&mut out, key, digits);
        } else {
            push_base62(&mut out, key, digits);
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_repeat_and_differ() {
        assert_eq!(hash(b"parcel is late", 7), hash(b"parcel is late", 7));
        assert_ne!(hash(b"parcel is late", 7), hash(b"parcel is late", 8));
        assert_ne!(hash(b"a\0", 1), hash(b"a", 1));
    }

    #[test]
    fn units_stay_in_range() {
        for n in 0..10_000 {
            let x = unit(mix(n));
            assert!((0.0..1.0).contains(&x));
            assert!(below(mix(n), 7) < 7);
        }
        assert_eq!(below(u64::MAX, 0), 0);
    }

    #[test]
    fn ids_have_the_asked_shape_and_never_repeat() {
        let keys = Keys::new(3);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..5_000 {
            let id = keys.id("batch_", 32, true);
            assert_eq!(id.len(), 38);
            assert!(id[6..].bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(seen.insert(id));
        }
    }
}
