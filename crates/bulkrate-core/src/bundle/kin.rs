//! Which items may be asked together.

use std::fmt;

use serde_json::Value;

use super::fit::Limit;
use super::schema::can_move;
use crate::request::{Content, Kind, Message, Part, Priority, Request, Role, write_canonical};
use crate::route::learned::fingerprint;

/// All of a request but its last message: items of one kin differ in that alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kin(Vec<u8>);

/// Why an item is asked alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alone {
    NoChat,
    NoLastText,
    Tools,
    /// Its line is sent as it was written.
    AsWritten,
    Stops,
    OwnFields,
    Schema,
    Urgent,
    /// No second one has room beside it.
    NoRoom(Limit),
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom(limit) => return write!(f, "no second one has room beside it: {limit}"),
            Self::NoChat => "it is no chat",
            Self::NoLastText => "its last message is no text of the user",
            Self::Tools => "it holds tool calls, images or documents",
            Self::AsWritten => "an OpenAI batch line is sent as it is",
            Self::Stops => "a stop sequence would end the answers of all",
            Self::OwnFields => "`provider_kwargs` sets what holds for one answer",
            Self::Schema => "its schema refers to places that move",
            Self::Urgent => "it is urgent",
        })
    }
}

/// Fields of a provider's body that are about one answer, or that a bundle sets itself.
const OWN_FIELDS: [&str; 32] = [
    "n",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "text",
    "stop",
    "stop_sequences",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "messages",
    "input",
    "instructions",
    "system",
    "contents",
    "generationConfig",
    "inferenceConfig",
    "toolConfig",
    "systemInstruction",
    "additionalModelRequestFields",
    "prompt",
    "prediction",
    "previous_response_id",
    "conversation",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "min_tokens",
    "stop_token_ids",
    "structured_outputs",
];

impl Kin {
    /// The kin of a request, and the message in which it differs from others of it.
    pub fn of<'r>(request: &'r Request<'_>) -> Result<(Self, &'r str), Alone> {
        if request.kind != Kind::Chat {
            return Err(Alone::NoChat);
        }
        if request.priority == Priority::High {
            return Err(Alone::Urgent);
        }
        let (last, before) = request.messages.split_last().ok_or(Alone::NoLastText)?;
        let text = text_of(last).ok_or(Alone::NoLastText)?;
        if before.iter().any(|message| message.role == Role::Tool || has_blobs(message)) {
            return Err(Alone::Tools);
        }
        let config = &request.generation_config;
        if !config.stop_sequences.is_empty() {
            return Err(Alone::Stops);
        }
        if config.output_schema.is_some_and(|schema| !can_move(schema)) {
            return Err(Alone::Schema);
        }
        if let Some(kwargs) = request.provider_kwargs {
            let Ok(Value::Object(own)) = serde_json::from_str(kwargs.get()) else {
                return Err(Alone::OwnFields);
            };
            if own.iter().any(|(name, value)| is_own(name, value)) {
                return Err(Alone::OwnFields);
            }
        }
        Ok((Self::all_but_last(request, before), text))
    }

    /// The same where each item is asked by itself, so that whatever is equal in all of them is no hindrance. `None`: its last message
    /// is no text of the user, or it is urgent.
    #[must_use]
    pub fn in_all_but_text<'r>(request: &'r Request<'_>) -> Option<(Self, &'r str)> {
        let (last, before) = request.messages.split_last()?;
        let is_compared = request.kind == Kind::Chat && request.priority != Priority::High;
        let text = text_of(last).filter(|_| is_compared)?;
        Some((Self::all_but_last(request, before), text))
    }

    fn all_but_last(request: &Request<'_>, before: &[Message<'_>]) -> Self {
        let common = Request { messages: before.to_vec(), ..request.clone() };
        let mut kin = Vec::with_capacity(256);
        write_canonical(&common, &mut kin);
        Self(kin)
    }

    /// Tells kins apart where a whole one is too much to be kept.
    #[must_use]
    pub fn mark(&self) -> u64 {
        std::str::from_utf8(&self.0).map_or(0, fingerprint)
    }
}

/// One answer to each request is what there is without the field, too.
fn is_own(name: &str, value: &Value) -> bool {
    (OWN_FIELDS.contains(&name) || name.starts_with("guided_")) && !(name == "n" && value.as_u64() == Some(1))
}

