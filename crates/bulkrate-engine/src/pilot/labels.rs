//! The right answers of a sample. That a model can say them at all is known before anything is asked: labels that nobody can say make
//! every model as good as the strong one.

use std::path::Path;

use bulkrate_io::{RowData, Source, SourceOptions};
use serde_json::Value;

use super::Reads;
use crate::EngineError;
use crate::spec::RequestSpec;

impl Reads {
    /// As [`Self::of`], with the labels of a sample's column, which are compared with one thing.
    ///
    /// # Errors
    /// There is no such column, a label is none of the choices, or it is not known with which of several fields to compare.
    pub(crate) fn labelled(request: &RequestSpec, sample: &Path, column: &str) -> Result<Self, EngineError> {
        let refused = |why: String| EngineError::BadSpec {
            code: "pilot-unfit",
            what: format!("`--labels {column}`"),
            why,
        };
        let mut reads = Self::of(request);
        let schema: Option<Value> =
            request.schema.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let labels = labels_of(sample, column)?;
        let mut known = (!request.choices.is_empty()).then(|| request.choices.clone());
        if let Some(schema) = schema {
            let fields = labelled_fields(&schema, &reads);
            let [field] = fields.as_slice() else {
                return Err(refused(format!(
                    "a label is compared with one field of the answer, and the schema has {} that it could be ({}): \
                     one field of few values is wanted, or one text",
                    fields.len(),
                    fields.join(", ")
                )));
            };
            known = values(&schema["properties"][field]);
            reads.fields = vec![field.clone()];
        }
        if let Some(known) = known {
            let strange = labels.iter().flatten().find(|label| !known.iter().any(|one| same(one, label)));
            if let Some(strange) = strange {
                return Err(refused(format!(
                    "`{strange}` is none of the choices ({}): no answer could be right; mend the column, or empty the cell",
                    known.join(", ")
                )));
            }
        }
        Ok(Self { labels: Some(labels), ..reads })
    }
}

/// The fields that a label could be: those of few values; where there is none, the texts.
fn labelled_fields(schema: &Value, reads: &Reads) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let of = |is: fn(&Value) -> bool| -> Vec<String> {
        let all = properties.into_iter().flatten();
        all.filter(|(name, of)| Some(*name) != reads.sure.as_ref() && is(of))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let closed = of(super::read::is_closed);
    if closed.is_empty() { of(|of| of.get("type").and_then(Value::as_str) == Some("string")) } else { closed }
}

/// What a field may hold, where its schema lists it.
fn values(of: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(one) = of.get("const") {
        return Some(vec![text(one)]);
    }
    if let Some(listed) = of.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().map(text).collect());
    }
    (of.get("type").and_then(Value::as_str) == Some("boolean"))
        .then(|| vec!["true".to_owned(), "false".to_owned()])
}

/// Whether an answer is what a label says: in any case of letters, and numbers by their value, as tables like to write 1 as 1.0.
pub(super) fn same(said: &str, label: &str) -> bool {
    let (said, label) = (said.trim().to_lowercase(), label.trim().to_lowercase());
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    said == label
        || number(&said)
            .is_some_and(|said| number(&label).is_some_and(|label| said.total_cmp(&label).is_eq()))
}

/// The labels of a sample: one an item, `None` where the cell is empty.
fn labels_of(sample: &Path, column: &str) -> Result<Vec<Option<String>>, EngineError> {
    let mut source = Source::open(&SourceOptions::new(sample))?;
    let (mut labels, mut columns, mut found) = (Vec::new(), Vec::new(), false);
    while let Some(row) = source.next()? {
        let RowData::Json(row) = &row.data else { continue };
        if columns.is_empty() {
            columns = row.iter().map(|(name, _)| name.into_owned()).collect();
        }
        let cell = row.get(column).map(|cell| cell.cell().trim().to_owned());
        found |= cell.is_some();
        labels.push(cell.filter(|cell| !cell.is_empty()));
    }
    if found { Ok(labels) } else { Err(EngineError::no_column(column, &columns)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn labels_are_compared_with_one_field_that_can_hold_them() {
        let dir = tempfile::tempdir().unwrap();
        let sample = dir.path().join("sample.jsonl");
        let read = |request: &RequestSpec, label: &str| {
            std::fs::write(&sample, format!("{{\"right\":\"{label}\"}}\n{{\"right\":\"\"}}\n")).unwrap();
            Reads::labelled(request, &sample, "right")
                .map(|reads| (reads.fields, reads.labels.unwrap()))
                .map_err(|error| (error.code(), error.to_string()))
        };
        let json = |properties: &str| RequestSpec {
            schema: Some(format!(r#"{{"type":"object","properties":{{{properties}}}}}"#)),
            ..RequestSpec::default()
        };
        let choices =
            RequestSpec { choices: vec!["good".to_owned(), "bad".to_owned()], ..RequestSpec::default() };
        let closed = r#""b":{"enum":["x","y"]},"why":{"type":"string"},"confidence":{"type":"number"}"#;
        for (request, label, field) in [
            (choices.clone(), "GOOD ", None),
            (RequestSpec::default(), "anything", None),
            (json(closed), "X", Some("b")),
            (json(r#""n":{"type":"integer"}"#), "1.0", Some("n")),
            (json(r#""n":{"enum":[1,2]}"#), "1.0", Some("n")),
            (json(r#""yes":{"type":"boolean"}"#), "True", Some("yes")),
            (json(r#""town":{"type":"string"},"confidence":{"type":"number"}"#), "Bern", Some("town")),
        ] {
            let (fields, labels) = read(&request, label).unwrap();
            assert_eq!(fields, field.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{label}");
            assert_eq!(labels, [Some(label.trim().to_owned()), None]);
        }
        for (request, label, word) in [
            (choices, "goood", "none of the choices"),
            (json(closed), "z", "none of the choices"),
            (json(r#""yes":{"type":"boolean"}"#), "1", "none of the choices"),
            (json(r#""a":{"enum":["x"]},"b":{"enum":["x"]}"#), "x", "has 2"),
            (json(r#""name":{"type":"string"},"town":{"type":"string"}"#), "Bern", "has 2"),
            (json(r#""parts":{"type":"array"}"#), "Bern", "has 0"),
        ] {
            let (code, told) = read(&request, label).unwrap_err();
            assert!(code == "pilot-unfit" && told.contains(word), "{code} {told}");
        }
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        for (said, label, want) in [
            ("1", "1.0", true),
            (" A", "a ", true),
            ("1", "2", false),
            ("one", "1", false),
            ("nan", "NaN", true),
        ] {
            assert_eq!(same(said, label), want, "{said} {label}");
        }
    }
}
