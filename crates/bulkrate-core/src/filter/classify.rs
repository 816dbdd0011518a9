//! A linear classifier: one logistic head for each answer, weights in sixteen bits.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::features::{Found, Space, vector};
use crate::route::learned::fit::{Linear, Loss, Rows, fit, logistic};
use crate::route::learned::sparse::Vector;

/// Answers that are learnt at most: the most frequent ones. Each takes a search of its own, and its weights.
pub const ANSWERS_MAX: usize = 256;
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
    pub(super) out: Vector,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classifier {
    space: Space,
    /// One an answer.
    heads: Vec<Head>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    answer: String,
    /// In billionths, and what a weight of 1 stands for in trillionths: whole numbers read back as they were written.
    bias: i64,
    unit: i64,
    weights: Vec<i16>,
}

impl Classifier {
    /// Learns from texts and their labels; the answers in the order of their names. `tell` hears how many of how many are learnt.
    #[must_use]
    pub fn fit(items: &[(&str, &str)], tell: &mut dyn FnMut(usize, usize)) -> Self {
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
        let labels: Vec<&str> = items.iter().map(|(_, label)| *label).collect();
        Self { space, heads: heads(&rows, &labels, tell) }
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
    pub fn classify(&self, text: &str, scratch: &mut Scratch) -> (&str, Confidence) {
        let Scratch { found, out } = scratch;
        found.read(text);
        vector(&self.space, found, out);
        likeliest(&self.heads, out)
    }
}

/// One an answer, learnt from rows and their labels.
pub(super) fn heads(rows: &Rows, labels: &[&str], tell: &mut dyn FnMut(usize, usize)) -> Vec<Head> {
    let answers = answers(labels);
    let all = answers.len();
    let head = |(done, answer): (usize, &str)| {
        tell(done, all);
        let targets: Vec<f64> = labels.iter().map(|label| f64::from(u8::from(*label == answer))).collect();
        Head::of(answer, &fit(rows, &targets, Loss::Logistic, RIDGE))
    };
    (0..).zip(answers).map(head).collect()
}

/// The answer that is likeliest, and by how much. Of equals the first.
#[allow(clippy::cast_possible_truncation, reason = "0 to 1,000,000")]
pub(super) fn likeliest<'h>(heads: &'h [Head], vector: &Vector) -> (&'h str, Confidence) {
    let (mut sum, mut best) = (0.0, ("", -1.0));
    for head in heads {
        let share = logistic(head.odds(vector));
        sum += share;
        if share > best.1 {
            best = (head.answer(), share);
        }
    }
    let confidence = if sum > 0.0 { best.1 / sum } else { 0.0 };
    (best.0, Confidence((confidence * 1e6).floor() as i32))
}

/// The labels by name; of too many the most frequent. Rows of the others still teach what is not one of these.
fn answers<'a>(labels: &[&'a str]) -> Vec<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in labels {
        *counts.entry(label).or_default() += 1;
    }
    let mut answers: Vec<(&str, usize)> = counts.into_iter().collect();
    answers.sort_by_key(|(_, count)| Reverse(*count)); // stable: of equals the first by name
    answers.truncate(ANSWERS_MAX);
    answers.sort_unstable();
    answers.into_iter().map(|(answer, _)| answer).collect()
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

    pub(super) fn answer(&self) -> &str {
        &self.answer
    }

    pub(super) fn width(&self) -> usize {
        self.weights.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_labels_the_most_frequent_are_learnt() {
        // Each of 300 labels once, the last ten twice.
        let labels: Vec<String> = (0..300).chain(290..300).map(|at| format!("label {at:03}")).collect();
        let items: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), label.as_str())).collect();
        let mut told = Vec::new();
        let classifier = Classifier::fit(&items, &mut |done, all| told.push((done, all)));
        let answers: Vec<&str> = classifier.answers().collect();
        assert_eq!(answers.len(), ANSWERS_MAX);
        assert!(answers.is_sorted() && answers[0] == "label 000" && answers[ANSWERS_MAX - 1] == "label 299");
        assert!(answers.contains(&"label 245") && !answers.contains(&"label 246"), "{answers:?}");
        assert_eq!(
            (told.first(), told.last()),
            (Some(&(0, ANSWERS_MAX)), Some(&(ANSWERS_MAX - 1, ANSWERS_MAX)))
        );
    }
}
