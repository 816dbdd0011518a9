//! Plausible answers without a model: the same prompt always gets the same answer.

pub(crate) mod bundled;
pub(crate) mod choose;
pub(crate) mod schema;
pub(crate) mod sentiment;

use crate::rng::hash;
use schema::Schema;
use std::borrow::Cow;
use std::sync::Arc;

/// The part of a prompt that an answer depends on, and the size of all of it.
#[derive(Debug, Default)]
pub(crate) struct Prompt<'a> {
    /// System and developer text.
    pub(crate) instructions: Cow<'a, str>,
    /// The last user text.
    pub(crate) user: Cow<'a, str>,
    /// Text bytes of all messages.
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
}

impl<'a> Prompt<'a> {
    /// Adds the texts of one message.
    pub(crate) fn push(&mut self, system: bool, mut texts: Vec<Cow<'a, str>>) {
        self.messages += 1;
        self.bytes += texts.iter().map(|text| text.len() as u64).sum::<u64>();
        let text = match texts.len() {
            0 => return,
            1 => texts.swap_remove(0),
            _ => Cow::Owned(texts.join("\n")),
        };
        if !system {
            self.user = text;
        } else if self.instructions.is_empty() {
            self.instructions = text;
        } else {
            let joined = format!("{}\n{text}", self.instructions);
            self.instructions = Cow::Owned(joined);
        }
    }

    pub(crate) fn tokens(&self) -> u64 {
        crate::tokens::prompt(self.bytes, self.messages)
    }

    pub(crate) fn key(&self, seed: u64) -> u64 {
        hash(self.user.as_bytes(), hash(self.instructions.as_bytes(), seed))
    }
}

/// The form an answer must take.
#[derive(Debug, Clone, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    JsonObject,
    Schema(Arc<Schema>),
}

/// Writes the answer's text.
pub(crate) fn write(prompt: &Prompt<'_>, format: &Format, key: u64) -> String {
    match format {
        Format::Text => plain(prompt, key),
        Format::JsonObject => {
            let mut out = b"{\"answer\":".to_vec();
            crate::json::push_str(&mut out, &plain(prompt, key));
            out.push(b'}');
            String::from_utf8(out).unwrap_or_default()
        }
        Format::Schema(schema) => schema.example(&prompt.user, key),
    }
}

/// The answer of somebody who has read the instructions and not the text: of the right form, and often wrong.
pub(crate) fn write_blindly(prompt: &Prompt<'_>, format: &Format, key: u64) -> String {
    let blind = Prompt { instructions: prompt.instructions.clone(), ..Prompt::default() };
    let plausible = write(&blind, format, crate::rng::mix(key ^ 0xB11D));
    // Who lists the answers in the text itself says them there.
    let listed = matches!(format, Format::Text) && choose::listed(&blind.instructions).is_none();
    match choose::listed(&prompt.user).filter(|_| listed) {
        Some((choices, _)) => choose::choose("", &choices, key).to_owned(),
        None => plausible,
    }
}

fn plain(prompt: &Prompt<'_>, key: u64) -> String {
    for (text, in_user) in [(&prompt.instructions, false), (&prompt.user, true)] {
        if let Some((choices, rest)) = choose::listed(text) {
            // A list inside the user's text must not vote for its own members.
            let about = if in_user { rest } else { prompt.user.to_string() };
            return choose::choose(&about, &choices, key).to_owned();
        }
    }
    let task = if prompt.instructions.is_empty() { &prompt.user } else { &prompt.instructions };
    let task = task.get(..task.floor_char_boundary(400)).unwrap_or_default().to_ascii_lowercase();
    let kinds: [(&[&str], &[&str]); 3] = [
        (&["sentiment"], &["positive", "negative", "neutral"]),
        (&["spam"], &["spam", "ham"]),
        (
            &["categor", "classify", "ticket", "route the"],
            &["billing", "delivery", "technical", "account", "other"],
        ),
    ];
    for (words, choices) in kinds {
        if words.iter().any(|word| task.contains(word)) {
            return choose::choose(&prompt.user, choices, key).to_owned();
        }
    }
    summary(&prompt.user).to_owned()
}

/// The first sentence, at most 200 bytes.
pub(crate) fn summary(text: &str) -> &str {
    let text = text.trim();
    let end = text.char_indices().find(|&(at, char)| {
        let next = text[at + char.len_utf8()..].chars().next();
        char == '\n' || matches!(char, '.' | '!' | '?') && next.is_none_or(char::is_whitespace)
    });
    let end = end.map_or(text.len(), |(at, char)| if char == '\n' { at } else { at + char.len_utf8() });
    let sentence = &text[..end];
    if sentence.is_empty() { "Nothing to say." } else { &sentence[..sentence.floor_char_boundary(200)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(instructions: &str, user: &str) -> String {
        let mut prompt = Prompt::default();
        prompt.push(true, vec![instructions.into()]);
        prompt.push(false, vec![user.into()]);
        plain(&prompt, prompt.key(1))
    }

    #[test]
    fn answers_fit_the_task() {
        let cases = [
            ("Give the sentiment of the review.", "I love it, works great!", "positive"),
            ("Give the sentiment of the review.", "Terrible. It broke and I want to return it.", "negative"),
            ("Is it spam?", "WIN a FREE prize, click now!!!", "spam"),
            ("Classify the ticket", "My parcel is late and tracking shows nothing", "delivery"),
            ("Classify the ticket", "I was charged twice on my invoice", "billing"),
            ("Answer with one of: refund, replace, ignore.", "Please refund me", "refund"),
            (
                "Summarise.",
                "The pump failed at 3 a.m. yesterday. Nobody noticed.",
                "The pump failed at 3 a.m.",
            ),
            ("", "", "Nothing to say."),
        ];
        for (instructions, user, want) in cases {
            assert_eq!(answer(instructions, user), want, "{instructions} / {user}");
        }
    }

    #[test]
    fn who_has_not_read_the_text_answers_in_form_and_wrongly() {
        let mut prompt = Prompt::default();
        prompt.push(true, vec!["Answer with one of: positive, negative, neutral.".into()]);
        prompt.push(false, vec!["I love it, works great!".into()]);
        assert_eq!(write(&prompt, &Format::Text, 1), "positive");
        assert_eq!(write_blindly(&prompt, &Format::Text, 1), "neutral");
    }

    #[test]
    fn prompts_count_every_message() {
        let mut prompt = Prompt::default();
        prompt.push(true, vec!["abcd".into()]);
        prompt.push(false, vec!["é".into(), "xyz".into()]);
        assert_eq!((prompt.bytes, prompt.messages, prompt.tokens()), (9, 2, 3 + 8));
    }
}
