//! From what was found in a text to a vector: rare words weigh more, and all texts are equally long.

use super::sparse::{Columns, Vector};
use super::words::{BUCKETS, LOOKS, Words};
use super::{narrow, real};

/// A look so many standard deviations from the mean counts as this far: one odd text must not decide alone.
const LOOK_MAX: f64 = 3.0;

/// What the training texts taught about words and looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Space {
    pub(super) words: Columns<BUCKETS>,
    /// Mean and standard deviation of each look.
    pub(super) looks: [(f64, f64); LOOKS],
}

impl Space {
    /// Learns from texts that were taken apart.
    pub(super) fn learn(texts: &[Words]) -> Self {
        let n = real(texts.len().max(1));
        let look = |at: usize| {
            let mean = texts.iter().map(|text| text.looks[at]).sum::<f64>() / n;
            let spread = texts.iter().map(|text| (text.looks[at] - mean).powi(2)).sum::<f64>() / n;
            (mean, spread.sqrt())
        };
        let words = Columns::learn(texts.iter().map(|text| text.counted.as_slice()));
        Self { words, looks: std::array::from_fn(look) }
    }

    /// Columns of a vector.
    pub(super) fn width(&self) -> usize {
        self.words.width() + LOOKS
    }

    /// The vector of a text: its words, and behind them its looks.
    pub(super) fn vector(&self, words: &Words, out: &mut Vector) {
        let value = |count: u32, rarity: f64| {
            let often = if count == 1 { 1.0 } else { 1.0 + narrow(f64::from(count).ln()) };
            often * narrow(rarity)
        };
        self.words.vector(&words.counted, value, out);
        let first = u32::try_from(self.words.width()).unwrap_or(u32::MAX);
        for (column, (look, (mean, spread))) in (first..).zip(words.looks.iter().zip(&self.looks)) {
            let steps = if *spread > 0.0 { (look - mean) / spread } else { 0.0 };
            out.columns.push(column);
            out.values.push(narrow(steps.clamp(-LOOK_MAX, LOOK_MAX)));
        }
    }
}
