//! How often something errs at most, given how often it was seen to err.

/// One-sided: the bound holds 95 times of 100.
const DOUBT: f64 = 0.05;
const HALVINGS: u32 = 60;

/// The upper Clopper-Pearson bound of an error rate, `BetaInv(0.95; wrong + 1, seen - wrong)`. 1 where nothing was seen.
#[must_use]
pub fn error_high(wrong: u64, seen: u64) -> f64 {
    error_high_at(wrong, seen, DOUBT)
}

/// As [`error_high`], with another chance of being wrong than one in twenty.
#[must_use]
pub fn error_high_at(wrong: u64, seen: u64, doubt: f64) -> f64 {
    if seen == 0 || wrong >= seen {
        return 1.0;
    }
    // The rate at which so few errors would be seen just one time in twenty.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let rate = f64::midpoint(low, high);
        if at_most(wrong, seen, rate) > doubt { low = rate } else { high = rate }
    }
    high
}

/// So many rows without an error prove that the rate is at most `rate`.
#[must_use]
pub fn least_clean(rate: f64) -> u64 {
    least_clean_at(rate, DOUBT)
}

/// As [`least_clean`], with another chance of being wrong than one in twenty.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above zero")]
pub fn least_clean_at(rate: f64, doubt: f64) -> u64 {
    (doubt.ln() / (-rate).ln_1p()).ceil().clamp(1.0, 1e9) as u64
}

/// The chance of at most `wrong` errors in `seen` rows.
#[allow(clippy::cast_precision_loss, reason = "counts of rows are far below 2^53")]
fn at_most(wrong: u64, seen: u64, rate: f64) -> f64 {
    let (hit, miss) = (rate.ln(), (-rate).ln_1p());
    let mut ways = 0.0; // logarithm of the ways to choose
    let mut sum = 0.0;
    for errors in 0..=wrong {
        if errors > 0 {
            ways += ((seen - errors + 1) as f64).ln() - (errors as f64).ln();
        }
        let sure = if errors == 0 { 0.0 } else { errors as f64 * hit };
        sum += (ways + sure + (seen - errors) as f64 * miss).exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_beta_distribution() {
        // Known quantiles: scipy.stats.beta.ppf(0.95, k + 1, n - k).
        for (wrong, seen, want) in [
            (0, 298, 0.010_002_5),
            (0, 148, 0.020_038_1),
            (0, 58, 0.050_337_6),
            (0, 1, 0.95),
            (1, 100, 0.046_560_9),
            (8, 1_000, 0.014_385_8),
            (5, 5, 1.0),
            (0, 0, 1.0),
        ] {
            let got = error_high(wrong, seen);
            assert!((got - want).abs() < 2e-5, "{wrong} of {seen}: {got}");
        }
    }

    #[test]
    fn so_many_clean_rows_are_needed() {
        for (rate, want) in [(0.01, 299), (0.02, 149), (0.05, 59), (0.5, 5)] {
            assert_eq!(least_clean(rate), want, "{rate}");
            assert!(error_high(0, want) <= rate && error_high(0, want - 1) > rate, "{rate}");
        }
    }
}
