//! The services, one row each.

use super::azure::Azure;
use super::fireworks::{self, Fireworks};
use super::mistral::Mistral;
use super::openrouter::{self, OpenRouter};
use super::together::{self, Together};
use super::xai::Xai;
use super::{Charges, ErrorShape, Like, Sells, UsageShape};

/// Fields of a chat that OpenAI's language has and these services may have with it.
pub(super) const OPENAI_CHAT: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "service_tier",
    "stream",
    "user",
    "metadata",
];

const ALL_FORMATS: &[&str] = &["text", "json_object", "json_schema"];

const CLOUD: Like = Like {
    name: "",
    base: "/v1",
    sells: Sells::Named(&[], 0),
    batches: false,
    needs_key: true,
    own: &[],
    refuses: &["service_tier"],
    ignores_unknown: false,
    renames: &[],
    formats: ALL_FORMATS,
    kinds: &[],
    charges: Charges::Nowhere,
    served: None,
    usage: UsageShape::OpenAi,
    errors: ErrorShape::OpenAi,
    keep_alive: "",
    manners: None,
};

/// Servers that people run themselves: no key, no price; most ignore what they do not know.
const SERVER: Like = Like {
    sells: Sells::Named(&["served-model"], 0),
    needs_key: false,
    refuses: &[],
    ignores_unknown: true,
    kinds: &["embeddings"],
    usage: UsageShape::Bare,
    errors: ErrorShape::NumberedCode,
    ..CLOUD
};

pub(super) const ALL: &[Like] = &[
    Like {
        name: "azure",
        base: "",
        sells: Sells::Of("azure"),
        batches: true,
        refuses: &[],
        kinds: &["embeddings", "responses"],
        manners: Some(&Azure),
        ..CLOUD
    },
    Like {
        name: "mistral",
        sells: Sells::Of("mistral"),
        own: &["safe_prompt", "prompt_mode", "prompt_cache_key"],
        refuses: &["seed", "max_completion_tokens", "logit_bias", "service_tier", "logprobs", "top_logprobs"],
        renames: &[("random_seed", "seed")],
        kinds: &["embeddings"],
        usage: UsageShape::Bare,
        errors: ErrorShape::Flat,
        manners: Some(&Mistral),
        ..CLOUD
    },
    Like {
        name: "groq",
        base: "/openai/v1",
        sells: Sells::Of("groq"),
        batches: true,
        refuses: &["logit_bias", "logprobs", "top_logprobs"],
        usage: UsageShape::Timed,
        ..CLOUD
    },
    Like {
        name: "together",
        sells: Sells::Of("together"),
        own: together::OWN,
        kinds: &["embeddings"],
        usage: UsageShape::Bare,
        manners: Some(&Together),
        ..CLOUD
    },
    Like {
        name: "fireworks",
        base: "/inference/v1",
        sells: Sells::Of("fireworks"),
        own: fireworks::OWN,
        kinds: &["embeddings"],
        manners: Some(&Fireworks),
        ..CLOUD
    },
    Like {
        name: "xai",
        sells: Sells::Of("xai"),
        usage: UsageShape::ReasoningBeside,
        refuses: &["logit_bias", "service_tier"],
        manners: Some(&Xai),
        ..CLOUD
    },
    Like {
        name: "openrouter",
        base: "/api/v1",
        sells: Sells::Routed,
        own: openrouter::OWN,
        charges: Charges::Body,
        errors: ErrorShape::NumberedCode,
        keep_alive: "\n         \n",
        manners: Some(&OpenRouter),
        ..CLOUD
    },
    Like {
        name: "doubleword",
        sells: Sells::Named(&["Qwen/Qwen3-30B-A3B"], 1),
        batches: true,
        kinds: &["embeddings", "responses"],
        ..CLOUD
    },
    Like {
        name: "deepseek",
        sells: Sells::Of("deepseek"),
        own: &["thinking"],
        refuses: &["seed", "logit_bias", "service_tier", "n"],
        formats: &["text", "json_object"],
        usage: UsageShape::HitAndMiss,
        keep_alive: "\n\n\n",
        ..CLOUD
    },
    Like {
        name: "fluxrouter",
        sells: Sells::Named(&["flux-auto", "flux-fast"], 1),
        charges: Charges::Header("x-flux-cost-usd"),
        served: Some(("x-flux-model", "flux-small-2")),
        ..CLOUD
    },
    Like {
        name: "modeldatabase",
        sells: Sells::Routed,
        charges: Charges::Header("x-mdb-charged-usd"),
        ..CLOUD
    },
    Like { name: "vllm", ..SERVER },
    Like { name: "sglang", usage: UsageShape::FlatReasoning, errors: ErrorShape::Flat, ..SERVER },
    Like { name: "llamacpp", ..SERVER },
    Like { name: "ollama", errors: ErrorShape::OpenAi, ..SERVER },
];
