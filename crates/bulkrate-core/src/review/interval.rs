//! What so many errors among so many judged items say about all of them.

/// The 97.5th percentile of the normal distribution: intervals that hold the true rate 95 times of 100.
pub const Z95: f64 = 1.959_963_984_540_054;

/// Bounds of a rate, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Wilson's score interval (1927). Unlike `p +- z * sqrt(p * (1 - p) / n)` it is right for few errors and for none.
/// Without any item judged nothing is known: 0 to 1.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of items are far below 2^53")]
pub fn wilson(errors: u64, judged: u64, z: f64) -> Interval {
    if judged == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let errors = errors.min(judged);
    let n = judged as f64;
    let (rate, z2) = (errors as f64 / n, z * z);
    let centre = (rate + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    // Exact where rounding would leave a trace.
    let low = if errors == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if errors == judged { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}
