//! One record's cells, however the source spells them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One cell of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Text(Cow<'a, str>),
    /// A JSON value that is no string, as written.
    Json(&'a str),
    /// The record has no such cell.
    Missing,
}

impl<'a> Cell<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// The cell as text: `null` and missing cells are empty, other JSON is as written.
    #[must_use]
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Json("null") | Self::Missing => "",
            Self::Json(json) => json,
        }
    }

    /// The cell as a template sees it: numbers, lists and objects keep their type.
    #[must_use]
    pub fn to_value(&self) -> minijinja::Value {
        match self {
            Self::Json(json) if *json != "null" => {
                serde_json::from_str::<serde_json::Value>(json).map_or_else(|_| minijinja::Value::from(*json), minijinja::value::to_value)
            }
            other => minijinja::Value::from(other.as_text()),
        }
    }
}

/// Picks the wanted keys out of one JSON object, without building a tree.
#[derive(Debug, Clone)]
pub struct JsonRow {
    wanted: Vec<String>,
}

impl JsonRow {
    #[must_use]
    pub fn new(wanted: &[String]) -> Self {
        Self { wanted: wanted.to_vec() }
    }

    /// The wanted cells of `line`, in the wanted order; of a repeated key the last one counts.
    pub fn read<'a>(&self, line: &'a str) -> Result<Vec<Cell<'a>>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(line);
        let cells = Picker(&self.wanted).deserialize(&mut reader)?;
        reader.end()?;
        Ok(cells)
    }
}

struct Picker<'w>(&'w [String]);

impl<'de> DeserializeSeed<'de> for Picker<'_> {
    type Value = Vec<Cell<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Picker<'_> {
    type Value = Vec<Cell<'de>>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut cells = vec![Cell::Missing; self.0.len()];
        while let Some(key) = map.next_key::<crate::request::Text<'de>>()? {
            match self.0.iter().position(|wanted| *wanted == *key) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(place) => {
                    let raw: &'de RawValue = map.next_value()?;
                    cells[place] = cell(raw).map_err(serde::de::Error::custom)?;
                }
            }
        }
        Ok(cells)
    }
}

fn cell(raw: &RawValue) -> Result<Cell<'_>, serde_json::Error> {
    let json = raw.get();
    if !json.starts_with('"') {
        return Ok(Cell::Json(json));
    }
    if memchr::memchr(b'\\', json.as_bytes()).is_none() {
        return Ok(Cell::text(&json[1..json.len() - 1]));
    }
    Ok(Cell::Text(Cow::Owned(serde_json::from_str(json)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn cells_of_a_json_line() {
        let row = JsonRow::new(&["a".into(), "n".into(), "o".into(), "gone".into(), "z".into()]);
        let cells = row.read(r#"{"x":[1,{"a":2}],"a":"q\"\u00e9","n":1.50,"o":{"k":[1]},"z":null}"#).unwrap();
        assert_eq!(cells.iter().map(Cell::as_text).collect::<Vec<_>>(), ["q\"é", "1.50", r#"{"k":[1]}"#, "", ""]);
        assert_eq!(cells[3], Cell::Missing);
        assert_eq!(cells[2].to_value().get_attr("k").unwrap().get_item_by_index(0).unwrap(), minijinja::Value::from(1));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for line in ["[1]", "1", "{\"a\":1", "{\"a\":1} x", "", "{\"a\":\"\\ud800\"}"] {
            assert!(JsonRow::new(&["a".into()]).read(line).is_err(), "{line}");
        }
    }
}
