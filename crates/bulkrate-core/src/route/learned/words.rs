//! From a text to numbers: which words and pairs of words it has, and what it looks like.
//!
//! Letters and digits make words, in lower case; everything else parts them. A word, and two words in a row, fall into one of
//! 2^16 buckets by hash, so nothing of the text has to be kept to score another.

use super::real;
use super::sparse::{bucket, count, pair};
use crate::pace::rng::mix;

/// Buckets of words and pairs.
pub(super) const BUCKETS: usize = 1 << 16;
/// What a text looks like, beside its words.
pub(super) const LOOKS: usize = 7;
/// More of a text than this says nothing new about it, and a file of gigabytes shall not stop a job.
const CHARS_MAX: usize = 100_000;

const FNV_START: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01B3;

/// Names a text: equal texts have equal fingerprints, and others differ but for one in 2^64.
#[must_use]
pub fn fingerprint(text: &str) -> u64 {
    mix(text.bytes().fold(FNV_START, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)))
}

/// What was found in one text. Its memory is used again for the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    /// Bucket and how often it was met, by bucket.
    pub(super) counted: Vec<(u32, u32)>,
    pub(super) looks: [f64; LOOKS],
    met: Vec<u32>,
}

impl Words {
    /// Takes a text apart.
    pub(super) fn read(&mut self, text: &str) {
        self.met.clear();
        let mut seen = Seen::default();
        let (mut word, mut before) = (None, None);
        for letter in text.chars().take(CHARS_MAX) {
            seen.letter(letter);
            if letter.is_alphanumeric() {
                word = Some(lengthen(word.unwrap_or(FNV_START), letter));
            } else if let Some(whole) = word.take() {
                self.meet(whole, &mut before);
                seen.words += 1;
            }
        }
        if let Some(whole) = word {
            self.meet(whole, &mut before);
            seen.words += 1;
        }
        self.looks = seen.looks();
        count(&mut self.met, &mut self.counted);
    }

    /// A word, and the pair that it makes with the one before.
    fn meet(&mut self, word: u64, before: &mut Option<u64>) {
        self.met.push(bucket(mix(word)));
        if let Some(before) = before.replace(word) {
            self.met.push(bucket(pair(before, mix(word))));
        }
    }
}

/// The hash of a word that has one more letter. Lower case may be several letters, as in `\u{130}`.
fn lengthen(hash: u64, letter: char) -> u64 {
    let step = |hash: u64, letter: char| (hash ^ u64::from(u32::from(letter))).wrapping_mul(FNV_PRIME);
    if letter.is_ascii() {
        step(hash, letter.to_ascii_lowercase())
    } else {
        letter.to_lowercase().fold(hash, step)
    }
}

#[derive(Debug, Default)]
struct Seen {
    letters: usize,
    words: usize,
    digits: usize,
    capitals: usize,
    marks: usize,
    lines: usize,
    questions: usize,
}

impl Seen {
    fn letter(&mut self, letter: char) {
        self.letters += 1;
        if letter.is_ascii() {
            self.digits += usize::from(letter.is_ascii_digit());
            self.capitals += usize::from(letter.is_ascii_uppercase());
            self.marks += usize::from(letter.is_ascii_punctuation());
        } else {
            self.digits += usize::from(letter.is_numeric());
            self.capitals += usize::from(letter.is_uppercase());
            self.marks += usize::from(!letter.is_alphanumeric() && !letter.is_whitespace());
        }
        self.lines += usize::from(letter == '\n');
        self.questions += usize::from(letter == '?');
    }

    fn looks(&self) -> [f64; LOOKS] {
        let (many, share) =
            (|count: usize| real(count).ln_1p(), |count: usize| real(count) / real(self.letters.max(1)));
        [
            many(self.letters),
            many(self.words),
            share(self.digits),
            share(self.capitals),
            share(self.marks),
            many(self.lines),
            many(self.questions),
        ]
    }
}
