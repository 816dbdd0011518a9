//! What happens in `validating`: every line is looked at, and one bad line fails the file.

use super::words::Words;
use crate::api::{Endpoint, glance};
use crate::catalogue::{Catalogue, Kind, Lane, Model};
use crate::json;
use crate::like::Splice;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json as value};
use std::borrow::Cow;
use std::collections::HashSet;

const LINES_MAX: usize = 50_000;
const EMBEDDING_INPUTS_MAX: u64 = 50_000;
const ERRORS_MAX: usize = 100;

/// One line of an input file.
#[derive(Deserialize)]
struct InputLine<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl InputLine<'_> {
    /// Whether it asks for a chat in the form that Google's page shows. The service itself looks at the body alone; whoever relies on
    /// that is not helped here.
    fn is_chat(&self) -> bool {
        let says = |field: Option<&RawValue>, text: &str| field.and_then(json::text).as_deref() == Some(text);
        let head = self.body.and_then(|body| serde_json::from_str::<BodyHead<'_>>(body.get()).ok());
        says(self.method, "POST")
            && says(self.url, Endpoint::Chat.path())
            && head.and_then(|head| head.messages).is_some_and(|messages| messages.get().starts_with('['))
    }
}

#[derive(Deserialize)]
struct BodyHead<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
}

/// One line of an input file of Google's.
#[derive(Deserialize)]
struct KeyedLine<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    request: &'a RawValue,
}

/// One record of Bedrock's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    record_id: &'a RawValue,
    #[serde(borrow)]
    model_input: &'a RawValue,
}

/// The id and the request of a line, if it has both. What has no id is known by itself.
pub(crate) fn parts(words: Words, line: &[u8]) -> Option<(&RawValue, &RawValue)> {
    let (id, asked) = match words {
        Words::OpenAi | Words::Flat => {
            let line: InputLine<'_> = serde_json::from_slice(line).ok()?;
            return line.custom_id.zip(line.body);
        }
        Words::Open => {
            let line: InputLine<'_> = serde_json::from_slice(line).ok()?;
            line.is_chat().then_some(line.custom_id.zip(line.body))??
        }
        Words::Bedrock => {
            let line: Record<'_> = serde_json::from_slice(line).ok()?;
            (line.record_id, line.model_input)
        }
        Words::Gemini | Words::Echoed(_) | Words::Named(..) => {
            let line: KeyedLine<'_> = serde_json::from_slice(line).ok()?;
            let id = match words {
                Words::Echoed(_) => line.request,
                Words::Named("custom_id", _) => line.custom_id?,
                _ => line.key?,
            };
            (id, line.request)
        }
    };
    asked.get().starts_with('{').then_some((id, asked))
}

/// A file that may run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Start and length of every line.
    pub(crate) spans: Vec<(u32, u32)>,
    pub(crate) model: usize,
    pub(crate) model_name: String,
    pub(crate) served: String,
    /// Prompt tokens of all lines.
    pub(crate) tokens: u64,
}

/// Entries of a failed batch's `errors.data`.
pub(crate) type Refusals = Vec<Value>;

struct Checker<'m> {
    models: &'m Catalogue,
    endpoint: Endpoint,
    words: Words,
    /// The endpoint, as the batch names it.
    url: &'m str,
    ids: HashSet<u64>,
    model: Option<(usize, String, String)>,
    tokens: u64,
    inputs: u64,
    errors: Refusals,
}

/// Checks a whole file. Lines end at `\n`; blank ones are skipped but counted. `named`: the model of all lines, where none names it;
/// `splice`: what is said for all of them beside them.
pub(crate) fn validate(
    models: &Catalogue,
    (endpoint, words): (Endpoint, Words),
    url: &str,
    named: Option<&str>,
    (input, splice): (&[u8], Option<&Splice>),
) -> Result<Plan, Refusals> {
    let mut checker = Checker {
        models,
        endpoint,
        words,
        url,
        ids: HashSet::new(),
        model: None,
        tokens: 0,
        inputs: 0,
        errors: Vec::new(),
    };
    let (mut spans, mut start, mut number) = (Vec::new(), 0, 0_u64);
    while start < input.len() && checker.errors.len() < ERRORS_MAX {
        let end = memchr::memchr(b'\n', &input[start..]).map_or(input.len(), |at| start + at);
        let line = &input[start..end];
        number += 1;
        if !line.trim_ascii().is_empty() {
            let whole = splice.map_or(Cow::Borrowed(line), |splice| splice.whole(line));
            match named {
                Some(model) => checker.keyed(&whole, model, number),
                None => checker.line(&whole, number),
            }
            spans.push((
                u32::try_from(start).unwrap_or(u32::MAX),
                u32::try_from(line.len()).unwrap_or(u32::MAX),
            ));
        }
        start = end + 1;
    }
    checker.finish(spans)
}

