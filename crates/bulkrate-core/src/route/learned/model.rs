//! What scores a text: a head for each model's chance to be right, or one for each gap to the strongest model's quality.

use super::fit::{Linear, Loss, Rows, fit, logistic};
use super::space::Space;
use super::sparse::Vector;
use super::words::Words;
use super::{Few, Labelled, MODELS_MAX, Score, narrow};

/// How much large weights cost. Two heads: C = 1. The gap is noisier than a chance, so it is held tighter.
const RIDGE_HEADS: f64 = 1.0;
const RIDGE_GAP: f64 = 3.0;

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each model's chance to be right. For labels that are right or wrong.
    Heads,
    /// What the strongest model gains over each other one. For labels that are numbers.
    Gap,
}

impl Kind {
    /// What labels from 0 to 1 allow.
    #[must_use]
    pub fn of(items: &[Labelled<'_>]) -> Self {
        let whole = |quality: f64| quality.total_cmp(&0.0).is_eq() || quality.total_cmp(&1.0).is_eq();
        if items.iter().flat_map(|item| item.qualities.iter()).all(|quality| whole(*quality)) {
            Self::Heads
        } else {
            Self::Gap
        }
    }

    #[must_use]
    pub fn name(self, models: usize) -> &'static str {
        match (self, models) {
            (Self::Heads, 2) => "two logistic heads",
            (Self::Heads, _) => "a logistic head a model",
            (Self::Gap, 2) => "ridge regression on the gap",
            (Self::Gap, _) => "ridge regression on each gap",
        }
    }

    /// Linear models that so many models take.
    pub(super) fn heads(self, models: usize) -> usize {
        match self {
            Self::Heads => models,
            Self::Gap => models - 1,
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
    /// The weights of each two heads, column by column; those of a second that is not there are 0.
    weights: Vec<Vec<[f32; 2]>>,
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
        let models = items.first().map_or(2, |item| item.qualities.len());
        let learn = |place: usize| {
            let right = |item: &Labelled<'_>| item.qualities[place];
            let gap = |item: &Labelled<'_>| item.qualities.gain(place);
            let (targets, loss, ridge): (Vec<f64>, _, _) = match kind {
                Kind::Heads => (items.iter().map(right).collect(), Loss::Logistic, RIDGE_HEADS),
                Kind::Gap => (items.iter().map(gap).collect(), Loss::Squared, RIDGE_GAP),
            };
            Head::of(&fit(&rows, &targets, loss, ridge))
        };
        let heads = (0..kind.heads(models)).map(learn).collect();
        Self::of(kind, space, heads)
    }

    /// The same from its parts.
    pub(super) fn of(kind: Kind, space: Space, heads: Vec<Head>) -> Self {
        let weight = |column: usize, head: Option<&Head>| {
            head.map_or(0.0, |head| narrow(f64::from(head.weights[column]) * head.unit))
        };
        let both = |two: &[Head]| {
            (0..space.width()).map(|at| [weight(at, two.first()), weight(at, two.get(1))]).collect()
        };
        let weights = heads.chunks(2).map(both).collect();
        Self { kind, space, heads, weights }
    }

    /// How much a text needs the strongest model, rather than each of the others.
    #[must_use]
    pub fn scores(&self, text: &str, scratch: &mut Scratch) -> Few<Score> {
        let Scratch { words, vector } = scratch;
        words.read(text);
        self.space.vector(words, vector);
        let mut given = [0.0_f64; MODELS_MAX];
        for ((weights, heads), given) in
            self.weights.iter().zip(self.heads.chunks(2)).zip(given.chunks_exact_mut(2))
        {
            let mut sums = [0.0_f64; 2];
            for (column, value) in vector.columns.iter().zip(&vector.values) {
                let weights = weights[*column as usize];
                sums[0] += f64::from(weights[0] * value);
                sums[1] += f64::from(weights[1] * value);
            }
            for ((given, sum), head) in given.iter_mut().zip(sums).zip(heads) {
                *given = sum + head.bias;
            }
        }
        let given = &given[..self.heads.len()];
        match (self.kind, given.split_last()) {
            (Kind::Heads, Some((strongest, others))) => {
                let strongest = logistic(*strongest);
                others.iter().map(|other| Score::of(strongest - logistic(*other))).collect()
            }
            _ => given.iter().map(|gap| Score::of(*gap)).collect(),
        }
    }

    /// Models that it tells apart.
    #[must_use]
    pub fn models(&self) -> usize {
        match self.kind {
            Kind::Heads => self.heads.len(),
            Kind::Gap => self.heads.len() + 1,
        }
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
