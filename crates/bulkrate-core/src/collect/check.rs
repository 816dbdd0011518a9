//! JSON, schema, closed list, empty, refusal and truncation checks; each failure is its own class.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::answer::{Answer, Body, Embedding, Finish};
use crate::failure::FailureClass;
use crate::request::{Blob, write_blob};

/// What an answer must be.
#[derive(Clone)]
pub enum Expectation {
    /// Any text that is not empty.
    Text,
    /// One of these, as a text or as `{"answer": ...}`.
    Choices(Vec<String>),
    /// JSON that matches the schema.
    Schema(Arc<jsonschema::Validator>),
    Embedding {
        dimensions: Option<u32>,
    },
    Moderation,
    Image,
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("Text"),
            Self::Choices(choices) => f.debug_tuple("Choices").field(choices).finish(),
            Self::Schema(_) => f.write_str("Schema"),
            Self::Embedding { dimensions } => {
                f.debug_struct("Embedding").field("dimensions", dimensions).finish()
            }
            Self::Moderation => f.write_str("Moderation"),
            Self::Image => f.write_str("Image"),
        }
    }
}

/// A schema that is no valid JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema is not a valid JSON Schema: {0}")]
pub struct BadSchema(pub String);

impl Expectation {
    pub fn schema(json: &str) -> Result<Self, BadSchema> {
        let schema: serde_json::Value =
            serde_json::from_str(json).map_err(|error| BadSchema(error.to_string()))?;
        if !schema.is_object() {
            return Err(BadSchema("a schema is a JSON object".to_owned()));
        }
        jsonschema::validator_for(&schema)
            .map(|validator| Self::Schema(Arc::new(validator)))
            .map_err(|error| BadSchema(place_in_schema(&error)))
    }
}

/// The words that JSON Schema knows for `type`.
const TYPES: &str = "`string`, `number`, `integer`, `boolean`, `object`, `array` or `null`";

/// Where in the schema the mistake is, and what it is.
fn place_in_schema(error: &jsonschema::ValidationError<'_>) -> String {
    let pointer = error.instance_path().to_string();
    let steps: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|step| format!("`{}`", step.replace("~1", "/").replace("~0", "~")))
        .collect();
    if steps.is_empty() {
        return error.to_string();
    }
    let place = steps.join(" > ");
    if pointer.ends_with("/type") {
        return format!("at {place}: {} is no type; it must be {TYPES}", error.instance());
    }
    format!("at {place}: {error}")
}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked<'a> {
    Text(Cow<'a, str>),
    /// The choice as the user wrote it.
    Choice(&'a str),
    /// JSON text that matched the schema.
    Json(Cow<'a, str>),
    /// Base64 of little-endian `f32`.
    VectorBase64(Cow<'a, str>),
    /// A JSON array of numbers.
    VectorNumbers(&'a str),
}

/// Why an answer is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    pub class: FailureClass,
    pub message: String,
}

fn flaw(class: FailureClass, message: impl Into<String>) -> Flaw {
    Flaw { class, message: message.into() }
}

/// Judges a paid answer.
pub fn check<'a>(expectation: &'a Expectation, answer: &'a Answer<'a>) -> Result<Checked<'a>, Flaw> {
    match (&answer.body, expectation) {
        (Body::Embedding(_), _) if answer.finish == Finish::Length => {
            let why = "the text is longer than the model takes, and the vector is that of its beginning";
            Err(flaw(FailureClass::Truncated, why))
        }
        (Body::Embedding(embedding), _) => vector(embedding, expectation),
        (Body::Choice { choice, .. }, _) => judge_text(expectation, choice),
        (Body::Moderation(result), _) => Ok(Checked::Json(Cow::Borrowed(result.get()))),
        (Body::Image(picture), _) => image(picture),
        (Body::Text { text, refusal, tool_calls }, _) => {
            if let Some(refusal) = refusal.as_deref().filter(|refusal| !refusal.is_empty()) {
                return Err(flaw(FailureClass::Refusal, format!("the model refused: {}", excerpt(refusal))));
            }
            finish(answer.finish, text)?;
            match tool_calls {
                Some(calls) if text.trim().is_empty() => Ok(Checked::Json(Cow::Borrowed(calls.get()))),
                _ if text.trim().is_empty() => Err(flaw(FailureClass::Empty, "the answer is empty")),
                _ => judge_text(expectation, text),
            }
        }
    }
}

fn finish(finish: Finish, text: &str) -> Result<(), Flaw> {
    match finish {
        Finish::Length => {
            let hint = if text.trim().is_empty() { "; nothing visible was left after reasoning" } else { "" };
            Err(flaw(FailureClass::Truncated, format!("the answer was cut at the output maximum{hint}")))
        }
        Finish::ContextExceeded => {
            Err(flaw(FailureClass::RefusedByProvider, "the prompt and answer exceed the context window"))
        }
        Finish::ContentFilter => {
            Err(flaw(FailureClass::ContentPolicy, "a content filter stopped the answer"))
        }
        Finish::Malformed => {
            Err(flaw(FailureClass::Transient, "the provider marked its answer as malformed"))
        }
        Finish::Stop | Finish::ToolCalls | Finish::Paused | Finish::Other => Ok(()),
    }
}

fn judge_text<'a>(expectation: &'a Expectation, text: &'a str) -> Result<Checked<'a>, Flaw> {
    match expectation {
        Expectation::Choices(choices) => choice(choices, text),
        Expectation::Schema(validator) => {
            let json = unfence(text);
            let value = serde_json::from_str(json).map_err(|error| {
                flaw(FailureClass::SchemaFailed, format!("the answer is not JSON: {error}"))
            })?;
            match validator.iter_errors(&value).next() {
                None => Ok(Checked::Json(Cow::Borrowed(json))),
                Some(error) => {
                    let place = error.instance_path().to_string();
                    let place = if place.is_empty() { "the top level" } else { place.as_str() };
                    Err(flaw(
                        FailureClass::SchemaFailed,
                        format!(
                            "the answer does not match the schema at {place}: {}",
                            excerpt(&error.to_string())
                        ),
                    ))
                }
            }
        }
        Expectation::Text | Expectation::Embedding { .. } | Expectation::Moderation | Expectation::Image => {
            Ok(Checked::Text(Cow::Borrowed(text)))
        }
    }
}

/// A picture as a part of an answer: `{"data":"...","media_type":"image/png","source_type":"base64","type":"image"}`.
fn image<'a>(picture: &Blob<'_>) -> Result<Checked<'a>, Flaw> {
    if picture.data.is_empty() {
        return Err(flaw(FailureClass::Empty, "the answer holds no picture"));
    }
    let mut part = Vec::with_capacity(picture.data.len() + 128);
    write_blob(picture, "image", &mut part);
    String::from_utf8(part)
        .map(|part| Checked::Json(Cow::Owned(part)))
        .map_err(|_| flaw(FailureClass::Empty, "the picture is no text"))
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    answer: crate::request::Text<'a>,
}

