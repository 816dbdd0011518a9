//! Reads messages. Content that nobody knows is passed over; a paid answer is lost only when its content cannot be read at all.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Failure, Finish, Reading};
use bulkrate_core::failure::FailureClass;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::anthropic::errors;
use crate::api::{BatchLine, Reply};
use crate::http::limits;
use crate::http::strange::{no_json, unreadable};
use crate::json::append;
use crate::json::calls::Calls;
use crate::json::loose::LooseText;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    model: LooseText<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    stop_reason: LooseText<'a>,
    #[serde(borrow, default)]
    stop_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    text: LooseText<'a>,
    #[serde(borrow, default)]
    id: LooseText<'a>,
    #[serde(borrow, default)]
    name: LooseText<'a>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StopDetails<'a> {
    #[serde(borrow, default)]
    category: LooseText<'a>,
    #[serde(borrow, default)]
    explanation: LooseText<'a>,
}

pub(super) fn reply(reply: &Reply) -> Reading<'_> {
    if !(200..300).contains(&reply.status) {
        return Reading::Failure(errors::classify(reply, limits::now_unix_s()));
    }
    success(&reply.body)
}

pub(crate) fn success(body: &[u8]) -> Reading<'_> {
    match serde_json::from_slice::<Message<'_>>(body) {
        Ok(message) if message.content.is_some() => message_read(message),
        Ok(_) => Reading::Failure(without_content(body)),
        Err(error) => Reading::Failure(no_json(body, &error)),
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    result: LineResult<'a>,
}

#[derive(Deserialize)]
struct LineResult<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// One line of a batch's results. Whatever did not succeed is not billed.
pub(super) fn line(line: &[u8]) -> Result<BatchLine<'_>, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let Line { custom_id, result } =
        serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
    if custom_id.is_empty() {
        return Err("not a result: `custom_id` is empty".to_owned());
    }
    let reading = match (result.kind.as_deref(), result.message) {
        (Some("succeeded"), Some(message)) => success(message.get().as_bytes()),
        (Some("errored"), _) => Reading::Failure(errored(result.error)),
        (Some("canceled"), _) => not_run("batch_canceled", "the batch was cancelled before the item ran"),
        (Some("expired"), _) => not_run("batch_expired", "the batch expired before the item ran"),
        _ => Reading::Failure(unreadable("the line is of no type that is known")),
    };
    Ok(BatchLine { custom_id, reading })
}

/// The error is nested twice: within the line's error stands the body that a call would have got.
fn errored(error: Option<&RawValue>) -> Failure {
    match error.and_then(|error| errors::read(error.get().as_bytes())) {
        Some(said) => said.failure(said.usual_status(), None),
        None => Failure {
            class: FailureClass::Transient,
            message: "the item failed without a reason".to_owned(),
            provider_code: None,
            wait_ms: None,
            maybe_paid: false,
        },
    }
}

/// A cancelled item may run elsewhere; whether it shall is for the one who cancelled to say.
fn not_run(code: &str, message: &str) -> Reading<'static> {
    Reading::Failure(Failure {
        class: FailureClass::Expired,
        message: message.to_owned(),
        provider_code: Some(code.to_owned()),
        wait_ms: None,
        maybe_paid: false,
    })
}

fn message_read(message: Message<'_>) -> Reading<'_> {
    let finish = match message.stop_reason.as_deref() {
        Some("end_turn" | "stop_sequence") => Finish::Stop,
        Some("max_tokens") => Finish::Length,
        Some("tool_use") => Finish::ToolCalls,
        Some("refusal") => Finish::ContentFilter,
        Some("model_context_window_exceeded") => Finish::ContextExceeded,
        Some("pause_turn" | "compaction") => Finish::Paused,
        _ => Finish::Other,
    };
    let refusal = (finish == Finish::ContentFilter).then(|| refusal(message.stop_details));
    let (text, tool_calls) = blocks(message.content.unwrap_or_default());
    let (usage, tier) = usage::read(message.usage);
    Reading::Answer(Box::new(Answer {
        body: Body::Text { text, refusal, tool_calls },
        finish,
        usage,
        model: message.model.0,
        tier,
        charged: None,
        tokens: Vec::new(),
    }))
}

/// The visible text, and the calls.
fn blocks<'a>(content: Vec<&'a RawValue>) -> (Cow<'a, str>, Option<Cow<'a, RawValue>>) {
    let mut text = Cow::Borrowed("");
    let mut calls = Calls::default();
    for raw in content {
        let Ok(block) = serde_json::from_str::<Block<'a>>(raw.get()) else { continue };
        match (block.kind.as_deref(), block.text.0) {
            (Some("text"), Some(more)) => append(&mut text, more),
            (Some("tool_use"), _) => {
                let (id, name) = (block.id.as_deref(), block.name.as_deref());
                calls.push(id.unwrap_or_default(), name.unwrap_or_default(), block.input);
            }
            _ => {}
        }
    }
    (text, calls.finish())
}

fn refusal<'a>(details: Option<&'a RawValue>) -> Cow<'a, str> {
    let details = details.and_then(|raw| serde_json::from_str::<StopDetails<'a>>(raw.get()).ok());
    match details.map(|details| (details.explanation.0, details.category.0)) {
        Some((Some(explanation), _)) => explanation,
        Some((None, Some(category))) => Cow::Owned(format!("refused ({category})")),
        _ => Cow::Borrowed("refused without a reason"),
    }
}

/// A 2xx without content: an error in disguise, or nothing we can read.
fn without_content(body: &[u8]) -> Failure {
    let Some(said) = errors::read(body) else { return unreadable("the answer holds no content") };
    let status = said.usual_status();
    let mut failure = said.failure(status, None);
    failure.maybe_paid = status >= 500 && said.kind != "overloaded_error";
    failure
}