fn text_of<'r>(message: &'r Message<'_>) -> Option<&'r str> {
    match (&message.role, &message.content) {
        (Role::User, Content::Text(text)) => Some(text),
        (Role::User, Content::Parts(parts)) => match parts.as_slice() {
            [Part::Text { text }] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn has_blobs(message: &Message<'_>) -> bool {
    matches!(&message.content, Content::Parts(parts) if parts.iter().any(|part| !matches!(part, Part::Text { .. })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn kin(line: &str) -> Result<(Kin, String), Alone> {
        let request: Request<'_> = serde_json::from_str(line).unwrap();
        Kin::of(&request).map(|(kin, text)| (kin, text.to_owned()))
    }

    #[test]
    fn kin_differ_in_their_last_message_alone() {
        let of = |system: &str, user: &str| {
            kin(&format!(r#"{{"model":"m","system_prompt":"{system}","messages":[{{"role":"user","content":"{user}"}}]}}"#))
                .unwrap()
        };
        let (one, text) = of("Sort.", "a lamp");
        assert_eq!(text, "a lamp");
        assert_eq!(one, of("Sort.", "a book").0);
        assert_ne!(one, of("Sort!", "a lamp").0);
        let parts = r#"{"model":"m","system_prompt":"Sort.","messages":[{"role":"user","content":[{"type":"text","text":"a pen"}]}]}"#;
        assert_eq!(kin(parts).unwrap().0, one, "one text, however it is written");
        let sample = r#"{"model":"m","system_prompt":"Sort.","sample":2,"messages":[{"role":"user","content":"a lamp"}]}"#;
        assert_ne!(kin(sample).unwrap().0, one);
    }

    #[test]
    fn what_is_asked_alone_says_why() {
        let user = r#""messages":[{"role":"user","content":"x"}]"#;
        let image = r#"{"type":"image","source_type":"url","media_type":"image/png","data":"https://example.org/a.png"}"#;
        for (fields, want) in [
            (r#""kind":"embedding","input":["x"]"#.to_owned(), Some(Alone::NoChat)),
            (format!(r#"{user},"priority":"high""#), Some(Alone::Urgent)),
            (
                format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"x"}},{image}]}}]"#),
                Some(Alone::NoLastText),
            ),
            (
                r#""messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]"#.to_owned(),
                Some(Alone::NoLastText),
            ),
            (r#""messages":[]"#.to_owned(), Some(Alone::NoLastText)),
            (format!(r#"{user},"generation_config":{{"stop_sequences":["\n"]}}"#), Some(Alone::Stops)),
            (format!(r#"{user},"provider_kwargs":{{"n":2}}"#), Some(Alone::OwnFields)),
            (format!(r#"{user},"provider_kwargs":{{"tools":[]}}"#), Some(Alone::OwnFields)),
            (format!(r#"{user},"provider_kwargs":{{"n":1,"user":"me"}}"#), None),
            (format!(r#"{user},"provider_kwargs":{{"max_tokens":1}}"#), Some(Alone::OwnFields)),
            (
                format!(r#"{user},"provider_kwargs":{{"logit_bias":{{"50256":-100}}}}"#),
                Some(Alone::OwnFields),
            ),
            (format!(r#"{user},"provider_kwargs":{{"guided_choice":["a","b"]}}"#), Some(Alone::OwnFields)),
            (
                format!(r##"{user},"generation_config":{{"output_schema":{{"$ref":"#"}}}}"##),
                Some(Alone::Schema),
            ),
            (user.to_owned(), None),
        ] {
            assert_eq!(kin(&format!(r#"{{"model":"m",{fields}}}"#)).err(), want, "{fields}");
        }
    }

    #[test]
    fn what_all_items_have_is_compared_where_each_is_asked_by_itself() {
        let of = |fields: &str| {
            let line = format!(r#"{{"model":"m",{fields}}}"#);
            let request: Request<'_> = serde_json::from_str(&line).unwrap();
            Kin::in_all_but_text(&request).map(|(kin, text)| (kin, text.to_owned()))
        };
        let user = r#""messages":[{"role":"user","content":"x"}]"#;
        let plain = of(user).unwrap();
        assert_eq!(plain.1, "x");
        for own in [
            r#""provider_kwargs":{"logprobs":true}"#,
            r#""provider_kwargs":{"text":{"verbosity":"low"}}"#,
            r#""generation_config":{"stop_sequences":["END"]}"#,
            r##""generation_config":{"output_schema":{"$ref":"#"}}"##,
        ] {
            let found = of(&format!("{user},{own}")).unwrap();
            assert!(found.0 != plain.0 && found.0 == of(&format!("{own},{user}")).unwrap().0, "{own}");
        }
        assert_eq!(of(&format!(r#"{user},"priority":"high""#)), None);
        assert_eq!(
            of(r#""messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]"#),
            None
        );
    }
}
