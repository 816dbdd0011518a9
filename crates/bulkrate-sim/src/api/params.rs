//! Parameter rules: types, ranges, and which reasoning model refuses what.

use super::Parsed;
use super::text::TextCall;
use crate::catalogue::{Family, Lane, Model};
use crate::errors::ApiError;
use crate::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The lane a request is billed in.
pub(crate) fn lane(parsed: &Parsed<'_>, model: &Model, batch: bool) -> Result<Lane, ApiError> {
    if batch {
        return Ok(Lane::Batch);
    }
    let tier = match parsed {
        Parsed::Chat(call) | Parsed::Responses(call) => call.tier.as_ref(),
        Parsed::Generate(call) => call.text.tier.as_ref(),
        Parsed::Converse(call) => call.text.tier.as_ref(),
        _ => "auto",
    };
    match tier {
        "auto" | "default" => Ok(Lane::Sync),
        "flex" if model.tariff.rates(Lane::Flex).is_some() => Ok(Lane::Flex),
        "flex" | "priority" | "scale" | "fast" => Err(ApiError::invalid(
            None,
            "service_tier",
            format!("Invalid service_tier argument: '{tier}' is not available for this model."),
        )),
        other => Err(ApiError::invalid(
            Some("invalid_value"),
            "service_tier",
            format!(
                "Invalid value: '{other}'. Supported values are: 'auto', 'default', 'flex', and 'priority'."
            ),
        )),
    }
}

pub(crate) fn string<'a>(name: &str, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, ApiError> {
    raw.map(|raw| json::text(raw).ok_or_else(|| ApiError::bad_type(name, "a string", raw.get()))).transpose()
}

pub(crate) fn boolean(name: &str, raw: Option<&RawValue>) -> Result<bool, ApiError> {
    match raw.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ApiError::bad_type(name, "a boolean", other)),
    }
}

pub(crate) fn decimal(
    name: &str,
    raw: Option<&RawValue>,
    low: f64,
    high: f64,
) -> Result<Option<f64>, ApiError> {
    let Some(raw) = raw else { return Ok(None) };
    let value: f64 =
        raw.get().parse().map_err(|_| ApiError::bad_type(name, "a decimal number", raw.get()))?;
    if value < low || value > high {
        let (code, bound, side) = if value < low {
            ("decimal_below_min_value", low, ">=")
        } else {
            ("decimal_above_max_value", high, "<=")
        };
        let message = format!(
            "Invalid '{name}': decimal out of range. Expected a value {side} {bound}, but got {value} instead."
        );
        return Err(ApiError::invalid(Some(code), name, message));
    }
    Ok(Some(value))
}

pub(crate) fn integer(name: &str, raw: Option<&RawValue>, least: u64) -> Result<Option<u64>, ApiError> {
    let Some(raw) = raw else { return Ok(None) };
    let value: i64 = raw.get().parse().map_err(|_| ApiError::bad_type(name, "an integer", raw.get()))?;
    match u64::try_from(value) {
        Ok(value) if value >= least => Ok(Some(value)),
        _ => {
            let message = format!(
                "Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
            );
            Err(ApiError::invalid(Some("integer_below_min_value"), name, message))
        }
    }
}

/// Reasoning effort after defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Max,
}

impl Effort {
    /// Tokens thought before the visible answer.
    pub(crate) fn tokens(self) -> u64 {
        match self {
            Self::None | Self::Minimal => 0,
            Self::Low => 64,
            Self::Medium => 256,
            Self::High => 1_024,
            Self::Max => 2_048,
        }
    }
}

pub(crate) fn effort(call: &TextCall<'_>, model: &Model) -> Result<Effort, ApiError> {
    let name = call.effort_name;
    let Some(asked) = call.effort.as_deref() else {
        return Ok(match model.family {
            Family::Classic | Family::Current | Family::Open => Effort::None,
            Family::OSeries | Family::Gpt5 => Effort::Medium,
        });
    };
    let allowed: &[&str] = match model.family {
        Family::Classic => return Err(unsupported_parameter(name)),
        Family::OSeries => &["low", "medium", "high"],
        Family::Gpt5 => &["minimal", "low", "medium", "high"],
        Family::Current | Family::Open => &["none", "low", "medium", "high", "xhigh", "max"],
    };
    if !allowed.contains(&asked) {
        let list = allowed.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
        let message = format!(
            "Unsupported value: '{name}' does not support '{asked}' with this model. Supported values are: {list}."
        );
        return Err(ApiError::invalid(Some("unsupported_value"), name, message));
    }
    Ok(match asked {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        _ => Effort::Max,
    })
}

/// The matrix of what reasoning models refuse.
pub(crate) fn check(call: &TextCall<'_>, model: &Model) -> Result<Effort, ApiError> {
    let effort = effort(call, model)?;
    if call.n > 1 {
        return Err(ApiError::invalid(
            Some("unsupported_value"),
            "n",
            "Unsupported value: 'n' does not support more than 1 here.",
        ));
    }
    if call.stream {
        return Err(ApiError::invalid(
            Some("unsupported_value"),
            "stream",
            "Unsupported value: 'stream' is not simulated.",
        ));
    }
    if call.max_output.is_some_and(|max| max > model.output_max) {
        let message = format!(
            "{} is too large: {}. This model supports at most {} completion tokens.",
            call.max_name,
            call.max_output.unwrap_or(0),
            model.output_max
        );
        return Err(ApiError::invalid(Some("invalid_value"), call.max_name, message));
    }
    if call.top_logprobs > 20 {
        let message = "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20.";
        return Err(ApiError::invalid(Some("integer_above_max_value"), "top_logprobs", message));
    }
    if call.top_logprobs > 0 && !call.logprobs {
        let message = "Invalid 'top_logprobs': it is only allowed when 'logprobs' is enabled.";
        return Err(ApiError::invalid(Some("invalid_value"), "top_logprobs", message));
    }
    if matches!(model.family, Family::Classic | Family::Open) {
        return Ok(effort);
    }
    if call.max_name == "max_tokens" && call.max_output.is_some() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(ApiError::invalid(Some("unsupported_parameter"), "max_tokens", message));
    }
    let sampling = model.family == Family::Current && effort == Effort::None;
    for (name, value) in [("temperature", call.temperature), ("top_p", call.top_p)] {
        if let Some(value) = value.filter(|value| !sampling && (value - 1.0).abs() > f64::EPSILON) {
            let message = format!(
                "Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value is supported."
            );
            return Err(ApiError::invalid(Some("unsupported_value"), name, message));
        }
    }
    if call.logprobs && !sampling {
        return Err(unsupported_parameter("logprobs"));
    }
    call.refused_by_reasoning.map_or(Ok(effort), |name| Err(unsupported_parameter(name)))
}

fn unsupported_parameter(name: &str) -> ApiError {
    ApiError::invalid(
        Some("unsupported_parameter"),
        name,
        format!("Unsupported parameter: '{name}' is not supported with this model."),
    )
}
