//! Reads a body, field by field; what the API does not know it refuses by name.

use super::{Call, Thinking, invalid, rules};
use crate::anthropic::{WITHOUT_SAMPLING, check_fields};
use crate::api::prompt_cache::Prefix;
use crate::api::text::{FormatAsked, TextCall};
use crate::errors::ApiError;
use crate::json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

const BEDROCK_VERSION: &str = "bedrock-2023-05-31";

/// Every documented field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    stop_sequences: Option<Vec<String>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    thinking: Option<ThinkingBody>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<Tool<'a>>>,
    tool_choice: Option<ToolChoice>,
    cache_control: Option<CacheControl>,
    service_tier: Option<String>,
    stream: Option<bool>,
    metadata: Option<IgnoredAny>,
    inference_geo: Option<IgnoredAny>,
    speed: Option<IgnoredAny>,
    container: Option<IgnoredAny>,
    diagnostics: Option<IgnoredAny>,
    // Only bodies for a host of the models have these.
    anthropic_version: Option<String>,
    anthropic_beta: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    role: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingBody {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<u64>,
    #[serde(rename = "display")]
    _display: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputConfig<'a> {
    effort: Option<String>,
    #[serde(borrow)]
    format: Option<FormatBody<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    schema: &'a RawValue,
}

#[derive(Deserialize)]
struct Tool<'a> {
    name: String,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct ToolChoice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct CacheControl {
    #[serde(rename = "type")]
    kind: String,
    ttl: Option<String>,
}

/// A block of content, of whatever type.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    source: Option<Source>,
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    media_type: Option<String>,
}

/// Tools stand before all else; they are no part of the prompt's tokens here.
fn push_tools(prefix: &mut Prefix, tools: &[Tool<'_>]) -> Result<(), ApiError> {
    for tool in tools {
        prefix.push_free(&tool.name);
        prefix.push_free(tool.input_schema.map_or("", RawValue::get));
        if let Some(control) = &tool.cache_control {
            mark(prefix, control)?;
        }
    }
    Ok(())
}

fn mark(prefix: &mut Prefix, control: &CacheControl) -> Result<(), ApiError> {
    let hour = match (control.kind.as_str(), control.ttl.as_deref()) {
        ("ephemeral", None | Some("5m")) => false,
        ("ephemeral", Some("1h")) => true,
        _ => {
            return Err(invalid("cache_control: Input should be of type 'ephemeral' with ttl '5m' or '1h'"));
        }
    };
    prefix.mark(hour);
    Ok(())
}

pub(in crate::api) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| refusal(&error))?;
    let hosts = [
        ("anthropic_version", body.anthropic_version.is_some()),
        ("anthropic_beta", body.anthropic_beta.is_some()),
    ];
    match hosts.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(extra(name)),
        None => call(body),
    }
}

/// A body for Bedrock: the path names the model, and the body the version. A header says the tier.
pub(in crate::api) fn read_hosted(text: &[u8]) -> Result<Call<'_>, ApiError> {
    let mut body: Body<'_> = serde_json::from_slice(text).map_err(|error| refusal(&error))?;
    let others = [
        ("model", body.model.is_some()),
        ("stream", body.stream.is_some()),
        ("service_tier", body.service_tier.is_some()),
        ("metadata", body.metadata.is_some()),
        ("speed", body.speed.is_some()),
        ("inference_geo", body.inference_geo.is_some()),
        ("container", body.container.is_some()),
    ];
    if let Some((name, _)) = others.into_iter().find(|(_, given)| *given) {
        return Err(extra(name));
    }
    match body.anthropic_version.as_deref() {
        Some(BEDROCK_VERSION) => {}
        // What Anthropic's own client for Bedrock sends.
        Some(WITHOUT_SAMPLING) => check_fields(false, text)?,
        Some(other) => return Err(invalid(format!("anthropic_version: \"{other}\" is not a valid version"))),
        None => return Err(invalid("anthropic_version: Field required")),
    }
    body.model = Some(Cow::Borrowed("of the path"));
    for message in body.messages.iter().flatten() {
        let blocks: Vec<Block<'_>> = serde_json::from_str(message.content.get()).unwrap_or_default();
        if blocks.iter().any(|block| block.source.as_ref().is_some_and(|source| source.kind == "url")) {
            return Err(invalid("messages: URL sources are not supported"));
        }
    }
    Ok(Call { hosted: true, ..call(body)? })
}

