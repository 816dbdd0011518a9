//! Reads a body as JSON of a protocol buffer: names in either case; what the API does not know it refuses by name.

use super::{Call, Thinking, invalid, rules};
use crate::api::text::{FormatAsked, TextCall};
use crate::errors::ApiError;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// Every documented field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    contents: Option<Vec<Content<'a>>>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Option<&'a RawValue>,
    #[serde(borrow, alias = "generation_config")]
    generation_config: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(alias = "tool_config")]
    tool_config: Option<ToolConfig>,
    #[serde(alias = "service_tier")]
    service_tier: Option<String>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
    #[serde(rename = "safetySettings", alias = "safety_settings")]
    _safety: Option<IgnoredAny>,
    #[serde(rename = "cachedContent", alias = "cached_content")]
    _cached: Option<IgnoredAny>,
    #[serde(rename = "labels")]
    _labels: Option<IgnoredAny>,
    #[serde(rename = "store")]
    _store: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    role: Option<String>,
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(alias = "inline_data")]
    inline_data: Option<Blob>,
    #[serde(alias = "file_data")]
    file_data: Option<FileData>,
    #[serde(alias = "function_call")]
    function_call: Option<IgnoredAny>,
    #[serde(alias = "function_response")]
    function_response: Option<IgnoredAny>,
    #[serde(rename = "thought")]
    _thought: Option<bool>,
    #[serde(rename = "thoughtSignature", alias = "thought_signature")]
    _signature: Option<IgnoredAny>,
    #[serde(rename = "mediaResolution", alias = "media_resolution")]
    _resolution: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Blob {
    #[serde(alias = "mime_type")]
    mime_type: String,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileData {
    #[serde(rename = "mimeType", alias = "mime_type")]
    _mime_type: Option<IgnoredAny>,
    #[serde(alias = "file_uri")]
    file_uri: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    temperature: Option<f64>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
    #[serde(default, alias = "stop_sequences")]
    stop_sequences: Vec<String>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Value>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<Box<RawValue>>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(rename = "topP", alias = "top_p")]
    _top_p: Option<f64>,
    #[serde(rename = "topK", alias = "top_k")]
    _top_k: Option<f64>,
    #[serde(rename = "seed")]
    _seed: Option<i32>,
    #[serde(rename = "presencePenalty", alias = "presence_penalty")]
    _presence: Option<f64>,
    #[serde(rename = "frequencyPenalty", alias = "frequency_penalty")]
    _frequency: Option<f64>,
    #[serde(rename = "mediaResolution", alias = "media_resolution")]
    _resolution: Option<IgnoredAny>,
    #[serde(rename = "responseModalities", alias = "response_modalities")]
    _modalities: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ThinkingConfig {
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
    #[serde(alias = "thinking_level")]
    thinking_level: Option<String>,
    #[serde(rename = "includeThoughts", alias = "include_thoughts")]
    _include: Option<bool>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "functionDeclarations", alias = "function_declarations")]
    functions: Vec<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow, rename = "parametersJsonSchema", alias = "parameters_json_schema")]
    json_schema: Option<&'a RawValue>,
    parameters: Option<Value>,
}

#[derive(Deserialize)]
struct ToolConfig {
    #[serde(rename = "functionCallingConfig", alias = "function_calling_config")]
    calling: Option<Calling>,
}

#[derive(Deserialize)]
struct Calling {
    mode: Option<String>,
    #[serde(default, rename = "allowedFunctionNames", alias = "allowed_function_names")]
    allowed: Vec<String>,
}

/// The model is filled in by who knows the path.
pub(in crate::api) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| refusal(&error))?;
    let config: Config = object(body.generation_config, "generation_config")?.unwrap_or_default();
    let mut call = Call {
        text: TextCall {
            max_output: config.max_output_tokens,
            max_name: "maxOutputTokens",
            tier: Cow::Owned(tier(body.service_tier.as_deref())),
            ..TextCall::default()
        },
        temperature: config.temperature,
        stops: config.stop_sequences.len(),
        candidates: config.candidate_count.unwrap_or(1),
        thinking: thinking(config.thinking_config.as_ref())?,
        function: None,
    };
    if let Some(system) = body.system_instruction {
        let system: Content<'_> = borrowed(system, "system_instruction")?;
        call.text.prompt.push(true, texts("system_instruction", system.parts)?);
    }
    turns(&mut call, body.contents.unwrap_or_default())?;
    let schema = match (config.response_schema, config.response_json_schema) {
        (Some(_), Some(_)) => {
            return Err(invalid("Only one of response_schema and response_json_schema may be set"));
        }
        (Some(mut schema), None) => {
            rules::json_schema(&mut schema);
            to_raw_value(&schema).ok()
        }
        (None, schema) => schema,
    };
    let is_json = config.response_mime_type.as_deref() == Some("application/json");
    if schema.is_some() && !is_json {
        return Err(invalid(
            "* GenerateContentRequest.generation_config.response_json_schema: only allowed with response_mime_type application/json",
        ));
    }
    match schema.map(Cow::Owned).or(choose_function(
        &mut call,
        body.tools.unwrap_or_default(),
        body.tool_config,
    )?) {
        Some(schema) => call.text.format = FormatAsked::of(schema, "generation_config.response_json_schema"),
        None if is_json => call.text.format = FormatAsked::AnyJson,
        None => {}
    }
    Ok(call)
}

