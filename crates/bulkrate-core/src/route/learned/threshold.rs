//! Which thresholds are taken, so that quality is lost by no more than was allowed, with 95 % confidence.
//!
//! From all items at the strongest model downwards along a path that was laid without their labels, the loss of the whole mix on labelled
//! items is bounded from above; the last thresholds whose bound holds are taken, and the first that do not hold end the search
//! (fixed-sequence testing, "learn then test"). The items must be ones that the scores were not learnt from.
//!
//! With more than two models each one between the cheapest and the strongest is tried alone as well, as a mix of models must cost less
//! than one that is good enough. The path and each of those has an equal share of the doubt. The cheapest alone is the path's end.

use super::labels::PROOF_MAX;
use super::metrics::{Qualities, gains};
use super::path::{path, place_of};
use super::{Few, Score, real};

/// One-sided bounds of the normal distribution, each with the doubt of 5 % shared out among as many as its place says, from 1.
const BOUNDS: [f64; 14] =
    [1.645, 1.96, 2.128, 2.241, 2.326, 2.394, 2.45, 2.498, 2.539, 2.576, 2.609, 2.638, 2.665, 2.69];
/// One-sided 95 % of the normal distribution.
const Z95: f64 = BOUNDS[0];
/// With many labels the bound is so close to the estimate that the many tests show: half of the doubt is left.
const MANY: usize = 1_500;

/// Which items go to which model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// For each model but the strongest: it answers the items that score below this and that no cheaper one answers. `None`: nothing is
    /// proved, and all go to the strongest.
    pub thresholds: Option<Few<Score>>,
    /// Share of the labelled items that goes to each model.
    pub shares: Few<f64>,
    /// Mean quality lost against the strongest model alone.
    pub loss: f64,
    /// What the loss is at most, with 95 % confidence.
    pub loss_high: f64,
}

impl Cut {
    /// Everything to the strongest model.
    fn all(models: usize) -> Self {
        let share = |place: usize| if place + 1 == models { 1.0 } else { 0.0 };
        Self { thresholds: None, shares: (0..models).map(share).collect(), loss: 0.0, loss_high: 0.0 }
    }

    /// Shares of all models by those of the dearer ones: the cheapest has the rest, so that of two models one share is kept in the file.
    pub(super) fn shares_of(dearer: &[f64]) -> Few<f64> {
        let cheapest = 1.0 - dearer.iter().sum::<f64>();
        std::iter::once(cheapest).chain(dearer.iter().copied()).collect()
    }

    /// Share of the labelled items that goes to the strongest model.
    #[must_use]
    pub fn share_strong(&self) -> f64 {
        self.shares.last().copied().unwrap_or(1.0)
    }
}

/// The most that a mean of losses can be, with the confidence that is asked for.
pub type Bound<'b> = &'b dyn Fn(&[f64]) -> f64;

/// What was proved of labelled items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proof {
    /// The cheapest mix that is proved to lose no more than is allowed.
    pub cut: Cut,
    /// The cheapest model that is proved to do so alone.
    pub alone: Option<Alone>,
}

/// One model for all items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alone {
    pub place: usize,
    /// Mean quality lost against the strongest model alone, and what it is at most with the confidence asked for.
    pub loss: f64,
    pub loss_high: f64,
}

/// Proves that no more than `loss_max` is lost. `ratios`: the strongest model's price over that of each cheaper one.
#[must_use]
pub fn calibrate(scores: &[Few<Score>], items: &[Qualities], ratios: &[f64], loss_max: f64) -> Proof {
    let level = Level::of(ratios.len() + 1, items.len());
    prove(scores, items, ratios, loss_max, &|losses| level.high(losses))
}

/// The same by any bound of a mean of losses.
pub(super) fn prove(
    scores: &[Few<Score>],
    items: &[Qualities],
    ratios: &[f64],
    loss_max: f64,
    bound: Bound<'_>,
) -> Proof {
    let cut = search(scores, items, ratios, loss_max, bound, |cut| cut.loss_high);
    let alone = |place: usize| {
        let losses = gains(items, place);
        Alone {
            place,
            loss: losses.iter().sum::<f64>() / real(losses.len().max(1)),
            loss_high: bound(&losses),
        }
    };
    let between = (1..ratios.len()).map(alone).find(|one| one.loss_high <= loss_max);
    let all_cheapest = cut.thresholds.is_some() && cut.shares.first() == Some(&1.0);
    let cheapest = all_cheapest.then_some(Alone { place: 0, loss: cut.loss, loss_high: cut.loss_high });
    Proof { cut, alone: cheapest.or(between) }
}

/// The lowest cut whose point estimate loses no more: breaks its promise about every second time. For comparison only.
#[must_use]
pub fn naive(scores: &[Few<Score>], items: &[Qualities], ratios: &[f64], loss_max: f64) -> Cut {
    let level = Level::of(ratios.len() + 1, items.len());
    search(scores, items, ratios, loss_max, &|losses| level.high(losses), |cut| cut.loss)
}

