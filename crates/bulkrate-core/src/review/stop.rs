//! When the answers that fail their checks stop a job.
//!
//! A job is looked at after every flaw. An interval made for one look, such as Wilson's, would call a good job bad sooner or
//! later if it were looked at a thousand times; an e-process may be looked at as often as one likes. It is the odds of a
//! bet against "the rate is at most the limit" whose stake never grows in expectation while that is true, so that by
//! Ville's inequality it ever passes 100 in less than one job of 100.

use crate::failure::FailureClass;

/// Prior of the bet, in flaws and good answers: rates of some per cent.
const PRIOR: (f64, f64) = (1.0, 20.0);
/// One false alarm in so many jobs whose rate is just at the limit.
const ODDS: f64 = 100.0;

/// Counts answered items, and those whose answers failed the checks for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlawMeter {
    limit_permille: Option<u32>,
    good: u64,
    flawed: u64,
}

impl FlawMeter {
    /// Without a limit nothing is ever proved.
    #[must_use]
    pub fn new(limit_permille: Option<u32>) -> Self {
        Self { limit_permille, good: 0, flawed: 0 }
    }

    /// An item was answered well.
    pub fn good(&mut self) {
        self.good += 1;
    }

    /// An item ended with `class`. Flawed items, and items in all, once they prove a rate above the limit.
    pub fn ended(&mut self, class: FailureClass) -> Option<(u64, u64)> {
        if !is_flaw(class) {
            return None;
        }
        self.flawed += 1;
        self.proved()
    }

    /// Flawed items, and items in all, if they prove a rate above the limit.
    #[must_use]
    pub fn proved(&self) -> Option<(u64, u64)> {
        let (flawed, judged) = (self.flawed, self.flawed + self.good);
        let limit = f64::from(self.limit_permille?) / 1_000.0;
        proves(flawed, judged, limit).then_some((flawed, judged))
    }

    /// What failed is tried again: the evidence begins anew.
    pub fn forget(&mut self) {
        *self = Self::new(self.limit_permille);
    }
}

/// Whether an item failed because of what the model answered, not because of the way to it.
fn is_flaw(class: FailureClass) -> bool {
    use FailureClass::{ContentPolicy, Empty, Refusal, SchemaFailed, Truncated};
    matches!(class, SchemaFailed | Empty | Truncated | Refusal | ContentPolicy)
}

/// Whether `flawed` of `judged` prove a rate above `limit`, however often it has been asked before.
///
/// `E = B(a + k, b + n - k) / (B(a, b) * limit^k * (1 - limit)^(n - k))`, for `k` of `n`; proved where it reaches 100.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of items are far below 2^53")]
pub fn proves(flawed: u64, judged: u64, limit: f64) -> bool {
    let (k, n) = (flawed.min(judged) as f64, judged as f64);
    if k <= n * limit || limit >= 1.0 {
        return false;
    }
    if limit <= 0.0 {
        return true; // none was to be allowed
    }
    log_odds(k, n, limit, PRIOR) >= ODDS.ln()
}

/// Whether `good` of `judged` prove a rate below `limit`, however often it has been asked before: the same bet on the others.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of items are far below 2^53")]
pub fn lowers(good: u64, judged: u64, limit: f64) -> bool {
    let (k, n) = (good.min(judged) as f64, judged as f64);
    if k >= n * limit || limit <= 0.0 {
        return false;
    }
    if limit >= 1.0 {
        return true; // all were to be good
    }
    log_odds(k, n, limit, PRIOR) >= ODDS.ln()
}

fn log_odds(k: f64, n: f64, limit: f64, (a, b): (f64, f64)) -> f64 {
    ln_beta(a + k, b + n - k) - ln_beta(a, b) - k * limit.ln() - (n - k) * (-limit).ln_1p()
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Stirling's series, after moving the argument up to where it is exact to 14 digits.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let x2 = x * x;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1_260.0 - 1.0 / (1_680.0 * x2)) / x2) / x2) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn ln_gamma_is_that_of_factorials() {
        for (x, want) in [
            (1.0, 0.0),
            (2.0, 0.0),
            (0.5, std::f64::consts::PI.sqrt().ln()),
            (11.0, 3_628_800.0_f64.ln()),
            (171.0, 706.573_062_245_787_5), // ln 170!
            (1e6, 12_815_504.569_147_77),
        ] {
            assert!((ln_gamma(x) - want).abs() <= 1e-12 * want.abs().max(1.0), "{x}: {}", ln_gamma(x));
        }
    }
}
