//! The weights of a linear model: logistic or least squares, kept small by a ridge, found by L-BFGS.
//!
//! L-BFGS (Liu and Nocedal, 1989) with a backtracking line search. Both losses are convex, so there is one best answer and
//! no step depends on chance. A search along a line needs no pass over the rows: what a row gives is linear in the step.

use super::real;

/// Passes over the rows at most.
const ITERATIONS_MAX: usize = 300;
/// So many steps are remembered.
const MEMORY: usize = 8;
/// It is found when no slope is steeper than this, by row.
const SLOPE_MAX: f64 = 1e-6;
/// A step must gain at least this share of what the slope promises.
const GAIN_MIN: f64 = 1e-4;
const HALVINGS_MAX: usize = 40;

/// Sparse rows, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    ends: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

/// How far a prediction is from the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Of a share from 0 to 1, given as log-odds.
    Logistic,
    /// Half the square of the difference.
    Squared,
}

/// `bias + weights * row`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    pub(crate) bias: f64,
    pub(crate) weights: Vec<f64>,
}

impl Rows {
    pub(crate) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    pub(crate) fn push(&mut self, columns: &[u32], values: &[f32]) {
        self.columns.extend_from_slice(columns);
        self.values.extend_from_slice(values);
        self.ends.push(self.columns.len());
    }

    fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = (usize, f64)>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| {
            let cells = self.columns[start..end].iter().zip(&self.values[start..end]);
            cells.map(|(column, value)| (*column as usize, f64::from(*value)))
        })
    }

    /// What each row gives; the last number of `point` is the bias.
    fn times(&self, point: &[f64]) -> Vec<f64> {
        let bias = point[self.width];
        self.iter().map(|row| bias + row.map(|(column, value)| point[column] * value).sum::<f64>()).collect()
    }

    /// Where each number of a point pulls, given the pull of each row.
    fn pull(&self, pulls: &[f64], out: &mut [f64]) {
        for (row, pull) in self.iter().zip(pulls) {
            row.for_each(|(column, value)| out[column] += pull * value);
            out[self.width] += pull;
        }
    }
}

impl Loss {
    fn of(self, given: f64, target: f64) -> f64 {
        match self {
            // ln(1 + e^given) - target * given, without overflow.
            Self::Logistic => given.max(0.0) + (-given.abs()).exp().ln_1p() - target * given,
            Self::Squared => 0.5 * (given - target).powi(2),
        }
    }

    fn slope(self, given: f64, target: f64) -> f64 {
        match self {
            Self::Logistic => logistic(given) - target,
            Self::Squared => given - target,
        }
    }
}

/// Log-odds as a share.
pub(crate) fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// Minimises the losses of all rows plus `ridge / 2` times the squares of the weights; the bias is free.
pub(crate) fn fit(rows: &Rows, targets: &[f64], loss: Loss, ridge: f64) -> Linear {
    let mut search = Search { rows, targets, loss, ridge, point: vec![0.0; rows.width + 1] };
    search.point[rows.width] = start(targets, loss);
    search.run();
    let bias = search.point.pop().unwrap_or(0.0);
    Linear { bias, weights: search.point }
}

/// The best bias of a model without weights: the search starts there, and a constant target is answered at once.
fn start(targets: &[f64], loss: Loss) -> f64 {
    let mean = targets.iter().sum::<f64>() / real(targets.len().max(1));
    match loss {
        Loss::Squared => mean,
        Loss::Logistic => {
            // Half a row of doubt on either side: shares of 0 and 1 have no log-odds.
            let doubt = 0.5 / (real(targets.len()) + 1.0);
            let share = mean.clamp(doubt, 1.0 - doubt);
            (share / (1.0 - share)).ln()
        }
    }
}

struct Search<'a> {
    rows: &'a Rows,
    targets: &'a [f64],
    loss: Loss,
    ridge: f64,
    point: Vec<f64>,
}

/// A step taken, and how the slope changed along it.
struct Step {
    moved: Vec<f64>,
    bent: Vec<f64>,
    curve: f64,
}

