//! Reads a body by the service's model: every documented field, and no other.

use super::{Call, invalid};
use crate::api::prompt_cache::Prefix;
use crate::api::text::{FormatAsked, TextCall};
use crate::errors::ApiError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    system: Vec<Block<'a>>,
    #[serde(default)]
    inference_config: Config,
    #[serde(borrow)]
    tool_config: Option<ToolConfig<'a>>,
    additional_model_request_fields: Option<serde_json::Map<String, Value>>,
    output_config: Option<OutputConfig>,
    service_tier: Option<Tier>,
    #[serde(rename = "guardrailConfig")]
    _guardrail: Option<IgnoredAny>,
    #[serde(rename = "projectIdentifier")]
    _project: Option<IgnoredAny>,
    #[serde(rename = "promptVariables")]
    _variables: Option<IgnoredAny>,
    #[serde(rename = "additionalModelResponseFieldPaths")]
    _paths: Option<IgnoredAny>,
    #[serde(rename = "requestMetadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(rename = "performanceConfig")]
    _performance: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    role: String,
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    image: Option<Media>,
    document: Option<Media>,
    #[serde(rename = "video")]
    video: Option<IgnoredAny>,
    tool_use: Option<IgnoredAny>,
    tool_result: Option<IgnoredAny>,
    cache_point: Option<CachePoint>,
    reasoning_content: Option<IgnoredAny>,
    guard_content: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CachePoint {
    #[serde(rename = "type")]
    kind: String,
    ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media {
    format: String,
    name: Option<String>,
    source: Source,
    #[serde(rename = "context")]
    _context: Option<IgnoredAny>,
    #[serde(rename = "citations")]
    _citations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Source {
    bytes: Option<String>,
    s3_location: Option<IgnoredAny>,
    text: Option<IgnoredAny>,
    content: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    #[serde(default)]
    stop_sequences: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ToolConfig<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
    tool_choice: Option<Choice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow)]
    tool_spec: Option<Spec<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    name: String,
    #[serde(borrow)]
    input_schema: Schema<'a>,
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    json: &'a RawValue,
}

#[derive(Deserialize)]
struct Choice {
    any: Option<IgnoredAny>,
    tool: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutputConfig {
    effort: Option<String>,
    text_format: Option<TextFormat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFormat {
    #[serde(rename = "type")]
    kind: String,
    structure: Structure,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Structure {
    json_schema: JsonSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSchema {
    /// A text, and no object.
    schema: String,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    #[serde(rename = "type")]
    kind: String,
}

const IMAGES: &[&str] = &["png", "jpeg", "gif", "webp"];
const DOCUMENTS: &[&str] = &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
const TIERS: &[&str] = &["priority", "default", "flex", "reserved"];

/// The model is filled in by who knows the path.
pub(in crate::api) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| {
        invalid(format!("The format of the value is invalid: Malformed input request: {error}, please reformat your input and try again."))
    })?;
    let config = body.inference_config;
    if let Some(bad) = config.stop_sequences.iter().find(|stop| stop.is_empty()) {
        return Err(constraint("inferenceConfig.stopSequences", bad, "length greater than or equal to 1"));
    }
    let tier = body.service_tier.map_or_else(|| "default".to_owned(), |tier| tier.kind);
    if !TIERS.contains(&tier.as_str()) {
        return Err(constraint(
            "serviceTier.type",
            &tier,
            &format!("enum value set: [{}]", TIERS.join(", ")),
        ));
    }
    let mut call = Call {
        text: TextCall {
            max_output: config.max_tokens,
            max_name: "maxTokens",
            tier: tier.into(),
            ..TextCall::default()
        },
        temperature: config.temperature,
        top_p: config.top_p,
        extras: body.additional_model_request_fields.unwrap_or_default(),
        ..Call::default()
    };
    let mut prefix = Prefix::default();
    if !body.system.is_empty() {
        prefix.messages += 1;
        let texts = texts("system", body.system, false, &mut prefix)?;
        call.text.prompt.push(true, texts);
    }
    turns(&mut call, body.messages, &mut prefix)?;
    call.breakpoints = prefix.points;
    if let Some(output) = body.output_config {
        call.effort = output.effort;
        if let Some(format) = output.text_format {
            let schema = format.structure.json_schema.schema;
            let schema = RawValue::from_string(schema)
                .map_err(|_| invalid("outputConfig.textFormat: the schema is not valid JSON"))?;
            if format.kind != "json_schema" || !schema.get().starts_with('{') {
                return Err(invalid("outputConfig.textFormat: the schema is not an object"));
            }
            call.shaped = true;
            call.text.format = FormatAsked::of(Cow::Owned(schema), "outputConfig.textFormat");
        }
    }
    if let Some(tools) = body.tool_config {
        choose(&mut call, tools)?;
    }
    Ok(call)
}

fn constraint(field: &str, value: &str, needs: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: Member must satisfy {needs}"
    ))
}

