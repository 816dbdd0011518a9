//! POST /v1/responses.

use super::chat::texts;
use super::params::{boolean, decimal, integer, string};
use super::text::{Composed, FormatAsked, TextCall};
use super::{Context, Prepared, Twist};
use crate::answers::Prompt;
use crate::errors::{ApiError, from_parse};
use crate::json::{self, push_str, push_u64};
use crate::rng::push_hex;
use crate::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<Reasoning<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    top_logprobs: Option<&'a RawValue>,
    tools: Option<IgnoredAny>,
    tool_choice: Option<IgnoredAny>,
    parallel_tool_calls: Option<IgnoredAny>,
    max_tool_calls: Option<IgnoredAny>,
    truncation: Option<IgnoredAny>,
    #[serde(borrow)]
    include: Option<Vec<Cow<'a, str>>>,
    background: Option<IgnoredAny>,
    previous_response_id: Option<IgnoredAny>,
    conversation: Option<IgnoredAny>,
    prompt: Option<IgnoredAny>,
    stream_options: Option<IgnoredAny>,
    prompt_cache_key: Option<IgnoredAny>,
    prompt_cache_options: Option<IgnoredAny>,
    prompt_cache_retention: Option<IgnoredAny>,
    safety_identifier: Option<IgnoredAny>,
    moderation: Option<IgnoredAny>,
    context_management: Option<IgnoredAny>,
    user: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Reasoning<'a> {
    #[serde(borrow)]
    effort: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    format: Option<Form<'a>>,
}

#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    strict: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

pub(super) fn read(body: &[u8]) -> Result<TextCall<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
    let input = body.input.ok_or_else(|| ApiError::missing("input"))?;
    let mut call = TextCall {
        model: string("model", body.model)?.unwrap_or_default(),
        max_output: integer("max_output_tokens", body.max_output_tokens, 16)?,
        max_name: "max_output_tokens",
        temperature: decimal("temperature", body.temperature, 0.0, 2.0)?,
        top_p: decimal("top_p", body.top_p, 0.0, 1.0)?,
        effort: string("reasoning.effort", body.reasoning.and_then(|reasoning| reasoning.effort))?,
        effort_name: "reasoning.effort",
        logprobs: body.include.iter().flatten().any(|asked| asked == "message.output_text.logprobs"),
        top_logprobs: integer("top_logprobs", body.top_logprobs, 0)?.unwrap_or(0),
        tier: string("service_tier", body.service_tier)?.unwrap_or(Cow::Borrowed("auto")),
        stream: boolean("stream", body.stream)?,
        n: 1,
        format: format(body.text.and_then(|text| text.format))?,
        instructions: body.instructions,
        metadata: body.metadata,
        store: body.store.is_none() || boolean("store", body.store)?,
        ..TextCall::default()
    };
    if let Some(text) = string("instructions", body.instructions)? {
        call.prompt.push(true, vec![text]);
    }
    push_input(&mut call.prompt, input)?;
    Ok(call)
}

/// A text, or turns.
pub(super) fn push_input<'a>(prompt: &mut Prompt<'a>, input: &'a RawValue) -> Result<(), ApiError> {
    if let Some(text) = json::text(input) {
        prompt.push(false, vec![text]);
        return Ok(());
    }
    let items: Vec<Item<'a>> = serde_json::from_str(input.get())
        .map_err(|_| ApiError::bad_type("input", "a string or an array of items", input.get()))?;
    for (at, item) in items.iter().enumerate() {
        let role = string("input.role", item.role)?.unwrap_or_default();
        let is_system = matches!(role.as_ref(), "system" | "developer");
        prompt.push(is_system, texts(&format!("input[{at}].content"), item.content)?);
    }
    Ok(())
}

