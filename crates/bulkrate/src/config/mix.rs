//! A mix of models as people write it, `NAME=SHARE` or `NAME=SHARE@IN/OUT`, and large numbers.

use std::str::FromStr;

use super::value::{PerMillion, Percent};

/// A number of items or tokens: `5000000`, `5M`, `1.5M`, `100k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a number such as `250000`, `250k` or `1.5M`");
        let trimmed = text.trim();
        let (number, zeros) = match trimmed.chars().last() {
            Some('k' | 'K') => (&trimmed[..trimmed.len() - 1], 3_usize),
            Some('m' | 'M') => (&trimmed[..trimmed.len() - 1], 6),
            _ => (trimmed, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let dangling = number.ends_with('.') || whole.is_empty();
        // Fractions must come out as whole numbers: `1.5M` does, `1.5` does not.
        if dangling || !digits(whole) || !digits(fraction) || fraction.len() > zeros {
            return Err(bad());
        }
        format!("{whole}{fraction:0<zeros$}").parse().map(Self).map_err(|_| bad())
    }
}

/// One model of a mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixPart {
    pub model: String,
    pub share: Percent,
    /// Without prices the name stands in the catalogue.
    pub prices: Option<MixPrices>,
}

/// Prices in US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixPrices {
    pub sync: [PerMillion; 2],
    pub batch: Option<[PerMillion; 2]>,
}

impl FromStr for MixPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write `MODEL=SHARE`, or `NAME=SHARE@IN/OUT` with prices in USD per million tokens";
        // Names may hold `=` and `@`; shares and prices hold neither.
        let named = text.rsplit_once('=').filter(|(model, _)| !model.trim().is_empty());
        let (model, rest) = named.ok_or_else(|| format!("`{text}` is no part of a mix: {form}"))?;
        let (share, prices) =
            rest.split_once('@').map_or((rest, None), |(share, prices)| (share, Some(prices)));
        let prices = prices.map(str::parse).transpose()?;
        Ok(Self { model: model.trim().to_owned(), share: share.parse()?, prices })
    }
}

impl FromStr for MixPrices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rates = text.split('/').map(str::parse).collect::<Result<Vec<PerMillion>, _>>()?;
        match <[PerMillion; 2]>::try_from(rates) {
            Ok(sync) => Ok(Self { sync, batch: None }),
            Err(rates) => <[PerMillion; 4]>::try_from(rates)
                .map(|[input, output, batch_in, batch_out]| Self {
                    sync: [input, output],
                    batch: Some([batch_in, batch_out]),
                })
                .map_err(|_| {
                    format!(
                        "`{text}` are neither two prices, `IN/OUT`, nor four, `IN/OUT/BATCH_IN/BATCH_OUT`"
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn counts_are_whole_however_they_are_written() {
        for (text, want) in [
            ("5M", Some(5_000_000)),
            ("1.5M", Some(1_500_000)),
            ("100k", Some(100_000)),
            ("0", Some(0)),
            ("2.50k", Some(2_500)),
            ("1.5", None),
            ("1.0001k", None),
            ("", None),
            (".5M", None),
            ("5.", None),
            ("-5", None),
            ("5 M", None),
            ("99999999999999M", None),
        ] {
            assert_eq!(text.parse::<Count>().ok().map(|count| count.0), want, "{text}");
        }
    }

    #[test]
    fn parts_of_a_mix_are_read_from_the_right() {
        let part = |text: &str| text.parse::<MixPart>();
        let plain = part("openai/gpt-4.1-nano=80%").unwrap();
        assert_eq!(
            (plain.model.as_str(), plain.share.permille, plain.prices),
            ("openai/gpt-4.1-nano", 800, None)
        );
        let named = part("vertex/claude@default=0.5").unwrap();
        assert_eq!((named.model.as_str(), named.share.permille), ("vertex/claude@default", 5));
        let own = part("own=20@0.1/0.4").unwrap().prices.unwrap();
        assert_eq!((own.sync[0].0.as_str(), own.sync[1].0.as_str(), own.batch), ("0.1", "0.4", None));
        let batch = part("own=20@$1/2/0.5/1").unwrap().prices.unwrap().batch.unwrap();
        assert_eq!((batch[0].0.as_str(), batch[1].0.as_str()), ("0.5", "1"));
        for (text, words) in [
            ("nano", "MODEL=SHARE"),
            ("=80", "MODEL=SHARE"),
            ("nano=many", "not a percentage"),
            ("nano=80@1", "neither two prices"),
            ("nano=80@1/2/3", "neither two prices"),
            ("nano=80@one/2", "`one`"),
        ] {
            let error = part(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
