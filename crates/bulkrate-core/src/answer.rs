//! What a provider answered to one attempt, in one shape for all providers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::failure::FailureClass;
use crate::money::UsdNanos;
use crate::request::Blob;
use crate::usage::Usage;

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    Length,
    ContextExceeded,
    ToolCalls,
    ContentFilter,
    Malformed,
    Paused,
    Other,
}

impl Finish {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContextExceeded => "context_exceeded",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Malformed => "malformed",
            Self::Paused => "paused",
            Self::Other => "other",
        }
    }
}

/// What an answer holds.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// The visible text, which may be empty; `refusal` is the model's own refusal if it gave one.
    Text { text: Cow<'a, str>, refusal: Option<Cow<'a, str>>, tool_calls: Option<Cow<'a, RawValue>> },
    /// What was chosen, and the probability of each choice.
    Choice { choice: Cow<'a, str>, chances: Vec<Chance<'a>> },
    /// A vector: base64 of little-endian `f32`, or a JSON array of numbers.
    Embedding(Embedding<'a>),
    /// The provider's moderation result as JSON.
    Moderation(&'a RawValue),
    /// A picture, or where it lies.
    Image(Blob<'a>),
}

/// How likely one of the choices is.
#[derive(Debug, Clone, PartialEq)]
pub struct Chance<'a> {
    pub choice: Cow<'a, str>,
    pub probability: f64,
}

#[derive(Debug, Clone)]
pub enum Embedding<'a> {
    Base64(Cow<'a, str>),
    Numbers(&'a RawValue),
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    pub text: Cow<'a, str>,
    /// The natural logarithm of its probability.
    pub logprob: f64,
    /// Those that were likely in its place, itself mostly among them, with theirs.
    pub likely: Vec<(Cow<'a, str>, f64)>,
}

/// A paid answer, good or not: whether it is good is decided by `collect`.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    pub body: Body<'a>,
    pub finish: Finish,
    /// `None` where the provider reported none or nonsense: then the bound is booked.
    pub usage: Option<Usage>,
    /// The snapshot that served the request, where the provider names it.
    pub model: Option<Cow<'a, str>>,
    /// The service tier billed, where the provider names it.
    pub tier: Option<Cow<'a, str>>,
    /// What the provider says it charged, from a cost header or field.
    pub charged: Option<UsdNanos>,
    /// The tokens of the text with their log-probabilities, in their order; empty where none were asked for or none came.
    pub tokens: Vec<Token<'a>>,
}

/// An attempt that brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    pub message: String,
    /// The provider's own code or HTTP status, for people.
    pub provider_code: Option<String>,
    /// How long the provider asks to wait, in milliseconds.
    pub wait_ms: Option<u64>,
    /// Whether the provider may have run, and billed, the request all the same.
    pub maybe_paid: bool,
}

/// What one reply of a provider means.
#[derive(Debug, Clone)]
pub enum Reading<'a> {
    Answer(Box<Answer<'a>>),
    Failure(Failure),
}
