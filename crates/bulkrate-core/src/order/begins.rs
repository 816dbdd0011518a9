//! Where the beginnings end that some rows of a table share: behind one of the first columns that fill the user prompt.
//!
//! A prompt has an end behind each of them, with a digest of all cells that stand before it: what else a prompt begins with is the
//! template's, and the same for all. Sorted by their digests, rows with one beginning stand side by side, whichever end is taken. One
//! end is taken for all rows of a model: the one at which most is saved.

use serde::{Deserialize, Serialize};

use super::prefix::Digest;
use super::{Factor, HIT_RATES};
use crate::price::estimate::prompt_tokens;

/// So many ends are looked at: what is shared stands first.
const ENDS_MAX: usize = 4;
/// Bytes of a digest that count. Two beginnings whose digests are equal by chance wait for each other; no request is changed.
const WIDTH: usize = 6;

/// Where a beginning may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Bytes of the user prompt before it; 0: there is no such end.
    pub at: u32,
    pub digest: [u8; WIDTH],
}

/// The ends of one prompt, the shortest beginning first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends(pub [End; ENDS_MAX]);

/// Digests of the cells of a prompt, as they follow each other.
#[derive(Debug, Default)]
pub struct CellDigest(Digest);

impl CellDigest {
    pub fn add(&mut self, cell: &str) {
        self.0.add(cell.as_bytes());
        self.0.close(cell.len() as u64);
    }

    #[must_use]
    pub fn value(&self) -> [u8; WIDTH] {
        let word = self.0.value().to_be_bytes();
        std::array::from_fn(|at| word[at])
    }
}

impl Ends {
    pub const BYTES: usize = ENDS_MAX * (WIDTH + 4);

    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0[0].at == 0
    }

    /// The digests lead: sorted by its bytes, prompts that begin alike stand together, at every end.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (digests, places) = bytes.split_at_mut(ENDS_MAX * WIDTH);
        for ((end, digest), at) in self.0.iter().zip(digests.chunks_mut(WIDTH)).zip(places.chunks_mut(4)) {
            digest.copy_from_slice(&end.digest);
            at.copy_from_slice(&end.at.to_be_bytes());
        }
        bytes
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (digests, places) = bytes.split_at(ENDS_MAX * WIDTH);
        let mut ends = Self::default();
        let read = digests.as_chunks::<WIDTH>().0.iter().zip(places.as_chunks::<4>().0);
        for (end, (digest, at)) in ends.0.iter_mut().zip(read) {
            *end = End { at: u32::from_be_bytes(*at), digest: *digest };
        }
        ends
    }

    /// Whether both begin alike up to this end.
    #[must_use]
    pub fn is_shared(&self, other: &Self, end: usize) -> bool {
        let (own, other) = (self.0[end], other.0[end]);
        own == other && own.at > 0
    }
}

/// What is long enough to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Least {
    /// Bytes that stand before the user prompt.
    pub before: u64,
    pub tokens: u64,
}

impl Least {
    #[must_use]
    pub fn keeps(&self, at: u32) -> bool {
        at > 0 && prompt_tokens(self.bytes(at)) >= self.tokens
    }

    fn bytes(&self, at: u32) -> u64 {
        self.before + u64::from(at)
    }
}

/// Rows that share a beginning with others, were it to end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sharing {
    pub rows: u64,
    pub beginnings: u64,
    /// Bytes that the first rows write, and that the others read.
    pub written: u64,
    pub read: u64,
}

impl Sharing {
    /// What the input of `bytes` costs as a share of its price without a cache, where so many of those that others have written for
    /// find it ([`HIT_RATES`]).
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn costs(&self, factor: Factor, bytes: u64) -> [f64; 3] {
        let marked = (self.read + self.written).max(1);
        let shared = marked as f64 / bytes.max(marked) as f64;
        HIT_RATES.map(|hits| factor.cost(shared, hits * self.read as f64 / marked as f64))
    }

    /// What is saved, in bytes of plain input; more than nothing where rows share at least `1 / (1 - break-even)` each.
    #[allow(clippy::cast_precision_loss, reason = "a sum for a choice")]
    fn saves(&self, factor: Factor) -> f64 {
        self.read as f64 * (1.0 - factor.read) - self.written as f64 * (factor.write - 1.0)
    }
}

/// Counts at every end, of rows in their sorted order.
#[derive(Debug)]
pub struct Counter {
    least: Least,
    before: Option<Ends>,
    ends: [(u64, Sharing); ENDS_MAX],
}

impl Counter {
    #[must_use]
    pub fn new(least: Least) -> Self {
        Self { least, before: None, ends: Default::default() }
    }

    pub fn add(&mut self, row: &Ends) {
        let before = self.before.replace(*row);
        for (end, (side_by_side, sharing)) in self.ends.iter_mut().enumerate() {
            let at = row.0[end].at;
            if !before.is_some_and(|before| before.is_shared(row, end)) || !self.least.keeps(at) {
                *side_by_side = 1;
                continue;
            }
            let bytes = self.least.bytes(at);
            // The second of them makes it a beginning that is shared.
            if *side_by_side == 1 {
                sharing.beginnings += 1;
                sharing.rows += 1;
                sharing.written += bytes;
            }
            *side_by_side += 1;
            sharing.rows += 1;
            sharing.read += bytes;
        }
    }

