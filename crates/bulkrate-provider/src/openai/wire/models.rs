//! What models cannot take: data, by the start of the model's name.

use bulkrate_core::request::Reasoning;

/// When `temperature` and its like may differ from their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    Free,
    /// Only with `reasoning = "none"`.
    WithoutReasoning,
    Never,
}

/// A family of models with the same parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    prefix: &'static str,
    pub(super) sampling: Sampling,
    /// Stop sequences and penalties.
    pub(super) stops: bool,
    /// Whether the model reasons, so that `max_tokens` must be called `max_completion_tokens`.
    pub(super) reasons: bool,
    /// Whether reasoning can be switched off.
    pub(super) reasoning_off: bool,
}

const CLASSIC: Family =
    Family { prefix: "", sampling: Sampling::Free, stops: true, reasons: false, reasoning_off: true };

const fn reasoning(prefix: &'static str, sampling: Sampling, reasoning_off: bool) -> Family {
    Family { prefix, sampling, stops: false, reasons: true, reasoning_off }
}

/// Longer prefixes first.
const FAMILIES: &[Family] = &[
    reasoning("gpt-5.", Sampling::WithoutReasoning, true),
    reasoning("gpt-5", Sampling::Never, false),
    reasoning("gpt-6", Sampling::WithoutReasoning, true),
    reasoning("o1", Sampling::Never, false),
    reasoning("o3", Sampling::Never, false),
    reasoning("o4", Sampling::Never, false),
    CLASSIC,
];

/// The family of a model; `vendor/model` counts as `model`.
pub(super) fn family(model: &str) -> &'static Family {
    let name = model.rsplit('/').next().unwrap_or(model);
    FAMILIES.iter().find(|family| name.starts_with(family.prefix)).unwrap_or(&CLASSIC)
}

/// The provider's word for an effort.
pub(super) fn effort(reasoning: Reasoning) -> Option<&'static str> {
    Some(match reasoning {
        Reasoning::None => "none",
        Reasoning::Low => "low",
        Reasoning::Medium => "medium",
        Reasoning::High => "high",
        Reasoning::Tokens(_) => return None,
    })
}
