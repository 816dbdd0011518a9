//! Values as people write them: durations, amounts, shares, names from short lists. The same reading serves flags and files.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use bulkrate_core::cascade::Accept;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prompt_cache::Wish;
use bulkrate_core::request::{CacheMode, Kind, Reasoning};
use bulkrate_core::submission::Unresolved;
use bulkrate_engine::spec::{FallbackWhen, OnBadLine, SendBy, SyncDoubt};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// A length of time in milliseconds: `500ms`, `90s`, `6h`, `1d2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("`{text}` is not a duration: {why}; write for example `90s`, `6h` or `1d12h`")
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            if number.is_empty() {
                return Err(bad("a whole number must stand before each unit"));
            }
            let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                let why = if unit.is_empty() && digits == rest.len() {
                    "a unit is missing"
                } else {
                    "the units are ms, s, m, h, d, w"
                };
                return Err(bad(why));
            };
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
            total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| bad("it is too long"))?;
            rest = &rest[digits + letters..];
        }
        Ok(Self(total))
    }
}

/// A point in time: a day, which begins at midnight UTC, or so long before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Day(jiff::civil::Date),
    Ago(Millis),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = || text.parse().map(Self::Ago).ok();
        text.parse().map(Self::Day).ok().or_else(ago).ok_or_else(|| {
            format!("`{text}` is neither a day such as `2026-11-01` nor a time ago such as `7d`")
        })
    }
}

impl When {
    /// Unix milliseconds.
    #[must_use]
    pub fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Day(day) => day
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map_or(i64::MAX, |midnight| midnight.timestamp().as_millisecond()),
            Self::Ago(Millis(ms)) => now_ms.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)),
        }
    }
}

/// An amount of US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(pub UsdNanos);

