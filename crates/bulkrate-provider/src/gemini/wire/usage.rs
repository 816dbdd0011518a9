//! Usage as Gemini reports it: what was cached is a part of the prompt, what was thought is none of the answer. Zeros are left out.

use std::borrow::Cow;

use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::loose::{Count, LooseText};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported<'a> {
    #[serde(default)]
    prompt_token_count: Count,
    #[serde(default)]
    cached_content_token_count: Count,
    #[serde(default)]
    tool_use_prompt_token_count: Count,
    #[serde(default)]
    candidates_token_count: Count,
    #[serde(default)]
    thoughts_token_count: Count,
    #[serde(borrow, default)]
    service_tier: LooseText<'a>,
    /// The same in Vertex's word.
    #[serde(borrow, default)]
    traffic_type: LooseText<'a>,
}

/// What was used, and the tier that was billed. No usage where none is said, or one number of it is nonsense: then the bound is booked.
pub(super) fn read<'a>(raw: Option<&'a RawValue>) -> (Option<Usage>, Option<Cow<'a, str>>) {
    let object = raw.map(RawValue::get).filter(|raw| raw.starts_with('{'));
    let reported: Option<Reported<'a>> = object.and_then(|raw| serde_json::from_str(raw).ok());
    reported.map_or((None, None), |reported| (reported.usage(), reported.tier()))
}

impl<'a> Reported<'a> {
    fn usage(&self) -> Option<Usage> {
        let zero = |count: Count| count.or(Some(0));
        let (cached, thought) = (zero(self.cached_content_token_count)?, zero(self.thoughts_token_count)?);
        let fresh = self.prompt_token_count.or(None)?.checked_sub(cached)?;
        Some(Usage {
            input: fresh.checked_add(zero(self.tool_use_prompt_token_count)?)?,
            cache_read: cached,
            output: zero(self.candidates_token_count)?.checked_add(thought)?,
            reasoning: thought,
            ..Usage::default()
        })
    }

    /// In the word that everybody else has for the usual one.
    fn tier(self) -> Option<Cow<'a, str>> {
        let Some(tier) = self.service_tier.0 else {
            return self
                .traffic_type
                .0
                .map(|kind| Cow::Borrowed(if kind.ends_with("_FLEX") { "flex" } else { "default" }));
        };
        Some(if tier.eq_ignore_ascii_case("standard") { Cow::Borrowed("default") } else { tier })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn classes_are_disjoint() {
        let want = |input, cache_read, output, reasoning| {
            Some(Usage { input, cache_read, output, reasoning, ..Usage::default() })
        };
        for (json, expected) in [
            (
                r#"{"promptTokenCount":120,"cachedContentTokenCount":100,"candidatesTokenCount":11,"thoughtsTokenCount":829,"totalTokenCount":960}"#,
                want(20, 100, 840, 829),
            ),
            (
                r#"{"promptTokenCount":8,"toolUsePromptTokenCount":5,"candidatesTokenCount":2}"#,
                want(13, 0, 2, 0),
            ),
            // Nothing visible, or nothing at all.
            (r#"{"promptTokenCount":8,"thoughtsTokenCount":16,"totalTokenCount":24}"#, want(8, 0, 16, 16)),
            (r#"{"promptTokenCount":"8"}"#, want(8, 0, 0, 0)),
            (r#"{"promptTokenCount":8,"cachedContentTokenCount":9}"#, None),
            (r#"{"promptTokenCount":-1,"candidatesTokenCount":2}"#, None),
            (r#"{"promptTokenCount":8,"thoughtsTokenCount":1e400}"#, None),
            (r#"{"candidatesTokenCount":2}"#, None),
            ("{}", None),
            ("[8,1]", None),
            ("null", None),
        ] {
            let raw: Box<RawValue> =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(read(Some(&raw)).0, expected, "{json}");
        }
        assert_eq!(read(None), (None, None));
    }

    #[test]
    fn a_flex_call_that_ran_as_usual_says_so() {
        for (tier, want) in
            [("standard", Some("default")), ("STANDARD", Some("default")), ("flex", Some("flex")), ("", None)]
        {
            let raw: Box<RawValue> = serde_json::from_str(&format!(r#"{{"serviceTier":"{tier}"}}"#)).unwrap();
            assert_eq!(read(Some(&raw)).1.as_deref(), want, "{tier}");
        }
        for (kind, want) in [("ON_DEMAND", Some("default")), ("ON_DEMAND_FLEX", Some("flex")), ("", None)] {
            let raw: Box<RawValue> = serde_json::from_str(&format!(r#"{{"trafficType":"{kind}"}}"#)).unwrap();
            assert_eq!(read(Some(&raw)).1.as_deref(), want, "{kind}");
        }
    }
}
