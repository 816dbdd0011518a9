//! The paid endpoints: reads a request body, refuses what the API refuses, writes the answer. Sync calls and batch lines share it.

mod chat;
mod converse;
mod decisions;
mod embed;
mod embeddings;
mod generate;
mod images;
mod invoke;
mod logprobs;
mod messages;
mod moderations;
mod params;
pub(crate) mod prompt_cache;
mod responses;
#[cfg(test)]
mod testing;
mod text;

use crate::catalogue::{Catalogue, Kind, Lane, Model};
use crate::clock::VirtualMs;
use crate::config::SimConfig;
use crate::errors::{ApiError, invalid};
use crate::faults::{Fault, Hit};
use crate::tokens::Usage;
pub(crate) use text::Schemas;

/// A paid endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Responses,
    Embeddings,
    Moderations,
    Images,
    /// OpenAI's too, and no batch's.
    Decisions,
    /// Anthropic's.
    Messages,
    /// Gemini's, whose path names the model.
    Generate,
    /// The same for vectors.
    Embed,
    /// Vertex's for vectors of older models.
    Predict,
    /// Bedrock's, whose path names the model.
    Converse,
    /// The same for vectors, each maker's in its own words.
    Invoke,
    /// The same path for Claude, in the words of its own API.
    InvokeMessages,
}

impl Endpoint {
    /// OpenAI's that batches take.
    pub(crate) const ALL: [Self; 5] =
        [Self::Responses, Self::Chat, Self::Embeddings, Self::Moderations, Self::Images];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Moderations => "/v1/moderations",
            Self::Images => "/v1/images/generations",
            Self::Decisions => "/v1/decisions",
            Self::Messages => "/v1/messages",
            Self::Generate => "/v1beta/models/{model}:generateContent",
            Self::Embed => "/v1beta/models/{model}:batchEmbedContents",
            Self::Predict => "/v1/publishers/google/models/{model}:predict",
            Self::Converse => "/model/{model}/converse",
            Self::Invoke | Self::InvokeMessages => "/model/{model}/invoke",
        }
    }

    pub(crate) fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The same for calls.
    pub(crate) fn called(path: &str) -> Option<Self> {
        let decides = (path == Self::Decisions.path()).then_some(Self::Decisions);
        Self::from_path(path).or(decides)
    }

    /// Whether it is one of Google's, whose batches are operations.
    pub(crate) fn is_googles(self) -> bool {
        matches!(self, Self::Generate | Self::Embed)
    }

    /// Whether it is one of AWS's, whose batches are jobs.
    pub(crate) fn is_amazons(self) -> bool {
        matches!(self, Self::Converse | Self::Invoke | Self::InvokeMessages)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Chat
            | Self::Responses
            | Self::Messages
            | Self::Generate
            | Self::Converse
            | Self::InvokeMessages => Kind::Chat,
            Self::Embeddings | Self::Embed | Self::Predict | Self::Invoke => Kind::Embedding,
            Self::Moderations => Kind::Moderation,
            Self::Images => Kind::Image,
            Self::Decisions => Kind::Decision,
        }
    }
}

/// How an answer is spoilt on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Twist {
    #[default]
    None,
    Refusal,
    Empty,
    Length,
    BadJson,
    NoLogprobs,
    UsageMissing,
    UsageNull,
    /// The prompt's tokens in quotes.
    UsageText,
    /// What is written as the prompt's tokens.
    Tokens(&'static str),
}

impl Twist {
    /// The first of the faults of answers that strikes. `key` chooses among a fault's forms.
    pub(crate) fn of(struck: impl Fn(Fault) -> Option<Hit>, key: u64) -> Self {
        let plain = [
            (Fault::Refusal, Self::Refusal),
            (Fault::Empty, Self::Empty),
            (Fault::Cut, Self::Length),
            (Fault::BadJson, Self::BadJson),
            (Fault::NoLogprobs, Self::NoLogprobs),
        ];
        if let Some((_, twist)) = plain.into_iter().find(|(fault, _)| struck(*fault).is_some()) {
            return twist;
        }
        if let Some(hit) = struck(Fault::UsageNumbers) {
            return Self::Tokens(match hit.word_or(key) {
                "2^64" => "18446744073709551616",
                word => word,
            });
        }
        match struck(Fault::Usage).map(|hit| hit.word.unwrap_or("missing")) {
            None => Self::None,
            Some("null") => Self::UsageNull,
            Some("negative") => Self::Tokens("-5"),
            Some("string") => Self::UsageText,
            Some(_) => Self::UsageMissing,
        }
    }

