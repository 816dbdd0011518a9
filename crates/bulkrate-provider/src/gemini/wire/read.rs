//! Reads answers. Parts that nobody knows are passed over; a paid answer is lost only when there is none in it.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Failure, Finish, Reading};
use bulkrate_core::request::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{embed, usage};
use crate::api::{BatchLine, Reply};
use crate::gemini::errors;
use crate::http::strange::{no_json, unreadable};
use crate::json::append;
use crate::json::calls::Calls;
use crate::json::loose::LooseText;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Candidate<'a>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_version: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: LooseText<'a>,
    #[serde(borrow, default)]
    finish_message: LooseText<'a>,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    parts: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: LooseText<'a>,
    #[serde(default)]
    thought: bool,
    #[serde(borrow, default)]
    function_call: Option<Call<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: LooseText<'a>,
    #[serde(borrow, default)]
    name: LooseText<'a>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: LooseText<'a>,
}

pub(super) fn reply(kind: Kind, reply: &Reply) -> Reading<'_> {
    if !(200..300).contains(&reply.status) {
        return Reading::Failure(errors::of(reply));
    }
    success_of(kind, &reply.body)
}

fn success_of(kind: Kind, body: &[u8]) -> Reading<'_> {
    if kind == Kind::Embedding { embed::success(body) } else { success(body) }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// One line of a batch's results.
pub(super) fn line(kind: Kind, line: &[u8]) -> Result<BatchLine<'_>, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let Line { key, response, error } =
        serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
    if key.is_empty() {
        return Err("not a result: `key` is empty".to_owned());
    }
    let said = error.and_then(errors::read_status);
    let reading = match (response, said) {
        (Some(response), None) => success_of(kind, response.get().as_bytes()),
        (_, Some(said)) => Reading::Failure(said.failure(said.usual_status, None)),
        (None, None) => Reading::Failure(unreadable("the line holds neither a response nor an error")),
    };
    Ok(BatchLine { custom_id: key, reading })
}

pub(crate) fn success(body: &[u8]) -> Reading<'_> {
    let response: Response<'_> = match serde_json::from_slice(body) {
        Ok(response) => response,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    let (usage, tier) = usage::read(response.usage_metadata);
    let blocked =
        response.prompt_feedback.and_then(|raw| serde_json::from_str::<Feedback<'_>>(raw.get()).ok());
    let blocked = blocked.and_then(|feedback| feedback.block_reason.0);
    let (finish, body) = match (response.candidates.into_iter().next(), blocked) {
        (Some(candidate), _) => candidate.read(),
        // The prompt was read, and no more.
        (None, Some(reason)) => (Finish::ContentFilter, refused(&reason, None)),
        (None, None) => return Reading::Failure(without_answer(body, "the answer holds no candidate")),
    };
    Reading::Answer(Box::new(Answer {
        body,
        finish,
        usage,
        model: response.model_version.0,
        tier,
        charged: None,
        tokens: Vec::new(),
    }))
}

impl<'a> Candidate<'a> {
    fn read(self) -> (Finish, Body<'a>) {
        let reason = self.finish_reason.as_deref().unwrap_or_default();
        let (text, tool_calls) = texts(self.content);
        match finish(reason) {
            Finish::ContentFilter => (Finish::ContentFilter, refused(reason, self.finish_message.0)),
            Finish::Stop if tool_calls.is_some() => {
                (Finish::ToolCalls, Body::Text { text, refusal: None, tool_calls })
            }
            finish => (finish, Body::Text { text, refusal: None, tool_calls }),
        }
    }
}

/// What was written before it was stopped is no answer.
fn refused<'a>(reason: &str, message: Option<Cow<'a, str>>) -> Body<'a> {
    let refusal = message.unwrap_or_else(|| Cow::Owned(format!("blocked ({reason})")));
    Body::Text { text: Cow::Borrowed(""), refusal: Some(refusal), tool_calls: None }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "STOP" => Finish::Stop,
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "MODEL_ARMOR" => Finish::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE" => Finish::Malformed,
        _ => Finish::Other,
    }
}

/// The visible text, and the calls. There is nothing where all that was allowed was thought.
fn texts(content: Option<&RawValue>) -> (Cow<'_, str>, Option<Cow<'_, RawValue>>) {
    let (mut text, mut calls) = (Cow::Borrowed(""), Calls::default());
    let parts = content.and_then(|content| serde_json::from_str::<Parts<'_>>(content.get()).ok());
    for raw in parts.into_iter().flat_map(|content| content.parts) {
        let Ok(part) = serde_json::from_str::<Part<'_>>(raw.get()) else { continue };
        match (part.function_call, part.text.0) {
            (Some(call), _) => {
                let (id, name) = (call.id.as_deref(), call.name.as_deref());
                calls.push(id.unwrap_or_default(), name.unwrap_or_default(), call.args);
            }
            (None, Some(more)) if !part.thought => append(&mut text, more),
            _ => {}
        }
    }
    (text, calls.finish())
}

/// A 2xx without an answer: an error in disguise, or nothing we can read.
pub(super) fn without_answer(body: &[u8], why: &str) -> Failure {
    let Some(said) = errors::read(body) else { return unreadable(why) };
    let status = said.usual_status;
    Failure { maybe_paid: status >= 500 && status != 503, ..said.failure(status, None) }
}
