//! Inputs near known ones: bits, bytes, numbers and pieces changed, all from one seed.

use bulkrate_core::pace::rng::SplitMix64;

/// What parsers trip over.
const ODD: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"1e400",
    b"-0",
    b"18446744073709551616",
    b"99999999999999999999",
    b"-1",
    b"NaN",
    b"null",
    b"{{",
    b"{% for x in y %}",
    b"\xf0\x9f\x98\x80",
];
const BYTES_MAX: usize = 4_096;

pub(crate) struct Mutator {
    dice: SplitMix64,
}

impl Mutator {
    /// Each target has a stream of its own.
    pub(crate) fn new(name: &str) -> Self {
        let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self { dice: SplitMix64::new(seed) }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.dice.up_to(end.saturating_sub(1) as u64)).unwrap()
    }

    pub(crate) fn next(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes, seeds);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
        let at = self.below(bytes.len() + 1);
        let end = at + self.below((bytes.len() - at).min(16) + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let piece = other[from..(from + 24).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            5 => bytes.truncate(at),
            _ => {
                let odd = ODD[self.below(ODD.len())];
                bytes.splice(at..end, odd.iter().copied());
            }
        }
    }
}
