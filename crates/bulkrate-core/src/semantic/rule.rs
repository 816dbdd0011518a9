//! How often a prompt must be asked although a similar one was answered, so that at most so many answers are wrong.
//!
//! The chance that a kept answer is right is taken to rise with the similarity `s` as `sigma(gamma (s - t))`. `t` and `gamma` are fitted
//! to what was seen, and as `t` is not known exactly, the rule takes the best of a grid of trade-offs: with confidence `1 - eps` the
//! true `t` is below `t'`, so the answer is right at least with `alpha = (1 - eps) sigma(gamma (s - t'))`, and asking with probability
//! `tau = 1 - delta / (1 - alpha)` leaves at most `delta` wrong (vCache, arXiv 2502.03771).

/// How like two prompts are, in thousandths: the cosine of their vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Similarity(pub u16);

impl Similarity {
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    pub fn of(cosine: f32) -> Self {
        Self((cosine.clamp(0.0, 1.0) * 1_000.0).round() as u16)
    }

    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// A prompt that was asked although a similar one was answered, and whether that answer would have been right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    pub similarity: Similarity,
    pub right: bool,
}

/// With fewer observations a prompt is always asked.
pub const OBSERVATIONS_MIN: usize = 6;

/// What is not even so likely right is never served. The paper's rule serves it as well, as seldom as may be: that spends the
/// errors that are allowed on answers that are mostly wrong.
const RIGHT_MIN: f64 = 0.8;

/// One row of so many is asked however sure the curve is: what is never asked is never found to have changed.
pub const ASKED_MIN: f64 = 0.05;

/// From how like on a kept answer is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Where it is right half of the time.
    t: f64,
    gamma: f64,
    /// How far `t` may be off.
    deviation: f64,
}

/// `Phi^-1(1 - eps)` of the upper half of the grid; the lower half is its mirror image.
const Z: [f64; 25] = [
    4.753_424, 2.045_372, 1.741_280, 1.544_568, 1.394_168, 1.270_004, 1.162_828, 1.067_567, 0.981_123,
    0.901_452, 0.827_128, 0.757_115, 0.690_632, 0.627_070, 0.565_948, 0.506_871, 0.449_513, 0.393_598,
    0.338_888, 0.285_174, 0.232_272, 0.180_012, 0.128_240, 0.076_809, 0.025_581,
];
/// The first `eps`; the last is as far from one.
const EPS_MIN: f64 = 1e-6;

/// Values of `eps`, and how many deviations `t'` is above `t` for each.
fn grid() -> impl Iterator<Item = (f64, f64)> {
    let z = Z.iter().copied().chain(Z.iter().rev().map(|z| -z));
    (0_u32..).zip(z).map(|(at, z)| (EPS_MIN + f64::from(at) * (1.0 - 2.0 * EPS_MIN) / 49.0, z))
}

impl Threshold {
    /// The probability with which a prompt so similar must be asked, from 0 to 1, so that it is answered wrongly with
    /// probability `error_max` at most; never below [`ASKED_MIN`].
    #[must_use]
    pub fn tau(&self, similarity: Similarity, error_max: f64) -> f64 {
        if sigma(self.gamma * (similarity.share() - self.t)) < RIGHT_MIN {
            return 1.0;
        }
        let least = grid().fold(1.0_f64, |least, (eps, z)| {
            let right = sigma(self.gamma * (similarity.share() - (self.t + z * self.deviation)));
            let alpha = (1.0 - eps) * right;
            least.min(1.0 - error_max / (1.0 - alpha))
        });
        least.max(ASKED_MIN)
    }
}

/// The threshold of an answer of which this was seen; `None`: too little.
#[must_use]
pub fn fit(seen: &[Observation]) -> Option<Threshold> {
    if seen.len() < OBSERVATIONS_MIN {
        return None;
    }
    let rows: Vec<(f64, f64)> = ANCHORS
        .into_iter()
        .chain(seen.iter().map(|seen| (seen.similarity.share(), f64::from(u8::from(seen.right)))))
        .collect();
    let (intercept, slope) = logistic(&rows);
    let gamma = slope.max(GAMMA_MIN);
    let t = (-intercept / gamma).clamp(0.0, 1.0);
    let variance =
        if is_separable(&rows) { of_separable(rows.len()) } else { by_delta(&rows, (intercept, gamma)) };
    Some(Threshold { t, gamma, deviation: variance.max(0.0).sqrt() })
}