fn refusal(code: &str, param: Option<&str>, line: Option<u64>, message: impl Into<String>) -> Value {
    value!({"code": code, "message": message.into(), "param": param, "line": line})
}

impl Checker<'_> {
    fn refuse(&mut self, code: &str, param: Option<&str>, line: u64, message: impl Into<String>) {
        self.errors.push(refusal(code, param, Some(line), message));
    }

    fn line(&mut self, line: &[u8], number: u64) {
        let Ok(parsed) = serde_json::from_slice::<InputLine<'_>>(line) else {
            return self.refuse(
                "invalid_json_line",
                None,
                number,
                "This line is not parseable as valid JSON.",
            );
        };
        let fields = [
            ("custom_id", parsed.custom_id),
            ("method", parsed.method),
            ("url", parsed.url),
            ("body", parsed.body),
        ];
        if let Some((name, _)) = fields.iter().find(|(_, value)| value.is_none()) {
            return self.refuse(
                "missing_required_parameter",
                Some(name),
                number,
                format!("Missing required parameter: '{name}'."),
            );
        }
        let id = parsed.custom_id.and_then(json::text).unwrap_or_default();
        if !self.ids.insert(crate::rng::hash(id.as_bytes(), 5)) {
            let message = format!(
                "The custom_id '{id}' for this request is a duplicate of another request. The custom_id parameter must be unique for \
                 each request in a batch."
            );
            return self.refuse("duplicate_custom_id", Some("custom_id"), number, message);
        }
        if parsed.method.and_then(json::text).as_deref() != Some("POST") {
            return self.refuse(
                "invalid_method",
                Some("method"),
                number,
                "The method of this request must be POST.",
            );
        }
        if parsed.url.and_then(json::text).as_deref() != Some(self.url) {
            let message = "The URL provided for this request does not match the batch endpoint.";
            return self.refuse("invalid_url", Some("url"), number, message);
        }
        if let Some(body) = parsed.body {
            self.body(body, number);
        }
    }

    /// Only what is no request at all is looked at before it runs.
    fn keyed(&mut self, line: &[u8], model: &str, number: u64) {
        let Some((_, request)) = parts(self.words, line) else {
            let message = format!("Error on line {number}: invalid JSON, near column 1");
            return self.refuse("INVALID_ARGUMENT", None, number, message);
        };
        if self.model_fits(model, number) {
            self.tokens += glance(self.endpoint, request.get().as_bytes()).tokens;
        }
    }

    fn body(&mut self, body: &RawValue, number: u64) {
        let Ok(head) = serde_json::from_str::<BodyHead<'_>>(body.get()) else {
            return self.refuse(
                "invalid_request",
                Some("body"),
                number,
                "The body of this request must be a JSON object.",
            );
        };
        let Some(model) = head.model.and_then(json::text).filter(|model| !model.is_empty()) else {
            return self.refuse(
                "invalid_request",
                Some("body.model"),
                number,
                "Model parameter is required.",
            );
        };
        let (name, given) = match self.endpoint {
            Endpoint::Chat => ("Messages", head.messages),
            Endpoint::Images => ("Prompt", head.prompt),
            _ => ("Input", head.input),
        };
        if given.is_none() {
            let param = format!("body.{}", name.to_ascii_lowercase());
            return self.refuse(
                "invalid_request",
                Some(&param),
                number,
                format!("{name} parameter is required."),
            );
        }
        if !self.model_fits(&model, number) {
            return;
        }
        let seen = glance(self.endpoint, body.get().as_bytes());
        self.tokens += seen.tokens;
        self.inputs += seen.inputs;
        if seen.stream {
            self.refuse(
                "streaming_unsupported",
                Some("body.stream"),
                number,
                "Chat Completions: Streaming is not supported in the Batch API.",
            );
        }
    }

    fn model_fits(&mut self, name: &str, number: u64) -> bool {
        if let Some((_, first, _)) = &self.model {
            if first == name {
                return true;
            }
            let message = format!(
                "The model '{name}' does not match the model '{first}' of the first request. A batch may use one model only."
            );
            self.refuse("mismatched_model", Some("body.model"), number, message);
            return false;
        }
        let kind = self.endpoint.kind();
        let sold = |model: &Model| {
            model.serves(kind) && (model.tariff.rates(Lane::Batch).is_some() || kind == Kind::Moderation)
        };
        if self.models.find(name).is_ok() && self.models.takes_no_batches(name) {
            let message = format!("The deployment '{name}' is of a type that takes no batches.");
            self.refuse("invalid_request", Some("body.model"), number, message);
            return false;
        }
        match self.models.find(name) {
            Ok((model, served)) if sold(model) => {
                self.model = Some((model.index, name.to_owned(), served.into_owned()));
                true
            }
            _ => {
                let message = format!("The provided model '{name}' is not supported by the Batch API.");
                self.refuse("model_not_found", Some("body.model"), number, message);
                false
            }
        }
    }

    fn finish(mut self, spans: Vec<(u32, u32)>) -> Result<Plan, Refusals> {
        if spans.len() > LINES_MAX {
            let message =
                format!("The batch holds {} requests, more than the maximum of {LINES_MAX}.", spans.len());
            self.errors = vec![refusal("too_many_requests", None, None, message)];
        } else if self.endpoint == Endpoint::Embeddings && self.inputs > EMBEDDING_INPUTS_MAX {
            let message = format!(
                "The batch holds {} embedding inputs, more than the maximum of {EMBEDDING_INPUTS_MAX}.",
                self.inputs
            );
            self.errors = vec![refusal("too_many_requests", None, None, message)];
        } else if spans.is_empty() && self.errors.is_empty() {
            self.errors.push(refusal("empty_file", None, None, "The input file is empty."));
        }
        match self.model {
            Some((model, model_name, served)) if self.errors.is_empty() => {
                Ok(Plan { spans, model, model_name, served, tokens: self.tokens })
            }
            _ => Err(self.errors),
        }
    }
}

