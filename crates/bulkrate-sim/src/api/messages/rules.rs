//! What which generation of models refuses. The number in a model's name says which it is of.

use super::{Call, Thinking, invalid};
use crate::catalogue::Model;
use crate::errors::ApiError;
use serde_json::Value;
use serde_json::value::RawValue;

/// `claude-haiku-4-5-20251001` is 4.5, `claude-opus-5` is 5.0.
pub(in crate::api) fn generation(id: &str) -> (u32, u32) {
    let mut numbers = id.split('-').skip(2).map(|part| part.parse::<u32>().ok().filter(|_| part.len() <= 2));
    let major = numbers.next().flatten().unwrap_or(u32::MAX);
    (major, numbers.next().flatten().unwrap_or(0))
}

/// What its maker calls a model that somebody else sells: `us.anthropic.claude-haiku-4-5-20251001-v1:0`.
pub(super) fn own_name(id: &str) -> &str {
    let Some((_, name)) = id.split_once("anthropic.") else { return id };
    name.split_once("-v").map_or(name, |(name, _)| name)
}

/// Marked prefixes of fewer tokens are passed over in silence.
pub(in crate::api) fn cached_from(id: &str) -> u64 {
    match generation(id) {
        (5.., 1..) => 512,
        (5, 0) if id.starts_with("claude-sonnet-") => 1_024,
        (5.., _) => 512,
        (4, 8) => 1_024,
        (4, 7) => 2_048,
        (4, 5 | 6) if id.starts_with("claude-sonnet-") => 1_024,
        _ => 4_096,
    }
}

pub(super) fn check(call: &Call<'_>, model: &Model) -> Result<(), ApiError> {
    let id = own_name(&model.id);
    let generation = generation(id);
    let max = call.text.max_output.unwrap_or(0);
    if max > model.output_max {
        return Err(invalid(format!(
            "max_tokens: {max} > {}, which is the maximum allowed number of output tokens for {id}",
            model.output_max
        )));
    }
    let prompt = call.text.prompt.tokens();
    if prompt > model.input_max {
        return Err(invalid(format!("prompt is too long: {prompt} tokens > {} maximum", model.input_max)));
    }
    if call.prefills && generation >= (4, 6) {
        return Err(invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    sampling(call, generation)?;
    let efforts = generation >= (4, 6) || id.starts_with("claude-opus-4-5");
    if call.effort.is_some() && !efforts {
        return Err(invalid("This model does not support the effort parameter."));
    }
    if call
        .effort
        .as_deref()
        .is_some_and(|effort| !["low", "medium", "high", "xhigh", "max"].contains(&effort))
    {
        return Err(invalid(
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ));
    }
    let always = id.starts_with("claude-fable-") || id.starts_with("claude-mythos-");
    let refused = match call.thinking {
        Thinking::Unsaid => false,
        Thinking::Disabled => always,
        Thinking::Adaptive => generation < (4, 6),
        Thinking::Enabled { .. } => generation >= (4, 7),
    };
    if refused {
        return Err(invalid(format!("thinking: Input tag is not supported by {id}")));
    }
    Ok(())
}

fn sampling(call: &Call<'_>, generation: (u32, u32)) -> Result<(), ApiError> {
    let Some((name, _)) = call.samples.first() else { return Ok(()) };
    if generation >= (4, 7) {
        return Err(invalid(format!("`{name}` is deprecated for this model.")));
    }
    if matches!(call.thinking, Thinking::Adaptive | Thinking::Enabled { .. }) {
        return Err(invalid(format!("`{name}` may only be set to 1 when thinking is enabled.")));
    }
    let given = |wanted: &str| call.samples.iter().any(|(name, _)| *name == wanted);
    if given("temperature") && given("top_p") {
        return Err(invalid("`temperature` and `top_p` cannot both be specified for this model."));
    }
    Ok(())
}

/// Keywords that constrained decoding does not know.
const UNKNOWN: &[&str] = &[
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "oneOf",
    "not",
    "patternProperties",
];

/// The part of JSON Schema that is taken.
pub(super) fn schema(raw: &RawValue) -> Result<(), ApiError> {
    let schema: Value = serde_json::from_str(raw.get())
        .map_err(|_| invalid("output_config.format.schema: Input should be an object"))?;
    walk(&schema).map_err(|why| invalid(format!("output_config.format.schema: {why}")))
}

fn walk(schema: &Value) -> Result<(), String> {
    let Some(map) = schema.as_object() else { return Ok(()) };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if let Some(keyword) = UNKNOWN.iter().find(|keyword| map.contains_key(**keyword)) {
        return Err(format!("For '{kind}' type, property '{keyword}' is not supported"));
    }
    if map.get("minItems").is_some_and(|least| least.as_u64().is_none_or(|least| least > 1)) {
        return Err("For 'array' type, 'minItems' values other than 0 or 1 are not supported".to_owned());
    }
    if kind == "object" && map.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    for keyword in ["properties", "$defs", "definitions"] {
        map.get(keyword)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.values())
            .try_for_each(walk)?;
    }
    for keyword in ["anyOf", "allOf"] {
        map.get(keyword).and_then(Value::as_array).into_iter().flatten().try_for_each(walk)?;
    }
    map.get("items").map_or(Ok(()), walk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations() {
        for (id, want) in [
            ("claude-haiku-4-5-20251001", (4, 5)),
            ("claude-opus-5", (5, 0)),
            ("claude-opus-4-20250514", (4, 0)),
            ("claude-sonnet-5-5", (5, 5)),
            ("any", (u32::MAX, 0)),
        ] {
            assert_eq!(generation(id), want, "{id}");
        }
    }
}
