//! POST /v1/chat/completions.

use super::params::{boolean, decimal, integer, string};
use super::text::{Composed, FormatAsked, TextCall};
use super::{Context, Prepared, Twist};
use crate::errors::{ApiError, from_parse};
use crate::json::{self, push_str, push_u64};
use crate::rng::push_base62;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Every documented field; others are refused by name. Values stay raw until they are looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_penalty: Option<&'a RawValue>,
    logit_bias: Option<IgnoredAny>,
    stop: Option<IgnoredAny>,
    #[serde(borrow)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    verbosity: Option<IgnoredAny>,
    tools: Option<IgnoredAny>,
    tool_choice: Option<IgnoredAny>,
    parallel_tool_calls: Option<IgnoredAny>,
    seed: Option<IgnoredAny>,
    stream_options: Option<IgnoredAny>,
    prompt_cache_key: Option<IgnoredAny>,
    prompt_cache_options: Option<IgnoredAny>,
    prompt_cache_retention: Option<IgnoredAny>,
    safety_identifier: Option<IgnoredAny>,
    user: Option<IgnoredAny>,
    prediction: Option<IgnoredAny>,
    modalities: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
    web_search_options: Option<IgnoredAny>,
    moderation: Option<IgnoredAny>,
    functions: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FormatBody<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    json_schema: Option<SchemaBody<'a>>,
}

#[derive(Deserialize)]
struct SchemaBody<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
}

pub(super) fn read(body: &[u8]) -> Result<TextCall<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
    let messages = body.messages.ok_or_else(|| ApiError::missing("messages"))?;
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(ApiError::invalid(Some("empty_array"), "messages", message));
    }
    let (max_output, max_name) = match (body.max_completion_tokens, body.max_tokens) {
        (None, Some(raw)) => (integer("max_tokens", Some(raw), 1)?, "max_tokens"),
        (raw, _) => (integer("max_completion_tokens", raw, 1)?, "max_completion_tokens"),
    };
    let frequency = decimal("frequency_penalty", body.frequency_penalty, -2.0, 2.0)?;
    let presence = decimal("presence_penalty", body.presence_penalty, -2.0, 2.0)?;
    let given = [
        ("frequency_penalty", frequency.is_some_and(|value| value != 0.0)),
        ("presence_penalty", presence.is_some_and(|value| value != 0.0)),
        ("logit_bias", body.logit_bias.is_some()),
        ("stop", body.stop.is_some()),
    ];
    let mut call = TextCall {
        model: string("model", body.model)?.unwrap_or_default(),
        max_output,
        max_name,
        temperature: decimal("temperature", body.temperature, 0.0, 2.0)?,
        top_p: decimal("top_p", body.top_p, 0.0, 1.0)?,
        logprobs: boolean("logprobs", body.logprobs)?,
        top_logprobs: integer("top_logprobs", body.top_logprobs, 0)?.unwrap_or(0),
        refused_by_reasoning: given.into_iter().find(|(_, given)| *given).map(|(name, _)| name),
        effort: string("reasoning_effort", body.reasoning_effort)?,
        effort_name: "reasoning_effort",
        tier: string("service_tier", body.service_tier)?.unwrap_or(Cow::Borrowed("auto")),
        stream: boolean("stream", body.stream)?,
        n: integer("n", body.n, 1)?.unwrap_or(1),
        format: format(body.response_format)?,
        metadata: body.metadata,
        store: boolean("store", body.store)?,
        ..TextCall::default()
    };
    for (at, message) in messages.iter().enumerate() {
        push_message(&mut call, message, at)?;
    }
    Ok(call)
}

fn push_message<'a>(call: &mut TextCall<'a>, message: &Message<'a>, at: usize) -> Result<(), ApiError> {
    let role = string("messages.role", message.role)?
        .ok_or_else(|| ApiError::missing(&format!("messages[{at}].role")))?;
    let system = match role.as_ref() {
        "system" | "developer" => true,
        "user" | "assistant" | "tool" | "function" => false,
        other => {
            let message = format!(
                "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
            );
            return Err(ApiError::invalid(Some("invalid_value"), &format!("messages[{at}].role"), message));
        }
    };
    call.prompt.push(system, texts(&format!("messages[{at}].content"), message.content)?);
    Ok(())
}