impl Search<'_> {
    fn run(&mut self) {
        let constant = self.targets.windows(2).all(|two| two[0].total_cmp(&two[1]).is_eq());
        if constant {
            return; // weights could only leave the bias to wander off
        }
        let mut given = self.rows.times(&self.point);
        let mut slope = self.slope(&given);
        let mut steps: std::collections::VecDeque<Step> = std::collections::VecDeque::new();
        let flat = SLOPE_MAX * real(self.targets.len());
        for _ in 0..ITERATIONS_MAX {
            if slope.iter().all(|slope| slope.abs() <= flat) {
                return;
            }
            let way = direction(&slope, &steps);
            let along = self.rows.times(&way);
            let first = if steps.is_empty() { 1.0 / dot(&slope, &slope).sqrt().max(1.0) } else { 1.0 };
            let Some(length) = self.length(&given, &along, &way, dot(&slope, &way), first) else { return };
            add(&mut self.point, length, &way);
            add(&mut given, length, &along);
            let next = self.slope(&given);
            let bent: Vec<f64> = next.iter().zip(&slope).map(|(next, slope)| next - slope).collect();
            let moved: Vec<f64> = way.iter().map(|way| way * length).collect();
            let curve = dot(&moved, &bent);
            slope = next;
            if curve > 0.0 {
                if steps.len() == MEMORY {
                    steps.pop_front();
                }
                steps.push_back(Step { moved, bent, curve });
            }
        }
    }

    fn slope(&self, given: &[f64]) -> Vec<f64> {
        let pulls: Vec<f64> =
            given.iter().zip(self.targets).map(|(given, target)| self.loss.slope(*given, *target)).collect();
        let mut slope: Vec<f64> = self.point.iter().map(|number| number * self.ridge).collect();
        slope[self.rows.width] = 0.0;
        self.rows.pull(&pulls, &mut slope);
        slope
    }

    /// How far to go along `way`: halved until it gains enough. `None` where nothing is gained any more.
    fn length(&self, given: &[f64], along: &[f64], way: &[f64], promise: f64, first: f64) -> Option<f64> {
        let (point, way) = (&self.point[..self.rows.width], &way[..self.rows.width]);
        let (square, cross, way_square) = (dot(point, point), dot(point, way), dot(way, way));
        let at = |length: f64| {
            let rows = given.iter().zip(along).zip(self.targets);
            let losses: f64 =
                rows.map(|((given, along), target)| self.loss.of(given + length * along, *target)).sum();
            losses + 0.5 * self.ridge * (square + length * (2.0 * cross + length * way_square))
        };
        let here = at(0.0);
        let mut length = first;
        for _ in 0..HALVINGS_MAX {
            if at(length) <= here + GAIN_MIN * length * promise {
                return Some(length);
            }
            length *= 0.5;
        }
        None
    }
}

/// Downhill, bent by what the last steps taught about the curvature (the two-loop recursion).
fn direction(slope: &[f64], steps: &std::collections::VecDeque<Step>) -> Vec<f64> {
    let mut way: Vec<f64> = slope.iter().map(|slope| -slope).collect();
    let mut shares = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        let share = dot(&step.moved, &way) / step.curve;
        add(&mut way, -share, &step.bent);
        shares.push(share);
    }
    if let Some(last) = steps.back() {
        let scale = last.curve / dot(&last.bent, &last.bent);
        way.iter_mut().for_each(|way| *way *= scale);
    }
    for (step, share) in steps.iter().zip(shares.into_iter().rev()) {
        let back = dot(&step.bent, &way) / step.curve;
        add(&mut way, share - back, &step.moved);
    }
    way
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += times * what;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[[f32; 2]]) -> Rows {
        let mut rows = Rows::new(2);
        of.iter().for_each(|row| rows.push(&[0, 1], row));
        rows
    }

    /// Ridge regression has a closed form; with centred columns the bias is the mean.
    #[test]
    fn least_squares_are_the_closed_form() {
        let data = [[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]];
        let found = fit(&rows(&data), &[3.0, 1.0, 6.0, 0.0], Loss::Squared, 2.0);
        // Columns do not overlap: weight = x*y / (x*x + ridge).
        for (got, want) in [(found.bias, 2.5), (found.weights[0], 2.0 / 4.0), (found.weights[1], 12.0 / 10.0)]
        {
            assert!((got - want).abs() < 1e-5, "{found:?}");
        }
    }

    /// At the best point of a logistic model the slopes are nought: sum of (share - target) * x + ridge * weight.
    #[test]
    fn a_logistic_fit_has_no_slope_left() {
        let data = [[1.0, 0.5], [0.2, -1.0], [-0.7, 0.3], [2.0, 1.0], [-1.0, -1.5], [0.1, 0.9]];
        let targets = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let found = fit(&rows(&data), &targets, Loss::Logistic, 1.0);
        let pulls: Vec<f64> = data
            .iter()
            .zip(targets)
            .map(|(row, target)| {
                let odds =
                    found.bias + found.weights[0] * f64::from(row[0]) + found.weights[1] * f64::from(row[1]);
                logistic(odds) - target
            })
            .collect();
        for column in 0..2 {
            let slope: f64 = data.iter().zip(&pulls).map(|(row, pull)| pull * f64::from(row[column])).sum();
            assert!((slope + found.weights[column]).abs() < 1e-4, "{slope} {found:?}");
        }
        assert!(pulls.iter().sum::<f64>().abs() < 1e-4);
        assert!(found.weights[0] > 0.0 && found.weights[1] > 0.0);
    }

    #[test]
    fn a_constant_target_is_answered_without_weights() {
        // Of three rows that are all right an eighth of doubt is left: log-odds of seven to one.
        for (loss, target, want) in [(Loss::Logistic, 1.0, 7.0_f64.ln()), (Loss::Squared, 0.25, 0.25)] {
            let found = fit(&rows(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), &[target; 3], loss, 1.0);
            assert_eq!(found.weights, [0.0, 0.0]);
            assert!((found.bias - want).abs() < 1e-12, "{found:?}");
        }
    }
}
