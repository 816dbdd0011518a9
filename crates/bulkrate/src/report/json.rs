//! The documents that commands print for programs.

use bulkrate_engine::report::Report;
use serde_json::{Value, json};

pub use bulkrate_engine::dollars::{document, usd};

/// The document that `run --json` ends with.
#[must_use]
pub fn report(report: &Report) -> Value {
    let mut value = document(report);
    if let Value::Object(fields) = &mut value {
        fields.insert("exit_code".to_owned(), json!(report.exit_code()));
    }
    value
}
