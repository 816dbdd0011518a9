//! Usage as the Messages API reports it. Its classes are disjoint already: `input_tokens` is what was neither read from the prompt
//! cache nor written to it.

use std::borrow::Cow;

use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::loose::{Count, LooseText};

#[derive(Deserialize)]
struct Reported<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: LooseText<'a>,
}

#[derive(Default, Deserialize)]
struct Creation {
    #[serde(default)]
    ephemeral_5m_input_tokens: Count,
    #[serde(default)]
    ephemeral_1h_input_tokens: Count,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    thinking_tokens: Count,
}

/// An object, absent or null; an array would be read as a list of the fields, and is nonsense instead.
fn object<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    match raw.map(RawValue::get) {
        None | Some("null") => Some(T::default()),
        Some(text) if text.starts_with('{') => serde_json::from_str(text).ok(),
        Some(_) => None,
    }
}

/// What was used, and the tier that was billed. No usage where none is said, or one number of it is nonsense: then the bound is booked.
pub(super) fn read<'a>(raw: Option<&'a RawValue>) -> (Option<Usage>, Option<Cow<'a, str>>) {
    let object = raw.map(RawValue::get).filter(|raw| raw.starts_with('{'));
    let reported: Option<Reported<'a>> = object.and_then(|raw| serde_json::from_str(raw).ok());
    reported.map_or((None, None), |reported| (reported.usage(), reported.service_tier.0))
}

impl Reported<'_> {
    fn usage(&self) -> Option<Usage> {
        let creation: Creation = object(self.cache_creation)?;
        let details: Details = object(self.output_tokens_details)?;
        let output = self.output_tokens.or(None)?;
        let hour = creation.ephemeral_1h_input_tokens.or(Some(0))?;
        let short = creation.ephemeral_5m_input_tokens.or(Some(0))?;
        let written = self.cache_creation_input_tokens.or(Some(0))?;
        Some(Usage {
            input: self.input_tokens.or(None)?,
            cache_read: self.cache_read_input_tokens.or(Some(0))?,
            // What the details do not name was written for five minutes, which is the default.
            cache_write_5m: short.max(written.saturating_sub(hour)),
            cache_write_1h: hour,
            output,
            reasoning: details.thinking_tokens.or(Some(0))?.min(output),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn classes_are_disjoint() {
        let want = |input, cache_read, cache_write_5m, cache_write_1h, output, reasoning| {
            Some(Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning })
        };
        for (json, expected) in [
            (r#"{"input_tokens":21,"output_tokens":2}"#, want(21, 0, 0, 0, 2, 0)),
            (
                r#"{"input_tokens":21,"cache_creation_input_tokens":5200,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":5200},"output_tokens":57,"output_tokens_details":{"thinking_tokens":31},"server_tool_use":null}"#,
                want(21, 7, 0, 5_200, 57, 31),
            ),
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":200,"ephemeral_1h_input_tokens":100},"output_tokens":2}"#,
                want(1, 0, 200, 100, 2, 0),
            ),
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":300,"cache_creation":null,"output_tokens":2}"#,
                want(1, 0, 300, 0, 2, 0),
            ),
            (
                r#"{"input_tokens":1,"output_tokens":2,"output_tokens_details":{"thinking_tokens":9}}"#,
                want(1, 0, 0, 0, 2, 2),
            ),
            (r#"{"input_tokens":-5,"output_tokens":2}"#, None),
            (r#"{"input_tokens":1}"#, None),
            (r#"{"output_tokens":1}"#, None),
            (r#"{"input_tokens":1,"output_tokens":2,"cache_creation":[1,2]}"#, None),
            (r#"{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":1e400}"#, None),
            ("[1,2]", None),
            ("null", None),
        ] {
            let raw: Box<RawValue> =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(read(Some(&raw)).0, expected, "{json}");
        }
        assert_eq!(read(None), (None, None));
    }
}