/// The texts of a content: a string, or parts of which only text counts.
pub(super) fn texts<'a>(param: &str, content: Option<&'a RawValue>) -> Result<Vec<Cow<'a, str>>, ApiError> {
    let Some(content) = content else { return Ok(Vec::new()) };
    if let Some(text) = json::text(content) {
        return Ok(vec![text]);
    }
    let wrong = || ApiError::bad_type(param, "a string or an array of content parts", content.get());
    let parts: Vec<ContentPart<'a>> = serde_json::from_str(content.get()).map_err(|_| wrong())?;
    Ok(parts.into_iter().filter_map(|part| json::text(part.text?)).collect())
}

fn format(raw: Option<&RawValue>) -> Result<FormatAsked<'_>, ApiError> {
    let Some(raw) = raw else { return Ok(FormatAsked::Text) };
    let body: FormatBody<'_> = serde_json::from_str(raw.get())
        .map_err(|_| ApiError::bad_type("response_format", "an object", raw.get()))?;
    let kind = string("response_format.type", body.kind)?
        .ok_or_else(|| ApiError::missing("response_format.type"))?;
    match kind.as_ref() {
        "text" => Ok(FormatAsked::Text),
        "json_object" => Ok(FormatAsked::JsonObject),
        "json_schema" => {
            let inner = body.json_schema.ok_or_else(|| ApiError::missing("response_format.json_schema"))?;
            Ok(FormatAsked::Schema {
                name: string("response_format.json_schema.name", inner.name)?
                    .ok_or_else(|| ApiError::missing("response_format.json_schema.name"))?,
                schema: inner
                    .schema
                    .map(Cow::Borrowed)
                    .ok_or_else(|| ApiError::missing("response_format.json_schema.schema"))?,
                strict: boolean("response_format.json_schema.strict", inner.strict)?,
                param: "response_format",
            })
        }
        other => Err(ApiError::invalid(
            Some("invalid_value"),
            "response_format.type",
            format!(
                "Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'."
            ),
        )),
    }
}

pub(super) fn write(
    out: &mut Vec<u8>,
    prepared: &Prepared<'_>,
    call: &TextCall<'_>,
    answer: &Composed,
    context: &Context<'_>,
) {
    out.extend_from_slice(b"{\"id\":\"chatcmpl-");
    push_base62(out, context.key, 29);
    out.extend_from_slice(b"\",\"object\":\"chat.completion\",\"created\":");
    push_u64(out, context.at_ms / 1_000);
    out.extend_from_slice(b",\"model\":");
    push_str(out, &prepared.served);
    out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if answer.refused && context.filters {
        out.extend_from_slice(b"\"\",\"refusal\":null");
    } else if answer.refused {
        out.extend_from_slice(b"null,\"refusal\":");
        push_str(out, &answer.text);
    } else {
        push_str(out, &answer.text);
        out.extend_from_slice(b",\"refusal\":null");
    }
    out.extend_from_slice(b",\"annotations\":[]},\"logprobs\":");
    match answer.doubt.as_ref().filter(|_| !answer.refused) {
        None => out.extend_from_slice(b"null"),
        Some(doubt) => {
            out.extend_from_slice(b"{\"content\":");
            doubt.write(&answer.text, out);
            out.extend_from_slice(b",\"refusal\":null}");
        }
    }
    out.extend_from_slice(b",\"finish_reason\":\"");
    out.extend_from_slice(match (answer.cut, answer.refused && context.filters) {
        (_, true) => b"content_filter",
        (true, false) => b"length",
        (false, false) => b"stop",
    });
    out.extend_from_slice(b"\"}]");
    context.twist.push_usage(out, "usage", |out| write_usage(out, answer, context.twist));
    out.extend_from_slice(b",\"service_tier\":\"");
    out.extend_from_slice(prepared.tier().as_bytes());
    out.extend_from_slice(b"\",\"system_fingerprint\":null,\"metadata\":");
    out.extend_from_slice(call.metadata.map_or("null", RawValue::get).as_bytes());
    out.push(b'}');
}

fn write_usage(out: &mut Vec<u8>, answer: &Composed, twist: Twist) {
    let usage = answer.usage;
    out.extend_from_slice(b"{\"prompt_tokens\":");
    twist.push_tokens(out, usage.prompt);
    out.extend_from_slice(b",\"completion_tokens\":");
    push_u64(out, usage.output);
    out.extend_from_slice(b",\"total_tokens\":");
    push_u64(out, usage.prompt + usage.output);
    out.extend_from_slice(b",\"prompt_tokens_details\":{\"cached_tokens\":");
    push_u64(out, usage.cached);
    out.extend_from_slice(b",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":");
    push_u64(out, usage.reasoning);
    out.extend_from_slice(
        b",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
    );
}
