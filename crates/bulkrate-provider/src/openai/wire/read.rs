//! Reads answers: chat completions, responses, embeddings, moderations, decisions, and lines of batch files.
//!
//! Everything is borrowed from the reply; no tree is built. Side fields of unexpected types are ignored, so that a
//! paid answer is lost only when its content cannot be read.

use std::borrow::Cow;

use bulkrate_core::answer::{Answer, Body, Embedding, Failure, Finish, Reading, Token};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::{Kind, Text};
use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::{self, Needs};
use super::{decisions, images, logprobs};
use crate::api::{BatchLine, Reply};
use crate::http::limits;
use crate::http::strange::{no_json, unreadable};
use crate::json::append;
use crate::json::loose::{Count, LooseContent, LooseText};
use crate::openai::errors;
use crate::settings::ChatEndpoint;

/// What of the settings decides how answers are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    pub(super) chat_endpoint: ChatEndpoint,
    /// Headers in which this service says what a call cost, and the user's own.
    pub(super) cost_headers: &'static [&'static str],
    pub(super) cost_header: Option<String>,
    /// The header in which it says which model answered.
    pub(super) served_header: Option<&'static str>,
    pub(super) trust_body_cost: bool,
}

/// An answer of one of the APIs; the fields of all of them, as a reply says which one it is only by its fields.
#[derive(Deserialize)]
struct Success<'a> {
    #[serde(borrow, default)]
    model: LooseText<'a>,
    #[serde(borrow, default)]
    service_tier: LooseText<'a>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    data: Option<Vec<Datum<'a>>>,
    #[serde(borrow, default)]
    results: Option<&'a RawValue>,
    #[serde(borrow, default)]
    answers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    output: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    incomplete_details: Option<Incomplete<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    finish_reason: LooseText<'a>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: LooseContent<'a>,
    #[serde(borrow, default)]
    refusal: LooseText<'a>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

/// A vector, or a picture.
#[derive(Deserialize)]
struct Datum<'a> {
    #[serde(borrow, default)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow, default)]
    b64_json: LooseText<'a>,
    /// Servers that keep pictures tell where.
    #[serde(borrow, default)]
    url: LooseText<'a>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow, default)]
    reason: LooseText<'a>,
}

/// One item of a Responses output.
#[derive(Deserialize)]
struct OutputItem<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<OutputPart<'a>>>,
}

#[derive(Deserialize)]
struct OutputPart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    text: LooseText<'a>,
    #[serde(borrow, default)]
    refusal: LooseText<'a>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
struct Line<'a, R> {
    #[serde(borrow)]
    custom_id: Text<'a>,
    response: Option<R>,
    /// An object, one within another, or a bare text.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LineResponse<'a> {
    #[serde(default)]
    status_code: Count,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// The line of an item that was answered, as nearly all are: read in one go, its answer included.
#[derive(Deserialize)]
struct AnsweredLine<'a> {
    #[serde(borrow)]
    custom_id: Text<'a>,
    #[serde(borrow)]
    response: AnsweredResponse<'a>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AnsweredResponse<'a> {
    #[serde(default)]
    status_code: Count,
    #[serde(borrow)]
    body: Success<'a>,
}

impl<'a, R: Deserialize<'a>> Line<'a, R> {
    fn of(line: &'a [u8]) -> Result<Self, String> {
        let parsed: Self = serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
        if parsed.custom_id.is_empty() {
            return Err("not a result: `custom_id` is empty".to_owned());
        }
        Ok(parsed)
    }
}

impl LineResponse<'_> {
    /// 0 where there is none.
    fn status(&self) -> u16 {
        u16::try_from(self.status_code.or_zero()).unwrap_or(0)
    }
}

/// What an answer holds, before usage and cost.
struct Content<'a> {
    body: Body<'a>,
    finish: Finish,
    tokens: Vec<Token<'a>>,
}

