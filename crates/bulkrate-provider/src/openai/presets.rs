//! Services that speak OpenAI's language, one row each. A row is all there is of a service: no code knows any of their names.
//!
//! A row says what the service's documentation promises. What it does not promise is refused before anything is sent;
//! `provider_kwargs` goes out untouched for those who know better.

use bulkrate_core::request::{Kind, Reasoning};

use super::dialect::{Batches, Charges, Dialect, EFFORTS, OutputMax, Takes, Tiers};
use super::form::Form;
use super::{mistral, together, xai};
use crate::api::Unlisted;

/// Headers in which routers say what a call cost.
pub(super) const COST_HEADERS: &[&str] = &[FLUX_COST, MDB_COST];
const FLUX_COST: &str = "x-flux-cost-usd";
const MDB_COST: &str = "x-mdb-charged-usd";
/// The header in which a router says which model served a call.
pub(super) const FLUX_MODEL: &str = "x-flux-model";

const CHAT: &[Kind] = &[Kind::Chat];
const CHAT_AND_VECTORS: &[Kind] = &[Kind::Chat, Kind::Embedding];

/// A service in the cloud of which nothing special is known.
const CLOUD: Dialect = Dialect {
    name: "",
    base_url: None,
    key_env: "",
    keyless: false,
    headers: &[],
    key_header: None,
    deploys: false,
    batches: Batches::No,
    tiers: Tiers::Never,
    checks_models: false,
    has_responses: false,
    charges: Charges::Unsaid,
    served_header: None,
    unlisted: Unlisted::Priced,
    takes: Takes {
        kinds: CHAT,
        output_max: OutputMax::MaxTokens,
        top_k: false,
        penalties: true,
        seed: Some("seed"),
        images: true,
        addresses: true,
        documents: false,
        schema: true,
        efforts: &[],
        budget: None,
        base64_vectors: false,
        dimensions: false,
        logprobs: false,
    },
};

/// A server of one's own: no key, no price.
const LOCAL: Dialect = Dialect {
    keyless: true,
    unlisted: Unlisted::Free,
    takes: Takes { kinds: CHAT_AND_VECTORS, top_k: true, logprobs: true, ..CLOUD.takes },
    ..CLOUD
};

pub(crate) const VLLM: Dialect = Dialect {
    name: "vllm",
    base_url: Some("http://127.0.0.1:8000/v1"),
    key_env: "VLLM_API_KEY",
    takes: Takes {
        output_max: OutputMax::MaxCompletionTokens,
        efforts: EFFORTS,
        budget: Some(("thinking_token_budget", "", "")),
        base64_vectors: true,
        dimensions: true,
        ..LOCAL.takes
    },
    ..LOCAL
};

/// Open models at Google's Vertex AI, whose account signs its calls.
pub(crate) const VERTEX: Dialect = Dialect { name: "vertex", ..CLOUD };

/// Low, medium and high; reasoning cannot be switched off by this field.
const EFFORTS_ON: &[(Reasoning, &str, &str)] = EFFORTS.split_at(1).1;

