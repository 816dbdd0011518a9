//! The beginning of a prompt in sixteen bytes: prompts that begin alike sort next to each other.
//!
//! A digest of the first 4,096 bytes, then ever shorter ones of the first 8,192, 12,288, 16,384 and 24,576. Sorting by them puts
//! prompts with equal beginnings together, and among those the ones that agree further. Shorter beginnings do not count: no
//! provider caches them. Two prompts whose digests are equal by chance stand together for nothing; no request is changed.

use crate::pace::rng::mix;

/// The least beginning that counts: about 1,100 tokens, where providers cache from 1,024 on.
pub const PREFIX_MIN: usize = STEPS[0];

const STEPS: [usize; 5] = [4_096, 8_192, 12_288, 16_384, 24_576];
const WIDTHS: [usize; 5] = [6, 2, 2, 2, 2];
const LEN: usize = 16;

/// Digests of a prompt's beginnings, behind the number of its deployment: caches are by model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub [u8; LEN]);

impl Prefix {
    /// Of a prompt in pieces, as they follow each other on the wire.
    #[must_use]
    pub fn of(deployment: usize, pieces: &[&[u8]]) -> Self {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&u16::try_from(deployment).unwrap_or(u16::MAX).to_be_bytes());
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() < PREFIX_MIN {
            return Self(bytes);
        }
        let (mut digest, mut done, mut place) = (Digest::default(), 0, 2);
        let mut steps = STEPS.iter().zip(WIDTHS);
        let mut next = steps.next();
        for piece in pieces {
            let mut rest = *piece;
            while let Some((step, width)) = next {
                let take = rest.len().min(step - done);
                digest.add(&rest[..take]);
                (done, rest) = (done + take, &rest[take..]);
                if done < *step {
                    break;
                }
                // Never zero: that is a prompt without so long a beginning.
                let word = digest.value().to_be_bytes();
                bytes[place..place + width].copy_from_slice(&word[8 - width..]);
                bytes[place + width - 1] |=
                    u8::from(bytes[place..place + width].iter().all(|byte| *byte == 0));
                place += width;
                next = steps.next();
            }
        }
        Self(bytes)
    }

    /// Bytes that this prompt and `other` begin with alike, rounded down to a step; 0 across deployments.
    #[must_use]
    pub fn shared(&self, other: &Self) -> u64 {
        let (mut shared, mut place) = (0, 2);
        if self.0[..2] != other.0[..2] {
            return 0;
        }
        for (step, width) in STEPS.iter().zip(WIDTHS) {
            let (own, theirs) = (&self.0[place..place + width], &other.0[place..place + width]);
            if own != theirs || own.iter().all(|byte| *byte == 0) {
                break;
            }
            shared = *step as u64;
            place += width;
        }
        shared
    }
}

/// Takes bytes in any pieces; not for secrets.
#[derive(Debug, Default)]
pub(super) struct Digest {
    state: u64,
    word: [u8; 8],
    held: usize,
}

impl Digest {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        if self.held > 0 {
            let take = bytes.len().min(8 - self.held);
            self.word[self.held..self.held + take].copy_from_slice(&bytes[..take]);
            (self.held, bytes) = (self.held + take, &bytes[take..]);
            if self.held < 8 {
                return;
            }
            self.turn(self.word);
            self.held = 0;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.turn(*word));
        self.word[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }

    fn turn(&mut self, word: [u8; 8]) {
        self.state =
            mix(self.state.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    }

    /// Ends what was added, of so many bytes: what follows is a piece by itself.
    pub(super) fn close(&mut self, len: u64) {
        self.word[self.held..].fill(0);
        self.held = 0;
        self.turn(self.word);
        self.turn(len.to_le_bytes());
    }

    /// Steps are whole words, so nothing is held where a value is taken.
    pub(super) fn value(&self) -> u64 {
        mix(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prompt(parts: &[(u8, usize)]) -> Vec<u8> {
        parts.iter().flat_map(|(byte, len)| std::iter::repeat_n(*byte, *len)).collect()
    }

    #[test]
    fn what_begins_alike_is_shared_to_the_step_before_it_differs() {
        let base = prompt(&[(b'a', 30_000)]);
        for (other, want) in [
            (prompt(&[(b'a', 4_095), (b'b', 9_000)]), 0),
            (prompt(&[(b'a', 4_096), (b'b', 9_000)]), 4_096),
            (prompt(&[(b'a', 9_000), (b'b', 9_000)]), 8_192),
            (prompt(&[(b'a', 20_000), (b'b', 90_000)]), 16_384),
            (prompt(&[(b'a', 24_576)]), 24_576),
            (prompt(&[(b'a', 30_000)]), 24_576),
            (prompt(&[(b'a', 100)]), 0),
            (Vec::new(), 0),
        ] {
            let (left, right) = (Prefix::of(0, &[&base]), Prefix::of(0, &[&other]));
            assert_eq!((left.shared(&right), right.shared(&left)), (want, want), "{}", other.len());
        }
        let (short, other) = (Prefix::of(0, &[b"x"]), Prefix::of(0, &[b"x"]));
        assert_eq!(short.shared(&other), 0, "equal, and too short for any cache");
        assert_eq!(Prefix::of(0, &[&base]).shared(&Prefix::of(1, &[&base])), 0, "another model's cache");
    }

    #[test]
    fn sorting_brings_equal_beginnings_together() {
        let mut prompts: Vec<Prefix> = (0..60_u8)
            .map(|at| Prefix::of(0, &[&prompt(&[(at % 7, 5_000), (at % 3, 4_000), (at, 500)])]))
            .collect();
        let shared = |all: &[Prefix]| all.windows(2).map(|pair| pair[0].shared(&pair[1])).sum::<u64>();
        assert_eq!(shared(&prompts), 0);
        prompts.sort_unstable();
        // 7 groups; within each, 3 that agree to 8,192.
        assert_eq!(shared(&prompts), (60 - 21) * 8_192 + (21 - 7) * 4_096);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 4_000..9_000), cut in 0_usize..4_000) {
            let (left, right) = bytes.split_at(cut);
            prop_assert_eq!(Prefix::of(3, &[&bytes]), Prefix::of(3, &[left, right]));
        }
    }
}
