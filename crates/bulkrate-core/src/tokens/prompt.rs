//! What of a request the model reads: its texts, and what the chat format puts around them.
//!
//! OpenAI documents the framing of chats in its cookbook ("How to count tokens with tiktoken"): 3 tokens a message, its role,
//! one more before a name, and 3 for the start of the answer. Images, documents, schemas and tools enter the prompt in ways
//! that are not published; such a prompt is marked.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Bounds, CountTokens, Encoding};
use crate::request::{Content, Kind, Part, Request, Text};

const MESSAGE_TOKENS: u64 = 3;
/// Every role's name is one token in both encodings (`bulkrate-tokens` has the test).
const ROLE_TOKENS: u64 = 1;
const NAME_TOKENS: u64 = 1;
const REPLY_TOKENS: u64 = 3;
/// Fields of a body that become prompt besides messages.
const PROMPT_FIELDS: [&str; 9] = [
    "messages",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "functions",
    "response_format",
    "text",
    "prediction",
];

/// The texts of one request, and the tokens around them.
#[derive(Debug, Clone, Default)]
pub struct Prompt<'a> {
    texts: Vec<Cow<'a, str>>,
    /// Tokens that are no text: framing, and token ids given as numbers.
    framing: u64,
    /// Something in it is not counted by its text: an image, a document, a schema, a tool.
    opaque: bool,
}

impl<'a> Prompt<'a> {
    /// The prompt that a unified request becomes.
    #[must_use]
    pub fn of(request: &'a Request<'a>) -> Self {
        let mut prompt = Self::default();
        if request.kind.has_turns() {
            prompt.framing = REPLY_TOKENS;
        }
        for text in &request.system_prompt {
            prompt.message();
            prompt.text(text);
        }
        prompt.texts.extend(request.input.iter().map(|text| Cow::Borrowed(&**text)));
        for message in &request.messages {
            prompt.message();
            prompt.opaque |= message.tool_call_id.is_some();
            match &message.content {
                Content::Text(text) => prompt.text(text),
                Content::Parts(parts) => {
                    for part in parts {
                        match part {
                            Part::Text { text } => prompt.text(text),
                            Part::Image(_) | Part::Document(_) => prompt.opaque = true,
                        }
                    }
                }
            }
        }
        let config = &request.generation_config;
        config.choices.iter().for_each(|choice| prompt.guess(choice));
        if let Some(schema) = config.output_schema {
            prompt.guess(schema.get());
        }
        if let Some(kwargs) = request.provider_kwargs.map(RawValue::get)
            && PROMPT_FIELDS.iter().any(|field| kwargs.contains(&format!("\"{field}\"")))
        {
            match request.own_turns() {
                Some(turns) => turns.texts().into_iter().for_each(|text| prompt.guess(text)),
                None => prompt.guess(kwargs),
            }
        }
        prompt
    }

    /// The prompt in the body of an OpenAI request. `None`: it is not of the shape that the API documents.
    #[must_use]
    pub fn of_body(kind: Kind, body: &'a str) -> Option<Self> {
        let body: Body<'a> = serde_json::from_str(body).ok()?;
        let mut prompt = Self::default();
        if kind.has_turns() {
            prompt.framing = REPLY_TOKENS;
            for message in &body.messages {
                prompt.raw_message(message)?;
            }
        } else {
            prompt.raw_input(body.input?)?;
        }
        for field in [body.tools, body.functions, body.response_format].into_iter().flatten() {
            prompt.guess(field.get());
        }
        Some(prompt)
    }

    fn message(&mut self) {
        self.framing += MESSAGE_TOKENS + ROLE_TOKENS;
    }

    fn text(&mut self, text: &'a str) {
        self.texts.push(Cow::Borrowed(text));
    }

    /// Text of which only a guess can be made how it is written into the prompt.
    fn guess(&mut self, text: &'a str) {
        self.opaque = true;
        self.text(text);
    }

    fn raw_message(&mut self, message: &RawMessage<'a>) -> Option<()> {
        self.message();
        if let Some(name) = &message.name {
            self.framing += NAME_TOKENS;
            self.texts.push(name.0.clone());
        }
        for field in [message.tool_calls, message.function_call].into_iter().flatten() {
            self.guess(field.get());
        }
        self.opaque |= message.tool_call_id.is_some();
        match message.content {
            None => {}
            Some(content) => match serde_json::from_str(content.get()).ok()? {
                RawContent::Text(text) => self.texts.push(text.0),
                RawContent::Parts(parts) => {
                    for part in parts {
                        self.opaque |= part.kind.0 != "text";
                        self.texts.extend(part.text.map(|text| text.0));
                    }
                }
            },
        }
        Some(())
    }

