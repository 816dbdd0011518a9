//! Where to cut the scores, so that quality is lost by no more than was allowed, with 95 % confidence.
//!
//! From all items at the strong model downwards, a fiftieth at a time, the loss on labelled items is bounded from above; the
//! last cut whose bound holds is taken, and the first that does not hold ends the search (fixed-sequence testing, "learn then
//! test"). The items must be ones that the scores were not learnt from.

use super::metrics::Qualities;
use super::{Score, real};

/// One-sided 95 % of the normal distribution.
pub(super) const Z95: f64 = 1.645;
/// One-sided 97.5 %: with many labels the bound is so close to the estimate that the many tests show.
const Z975: f64 = 1.96;
const MANY: usize = 1_500;
/// Cuts that are tried.
const STEPS: usize = 50;

/// A cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Items with this score or a higher one go to the strong model; `None`: all do.
    pub threshold: Option<Score>,
    /// Share of the labelled items that does.
    pub share_strong: f64,
    /// Mean quality lost against the strong model alone.
    pub loss: f64,
    /// What the loss is at most, with 95 % confidence.
    pub loss_high: f64,
}

impl Cut {
    /// Everything to the strong model.
    const ALL: Self = Self { threshold: None, share_strong: 1.0, loss: 0.0, loss_high: 0.0 };
}

/// The lowest cut that is proved to lose no more than `loss_max`.
#[must_use]
pub fn calibrate(scores: &[Score], items: &[Qualities], loss_max: f64) -> Cut {
    search(scores, items, loss_max, |cut| cut.loss_high)
}

/// The lowest cut whose point estimate loses no more: breaks its promise about every second time. For comparison only.
#[must_use]
pub fn naive(scores: &[Score], items: &[Qualities], loss_max: f64) -> Cut {
    search(scores, items, loss_max, |cut| cut.loss)
}

fn search(scores: &[Score], items: &[Qualities], loss_max: f64, judged: fn(&Cut) -> f64) -> Cut {
    let mut order: Vec<(Score, f64)> =
        scores.iter().zip(items).map(|(score, item)| (*score, item.gain())).collect();
    // Among equals the order is free: they stay together.
    order.sort_unstable_by_key(|(score, _)| std::cmp::Reverse(*score));
    let mut best = Cut::ALL;
    for step in (0..STEPS).rev() {
        let cut = cut(&order, order.len() * step / STEPS);
        if judged(&cut) > loss_max {
            break;
        }
        best = cut;
    }
    best
}

/// The cut that sends the neediest `strong` items to the strong model, and all that score as high as the last of them.
fn cut(order: &[(Score, f64)], strong: usize) -> Cut {
    let n = real(order.len().max(1));
    let threshold = match strong.checked_sub(1) {
        Some(last) => order.get(last).map_or(Score(i32::MAX), |(score, _)| *score),
        // Above every score seen, and one that no text reaches.
        None => Score(i32::MAX),
    };
    let sent = order.partition_point(|(score, _)| *score >= threshold);
    let lost = order[sent..].iter().map(|(_, gain)| *gain);
    let (sum, squares) = lost.fold((0.0, 0.0), |(sum, squares), gain| (sum + gain, squares + gain * gain));
    let mean = sum / n;
    let variance = ((squares - n * mean * mean) / (n - 1.0).max(1.0)).max(0.0);
    let z = if order.len() > MANY { Z975 } else { Z95 };
    Cut {
        threshold: Some(threshold),
        share_strong: real(sent) / n,
        loss: mean,
        loss_high: mean + z * (variance / n).sqrt(),
    }
}

/// Lower and upper bound, one-sided 95 % each, of the mean gain of the strong model.
#[must_use]
pub fn gain_bounds(items: &[Qualities]) -> (f64, f64) {
    let n = real(items.len().max(1));
    let mean = items.iter().map(|item| item.gain()).sum::<f64>() / n;
    let squares = items.iter().map(|item| (item.gain() - mean).powi(2)).sum::<f64>();
    let half = Z95 * (squares / (n - 1.0).max(1.0) / n).sqrt();
    (mean - half, mean + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(gains: &[f64]) -> Vec<Qualities> {
        gains.iter().map(|gain| Qualities { weak: 0.0, strong: *gain }).collect()
    }

    #[test]
    fn the_bound_is_kept_and_not_the_estimate() {
        // A thousand items; the weak model is wrong in every tenth of the upper half, never in the lower.
        let scores: Vec<Score> = (0..1_000).map(Score).collect();
        let gains: Vec<f64> =
            (0..1_000).map(|at| if at >= 500 && at % 10 == 0 { 1.0 } else { 0.0 }).collect();
        let (bound, point) = (calibrate(&scores, &items(&gains), 0.02), naive(&scores, &items(&gains), 0.02));
        assert!(bound.loss_high <= 0.02 && point.loss <= 0.02);
        assert!(bound.share_strong > point.share_strong, "{bound:?} {point:?}");
        assert!(bound.share_strong < 0.5 && bound.loss < bound.loss_high);
        // By hand: k wrong of 1,000 are lost; the largest k with k/1000 + 1.645 * sd / sqrt(1000) <= 0.02 is 13.
        assert!((bound.loss - 0.013).abs() < 0.0011, "{bound:?}");
    }

    #[test]
    fn nothing_is_cut_where_nothing_is_proved() {
        let scores: Vec<Score> = (0..100).map(Score).collect();
        let all = calibrate(&scores, &items(&[1.0; 100]), 0.02);
        assert_eq!((all.threshold, all.share_strong), (None, 1.0));
        // Where the weak model is as good, no item needs the strong one.
        let none = calibrate(&scores, &items(&[0.0; 100]), 0.02);
        assert_eq!((none.threshold, none.share_strong), (Some(Score(i32::MAX)), 0.0));
    }

    #[test]
    fn equal_scores_stay_together() {
        let scores = [vec![Score(1); 60], vec![Score(0); 40]].concat();
        let gains = [vec![1.0; 60], vec![0.0; 40]].concat();
        let cut = calibrate(&scores, &items(&gains), 0.02);
        assert_eq!((cut.threshold, cut.share_strong, cut.loss), (Some(Score(1)), 0.6, 0.0));
    }
}
