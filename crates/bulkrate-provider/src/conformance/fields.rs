//! Requests that each use one field of the unified request: what adapters are asked about, cell by cell.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{
    Blob, Config, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType, Text,
};
use serde_json::value::RawValue;

use crate::api::{Provider, Unsupported, WireOptions};

/// A request that uses the field; the first word of the name is the one that a refusal has.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: &'static str,
    pub request: Request<'static>,
    /// The log-probabilities of the answer are asked for, with so many alternatives.
    pub alternatives: Option<u8>,
}

impl Field {
    fn new(name: &'static str, request: Request<'static>) -> Self {
        Self { name, request, alternatives: None }
    }
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;

/// Every field by which services differ, in the order of the documentation.
#[must_use]
pub fn fields() -> Vec<Field> {
    let config = Config::default;
    let schema: Option<&'static RawValue> = serde_json::from_str(SCHEMA).ok();
    let field = |name, config| Field::new(name, chat(config));
    let effort = |reasoning| Config { reasoning: Some(reasoning), ..config() };
    vec![
        field("max_tokens", config()),
        Field::new("system_prompt", Request { system_prompt: vec![text("Be brief.")], ..chat(config()) }),
        field("temperature", Config { temperature: Some(0.5), ..config() }),
        field("top_p", Config { top_p: Some(0.5), ..config() }),
        field("top_k", Config { top_k: Some(5), ..config() }),
        field("stop_sequences", Config { stop_sequences: vec![text("END")], ..config() }),
        field("presence_penalty", Config { presence_penalty: Some(0.5), ..config() }),
        field("frequency_penalty", Config { frequency_penalty: Some(0.5), ..config() }),
        field("seed", Config { seed: Some(7), ..config() }),
        field("reasoning none", effort(Reasoning::None)),
        field("reasoning low", effort(Reasoning::Low)),
        field("reasoning high", effort(Reasoning::High)),
        field("reasoning tokens", effort(Reasoning::Tokens(100))),
        field("output_schema", Config { output_schema: schema, ..config() }),
        field("choices", Config { choices: vec![text("ham"), text("spam")], ..config() }),
        Field::new("image", with_part(Part::Image(blob("image/png")))),
        Field::new("document", with_part(Part::Document(blob("application/pdf")))),
        Field::new("kind embedding", of_input(Kind::Embedding)),
        Field::new("kind moderation", of_input(Kind::Moderation)),
        Field::new("kind decision", decision()),
        Field::new("kind image", of_input(Kind::Image)),
        Field { alternatives: Some(2), ..field("log-probabilities", config()) },
    ]
}

/// Writes a request for a model, in the sync lane; the body, or why it cannot be said.
pub fn write(provider: &dyn Provider, request: &Request<'_>, model: &str) -> Result<Vec<u8>, Unsupported> {
    let mut body = Vec::new();
    let options = WireOptions::new(Lane::Sync, model);
    provider.wire().encode(request, options, &mut body)?;
    Ok(body)
}

fn text(text: &'static str) -> Text<'static> {
    text.into()
}

fn chat(config: Config<'static>) -> Request<'static> {
    let message = Message { role: Role::User, content: Content::text("Say one word."), tool_call_id: None };
    Request {
        messages: vec![message],
        generation_config: Config { max_tokens: Some(64), ..config },
        ..Request::default()
    }
}

fn with_part(part: Part<'static>) -> Request<'static> {
    let content = Content::Parts(vec![Part::Text { text: text("Say one word.") }, part]);
    Request {
        messages: vec![Message { role: Role::User, content, tool_call_id: None }],
        ..chat(Config::default())
    }
}

fn blob(media_type: &'static str) -> Blob<'static> {
    Blob { source_type: SourceType::Base64, media_type: text(media_type), data: text("AAAA") }
}

fn decision() -> Request<'static> {
    let config = Config { choices: vec![text("ham"), text("spam")], ..Config::default() };
    let request = chat(config);
    let generation_config = Config { max_tokens: None, ..request.generation_config };
    Request { kind: Kind::Decision, system_prompt: vec![text("Which is it?")], generation_config, ..request }
}

fn of_input(kind: Kind) -> Request<'static> {
    Request { kind, input: vec![text("Some words.")], ..Request::default() }
}