impl Reader {
    pub(super) fn reply<'a>(&self, kind: Kind, reply: &'a Reply) -> Reading<'a> {
        if !(200..300).contains(&reply.status) {
            return Reading::Failure(errors::classify(reply, limits::now_unix_s()));
        }
        let charged =
            usage::charged_by_header(&reply.headers, self.cost_header.as_deref(), self.cost_headers);
        let mut reading = self.success(kind, &reply.body, charged);
        let served = self.served_header.and_then(|name| reply.header(name));
        if let (Some(model), Reading::Answer(answer)) =
            (served.filter(|model| !model.is_empty()), &mut reading)
        {
            answer.model = Some(Cow::Borrowed(model));
        }
        reading
    }

    pub(super) fn line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if let Some(answered) = self.answered_line(kind, line) {
            return Ok(answered);
        }
        let parsed = Line::<LineResponse<'a>>::of(line)?;
        let reading = match (parsed.error, parsed.response) {
            (Some(error), response) => Reading::Failure(failed_line(error, response.as_ref())),
            (None, None) => Reading::Failure(unreadable("the line has neither a response nor an error")),
            (None, Some(response)) => self.line_response(kind, &response),
        };
        Ok(BatchLine { custom_id: parsed.custom_id.0, reading })
    }

    /// A line without a status, whose answer or error stands alone.
    pub(super) fn bare_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let parsed = Line::<&'a RawValue>::of(line)?;
        let reading = match (parsed.error, parsed.response) {
            (Some(error), _) => Reading::Failure(failed_line(error, None)),
            (None, Some(answer)) => self.success(kind, answer.get().as_bytes(), None),
            (None, None) => Reading::Failure(unreadable("the line has neither a response nor an error")),
        };
        Ok(BatchLine { custom_id: parsed.custom_id.0, reading })
    }

    /// `None`: not such a line, or its answer is not as expected; then it is looked at piece by piece.
    fn answered_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Option<BatchLine<'a>> {
        let parsed: AnsweredLine<'a> = serde_json::from_slice(line).ok()?;
        let status = parsed.response.status_code.or(None)?;
        let answered = parsed.error.is_none() && (200..300).contains(&status) && !parsed.custom_id.is_empty();
        answered.then(|| BatchLine {
            custom_id: parsed.custom_id.0,
            reading: self.answer(kind, parsed.response.body, None),
        })
    }

    fn line_response<'a>(&self, kind: Kind, response: &LineResponse<'a>) -> Reading<'a> {
        let status = response.status();
        let body = response.body.map_or("", |body| body.get());
        if (200..300).contains(&status) {
            return self.success(kind, body.as_bytes(), None);
        }
        let said = errors::read(body.as_bytes()).unwrap_or_default();
        Reading::Failure(said.failure(status, limits::text_wait_ms(&said.message)))
    }

    pub(super) fn success<'a>(&self, kind: Kind, body: &'a [u8], charged: Option<UsdNanos>) -> Reading<'a> {
        match serde_json::from_slice(body) {
            Ok(parsed) => self.answer(kind, parsed, charged),
            Err(error) => Reading::Failure(no_json(body, &error)),
        }
    }

    fn answer<'a>(&self, kind: Kind, parsed: Success<'a>, charged: Option<UsdNanos>) -> Reading<'a> {
        let content = match kind {
            Kind::Chat if self.chat_endpoint == ChatEndpoint::Responses => responses(&parsed),
            Kind::Chat => chat(&parsed),
            Kind::Embedding => embedding(&parsed),
            Kind::Moderation => moderation(&parsed),
            Kind::Decision => decision(&parsed),
            Kind::Image => image(&parsed),
        };
        let usage = read_usage(kind, &parsed);
        let Some(content) = content else { return Reading::Failure(without_content(&parsed, usage)) };
        let from_body = || if self.trust_body_cost { usage::charged_by_body(parsed.usage) } else { None };
        Reading::Answer(Box::new(Answer {
            body: content.body,
            finish: content.finish,
            usage,
            model: parsed.model.0,
            tier: parsed.service_tier.0,
            charged: charged.or_else(from_body),
            tokens: content.tokens,
        }))
    }
}

fn read_usage(kind: Kind, parsed: &Success<'_>) -> Option<Usage> {
    match (kind, parsed.usage) {
        (Kind::Chat | Kind::Image, raw) => usage::read(raw, Needs::Both),
        (Kind::Moderation, None) => Some(Usage::default()), // it has none, and costs nothing
        (_, raw) => usage::read(raw, Needs::Prompt),
    }
}

fn chat<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let choice = parsed.choices.as_ref()?.first()?;
    let message = choice.message.as_ref()?;
    let refusal = message.refusal.0.clone();
    let finish = match choice.finish_reason.as_deref() {
        _ if refusal.is_some() => Finish::ContentFilter,
        Some("stop") => Finish::Stop,
        Some("length") => Finish::Length,
        Some("tool_calls" | "function_call") => Finish::ToolCalls,
        Some("content_filter") => Finish::ContentFilter,
        _ => Finish::Other,
    };
    let tool_calls = message
        .tool_calls
        .filter(|calls| calls.get().trim_start_matches(['[', ' ', '\n', '\t', '\r']) != "]");
    let tool_calls = tool_calls.filter(|calls| calls.get().starts_with('[')).map(Cow::Borrowed);
    let body = Body::Text { text: message.content.0.clone(), refusal, tool_calls };
    Some(Content { body, finish, tokens: logprobs::of_chat(choice.logprobs) })
}