/// What is known of every answer: it is wrong for a prompt that has nothing in common with its own, and right for its own.
const ANCHORS: [(f64, f64); 2] = [(0.0, 0.0), (1.0, 1.0)];
const GAMMA_MIN: f64 = 1e-6;
/// Keeps the slope finite where one similarity separates right from wrong.
const RIDGE: f64 = 1e-5;
const STEPS_MAX: usize = 60;

fn sigma(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// Sums of `w`, `w s` and `w s^2` with `w = p (1 - p)`: what is known of intercept and slope.
fn information(rows: &[(f64, f64)], (b0, b1): (f64, f64)) -> (f64, f64, f64) {
    rows.iter().fold((0.0, 0.0, 0.0), |(a, b, c), (s, _)| {
        let p = sigma(b0 + b1 * s);
        let w = p * (1.0 - p);
        (a + w, b + w * s, c + w * s * s)
    })
}

/// Intercept and slope of the likeliest curve, by Newton's method with steps that are halved until they do not lose.
fn logistic(rows: &[(f64, f64)]) -> (f64, f64) {
    let loss = |(b0, b1): (f64, f64)| {
        let of = |odds: f64, right: f64| odds.max(0.0) + (-odds.abs()).exp().ln_1p() - right * odds;
        rows.iter().map(|(s, right)| of(b0 + b1 * s, *right)).sum::<f64>() + RIDGE * b1 * b1 / 2.0
    };
    let mut at = (0.0, 0.0);
    let mut now = loss(at);
    for _ in 0..STEPS_MAX {
        let (g0, g1) = rows.iter().fold((0.0, RIDGE * at.1), |(g0, g1), (s, right)| {
            let off = sigma(at.0 + at.1 * s) - right;
            (g0 + off, g1 + off * s)
        });
        let (a, b, c) = information(rows, at);
        let (a, c) = (a + 1e-12, c + RIDGE);
        let determinant = a * c - b * b;
        let step = ((c * g0 - b * g1) / determinant, (a * g1 - b * g0) / determinant);
        // No step is worth more than this one promises, at the end rounding alone.
        if g0 * step.0 + g1 * step.1 < 2e-12 {
            break;
        }
        let mut share = 1.0;
        let better = std::iter::repeat_with(|| {
            let next = (at.0 - share * step.0, at.1 - share * step.1);
            share /= 2.0;
            (next, loss(next))
        })
        .take(30)
        .find(|(_, then)| *then < now - 1e-12);
        let Some((next, then)) = better else { break };
        (at, now) = (next, then);
    }
    at
}

/// Whether every similarity at which it was right is above every one at which it was wrong.
fn is_separable(rows: &[(f64, f64)]) -> bool {
    let of = |right: bool| rows.iter().filter(move |(_, said)| (*said > 0.5) == right).map(|(s, _)| *s);
    of(true).fold(1.0, f64::min) > of(false).fold(0.0, f64::max)
}

/// The variance of `t` where the data separate, so that no curve tells: 0.035 of six rows, falling to 0.01 of fifteen.
#[allow(clippy::cast_precision_loss, reason = "at most some hundreds")]
fn of_separable(rows: usize) -> f64 {
    let (first, last, from, to) = (0.035_f64, 0.01_f64, 6.0, 15.0);
    let share = ((rows as f64 - from) / (to - from)).clamp(0.0, 1.0);
    first * (last / first).powf(share)
}

/// The variance of `t = -b0 / b1` by the delta method.
fn by_delta(rows: &[(f64, f64)], (b0, gamma): (f64, f64)) -> f64 {
    let (a, b, c) = information(rows, (b0, gamma));
    let determinant = a * c - b * b;
    if determinant <= f64::EPSILON {
        return f64::INFINITY;
    }
    let (g0, g1) = (-1.0 / gamma, b0 / (gamma * gamma));
    (g0 * g0 * c - 2.0 * g0 * g1 * b + g1 * g1 * a) / determinant
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn seen(rows: &[(u16, bool)]) -> Vec<Observation> {
        rows.iter().map(|(s, right)| Observation { similarity: Similarity(*s), right: *right }).collect()
    }

    /// Computed by a program of its own, in another language and by another method: a nested search for the likeliest curve, and the
    /// quantiles of its standard library.
    #[test]
    fn the_rule_gives_what_an_independent_program_gives() {
        let separable = [(500, false), (600, false), (700, false), (850, true), (900, true), (950, true)];
        let overlapping = [
            (500, false),
            (800, true),
            (700, false),
            (750, true),
            (600, true),
            (650, false),
            (900, true),
            (950, true),
        ];
        let right: Vec<(u16, bool)> = (0..12).map(|at| (600 + 25 * at, true)).collect();
        let wrong: Vec<(u16, bool)> = (0..7).map(|at| (700 + 20 * at, false)).collect();
        for (rows, similarity, error_max, want) in [
            (&separable[..], 950, 0.02, 0.9177),
            (&separable[..], 990, 0.05, 0.7203),
            (&separable[..], 720, 0.05, 1.0000),
            (&overlapping, 950, 0.02, 0.8260),
            (&overlapping, 950, 0.05, 0.5651),
            (&overlapping, 640, 0.05, 1.0000),
            (&right, 600, 0.02, 0.7195),
            (&right, 750, 0.02, 0.0807),
            (&right, 900, 0.02, 0.0500), // 0.0212 by the curve
            (&right, 900, 0.05, 0.0500), // 0 by the curve
            (&wrong, 900, 0.05, 1.0000),
            (&wrong, 1000, 0.05, 0.8812),
        ] {
            let tau = fit(&seen(rows)).unwrap().tau(Similarity(similarity), error_max);
            assert!((tau - want).abs() < 6e-4, "{rows:?} at {similarity}, {error_max}: {tau}, not {want}");
        }
    }

    #[test]
    fn what_was_hardly_seen_is_asked() {
        let rows: Vec<(u16, bool)> = (0..6).map(|at| (900 + at, true)).collect();
        for count in 0..=6 {
            assert_eq!(fit(&seen(&rows[..count])).is_some(), count >= OBSERVATIONS_MIN, "{count}");
        }
    }

    /// Six right of six are no proof for ever: a row that is never asked again is never found to be wrong.
    #[test]
    fn an_answer_that_was_always_right_is_asked_for_now_and_then() {
        for count in [6, 40, 256] {
            for similarity in [900, 1_000] {
                let tau = fit(&seen(&vec![(similarity, true); count])).unwrap().tau(Similarity(1_000), 0.2);
                assert!((ASKED_MIN..0.5).contains(&tau), "{count} at {similarity}: {tau}");
            }
        }
    }

    #[test]
    fn the_grid_is_that_of_a_normal_distribution() {
        let grid: Vec<(f64, f64)> = grid().collect();
        assert_eq!(grid.len(), 50);
        assert!(grid.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 > two[1].1));
        // Phi(z) by Simpson's rule.
        let phi = |z: f64| {
            let (steps, width) = (2_000_u32, z / 2_000.0);
            let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let sum: f64 = (0..=steps)
                .map(|at| {
                    let weight = if at == 0 || at == steps { 1.0 } else { f64::from(2 + 2 * (at % 2)) };
                    weight * density(f64::from(at) * width)
                })
                .sum();
            0.5 + sum * width / 3.0
        };
        for (eps, z) in grid {
            assert!((phi(z) - (1.0 - eps)).abs() < 2e-6, "{eps}: {z}");
        }
    }

    proptest! {
        #[test]
        fn tau_is_a_probability_and_falls_with_what_is_allowed(
            rows in proptest::collection::vec((0_u16..=1_000, any::<bool>()), 6..80),
            similarity in 0_u16..=1_000,
            allowed in (0.0_f64..0.3, 0.0_f64..0.3),
        ) {
            let threshold = fit(&seen(&rows)).unwrap();
            let (less, more) = (allowed.0.min(allowed.1), allowed.0.max(allowed.1));
            let taus = [more, less, 0.0].map(|error_max| threshold.tau(Similarity(similarity), error_max));
            prop_assert!(taus.iter().all(|tau| (ASKED_MIN..=1.0).contains(tau)), "{taus:?}");
            prop_assert!(taus[0] <= taus[1] && taus[2] >= 1.0, "{taus:?}");
        }

        /// The more like, the less it is asked: a curve that falls is taken for a flat one.
        #[test]
        fn tau_falls_with_similarity(
            rows in proptest::collection::vec((0_u16..=1_000, any::<bool>()), 6..80),
            pair in (0_u16..=1_000, 0_u16..=1_000),
        ) {
            let threshold = fit(&seen(&rows)).unwrap();
            let (far, near) = (Similarity(pair.0.min(pair.1)), Similarity(pair.0.max(pair.1)));
            prop_assert!(threshold.tau(near, 0.05) <= threshold.tau(far, 0.05) + 1e-9);
        }
    }
}