fn search(
    scores: &[Few<Score>],
    items: &[Qualities],
    ratios: &[f64],
    loss_max: f64,
    bound: Bound<'_>,
    judged: fn(&Cut) -> f64,
) -> Cut {
    let neediest_first = (ratios.len() == 1).then(|| by_need(scores, items));
    let (scores, items) = neediest_first
        .as_ref()
        .map_or((scores, items), |(scores, items)| (scores.as_slice(), items.as_slice()));
    let mut best = Cut::all(ratios.len() + 1);
    for thresholds in path(scores, ratios) {
        let cut = cut(scores, items, thresholds, bound);
        if judged(&cut) > loss_max {
            break;
        }
        best = cut;
    }
    best
}

/// Of two models losses are summed from the neediest item on: in another order the last digit of a sum differs, and so does the file.
fn by_need(scores: &[Few<Score>], items: &[Qualities]) -> (Vec<Few<Score>>, Vec<Qualities>) {
    let mut order: Vec<(Score, usize)> =
        scores.iter().zip(0..).filter_map(|(scores, at)| Some((*scores.first()?, at))).collect();
    order.sort_unstable_by_key(|(score, _)| std::cmp::Reverse(*score));
    order.into_iter().map(|(_, at)| (scores[at], items[at])).unzip()
}

/// How many labels that prove show, without one loss among them, that routers of so many models lose no more than `loss_max`. `None`: more
/// than ever prove.
pub(super) fn needed(models: usize, loss_max: f64) -> Option<usize> {
    (1..=PROOF_MAX).find(|labels| Level::of(models, *labels).of_mean(0.0, 0.0, real(*labels)) <= loss_max)
}

/// What a mean of losses is at most with 95 % confidence, where it alone is looked at; of more models than two by a bound that does not take
/// it for nought where no loss was seen.
pub(super) fn loss_high(models: usize, losses: &[f64]) -> f64 {
    if models > 2 { Level { z: Z95, few_losses: true }.high(losses) } else { gain_bounds(losses).1 }
}

/// What thresholds come to on labelled items.
fn cut(scores: &[Few<Score>], items: &[Qualities], thresholds: Few<Score>, bound: Bound<'_>) -> Cut {
    let mut counts = vec![0_usize; thresholds.len() + 1];
    let losses: Vec<f64> = scores
        .iter()
        .zip(items)
        .map(|(scores, item)| {
            let place = place_of(scores, &thresholds);
            counts[place] += 1;
            item.gain(place)
        })
        .collect();
    let n = real(losses.len().max(1));
    let dearer: Vec<f64> = counts[1..].iter().map(|count| real(*count) / n).collect();
    Cut {
        thresholds: Some(thresholds),
        shares: Cut::shares_of(&dearer),
        loss: losses.iter().sum::<f64>() / n,
        loss_high: bound(&losses),
    }
}

/// How sure a bound must be.
#[derive(Debug, Clone, Copy)]
struct Level {
    z: f64,
    /// The bound of Wilson's kind: where hardly a loss was seen, the spread of the others says nothing.
    few_losses: bool,
}

impl Level {
    /// Of each thing that is tried with `labels` of so many `models`.
    fn of(models: usize, labels: usize) -> Self {
        // The path, and each model between the cheapest and the strongest.
        let tried = models.saturating_sub(1).max(1);
        let shares = if labels > MANY { 2 * tried } else { tried };
        Self { z: BOUNDS[shares.min(BOUNDS.len()) - 1], few_losses: models > 2 }
    }

    /// What the mean of losses is at most.
    fn high(self, losses: &[f64]) -> f64 {
        let n = real(losses.len().max(1));
        let sum = |(sum, squares): (f64, f64), loss: &f64| (sum + loss, squares + loss * loss);
        let (sum, squares) = losses.iter().fold((0.0, 0.0), sum);
        let mean = sum / n;
        self.of_mean(mean, ((squares - n * mean * mean) / (n - 1.0).max(1.0)).max(0.0) / n, n)
    }

    /// The same of a mean of `n` losses with its variance.
    fn of_mean(self, mean: f64, variance: f64, n: f64) -> f64 {
        if self.few_losses {
            let shift = self.z * self.z / n;
            (mean + shift / 2.0 + self.z * (variance + shift / (4.0 * n)).sqrt()) / (1.0 + shift)
        } else {
            mean + self.z * variance.sqrt()
        }
    }
}

