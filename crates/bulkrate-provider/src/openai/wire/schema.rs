//! Whether a JSON Schema meets the rules of strict structured outputs.

use serde_json::Value;

pub(super) fn is_strict_text(schema: &str) -> bool {
    serde_json::from_str::<Value>(schema).is_ok_and(|schema| is_strict_root(&schema))
}

fn is_strict_root(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
        && schema.get("anyOf").is_none()
        && is_strict(schema, 0)
}

/// Keywords that strict mode refuses.
const REFUSED: &[&str] = &[
    "allOf",
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
    "default",
];
const DEPTH_MAX: usize = 10;

fn is_strict(schema: &Value, depth: usize) -> bool {
    let Some(map) = schema.as_object() else { return false };
    if depth > DEPTH_MAX || REFUSED.iter().any(|keyword| map.contains_key(*keyword)) {
        return false;
    }
    let is_object = match map.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        None => map.contains_key("properties"),
        Some(_) => return false,
    };
    let closed = || map.get("additionalProperties") == Some(&Value::Bool(false));
    let all_required = || {
        let Some(Value::Object(properties)) = map.get("properties") else { return false };
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        properties.keys().all(|name| required.contains(&name.as_str()))
    };
    if is_object && !(closed() && all_required()) {
        return false;
    }
    let below =
        |keyword: &str| map.get(keyword).and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    below("properties").all(|inner| is_strict(inner, depth + 1))
        && below("$defs").chain(below("definitions")).all(|inner| is_strict(inner, depth))
        && map.get("items").is_none_or(|items| is_strict(items, depth + 1))
        && map
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .all(|inner| is_strict(inner, depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules() {
        for (schema, want) in [
            (
                r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#,
                true,
            ),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{},"additionalProperties":false}"#, true),
            (r#"{"type":"object"}"#, false),
            (r#"{"type":"array","items":{"type":"string"}}"#, false),
            (
                r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":["integer","null"]}},"required":["b"],"additionalProperties":false}}},"required":["a"],"additionalProperties":false}"#,
                true,
            ),
            (
                r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{}}}}},"required":["a"],"additionalProperties":false}"#,
                false,
            ),
            (
                r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"required":["a"],"additionalProperties":false,"$defs":{"x":{"type":"string"}}}"##,
                true,
            ),
            (
                r#"{"type":"object","properties":{"a":{"oneOf":[]}},"required":["a"],"additionalProperties":false}"#,
                false,
            ),
            ("true", false),
        ] {
            assert_eq!(is_strict_text(schema), want, "{schema}");
        }
    }
}
