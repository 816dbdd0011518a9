//! In what one service of the family differs from the others, as data.

use bulkrate_core::request::{Kind, Reasoning};

use super::form::Form;
use crate::api::{Facts, Unlisted};

/// One service that speaks OpenAI's language.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    pub name: &'static str,
    pub base_url: Option<&'static str>,
    /// The environment variable that holds the key.
    pub key_env: &'static str,
    /// Whether calls without a key are answered: servers of one's own.
    pub keyless: bool,
    /// Headers of every call, besides the key's.
    pub headers: &'static [(&'static str, &'static str)],
    /// The header that carries the key as it is; `None`: `Authorization: Bearer`.
    pub key_header: Option<&'static str>,
    /// Whether models are called by the names of deployments, which their owner chose.
    pub deploys: bool,
    pub batches: Batches,
    pub tiers: Tiers,
    /// Whether model names mean OpenAI's models, so that their parameters can be checked before sending.
    pub checks_models: bool,
    /// Whether the user may choose the Responses API.
    pub has_responses: bool,
    pub charges: Charges,
    /// The header in which calls are told the model that answered, where the one that was asked chooses it.
    pub served_header: Option<&'static str>,
    /// What becomes of a model that the price catalogue does not list.
    pub unlisted: Unlisted,
    pub takes: Takes,
}

/// Whether there is a batch API, and of which form.
#[derive(Debug, Clone, Copy)]
pub enum Batches {
    No,
    /// `probe` finds out.
    Ask,
    /// So many items and bytes in one file.
    Yes {
        items_max: u32,
        bytes_max: u64,
        form: &'static Form,
    },
    /// The create carries the requests, and a look at the batch the results.
    Inline {
        items_max: u32,
        bytes_max: u64,
    },
    /// Jobs over data sets, beside the calls.
    Sets {
        items_max: u32,
        bytes_max: u64,
    },
}

impl Batches {
    /// Whether there is one, whatever a probe finds.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Yes { .. } | Self::Inline { .. } | Self::Sets { .. })
    }
}

/// Whether and when `service_tier` is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiers {
    Never,
    /// Only to ask for the flex lane: older versions of the API know no such field.
    Flex,
    /// Always, so that no setting at the provider chooses one.
    Always,
}

/// Where an answer says what it cost, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charges {
    /// Nowhere: the price table decides.
    Unsaid,
    /// In one of these headers.
    Headers(&'static [&'static str]),
    /// In `usage.cost`, which is asked for.
    Body,
}

/// What a request may hold, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    pub kinds: &'static [Kind],
    pub output_max: OutputMax,
    pub top_k: bool,
    pub penalties: bool,
    /// The name of the seed.
    pub seed: Option<&'static str>,
    pub images: bool,
    /// Whether it fetches images from their addresses itself.
    pub addresses: bool,
    pub documents: bool,
    /// Whether `response_format` takes a JSON Schema.
    pub schema: bool,
    /// Each effort with the field that says it and its value.
    pub efforts: &'static [(Reasoning, &'static str, &'static str)],
    /// Reasoning as a number of tokens: the field, and what stands around the number.
    pub budget: Option<(&'static str, &'static str, &'static str)>,
    /// Whether vectors may be asked for as base64, which is a third of the size.
    pub base64_vectors: bool,
    pub dimensions: bool,
    /// Whether chats tell the log-probabilities of their tokens.
    pub logprobs: bool,
}

/// What the output maximum is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMax {
    MaxTokens,
    MaxCompletionTokens,
    /// The latter for models whose name says that they reason.
    ByModel,
}

/// OpenAI's own words for efforts.
pub(super) const EFFORTS: &[(Reasoning, &str, &str)] = &[
    (Reasoning::None, "reasoning_effort", "\"none\""),
    (Reasoning::Low, "reasoning_effort", "\"low\""),
    (Reasoning::Medium, "reasoning_effort", "\"medium\""),
    (Reasoning::High, "reasoning_effort", "\"high\""),
];

pub(super) const ALL_KINDS: &[Kind] = &Kind::ALL;

impl Takes {
    /// Everything: whoever names a server of his own knows what it takes.
    pub(super) const ALL: Self = Self {
        kinds: ALL_KINDS,
        output_max: OutputMax::ByModel,
        top_k: true,
        penalties: true,
        seed: Some("seed"),
        images: true,
        addresses: true,
        documents: true,
        schema: true,
        efforts: EFFORTS,
        budget: Some(("thinking_token_budget", "", "")),
        base64_vectors: true,
        dimensions: true,
        logprobs: true,
    };
}

impl Dialect {
    pub const OPENAI: Self = Self {
        name: "openai",
        base_url: Some("https://api.openai.com/v1"),
        key_env: "OPENAI_API_KEY",
        keyless: false,
        headers: &[],
        key_header: None,
        deploys: false,
        batches: Batches::Yes { items_max: 50_000, bytes_max: 200_000_000, form: &Form::OPENAI },
        tiers: Tiers::Always,
        checks_models: true,
        has_responses: true,
        charges: Charges::Headers(super::presets::COST_HEADERS),
        served_header: None,
        unlisted: Unlisted::Refused,
        takes: Takes { output_max: OutputMax::MaxCompletionTokens, ..Takes::ALL },
    };
    pub const COMPATIBLE: Self = Self {
        name: "openai-compatible",
        base_url: None,
        keyless: true,
        batches: Batches::Ask,
        tiers: Tiers::Never,
        checks_models: false,
        served_header: Some(super::presets::FLUX_MODEL),
        unlisted: Unlisted::Reported,
        takes: Takes::ALL,
        ..Self::OPENAI
    };
    pub const CUSTOM: Self = Self { name: "custom", ..Self::COMPATIBLE };

    /// Of its batches, if it has any.
    pub(super) fn form(&self) -> &'static Form {
        match self.batches {
            Batches::Yes { form, .. } => form,
            Batches::No | Batches::Ask | Batches::Inline { .. } | Batches::Sets { .. } => &Form::OPENAI,
        }
    }

    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            flex: self.tiers != Tiers::Never,
            unlisted: self.unlisted,
            needs_key: !self.keyless,
            caches_unmarked: true,
        }
    }
}
