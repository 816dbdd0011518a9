//! The canonical form: one spelling for each request, so that equal calls have equal keys.
//!
//! JSON with sorted keys, no white space, minimal escapes (the rules of RFC 8785, except that integers keep all
//! their digits), and without what does not change the answer: the user's id, tags, priority, cache mode.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Blob, Config, Content, Kind, Message, Part, Reasoning, Request, SourceType, Text};

/// Appends the canonical form of `request` to `out`. The model must be the pinned one by now.
pub fn write_canonical(request: &Request<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.config(&request.generation_config);
    if !request.input.is_empty() {
        object.key("input");
        texts(&request.input, object.out);
    }
    if request.kind != Kind::Chat {
        object.key("kind");
        write_json_text(request.kind.name(), object.out);
    }
    if !request.messages.is_empty() {
        object.key("messages");
        list(&request.messages, object.out, message);
    }
    object.key("model");
    write_json_text(&request.model, object.out);
    if let Some(kwargs) = request.provider_kwargs {
        object.key("provider_kwargs");
        canonical_value(kwargs, object.out);
    }
    if request.sample != 0 {
        object.key("sample");
        object.out.extend_from_slice(request.sample.to_string().as_bytes());
    }
    if !request.system_prompt.is_empty() {
        object.key("system_prompt");
        texts(&request.system_prompt, object.out);
    }
    object.close();
}

/// Appends `text` as a JSON string with the fewest escapes.
pub fn write_json_text(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        out.extend_from_slice(&rest[..at]);
        write_escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The first byte that JSON escapes. Whole blocks are tested without a branch, as most of them hold none.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let is_escaped = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (place, block) in blocks.iter().enumerate() {
        if block.iter().fold(false, |any, &byte| any | is_escaped(byte)) {
            let within = block.iter().position(|&byte| is_escaped(byte))?;
            return Some(place * BLOCK + within);
        }
    }
    rest.iter().position(|&byte| is_escaped(byte)).map(|within| blocks.len() * BLOCK + within)
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => out.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ]),
    }
}

