//! How well scores tell which items need the strong model, whatever the threshold.

use super::{Few, Score, real};
use crate::pace::rng::mix;

/// The quality of each model's answer to one item.
pub type Qualities = Few<f64>;

impl Qualities {
    /// What the strongest model gains over the one at a place.
    #[must_use]
    pub fn gain(&self, place: usize) -> f64 {
        let strongest = self.last().copied().unwrap_or_default();
        strongest - self.get(place).copied().unwrap_or(strongest)
    }
}

/// What the strongest model gains on each item over the model at a place.
#[must_use]
pub fn gains(items: &[Qualities], place: usize) -> Vec<f64> {
    items.iter().map(|item| item.gain(place)).collect()
}

/// What a way of ordering items is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Share of the gap between the models that is recovered, averaged over all shares sent to the strong one. Chance: 0.5.
    pub apgr: f64,
    /// The smallest share sent to the strong model that recovers half of the gap.
    pub cpt50: f64,
    /// The same for four fifths.
    pub cpt80: f64,
}

/// Measures scores by what the strong model gains on each item; ties are broken by chance, from the seed. `None` where it is not better
/// on these items.
#[must_use]
pub fn worth(scores: &[Score], gains: &[f64], seed: u64) -> Option<Worth> {
    let n = scores.len().min(gains.len());
    let whole: f64 = gains[..n].iter().sum();
    if n == 0 || whole <= 0.0 {
        return None;
    }
    let mut recovered = Vec::with_capacity(n + 1);
    let mut sum = 0.0;
    recovered.push(0.0);
    for at in by_need(&scores[..n], seed) {
        sum += gains[at];
        recovered.push(sum / whole);
    }
    let area: f64 = recovered.windows(2).map(|two| f64::midpoint(two[0], two[1])).sum::<f64>() / real(n);
    let reach = |share: f64| {
        // A sum of floats may end a hair below the whole.
        let first = recovered.iter().position(|part| *part >= share - 1e-9).unwrap_or(n);
        real(first) / real(n)
    };
    Some(Worth { apgr: area, cpt50: reach(0.5), cpt80: reach(0.8) })
}

/// Places of items, the neediest first; equal scores in an order that the seed decides.
fn by_need(scores: &[Score], seed: u64) -> Vec<usize> {
    let chance = |at: usize| mix(seed ^ mix(u64::try_from(at).unwrap_or(u64::MAX)));
    let mut order: Vec<(Score, u64, usize)> =
        scores.iter().enumerate().map(|(at, score)| (*score, chance(at), at)).collect();
    order.sort_unstable_by(|left, right| right.cmp(left));
    order.into_iter().map(|(_, _, at)| at).collect()
}

/// Scores that know nothing: what any router must beat.
#[must_use]
pub fn random(n: usize) -> Vec<Score> {
    vec![Score(0); n]
}

/// Longer prompts first.
#[must_use]
pub fn by_length<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Score> {
    texts.into_iter().map(|text| Score(i32::try_from(text.chars().count()).unwrap_or(i32::MAX))).collect()
}

/// Each item by the mean gain of its category, on these very items: what no router can know beforehand, so a bound.
#[must_use]
pub fn by_category(categories: &[String], gains: &[f64]) -> Vec<Score> {
    let mut sums: std::collections::BTreeMap<&str, (f64, usize)> = std::collections::BTreeMap::new();
    for (category, gain) in categories.iter().zip(gains) {
        let sum = sums.entry(category).or_default();
        *sum = (sum.0 + gain, sum.1 + 1);
    }
    let mean = |category: &String| sums.get(category.as_str()).map_or(0.0, |(sum, n)| sum / real(*n));
    categories.iter().map(|category| Score::of(mean(category))).collect()
}

/// The price of the model at a place, that of the strongest being 1. `ratios`: as of [`saving`].
#[must_use]
pub fn price(ratios: &[f64], place: usize) -> f64 {
    ratios.get(place).map_or(1.0, |ratio| 1.0 / ratio)
}

/// Share of the cost of the strongest model alone that is saved when each model is sent such shares of the items. `ratios`: the strongest
/// one's price over that of each cheaper one.
#[must_use]
pub fn saving(shares: &[f64], ratios: &[f64]) -> f64 {
    shares.iter().zip(ratios).map(|(share, ratio)| share * (1.0 - 1.0 / ratio)).sum()
}
