//! A router on rows that it has not seen, beside what knows less.

use std::collections::BTreeSet;

use super::metrics::{Qualities, Worth, by_category, by_length, random, saving, worth};
use super::model::Scratch;
use super::threshold::gain_bounds;
use super::train::{Labelled, Router};
use super::words::fingerprint;
use super::{Score, Side, real};

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Rows that were measured.
    pub rows: usize,
    /// Left out: the router learnt from them, or their text came before.
    pub taught: usize,
    pub equal: usize,
    /// Mean qualities, as shares of the router's highest label.
    pub weak: f64,
    pub strong: f64,
    /// The router, prompt length alone, chance, and with categories their means; `None` where the strong model is not better.
    pub ways: Vec<(Way, Option<Worth>)>,
    /// What the router's decisions come to.
    pub share_strong: f64,
    /// Mean quality lost against the strong model alone, and what it is at most with 95 % confidence.
    pub loss: f64,
    pub loss_high: f64,
}

impl Evaluation {
    /// Share of the strong model's cost that is saved at a ratio of prices.
    #[must_use]
    pub fn saving(&self, ratio: f64) -> f64 {
        saving(self.share_strong, ratio)
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
    /// Measures the router on labelled rows. `categories`: one a row, where there are any. `None` where no row is left.
    #[must_use]
    pub fn evaluate(&self, items: &[Labelled<'_>], categories: Option<&[String]>) -> Option<Evaluation> {
        let Unseen { kept, taught, equal } = self.unseen(items);
        if kept.is_empty() {
            return None;
        }
        let scale = self.facts.quality_max;
        let qualities: Vec<Qualities> = kept
            .iter()
            .map(|at| Qualities { weak: items[*at].weak / scale, strong: items[*at].strong / scale })
            .collect();
        let mut scratch = Scratch::default();
        let decided: Vec<(Score, Side)> =
            kept.iter().map(|at| self.decide(items[*at].text, &mut scratch)).collect();
        let n = real(kept.len());
        let mean = |of: fn(&Qualities) -> f64, items: &[Qualities]| items.iter().map(of).sum::<f64>() / n;
        let strong = decided.iter().filter(|(_, side)| *side == Side::Strong).count();
        let lost = lost(&decided, &qualities);
        let seed = self.facts.options.seed;
        let measured = |(way, scores): (Way, Vec<Score>)| (way, worth(&scores, &qualities, seed));
        let mut ways = vec![
            (Way::Router, decided.iter().map(|(score, _)| *score).collect()),
            (Way::Length, by_length(kept.iter().map(|at| items[*at].text))),
            (Way::Random, random(kept.len())),
        ];
        ways.extend(categories.map(|categories| {
            let of_row = |at: &usize| categories.get(*at).cloned().unwrap_or_default();
            let categories: Vec<String> = kept.iter().map(of_row).collect();
            (Way::Category, by_category(&categories, &qualities))
        }));
        Some(Evaluation {
            rows: kept.len(),
            taught,
            equal,
            weak: mean(|item| item.weak, &qualities),
            strong: mean(|item| item.strong, &qualities),
            ways: ways.into_iter().map(measured).collect(),
            share_strong: real(strong) / n,
            loss: mean(|item| item.gain(), &lost),
            loss_high: gain_bounds(&lost).1,
        })
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

/// What each row loses: nothing where the strong model answers.
fn lost(decided: &[(Score, Side)], qualities: &[Qualities]) -> Vec<Qualities> {
    let kept_back = |side: Side, item: &Qualities| {
        if side == Side::Weak { *item } else { Qualities { weak: item.strong, ..*item } }
    };
    decided.iter().zip(qualities).map(|((_, side), item)| kept_back(*side, item)).collect()
}
