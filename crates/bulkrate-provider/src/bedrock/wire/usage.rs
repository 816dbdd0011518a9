//! Usage as Converse reports it. Its classes are disjoint already; what it calls the total is not believed, as models differ in it.

use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::loose::{Count, LooseText};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_write_input_tokens: Count,
    #[serde(borrow, default)]
    cache_details: Vec<Written<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(borrow, default)]
    ttl: LooseText<'a>,
    #[serde(default)]
    input_tokens: Count,
}

/// No usage where none is said, or one number of it is nonsense: then the bound is booked.
pub(super) fn read(raw: Option<&RawValue>) -> Option<Usage> {
    let object = raw.map(RawValue::get).filter(|raw| raw.starts_with('{'))?;
    let reported: Reported<'_> = serde_json::from_str(object).ok()?;
    let zero = |count: Count| count.or(Some(0));
    let (mut hour, mut short): (u64, u64) = (0, 0);
    for one in &reported.cache_details {
        let tokens = zero(one.input_tokens)?;
        *(if one.ttl.as_deref() == Some("1h") { &mut hour } else { &mut short }) += tokens;
    }
    // What no detail speaks of was written for the shorter time.
    let short = short.max(zero(reported.cache_write_input_tokens)?.saturating_sub(hour));
    Some(Usage {
        input: reported.input_tokens.or(None)?,
        cache_read: zero(reported.cache_read_input_tokens)?,
        cache_write_5m: short,
        cache_write_1h: hour,
        output: reported.output_tokens.or(None)?,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn classes_are_disjoint() {
        let want = |input, cache_read, cache_write_5m, cache_write_1h, output| {
            Some(Usage { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: 0 })
        };
        for (json, expected) in [
            (r#"{"inputTokens":30,"outputTokens":10,"totalTokens":40}"#, want(30, 0, 0, 0, 10)),
            (
                r#"{"inputTokens":30,"outputTokens":10,"totalTokens":1240,"cacheReadInputTokens":7,"cacheWriteInputTokens":1200,"cacheDetails":[{"ttl":"1h","inputTokens":1200}]}"#,
                want(30, 7, 0, 1_200, 10),
            ),
            (r#"{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":5}"#, want(1, 0, 5, 0, 2)),
            (
                r#"{"inputTokens":1,"outputTokens":2,"cacheDetails":[{"ttl":"5m","inputTokens":4},{"inputTokens":3}]}"#,
                want(1, 0, 7, 0, 2),
            ),
            (r#"{"inputTokens":-1,"outputTokens":2}"#, None),
            (r#"{"inputTokens":1}"#, None),
            (r#"{"outputTokens":1}"#, None),
            (r#"{"inputTokens":1,"outputTokens":2,"cacheDetails":[{"inputTokens":1e400}]}"#, None),
            ("[1,2]", None),
            ("null", None),
        ] {
            let raw: Box<RawValue> =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(read(Some(&raw)), expected, "{json}");
        }
        assert_eq!(read(None), None);
    }
}
