//! Counts as floats and back, for estimates alone: money is never one.

/// The one-sided 95 % quantile of Student's t, by Fisher's expansion; within 0.5 % from 5 degrees of freedom on.
pub(super) fn student_95(degrees: f64) -> f64 {
    const Z: f64 = 1.644_853_626_951;
    let z3 = Z.powi(3);
    Z + (z3 + Z) / (4.0 * degrees) + (5.0 * Z.powi(5) + 16.0 * z3 + 3.0 * Z) / (96.0 * degrees * degrees)
}

#[allow(clippy::cast_precision_loss, reason = "an estimate; sums stay far below 2^53 tokens")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "an estimate of a variance")]
pub(super) fn wide(sum: u128) -> f64 {
    sum as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are not negative; the cast saturates"
)]
pub(super) fn tokens(count: f64) -> u64 {
    // A product such as 400 x 0.275 comes out a hair above the whole number that it is.
    (count * (1.0 - 1e-12)).ceil() as u64
}

/// So many of so many, of fewer, rounded up.
#[must_use]
pub fn part_of(all: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 || part == whole {
        return all;
    }
    u64::try_from((u128::from(all) * u128::from(part)).div_ceil(u128::from(whole))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_t_is_close_to_the_tables() {
        for (degrees, want) in [(19.0, 1.7291), (49.0, 1.6766), (99.0, 1.6604)] {
            assert!((student_95(degrees) - want).abs() < 0.001, "{degrees}");
        }
    }
}
