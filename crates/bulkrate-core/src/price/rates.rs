//! Decimal price text to integer pico-dollars per token and back, without a float in between.

use crate::money::PicoUsdPerToken;

/// One USD per million tokens is 10^6 pico-dollars per token.
const PER_MILLION_SHIFT: i64 = 6;
/// One USD per token is 10^12 pico-dollars per token.
const PER_TOKEN_SHIFT: i64 = 12;
/// Longer exponents than this are no prices; the limit keeps the arithmetic small.
const EXPONENT_MAX: i64 = 40;

/// Why a text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error("`{0}` is not a decimal number")]
    NotANumber(String),
    #[error("`{0}` is negative; a price is zero or more")]
    Negative(String),
    #[error(
        "`{0}` is finer than one pico-dollar per token (0.000001 USD per million tokens), which cannot be held exactly"
    )]
    TooPrecise(String),
    #[error("`{0}` is larger than any price")]
    TooLarge(String),
}

/// Reads USD per million tokens, such as `0.125` or `1e-1`, exactly.
pub fn usd_per_million(text: &str) -> Result<PicoUsdPerToken, RateError> {
    shifted(text, PER_MILLION_SHIFT).map(PicoUsdPerToken)
}

/// Reads USD per token, such as `1.25e-07` or `0.000002`, exactly.
pub fn usd_per_token(text: &str) -> Result<PicoUsdPerToken, RateError> {
    shifted(text, PER_TOKEN_SHIFT).map(PicoUsdPerToken)
}

/// Prints a rate as USD per million tokens in the shortest exact form: `0.0025`, `10`, `0`.
#[must_use]
pub fn to_usd_per_million(rate: PicoUsdPerToken) -> String {
    let (whole, fraction) = (rate.0 / 1_000_000, rate.0 % 1_000_000);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:06}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// `text * 10^shift` as a whole number.
fn shifted(text: &str, shift: i64) -> Result<u64, RateError> {
    let bad = || RateError::NotANumber(text.to_owned());
    let trimmed = text.trim();
    let unsigned = match trimmed.strip_prefix('-') {
        Some(rest) if rest.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) => {
            return Err(RateError::Negative(text.to_owned()));
        }
        Some(rest) => rest,
        None => trimmed.strip_prefix('+').unwrap_or(trimmed),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| bad())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return Err(bad());
    }
    if exponent.abs() > EXPONENT_MAX || whole.len() + fraction.len() > 60 {
        return Err(RateError::TooLarge(text.to_owned()));
    }
    // Trailing zeros after the point carry nothing and must not count as precision.
    let fraction = fraction.trim_end_matches('0');
    let places = i64::try_from(fraction.len()).map_err(|_| bad())?;
    scaled(whole, fraction, shift + exponent - places, text)
}

/// The digits of `whole` and `fraction` read as one number, times `10^power`.
fn scaled(whole: &str, fraction: &str, power: i64, text: &str) -> Result<u64, RateError> {
    let too_large = || RateError::TooLarge(text.to_owned());
    let mut digits = format!("{whole}{fraction}");
    if power >= 0 {
        digits.extend(std::iter::repeat_n('0', usize::try_from(power).map_err(|_| too_large())?));
    } else {
        let dropped = usize::try_from(-power).map_err(|_| too_large())?;
        let kept = digits.len().saturating_sub(dropped);
        if digits.bytes().skip(kept).any(|byte| byte != b'0') {
            return Err(RateError::TooPrecise(text.to_owned()));
        }
        digits.truncate(kept);
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() { Ok(0) } else { significant.parse().map_err(|_| too_large()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn per_million_text_is_read_exactly() {
        for (text, want) in [
            ("0", 0),
            ("0.0025", 2_500),
            ("0.005", 5_000),
            ("10", 10_000_000),
            ("180", 180_000_000),
            ("0.00875", 8_750),
            ("0.50", 500_000),
            (".5", 500_000),
            ("5.", 5_000_000),
            ("1e-1", 100_000),
            ("2.5E+1", 25_000_000),
            ("0.000001", 1),
            ("-0", 0),
            (" 3 ", 3_000_000),
        ] {
            assert_eq!(usd_per_million(text), Ok(PicoUsdPerToken(want)), "{text}");
        }
    }

    #[test]
    fn per_token_text_is_read_exactly() {
        for (text, want) in [
            ("1.25e-07", 125_000),
            ("2.5e-9", 2_500),
            ("0.000002", 2_000_000),
            ("0.0", 0),
            ("1e-12", 1),
            ("3.0000e-06", 3_000_000),
        ] {
            assert_eq!(usd_per_token(text), Ok(PicoUsdPerToken(want)), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_says_why() {
        for (text, want) in [
            ("", RateError::NotANumber(String::new())),
            (".", RateError::NotANumber(".".into())),
            ("1.2.3", RateError::NotANumber("1.2.3".into())),
            ("nan", RateError::NotANumber("nan".into())),
            ("0x10", RateError::NotANumber("0x10".into())),
            ("1e", RateError::NotANumber("1e".into())),
            ("-1", RateError::Negative("-1".into())),
            ("0.0000001", RateError::TooPrecise("0.0000001".into())),
            ("1e-9", RateError::TooPrecise("1e-9".into())),
            ("1e30", RateError::TooLarge("1e30".into())),
            ("1e99999", RateError::TooLarge("1e99999".into())),
        ] {
            assert_eq!(usd_per_million(text), Err(want), "{text}");
        }
        assert_eq!(usd_per_token("1.5e-13"), Err(RateError::TooPrecise("1.5e-13".into())));
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(picos in any::<u64>()) {
            let rate = PicoUsdPerToken(picos);
            prop_assert_eq!(usd_per_million(&to_usd_per_million(rate)), Ok(rate));
            // The same number written per token.
            prop_assert_eq!(usd_per_token(&format!("{picos}e-12")), Ok(rate));
        }

        #[test]
        fn any_text_is_answered(text in "[-+0-9.eE]{0,12}") {
            let _ = usd_per_million(&text);
        }
    }
}
