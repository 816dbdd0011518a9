//! A line as it is read back.

use std::borrow::Cow;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::Text;
use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::is_intact;

/// A line, read back; what is in it for people alone (usage, evidence) is passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultLine<'a> {
    pub item: Ordinal,
    pub attempt: u8,
    /// Those that count; `None` in lines of older versions.
    #[serde(default)]
    pub attempts: Option<u32>,
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub response: Option<ResponseLine<'a>>,
    #[serde(borrow, default)]
    pub error: Option<ErrorLine<'a>>,
    #[serde(borrow)]
    pub cost_usd: Text<'a>,
    #[serde(borrow)]
    pub model: Text<'a>,
    #[serde(borrow)]
    pub lane: Text<'a>,
    #[serde(borrow, default)]
    pub provider: Option<Text<'a>>,
    #[serde(default)]
    pub semantic: Option<LessonLine>,
}

/// What an answer taught; of an item that was served where its answer is from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LessonLine {
    /// From 1.
    pub like: Option<Ordinal>,
    pub similarity: Option<f32>,
    pub same: Option<bool>,
    /// With what probability it was to be asked.
    pub tau: Option<f64>,
    /// Whether the answer that it would have been given is right.
    pub right: Option<bool>,
    pub kept: bool,
    pub naive_usd: Option<String>,
    /// The item that a served answer is from, from 1.
    pub from: Option<Ordinal>,
}

impl LessonLine {
    /// What each item costs by itself that is given this answer; `None`: the line does not say.
    pub(crate) fn naive(&self) -> Option<UsdNanos> {
        self.naive_usd.as_deref().and_then(|text| UsdNanos::parse(text).ok())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ResponseLine<'a> {
    #[serde(borrow, default)]
    pub text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub parsed: Option<&'a RawValue>,
    /// Base64 text or an array of numbers.
    #[serde(borrow, default)]
    pub embedding: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ErrorLine<'a> {
    #[serde(borrow)]
    pub class: Text<'a>,
    #[serde(borrow)]
    pub message: Text<'a>,
    /// Of a cascade's rejected answer: what it said.
    #[serde(borrow, default)]
    pub opinion: Option<Text<'a>>,
    /// How many of its models the item has behind itself; `None` where it was asked of all of them.
    #[serde(default)]
    pub step: Option<u8>,
    /// The text that was no good.
    #[serde(borrow, default)]
    pub answer: Option<Text<'a>>,
}

/// The usage that a line tells; none of one that does not, or cannot be read.
pub(crate) fn usage_of(line: &[u8]) -> Usage {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        usage: Option<Usage>,
    }
    serde_json::from_slice::<Line>(line).ok().and_then(|line| line.usage).unwrap_or_default()
}

impl<'a> ResultLine<'a> {
    /// Reads one line, with or without its newline.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if !is_intact(line) {
            return Err(serde::de::Error::custom("the line is not as it was written: its checksum differs"));
        }
        serde_json::from_slice(line)
    }
}
