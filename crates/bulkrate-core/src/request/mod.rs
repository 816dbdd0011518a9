//! The unified request: the provider-neutral LLM call that users write and every adapter translates.
//!
//! A `Request` borrows from the line it was read from; strings are copied only where JSON escapes force it.

mod blob;
mod media;
mod own;
mod canonical;
mod fields;
mod openai;
mod foreign;
mod read;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod apart;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::own::OwnTurns;
pub use blob::BlobError;
pub(crate) use blob::{base64, data_url, media_type_of, web_url};
pub(crate) use canonical::write_blob;
pub use canonical::{canonical_value, write_canonical, write_json_text};
pub use fields::BodyError;
pub use foreign::{Bound, DOCUMENT_FORMATS, Dialect, Form, Tongue, Translated};
pub use media::{AddressError, Medium, media_type_by_bytes};
pub use read::Text;

/// What is asked for; decides the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Chat,
    Embedding,
    Moderation,
    /// One of the request's choices, with the probability of each.
    Decision,
    /// A picture, made of a text.
    Image,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Chat, Self::Embedding, Self::Moderation, Self::Decision, Self::Image];

    /// Whether it is asked in turns, and not of inputs.
    #[must_use]
    pub fn has_turns(self) -> bool {
        matches!(self, Self::Chat | Self::Decision)
    }

    /// Whether it is paid by what is answered too, so that its length needs a bound.
    #[must_use]
    pub fn pays_output(self) -> bool {
        matches!(self, Self::Chat | Self::Image)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Moderation => "moderation",
            Self::Decision => "decision",
            Self::Image => "image",
        }
    }
}

/// One LLM call as users write it. Unknown fields are refused when a user's line is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request<'a> {
    /// The user's id of the item; not part of the canonical form.
    #[serde(borrow, default)]
    pub custom_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub model: Text<'a>,
    #[serde(default)]
    pub kind: Kind,
    #[serde(borrow, default)]
    pub messages: Vec<Message<'a>>,
    /// What an embedding, a moderation or a picture is made of, instead of messages.
    #[serde(borrow, default, deserialize_with = "read::texts")]
    pub input: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "read::texts")]
    pub system_prompt: Vec<Text<'a>>,
    #[serde(borrow, default)]
    pub generation_config: Config<'a>,
    /// Merged into the provider's body last and untouched.
    #[serde(borrow, default)]
    pub provider_kwargs: Option<&'a RawValue>,
    /// Which of several answers to the same prompt this is; 0 for the usual single one.
    #[serde(default)]
    pub sample: u32,
    /// Spend is reported by these; not part of the canonical form.
    #[serde(borrow, default)]
    pub tags: Option<&'a RawValue>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub cache: CacheMode,
    /// What a router scored the item. Written when the line is sealed, never by a user; not part of the canonical form.
    #[serde(default)]
    pub route_score: Option<RouteScore>,
    /// What sent the item to its model, where that was neither the job's own model nor a router. Written and kept as `route_score` is.
    #[serde(default)]
    pub route_by: Option<RouteBy>,
}

/// What sent an item to its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteBy {
    /// The job's rule of this number, from 1.
    Rule(usize),
    /// Its line names it, though the job has a model.
    Line,
}

/// What a router scored an item, in millionths: a number where it chooses between two models, else one for each model but the strongest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RouteScore {
    One(i32),
    Several(Vec<i32>),
}

/// How urgent an item is: `high` goes to the sync lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    #[default]
    Low,
    High,
}

/// What the response cache may do for an item or a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Read from it and add to it.
    #[default]
    Default,
    /// Neither.
    Off,
    /// Add to it, replacing what is there.
    Refresh,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<'a> {
    pub role: Role,
    #[serde(borrow)]
    pub content: Content<'a>,
    /// Only with `role = "tool"`: the call that this answers.
    #[serde(borrow, default)]
    pub tool_call_id: Option<Text<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    Tool,
    System,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::System => "system",
        }
    }
}