impl FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match UsdNanos::parse(text) {
            Ok(amount) if amount.0 >= 0 => Ok(Self(amount)),
            Ok(_) => Err(format!("`{text}` is below zero")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A share in thousandths, written as a percentage: `5`, `5%`, `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent {
    pub permille: u32,
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a percentage from 0 to 100 with at most one decimal, such as `5` or `0.5%`"
            )
        };
        let number = text.trim().trim_end_matches('%').trim_end();
        let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
            return Err(bad());
        }
        let permille =
            whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(10)).zip(tenth.parse::<u32>().ok());
        let permille =
            permille.and_then(|(whole, tenth)| whole.checked_add(tenth)).filter(|share| *share <= 1_000);
        permille.map(|permille| Self { permille }).ok_or_else(bad)
    }
}

/// A price in US dollars per million tokens, kept as the decimal text it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerMillion(pub String);

impl FromStr for PerMillion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_start_matches('$');
        bulkrate_core::price::rates::usd_per_million(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| error.to_string())
    }
}

/// How much a model may think: an effort or a number of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effort(pub String);

impl FromStr for Effort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Reasoning::parse(text).map(|effort| Self(effort.to_string())).ok_or_else(|| {
            format!("`{text}` is neither `none`, `low`, `medium`, `high` nor a number of tokens")
        })
    }
}

/// By what an answer of a cascade's cheap model is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptRule(pub Accept);

impl FromStr for AcceptRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: bulkrate_core::cascade::BadAccept| error.to_string())
    }
}

/// Reads a value from a string, or from a number where the file has one.
struct Written<T>(PhantomData<T>, &'static str);

impl<T: FromStr<Err = String>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

macro_rules! written {
    ($($type:ty = $expecting:literal),* $(,)?) => { $(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Written::<Self>(PhantomData, $expecting))
            }
        }
    )* };
}

written! {
    Millis = "a duration such as \"6h\"",
    Usd = "an amount in US dollars such as \"5\"",
    Percent = "a percentage such as \"5%\"",
    PerMillion = "US dollars per million tokens such as \"0.15\"",
    AcceptRule = "\"valid\", \"agree\" or a field and the least it must say",
    Effort = "\"none\", \"low\", \"medium\", \"high\" or a number of tokens",
}

/// A closed list of words, for flags (clap lists them) and files (serde lists them).
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "lowercase")]
        #[value(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),* }
    )* };
}

words! {
    LaneChoice {
        /// The cheapest lane that meets the deadline
        Auto,
        /// The provider's batch API
        Batch,
        /// Single calls at the batch price, when the provider has room
        Flex,
        /// Single calls at once
        Sync,
    }
    KindChoice {
        Chat,
        Embedding,
        Moderation,
        /// One of the choices and how likely each is, at the price of OpenAI's Decisions API
        Decision,
        /// A picture of what the prompt says; `--max-output-tokens` says what one costs at most
        Image,
    }
    PriorityChoice {
        Low,
        /// The sync lane
        High,
    }
    CacheChoice {
        /// Read from it and add to it
        Default,
        /// Neither
        Off,
        /// Add to it, replacing what is there
        Refresh,
    }
    OrderChoice {
        /// As the source has them
        Source,
        /// Prompts that begin alike one after the other, where the prompt cache makes that pay
        Prefix,
    }
    PromptCacheChoice {
        /// Where it is expected to pay, as long as it does
        Auto,
        /// Nothing is marked
        Off,
        /// For five minutes after its last use
        #[value(name = "5m")]
        #[serde(rename = "5m")]
        FiveMinutes,
        /// For an hour, which costs more to write
        #[value(name = "1h")]
        #[serde(rename = "1h")]
        Hour,
    }
    BadLineChoice {
        /// The job does not start
        Fail,
        /// The line is left out, and counted
        Skip,
        /// The line becomes a dead letter
        Dead,
    }
    DoubtChoice {
        /// Ask again; the first call's price stays booked as doubt
        Resend,
        /// The item becomes a dead letter
        Dead,
    }
    FallbackChoice {
        /// Those before them cannot be asked
        Outage,
        /// Or the limits of those have left no room for a minute; a dearer model then costs more
        Capacity,
    }
    BatchDoubtChoice {
        /// Items and money wait for the operator
        Hold,
        /// The items become dead letters; their price at most stays booked as doubt
        Dead,
        /// The items are sent again, which may pay twice; the first price stays booked as doubt
        Repay,
    }
    SourceFormat { Csv, Tsv, Jsonl, Parquet }
    SinkFormat { Jsonl, Csv, Parquet }
}

impl LaneChoice {
    #[must_use]
    pub fn lane(self) -> Option<Lane> {
        match self {
            Self::Auto => None,
            Self::Batch => Some(Lane::Batch),
            Self::Flex => Some(Lane::Flex),
            Self::Sync => Some(Lane::Sync),
        }
    }
}

impl From<KindChoice> for Kind {
    fn from(choice: KindChoice) -> Self {
        match choice {
            KindChoice::Chat => Self::Chat,
            KindChoice::Embedding => Self::Embedding,
            KindChoice::Moderation => Self::Moderation,
            KindChoice::Decision => Self::Decision,
            KindChoice::Image => Self::Image,
        }
    }
}

impl From<OrderChoice> for SendBy {
    fn from(choice: OrderChoice) -> Self {
        match choice {
            OrderChoice::Source => Self::Source,
            OrderChoice::Prefix => Self::Prefix,
        }
    }
}

impl From<PromptCacheChoice> for Wish {
    fn from(choice: PromptCacheChoice) -> Self {
        match choice {
            PromptCacheChoice::Auto => Self::Auto,
            PromptCacheChoice::Off => Self::Off,
            PromptCacheChoice::FiveMinutes => Self::FiveMinutes,
            PromptCacheChoice::Hour => Self::Hour,
        }
    }
}

impl From<CacheChoice> for CacheMode {
    fn from(choice: CacheChoice) -> Self {
        match choice {
            CacheChoice::Default => Self::Default,
            CacheChoice::Off => Self::Off,
            CacheChoice::Refresh => Self::Refresh,
        }
    }
}

impl From<BadLineChoice> for OnBadLine {
    fn from(choice: BadLineChoice) -> Self {
        match choice {
            BadLineChoice::Fail => Self::Fail,
            BadLineChoice::Skip => Self::Skip,
            BadLineChoice::Dead => Self::Dead,
        }
    }
}

impl From<DoubtChoice> for SyncDoubt {
    fn from(choice: DoubtChoice) -> Self {
        match choice {
            DoubtChoice::Resend => Self::Resend,
            DoubtChoice::Dead => Self::Dead,
        }
    }
}

impl From<FallbackChoice> for FallbackWhen {
    fn from(choice: FallbackChoice) -> Self {
        match choice {
            FallbackChoice::Outage => Self::Outage,
            FallbackChoice::Capacity => Self::Capacity,
        }
    }
}

impl From<BatchDoubtChoice> for Unresolved {
    fn from(choice: BatchDoubtChoice) -> Self {
        match choice {
            BatchDoubtChoice::Hold => Self::Hold,
            BatchDoubtChoice::Dead => Self::Dead,
            BatchDoubtChoice::Repay => Self::Repay,
        }
    }
}

impl SourceFormat {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl SinkFormat {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, want) in [
            ("500ms", Ok(500)),
            ("90s", Ok(90_000)),
            ("6h", Ok(21_600_000)),
            ("1d2h", Ok(93_600_000)),
            ("1h30m", Ok(5_400_000)),
            ("2w", Ok(1_209_600_000)),
            ("0s", Ok(0)),
            (" 5m ", Ok(300_000)),
            ("90", Err("a unit is missing")),
            ("", Err("it is empty")),
            ("h", Err("a whole number must stand before each unit")),
            ("1.5h", Err("the units are")),
            ("-1h", Err("a whole number must stand before each unit")),
            ("6 h", Err("the units are")),
            ("3 hours", Err("the units are")),
            ("99999999999999999999s", Err("it is too long")),
            ("40000000000w", Err("it is too long")),
        ] {
            match (text.parse::<Millis>(), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.0, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, want) => assert!(got.is_ok() == want.is_ok(), "{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn percentages_become_thousandths() {
        for (text, want) in [
            ("5", Some(50)),
            ("5%", Some(50)),
            ("0.5%", Some(5)),
            ("100", Some(1_000)),
            ("0", Some(0)),
            ("101", None),
            ("1.25", None),
            ("-1", None),
            ("%", None),
            ("five", None),
        ] {
            assert_eq!(text.parse::<Percent>().ok().map(|share| share.permille), want, "{text}");
        }
    }

    #[test]
    fn amounts_prices_and_efforts() {
        assert_eq!("5".parse::<Usd>().unwrap().0, UsdNanos::dollars(5));
        assert!("-5".parse::<Usd>().unwrap_err().contains("below zero"));
        assert!("five".parse::<Usd>().is_err());
        assert_eq!("$0.15".parse::<PerMillion>().unwrap().0, "0.15");
        assert!("cheap".parse::<PerMillion>().is_err());
        assert_eq!("high".parse::<Effort>().unwrap().0, "high");
        assert_eq!("2048".parse::<Effort>().unwrap().0, "2048");
        assert!("some".parse::<Effort>().is_err());
    }
}
