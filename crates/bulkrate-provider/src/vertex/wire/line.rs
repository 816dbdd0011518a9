//! Lines of batches. Those of Gemini's chats have no id: ours is a label of the request, which the answer repeats. Open models' are
//! OpenAI's on their way out, and come back with an answer that has nothing around it.

use std::borrow::Cow;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::{Kind, Request, write_json_text};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Maker;
use crate::api::{BatchLine, Unsupported};
use crate::gemini::errors::{self, Said};
use crate::http::strange::unreadable;
use crate::json::loose::LooseText;
use crate::json::object::Own;

/// The name of the label that holds our id.
pub(in crate::vertex) const LABEL: &str = "bulkrate";

/// Appends an input line around a body of Google's or Claude's. In a table Gemini's rows have an id as well, and their requests are texts, which may be
/// a JSON that BigQuery's own type cannot hold.
pub(super) fn write(
    id: WireId,
    (kind, maker): (Kind, Maker),
    body: &[u8],
    in_tables: bool,
    out: &mut Vec<u8>,
) {
    let named = match kind {
        Kind::Embedding => Some("key"),
        _ => (maker == Maker::Anthropic).then_some("custom_id"),
    };
    match (named, in_tables) {
        (Some(name), _) => {
            out.extend_from_slice(format!("{{\"{name}\":\"{id}\",\"request\":").as_bytes());
            out.extend_from_slice(body);
        }
        (None, false) => {
            out.extend_from_slice(b"{\"request\":");
            labelled(id, body, out);
        }
        (None, true) => {
            out.extend_from_slice(format!("{{\"custom_id\":\"{id}\",\"request\":").as_bytes());
            let mut request = Vec::with_capacity(body.len() + 64);
            labelled(id, body, &mut request);
            write_json_text(&String::from_utf8_lossy(&request), out);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a request to Gemini with our id as a label of it.
fn labelled(id: WireId, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"labels\":{{\"{LABEL}\":\"{id}\"").as_bytes());
    match own_labels(body) {
        None => {
            out.push(b'}');
            append_inner(body, out);
        }
        Some(own) => {
            append_inner(own.get("labels").unwrap_or_default().as_bytes(), out);
            out.push(b'}');
            for name in own.names().filter(|name| *name != "labels") {
                out.push(b',');
                write_json_text(name, out);
                out.push(b':');
                out.extend_from_slice(own.get(name).unwrap_or("null").as_bytes());
            }
        }
    }
    out.push(b'}');
}

/// What bodies of chats have at their top: Claude's a version, open models' messages without one, and Gemini's neither. A schema may have
/// properties of these names.
#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    anthropic_version: Option<IgnoredAny>,
    #[serde(default)]
    messages: Option<IgnoredAny>,
}

/// Whose words a body is in. A line does not say its model.
pub(super) fn maker(kind: Kind, body: &[u8]) -> Maker {
    let has = |name: &[u8]| memchr::memmem::find(body, name).is_some();
    if kind != Kind::Chat || !(has(b"\"anthropic_version\"") || has(b"\"messages\"")) {
        return Maker::Google;
    }
    match serde_json::from_slice(body) {
        Ok(Top { anthropic_version: Some(_), .. }) => Maker::Anthropic,
        Ok(Top { messages: Some(_), .. }) => Maker::Open,
        _ => Maker::Google,
    }
}

/// What a body in Google's words has not, as by it a line would be told for another maker's.
pub(super) fn check_words(request: &Request<'_>, model: &str) -> Result<(), Unsupported> {
    let Ok(own) = Own::read(request.provider_kwargs) else { return Ok(()) };
    let others = [
        ("messages", "provider_kwargs.messages"),
        ("anthropic_version", "provider_kwargs.anthropic_version"),
    ];
    let Some((_, field)) = others.into_iter().find(|(name, _)| own.has(name)) else { return Ok(()) };
    let why = "Gemini's bodies have no such field: its turns are `contents`".to_owned();
    Err(Unsupported { field, model: model.to_owned(), why })
}

