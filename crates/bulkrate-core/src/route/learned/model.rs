//! What scores a text: two heads, one for each model's chance to be right, or one for the gap between their qualities.

use super::fit::{Linear, Loss, Rows, fit, logistic};
use super::space::Space;
use super::sparse::Vector;
use super::words::Words;
use super::{Labelled, Score, narrow};

/// How much large weights cost. Two heads: C = 1. The gap is noisier than a chance, so it is held tighter.
const RIDGE_HEADS: f64 = 1.0;
const RIDGE_GAP: f64 = 3.0;

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Two chances: that the weak answer is right, that the strong one is. For labels that are right or wrong.
    Heads,
    /// The difference of the two qualities. For labels that are numbers.
    Gap,
}

impl Kind {
    /// What labels from 0 to 1 allow.
    #[must_use]
    pub fn of(items: &[Labelled<'_>]) -> Self {
        let whole = |quality: f64| quality.total_cmp(&0.0).is_eq() || quality.total_cmp(&1.0).is_eq();
        if items.iter().all(|item| whole(item.weak) && whole(item.strong)) { Self::Heads } else { Self::Gap }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Heads => "two logistic heads",
            Self::Gap => "ridge regression on the gap",
        }
    }
}

/// A linear model with its weights rounded to 16 bits, as they stand in the router's file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) bias: f64,
    /// What one unit of a weight is.
    pub(super) unit: f64,
    pub(super) weights: Vec<i16>,
}

/// Scores texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) kind: Kind,
    pub(super) space: Space,
    pub(super) heads: Vec<Head>,
    /// The weights of both heads, column by column; the second is 0 where there is one head.
    weights: Vec<[f32; 2]>,
}

/// Memory for scoring, used again for the next text.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    words: Words,
    vector: Vector,
}

impl Model {
    /// Learns from labelled texts whose qualities go from 0 to 1.
    #[must_use]
    pub fn fit(items: &[Labelled<'_>]) -> Self {
        let kind = Kind::of(items);
        let mut texts = vec![Words::default(); items.len()];
        for (words, item) in texts.iter_mut().zip(items) {
            words.read(item.text);
        }
        let space = Space::learn(&texts);
        let (mut rows, mut vector) = (Rows::new(space.width()), Vector::default());
        for words in &texts {
            space.vector(words, &mut vector);
            rows.push(&vector.columns, &vector.values);
        }
        let learn = |loss, ridge, target: fn(&Labelled<'_>) -> f64| {
            let targets: Vec<f64> = items.iter().map(target).collect();
            Head::of(&fit(&rows, &targets, loss, ridge))
        };
        let heads = match kind {
            Kind::Heads => vec![
                learn(Loss::Logistic, RIDGE_HEADS, |item| item.weak),
                learn(Loss::Logistic, RIDGE_HEADS, |item| item.strong),
            ],
            Kind::Gap => vec![learn(Loss::Squared, RIDGE_GAP, |item| item.strong - item.weak)],
        };
        Self::of(kind, space, heads)
    }

    /// The same from its parts.
    pub(super) fn of(kind: Kind, space: Space, heads: Vec<Head>) -> Self {
        let weight = |column: usize, head: usize| {
            let head: Option<&Head> = heads.get(head);
            head.map_or(0.0, |head| narrow(f64::from(head.weights[column]) * head.unit))
        };
        let weights = (0..space.width()).map(|column| [weight(column, 0), weight(column, 1)]).collect();
        Self { kind, space, heads, weights }
    }

    /// How much a text needs the strong model.
    #[must_use]
    pub fn score(&self, text: &str, scratch: &mut Scratch) -> Score {
        let Scratch { words, vector } = scratch;
        words.read(text);
        self.space.vector(words, vector);
        let mut sums = [0.0_f64; 2];
        for (column, value) in vector.columns.iter().zip(&vector.values) {
            let weights = self.weights[*column as usize];
            sums[0] += f64::from(weights[0] * value);
            sums[1] += f64::from(weights[1] * value);
        }
        let bias = |head: usize| self.heads.get(head).map_or(0.0, |head| head.bias);
        let [first, second] = [sums[0] + bias(0), sums[1] + bias(1)];
        Score::of(match self.kind {
            Kind::Heads => logistic(second) - logistic(first),
            Kind::Gap => first,
        })
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Words and pairs of words that have a weight.
    #[must_use]
    pub fn words(&self) -> usize {
        self.space.words.width()
    }
}

impl Head {
    #[allow(clippy::cast_possible_truncation, reason = "the largest weight becomes 32,767")]
    fn of(linear: &Linear) -> Self {
        let largest = linear.weights.iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
        let unit = if largest > 0.0 { largest / f64::from(i16::MAX) } else { 1.0 };
        let weights = linear.weights.iter().map(|weight| (weight / unit).round() as i16).collect();
        Self { bias: linear.bias, unit, weights }
    }
}
