//! Log-probabilities of an answer's tokens: which models tell them, how they are asked for, and how they are read.

use bulkrate_core::answer::Token;
use bulkrate_core::request::{Reasoning, Text};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encode::Encoder;
use super::models::{self, Sampling};
use crate::json::object::Object;
use crate::settings::ChatEndpoint;

/// What the Responses API must be asked to put into its answer.
const INCLUDE: &str = "[\"message.output_text.logprobs\"]";

impl Encoder {
    /// Why the model cannot be asked for them; `None`: it can.
    pub(super) fn tells_no_logprobs(
        &self,
        model: &str,
        reasoning: Option<Reasoning>,
    ) -> Option<&'static str> {
        if !self.dialect.takes.logprobs {
            return Some("this service is not known to tell any");
        }
        let served = self.deployments.get(model).map_or(model, |there| &there.model);
        match models::family(served).sampling {
            _ if !self.dialect.checks_models => None,
            Sampling::Free => None,
            Sampling::Never => Some("this model always reasons, and then tells none"),
            Sampling::WithoutReasoning if reasoning == Some(Reasoning::None) => None,
            Sampling::WithoutReasoning => {
                Some("this model tells them only without reasoning; set `reasoning` to `none`")
            }
        }
    }

    /// Asks for them, with so many that were likely in the place of each.
    pub(super) fn ask_logprobs(&self, alternatives: Option<u8>, body: &mut Object<'_, '_>) {
        let Some(alternatives) = alternatives else { return };
        match self.chat_endpoint {
            ChatEndpoint::ChatCompletions => body.literal("logprobs", "true"),
            ChatEndpoint::Responses => body.literal("include", INCLUDE),
        }
        body.number("top_logprobs", Some(alternatives).filter(|alternatives| *alternatives > 0));
    }
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    logprob: f64,
    #[serde(borrow, default)]
    top_logprobs: Option<Vec<Likely<'a>>>,
}

#[derive(Deserialize)]
struct Likely<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    logprob: f64,
}

#[derive(Deserialize)]
struct OfChat<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// The tokens of a chat's choice.
pub(super) fn of_chat(logprobs: Option<&RawValue>) -> Vec<Token<'_>> {
    let of = logprobs.and_then(|raw| serde_json::from_str::<OfChat<'_>>(raw.get()).ok());
    of_list(of.and_then(|of| of.content))
}

/// The tokens of a list. One that cannot be read is none: a paid answer is not lost by it.
pub(super) fn of_list(list: Option<&RawValue>) -> Vec<Token<'_>> {
    let listed = list.and_then(|raw| serde_json::from_str::<Vec<Listed<'_>>>(raw.get()).ok());
    listed.into_iter().flatten().map(token).collect()
}

fn token(listed: Listed<'_>) -> Token<'_> {
    let likely = listed.top_logprobs.into_iter().flatten();
    Token {
        text: listed.token.0,
        logprob: listed.logprob,
        likely: likely.map(|likely| (likely.token.0, likely.logprob)).collect(),
    }
}
