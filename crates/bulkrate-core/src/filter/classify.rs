//! A linear classifier: one logistic head for each answer, weights in sixteen bits.

use serde::{Deserialize, Serialize};

use super::features::{Found, Space, vector};
use crate::route::learned::fit::{Linear, Loss, Rows, fit, logistic};
use crate::route::learned::sparse::Vector;

/// Weights are kept small by this much; the usual `C` is its inverse.
const RIDGE: f64 = 1.0 / 20.0;
const BIASES: f64 = 1e9;
const UNITS: f64 = 1e12;

/// How sure the classifier is of its answer, in millionths: a whole number, so that comparisons are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Confidence(pub i32);

/// Memory that is used again for the next text.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    found: Found,
    out: Vector,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classifier {
    space: Space,
    /// One an answer.
    heads: Vec<Head>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    answer: String,
    /// In billionths, and what a weight of 1 stands for in trillionths: whole numbers read back as they were written.
    bias: i64,
    unit: i64,
    weights: Vec<i16>,
}

impl Classifier {
    /// Learns from texts and their labels; the answers in the order of their names.
    #[must_use]
    pub fn fit(items: &[(&str, &str)]) -> Self {
        let mut texts = vec![Found::default(); items.len()];
        for (found, (text, _)) in texts.iter_mut().zip(items) {
            found.read(text);
        }
        let space = Space::learn(texts.iter().map(|found| found.counted.as_slice()));
        let (mut rows, mut out) = (Rows::new(space.width()), Vector::default());
        for found in &texts {
            vector(&space, found, &mut out);
            rows.push(&out.columns, &out.values);
        }
        let mut answers: Vec<&str> = items.iter().map(|(_, label)| *label).collect();
        answers.sort_unstable();
        answers.dedup();
        let heads = answers
            .into_iter()
            .map(|answer| {
                let targets: Vec<f64> =
                    items.iter().map(|(_, label)| f64::from(u8::from(*label == answer))).collect();
                Head::of(answer, &fit(&rows, &targets, Loss::Logistic, RIDGE))
            })
            .collect();
        Self { space, heads }
    }

    /// Makes what a file does not keep; false: it is none of ours.
    pub(super) fn restore(&mut self) -> bool {
        let width = self.space.width();
        let sound = |head: &Head| head.weights.len() == width;
        self.space.index() && !self.heads.is_empty() && self.heads.iter().all(sound)
    }

    /// Every answer that it gives.
    pub fn answers(&self) -> impl Iterator<Item = &str> {
        self.heads.iter().map(|head| head.answer.as_str())
    }

    /// The likeliest answer to a text. Of equals the first.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "0 to 1,000,000")]
    pub fn classify(&self, text: &str, scratch: &mut Scratch) -> (&str, Confidence) {
        let Scratch { found, out } = scratch;
        found.read(text);
        vector(&self.space, found, out);
        let (mut sum, mut best) = (0.0, ("", -1.0));
        for head in &self.heads {
            let share = logistic(head.odds(out));
            sum += share;
            if share > best.1 {
                best = (&head.answer, share);
            }
        }
        let confidence = if sum > 0.0 { best.1 / sum } else { 0.0 };
        (best.0, Confidence((confidence * 1e6).floor() as i32))
    }
}

impl Head {
    #[allow(clippy::cast_possible_truncation, reason = "a weight over its unit is within sixteen bits")]
    fn of(answer: &str, linear: &Linear) -> Self {
        let largest = linear.weights.iter().fold(0.0_f64, |most, weight| most.max(weight.abs()));
        let unit = ((largest / f64::from(i16::MAX) * UNITS).ceil() as i64).max(1);
        let weights =
            linear.weights.iter().map(|weight| (weight * UNITS / real(unit)).round() as i16).collect();
        Self { answer: answer.to_owned(), bias: (linear.bias * BIASES).round() as i64, unit, weights }
    }

    fn odds(&self, vector: &Vector) -> f64 {
        let weighed = vector.columns.iter().zip(&vector.values);
        let sum: f64 = weighed
            .map(|(column, value)| f64::from(self.weights[*column as usize]) * f64::from(*value))
            .sum();
        real(self.bias) / BIASES + real(self.unit) / UNITS * sum
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn real(number: i64) -> f64 {
    number as f64
}
