//! From a text to numbers: its words and pairs of words, and the pieces of three and four letters of its words.
//!
//! All in lower case, each hashed into one of 2^16 buckets of its kind, so that nothing of the text has to be kept.

use serde::{Deserialize, Serialize};

use crate::pace::rng::mix;
use crate::route::learned::fingerprint;

/// Words and pairs; the pieces have as many behind them.
const WORDS: u32 = 1 << 16;
const BUCKETS: usize = 1 << 17;
/// More of a text than this says nothing new about it.
const CHARS_MAX: usize = 20_000;
/// What is in fewer texts than this tells nothing of other texts, and makes the filter large.
const TEXTS_MIN: u32 = 2;
const NONE: u32 = u32::MAX;

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
        self.met.sort_unstable();
        self.counted.clear();
        for &bucket in &self.met {
            match self.counted.last_mut() {
                Some((last, count)) if *last == bucket => *count += 1,
                _ => self.counted.push((bucket, 1)),
            }
        }
    }

    /// A word, the pair that it makes with the one before, and its pieces.
    fn whole(&mut self, before: &mut Option<u64>) {
        let text: String = self.word.iter().collect();
        let word = fingerprint(&text);
        self.met.push(bucket(word));
        if let Some(before) = before.replace(word) {
            self.met.push(bucket(mix(before.rotate_left(23).wrapping_add(word))));
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

fn bucket(hash: u64) -> u32 {
    u32::try_from(hash >> 48).unwrap_or(0)
}

/// What the training texts taught about rarity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Space {
    texts: u32,
    /// Buckets with a column, in order, each with the number of texts that have it.
    kept: Vec<(u32, u32)>,
    #[serde(skip)]
    column_of: Vec<u32>,
}

/// A sparse vector, all equally long; columns in rising order.
#[derive(Debug, Clone, Default)]
pub(super) struct Vector {
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f32>,
}

impl Space {
    pub(super) fn learn(texts: &[Found]) -> Self {
        let mut found_in = vec![0_u32; BUCKETS];
        for (bucket, _) in texts.iter().flat_map(|text| &text.counted) {
            found_in[*bucket as usize] += 1;
        }
        let kept = (0..).zip(found_in).filter(|(_, count)| *count >= TEXTS_MIN).collect();
        let mut space =
            Self { texts: u32::try_from(texts.len()).unwrap_or(u32::MAX), kept, column_of: Vec::new() };
        space.index();
        space
    }

    /// What is not kept in a file. False: a bucket is none, or comes twice.
    pub(super) fn index(&mut self) -> bool {
        self.column_of = vec![NONE; BUCKETS];
        for (column, (bucket, _)) in (0..).zip(&self.kept) {
            match self.column_of.get_mut(*bucket as usize) {
                Some(place) if *place == NONE => *place = column,
                _ => return false,
            }
        }
        true
    }

    pub(super) fn width(&self) -> usize {
        self.kept.len()
    }

    #[allow(clippy::cast_possible_truncation, reason = "seven digits are more than a text says about itself")]
    pub(super) fn vector(&self, found: &Found, out: &mut Vector) {
        out.columns.clear();
        out.values.clear();
        let mut squares = 0.0_f32;
        for &(bucket, count) in &found.counted {
            let column = self.column_of[bucket as usize];
            let Some((_, texts)) = self.kept.get(column as usize) else { continue };
            let rarity = ((1.0 + f64::from(self.texts)) / (1.0 + f64::from(*texts))).ln() + 1.0;
            let value = ((1.0 + f64::from(count).ln()) * rarity) as f32;
            squares += value * value;
            out.columns.push(column);
            out.values.push(value);
        }
        if squares > 0.0 {
            let length = squares.sqrt();
            out.values.iter_mut().for_each(|value| *value /= length);
        }
    }
}