    /// The end at which most is saved, if anything is: the first of those that save the most.
    #[must_use]
    pub fn best(&self, factor: Factor) -> Option<(usize, Sharing)> {
        let found = self.ends.iter().enumerate().map(|(end, (_, sharing))| (end, *sharing));
        let gains = |(_, sharing): &(usize, Sharing)| sharing.saves(factor) > 0.0;
        found.filter(gains).reduce(
            |best, next| {
                if next.1.saves(factor) > best.1.saves(factor) { next } else { best }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SHORT: Factor = Factor { read: 0.1, write: 1.25 };
    const LEAST: Least = Least { before: 300, tokens: 1_000 };

    /// A row whose cells are these, each of so many bytes.
    fn row(cells: &[(&str, u32)]) -> Ends {
        let (mut ends, mut digest, mut at) = (Ends::default(), CellDigest::default(), 0);
        for (end, (cell, bytes)) in ends.0.iter_mut().zip(cells) {
            digest.add(cell);
            at += bytes;
            *end = End { at, digest: digest.value() };
        }
        ends
    }

    fn counted(rows: &[Ends]) -> Counter {
        let mut sorted: Vec<[u8; Ends::BYTES]> = rows.iter().map(Ends::to_bytes).collect();
        sorted.sort_unstable();
        let mut counter = Counter::new(LEAST);
        sorted.iter().for_each(|row| counter.add(&Ends::from_bytes(row)));
        counter
    }

    #[test]
    fn ends_are_read_as_they_were_written() {
        let ends = row(&[("a", 7), ("b", 70_000)]);
        assert_eq!(Ends::from_bytes(&ends.to_bytes()), ends);
        assert!(!ends.is_none() && Ends::default().is_none());
        assert!(!Ends::default().is_shared(&Ends::default(), 0), "no end is no shared one");
        let pair = |left: &str, right: &str| row(&[(left, 1), (right, 1)]).0[1].digest;
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_ne!(pair("", "12345678"), pair("12345678", ""));
    }

    #[test]
    fn the_end_is_taken_at_which_most_is_saved() {
        let name = |at: usize| format!("d{at}");
        // Twenty documents, five questions to each, in no order: the question's end is shared by nobody.
        let asked: Vec<Ends> =
            (0..100).map(|at| row(&[(&name(at % 20), 6_000), (&format!("q{at}"), 60)])).collect();
        let (end, found) = counted(&asked).best(SHORT).unwrap();
        let want = Sharing { rows: 100, beginnings: 20, written: 20 * 6_300, read: 80 * 6_300 };
        assert_eq!((end, found), (0, want));
        // A handbook before them: five parts of it, and four documents to each.
        let within = |at: usize| row(&[(&name(at % 5), 4_000), (&name(at % 20), 6_000), ("q", 1)]);
        let deep: Vec<Ends> = (0..100).map(within).collect();
        assert_eq!(counted(&deep[..20]).best(SHORT).unwrap().0, 0, "each document once");
        assert_eq!(counted(&deep).best(SHORT).unwrap().1.beginnings, 20);
    }

    #[test]
    fn costs_are_those_of_the_table() {
        // Questions of 60 tokens to a document of 6,000 behind 300, k to each.
        for (k, want) in [(2, [1.25, 1.08, 0.74]), (5, [1.25, 0.97, 0.43]), (10, [1.25, 0.94, 0.33])] {
            let sharing =
                Sharing { rows: k * 9, beginnings: 9, written: 9 * 6_300, read: 9 * 6_300 * (k - 1) };
            let costs = sharing.costs(SHORT, k * 9 * 6_360);
            assert!(costs.iter().zip(want).all(|(got, want)| (got - want).abs() < 0.006), "{k}: {costs:?}");
        }
    }

    #[test]
    fn what_is_alone_short_or_dear_has_no_end() {
        let alone: Vec<Ends> = (0..50).map(|at| row(&[(&format!("{at}"), 6_000), ("q", 5)])).collect();
        assert_eq!(counted(&alone).best(SHORT), None);
        let short: Vec<Ends> = (0..50).map(|at| row(&[("d", 3_000), (&format!("{at}"), 5)])).collect();
        assert_eq!(counted(&short).best(SHORT), None, "below 1,000 tokens");
        // Two rows each: half of what is marked is read.
        let pairs: Vec<Ends> =
            (0..40).map(|at| row(&[(&format!("{}", at / 2), 6_000), (&format!("q{at}"), 5)])).collect();
        assert_eq!(counted(&pairs).best(SHORT).unwrap().1.rows, 40);
        assert_eq!(counted(&pairs).best(Factor { read: 0.1, write: 2.0 }), None);
        assert_eq!(counted(&[]).best(SHORT), None);
    }
}
