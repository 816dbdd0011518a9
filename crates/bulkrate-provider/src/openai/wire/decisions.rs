//! Decisions, both ways: one question of a choice about each item. The system prompt is the question, the turns are what it is about.
//!
//! Source: the types of `openai` 3.52.0 (`decision_create_params`, `decision`). No text is written, and of what comes back only the input is
//! charged. Two price lists differ in what its prompt cache costs, so that none is used.

use std::borrow::Cow;

use bulkrate_core::answer::{Body, Chance};
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Content, Message, Part, Text, write_json_text};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encode::{Job, write_input_item};
use crate::api::Unsupported;
use crate::json::loose::LooseText;
use crate::json::object::{Object, Own, array};

/// Choices of one question.
const CHOICES: std::ops::RangeInclusive<usize> = 2..=255;
/// The caller's own fields that would change what is answered, or what it costs.
const REFUSED: &[(&str, &str, &str)] = &[
    ("provider_kwargs.questions", "questions", "one answer is kept for each item: that to its `choices`"),
    (
        "provider_kwargs.prompt_cache_options",
        "prompt_cache_options",
        "price lists differ in what the prompt cache of decisions costs; leave it out",
    ),
];
/// Nothing is cached without a mark, and none is set.
const NO_CACHE: &str = "{\"mode\":\"explicit\"}";

pub(super) fn check(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    if job.options.lane != Lane::Sync {
        return Err(job.unsupported("kind", "decisions are calls of the sync lane"));
    }
    if let Some((field, _, why)) = REFUSED.iter().find(|(_, name, _)| own.has(name)) {
        return Err(job.unsupported(field, *why));
    }
    job.refuse_two_schemas()?;
    if !CHOICES.contains(&config.choices.len()) {
        let (least, most) = (CHOICES.start(), CHOICES.end());
        return Err(job.unsupported("choices", format!("a decision is one of {least} to {most} of them")));
    }
    job.refuse_settings("choices", "a decision writes no text: it has no such parameter")?;
    if job.prompts().is_empty() {
        let why = "it is the question that is asked of each item, such as `Sort the ticket by its subject.`";
        return Err(job.unsupported("system_prompt", why));
    }
    job.refuse_turns("OpenAI", "input")?;
    match job.has_part(|part| matches!(part, Part::Document(_))) {
        true => Err(job.unsupported("messages.document", "decisions are about texts and images")),
        false => Ok(()),
    }
}

/// `is_openais`: it is asked at OpenAI itself, whose prompt cache is known.
pub(super) fn write(job: &Job<'_>, is_openais: bool, mut body: Object<'_, '_>) {
    body.text("model", job.options.model);
    if body.key("input") {
        match job.split().1 {
            [Message { content: Content::Text(text), .. }] => write_json_text(text, body.out),
            turns => array(turns, body.out, write_input_item),
        }
    }
    body.key("questions");
    body.out.extend_from_slice(b"[{\"type\":\"choice\",\"name\":\"answer\",\"instructions\":");
    write_json_text(&job.prompts().join("\n\n"), body.out);
    body.out.extend_from_slice(b",\"choices\":");
    array(&job.config().choices, body.out, |choice, out| {
        out.extend_from_slice(b"{\"value\":");
        write_json_text(choice, out);
        out.push(b'}');
    });
    body.out.extend_from_slice(b"}]");
    if is_openais {
        body.literal("prompt_cache_options", NO_CACHE);
    }
    body.close();
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
    #[serde(borrow, default)]
    choice: Option<&'a RawValue>,
    #[serde(borrow, default)]
    probabilities: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    probability: f64,
}

/// The answer to the one question. `None`: there is none that can be read.
pub(super) fn read(answers: &RawValue) -> Option<Body<'_>> {
    let [raw]: [&RawValue; 1] = serde_json::from_str(answers.get()).ok()?;
    let answer: Answer<'_> = serde_json::from_str(raw.get()).ok()?;
    match answer.kind.as_deref()? {
        "choice" => {
            let choice = value(answer.choice?)?;
            Some(Body::Choice { choice, chances: chances(answer.probabilities) })
        }
        "refusal" => {
            let refusal = Some(Cow::Borrowed("it declined to decide"));
            Some(Body::Text { text: Cow::Borrowed(""), refusal, tool_calls: None })
        }
        _ => None,
    }
}

/// A value is a text, or a boolean that nobody asked for.
fn value(raw: &RawValue) -> Option<Cow<'_, str>> {
    match raw.get() {
        text if text.starts_with('"') => serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0),
        "true" | "false" => Some(Cow::Borrowed(raw.get())),
        _ => None,
    }
}

/// What cannot be read is passed over: a paid answer is not lost by it.
fn chances(listed: Option<&RawValue>) -> Vec<Chance<'_>> {
    let listed = listed.and_then(|raw| serde_json::from_str::<Vec<Listed<'_>>>(raw.get()).ok());
    listed
        .into_iter()
        .flatten()
        .filter_map(|one| Some(Chance { choice: value(one.value)?, probability: one.probability }))
        .collect()
}