    /// Appends the field of usage, or not; `write` appends its value.
    fn push_usage(self, out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self == Self::UsageMissing {
            return;
        }
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match self {
            Self::UsageNull => out.extend_from_slice(b"null"),
            _ => write(out),
        }
    }

    fn push_tokens(self, out: &mut Vec<u8>, tokens: u64) {
        match self {
            Self::Tokens(text) => out.extend_from_slice(text.as_bytes()),
            Self::UsageText => out.extend_from_slice(format!("\"{tokens}\"").as_bytes()),
            _ => crate::json::push_u64(out, tokens),
        }
    }
}

/// What an answer depends on besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'s> {
    pub(crate) config: &'s SimConfig,
    /// Whether a filter, and not the model, refuses.
    pub(crate) filters: bool,
    pub(crate) schemas: &'s Schemas,
    pub(crate) prompt_cache: &'s prompt_cache::PromptCache,
    /// Makes the ids.
    pub(crate) key: u64,
    /// Virtual time of the answer.
    pub(crate) at_ms: VirtualMs,
    pub(crate) twist: Twist,
    /// Real time until the answer begins: so long nobody reads what it writes to the prompt cache.
    pub(crate) wait: std::time::Duration,
}

#[derive(Debug)]
enum Parsed<'a> {
    Chat(text::TextCall<'a>),
    Responses(text::TextCall<'a>),
    Messages(messages::Call<'a>),
    Generate(generate::Call<'a>),
    Embed(embed::Call<'a>),
    Converse(converse::Call<'a>),
    Invoke(invoke::Call<'a>),
    Embeddings(embeddings::Request<'a>),
    Moderations(moderations::Request<'a>),
    Images(images::Request<'a>),
    Decisions(decisions::Request<'a>),
}

/// A request that was read and whose model is known.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    parsed: Parsed<'a>,
    pub(crate) model: &'a Model,
    /// The dated name that answers carry.
    pub(crate) served: String,
    pub(crate) lane: Lane,
}

/// What the validation of a batch looks at in a line.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    pub(crate) tokens: u64,
    /// Entries of an embeddings request.
    pub(crate) inputs: u64,
    pub(crate) stream: bool,
}

impl<'a> Parsed<'a> {
    fn read(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, ApiError> {
        Ok(match endpoint {
            Endpoint::Chat => Self::Chat(chat::read(body)?),
            Endpoint::Responses => Self::Responses(responses::read(body)?),
            Endpoint::Messages => Self::Messages(messages::read(body)?),
            Endpoint::Generate => Self::Generate(generate::read(body)?),
            Endpoint::Embed => Self::Embed(embed::read(body)?),
            Endpoint::Predict => Self::Embed(embed::read_instances(body)?),
            Endpoint::Converse => Self::Converse(converse::read(body)?),
            Endpoint::Invoke => Self::Invoke(invoke::read(body)?),
            Endpoint::InvokeMessages => Self::Messages(messages::read_hosted(body)?),
            Endpoint::Embeddings => Self::Embeddings(embeddings::Request::read(body)?),
            Endpoint::Moderations => Self::Moderations(moderations::Request::read(body)?),
            Endpoint::Images => Self::Images(images::Request::read(body)?),
            Endpoint::Decisions => Self::Decisions(decisions::Request::read(body)?),
        })
    }

    fn model(&self) -> &str {
        match self {
            Self::Chat(call) | Self::Responses(call) => &call.model,
            Self::Messages(call) => &call.text.model,
            Self::Generate(call) => &call.text.model,
            Self::Embed(call) => &call.model,
            Self::Converse(call) => &call.text.model,
            Self::Invoke(call) => &call.model,
            Self::Embeddings(request) => &request.model,
            Self::Moderations(request) => &request.model,
            Self::Images(request) => &request.model,
            Self::Decisions(request) => &request.model,
        }
    }

    fn prompt_tokens(&self) -> u64 {
        match self {
            Self::Chat(call) | Self::Responses(call) => call.prompt.tokens(),
            Self::Messages(call) => call.text.prompt.tokens(),
            Self::Generate(call) => call.text.prompt.tokens(),
            Self::Embed(call) => call.tokens(),
            Self::Converse(call) => call.text.prompt.tokens(),
            Self::Invoke(call) => call.tokens(),
            Self::Embeddings(request) => request.tokens(),
            Self::Moderations(request) => request.tokens(),
            Self::Images(request) => request.tokens(),
            Self::Decisions(request) => request.tokens(),
        }
    }
}

/// Counts a batch line's body; a body that cannot be read counts its bytes, and fails later, alone.
pub(crate) fn glance(endpoint: Endpoint, body: &[u8]) -> Glance {
    match Parsed::read(endpoint, body) {
        Ok(parsed) => Glance {
            tokens: parsed.prompt_tokens(),
            inputs: if let Parsed::Embeddings(request) = &parsed { request.inputs.len() as u64 } else { 1 },
            stream: matches!(&parsed, Parsed::Chat(call) | Parsed::Responses(call) if call.stream),
        },
        Err(_) => Glance { tokens: (body.len() as u64).div_ceil(4), inputs: 1, stream: false },
    }
}

/// Reads a body and finds its model. `batch` pins the lane; otherwise `service_tier` decides it. `named`: the model of a path.
pub(crate) fn prepare<'a>(
    models: &'a Catalogue,
    endpoint: Endpoint,
    named: Option<&'a str>,
    body: &'a [u8],
    batch: bool,
) -> Result<Prepared<'a>, ApiError> {
    let mut parsed = Parsed::read(endpoint, body)?;
    match (&mut parsed, named) {
        (Parsed::Chat(call), Some(named)) => call.model = named.into(),
        (Parsed::Generate(call), Some(named)) => call.text.model = named.into(),
        (Parsed::Embed(call), Some(named)) => call.model = named.into(),
        (Parsed::Converse(call), Some(named)) => call.text.model = named.into(),
        (Parsed::Invoke(call), Some(named)) => call.model = named.into(),
        (Parsed::Messages(call), Some(named)) if endpoint.is_amazons() => call.text.model = named.into(),
        _ => {}
    }
    let is_shaped = match &parsed {
        Parsed::Converse(call) => call.shaped || call.tools,
        Parsed::Messages(call) => endpoint.is_amazons() && (call.is_shaped() || call.has_tools),
        _ => false,
    };
    if batch && is_shaped {
        return Err(invalid("Tool use and structured output are not supported in batch inference."));
    }
    let name = parsed.model();
    if name.is_empty() {
        return Err(invalid("you must provide a model parameter"));
    }
    let (model, served, lane) = {
        let (model, served) = models.find_for(endpoint.kind(), name)?;
        if !batch && models.takes_only_batches(name) {
            let message = format!(
                "The chatCompletion operation does not work with the deployment '{name}', which is of type GlobalBatch."
            );
            return Err(ApiError::new(400, "invalid_request_error", Some("OperationNotSupported"), message));
        }
        if !model.serves(endpoint.kind()) {
            let message = format!("The model `{name}` cannot be used with {}.", endpoint.path());
            return Err(ApiError::new(404, "invalid_request_error", Some("model_not_found"), message));
        }
        (model.index, served.into_owned(), params::lane(&parsed, model, batch)?)
    };
    Ok(Prepared { parsed, model: &models.models[model], served, lane })
}

impl Prepared<'_> {
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.parsed.prompt_tokens()
    }

    /// What admission charges against the token limit: the prompt and the most that may come back.
    pub(crate) fn token_estimate(&self) -> u64 {
        let output = match &self.parsed {
            Parsed::Chat(call) | Parsed::Responses(call) => call.max_output.unwrap_or(16),
            Parsed::Messages(call) => call.text.max_output.unwrap_or(0),
            Parsed::Generate(call) => call.text.max_output.unwrap_or(0),
            Parsed::Converse(call) => call.text.max_output.unwrap_or(0),
            _ => 0,
        };
        self.prompt_tokens().saturating_add(output)
    }

    /// Appends the response body.
    pub(crate) fn answer(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Result<Usage, ApiError> {
        match &self.parsed {
            Parsed::Chat(call) => {
                let text = text::compose(call, self.model, context)?;
                chat::write(out, self, call, &text, context);
                Ok(text.usage)
            }
            Parsed::Responses(call) => {
                let text = text::compose(call, self.model, context)?;
                responses::write(out, self, call, &text, context);
                Ok(text.usage)
            }
            Parsed::Messages(call) => call.answer(self, context, out),
            Parsed::Generate(call) => call.answer(self, context, out),
            Parsed::Embed(call) => call.answer(self, context, out),
            Parsed::Converse(call) => call.answer(self, context, out),
            Parsed::Invoke(call) => call.answer(self, context, out),
            Parsed::Embeddings(request) => request.answer(&self.served, self.model, out),
            Parsed::Moderations(request) => Ok(request.answer(&self.served, context.key, out)),
            Parsed::Images(request) => Ok(request.answer(context, out)),
            Parsed::Decisions(request) => Ok(request.answer(&self.served, context, out)),
        }
    }

    fn tier(&self) -> &'static str {
        if self.lane == Lane::Flex { "flex" } else { "default" }
    }
}
