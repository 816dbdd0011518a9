//! One record's cells, however the source spells them.

use std::borrow::Cow;

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
            Self::Json(json) if *json != "null" => serde_json::from_str::<serde_json::Value>(json)
                .map_or_else(
                    |_| minijinja::Value::from(*json),
                    |value| minijinja::Value::from(minijinja::value::Serde(value)),
                ),
            other => minijinja::Value::from(other.as_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_what_a_table_would() {
        for (cell, text) in [
            (Cell::text("q\"é"), "q\"é"),
            (Cell::Json("1.50"), "1.50"),
            (Cell::Json("null"), ""),
            (Cell::Missing, ""),
        ] {
            assert_eq!(cell.as_text(), text);
        }
        let nested = Cell::Json(r#"{"k":[1]}"#).to_value();
        assert_eq!(
            nested.get_attr("k").and_then(|list| list.get_item_by_index(0)).ok(),
            Some(minijinja::Value::from(1))
        );
    }
}
