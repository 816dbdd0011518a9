//! A straight line through pairs of a length and an amount: what amounts are at another length than the mean of those that were seen.
//!
//! The regression estimator of survey sampling (Cochran, *Sampling Techniques*, chapter 7): the mean of a sample, corrected for how much
//! longer or shorter the items are that it is to tell of.

use super::numbers::student_95;

/// Means, and sums of squared deviations from them and of their product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    n: f64,
    mean_length: f64,
    mean: f64,
    lengths: f64,
    amounts: f64,
    both: f64,
}

impl Line {
    /// Of `n` pairs, at least three: sums of the lengths and of the amounts, of their squares, and of their products.
    pub(super) fn of(n: f64, sums: (f64, f64), squares: (f64, f64), products: f64) -> Self {
        let spread = |squares: f64, sum: f64| (squares - sum * sum / n).max(0.0);
        Self {
            n,
            mean_length: sums.0 / n,
            mean: sums.1 / n,
            lengths: spread(squares.0, sums.0),
            amounts: spread(squares.1, sums.1),
            both: products - sums.0 * sums.1 / n,
        }
    }

    /// What one unit of length adds, by least squares; nothing where lengths do not vary or longer ones have less.
    pub(super) fn steepness(&self) -> f64 {
        if self.lengths > 0.0 { (self.both / self.lengths).max(0.0) } else { 0.0 }
    }

    /// As far as [`Self::steepness`] is more than chance: none of it below twice its standard error, nearly all of it far above.
    pub(super) fn sure_steepness(&self) -> f64 {
        let slope = self.steepness();
        let noise = self.noise(slope);
        let explained = slope * slope * self.lengths;
        if explained > 0.0 { slope * (1.0 - 4.0 * noise / explained).max(0.0) } else { 0.0 }
    }

    /// By this slope, for the mean of `left` items whose mean length is given: (expected, its one-sided 95 % t-limit).
    pub(super) fn at(&self, slope: f64, mean_length: f64, left: f64) -> (f64, f64) {
        let longer = mean_length - self.mean_length;
        let lever = if slope > 0.0 { longer * longer / self.lengths } else { 0.0 };
        let expected = self.mean + slope * longer;
        let variance = self.noise(slope) * (1.0 / self.n + 1.0 / left.max(1.0) + lever);
        (expected, expected + student_95(self.n - 2.0) * variance.sqrt())
    }

    /// The mean amount, and the mean length.
    pub(super) fn means(&self) -> (f64, f64) {
        (self.mean, self.mean_length)
    }

    /// The variance that this slope leaves.
    fn noise(&self, slope: f64) -> f64 {
        let left = self.amounts - 2.0 * slope * self.both + slope * slope * self.lengths;
        left.max(0.0) / (self.n - 2.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn line(pairs: &[(f64, f64)]) -> Line {
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
        let sums = (sum(&|pair| pair.0), sum(&|pair| pair.1));
        let squares = (sum(&|pair| pair.0 * pair.0), sum(&|pair| pair.1 * pair.1));
        Line::of(
            super::super::numbers::float(pairs.len() as u64),
            sums,
            squares,
            sum(&|pair| pair.0 * pair.1),
        )
    }

    #[test]
    fn a_slope_counts_as_far_as_it_is_more_than_chance() {
        let ten = |of: &dyn Fn(f64) -> f64| {
            line(&(0..10_u32).map(|at| (f64::from(at), of(f64::from(at)))).collect::<Vec<_>>())
        };
        for (told, line, steep, sure) in [
            ("exactly on a line", ten(&|x| 5.0 + 2.0 * x), 2.0, 2.0),
            ("all alike", ten(&|_| 5.0), 0.0, 0.0),
            ("longer prompts, shorter answers: not believed", ten(&|x| 50.0 - x), 0.0, 0.0),
            ("up and down: chance", ten(&|x| if x % 2.0 < 1.0 { 0.0 } else { 9.0 }), 0.272_727, 0.0),
            ("steps of ten", ten(&|x| (x / 5.0).floor() * 10.0), 1.515_152, 1.272_727),
            ("one length", line(&[(3.0, 1.0), (3.0, 2.0), (3.0, 9.0)]), 0.0, 0.0),
        ] {
            assert!((line.steepness() - steep).abs() < 1e-6, "{told}: {}", line.steepness());
            assert!((line.sure_steepness() - sure).abs() < 1e-6, "{told}: {}", line.sure_steepness());
        }
    }

    #[test]
    fn the_limit_is_the_wider_the_farther_away() {
        let pairs: Vec<(f64, f64)> =
            (0..50_u32).map(|at| (f64::from(at), f64::from(2 * at + at % 7))).collect();
        let line = line(&pairs);
        let slope = line.sure_steepness();
        let width = |length| {
            let (expected, limit) = line.at(slope, length, 1_000.0);
            limit - expected
        };
        assert!(width(24.5) > 0.0 && width(50.0) > width(24.5) && width(200.0) > width(50.0));
        let (expected, _) = line.at(slope, 100.0, 1_000.0);
        assert!((expected - 203.0).abs() < 3.0, "{expected}");
    }
}