fn extra(name: &str) -> ApiError {
    invalid(format!("{name}: Extra inputs are not permitted"))
}

fn call(body: Body<'_>) -> Result<Call<'_>, ApiError> {
    let required = |name: &str| invalid(format!("{name}: Field required"));
    let max_tokens = body.max_tokens.ok_or_else(|| required("max_tokens"))?;
    if max_tokens == 0 {
        return Err(invalid("max_tokens: Input should be greater than or equal to 1"));
    }
    if body.stream == Some(true) {
        return Err(invalid("stream: not simulated"));
    }
    if !matches!(body.service_tier.as_deref(), None | Some("auto" | "standard_only")) {
        return Err(invalid("service_tier: Input should be 'auto' or 'standard_only'"));
    }
    let blank = |stop: &String| stop.trim().is_empty();
    if body.stop_sequences.iter().flatten().any(blank) {
        return Err(invalid("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    let mut call = Call {
        text: TextCall {
            model: body.model.ok_or_else(|| required("model"))?,
            max_output: Some(max_tokens),
            max_name: "max_tokens",
            ..TextCall::default()
        },
        thinking: thinking(body.thinking, max_tokens)?,
        samples: samples(body.temperature, body.top_p, body.top_k)?,
        ..Call::default()
    };
    let mut prefix = Prefix::default();
    let tools = body.tools.unwrap_or_default();
    call.has_tools = !tools.is_empty();
    push_tools(&mut prefix, &tools)?;
    if let Some(system) = body.system {
        prefix.messages += 1;
        let texts = blocks("system", system, &mut prefix)?;
        call.text.prompt.push(true, texts);
    }
    turns(&mut call, &body.messages.ok_or_else(|| required("messages"))?, &mut prefix)?;
    if let Some(control) = &body.cache_control {
        mark(&mut prefix, control)?;
    }
    if prefix.points.len() > 4 {
        let found = prefix.points.len();
        return Err(invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {found}."
        )));
    }
    call.breakpoints = prefix.points;
    if let Some(config) = body.output_config {
        call.effort = config.effort;
        call.schema = config.format.as_ref().map(format).transpose()?;
    }
    choose_tool(&mut call, &tools, body.tool_choice)?;
    set_form(&mut call);
    Ok(call)
}

/// The parser's refusal in the API's words.
fn refusal(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        Some(name) => extra(name),
        None => invalid(format!("The request body is not valid: {text}")),
    }
}

fn thinking(body: Option<ThinkingBody>, max_tokens: u64) -> Result<Thinking, ApiError> {
    let Some(body) = body else { return Ok(Thinking::Unsaid) };
    match (body.kind.as_str(), body.budget_tokens) {
        ("disabled", None) => Ok(Thinking::Disabled),
        ("adaptive" | "between_tools", None) => Ok(Thinking::Adaptive),
        ("enabled", Some(budget)) if budget < 1_024 => {
            Err(invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"))
        }
        ("enabled", Some(budget)) if budget >= max_tokens => {
            Err(invalid("`max_tokens` must be greater than `thinking.budget_tokens`"))
        }
        ("enabled", Some(budget)) => Ok(Thinking::Enabled { budget }),
        (kind, _) => Err(invalid(format!("thinking: Input tag '{kind}' does not fit its fields"))),
    }
}

fn samples(
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
) -> Result<Vec<(&'static str, f64)>, ApiError> {
    for (name, value) in [("temperature", temperature), ("top_p", top_p)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err(invalid(format!("{name}: range: 0..1")));
        }
    }
    let given = [("temperature", temperature), ("top_p", top_p), ("top_k", top_k.map(f64::from))];
    let other = |(name, value): (&'static str, Option<f64>)| {
        value.filter(|value| name == "top_k" || (value - 1.0).abs() > f64::EPSILON).map(|value| (name, value))
    };
    Ok(given.into_iter().filter_map(other).collect())
}

