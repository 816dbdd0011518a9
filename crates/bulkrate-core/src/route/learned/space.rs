//! From what was found in a text to a vector: rare words weigh more, and all texts are equally long.

use super::real;
use super::words::{BUCKETS, LOOKS, Words};

/// Words in fewer texts than this are left out: they tell nothing of other texts, and make the router large.
const TEXTS_MIN: u32 = 2;
/// A look so many standard deviations from the mean counts as this far: one odd text must not decide alone.
const LOOK_MAX: f64 = 3.0;
/// A bucket that has no column.
const NONE: u32 = u32::MAX;

/// What the training texts taught about words and looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Space {
    pub(super) texts: u32,
    /// Buckets with a column, in order, each with the number of texts that have it.
    pub(super) kept: Vec<(u16, u32)>,
    /// Mean and standard deviation of each look.
    pub(super) looks: [(f64, f64); LOOKS],
    column_of: Vec<u32>,
    rarity: Vec<f32>,
}

/// A sparse vector: columns in rising order; the last ones are the looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Vector {
    pub(super) columns: Vec<u32>,
    pub(super) values: Vec<f32>,
}

impl Space {
    /// Learns from texts that were taken apart.
    pub(super) fn learn(texts: &[Words]) -> Self {
        let mut found_in = vec![0_u32; BUCKETS];
        for text in texts {
            for &(bucket, _) in &text.counted {
                found_in[usize::from(bucket)] += 1;
            }
        }
        let kept = (0..=u16::MAX).zip(&found_in).filter(|(_, count)| **count >= TEXTS_MIN);
        let kept = kept.map(|(bucket, count)| (bucket, *count)).collect();
        let n = real(texts.len().max(1));
        let look = |at: usize| {
            let mean = texts.iter().map(|text| text.looks[at]).sum::<f64>() / n;
            let spread = texts.iter().map(|text| (text.looks[at] - mean).powi(2)).sum::<f64>() / n;
            (mean, spread.sqrt())
        };
        let texts = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        Self::of(texts, kept, std::array::from_fn(look))
    }

    /// The same from its parts.
    pub(super) fn of(texts: u32, kept: Vec<(u16, u32)>, looks: [(f64, f64); LOOKS]) -> Self {
        let mut column_of = vec![NONE; BUCKETS];
        let mut rarity = Vec::with_capacity(kept.len());
        for (column, &(bucket, count)) in (0_u32..).zip(&kept) {
            column_of[usize::from(bucket)] = column;
            rarity.push(narrow(((1.0 + f64::from(texts)) / (1.0 + f64::from(count))).ln() + 1.0));
        }
        Self { texts, kept, looks, column_of, rarity }
    }

    /// Columns of a vector.
    pub(super) fn width(&self) -> usize {
        self.kept.len() + LOOKS
    }

    /// The vector of a text. Words that no training text had are as if they were not there.
    pub(super) fn vector(&self, words: &Words, out: &mut Vector) {
        out.columns.clear();
        out.values.clear();
        let mut squares = 0.0_f32;
        for &(bucket, count) in &words.counted {
            let column = self.column_of[usize::from(bucket)];
            let Some(rarity) = self.rarity.get(column as usize) else { continue };
            let often = if count == 1 { 1.0 } else { 1.0 + narrow(f64::from(count).ln()) };
            let value = often * rarity;
            squares += value * value;
            out.columns.push(column);
            out.values.push(value);
        }
        if squares > 0.0 {
            let length = squares.sqrt();
            out.values.iter_mut().for_each(|value| *value /= length);
        }
        let first = u32::try_from(self.kept.len()).unwrap_or(NONE);
        for (column, (look, (mean, spread))) in (first..).zip(words.looks.iter().zip(&self.looks)) {
            let steps = if *spread > 0.0 { (look - mean) / spread } else { 0.0 };
            out.columns.push(column);
            out.values.push(narrow(steps.clamp(-LOOK_MAX, LOOK_MAX)));
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "seven digits are more than a text says about itself")]
pub(super) fn narrow(number: f64) -> f32 {
    number as f32
}
