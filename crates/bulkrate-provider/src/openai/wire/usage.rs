//! Usage and cost as the OpenAI family reports them, in our disjoint classes.

use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::loose::Count;

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

#[derive(Debug, Deserialize)]
struct Reported {
    // Chat, embeddings.
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default, deserialize_with = "object")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "object")]
    completion_tokens_details: Option<Details>,
    /// DeepSeek.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
    /// SGLang.
    #[serde(default)]
    reasoning_tokens: Count,
    // Responses.
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default, deserialize_with = "object")]
    input_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "object")]
    output_tokens_details: Option<Details>,
    /// All there is in some embedding answers. Elsewhere it counts what `completion_tokens` may leave out.
    #[serde(default)]
    total_tokens: Count,
}

/// Details where there are any. An array would be read as a list of the fields: it is nonsense instead.
fn object<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Details>, D::Error> {
    use serde::de::Error;
    match Option::<&'de RawValue>::deserialize(from)? {
        None => Ok(None),
        Some(raw) if raw.get().starts_with('{') => {
            serde_json::from_str(raw.get()).map(Some).map_err(Error::custom)
        }
        Some(_) => Err(Error::custom("not an object")),
    }
}

/// What an answer must report to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Prompt and output.
    Both,
    /// The prompt only.
    Prompt,
}

/// `None` where there is no usage, or one number of it is nonsense: then the bound is booked.
pub(super) fn read(raw: Option<&RawValue>, needs: Needs) -> Option<Usage> {
    let raw = raw?.get();
    if !raw.starts_with('{') {
        return None;
    }
    let reported: Reported = serde_json::from_str(raw).ok()?;
    let input_details = reported.prompt_tokens_details.or(reported.input_tokens_details).unwrap_or_default();
    let output_details =
        reported.completion_tokens_details.or(reported.output_tokens_details).unwrap_or_default();
    let pick = |chat: Count, responses: Count| if chat == Count::Absent { responses } else { chat };
    let total = reported.total_tokens.or(None);
    let prompt = pick(reported.prompt_tokens, reported.input_tokens);
    let prompt = prompt.or(if needs == Needs::Prompt { total } else { None })?;
    let output =
        pick(reported.completion_tokens, reported.output_tokens).or((needs == Needs::Prompt).then_some(0))?;
    // xAI bills reasoning beside `completion_tokens`: the total counts both.
    let beside = total.filter(|_| needs == Needs::Both).map_or(0, |total| total.saturating_sub(prompt));
    let output = output.max(beside);
    let cached = pick(input_details.cached_tokens, reported.prompt_cache_hit_tokens).or(Some(0))?;
    let written = input_details.cache_write_tokens.or(Some(0))?;
    let reasoning = pick(output_details.reasoning_tokens, reported.reasoning_tokens).or(Some(0))?;
    Some(Usage {
        input: prompt.saturating_sub(cached).saturating_sub(written),
        cache_read: cached,
        cache_write_5m: written,
        cache_write_1h: 0,
        output,
        reasoning: reasoning.min(output),
    })
}

/// The cost a header names; one that cannot be read says nothing.
pub(super) fn charged_by_header(headers: &HeaderMap, own: Option<&str>, usual: &[&str]) -> Option<UsdNanos> {
    if headers.is_empty() {
        return None;
    }
    // Of two values for one call the dearer counts.
    let dearest =
        |name| headers.get_all(name).iter().filter_map(|value| decimal_usd(value.to_str().ok()?)).max();
    own.into_iter().chain(usual.iter().copied()).find_map(dearest)
}

#[derive(Deserialize)]
struct Cost<'a> {
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

/// `usage.cost` in US dollars, as OpenRouter reports it.
pub(super) fn charged_by_body(usage: Option<&RawValue>) -> Option<UsdNanos> {
    let cost: Cost<'_> = serde_json::from_str(usage?.get()).ok()?;
    decimal_usd(cost.cost?.get().trim_matches('"'))
}