fn responses<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let output = parsed.output.as_ref()?;
    let mut text = Cow::Borrowed("");
    let mut refusal = None;
    let mut calls: Vec<&str> = Vec::new();
    let mut tokens = Vec::new();
    for &raw in output {
        let Ok(item) = serde_json::from_str::<OutputItem<'a>>(raw.get()) else { continue };
        match item.kind.as_deref() {
            Some("function_call") => calls.push(raw.get()),
            Some("message") => {
                for part in item.content.into_iter().flatten() {
                    tokens.extend(logprobs::of_list(part.logprobs));
                    match (part.kind.as_deref(), part.text.0, part.refusal.0) {
                        (Some("output_text"), Some(more), _) => append(&mut text, more),
                        (Some("refusal"), _, Some(words)) => refusal = Some(words),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let reason = parsed.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
    let finish = match (parsed.status.as_deref(), reason) {
        _ if refusal.is_some() => Finish::ContentFilter,
        (Some("incomplete"), Some("max_output_tokens")) => Finish::Length,
        (Some("incomplete"), Some("content_filter")) => Finish::ContentFilter,
        (Some("completed"), _) if !calls.is_empty() => Finish::ToolCalls,
        (Some("completed"), _) => Finish::Stop,
        // A failed response is an answer only when it was billed.
        (Some("failed"), _)
            if usage::read(parsed.usage, Needs::Both).is_some_and(|usage| usage.output > 0) =>
        {
            Finish::Malformed
        }
        (Some("failed"), _) => return None,
        _ => Finish::Other,
    };
    let tool_calls =
        (!calls.is_empty()).then(|| RawValue::from_string(format!("[{}]", calls.join(","))).ok()).flatten();
    let body = Body::Text { text, refusal, tool_calls: tool_calls.map(Cow::Owned) };
    Some(Content { body, finish, tokens })
}

fn embedding<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let raw = parsed.data.as_ref()?.first()?.embedding?;
    let embedding = match raw.get().as_bytes().first() {
        Some(b'"') => Embedding::Base64(serde_json::from_str::<Text<'a>>(raw.get()).ok()?.0),
        Some(b'[') => Embedding::Numbers(raw),
        _ => return None,
    };
    Some(Content { body: Body::Embedding(embedding), finish: Finish::Stop, tokens: Vec::new() })
}

fn moderation<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let all = parsed.results?;
    let results: Vec<&'a RawValue> = serde_json::from_str(all.get()).ok()?;
    let result = match results.as_slice() {
        [] => return None,
        [one] => one,
        _ => all,
    };
    Some(Content { body: Body::Moderation(result), finish: Finish::Stop, tokens: Vec::new() })
}

fn decision<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let body = decisions::read(parsed.answers?)?;
    Some(Content { body, finish: Finish::Stop, tokens: Vec::new() })
}

fn image<'a>(parsed: &Success<'a>) -> Option<Content<'a>> {
    let Datum { b64_json, url, .. } = parsed.data.as_ref()?.first()?;
    let body = Body::Image(images::read(b64_json.0.clone(), url.0.clone())?);
    Some(Content { body, finish: Finish::Stop, tokens: Vec::new() })
}

/// A 2xx without content: an error in disguise, or nothing we can read.
fn without_content(parsed: &Success<'_>, usage: Option<Usage>) -> Failure {
    let Some(said) = parsed.error.and_then(errors::read_inner) else {
        return unreadable("the answer holds no content");
    };
    // Routers put the status they got into `code`.
    let status = said
        .code
        .as_deref()
        .and_then(|code| code.parse().ok())
        .filter(|status| (400..600).contains(status))
        .unwrap_or(500);
    let mut failure = said.failure(status, limits::text_wait_ms(&said.message));
    failure.maybe_paid = status >= 500 && failure.class != FailureClass::RateLimited
        || usage.is_some_and(|usage| usage.output > 0);
    failure
}

/// A line that says why it has no answer: in OpenAI's own words the batch did not run it; others tell a refusal in this place.
fn failed_line(error: &RawValue, response: Option<&LineResponse<'_>>) -> Failure {
    let said = errors::read_inner(error).or_else(|| errors::read(error.get().as_bytes())).unwrap_or_default();
    match response.map(LineResponse::status) {
        Some(status @ 400..600) => said.failure(status, limits::text_wait_ms(&said.message)),
        _ => not_run(&said),
    }
}

/// An item that the batch did not run: nothing was billed.
fn not_run(said: &errors::Said) -> Failure {
    let code = said.code.as_deref().unwrap_or("");
    let class = match code {
        // A cancelled item may run elsewhere; whether it shall is for the one who cancelled to say.
        "batch_expired" | "batch_cancelled" => FailureClass::Expired,
        "request_timeout" => FailureClass::Timeout,
        _ => FailureClass::Transient,
    };
    let told = Some(said.message.as_str()).filter(|message| !message.is_empty());
    let message = told.unwrap_or("the item was not run").to_owned();
    Failure {
        class,
        message,
        provider_code: (!code.is_empty()).then(|| code.to_owned()),
        wait_ms: None,
        maybe_paid: false,
    }
}
