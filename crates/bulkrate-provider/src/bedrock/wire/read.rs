//! Reads answers, of Converse and in the words of a model's maker, each by its own form. Content that nobody knows is passed over; a
//! paid answer is lost only when there is none in it.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Finish, Reading};
use bulkrate_core::request::Kind;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{embed, usage};
use crate::anthropic::wire::read as claudes;
use crate::api::{BatchLine, Reply};
use crate::bedrock::errors;
use crate::http::strange::{no_json, unreadable};
use crate::json::append;
use crate::json::calls::Calls;
use crate::json::loose::{Count, LooseText};

/// The tier that a call of `InvokeModel` ran in; Converse says it in its answer.
const TIER: &str = "x-amzn-bedrock-service-tier";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow, default)]
    output: Option<Output<'a>>,
    /// Only messages of Claude's own API have it at the top.
    #[serde(default)]
    content: Option<IgnoredAny>,
    #[serde(borrow, default)]
    stop_reason: LooseText<'a>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: LooseText<'a>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow, default)]
    tool_use_id: LooseText<'a>,
    #[serde(borrow, default)]
    name: LooseText<'a>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
}

pub(super) fn reply(kind: Kind, reply: &Reply) -> Reading<'_> {
    if !(200..300).contains(&reply.status) {
        return Reading::Failure(errors::of(reply));
    }
    if kind == Kind::Embedding {
        return embed::success(&reply.body, Some(&reply.headers));
    }
    match (success(&reply.body), reply.header(TIER)) {
        (Reading::Answer(answer), Some(tier)) => {
            Reading::Answer(Box::new(Answer { tier: Some(Cow::Borrowed(tier)), ..*answer }))
        }
        (reading, _) => reading,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    record_id: Cow<'a, str>,
    #[serde(borrow, default)]
    model_output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refused<'a> {
    /// A status; a number, or one in quotes.
    #[serde(default)]
    error_code: Count,
    #[serde(borrow, default)]
    error_message: LooseText<'a>,
}

/// One line of a batch's results; what was asked stands in it too and is passed over.
pub(super) fn line(kind: Kind, line: &[u8]) -> Result<BatchLine<'_>, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let Line { record_id, model_output, error } =
        serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
    if record_id.is_empty() {
        return Err("not a result: `recordId` is empty".to_owned());
    }
    let reading = match (model_output, error) {
        (_, Some(refused)) => {
            let status = u16::try_from(refused.error_code.or_zero()).unwrap_or(0);
            let message = refused.error_message.into_owned().unwrap_or_default();
            let said = errors::Said { name: status.to_string(), message };
            Reading::Failure(said.failure(if status == 0 { 500 } else { status }, None))
        }
        (Some(output), None) if kind == Kind::Embedding => embed::success(output.get().as_bytes(), None),
        (Some(output), None) => success(output.get().as_bytes()),
        (None, None) => Reading::Failure(unreadable("the line holds neither an answer nor an error")),
    };
    Ok(BatchLine { custom_id: record_id, reading })
}

fn success(body: &[u8]) -> Reading<'_> {
    let response: Response<'_> = match serde_json::from_slice(body) {
        Ok(response) => response,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    if response.output.is_none() && response.content.is_some() {
        return claudes::success(body);
    }
    let Some(message) = response.output.and_then(|output| output.message) else {
        return Reading::Failure(unreadable("the answer holds no message"));
    };
    let reason = response.stop_reason.as_deref().unwrap_or_default();
    let finish = finish(reason);
    let (text, tool_calls) = blocks(message);
    let refusal = (finish == Finish::ContentFilter).then(|| Cow::Owned(format!("blocked ({reason})")));
    // What was written before it was stopped is no answer.
    let text = if refusal.is_some() { Cow::Borrowed("") } else { text };
    let tier = response.service_tier.and_then(|raw| serde_json::from_str::<Tier<'_>>(raw.get()).ok());
    Reading::Answer(Box::new(Answer {
        body: Body::Text { text, refusal, tool_calls },
        finish,
        usage: usage::read(response.usage),
        model: None, // nothing says which one it was
        tier: tier.and_then(|tier| tier.kind.0),
        charged: None,
        tokens: Vec::new(),
    }))
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextExceeded,
        "tool_use" => Finish::ToolCalls,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => Finish::Malformed,
        _ => Finish::Other,
    }
}

/// The visible text, and the calls.
fn blocks(message: Message<'_>) -> (Cow<'_, str>, Option<Cow<'_, RawValue>>) {
    let (mut text, mut calls) = (Cow::Borrowed(""), Calls::default());
    for raw in message.content {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { continue };
        match (block.tool_use, block.text.0) {
            (Some(call), _) => {
                let (id, name) = (call.tool_use_id.as_deref(), call.name.as_deref());
                calls.push(id.unwrap_or_default(), name.unwrap_or_default(), call.input);
            }
            (None, Some(more)) => append(&mut text, more),
            (None, None) => {}
        }
    }
    (text, calls.finish())
}