/// Decimal text, with or without an exponent, to nano-dollars; smaller parts round up. No floats, no negative sums.
pub(super) fn decimal_usd(text: &str) -> Option<UsdNanos> {
    let text = text.trim().trim_start_matches('$');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || digits > 30 || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let number: u128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let nanos = if shift >= 0 {
        number.checked_mul(10_u128.checked_pow(u32::try_from(shift).ok()?)?)?
    } else {
        // Beyond 38 digits the divisor does not fit: what is left of any number is one rounded-up nano, or nothing.
        let divisor = 10_u128.checked_pow(shift.unsigned_abs()).unwrap_or(u128::MAX);
        number.div_ceil(divisor)
    };
    i64::try_from(nanos).ok().map(UsdNanos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn usage(json: &str, needs: Needs) -> Option<Usage> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        read(Some(&raw), needs)
    }

    #[test]
    fn classes_are_disjoint() {
        let want = |input, cache_read, cache_write_5m, output, reasoning| {
            Some(Usage { input, cache_read, cache_write_5m, cache_write_1h: 0, output, reasoning })
        };
        for (json, needs, expected) in [
            (
                r#"{"prompt_tokens":21,"completion_tokens":2,"total_tokens":23}"#,
                Needs::Both,
                want(21, 0, 0, 2, 0),
            ),
            (
                r#"{"prompt_tokens":1280,"completion_tokens":90,"prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":100},"completion_tokens_details":{"reasoning_tokens":64}}"#,
                Needs::Both,
                want(156, 1024, 100, 90, 64),
            ),
            (
                r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":null}}"#,
                Needs::Both,
                want(6, 4, 0, 5, 0),
            ),
            (r#"{"prompt_tokens":"7","completion_tokens":3.0}"#, Needs::Both, want(7, 0, 0, 3, 0)),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_cache_hit_tokens":5,"reasoning_tokens":9}"#,
                Needs::Both,
                want(2, 5, 0, 3, 3),
            ),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":9}}"#,
                Needs::Both,
                want(0, 9, 0, 3, 0),
            ),
            // Reasoning beside the completion (xAI); a total that is less, or nonsense, says nothing.
            (
                r#"{"prompt_tokens":198,"completion_tokens":1,"total_tokens":317,"completion_tokens_details":{"reasoning_tokens":118}}"#,
                Needs::Both,
                want(198, 0, 0, 119, 118),
            ),
            (r#"{"input_tokens":7,"output_tokens":3,"total_tokens":12}"#, Needs::Both, want(7, 0, 0, 5, 0)),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":2}"#,
                Needs::Both,
                want(7, 0, 0, 3, 0),
            ),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":-2}"#,
                Needs::Both,
                want(7, 0, 0, 3, 0),
            ),
            (r#"{"prompt_tokens":7,"total_tokens":7}"#, Needs::Prompt, want(7, 0, 0, 0, 0)),
            (r#"{"prompt_tokens":7,"total_tokens":9}"#, Needs::Prompt, want(7, 0, 0, 0, 0)),
            (r#"{"total_tokens":7}"#, Needs::Prompt, want(7, 0, 0, 0, 0)),
            (r#"{"prompt_tokens":7}"#, Needs::Both, None),
            // A list is not read as the fields in their order.
            ("[1,2]", Needs::Both, None),
            (r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":[5]}"#, Needs::Both, None),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":null}"#,
                Needs::Both,
                want(7, 0, 0, 3, 0),
            ),
            (r#"{"prompt_tokens":-7,"completion_tokens":3}"#, Needs::Both, None),
            (r#"{"prompt_tokens":7.5,"completion_tokens":3}"#, Needs::Both, None),
            (r#"{"prompt_tokens":"many","completion_tokens":3}"#, Needs::Both, None),
            (r#"{"prompt_tokens":1e300,"completion_tokens":3}"#, Needs::Both, None),
            (r#"{"prompt_tokens":{},"completion_tokens":3}"#, Needs::Both, None),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":-1}}"#,
                Needs::Both,
                None,
            ),
            ("{}", Needs::Prompt, None),
            ("[]", Needs::Both, None),
            ("null", Needs::Both, None),
        ] {
            assert_eq!(usage(json, needs), expected, "{json}");
        }
    }

    #[test]
    fn costs_are_read_without_floats() {
        for (text, nanos) in [
            ("0.0003", Some(300_000)),
            ("1", Some(1_000_000_000)),
            ("$0.25", Some(250_000_000)),
            ("1.4e-05", Some(14_000)),
            ("1E3", Some(1_000_000_000_000)),
            ("0.0000000001", Some(1)), // rounded up
            ("0", Some(0)),
            ("1e-60", Some(1)),
            ("", None),
            ("-1", None),
            (".", None),
            ("free", None),
            ("1e99", None),
            ("NaN", None),
        ] {
            assert_eq!(decimal_usd(text).map(|cost| cost.0), nanos, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC{0,40}") {
            let _ = decimal_usd(&text);
        }

        #[test]
        fn a_printed_cost_is_read(nanos in 0_i64..i64::MAX) {
            prop_assert_eq!(decimal_usd(&UsdNanos(nanos).to_string()), Some(UsdNanos(nanos)));
        }
    }
}
