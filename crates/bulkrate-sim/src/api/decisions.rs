//! POST /v1/decisions: the answers to questions about an input, each with its probability. Only what is read is charged.

use super::chat::texts;
use super::params::string;
use super::responses::{push_input, write_usage};
use super::{Context, Twist};
use crate::answers::{Prompt, choose};
use crate::errors::{ApiError, from_parse};
use crate::json::push_str;
use crate::rng::{hash, mix, unit};
use crate::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Write as _;

const QUESTIONS_MAX: usize = 400;
const CHOICES_MAX: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    questions: Vec<Question<'a>>,
    prompt_cache_key: Option<IgnoredAny>,
    prompt_cache_options: Option<IgnoredAny>,
    safety_identifier: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
}

#[derive(Debug)]
struct Asked<'a> {
    name: Option<Cow<'a, str>>,
    choices: Vec<Cow<'a, str>>,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) model: Cow<'a, str>,
    prompt: Prompt<'a>,
    asked: Vec<Asked<'a>>,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let body: Body<'a> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
        let input = body.input.ok_or_else(|| ApiError::missing("input"))?;
        if !(1..=QUESTIONS_MAX).contains(&body.questions.len()) {
            return Err(ApiError::invalid(None, "questions", format!("Ask 1 to {QUESTIONS_MAX} questions.")));
        }
        let mut prompt = Prompt::default();
        let asked = body
            .questions
            .into_iter()
            .map(|question| question.asked(&mut prompt))
            .collect::<Result<Vec<_>, _>>()?;
        push_input(&mut prompt, input)?;
        Ok(Self { model: string("model", body.model)?.unwrap_or_default(), prompt, asked })
    }

    pub(super) fn tokens(&self) -> u64 {
        self.prompt.tokens()
    }

    /// Appends the answers. What is written is counted and not charged.
    pub(super) fn answer(&self, served: &str, context: &Context<'_>, out: &mut Vec<u8>) -> Usage {
        out.extend_from_slice(b"{\"answers\":[");
        let key = self.prompt.key(context.config.seed);
        for (at, asked) in self.asked.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            asked.answer(&self.prompt, mix(key ^ at as u64), context, out);
        }
        out.extend_from_slice(b"],\"model\":");
        push_str(out, served);
        let usage = Usage { prompt: self.tokens(), output: self.asked.len() as u64, ..Usage::default() };
        context.twist.push_usage(out, "usage", |out| write_usage(out, usage, context.twist));
        out.push(b'}');
        usage
    }
}

impl<'a> Question<'a> {
    fn asked(self, prompt: &mut Prompt<'a>) -> Result<Asked<'a>, ApiError> {
        let bad = |why: String| Err(ApiError::invalid(None, "questions", why));
        if self.kind != "choice" {
            return bad(format!("Questions of type '{}' are not simulated.", self.kind));
        }
        let instructions = texts("questions.instructions", self.instructions)?;
        if instructions.iter().all(|text| text.is_empty()) {
            return bad("Missing required parameter: 'instructions'.".to_owned());
        }
        prompt.push(true, instructions);
        let mut choices: Vec<Cow<'a, str>> = Vec::new();
        for Choice { value, description } in self.choices {
            prompt.bytes += (value.len() + description.as_deref().map_or(0, str::len)) as u64;
            if choices.contains(&value) {
                return bad(format!("Each choice must be unique: '{value}' is there twice."));
            }
            choices.push(value);
        }
        match (2..=CHOICES_MAX).contains(&choices.len()) {
            true => Ok(Asked { name: self.name, choices }),
            false => bad(format!("Provide between 2 and {CHOICES_MAX} choices.")),
        }
    }
}

impl Asked<'_> {
    fn answer(&self, prompt: &Prompt<'_>, key: u64, context: &Context<'_>, out: &mut Vec<u8>) {
        let kind = if context.twist == Twist::Refusal { "refusal" } else { "choice" };
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"name\":").as_bytes());
        match &self.name {
            Some(name) => push_str(out, name),
            None => out.extend_from_slice(b"null"),
        }
        if context.twist != Twist::Refusal {
            self.choose(prompt, key, out);
        }
        out.push(b'}');
    }

    fn choose(&self, prompt: &Prompt<'_>, key: u64, out: &mut Vec<u8>) {
        let chosen = choose::choose(&prompt.user, &self.choices, key);
        let sure = 0.55 + 0.449 * unit(mix(key ^ hash(chosen.as_bytes(), 0xDEC1)));
        out.extend_from_slice(b",\"choice\":");
        push_str(out, chosen);
        // Writing to a Vec cannot fail.
        let _ = write!(out, ",\"confidence\":{sure:.6},\"probabilities\":[");
        let rest = (1.0 - sure) / (self.choices.len() - 1) as f64;
        for (at, choice) in self.choices.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"value\":");
            push_str(out, choice);
            let _ = write!(out, ",\"probability\":{:.6}}}", if choice == chosen { sure } else { rest });
        }
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::api::testing::Server;
    use crate::api::{Endpoint, Twist};
    use serde_json::{Value, json};

    fn asked(more: &Value, twist: Twist) -> Result<Value, String> {
        let mut body = json!({"model": "gpt-6-luna", "input": "My parcel is late", "questions": [{"type": "choice", "name": "answer", "instructions": "Sort it.", "choices": [{"value": "billing"}, {"value": "delivery"}]}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let server = Server::of("openai");
        server.ask((Endpoint::Decisions, None), &body.to_string(), twist).map(|(answer, _)| answer)
    }

    #[test]
    fn an_answer_says_how_likely_each_choice_is() {
        let said = asked(&json!({}), Twist::None).unwrap();
        let answer = &said["answers"][0];
        assert_eq!(
            (&answer["type"], &answer["name"], &answer["choice"]),
            (&json!("choice"), &json!("answer"), &json!("delivery"))
        );
        let all: f64 = answer["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["probability"].as_f64().unwrap())
            .sum();
        assert!((all - 1.0).abs() < 1e-5 && answer["confidence"].as_f64().unwrap() > 0.5, "{said}");
        assert!(said["usage"]["input_tokens"].as_u64() > Some(10) && said["model"].is_string(), "{said}");
        let said = asked(&json!({}), Twist::Refusal).unwrap();
        assert_eq!(said["answers"], json!([{"type": "refusal", "name": "answer"}]));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let question = |choices: Value| json!({"questions": [{"type": "choice", "instructions": "Sort it.", "choices": choices}]});
        for (more, words) in [
            (json!({"questions": []}), "1 to 400"),
            (json!({"questions": [{"type": "score", "instructions": "x"}]}), "not simulated"),
            (question(json!([{"value": "a"}])), "between 2 and 255"),
            (question(json!([{"value": "a"}, {"value": "a"}])), "unique"),
            (json!({"max_tokens": 5}), "max_tokens"),
            (json!({"model": "gpt-5.6-luna"}), "cannot be used with /v1/decisions"),
            (json!({"model": "nobody"}), "does not exist"),
        ] {
            let error = asked(&more, Twist::None).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
