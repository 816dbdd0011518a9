//! JSON schemas of answers: what strict mode demands of them, and a conforming example for a text.

use super::{choose, summary};
use crate::errors::ApiError;
use crate::json::push_str;
use crate::rng::{below, hash, mix, unit};
use serde_json::Value;

const DEPTH_MAX: usize = 12;

/// A schema reduced to what an example needs.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Node,
}

#[derive(Debug)]
enum Node {
    Object(Vec<(String, Self)>),
    Array {
        item: Box<Self>,
        len: usize,
    },
    /// Allowed strings, and the same values in JSON.
    Choice(Vec<(String, String)>),
    Text {
        format: String,
        len_max: usize,
    },
    Integer {
        low: i64,
        high: i64,
    },
    Number {
        low: f64,
        high: f64,
    },
    Boolean,
    Null,
}

impl Schema {
    /// Reads a schema; under `strict`, refuses what the API refuses. `param` names the field in the error.
    pub(crate) fn compile(schema: &Value, strict: bool, name: &str, param: &str) -> Result<Self, ApiError> {
        let refuse = |why: String| {
            let message = format!("Invalid schema for response_format '{name}': {why}");
            ApiError::invalid(Some("invalid_json_schema"), param, message)
        };
        if strict {
            if schema.get("type").and_then(Value::as_str) != Some("object") {
                return Err(refuse(
                    "schema must be a JSON Schema of 'type: \"object\"', got another type.".to_owned(),
                ));
            }
            strict_check(schema, &mut Vec::new()).map_err(refuse)?;
        }
        Ok(Self { root: Node::read(schema, schema, 0) })
    }

    /// The ids of a list of answers, where the document is one.
    pub(crate) fn ids(&self) -> Option<Vec<&str>> {
        let Node::Choice(ids) = self.root.at(&["answers", "", "id"])? else { return None };
        Some(ids.iter().map(|(plain, _)| plain.as_str()).collect())
    }

    /// A conforming value for a part of the document; an empty name is the item of a list.
    pub(crate) fn example_at(&self, path: &[&str], text: &str, key: u64) -> String {
        let mut out = Vec::new();
        if let Some(node) = self.root.at(path) {
            node.write(&mut out, "", text, key);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// A conforming document about `text`.
    pub(crate) fn example(&self, text: &str, key: u64) -> String {
        let mut out = Vec::new();
        self.root.write(&mut out, "", text, key);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Every object closed, every property required, at every depth.
fn strict_check(schema: &Value, path: &mut Vec<String>) -> Result<(), String> {
    let Some(map) = schema.as_object() else { return Ok(()) };
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        if map.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(format!(
                "In context=({}), 'additionalProperties' is required to be supplied and to be false.",
                context(path)
            ));
        }
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(missing) = properties.keys().find(|name| !required.contains(&name.as_str())) {
            return Err(format!(
                "In context=({}), 'required' is required to be supplied and to be an array including every key in properties. \
                 Missing '{missing}'.",
                context(path)
            ));
        }
    }
    for (key, value) in map {
        path.push(key.clone());
        match value {
            Value::Object(_) if key != "default" && key != "const" => {
                if key == "properties" || key == "$defs" || key == "definitions" {
                    for (name, child) in value.as_object().into_iter().flatten() {
                        path.push(name.clone());
                        strict_check(child, path)?;
                        path.pop();
                    }
                } else {
                    strict_check(value, path)?;
                }
            }
            Value::Array(items) if key == "anyOf" => {
                items.iter().try_for_each(|item| strict_check(item, path))?;
            }
            _ => {}
        }
        path.pop();
    }
    Ok(())
}

fn context(path: &[String]) -> String {
    path.iter().map(|part| format!("'{part}'")).collect::<Vec<_>>().join(", ")
}

impl Node {
    fn at(&self, path: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match self {
            Self::Object(properties) => properties.iter().find(|(name, _)| name == first)?.1.at(rest),
            Self::Array { item, .. } if first.is_empty() => item.at(rest),
            _ => None,
        }
    }

    fn read(schema: &Value, root: &Value, depth: usize) -> Self {
        if depth > DEPTH_MAX {
            return Self::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            return target.map_or(Self::Null, |target| Self::read(target, root, depth + 1));
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty())
        {
            return Self::choice(values.iter());
        }
        if let Some(value) = schema.get("const") {
            return Self::choice(std::iter::once(value));
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(options) = schema.get(key).and_then(Value::as_array) {
                let option =
                    options.iter().find(|option| option.get("type").and_then(Value::as_str) != Some("null"));
                return option.map_or(Self::Null, |option| Self::read(option, root, depth + 1));
            }
        }
        Self::read_typed(schema, root, depth)
    }

    fn read_typed(schema: &Value, root: &Value, depth: usize) -> Self {
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
            }
            _ if schema.get("properties").is_some() => "object",
            _ => "string",
        };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let whole = |key: &str| schema.get(key).and_then(Value::as_i64);
        let size =
            |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        match kind {
            "object" => {
                let properties = schema.get("properties").and_then(Value::as_object);
                let read =
                    |(name, child): (&String, &Value)| (name.clone(), Self::read(child, root, depth + 1));
                Self::Object(properties.into_iter().flatten().map(read).collect())
            }
            "array" => {
                let item = schema.get("items").map_or(Self::Null, |item| Self::read(item, root, depth + 1));
                let least = size("minItems").unwrap_or(0);
                Self::Array {
                    item: Box::new(item),
                    len: 1.max(least).min(size("maxItems").unwrap_or(usize::MAX)).min(64),
                }
            }
            "integer" => {
                let low = whole("minimum").or(whole("exclusiveMinimum").map(|low| low + 1));
                let high = whole("maximum").or(whole("exclusiveMaximum").map(|high| high - 1));
                let low = low.unwrap_or_else(|| high.unwrap_or(10).min(0));
                Self::Integer { low, high: high.unwrap_or(low.saturating_add(10)).max(low) }
            }
            "number" => {
                let low = bound("minimum").unwrap_or(0.0);
                Self::Number { low, high: bound("maximum").unwrap_or(low + 1.0).max(low) }
            }
            "boolean" => Self::Boolean,
            "null" => Self::Null,
            _ => Self::Text {
                format: schema.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
                len_max: size("maxLength").unwrap_or(200),
            },
        }
    }