/// The parser's refusal in the API's words.
fn refusal(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        Some(name) => {
            invalid(format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."))
        }
        None => invalid(format!("Invalid JSON payload received. {text}")),
    }
}

fn borrowed<'a, T: Deserialize<'a>>(raw: &'a RawValue, name: &str) -> Result<T, ApiError> {
    if !raw.get().starts_with('{') {
        return Err(invalid(format!("Invalid value at '{name}', {}", raw.get())));
    }
    serde_json::from_str(raw.get()).map_err(|error| refusal(&error))
}

fn object<T: DeserializeOwned>(raw: Option<&RawValue>, name: &str) -> Result<Option<T>, ApiError> {
    raw.map(|raw| borrowed(raw, name)).transpose()
}

/// In the words of what decides lanes.
fn tier(given: Option<&str>) -> String {
    let given = given.unwrap_or_default().to_ascii_lowercase();
    if matches!(given.as_str(), "" | "standard" | "unspecified") { "default".to_owned() } else { given }
}

fn thinking(config: Option<&ThinkingConfig>) -> Result<Thinking, ApiError> {
    let Some(config) = config else { return Ok(Thinking::Unsaid) };
    match (config.thinking_budget, &config.thinking_level) {
        (Some(_), Some(_)) => {
            Err(invalid("You can only set only one of thinking budget and thinking level."))
        }
        (Some(budget), None) => Ok(Thinking::Budget(budget)),
        (None, Some(level)) => Ok(Thinking::Level(level.clone())),
        (None, None) => Ok(Thinking::Unsaid),
    }
}

fn turns<'a>(call: &mut Call<'a>, contents: Vec<Content<'a>>) -> Result<(), ApiError> {
    if contents.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents: contents is not specified\n"));
    }
    for (at, content) in contents.into_iter().enumerate() {
        let is_model = match content.role.as_deref() {
            None | Some("user" | "function") => false,
            Some("model") => true,
            Some(_) => return Err(invalid("Please use a valid role: user, model.")),
        };
        if content.parts.is_empty() {
            return Err(invalid(format!(
                "* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty.\n"
            )));
        }
        let texts = texts(&format!("contents[{at}]"), content.parts)?;
        // What the model said before is part of the prompt, and not what it answers to.
        let user = if is_model { Some(call.text.prompt.user.clone()) } else { None };
        call.text.prompt.push(false, texts);
        if let Some(user) = user {
            call.text.prompt.user = user;
        }
    }
    Ok(())
}

fn texts<'a>(place: &str, parts: Vec<Part<'a>>) -> Result<Vec<Cow<'a, str>>, ApiError> {
    let mut texts = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        let data = [
            part.text.as_deref().is_some_and(|text| !text.is_empty()),
            part.inline_data.is_some(),
            part.file_data.is_some(),
            part.function_call.is_some(),
            part.function_response.is_some(),
        ];
        if data.into_iter().filter(|given| *given).count() != 1 {
            return Err(invalid(format!(
                "* GenerateContentRequest.{place}.parts[{at}].data: required oneof field 'data' must have one initialized field\n"
            )));
        }
        if let Some(blob) = &part.inline_data {
            media(&blob.mime_type)?;
        }
        let is_known =
            |file: &FileData| file.file_uri.contains("/files/") || file.file_uri.starts_with("gs://");
        if part.file_data.as_ref().is_some_and(|file| !is_known(file)) {
            return Err(invalid("Unsupported file URI: it is no file of the Files API."));
        }
        texts.extend(part.text);
    }
    Ok(texts)
}

fn media(kind: &str) -> Result<(), ApiError> {
    let known = ["application/pdf", "image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];
    let of_kind = ["text/", "audio/", "video/"].into_iter().any(|start| kind.starts_with(start));
    if known.contains(&kind) || of_kind {
        return Ok(());
    }
    Err(invalid(format!("Unsupported MIME type: {kind}")))
}

/// The schema of the function that must be called.
fn choose_function<'a>(
    call: &mut Call<'_>,
    tools: Vec<Tool<'a>>,
    config: Option<ToolConfig>,
) -> Result<Option<Cow<'a, RawValue>>, ApiError> {
    let Some(calling) = config.and_then(|config| config.calling) else { return Ok(None) };
    if calling.mode.as_deref() != Some("ANY") {
        return Ok(None);
    }
    let wanted = calling.allowed.first();
    let mut all = tools.into_iter().flat_map(|tool| tool.functions);
    let function = all.find(|function| wanted.is_none_or(|name| *name == function.name));
    let function =
        function.ok_or_else(|| invalid("Function calling config: no such function is declared"))?;
    call.function = Some(function.name);
    let own = function.parameters.map(|mut schema| {
        rules::json_schema(&mut schema);
        schema
    });
    let own = own.and_then(|schema| to_raw_value(&schema).ok()).map(Cow::Owned);
    Ok(function.json_schema.map(Cow::Borrowed).or(own))
}
