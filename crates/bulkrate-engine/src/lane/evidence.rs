//! What else is known of a submission: named fields in its row's evidence, each put there without a look at the others.

use bulkrate_store::Submission;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

fn fields(row: &Submission) -> Map<String, Value> {
    row.evidence.as_deref().and_then(|evidence| serde_json::from_str(evidence).ok()).unwrap_or_default()
}

/// One field of a row's evidence.
pub(super) fn field<T: DeserializeOwned + Default>(row: &Submission, name: &str) -> T {
    fields(row).remove(name).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

/// Puts a field beside whatever else the row's evidence says.
pub(super) fn put(row: &mut Submission, name: &str, value: Value) {
    let mut evidence = fields(row);
    evidence.insert(name.to_owned(), value);
    row.evidence = Some(Value::Object(evidence).to_string());
}
