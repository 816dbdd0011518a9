//! What a model refuses: by its maker, and of Claude by its generation.

use super::{Call, invalid};
use crate::api::messages::{self, generation};
use crate::api::params::Effort;
use crate::catalogue::Model;
use crate::errors::ApiError;

/// Marked prefixes of fewer tokens are passed over in silence; `None`: the model keeps nothing.
pub(super) fn cached_from(id: &str) -> Option<u64> {
    match id.split_once("anthropic.") {
        Some((_, claude)) => Some(messages::cached_from(claude)),
        None => id.contains("amazon.nova").then_some(1_000),
    }
}

/// Marks that the model does not take.
fn check_marks(call: &Call<'_>, model: &Model) -> Result<(), ApiError> {
    if call.breakpoints.is_empty() {
        return Ok(());
    }
    if cached_from(&model.id).is_none() {
        return Err(invalid(
            "You invoked an unsupported model or your request did not allow prompt caching.",
        ));
    }
    if !model.id.contains("anthropic.") && call.breakpoints.iter().any(|point| point.hour) {
        return Err(invalid("This model doesn't support the ttl field of cachePoint."));
    }
    match call.breakpoints.len() {
        0..=4 => Ok(()),
        found => {
            Err(invalid(format!("A maximum of 4 blocks with cachePoint may be provided. Found {found}.")))
        }
    }
}

/// The effort that the request comes down to.
pub(super) fn check(call: &Call<'_>, model: &Model) -> Result<Effort, ApiError> {
    check_marks(call, model)?;
    let max = call.text.max_output;
    if max.is_some_and(|max| max == 0 || max > model.output_max) {
        return Err(invalid(format!(
            "The maximum tokens you requested exceeds the model limit of {}. Try again with a maximum tokens value that is lower than {}.",
            model.output_max, model.output_max
        )));
    }
    if call.text.prompt.tokens() > model.input_max {
        return Err(invalid("Input is too long for requested model."));
    }
    for (name, value) in [("temperature", call.temperature), ("topP", call.top_p)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            let value = value.unwrap_or_default();
            return Err(invalid(format!(
                "1 validation error detected: Value '{value}' at 'inferenceConfig.{name}' failed to satisfy constraint: Member must have value less than or equal to 1"
            )));
        }
    }
    match model.id.split_once("anthropic.") {
        Some((_, claude)) => of_claude(call, generation(claude)),
        None => of_others(call, &model.id),
    }
}

fn of_claude(call: &Call<'_>, generation: (u32, u32)) -> Result<Effort, ApiError> {
    if let Some(name) =
        call.extras.keys().find(|name| !["thinking", "top_k", "anthropic_beta"].contains(&name.as_str()))
    {
        return Err(invalid(format!(
            "The model returned the following errors: {name}: Extra inputs are not permitted"
        )));
    }
    let kind = call.extras.get("thinking").and_then(|thinking| thinking["type"].as_str());
    let samples = call.temperature.is_some() || call.top_p.is_some() || call.extras.contains_key("top_k");
    if samples && generation >= (4, 7) {
        return Err(invalid(
            "The model returned the following errors: `temperature` is deprecated for this model.",
        ));
    }
    if samples && matches!(kind, Some("enabled" | "adaptive")) {
        return Err(invalid(
            "The model returned the following errors: `temperature` may only be set to 1 when thinking is enabled.",
        ));
    }
    if call.prefills && generation >= (4, 6) {
        return Err(invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let refused = match kind {
        Some("enabled") => generation >= (4, 7),
        Some("adaptive") => generation < (4, 6),
        _ => false,
    };
    if refused || call.effort.is_some() && generation < (4, 6) {
        return Err(invalid(
            "The model returned the following errors: thinking: Input tag is not supported by this model",
        ));
    }
    let budget = call.extras.get("thinking").and_then(|thinking| thinking["budget_tokens"].as_u64());
    if budget.is_some_and(|budget| budget < 1_024 || call.text.max_output.is_some_and(|max| budget >= max)) {
        return Err(invalid(
            "The model returned the following errors: `max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024.",
        ));
    }
    Ok(match (kind, call.effort.as_deref()) {
        (Some("enabled"), _) | (_, Some("low")) => Effort::Low,
        (_, Some("medium")) => Effort::Medium,
        (_, Some(_)) => Effort::High,
        (Some("adaptive"), None) => Effort::Medium,
        _ => Effort::None,
    })
}

fn of_others(call: &Call<'_>, id: &str) -> Result<Effort, ApiError> {
    let known: &[&str] = if id.contains("amazon.nova") {
        &["inferenceConfig", "reasoningConfig"]
    } else {
        &["reasoning_effort", "top_k"]
    };
    if let Some(name) = call.extras.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid(format!(
            "Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input and try again."
        )));
    }
    if call.effort.is_some() {
        return Err(invalid(
            "This model doesn't support the outputConfig.effort field. Remove it and try again.",
        ));
    }
    if call.prefills {
        return Err(invalid("This model requires that the conversation ends with a user message."));
    }
    Ok(Effort::None)
}