/// Appends any JSON value with sorted keys and no white space.
pub fn canonical_value(raw: &RawValue, out: &mut Vec<u8>) {
    match serde_json::from_str::<Value>(raw.get()) {
        Ok(value) => write_value(&value, out),
        Err(_) => out.extend_from_slice(raw.get().as_bytes()), // too deep for a tree: the text itself is its one spelling
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (None, None, Some(float)) => write_float(float, out),
            _ => out.extend_from_slice(number.to_string().as_bytes()),
        },
        Value::String(text) => write_json_text(text, out),
        Value::Array(items) => list(items, out, write_value),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push(b'{');
            for (place, (key, value)) in entries.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_json_text(key, out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

/// A float as ECMAScript prints it: `1` for 1.0, the shortest digits that read back the same (the even ones of two that are as
/// near), `1e+30` for large ones. JSON has no others than finite ones.
fn write_float(float: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(ryu_js::Buffer::new().format_finite(float).as_bytes());
}

fn list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// A single text is written as a string, so that `"x"` and `["x"]` are one request.
fn texts(texts: &[Text<'_>], out: &mut Vec<u8>) {
    match texts {
        [one] => write_json_text(one, out),
        many => list(many, out, |text, out| write_json_text(text, out)),
    }
}

fn message(message: &Message<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.key("content");
    match &message.content {
        Content::Text(text) => write_json_text(text, object.out),
        Content::Parts(parts) => list(parts, object.out, part),
    }
    object.key("role");
    write_json_text(message.role.name(), object.out);
    if let Some(id) = &message.tool_call_id {
        object.key("tool_call_id");
        write_json_text(id, object.out);
    }
    object.close();
}

fn part(part: &Part<'_>, out: &mut Vec<u8>) {
    match part {
        Part::Text { text } => {
            let mut object = Object::open(out);
            object.key("text");
            write_json_text(text, object.out);
            object.key("type");
            object.out.extend_from_slice(b"\"text\"");
            object.close();
        }
        Part::Image(blob) => write_blob(blob, "image", out),
        Part::Document(blob) => write_blob(blob, "document", out),
    }
}

/// An image or a document as a part of a message: `kind` says which.
pub(crate) fn write_blob(blob: &Blob<'_>, kind: &str, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    object.key("data");
    write_json_text(&blob.data, object.out);
    object.key("media_type");
    write_json_text(&blob.media_type, object.out);
    object.key("source_type");
    let source_type = match blob.source_type {
        SourceType::Url => "url",
        SourceType::Base64 => "base64",
    };
    write_json_text(source_type, object.out);
    object.key("type");
    write_json_text(kind, object.out);
    object.close();
}

/// An object under construction; the caller adds keys in sorted order.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn key(&mut self, name: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn float(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.key(name);
            write_float(value, self.out);
        }
    }

    fn integer(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.key(name);
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
    }

    fn config(&mut self, config: &Config<'_>) {
        let start = self.out.len();
        let was_empty = self.empty;
        self.key("generation_config");
        let inner = self.out.len();
        write_config(config, self.out);
        if self.out.len() == inner + 2 {
            self.out.truncate(start);
            self.empty = was_empty;
        }
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

fn write_config(config: &Config<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    if !config.choices.is_empty() {
        object.key("choices");
        list(&config.choices, object.out, |text, out| write_json_text(text, out));
    }
    object.integer("dimensions", config.dimensions.map(i64::from));
    object.float("frequency_penalty", config.frequency_penalty);
    object.integer("max_tokens", config.max_tokens.map(i64::from));
    if let Some(schema) = config.output_schema {
        object.key("output_schema");
        canonical_value(schema, object.out);
    }
    object.float("presence_penalty", config.presence_penalty);
    match config.reasoning {
        None => {}
        Some(Reasoning::Tokens(tokens)) => object.integer("reasoning", Some(i64::from(tokens))),
        Some(effort) => {
            object.key("reasoning");
            write_json_text(&effort.to_string(), object.out);
        }
    }
    object.integer("seed", config.seed);
    if !config.stop_sequences.is_empty() {
        object.key("stop_sequences");
        list(&config.stop_sequences, object.out, |text, out| write_json_text(text, out));
    }
    object.float("temperature", config.temperature);
    object.integer("top_k", config.top_k.map(i64::from));
    object.float("top_p", config.top_p);
    object.close();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn canonical(line: &str) -> String {
        let request: Request<'_> = serde_json::from_str(line).unwrap();
        let mut out = Vec::new();
        write_canonical(&request, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_spelling_for_equal_calls() {
        let want = r#"{"generation_config":{"max_tokens":20,"temperature":0.5},"messages":[{"content":"a\"b\u0001é","role":"user"}],"model":"m","system_prompt":"s"}"#;
        for line in [
            r#"{"model":"m","messages":[{"role":"user","content":"a\"b\u0001\u00e9"}],"system_prompt":"s","generation_config":{"temperature":0.5,"max_tokens":20}}"#,
            r#"{"custom_id":"x","tags":{"a":"b"},"priority":"high","system_prompt":["s"],"generation_config":{"max_tokens":20,"temperature":5e-1},"messages":[{"content":"a\u0022b\u0001é","role":"user"}],"model":"m","kind":"chat","sample":0}"#,
        ] {
            assert_eq!(canonical(line), want);
        }
    }

    #[test]
    fn whatever_changes_the_answer_changes_the_form() {
        let base = r#"{"model":"m","messages":[{"role":"user","content":"x"}]"#;
        let lines = [
            format!("{base}}}"),
            format!("{base},\"sample\":1}}"),
            format!("{base},\"provider_kwargs\":{{\"a\":1}}}}"),
            format!("{base},\"generation_config\":{{\"seed\":1}}}}"),
            format!("{base},\"generation_config\":{{\"reasoning\":\"low\"}}}}"),
            format!("{base},\"generation_config\":{{\"reasoning\":5}}}}"),
            format!("{base},\"generation_config\":{{\"choices\":[\"a\"]}}}}"),
            format!("{base},\"generation_config\":{{\"stop_sequences\":[\"a\"]}}}}"),
            format!("{base},\"generation_config\":{{\"output_schema\":{{}}}}}}"),
            format!("{base},\"system_prompt\":\"x\"}}"),
            r#"{"model":"m","messages":[{"role":"assistant","content":"x"}]}"#.to_owned(),
            r#"{"model":"n","messages":[{"role":"user","content":"x"}]}"#.to_owned(),
            r#"{"model":"m","kind":"embedding","input":"x"}"#.to_owned(),
            r#"{"model":"m","kind":"moderation","input":"x"}"#.to_owned(),
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source_type":"url","media_type":"image/png","data":"u"}]}]}"#.to_owned(),
        ];
        let forms: std::collections::BTreeSet<String> = lines.iter().map(|line| canonical(line)).collect();
        assert_eq!(forms.len(), lines.len());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53)..(1_i64 << 53)).prop_map(Value::from),
            any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Two spellings are as short and as near to this number; ECMAScript takes the even digit.
    #[test]
    fn a_tie_of_two_shortest_floats_has_one_spelling() {
        for (float, want) in [
            (-1_643_269_434_425_341.2_f64, "-1643269434425341.2"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (100.0, "100"),
        ] {
            let mut out = Vec::new();
            write_float(float, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_rfc_8785_writer(value in json()) {
            // Floats that are whole numbers print as integers there and here.
            let mut ours = Vec::new();
            write_value(&value, &mut ours);
            let theirs = serde_json_canonicalizer::to_string(&value).unwrap();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), theirs);
        }

        #[test]
        fn reading_a_canonical_form_gives_it_again(text in "\\PC{0,30}", system in "\\PC{0,10}", seed: i64, temperature in 0.0..2.0) {
            let request = Request {
                model: "m".into(),
                system_prompt: vec![system.as_str().into()],
                messages: vec![Message { role: super::super::Role::User, content: Content::text(text.as_str()), tool_call_id: None }],
                generation_config: Config { seed: Some(seed), temperature: Some(temperature), ..Config::default() },
                ..Request::default()
            };
            let mut first = Vec::new();
            write_canonical(&request, &mut first);
            let first = String::from_utf8(first).unwrap();
            prop_assert_eq!(canonical(&first), first);
        }
    }
}
