//! From a text to numbers: its words and pairs of words, and the pieces of three and four letters of its words.
//!
//! All in lower case, each hashed into one of 2^16 buckets of its kind, so that nothing of the text has to be kept.

use crate::pace::rng::mix;
use crate::route::learned::sparse::{Columns, Vector, bucket, count, pair};
use crate::route::learned::{fingerprint, narrow};

/// Words and pairs; the pieces have as many behind them.
const WORDS: u32 = 1 << 16;
const BUCKETS: usize = 1 << 17;
/// More of a text than this says nothing new about it.
const CHARS_MAX: usize = 20_000;

pub(super) type Space = Columns<BUCKETS>;

/// What was found in one text: bucket and how often, by bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) counted: Vec<(u32, u32)>,
    met: Vec<u32>,
    word: Vec<char>,
    piece: String,
}

impl Found {
    pub(super) fn read(&mut self, text: &str) {
        self.met.clear();
        let mut before = None;
        for letter in text.chars().take(CHARS_MAX).flat_map(char::to_lowercase).chain([' ']) {
            if letter.is_alphanumeric() {
                self.word.push(letter);
            } else if !self.word.is_empty() {
                self.whole(&mut before);
                self.word.clear();
            }
            // Marks are words of their own: `!!!` and `$` tell much of a text.
            if !letter.is_alphanumeric() && !letter.is_whitespace() {
                self.met.push(bucket(mix(u64::from(u32::from(letter)))));
            }
        }
        count(&mut self.met, &mut self.counted);
    }

    /// A word, the pair that it makes with the one before, and its pieces.
    fn whole(&mut self, before: &mut Option<u64>) {
        let text: String = self.word.iter().collect();
        let word = fingerprint(&text);
        self.met.push(bucket(word));
        if let Some(before) = before.replace(word) {
            self.met.push(bucket(pair(before, word)));
        }
        self.word.insert(0, ' ');
        self.word.push(' ');
        for size in [3, 4] {
            for letters in self.word.windows(size) {
                self.piece.clear();
                self.piece.extend(letters);
                self.met.push(WORDS + bucket(fingerprint(&self.piece)));
            }
        }
    }
}

/// The vector of a text.
pub(super) fn vector(space: &Space, found: &Found, out: &mut Vector) {
    space.vector(&found.counted, |count, rarity| narrow((1.0 + f64::from(count).ln()) * rarity), out);
}