/// Labels of the caller's own stand beside ours: results are known by it alone, and must not be by one of his.
pub(super) fn check_labels(request: &Request<'_>, model: &str) -> Result<(), Unsupported> {
    // What is no object at all is told of all fields.
    let Ok(own) = Own::read(request.provider_kwargs) else { return Ok(()) };
    let why = match own.within("labels") {
        Ok(labels) if labels.has(LABEL) => {
            format!("`{LABEL}` is the label that a batch's rows are known by; give yours another name")
        }
        Ok(_) => return Ok(()),
        Err(why) => why,
    };
    Err(Unsupported { field: "provider_kwargs.labels", model: model.to_owned(), why })
}

/// What stands between the braces of an object, after others.
fn append_inner(object: &[u8], out: &mut Vec<u8>) {
    let inner = object.trim_ascii();
    let inner =
        inner.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")).unwrap_or(b"").trim_ascii();
    if !inner.is_empty() {
        out.push(b',');
        out.extend_from_slice(inner);
    }
}

/// The body's fields, where labels of the caller's own are among them, or what he wrote for none. Hardly anybody has any.
fn own_labels(body: &[u8]) -> Option<Own<'_>> {
    memchr::memmem::find(body, b"\"labels\"")?;
    let own = Own::read(serde_json::from_slice(body).ok()).ok()?;
    own.has("labels").then_some(own)
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, alias = "key")]
    custom_id: LooseText<'a>,
    #[serde(borrow, default)]
    status: LooseText<'a>,
    /// Only open models' rows have it, empty where all went well: a text, and who knows what else.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

/// What stands there as wrong; `None`: nothing.
fn told(error: &RawValue) -> Option<Cow<'_, str>> {
    match error.get() {
        "{}" | "null" => None,
        text if text.starts_with('"') => serde_json::from_str::<LooseText<'_>>(text).ok()?.0,
        other => Some(Cow::Borrowed(other)),
    }
}

#[derive(Deserialize)]
struct Echo<'a> {
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
}

/// One line of a batch's results. `success` reads an answer, and is told where its line is an open model's.
pub(super) fn read<'a>(
    line: &'a [u8],
    success: impl Fn(&'a [u8], bool) -> Reading<'a>,
) -> Result<BatchLine<'a>, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let Line { custom_id, status, error, request, response } =
        serde_json::from_slice(line).map_err(|error| format!("not a result: {error}"))?;
    let custom_id = custom_id.0.filter(|id| !id.is_empty()).or_else(|| request.and_then(label));
    let custom_id = custom_id.ok_or("not a result: nothing in it says whose it is")?;
    let answer =
        response.map(RawValue::get).filter(|answer| answer.trim_ascii() != "{}" && *answer != "null");
    let success = |answer: &'a str| success(answer.as_bytes(), error.is_some());
    let said = status.0.or_else(|| error.and_then(told));
    let reading = match (answer, said) {
        (Some(answer), None) => success(answer),
        (None, None) => Reading::Failure(unreadable("the line holds neither a response nor an error")),
        (answer, Some(said)) => match answer.map(success) {
            // Whatever is said of it: an answer is paid.
            Some(answered @ Reading::Answer(_)) => answered,
            _ => Reading::Failure(failed(&said)),
        },
    };
    Ok(BatchLine { custom_id, reading })
}

/// Our id in the echo of a request.
fn label(request: &RawValue) -> Option<Cow<'_, str>> {
    let echo: Echo<'_> = serde_json::from_str(request.get()).ok()?;
    let labels = Own::read(echo.labels).ok()?;
    serde_json::from_str::<LooseText<'_>>(labels.get(LABEL)?).ok()?.0
}

/// A status is a text for people, mostly with the error of a call in it. What failed is not billed.
fn failed(status: &str) -> Failure {
    let body = status.find('{').map(|at| &status.as_bytes()[at..]);
    let said = body.and_then(errors::read).or_else(|| {
        // What is around it may follow on it as well.
        let number = status.split("\"code\":").nth(1)?.trim_start();
        let digits = number.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(number.len());
        let usual_status = number[..digits].parse().ok()?;
        Some(Said { usual_status, message: status.to_owned(), ..Said::default() })
    });
    match said {
        Some(said) => said.failure(said.usual_status, None),
        None => Failure {
            class: FailureClass::Transient,
            message: status.to_owned(),
            provider_code: None,
            wait_ms: None,
            maybe_paid: false,
        },
    }
}
