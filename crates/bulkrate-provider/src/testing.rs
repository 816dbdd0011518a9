//! What tests of several wires ask in the same way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulkrate_core::request::Request;
use serde_json::{Value, json};

use crate::api::{Wire, WireOptions};

/// The body of a line of unified JSON, or why there is none.
pub(crate) fn encoded(wire: &dyn Wire, options: WireOptions<'_>, line: &str) -> Result<Value, String> {
    let request: Request<'_> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut body = Vec::new();
    match wire.encode(&request, options, &mut body) {
        Ok(()) => Ok(serde_json::from_slice(&body).unwrap()),
        Err(error) => {
            assert!(body.is_empty(), "{error}");
            Err(error.to_string())
        }
    }
}

/// A request with these fields besides a prompt.
pub(crate) fn asking(config: Value, more: Value) -> String {
    let line =
        json!({"messages": [{"role": "user", "content": "Hi"}], "generation_config": {"max_tokens": 4_000}});
    with(line, config, more)
}

/// `line` with these settings, and these fields.
pub(crate) fn with(mut line: Value, config: Value, more: Value) -> String {
    let merge = |into: &mut Value, from: Value| {
        into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    };
    merge(&mut line["generation_config"], config);
    merge(&mut line, more);
    line.to_string()
}
