//! What which generation of models refuses. The number in a model's name says which it is of.

use super::{Call, Thinking, invalid};
use crate::api::params::Effort;
use crate::catalogue::Model;
use crate::errors::ApiError;
use serde_json::{Map, Value};

const STOPS_MAX: usize = 5;

/// Whether a model is told to think by a number of tokens.
fn is_budgeted(id: &str) -> bool {
    id.starts_with("gemini-2.")
}

/// The effort that the request comes down to.
pub(super) fn check(call: &Call<'_>, model: &Model) -> Result<Effort, ApiError> {
    let (id, max) = (model.id.as_str(), call.text.max_output);
    if max.is_some_and(|max| max > model.output_max || max == 0) {
        return Err(invalid(format!(
            "Unable to submit request because it has a maxOutputTokens value of {} but the supported range is from 1 (inclusive) to {} (exclusive). Update the value and try again.",
            max.unwrap_or(0),
            model.output_max + 1
        )));
    }
    let prompt = call.text.prompt.tokens();
    if prompt > model.input_max {
        let input_max = model.input_max;
        return Err(invalid(format!(
            "The input token count ({prompt}) exceeds the maximum number of tokens allowed ({input_max})."
        )));
    }
    if call.candidates > 1 {
        return Err(invalid("Multiple candidates is not enabled for this model"));
    }
    if call.stops > STOPS_MAX {
        return Err(invalid(format!(
            "* GenerateContentRequest.generation_config.stop_sequences: at most {STOPS_MAX} are supported"
        )));
    }
    if call.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.temperature: must be in the range [0.0, 2.0]",
        ));
    }
    thinking(&call.thinking, id)
}

fn thinking(thinking: &Thinking, id: &str) -> Result<Effort, ApiError> {
    let (lite, pro) = (id.contains("flash-lite"), id.contains("-pro"));
    let (least, most) = match (lite, pro) {
        (true, _) => (512, 24_576),
        (_, true) => (128, 32_768),
        _ => (1, 24_576),
    };
    match thinking {
        // By themselves they think as they see fit, the least of them not at all.
        Thinking::Unsaid | Thinking::Budget(-1) => match (is_budgeted(id), lite) {
            (true, true) => Ok(Effort::None),
            (true, false) => Ok(Effort::Medium),
            (false, true) => Ok(Effort::Minimal),
            (false, false) => Ok(Effort::High),
        },
        Thinking::Budget(0) if pro || !is_budgeted(id) => {
            Err(invalid("Budget 0 is invalid. This model only works in thinking mode."))
        }
        Thinking::Budget(0) => Ok(Effort::None),
        Thinking::Budget(budget) if !(least..=most).contains(budget) => Err(invalid(format!(
            "The thinking budget {budget} is invalid. Please choose a value between {least} and {most}."
        ))),
        Thinking::Budget(budget) => Ok(match budget {
            ..512 => Effort::Minimal,
            512..4_096 => Effort::Low,
            4_096..16_384 => Effort::Medium,
            _ => Effort::High,
        }),
        Thinking::Level(_) if is_budgeted(id) => {
            Err(invalid("Thinking level is not supported for this model."))
        }
        Thinking::Level(level) => match level.to_ascii_uppercase().as_str() {
            "MINIMAL" if !id.contains("flash") => Err(invalid(
                "Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.",
            )),
            "MINIMAL" => Ok(Effort::Minimal),
            "LOW" => Ok(Effort::Low),
            "MEDIUM" => Ok(Effort::Medium),
            "HIGH" => Ok(Effort::High),
            _ => Err(invalid(format!(
                "Invalid value at 'generation_config.thinking_config.thinking_level' (type.googleapis.com/google.ai.generativelanguage.v1main.ThinkingConfig.ThinkingLevel), \"{level}\""
            ))),
        },
    }
}

/// A schema of OpenAPI's kind in the words of JSON Schema.
pub(super) fn json_schema(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(kind) = map.get("type").and_then(Value::as_str).map(str::to_ascii_lowercase) {
        let nullable = map.remove("nullable") == Some(Value::Bool(true));
        map.insert(
            "type".to_owned(),
            if nullable { vec![kind, "null".to_owned()].into() } else { kind.into() },
        );
    }
    map.remove("propertyOrdering");
    map.remove("property_ordering");
    let within = |map: &mut Map<String, Value>, name: &str| match map.get_mut(name) {
        Some(Value::Object(inner)) if name == "properties" => inner.values_mut().for_each(json_schema),
        Some(Value::Array(inner)) => inner.iter_mut().for_each(json_schema),
        Some(inner) => json_schema(inner),
        None => {}
    };
    ["properties", "items", "anyOf"].into_iter().for_each(|name| within(map, name));
}