/// The refusal of a batch that does not fit the model's enqueued-token limit.
pub(crate) fn token_limit(model: &str, limit: u64) -> Value {
    let digits = limit.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let message = format!(
        "Enqueued token limit reached for {model} in organization org-sim. Limit: {grouped} enqueued tokens. Please try again once \
         some in_progress batches have been completed."
    );
    refusal("token_limit_exceeded", None, None, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const GOOD: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-6-luna","messages":[{"role":"user","content":"abcd"}]}}"#;

    fn check(file: &str) -> Result<Plan, Refusals> {
        let models = Catalogue::load(None, "2026-11-21", false, crate::like::Sells::Of("openai")).unwrap();
        validate(
            &models,
            (Endpoint::Chat, Words::OpenAi),
            Endpoint::Chat.path(),
            None,
            (file.as_bytes(), None),
        )
    }

    #[test]
    fn a_good_file_gives_a_plan() {
        let plan = check(&format!("{GOOD}\n\n{}", GOOD.replace("\"a\"", "\"b\""))).unwrap();
        assert_eq!((plan.spans.len(), plan.tokens, plan.model_name.as_str()), (2, 2 * (1 + 4), "gpt-6-luna"));
    }

    #[test]
    fn bad_lines_are_named() {
        let cases = [
            ("not json".to_owned(), "invalid_json_line", 2),
            (GOOD.to_owned(), "duplicate_custom_id", 2),
            (
                GOOD.replace("\"a\"", "\"b\"").replace("\"method\":\"POST\",", ""),
                "missing_required_parameter",
                2,
            ),
            (
                GOOD.replace("\"a\"", "\"b\"").replace("/v1/chat/completions", "/v1/responses"),
                "invalid_url",
                2,
            ),
            (GOOD.replace("\"a\"", "\"b\"").replace("gpt-6-luna", "gpt-6-sol"), "mismatched_model", 2),
            (GOOD.replace("\"a\"", "\"b\"").replace("\"messages\"", "\"massages\""), "invalid_request", 2),
            (
                GOOD.replace("\"a\"", "\"b\"").replace("\"messages\"", "\"stream\":true,\"messages\""),
                "streaming_unsupported",
                2,
            ),
        ];
        for (line, code, number) in cases {
            let errors = check(&format!("{GOOD}\n{line}\n")).unwrap_err();
            assert_eq!(
                (errors.len(), errors[0]["code"].as_str(), errors[0]["line"].as_u64()),
                (1, Some(code), Some(number)),
                "{line}"
            );
        }
        assert_eq!(check(&GOOD.replace("gpt-6-luna", "gpt-9")).unwrap_err()[0]["code"], "model_not_found");
        assert_eq!(check("\n \n").unwrap_err()[0]["code"], "empty_file");
    }

    #[test]
    fn the_token_limit_is_written_with_commas() {
        let text = token_limit("gpt-6-luna", 2_000_000);
        assert!(text["message"].as_str().unwrap().contains("Limit: 2,000,000 enqueued tokens"));
    }
}
