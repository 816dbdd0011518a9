//! What lines say in unified words, what they keep, and what is wrong with others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod anthropic;
mod bedrock;
mod gemini;

use serde_json::{Value, json};

use super::{Dialect, Translated};
use crate::request::{BodyError, Request, write_canonical};

/// The canonical form of a body, and the first field that binds it.
pub(super) fn read(dialect: Dialect, body: &Value) -> Result<(Value, Option<String>), BodyError> {
    let body = body.to_string();
    let Translated { mut request, kwargs, schema, bound, .. } = dialect.translate(&body)?;
    request.generation_config.output_schema = schema.as_deref().or(request.generation_config.output_schema);
    let mut request = Request { provider_kwargs: kwargs.as_deref(), ..request };
    request.settle_blobs().unwrap();
    let mut out = Vec::new();
    write_canonical(&request, &mut out);
    Ok((serde_json::from_slice(&out).unwrap(), bound.map(|bound| bound.field)))
}

/// The canonical form of a unified request.
fn unified(request: &Value) -> Value {
    let text = request.to_string();
    let request: Request<'_> = serde_json::from_str(&text).unwrap();
    let mut out = Vec::new();
    write_canonical(&request, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn merged(into: &Value, more: &Value) -> Value {
    let mut all = into.clone();
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// Each body, and the unified request that says the same to whoever it goes to.
pub(super) fn says(dialect: Dialect, cases: &[(Value, Value)]) {
    for (body, request) in cases {
        assert_eq!(read(dialect, body).unwrap(), (unified(request), None), "{body}");
    }
}

/// What a body with this field more keeps of it, and which field binds it; all else stays as it is.
pub(super) fn keeps(dialect: Dialect, plain: &Value, cases: &[(Value, Value, &str)]) {
    let (without, _) = read(dialect, plain).unwrap();
    for (more, kwargs, field) in cases {
        let (mut request, bound) = read(dialect, &merged(plain, more)).unwrap();
        assert_eq!(bound.as_deref(), Some(*field), "{more}");
        assert_eq!(&request["provider_kwargs"], kwargs, "{more}");
        request.as_object_mut().unwrap().remove("provider_kwargs");
        // Turns that are kept are nowhere else.
        let own_turns = ["messages", "contents"].iter().any(|name| !kwargs[name].is_null());
        let mut want = without.clone();
        if own_turns {
            want.as_object_mut().unwrap().remove("messages");
        }
        for name in ["system_prompt", "generation_config"] {
            if request[name] != want[name] {
                request.as_object_mut().unwrap().remove(name);
                want.as_object_mut().unwrap().remove(name);
            }
        }
        assert_eq!(request, want, "{more}");
    }
}

/// What says no more than its absence binds nothing.
pub(super) fn says_nothing(dialect: Dialect, plain: &Value, cases: &[Value]) {
    let without = read(dialect, plain).unwrap();
    assert_eq!(without.1, None);
    for more in cases {
        assert_eq!(read(dialect, &merged(plain, more)).unwrap(), without, "{more}");
    }
}

/// What is wrong with a body that has this more, in the words that are told.
pub(super) fn refuses(dialect: Dialect, plain: &Value, cases: &[(Value, &str)]) {
    for (more, told) in cases {
        let error = read(dialect, &merged(plain, more)).unwrap_err().to_string();
        assert!(error.contains(told), "{more}: {error}");
    }
}
