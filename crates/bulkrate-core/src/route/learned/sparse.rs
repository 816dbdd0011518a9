//! What the router and the filter make vectors with: buckets met in texts, and columns for those that tell something.
//!
//! Which buckets a text has, and what a count is worth in its vector, is for each of them to say.

use serde::{Deserialize, Serialize};

use crate::pace::rng::mix;

/// What is in fewer texts than this tells nothing of other texts, and makes the file large.
const TEXTS_MIN: u32 = 2;
/// A bucket that has no column.
const NONE: u32 = u32::MAX;

/// One of 2^16.
pub(crate) fn bucket(hash: u64) -> u32 {
    // The upper bits: of a product they depend on all bits below.
    u32::try_from(hash >> 48).unwrap_or(0)
}

/// Two words in a row.
pub(crate) fn pair(before: u64, word: u64) -> u64 {
    mix(before.rotate_left(23).wrapping_add(word))
}

/// Bucket and how often it was met, by bucket.
pub(crate) fn count(met: &mut [u32], counted: &mut Vec<(u32, u32)>) {
    met.sort_unstable();
    counted.clear();
    for &bucket in &*met {
        match counted.last_mut() {
            Some((last, count)) if *last == bucket => *count += 1,
            _ => counted.push((bucket, 1)),
        }
    }
}

/// A sparse vector; columns in rising order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vector {
    pub(crate) columns: Vec<u32>,
    pub(crate) values: Vec<f32>,
}

/// What the training texts taught about rarity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Columns<const BUCKETS: usize> {
    pub(crate) texts: u32,
    /// Buckets with a column, in order, each with the number of texts that have it.
    pub(crate) kept: Vec<(u32, u32)>,
    #[serde(skip)]
    column_of: Vec<u32>,
    #[serde(skip)]
    rarity: Vec<f64>,
}

impl<const BUCKETS: usize> Columns<BUCKETS> {
    /// Learns from what was counted in each text.
    pub(crate) fn learn<'t>(texts: impl ExactSizeIterator<Item = &'t [(u32, u32)]>) -> Self {
        let count = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let mut found_in = vec![0_u32; BUCKETS];
        for (bucket, _) in texts.flatten() {
            found_in[*bucket as usize] += 1;
        }
        Self::of(count, (0..).zip(found_in).filter(|(_, texts)| *texts >= TEXTS_MIN).collect())
    }

    /// The same from its parts.
    pub(crate) fn of(texts: u32, kept: Vec<(u32, u32)>) -> Self {
        let mut columns = Self { texts, kept, column_of: Vec::new(), rarity: Vec::new() };
        columns.index();
        columns
    }

    /// Makes what is not kept in a file. False: a bucket is none, or comes twice.
    pub(crate) fn index(&mut self) -> bool {
        let rarity = |texts: u32| ((1.0 + f64::from(self.texts)) / (1.0 + f64::from(texts))).ln() + 1.0;
        self.rarity = self.kept.iter().map(|(_, texts)| rarity(*texts)).collect();
        self.column_of = vec![NONE; BUCKETS];
        for (column, (bucket, _)) in (0..).zip(&self.kept) {
            match self.column_of.get_mut(*bucket as usize) {
                Some(place) if *place == NONE => *place = column,
                _ => return false,
            }
        }
        true
    }

    pub(crate) fn width(&self) -> usize {
        self.kept.len()
    }

    /// The vector of a text, one long. `value`: of a count and a rarity. What no training text had is as if it were not there.
    pub(crate) fn vector(&self, counted: &[(u32, u32)], value: impl Fn(u32, f64) -> f32, out: &mut Vector) {
        out.columns.clear();
        out.values.clear();
        let mut squares = 0.0_f32;
        for &(bucket, count) in counted {
            let column = self.column_of[bucket as usize];
            let Some(rarity) = self.rarity.get(column as usize) else { continue };
            let value = value(count, *rarity);
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