fn format(form: Option<Form<'_>>) -> Result<FormatAsked<'_>, ApiError> {
    let Some(form) = form else { return Ok(FormatAsked::Text) };
    let kind = string("text.format.type", form.kind)?.ok_or_else(|| ApiError::missing("text.format.type"))?;
    match kind.as_ref() {
        "text" => Ok(FormatAsked::Text),
        "json_object" => Ok(FormatAsked::JsonObject),
        "json_schema" => Ok(FormatAsked::Schema {
            name: string("text.format.name", form.name)?
                .ok_or_else(|| ApiError::missing("text.format.name"))?,
            schema: form.schema.map(Cow::Borrowed).ok_or_else(|| ApiError::missing("text.format.schema"))?,
            strict: form.strict.is_none() || boolean("text.format.strict", form.strict)?,
            param: "text.format.schema",
        }),
        other => Err(ApiError::invalid(
            Some("invalid_value"),
            "text.format.type",
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
    out.extend_from_slice(b"{\"id\":\"resp_");
    push_hex(out, context.key, 50);
    out.extend_from_slice(b"\",\"object\":\"response\",\"created_at\":");
    push_u64(out, context.at_ms / 1_000);
    out.extend_from_slice(b".0,\"completed_at\":");
    push_u64(out, context.at_ms / 1_000);
    out.extend_from_slice(b".0,\"status\":\"");
    let status: &[u8] = if answer.cut { b"incomplete" } else { b"completed" };
    out.extend_from_slice(status);
    out.extend_from_slice(b"\",\"model\":");
    push_str(out, &prepared.served);
    out.extend_from_slice(b",\"error\":null,\"incomplete_details\":");
    out.extend_from_slice(if answer.cut { b"{\"reason\":\"max_output_tokens\"}" } else { b"null" });
    out.extend_from_slice(b",\"instructions\":");
    out.extend_from_slice(call.instructions.map_or("null", RawValue::get).as_bytes());
    write_output(out, answer, context.key, status);
    context.twist.push_usage(out, "usage", |out| write_usage(out, answer.usage, context.twist));
    out.extend_from_slice(
        b",\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"temperature\":",
    );
    let _ = serde_json::to_writer(&mut *out, &call.temperature.unwrap_or(1.0));
    out.extend_from_slice(b",\"top_p\":");
    let _ = serde_json::to_writer(&mut *out, &call.top_p.unwrap_or(1.0));
    out.extend_from_slice(b",\"max_output_tokens\":");
    match call.max_output {
        Some(max) => push_u64(out, max),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"background\":false,\"previous_response_id\":null,\"store\":");
    out.extend_from_slice(if call.store { b"true" } else { b"false" });
    out.extend_from_slice(b",\"reasoning\":{\"effort\":");
    json::push_opt_str(out, call.effort.as_deref());
    out.extend_from_slice(b",\"summary\":null},\"truncation\":\"disabled\",\"service_tier\":\"");
    out.extend_from_slice(prepared.tier().as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(call.metadata.map_or("{}", RawValue::get).as_bytes());
    out.push(b'}');
}

fn write_output(out: &mut Vec<u8>, answer: &Composed, key: u64, status: &[u8]) {
    out.extend_from_slice(b",\"output\":[");
    if answer.usage.reasoning > 0 {
        out.extend_from_slice(b"{\"type\":\"reasoning\",\"id\":\"rs_");
        push_hex(out, key ^ 1, 32);
        out.extend_from_slice(b"\",\"summary\":[]}");
    }
    if !(answer.cut && answer.text.is_empty()) {
        if answer.usage.reasoning > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"type\":\"message\",\"id\":\"msg_");
        push_hex(out, key ^ 2, 32);
        out.extend_from_slice(b"\",\"role\":\"assistant\",\"status\":\"");
        out.extend_from_slice(status);
        out.extend_from_slice(b"\",\"content\":[{\"type\":");
        out.extend_from_slice(if answer.refused {
            b"\"refusal\",\"refusal\":"
        } else {
            b"\"output_text\",\"text\":"
        });
        push_str(out, &answer.text);
        if !answer.refused {
            out.extend_from_slice(b",\"annotations\":[],\"logprobs\":");
            match &answer.doubt {
                None => out.extend_from_slice(b"[]"),
                Some(doubt) => doubt.write(&answer.text, out),
            }
        }
        out.extend_from_slice(b"}]}");
    }
    out.push(b']');
}

pub(super) fn write_usage(out: &mut Vec<u8>, usage: Usage, twist: Twist) {
    out.extend_from_slice(b"{\"input_tokens\":");
    twist.push_tokens(out, usage.prompt);
    out.extend_from_slice(b",\"input_tokens_details\":{\"cached_tokens\":");
    push_u64(out, usage.cached);
    out.extend_from_slice(b",\"cache_write_tokens\":0},\"output_tokens\":");
    push_u64(out, usage.output);
    out.extend_from_slice(b",\"output_tokens_details\":{\"reasoning_tokens\":");
    push_u64(out, usage.reasoning);
    out.extend_from_slice(b"},\"total_tokens\":");
    push_u64(out, usage.prompt + usage.output);
    out.push(b'}');
}