    fn raw_input(&mut self, input: &'a RawValue) -> Option<()> {
        match serde_json::from_str(input.get()).ok()? {
            RawInput::Text(text) => self.texts.push(text.0),
            RawInput::Texts(texts) => self.texts.extend(texts.into_iter().map(|text| text.0)),
            RawInput::Ids(ids) => self.framing += ids.len() as u64,
            RawInput::ManyIds(many) => self.framing += many.iter().map(|ids| ids.len() as u64).sum::<u64>(),
        }
        Some(())
    }

    /// Whether the count of its text is the count of the prompt: nothing in it is counted in another way.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.opaque
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }

    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::of(self.bytes(), self.framing)
    }

    /// Four bytes a token: what is said of a model whose tables are not known.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        self.bytes().div_ceil(4) + self.framing
    }

    /// Every text counted.
    #[must_use]
    pub fn count(&self, tables: &dyn CountTokens, encoding: Encoding) -> u64 {
        self.framing + self.texts.iter().map(|text| tables.count(encoding, text)).sum::<u64>()
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    messages: Vec<RawMessage<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawContent<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Parts(#[serde(borrow)] Vec<RawPart<'a>>),
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawInput<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Texts(#[serde(borrow)] Vec<Text<'a>>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// One token a byte: shows what is counted without any tables.
    #[derive(Debug)]
    struct Bytes;

    impl CountTokens for Bytes {
        fn count(&self, _: Encoding, text: &str) -> u64 {
            text.len() as u64
        }
    }

    fn counted(prompt: &Prompt<'_>) -> (u64, bool) {
        (prompt.count(&Bytes, Encoding::O200kBase), prompt.is_text())
    }

    #[test]
    fn unified_requests() {
        for (line, want) in [
            (r#"{"messages":[{"role":"user","content":"abcd"}]}"#, (3 + 4 + 4, true)),
            (
                r#"{"system_prompt":["ab","c"],"messages":[{"role":"user","content":"d"}]}"#,
                (3 + 12 + 4, true),
            ),
            (r#"{"messages":[{"role":"user","content":[{"type":"text","text":"é"}]}]}"#, (3 + 4 + 2, true)),
            (r#"{"kind":"embedding","input":["ab","cde"]}"#, (5, true)),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"provider_kwargs":{"user":"someone"}}"#,
                (8, true),
            ),
            (r#"{"messages":[{"role":"user","content":"a"}],"provider_kwargs":{"tools":[]}}"#, (20, false)),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"generation_config":{"choices":["yes","no"]}}"#,
                (13, false),
            ),
            (
                r#"{"messages":[{"role":"user","content":"a"}],"generation_config":{"output_schema":{}}}"#,
                (10, false),
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source_type":"base64","media_type":"image/png","data":"AAAAAAAA"}]}]}"#,
                (8, false),
            ),
        ] {
            let request: Request<'_> = serde_json::from_str(line).unwrap();
            let prompt = Prompt::of(&request);
            assert_eq!(counted(&prompt), want, "{line}");
            assert!(prompt.bounds().high >= want.0 && prompt.bounds().low <= want.0, "{line}");
        }
    }

    #[test]
    fn openai_bodies() {
        for (kind, body, want) in [
            (Kind::Chat, r#"{"messages":[{"role":"user","content":"a\nb"}]}"#, Some((10, true))),
            (Kind::Chat, r#"{"messages":[{"role":"system","name":"bob","content":"x"}]}"#, Some((12, true))),
            (
                Kind::Chat,
                r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[]}]}"#,
                Some((9, false)),
            ),
            (
                Kind::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"ab"}]}]}"#,
                Some((9, true)),
            ),
            (
                Kind::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#,
                Some((7, false)),
            ),
            (Kind::Chat, r#"{"messages":[],"tools":[{}]}"#, Some((7, false))),
            (Kind::Embedding, r#"{"input":"abc"}"#, Some((3, true))),
            (Kind::Embedding, r#"{"input":["abc","d"]}"#, Some((4, true))),
            (Kind::Embedding, r#"{"input":[1,2,3]}"#, Some((3, true))),
            (Kind::Embedding, r#"{"input":[[1,2],[3]]}"#, Some((3, true))),
            (Kind::Embedding, r#"{"model":"m"}"#, None),
            (Kind::Chat, r#"{"messages":[{"role":"user","content":5}]}"#, None),
        ] {
            assert_eq!(Prompt::of_body(kind, body).map(|prompt| counted(&prompt)), want, "{body}");
        }
    }
}
