//! What a bundle says beside its items, and what a request says of one item alone: read off the requests themselves, as both are made here.

use super::ask::Bundle;
use super::schema::of_one;
use crate::money::Tokens;
use crate::price::estimate::{JobShape, Schemas};
use crate::request::{Content, Request};

/// The last messages that are tried: all that differs between two of them is one word.
const WORDS: [&str; 2] = ["a", "b"];
/// Tokens around a message, and before an answer (OpenAI cookbook, "How to count tokens with tiktoken").
const PER_MESSAGE: u64 = 3;
const PER_ANSWER: u64 = 3;

/// Tokens of what is said, as they are counted by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// How to answer, once in each bundle, and the marks around so many items.
    instruction: u64,
    marks: u64,
    size: u64,
    /// The shape of the answer: of a bundle, and of an item alone.
    schema: u64,
    schema_alone: u64,
    /// What all requests have in common: tokens and bytes of it.
    common: (u64, u64),
}

impl Said {
    /// Of bundles of `size` made of this request, whose last message stands for those of all: `filled` is what it says with a word in the
    /// place of what differs. `None`: it cannot be asked so.
    #[must_use]
    pub fn of(
        lead: &Request<'_>,
        filled: &dyn Fn(&str) -> String,
        size: u32,
        count: &dyn Fn(&str) -> u64,
    ) -> Option<Self> {
        let words = WORDS.map(filled);
        let texts: Vec<&str> = (0..size as usize).map(|at| words[at % WORDS.len()].as_str()).collect();
        let bundle = Bundle::of(lead, &texts, None)?;
        let asked = bundle.request(lead);
        let text = |content: Option<&Content<'_>>| match content {
            Some(Content::Text(text)) => count(text),
            _ => 0,
        };
        let marked = text(asked.messages.last().map(|message| &message.content));
        let before = lead.system_prompt.iter().map(|text| &**text);
        let turns = lead.messages.iter().rev().skip(1).filter_map(|message| match &message.content {
            Content::Text(text) => Some(&**text),
            Content::Parts(_) => None,
        });
        let kept: Vec<&str> = before.chain(turns).collect();
        // What stands around a word in every message is said once; a word is a token.
        let around = count(texts.first()?).saturating_sub(1);
        let common: u64 = kept.iter().map(|text| count(text)).sum();
        let bytes: usize = kept.iter().map(|text| text.len()).sum();
        let config = &lead.generation_config;
        Some(Self {
            instruction: asked.system_prompt.last().map_or(0, |text| count(text)),
            marks: marked.saturating_sub(around).saturating_sub(u64::from(size)),
            size: u64::from(size.max(1)),
            schema: asked.generation_config.output_schema.map_or(0, |schema| count(schema.get())),
            schema_alone: of_one(config).map_or(0, |schema| count(&schema)),
            common: (common + around, (bytes + words[0].len().saturating_sub(WORDS[0].len())) as u64),
        })
    }

    /// Bytes of what all requests have in common.
    pub(super) fn common(&self) -> u64 {
        self.common.1
    }

    /// Adds to what items ask in bundles, `whole` of them, that each ask `alone`.
    pub(super) fn added(&self, alone: &JobShape, whole: u64) -> (Tokens, Schemas) {
        let prompts =
            alone.items.saturating_mul(self.marks) / self.size + whole.saturating_mul(self.instruction);
        let framing = alone.messages * PER_MESSAGE + alone.items * PER_ANSWER;
        let messages = alone.messages / alone.items.max(1) * whole;
        let schemas = Schemas {
            alone: Tokens(alone.items.saturating_mul(self.schema_alone)),
            together: Tokens(whole.saturating_mul(self.schema)),
            framing: (Tokens(framing), Tokens(messages * PER_MESSAGE + whole * PER_ANSWER)),
            bytes: alone.bytes,
            own: alone.bytes.saturating_sub(self.common.1.saturating_mul(alone.items)),
            common: self.common,
            counted: alone.counted.map(|(sum, _)| sum),
        };
        (Tokens(prompts), schemas)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn said(line: &str, size: u32) -> Said {
        let lead: Request<'_> = serde_json::from_str(line).unwrap();
        let user = match &lead.messages.last().unwrap().content {
            Content::Text(text) => text.to_string(),
            Content::Parts(_) => String::new(),
        };
        Said::of(&lead, &|word| user.replace('?', word), size, &crate::tokens::about).unwrap()
    }

    #[test]
    fn a_list_of_choices_is_said_twice_and_once_alone() {
        let line = |choices: &str| {
            format!(
                r#"{{"model":"m","system_prompt":["Sort the goods."],"messages":[{{"role":"user","content":"Goods: ?"}}],
                "generation_config":{{"choices":[{choices}]}}}}"#
            )
        };
        let few = said(&line(r#""good","bad""#), 20);
        let many = (0..50).map(|at| format!("\"kind_number_{at}\"")).collect::<Vec<_>>().join(",");
        let many = said(&line(&many), 20);
        let (list, listed) = (many.schema_alone - few.schema_alone, many.instruction - few.instruction);
        assert!(list > 180 && listed > 180, "{list} {listed}");
        assert_eq!(many.schema - few.schema, list, "the same names in both schemas");
        assert_eq!((many.marks, many.common), (few.marks, few.common));
        // `Sort the goods.` and `Goods: `, and around each item its marks and its id.
        assert_eq!(few.common, (4 + 2, 15 + 7));
        assert_eq!((few.marks / 20, said(&line(""), 20).schema_alone), (10, 0));
    }

    #[test]
    fn what_is_added_is_counted_for_every_bundle() {
        let line = r#"{"model":"m","messages":[{"role":"user","content":"?"}],"generation_config":{"choices":["good","bad"]}}"#;
        let said = said(line, 10);
        let alone = JobShape { items: 100, bytes: 4_000, messages: 100, ..JobShape::default() };
        let (prompts, schemas) = said.added(&alone, 10);
        assert_eq!(prompts.0, 10 * said.marks + 10 * said.instruction);
        assert_eq!((schemas.alone.0, schemas.together.0), (100 * said.schema_alone, 10 * said.schema));
        assert_eq!(schemas.framing, (Tokens(600), Tokens(60)));
    }
}
