//! The shape of a bundle's answer: a list of ids and answers, each answer of the shape that the item alone would have.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::request::{Config, write_json_text};

/// Where a schema keeps what its references name.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];
/// What gives a schema, or a part of it, an address of its own.
const ADDRESSES: [&str; 6] = ["$id", "id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"];

/// A JSON object, its keys in the order in which they were written: some models answer in that order.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<crate::request::Text<'de>, &'de RawValue>()? {
                    entries.push((key.0, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// Whether a schema still means the same one level deeper: its references name its own definitions, which go to the root, or
/// nothing.
pub(super) fn can_move(schema: &RawValue) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(schema.get()) else { return false };
    value.is_object() && stays_good(&value, true)
}

fn stays_good(value: &Value, is_root: bool) -> bool {
    match value {
        Value::Object(map) => map.iter().all(|(key, value)| match value {
            Value::String(target) if key == "$ref" => is_moved(target),
            // Two words that only a draft's number tells apart: the root's draft would hold for all.
            Value::String(_) if ADDRESSES.contains(&key.as_str()) => false,
            Value::String(_) if key == "$schema" => is_root,
            other => stays_good(other, false),
        }),
        Value::Array(values) => values.iter().all(|value| stays_good(value, false)),
        _ => true,
    }
}

fn is_moved(target: &str) -> bool {
    DEFINITIONS.iter().any(|name| {
        target
            .strip_prefix("#/")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// The schema of the answer to `n` items.
pub(super) fn of_answers(config: &Config<'_>, n: usize) -> String {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(
        br#"{"type":"object","properties":{"answers":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string","enum":["#,
    );
    for place in 1..=n {
        if place > 1 {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"k{place}\"").as_bytes());
    }
    out.extend_from_slice(br#"]},"answer":"#);
    let moved = write_answer(config, &mut out);
    out.extend_from_slice(br#"},"required":["id","answer"],"additionalProperties":false}}},"required":["answers"],"additionalProperties":false"#);
    for (name, definitions) in moved {
        out.push(b',');
        write_json_text(&name, &mut out);
        out.push(b':');
        out.extend_from_slice(definitions.get().as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// The schema by which one item alone is asked, as services are given it; `None`: its answer is a text.
pub(super) fn of_one(config: &Config<'_>) -> Option<String> {
    if let Some(schema) = config.output_schema {
        return Some(schema.get().to_owned());
    }
    if config.choices.is_empty() {
        return None;
    }
    let mut out = br#"{"type":"object","properties":{"answer":"#.to_vec();
    write_answer(config, &mut out);
    out.extend_from_slice(br#"},"required":["answer"],"additionalProperties":false}"#);
    String::from_utf8(out).ok()
}

/// Writes the schema of one answer, and answers what of it belongs to the root.
fn write_answer<'a>(config: &Config<'a>, out: &mut Vec<u8>) -> Vec<(Cow<'a, str>, &'a RawValue)> {
    let entries =
        config.output_schema.and_then(|schema| serde_json::from_str::<Entries<'_>>(schema.get()).ok());
    let Some(Entries(entries)) = entries else {
        out.extend_from_slice(br#"{"type":"string""#);
        for (place, choice) in config.choices.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b",\"enum\":[" } else { b"," });
            write_json_text(choice, out);
        }
        out.extend_from_slice(if config.choices.is_empty() { b"}" } else { b"]}" });
        return Vec::new();
    };
    let is_moved = |key: &str| DEFINITIONS.contains(&key);
    let (moved, kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_moved(key));
    out.push(b'{');
    for (place, (key, value)) in kept.iter().filter(|(key, _)| key != "$schema").enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_json_text(key, out);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    moved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::collect::Expectation;
    use crate::request::Text;

    fn with_schema(schema: &str) -> Config<'_> {
        Config { output_schema: Some(serde_json::from_str(schema).unwrap()), ..Config::default() }
    }

    #[test]
    fn a_schema_moves_with_its_definitions_and_keeps_its_order() {
        let own = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"why":{"type":"string"},"a":{"$ref":"#/$defs/A"}},"required":["why","a"],"$defs":{"A":{"enum":["x","y"]}}}"##;
        let config = with_schema(own);
        assert!(can_move(config.output_schema.unwrap()));
        let whole = of_answers(&config, 2);
        assert!(whole.contains(r#""answer":{"type":"object","properties":{"why""#), "{whole}");
        let validator = jsonschema::validator_for(&serde_json::from_str(&whole).unwrap()).unwrap();
        for (answers, good) in [
            (
                r#"{"answers":[{"id":"k1","answer":{"why":"w","a":"x"}},{"id":"k2","answer":{"why":"w","a":"y"}}]}"#,
                true,
            ),
            (r#"{"answers":[{"id":"k1","answer":{"why":"w","a":"z"}}]}"#, false),
            (r#"{"answers":[{"id":"k3","answer":{"why":"w","a":"x"}}]}"#, false),
            (r#"{"answers":[{"id":"k1"}]}"#, false),
        ] {
            assert_eq!(validator.is_valid(&serde_json::from_str(answers).unwrap()), good, "{answers}");
        }
        assert!(Expectation::schema(&whole).is_ok());
    }

    #[test]
    fn what_names_a_place_that_moves_is_not_moved() {
        for (schema, can) in [
            (r#"{"type":"string"}"#, true),
            (r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##, false),
            (r##"{"properties":{"a":{"type":"string"},"b":{"$ref":"#/properties/a"}}}"##, false),
            (
                r##"{"$ref":"#/definitions/A","definitions":{"A":{"type":"object","properties":{"a":{"$ref":"#/definitions/A"}}}}}"##,
                true,
            ),
            (r##"{"$ref":"#/$defsX/A"}"##, false),
            (r#"{"$ref":"https://example.org/a.json"}"#, false),
            (r#"{"$id":"https://example.org/a.json","type":"string"}"#, false),
            (r#"{"properties":{"id":{"type":"string"},"$ref":{"type":"string"}}}"#, true),
            (r#"{"properties":{"a":{"$anchor":"a"}}}"#, false),
            (r#"{"properties":{"a":{"$schema":"http://json-schema.org/draft-07/schema#"}}}"#, false),
            ("true", false),
        ] {
            assert_eq!(can_move(serde_json::from_str(schema).unwrap()), can, "{schema}");
        }
    }

    #[test]
    fn choices_are_a_closed_list_and_texts_are_texts() {
        let choices = Config { choices: vec![Text::from("a\"b"), Text::from("c")], ..Config::default() };
        let whole: Value = serde_json::from_str(&of_answers(&choices, 3)).unwrap();
        let item = &whole["properties"]["answers"]["items"]["properties"];
        assert_eq!(item["answer"]["enum"], serde_json::json!(["a\"b", "c"]));
        assert_eq!(item["id"]["enum"], serde_json::json!(["k1", "k2", "k3"]));
        let text: Value = serde_json::from_str(&of_answers(&Config::default(), 1)).unwrap();
        assert_eq!(
            text["properties"]["answers"]["items"]["properties"]["answer"],
            serde_json::json!({"type": "string"})
        );
    }
}