fn choice<'a>(choices: &'a [String], text: &'a str) -> Result<Checked<'a>, Flaw> {
    let trimmed = unfence(text);
    let wrapped =
        trimmed.starts_with('{').then(|| serde_json::from_str::<Wrapped<'_>>(trimmed).ok()).flatten();
    let given = wrapped.as_ref().map_or(trimmed, |wrapped| &wrapped.answer).trim();
    if let Some(exact) = choices.iter().find(|choice| choice.trim() == given) {
        return Ok(Checked::Choice(exact));
    }
    let given = given.trim_matches(|mark| matches!(mark, '"' | '\'' | '.' | '`')).trim();
    choices
        .iter()
        .find(|choice| choice.trim() == given)
        .or_else(|| choices.iter().find(|choice| choice.trim().to_lowercase() == given.to_lowercase()))
        .map(|choice| Checked::Choice(choice))
        .ok_or_else(|| {
            flaw(FailureClass::SchemaFailed, format!("`{}` is not one of the choices", excerpt(given)))
        })
}

/// The text without the Markdown code fence that some models put around JSON.
pub(crate) fn unfence(text: &str) -> &str {
    let trimmed = text.trim();
    let Some(inner) = trimmed.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return trimmed;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

fn vector<'a>(embedding: &'a Embedding<'a>, expectation: &Expectation) -> Result<Checked<'a>, Flaw> {
    let want = if let Expectation::Embedding { dimensions } = expectation { *dimensions } else { None };
    let (length, checked) = match embedding {
        Embedding::Base64(text) => {
            let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
            let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            let sound = text.len().is_multiple_of(4)
                && padding <= 2
                && text.bytes().take(text.len() - padding).all(alphabet);
            let bytes = (text.len() / 4 * 3).saturating_sub(padding);
            if !sound || !bytes.is_multiple_of(4) {
                return Err(flaw(FailureClass::SchemaFailed, "the embedding is no base64 of 32-bit floats"));
            }
            (bytes / 4, Checked::VectorBase64(Cow::Borrowed(text.as_ref())))
        }
        Embedding::Numbers(raw) => {
            let numbers: Vec<f64> = serde_json::from_str(raw.get()).map_err(|error| {
                flaw(FailureClass::SchemaFailed, format!("the embedding is no list of numbers: {error}"))
            })?;
            (numbers.len(), Checked::VectorNumbers(raw.get()))
        }
    };
    match want {
        _ if length == 0 => Err(flaw(FailureClass::Empty, "the embedding is empty")),
        Some(want) if usize::try_from(want) != Ok(length) => Err(flaw(
            FailureClass::SchemaFailed,
            format!("the embedding has {length} dimensions, {want} were asked for"),
        )),
        _ => Ok(checked),
    }
}

fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(160) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn answer(text: &str, finish: Finish) -> Answer<'_> {
        Answer {
            body: Body::Text { text: text.into(), refusal: None, tool_calls: None },
            finish,
            usage: None,
            model: None,
            tier: None,
            charged: None,
            tokens: Vec::new(),
        }
    }

    fn class(expectation: &Expectation, text: &str, finish: Finish) -> Result<String, FailureClass> {
        match check(expectation, &answer(text, finish)) {
            Ok(Checked::Text(text) | Checked::Json(text)) => Ok(text.into_owned()),
            Ok(Checked::Choice(choice)) => Ok(choice.to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(flaw) => Err(flaw.class),
        }
    }

    #[test]
    fn each_way_to_fail_has_its_class() {
        let choices = Expectation::Choices(vec!["Positive".into(), "negative".into(), "Pos".into()]);
        let schema = Expectation::schema(
            r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#,
        )
        .unwrap();
        for (expectation, text, finish, want) in [
            (&Expectation::Text, "hello", Finish::Stop, Ok("hello")),
            (&Expectation::Text, " \n", Finish::Stop, Err(FailureClass::Empty)),
            (&Expectation::Text, "cut", Finish::Length, Err(FailureClass::Truncated)),
            (&Expectation::Text, "", Finish::Length, Err(FailureClass::Truncated)),
            (&Expectation::Text, "x", Finish::ContentFilter, Err(FailureClass::ContentPolicy)),
            (&choices, "positive", Finish::Stop, Ok("Positive")),
            (&choices, "Pos", Finish::Stop, Ok("Pos")),
            (&choices, r#"{"answer":"NEGATIVE"}"#, Finish::Stop, Ok("negative")),
            (&choices, " \"negative\". ", Finish::Stop, Ok("negative")),
            (&choices, "```json\n{\"answer\": \"Positive\"}\n```", Finish::Stop, Ok("Positive")),
            (&choices, "neutral", Finish::Stop, Err(FailureClass::SchemaFailed)),
            (&choices, r#"{"answer":7}"#, Finish::Stop, Err(FailureClass::SchemaFailed)),
            (&schema, r#"{"n":1}"#, Finish::Stop, Ok(r#"{"n":1}"#)),
            (&schema, r#"{"n":"1"}"#, Finish::Stop, Err(FailureClass::SchemaFailed)),
            (&schema, "n is 1", Finish::Stop, Err(FailureClass::SchemaFailed)),
        ] {
            assert_eq!(
                class(expectation, text, finish).as_deref(),
                want.as_deref(),
                "{expectation:?} {text:?}"
            );
        }
    }

    #[test]
    fn refusals_are_seen_even_when_the_model_stopped_by_itself() {
        let mut refused = answer("", Finish::Stop);
        refused.body =
            Body::Text { text: "".into(), refusal: Some("I cannot help".into()), tool_calls: None };
        let flaw = check(&Expectation::Text, &refused).unwrap_err();
        assert_eq!(
            (flaw.class, flaw.message.as_str()),
            (FailureClass::Refusal, "the model refused: I cannot help")
        );
    }

    #[test]
    fn vectors_have_the_length_asked_for() {
        let two = Embedding::Base64("AAAAAAAAgD8=".into());
        for (embedding, dimensions, good) in [
            (&two, Some(2), true),
            (&two, None, true),
            (&two, Some(3), false),
            (&Embedding::Base64("AAAA".into()), None, false),
            (&Embedding::Base64("".into()), None, false),
            (&Embedding::Base64("A-AA".into()), None, false),
        ] {
            assert_eq!(
                vector(embedding, &Expectation::Embedding { dimensions }).is_ok(),
                good,
                "{embedding:?} {dimensions:?}"
            );
        }
    }

    #[test]
    fn a_broken_schema_is_told_before_any_spend() {
        for schema in ["[]", "{", r#"{"type":"objekt"}"#] {
            assert!(Expectation::schema(schema).is_err(), "{schema}");
        }
    }
}
