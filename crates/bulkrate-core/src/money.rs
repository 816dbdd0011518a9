//! Money and tokens: the unit in the type.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// A number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Tokens(pub u64);

/// Billionths of a US dollar: the ledger's unit. Never a float.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct UsdNanos(pub i64);

/// Trillionths of a US dollar per token: every published price is a whole number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct PicoUsdPerToken(pub u64);

impl UsdNanos {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);

    /// Whole dollars, for limits in code and tests.
    #[must_use]
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars * 1_000_000_000)
    }

    /// Reads decimal text such as `5`, `0.25` or `1.000000001`; more than nine decimals are refused, never rounded.
    pub fn parse(text: &str) -> Result<Self, BadUsd> {
        let bad = || BadUsd(text.to_owned());
        let (whole, fraction) = text
            .trim()
            .trim_start_matches('$')
            .split_once('.')
            .unwrap_or((text.trim().trim_start_matches('$'), ""));
        let (negative, whole) = whole.strip_prefix('-').map_or((false, whole), |rest| (true, rest));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || fraction.len() > 9
            || !digits(whole)
            || !digits(fraction)
        {
            return Err(bad());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
        let nanos =
            whole.checked_mul(1_000_000_000).and_then(|sum| sum.checked_add(fraction)).ok_or_else(bad)?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }

    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `n` times the amount, at most `i64::MAX`.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        let product = i128::from(self.0) * i128::from(n);
        Self(i64::try_from(product).unwrap_or(i64::MAX))
    }

    /// The amount x `part` / `whole`, rounded up; all of it where the whole is nothing.
    #[must_use]
    pub fn share_up(self, part: u64, whole: u64) -> Self {
        if whole == 0 || part == whole {
            return self;
        }
        let whole = i128::from(whole);
        let scaled = (i128::from(self.0) * i128::from(part) + whole - 1).div_euclid(whole);
        Self(i64::try_from(scaled).unwrap_or(i64::MAX))
    }
}

/// Text that is not an amount of US dollars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an amount in US dollars; write for example `5`, `0.25` or `1.50`, with at most nine decimals"
)]
pub struct BadUsd(pub String);

/// Prints dollars with at least two and at most nine decimals: `0.000075`, `5.00`.
impl fmt::Display for UsdNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let fraction = format!("{:09}", nanos % 1_000_000_000);
        let kept = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", nanos / 1_000_000_000, &fraction[..kept])
    }
}

impl Add for UsdNanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl Sub for UsdNanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl AddAssign for UsdNanos {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}
impl SubAssign for UsdNanos {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}
impl Sum for UsdNanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_read_and_print() {
        for (text, nanos, printed) in [
            ("5", 5_000_000_000, "5.00"),
            ("0.25", 250_000_000, "0.25"),
            ("$1.50", 1_500_000_000, "1.50"),
            ("0.000075", 75_000, "0.000075"),
            (".5", 500_000_000, "0.50"),
            ("-2", -2_000_000_000, "-2.00"),
        ] {
            let amount = UsdNanos::parse(text).expect(text);
            assert_eq!((amount.0, amount.to_string().as_str()), (nanos, printed), "{text}");
        }
        for text in ["", ".", "1e3", "0.0000000001", "5 dollars", "--1", "99999999999"] {
            assert!(UsdNanos::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_loses_nothing(nanos in -9_000_000_000_000_000_000_i64..9_000_000_000_000_000_000) {
            prop_assert_eq!(UsdNanos::parse(&UsdNanos(nanos).to_string()), Ok(UsdNanos(nanos)));
        }
    }
}