fn turns<'a>(call: &mut Call<'a>, messages: &[Message<'a>], prefix: &mut Prefix) -> Result<(), ApiError> {
    if messages.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    for (at, message) in messages.iter().enumerate() {
        match message.role.as_str() {
            "user" => call.prefills = false,
            "assistant" if at == 0 => {
                return Err(invalid("messages: first message must use the \"user\" role"));
            }
            "assistant" => call.prefills = true,
            role => {
                let text = format!(
                    "messages: Unexpected role \"{role}\". Allowed roles are \"user\" or \"assistant\"."
                );
                return Err(invalid(text));
            }
        }
        prefix.messages += 1;
        let texts = blocks(&format!("messages.{at}.content"), message.content, prefix)?;
        // What the model said before is part of the prompt, and not what it answers to.
        let user = call.text.prompt.user.clone();
        call.text.prompt.push(false, texts);
        if call.prefills {
            call.text.prompt.user = user;
        }
    }
    Ok(())
}

/// The texts of a content: a string, or blocks of which only text counts.
fn blocks<'a>(
    place: &str,
    content: &'a RawValue,
    prefix: &mut Prefix,
) -> Result<Vec<Cow<'a, str>>, ApiError> {
    if let Some(text) = json::text(content) {
        prefix.push(&text);
        return Ok(vec![text]);
    }
    let blocks: Vec<Block<'a>> = serde_json::from_str(content.get()).map_err(|error| {
        invalid(format!("{place}: Input should be a string or a list of blocks: {error}"))
    })?;
    let mut texts = Vec::new();
    for (at, block) in blocks.into_iter().enumerate() {
        rules_of_block(&format!("{place}.{at}"), &block)?;
        if let Some(text) = block.text {
            prefix.push(&text);
            texts.push(text);
        }
        if let Some(control) = &block.cache_control {
            mark(prefix, control)?;
        }
    }
    Ok(texts)
}

fn rules_of_block(place: &str, block: &Block<'_>) -> Result<(), ApiError> {
    let source = block.source.as_ref().map(|source| (source.kind.as_str(), source.media_type.as_deref()));
    match (block.kind.as_str(), source) {
        ("text", _) if block.text.as_deref().is_none_or(str::is_empty) => {
            Err(invalid("messages: text content blocks must be non-empty"))
        }
        ("image", Some(("url" | "file", _)))
        | ("image", Some(("base64", Some("image/jpeg" | "image/png" | "image/gif" | "image/webp"))))
        | ("document", Some(("url" | "file" | "content", _)))
        | ("document", Some(("base64", Some("application/pdf"))))
        | ("document", Some(("text", Some("text/plain")))) => Ok(()),
        ("image" | "document", _) => {
            Err(invalid(format!("{place}.source: Input does not match any of the expected sources")))
        }
        ("text" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking" | "search_result", _) => {
            Ok(())
        }
        (kind, _) => Err(invalid(format!(
            "{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        ))),
    }
}

fn format<'a>(body: &FormatBody<'a>) -> Result<&'a RawValue, ApiError> {
    if body.kind != "json_schema" {
        return Err(invalid("output_config.format.type: Input should be 'json_schema'"));
    }
    rules::schema(body.schema)?;
    Ok(body.schema)
}

fn choose_tool<'a>(
    call: &mut Call<'a>,
    tools: &[Tool<'a>],
    choice: Option<ToolChoice>,
) -> Result<(), ApiError> {
    let Some(choice) = choice else { return Ok(()) };
    let tool = match (choice.kind.as_str(), &choice.name) {
        ("auto" | "none", _) => return Ok(()),
        ("any", _) => tools.first(),
        ("tool", Some(name)) => tools.iter().find(|tool| tool.name == *name),
        _ => None,
    };
    let tool = tool.ok_or_else(|| invalid("tool_choice: the tool is not among `tools`"))?;
    call.tool = Some(tool.name.clone());
    call.schema = tool.input_schema.or(call.schema);
    Ok(())
}

/// In the words of what composes answers.
fn set_form(call: &mut Call<'_>) {
    if let Some(schema) = call.schema {
        let param = "output_config.format.schema";
        call.text.format = FormatAsked::of(Cow::Borrowed(schema), param);
    }
    let effort = match (call.thinking, &call.effort) {
        (Thinking::Unsaid | Thinking::Disabled, _) => "none",
        (Thinking::Adaptive, Some(effort)) => effort.as_str(),
        (Thinking::Adaptive, None) => "high",
        (Thinking::Enabled { budget }, _) if budget < 4_096 => "low",
        (Thinking::Enabled { budget }, _) if budget < 16_384 => "medium",
        (Thinking::Enabled { .. }, _) => "high",
    };
    call.text.effort_name = "output_config.effort";
    call.text.effort = Some(Cow::Owned(effort.to_owned()));
}
