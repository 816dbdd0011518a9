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
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#;

/// Every field by which services differ, in the order of the documentation.
#[must_use]
pub fn fields() -> Vec<Field> {
    let config = Config::default;
    let schema: Option<&'static RawValue> = serde_json::from_str(SCHEMA).ok();
    let field = |name, config| Field { name, request: chat(config) };
    let effort = |reasoning| Config { reasoning: Some(reasoning), ..config() };
    vec![
        field("max_tokens", config()),
        Field {
            name: "system_prompt",
            request: Request { system_prompt: vec![text("Be brief.")], ..chat(config()) },
        },
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
        Field { name: "image", request: with_part(Part::Image(blob("image/png"))) },
        Field { name: "document", request: with_part(Part::Document(blob("application/pdf"))) },
        Field { name: "kind embedding", request: of_input(Kind::Embedding) },
        Field { name: "kind moderation", request: of_input(Kind::Moderation) },
        Field { name: "kind decision", request: decision() },
    ]
}

/// Writes a request for a model, in the sync lane; the body, or why it cannot be said.
pub fn write(provider: &dyn Provider, request: &Request<'_>, model: &str) -> Result<Vec<u8>, Unsupported> {
    let mut body = Vec::new();
    let options = WireOptions { lane: Lane::Sync, model, max_tokens: None, mark: None, alternatives: None };
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