pub const PRESETS: &[Dialect] = &[
    Dialect {
        name: "mistral",
        base_url: Some("https://api.mistral.ai/v1"),
        key_env: "MISTRAL_API_KEY",
        batches: Batches::Yes { items_max: 50_000, bytes_max: 500_000_000, form: &mistral::JOBS },
        takes: Takes { kinds: CHAT_AND_VECTORS, seed: Some("random_seed"), ..CLOUD.takes },
        ..CLOUD
    },
    // Its flex tier is no cheaper, so it is no lane.
    Dialect {
        name: "groq",
        base_url: Some("https://api.groq.com/openai/v1"),
        key_env: "GROQ_API_KEY",
        batches: Batches::Yes { items_max: 50_000, bytes_max: 100_000_000, form: &Form::OPENAI },
        takes: Takes { output_max: OutputMax::MaxCompletionTokens, efforts: EFFORTS, ..CLOUD.takes },
        ..CLOUD
    },
    Dialect {
        name: "together",
        base_url: Some("https://api.together.ai/v1"),
        key_env: "TOGETHER_API_KEY",
        batches: Batches::Yes { items_max: 50_000, bytes_max: 100_000_000, form: &together::JOBS },
        takes: Takes { kinds: CHAT_AND_VECTORS, top_k: true, efforts: EFFORTS_ON, ..CLOUD.takes },
        ..CLOUD
    },
    // A data set that goes up in one request has at most 150 MB.
    Dialect {
        name: "fireworks",
        base_url: Some("https://api.fireworks.ai/inference/v1"),
        key_env: "FIREWORKS_API_KEY",
        batches: Batches::Sets { items_max: 50_000, bytes_max: 100_000_000 },
        takes: Takes {
            kinds: CHAT_AND_VECTORS,
            top_k: true,
            efforts: EFFORTS,
            dimensions: true,
            logprobs: true,
            ..CLOUD.takes
        },
        ..CLOUD
    },
    Dialect {
        name: "xai",
        base_url: Some("https://api.x.ai/v1"),
        key_env: "XAI_API_KEY",
        batches: Batches::Yes { items_max: 50_000, bytes_max: 200_000_000, form: &xai::BATCHES },
        takes: Takes { efforts: EFFORTS, ..CLOUD.takes },
        ..CLOUD
    },
    Dialect {
        name: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        key_env: "OPENROUTER_API_KEY",
        headers: &[("x-title", "bulkrate")],
        batches: Batches::Inline { items_max: 5_000, bytes_max: 200_000_000 },
        charges: Charges::Body,
        unlisted: Unlisted::Reported,
        takes: Takes {
            top_k: true,
            documents: true,
            efforts: &[
                (Reasoning::None, "reasoning", "{\"effort\":\"none\"}"),
                (Reasoning::Low, "reasoning", "{\"effort\":\"low\"}"),
                (Reasoning::Medium, "reasoning", "{\"effort\":\"medium\"}"),
                (Reasoning::High, "reasoning", "{\"effort\":\"high\"}"),
            ],
            budget: Some(("reasoning", "{\"max_tokens\":", "}")),
            ..CLOUD.takes
        },
        ..CLOUD
    },
    Dialect {
        name: "doubleword",
        base_url: Some("https://api.doubleword.ai/v1"),
        key_env: "DOUBLEWORD_API_KEY",
        batches: Batches::Yes { items_max: 50_000, bytes_max: 200_000_000, form: &Form::OPENAI },
        takes: Takes {
            kinds: CHAT_AND_VECTORS,
            efforts: EFFORTS,
            base64_vectors: true,
            dimensions: true,
            ..CLOUD.takes
        },
        ..CLOUD
    },
    Dialect {
        name: "deepseek",
        base_url: Some("https://api.deepseek.com/v1"),
        key_env: "DEEPSEEK_API_KEY",
        takes: Takes {
            seed: None,
            images: false,
            schema: false,
            efforts: &[
                (Reasoning::None, "thinking", "{\"type\":\"disabled\"}"),
                (Reasoning::Low, "reasoning_effort", "\"low\""),
                (Reasoning::Medium, "reasoning_effort", "\"medium\""),
                (Reasoning::High, "reasoning_effort", "\"high\""),
            ],
            ..CLOUD.takes
        },
        ..CLOUD
    },
    Dialect {
        name: "fluxrouter",
        base_url: Some("https://api.fluxrouter.ai/v1"),
        key_env: "FLUXROUTER_API_KEY",
        charges: Charges::Headers(&[FLUX_COST]),
        served_header: Some(FLUX_MODEL),
        unlisted: Unlisted::Reported,
        ..CLOUD
    },
    Dialect {
        name: "modeldatabase",
        base_url: Some("https://modeldatabase.com/v1"),
        key_env: "MODELDATABASE_API_KEY",
        charges: Charges::Headers(&[MDB_COST]),
        unlisted: Unlisted::Reported,
        ..CLOUD
    },
    VLLM,
    Dialect {
        name: "sglang",
        base_url: Some("http://127.0.0.1:30000/v1"),
        key_env: "SGLANG_API_KEY",
        takes: Takes { efforts: EFFORTS_ON, dimensions: true, ..LOCAL.takes },
        ..LOCAL
    },
    Dialect {
        name: "llamacpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        key_env: "LLAMACPP_API_KEY",
        ..LOCAL
    },
    // Unknown fields are ignored in silence, so that `top_k` would be lost. An image's address is refused (`decodeImageURL` in its
    // `openai/openai.go`).
    Dialect {
        name: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        key_env: "OLLAMA_API_KEY",
        takes: Takes {
            top_k: false,
            addresses: false,
            efforts: EFFORTS,
            dimensions: true,
            logprobs: false,
            ..LOCAL.takes
        },
        ..LOCAL
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_and_apart() {
        for (at, row) in PRESETS.iter().enumerate() {
            assert!(!row.name.is_empty() && row.name.bytes().all(|byte| byte.is_ascii_lowercase()));
            assert!(row.key_env.ends_with("_API_KEY"), "{}", row.name);
            let base = row.base_url.unwrap_or("");
            assert!(base.starts_with(if row.keyless { "http://127.0.0.1:" } else { "https://" }), "{base}");
            assert!(base.ends_with("/v1"), "{base}");
            assert!(
                PRESETS[at + 1..].iter().all(|other| {
                    other.name != row.name && other.key_env != row.key_env && other.base_url != row.base_url
                }),
                "{}",
                row.name
            );
            // A price that is reported is what makes an unlisted model acceptable without one.
            assert_eq!(row.unlisted == Unlisted::Reported, row.charges != Charges::Unsaid, "{}", row.name);
        }
    }
}