/// Lower and upper bound, one-sided 95 % each, of a mean gain.
#[must_use]
pub fn gain_bounds(gains: &[f64]) -> (f64, f64) {
    let n = real(gains.len().max(1));
    let mean = gains.iter().sum::<f64>() / n;
    let squares = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>();
    let half = Z95 * (squares / (n - 1.0).max(1.0) / n).sqrt();
    (mean - half, mean + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two models: the strong one is always right, and gains what is said.
    fn items(gains: &[f64]) -> Vec<Qualities> {
        gains.iter().map(|gain| Few::from([1.0 - gain, 1.0])).collect()
    }

    fn scored(scores: impl IntoIterator<Item = i32>) -> Vec<Few<Score>> {
        scores.into_iter().map(|score| Few::from([Score(score)])).collect()
    }

    const FREE: [f64; 1] = [f64::INFINITY];

    #[test]
    fn the_bound_is_kept_and_not_the_estimate() {
        // A thousand items; the weak model is wrong in every tenth of the upper half, never in the lower.
        let scores = scored(0..1_000);
        let gains: Vec<f64> =
            (0..1_000).map(|at| if at >= 500 && at % 10 == 0 { 1.0 } else { 0.0 }).collect();
        let bound = calibrate(&scores, &items(&gains), &FREE, 0.02).cut;
        let point = naive(&scores, &items(&gains), &FREE, 0.02);
        assert!(bound.loss_high <= 0.02 && point.loss <= 0.02);
        assert!(bound.share_strong() > point.share_strong(), "{bound:?} {point:?}");
        assert!(bound.share_strong() < 0.5 && bound.loss < bound.loss_high);
        // By hand: k wrong of 1,000 are lost; the largest k with k/1000 + 1.645 * sd / sqrt(1000) <= 0.02 is 13.
        assert!((bound.loss - 0.013).abs() < 0.0011, "{bound:?}");
    }

    #[test]
    fn nothing_is_cut_where_nothing_is_proved() {
        let scores = scored(0..100);
        let all = calibrate(&scores, &items(&[1.0; 100]), &FREE, 0.02);
        assert_eq!((all.cut.thresholds, all.cut.share_strong(), all.alone), (None, 1.0, None));
        // Where the weak model is as good, no item needs the strong one.
        let none = calibrate(&scores, &items(&[0.0; 100]), &FREE, 0.02);
        let thresholds = Some(Few::from([Score(i32::MAX)]));
        let alone = none.alone.map(|one| one.place);
        assert_eq!((none.cut.thresholds, none.cut.share_strong(), alone), (thresholds, 0.0, Some(0)));
    }

    #[test]
    fn equal_scores_stay_together() {
        let scores = scored([[1; 60].as_slice(), &[0; 40]].concat());
        let gains = [vec![1.0; 60], vec![0.0; 40]].concat();
        let cut = calibrate(&scores, &items(&gains), &FREE, 0.02).cut;
        assert_eq!((cut.thresholds, cut.share_strong(), cut.loss), (Some(Few::from([Score(1)])), 0.6, 0.0));
    }

    /// Three models: the cheap one is wrong in every fifth item and nobody can tell in which, the middle one never.
    #[test]
    fn the_cheapest_model_that_is_good_enough_alone_is_found() {
        let items: Vec<Qualities> =
            (0..500).map(|at| [f64::from(u8::from(at % 5 > 0)), 1.0, 1.0].into()).collect();
        let scores = vec![Few::from([Score(200_000), Score(0)]); 500];
        let proof = calibrate(&scores, &items, &[20.0, 4.0], 0.02);
        assert_eq!(proof.alone.map(|one| (one.place, one.loss)), Some((1, 0.0)));
        // Without one loss, 182 items prove at 97.5 % that no more than 2 % are lost.
        let few = calibrate(&scores[..180], &items[..180], &[20.0, 4.0], 0.02);
        assert_eq!(few.alone, None, "{few:?}");
        let enough = calibrate(&scores[..200], &items[..200], &[20.0, 4.0], 0.02);
        assert_eq!(enough.alone.map(|one| one.place), Some(1), "{enough:?}");
        // What is said to be needed is.
        let needed = needed(3, 0.02).unwrap_or(2_000);
        let alone = |n: usize| calibrate(&scores[..n], &items[..n], &[20.0, 4.0], 0.02).alone;
        assert!(alone(needed).is_some() && alone(needed - 1).is_none(), "{needed}");
    }

    #[test]
    fn what_is_tried_shares_the_doubt() {
        for (models, labels, z) in [
            (2, 1_500, 1.645),
            (2, 1_501, 1.96),
            (3, 1_000, 1.96),
            (3, 2_000, 2.241),
            (8, 100, 2.45),
            (8, 2_000, 2.69),
        ] {
            assert!((Level::of(models, labels).z - z).abs() < 1e-9, "{models} models, {labels} labels");
        }
        // 0 of 500: Clopper-Pearson says 0.74 % at 97.5 %; the normal bound alone would say nought.
        let high = Level::of(3, 500).high(&[0.0; 500]);
        assert!((0.0074..0.0078).contains(&high), "{high}");
        // 13 of 1,000: Clopper-Pearson says 2.21 %.
        let losses: Vec<f64> = (0..1_000).map(|at| f64::from(u8::from(at < 13))).collect();
        assert!((0.0218..0.0224).contains(&Level::of(3, 1_000).high(&losses)));
    }
}
