//! A JSON Schema as structured outputs take it.
//!
//! The API knows a part of JSON Schema. What it does not know but is only a bound (`minimum`, `maxLength`, `pattern`) moves into the
//! description, where the model can read it; the answer is checked here against the schema as the user wrote it.

use std::sync::Arc;

use serde_json::{Map, Value};

pub(super) type Translated = Result<Arc<str>, String>;

/// The schema to send; `Err` says what of it cannot be sent.
pub(super) fn translate(text: &str) -> Translated {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    walk(&mut schema, 0)?;
    Ok(schema.to_string().into())
}

const DEPTH_MAX: usize = 32;
/// Keywords that only narrow what is allowed.
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Keywords that say something else where they are left out.
const REFUSED: &[&str] = &[
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "contains",
    "prefixItems",
];

fn walk(schema: &mut Value, depth: usize) -> Result<(), String> {
    let Value::Object(map) = schema else { return Ok(()) };
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    if let Some(keyword) = REFUSED.iter().find(|keyword| map.contains_key(**keyword)) {
        return Err(format!("`{keyword}` cannot be sent"));
    }
    bounds_to_description(map);
    close(map)?;
    for keyword in ["properties", "$defs", "definitions"] {
        if let Some(Value::Object(inner)) = map.get_mut(keyword) {
            inner.values_mut().try_for_each(|inner| walk(inner, depth + 1))?;
        }
    }
    for keyword in ["anyOf", "allOf"] {
        if let Some(Value::Array(inner)) = map.get_mut(keyword) {
            inner.iter_mut().try_for_each(|inner| walk(inner, depth + 1))?;
        }
    }
    map.get_mut("items").map_or(Ok(()), |items| walk(items, depth + 1))
}

fn bounds_to_description(map: &mut Map<String, Value>) {
    let mut said: Vec<String> = Vec::new();
    for keyword in BOUNDS {
        if let Some(value) = map.remove(*keyword) {
            said.push(format!("{keyword}: {value}"));
        }
    }
    // 0 and 1 are taken as they are.
    if map.get("minItems").is_some_and(|least| !matches!(least.as_u64(), Some(0 | 1))) {
        said.extend(map.remove("minItems").map(|least| format!("minItems: {least}")));
    }
    if said.is_empty() {
        return;
    }
    let bounds = format!("({})", said.join(", "));
    let text = match map.get("description").and_then(Value::as_str) {
        Some(own) => format!("{own} {bounds}"),
        None => bounds,
    };
    map.insert("description".to_owned(), Value::String(text));
}

/// Objects must be closed. One that says nothing of it is: whatever fits the closed one fits it.
fn close(map: &mut Map<String, Value>) -> Result<(), String> {
    let is_object = match map.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => map.contains_key("properties"),
    };
    if !is_object {
        return Ok(());
    }
    match map.get("additionalProperties") {
        None | Some(Value::Bool(false)) => {}
        Some(_) => return Err("`additionalProperties` must be `false`".to_owned()),
    }
    if !map.contains_key("properties") {
        return Err("an object without `properties` would always be empty".to_owned());
    }
    map.insert("additionalProperties".to_owned(), Value::Bool(false));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bounds_are_told_and_the_rest_is_kept_or_refused() {
        for (schema, want) in [
            (
                r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":5}},"required":["a"]}"#,
                Ok(
                    r#"{"type":"object","properties":{"a":{"type":"integer","description":"(minimum: 1, maximum: 5)"}},"required":["a"],"additionalProperties":false}"#,
                ),
            ),
            (
                r#"{"type":"array","minItems":1,"items":{"type":"string","description":"a word","maxLength":9}}"#,
                Ok(
                    r#"{"type":"array","minItems":1,"items":{"type":"string","description":"a word (maxLength: 9)"}}"#,
                ),
            ),
            (
                r#"{"type":"array","minItems":2,"items":{"type":"string"}}"#,
                Ok(r#"{"type":"array","items":{"type":"string"},"description":"(minItems: 2)"}"#),
            ),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"}],"$defs":{"x":{"properties":{"minimum":{"type":"number"}}}}}"##,
                Ok(
                    r##"{"anyOf":[{"$ref":"#/$defs/x"},{"type":"null"}],"$defs":{"x":{"properties":{"minimum":{"type":"number"}},"additionalProperties":false}}}"##,
                ),
            ),
            (r#"{"oneOf":[]}"#, Err("`oneOf`")),
            (
                r#"{"type":"object","properties":{},"additionalProperties":true}"#,
                Err("`additionalProperties`"),
            ),
            (r#"{"type":"object","properties":{"a":{"type":"object"}}}"#, Err("without `properties`")),
        ] {
            match (translate(schema), want) {
                (Ok(got), Ok(want)) => {
                    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                    assert_eq!(read(&got), read(want), "{schema}");
                }
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                (got, want) => panic!("{schema}: {got:?}, not {want:?}"),
            }
        }
    }
}