fn turns<'a>(call: &mut Call<'a>, messages: Vec<Message<'a>>, prefix: &mut Prefix) -> Result<(), ApiError> {
    if messages.is_empty() {
        return Err(invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        ));
    }
    let mut last = "";
    for (at, message) in messages.into_iter().enumerate() {
        let role = match message.role.as_str() {
            "user" => "user",
            "assistant" => "assistant",
            other => {
                return Err(constraint(
                    &format!("messages.{}.member.role", at + 1),
                    other,
                    "enum value set: [user, assistant]",
                ));
            }
        };
        if at == 0 && role != "user" {
            return Err(invalid(
                "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
            ));
        }
        if role == last {
            return Err(invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
            ));
        }
        last = role;
        if message.content.is_empty() {
            return Err(invalid(format!(
                "The content field in the Message object at messages.{at} is empty. Add a ContentBlock object to the content field and try again."
            )));
        }
        let user = (role == "assistant").then(|| call.text.prompt.user.clone());
        prefix.messages += 1;
        let texts = texts(&format!("messages.{at}"), message.content, role == "user", prefix)?;
        call.text.prompt.push(false, texts);
        // What the model said before is part of the prompt, and not what it answers to.
        if let Some(user) = user {
            call.text.prompt.user = user;
        }
    }
    call.prefills = last == "assistant";
    Ok(())
}

fn texts<'a>(
    place: &str,
    blocks: Vec<Block<'a>>,
    of_user: bool,
    prefix: &mut Prefix,
) -> Result<Vec<Cow<'a, str>>, ApiError> {
    let (mut texts, mut documents) = (Vec::new(), false);
    for (at, block) in blocks.into_iter().enumerate() {
        let given = [
            block.text.is_some(),
            block.image.is_some(),
            block.document.is_some(),
            block.video.is_some(),
            block.tool_use.is_some(),
            block.tool_result.is_some(),
            block.cache_point.is_some(),
            block.reasoning_content.is_some(),
            block.guard_content.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(invalid(format!(
                "The content block at {place}.content.{at} must set exactly one member."
            )));
        }
        if block.text.as_deref().is_some_and(|text| text.trim().is_empty()) {
            return Err(invalid(format!(
                "The text field in the ContentBlock object at {place}.content.{at} is blank. Add text to the text field, and try again."
            )));
        }
        documents |= block.document.is_some();
        for (media, known) in [(&block.image, IMAGES), (&block.document, DOCUMENTS)] {
            if let Some(media) = media {
                check_media(media, known, of_user)?;
            }
        }
        if let Some(point) = block.cache_point {
            prefix.mark(lasts_an_hour(&point)?);
        }
        prefix.push(block.text.as_deref().unwrap_or_default());
        texts.extend(block.text);
    }
    if documents && texts.is_empty() {
        return Err(invalid("The content must include a text block beside its documents."));
    }
    Ok(texts)
}

fn lasts_an_hour(point: &CachePoint) -> Result<bool, ApiError> {
    match (point.kind.as_str(), point.ttl.as_deref()) {
        ("default", None | Some("5m")) => Ok(false),
        ("default", Some("1h")) => Ok(true),
        ("default", Some(ttl)) => Err(constraint("cachePoint.ttl", ttl, "enum value set: [5m, 1h]")),
        (kind, _) => Err(constraint("cachePoint.type", kind, "enum value set: [default]")),
    }
}

fn check_media(media: &Media, known: &[&str], of_user: bool) -> Result<(), ApiError> {
    if !of_user {
        return Err(invalid("Images and documents are supported only in messages with the user role."));
    }
    if !known.contains(&media.format.as_str()) {
        return Err(constraint("format", &media.format, &format!("enum value set: [{}]", known.join(", "))));
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || " -()[]".contains(letter);
    if known == DOCUMENTS
        && media
            .name
            .as_deref()
            .is_none_or(|name| name.is_empty() || name.contains("  ") || !name.chars().all(plain))
    {
        return Err(invalid(
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character.",
        ));
    }
    let source = &media.source;
    let given = [
        source.bytes.is_some(),
        source.s3_location.is_some(),
        source.text.is_some(),
        source.content.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(invalid("A source must set exactly one of bytes and s3Location."));
    }
    Ok(())
}

/// The tool that must be called, and its schema.
fn choose<'a>(call: &mut Call<'a>, tools: ToolConfig<'a>) -> Result<(), ApiError> {
    call.tools = true;
    let Some(choice) = tools.tool_choice else { return Ok(()) };
    let (wanted, forced) = (choice.tool.map(|tool| tool.name), choice.any.is_some());
    if wanted.is_none() && !forced {
        return Ok(());
    }
    let mut specs = tools.tools.into_iter().filter_map(|tool| tool.tool_spec);
    let spec = specs.find(|spec| wanted.as_ref().is_none_or(|name| *name == spec.name));
    let spec = spec.ok_or_else(|| invalid("toolConfig.toolChoice names a tool that is not declared"))?;
    call.text.format = FormatAsked::of(Cow::Borrowed(spec.input_schema.json), "toolConfig");
    call.tool = Some(spec.name);
    Ok(())
}