    fn choice<'a>(values: impl Iterator<Item = &'a Value>) -> Self {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self::Choice(values.map(|value| (plain(value), value.to_string())).collect())
    }

    fn write(&self, out: &mut Vec<u8>, name: &str, text: &str, key: u64) {
        match self {
            Self::Object(properties) => {
                out.push(b'{');
                for (at, (name, node)) in properties.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    push_str(out, name);
                    out.push(b':');
                    node.write(out, name, text, hash(name.as_bytes(), key));
                }
                out.push(b'}');
            }
            Self::Array { item, len } => {
                out.push(b'[');
                for at in 0..*len {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write(out, name, text, mix(key ^ at as u64));
                }
                out.push(b']');
            }
            Self::Choice(values) => {
                let names: Vec<&str> = values.iter().map(|(plain, _)| plain.as_str()).collect();
                let picked = choose::choose(text, &names, key);
                let json = values.iter().find(|(plain, _)| plain == picked).map_or("null", |(_, json)| json);
                out.extend_from_slice(json.as_bytes());
            }
            Self::Text { format, len_max } => {
                let value = string(name, format, text, key);
                let end = value.char_indices().nth(*len_max).map_or(value.len(), |(at, _)| at);
                push_str(out, &value[..end]);
            }
            Self::Integer { low, high } => {
                let span = usize::try_from(high.saturating_sub(*low)).unwrap_or(usize::MAX - 1);
                let value =
                    low.saturating_add(i64::try_from(below(key, span.saturating_add(1))).unwrap_or(0));
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            Self::Number { low, high } => {
                let value = low + ((high - low) * unit(key) * 100.0).floor() / 100.0;
                let _ = serde_json::to_writer(out, &value.min(*high));
            }
            Self::Boolean => out.extend_from_slice(if key & 1 == 0 { b"true" } else { b"false" }),
            Self::Null => out.extend_from_slice(b"null"),
        }
    }
}

fn string(name: &str, format: &str, text: &str, key: u64) -> String {
    match format {
        "date" => return format!("2026-{:02}-{:02}", below(key, 12) + 1, below(mix(key), 28) + 1),
        "date-time" => {
            return format!("2026-{:02}-{:02}T12:00:00Z", below(key, 12) + 1, below(mix(key), 28) + 1);
        }
        "email" => return format!("user{}@example.org", below(key, 1_000)),
        "uuid" => return "00000000-0000-4000-8000-000000000000".to_owned(),
        "uri" | "url" => return "https://example.org/".to_owned(),
        _ => {}
    }
    let name = name.to_ascii_lowercase();
    let labels: &[&str] = match name.as_str() {
        "sentiment" | "mood" => &["positive", "negative", "neutral"],
        "category" | "label" | "class" | "topic" => &["billing", "delivery", "technical", "account", "other"],
        "language" | "lang" => &["en"],
        _ => return summary(text).to_owned(),
    };
    choose::choose(text, labels, key).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn strict_mode_refuses_what_the_api_refuses() {
        let good = json!({"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false});
        let open = json!({"type":"object","properties":{"a":{"type":"string"}},"required":["a"]});
        let loose = json!({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false});
        let deep = json!({"type":"object","properties":{"a":{"type":"array","items":open}},"required":["a"],"additionalProperties":false});
        let list = json!({"type":"array","items":{"type":"string"}});
        for (schema, ok) in [(&good, true), (&open, false), (&loose, false), (&deep, false), (&list, false)] {
            assert_eq!(Schema::compile(schema, true, "label", "response_format").is_ok(), ok, "{schema}");
        }
        assert!(Schema::compile(&open, false, "label", "response_format").is_ok());
    }

    #[test]
    fn examples_conform() {
        let schema = json!({"type":"object","additionalProperties":false,"required":["label","score","tags","who","ok","when","note"],"properties":{
            "label":{"type":"string","enum":["billing","delivery","other"]},"score":{"type":"integer","minimum":1,"maximum":5},
            "tags":{"type":"array","items":{"type":"number","minimum":0,"maximum":1},"minItems":2},"who":{"$ref":"#/$defs/p"},
            "ok":{"type":"boolean"},"when":{"type":"string","format":"date"},"note":{"anyOf":[{"type":"null"},{"type":"string"}]}},
            "$defs":{"p":{"type":"object","properties":{"id":{"const":7}},"required":["id"],"additionalProperties":false}}});
        let schema = Schema::compile(&schema, true, "s", "response_format").unwrap();
        for key in 0..200 {
            let value: Value =
                serde_json::from_str(&schema.example("My parcel is late. Help.", mix(key))).unwrap();
            assert_eq!(value["label"], "delivery");
            assert!((1..=5).contains(&value["score"].as_i64().unwrap()));
            assert!(
                value["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|tag| (0.0..=1.0).contains(&tag.as_f64().unwrap()))
            );
            assert_eq!((value["tags"].as_array().unwrap().len(), value["who"]["id"].as_i64()), (2, Some(7)));
            assert_eq!(value["note"], "My parcel is late.");
        }
    }
}