/// One text, or parts of several kinds.
#[derive(Debug, Clone)]
pub enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Part<'a> {
    Text {
        #[serde(borrow)]
        text: Text<'a>,
    },
    Image(#[serde(borrow)] Blob<'a>),
    Document(#[serde(borrow)] Blob<'a>),
}

/// An image or a document: `data` is the URL, or the base64 text.
#[derive(Debug, Clone, Deserialize)]
pub struct Blob<'a> {
    pub source_type: SourceType,
    #[serde(borrow)]
    pub media_type: Text<'a>,
    #[serde(borrow)]
    pub data: Text<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    Url,
    Base64,
}

/// Settings of one call; all optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config<'a> {
    /// Output maximum in tokens, reasoning included; always set by the time a request is sealed.
    pub max_tokens: Option<u32>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u32>,
    #[serde(borrow, default)]
    pub stop_sequences: Vec<Text<'a>>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub reasoning: Option<Reasoning>,
    /// A JSON Schema that the answer must match.
    #[serde(borrow, default)]
    pub output_schema: Option<&'a RawValue>,
    /// The closed list of answers.
    #[serde(borrow, default)]
    pub choices: Vec<Text<'a>>,
    /// Length of an embedding vector.
    pub dimensions: Option<u32>,
}

/// How much a reasoning model may think: an effort, or a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reasoning {
    None,
    Low,
    Medium,
    High,
    Tokens(u32),
}

impl Reasoning {
    /// Output tokens set aside for thinking, on top of the visible answer.
    #[must_use]
    pub fn allowance(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Low => 1_024,
            Self::Medium => 4_096,
            Self::High => 16_384,
            Self::Tokens(tokens) => tokens,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::None,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            number => Self::Tokens(number.parse().ok()?),
        })
    }
}

impl fmt::Display for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Low => f.write_str("low"),
            Self::Medium => f.write_str("medium"),
            Self::High => f.write_str("high"),
            Self::Tokens(tokens) => write!(f, "{tokens}"),
        }
    }
}

impl<'a> Content<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(Text(text.into()))
    }

    /// Whether there is nothing a model could answer to.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Parts(parts) => {
                parts.iter().all(|part| matches!(part, Part::Text { text } if text.trim().is_empty()))
            }
        }
    }
}

impl Request<'_> {
    /// Bytes of prompt text: an upper bound of its text tokens, as a byte-level token covers at least one byte.
    #[must_use]
    pub fn prompt_bytes(&self) -> u64 {
        let texts = self.system_prompt.iter().chain(&self.input).map(|text| text.len() as u64).sum::<u64>();
        let messages: u64 = self
            .messages
            .iter()
            .map(|message| match &message.content {
                Content::Text(text) => text.len() as u64,
                Content::Parts(parts) => parts
                    .iter()
                    .map(|part| if let Part::Text { text } = part { text.len() as u64 } else { 0 })
                    .sum(),
            })
            .sum();
        let schema = self.generation_config.output_schema.map_or(0, |schema| schema.get().len() as u64);
        let choices: u64 = self.generation_config.choices.iter().map(|choice| choice.len() as u64 + 8).sum();
        let kwargs = self.provider_kwargs.map_or(0, |kwargs| kwargs.get().len() as u64);
        let data = self.own_turns().map_or(0, OwnTurns::data_bytes);
        texts + messages + schema + choices + kwargs - data
    }

    /// Images in the messages: each has a price of its own.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.parts(|part| matches!(part, Part::Image(_))) + self.own_turns().map_or(0, OwnTurns::images)
    }

    /// Documents in the messages: what they cost cannot be seen from their size.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.parts(|part| matches!(part, Part::Document(_))) + self.own_turns().map_or(0, OwnTurns::documents)
    }

    fn parts(&self, is: impl Fn(&Part<'_>) -> bool) -> u64 {
        let of = |message: &Message<'_>| match &message.content {
            Content::Text(_) => 0,
            Content::Parts(parts) => parts.iter().filter(|part| is(part)).count() as u64,
        };
        self.messages.iter().map(of).sum()
    }

    #[must_use]
    pub fn is_blank(&self) -> bool {
        if self.kind.has_turns() {
            return self.messages.is_empty()
                || self.messages.iter().all(|message| message.content.is_blank());
        }
        self.input.is_empty() || self.input.iter().any(|text| text.trim().is_empty())
    }
}
