//! A router on rows that it has not seen, beside what knows less.

use std::collections::BTreeSet;

use super::metrics::{Qualities, Worth, by_category, by_length, gains, random, saving, worth};
use super::model::Scratch;
use super::threshold::loss_high;
use super::train::{Labelled, Router, means};
use super::words::fingerprint;
use super::{Few, Score, real};

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Rows that were measured.
    pub rows: usize,
    /// Left out: the router learnt from them, or their text came before.
    pub taught: usize,
    pub equal: usize,
    /// Mean qualities, model by model, as shares of the router's highest label.
    pub qualities: Few<f64>,
    /// The router, prompt length alone, chance, and with categories their means, each for every model but the strongest; `None` where the
    /// strongest is not better.
    pub ways: Vec<(Way, Few<Option<Worth>>)>,
    /// Share of the rows that goes to each model.
    pub shares: Few<f64>,
    /// Mean quality lost against the strongest model alone, and what it is at most with 95 % confidence.
    pub loss: f64,
    pub loss_high: f64,
}

impl Evaluation {
    /// Share of the strongest model's cost that is saved at ratios of prices.
    #[must_use]
    pub fn saving(&self, ratios: &[f64]) -> f64 {
        saving(&self.shares, ratios)
    }

    /// Quality of the strongest model alone.
    #[must_use]
    pub fn strong(&self) -> f64 {
        self.qualities.last().copied().unwrap_or_default()
    }
}

/// A way to order rows by how much they need the strong model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    Router,
    Length,
    Random,
    /// The mean gain of each category on these very rows: a bound, as nobody knows it beforehand.
    Category,
}

impl Way {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Length => "length",
            Self::Random => "random",
            Self::Category => "category",
        }
    }
}

impl Router {
    /// Measures the router on labelled rows, which have a label for each of its models. `categories`: one a row, where there are any. `None`
    /// where no row is left.
    #[must_use]
    pub fn evaluate(&self, items: &[Labelled<'_>], categories: Option<&[String]>) -> Option<Evaluation> {
        let Unseen { kept, taught, equal } = self.unseen(items);
        let models = self.models();
        if kept.is_empty() || kept.iter().any(|at| items[*at].qualities.len() != models) {
            return None;
        }
        let scale = self.facts.quality_max;
        let scaled = |at: &usize| items[*at].qualities.iter().map(|quality| quality / scale).collect();
        let qualities: Vec<Qualities> = kept.iter().map(scaled).collect();
        let mut scratch = Scratch::default();
        let decided: Vec<(Few<Score>, usize)> =
            kept.iter().map(|at| self.decide(items[*at].text, &mut scratch)).collect();
        let n = real(kept.len());
        let share = |place: usize| real(decided.iter().filter(|(_, one)| *one == place).count()) / n;
        let lost: Vec<f64> =
            decided.iter().zip(&qualities).map(|((_, place), item)| item.gain(*place)).collect();
        let seed = self.facts.options.seed;
        let texts = || kept.iter().map(|at| items[*at].text);
        let own = |at: usize| decided.iter().map(|(scores, _)| scores[at]).collect();
        let categories: Option<Vec<String>> =
            categories.map(|all| kept.iter().map(|at| all.get(*at).cloned().unwrap_or_default()).collect());
        let measured = |way: Way| {
            let of = |place: usize| {
                let gains = gains(&qualities, place);
                let scores: Vec<Score> = match way {
                    Way::Router => own(place),
                    Way::Length => by_length(texts()),
                    Way::Random => random(kept.len()),
                    Way::Category => by_category(categories.as_deref().unwrap_or_default(), &gains),
                };
                worth(&scores, &gains, seed)
            };
            (way, (0..models - 1).map(of).collect())
        };
        let known = [Way::Router, Way::Length, Way::Random];
        let ways = known.into_iter().chain(categories.is_some().then_some(Way::Category));
        Some(Evaluation {
            rows: kept.len(),
            taught,
            equal,
            qualities: means(&qualities),
            ways: ways.map(measured).collect(),
            shares: (0..models).map(share).collect(),
            loss: lost.iter().sum::<f64>() / n,
            loss_high: loss_high(models, &lost),
        })
    }

    /// What the router loses, against its strongest model or what else is the measure, on each row that it has not learnt from, of equal texts on the first.
    #[must_use]
    pub fn losses(&self, items: &[Labelled<'_>]) -> Vec<f64> {
        let mut scratch = Scratch::default();
        let unseen = self.unseen(items).kept.into_iter().map(|at| &items[at]);
        unseen
            .map(|item| item.loss(self.decide(item.text, &mut scratch).1) / self.facts.quality_max)
            .collect()
    }

    fn unseen(&self, items: &[Labelled<'_>]) -> Unseen {
        let (mut found, mut seen) = (Unseen::default(), BTreeSet::new());
        for (at, item) in items.iter().enumerate() {
            if self.was_taught(item.text) {
                found.taught += 1;
            } else if seen.insert(fingerprint(item.text)) {
                found.kept.push(at);
            } else {
                found.equal += 1;
            }
        }
        found
    }
}

/// Rows that prove something, by their places, and how many do not.
#[derive(Default)]
struct Unseen {
    kept: Vec<usize>,
    taught: usize,
    equal: usize,
}
