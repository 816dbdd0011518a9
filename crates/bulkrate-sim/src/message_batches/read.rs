//! Reads the body of a create. Ids are looked at now, requests only when they run: what is wrong with them is told in their results.

use super::invalid;
use crate::errors::ApiError;
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

const REQUESTS_MAX: usize = 100_000;
const ID_CHARS_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    requests: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// One request of a batch: its id, and where its parameters stand in the body.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) start: usize,
    pub(super) length: usize,
}

pub(super) fn orders(body: &[u8]) -> Result<Vec<Order>, ApiError> {
    let parsed: Body<'_> = serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            Some(name) => invalid(format!("{name}: Extra inputs are not permitted")),
            None => invalid(format!("The request body is not valid JSON: {text}")),
        }
    })?;
    let requests = parsed.requests.ok_or_else(|| invalid("requests: Field required"))?;
    if requests.is_empty() {
        return Err(invalid("requests: List should have at least 1 item after validation, not 0"));
    }
    if requests.len() > REQUESTS_MAX {
        let message = format!("requests: List should have at most {REQUESTS_MAX} items after validation");
        return Err(invalid(message));
    }
    let mut seen = HashSet::with_capacity(requests.len());
    let mut orders = Vec::with_capacity(requests.len());
    for (at, request) in requests.into_iter().enumerate() {
        let order = order(body, at, request)?;
        if !seen.insert(crate::rng::hash(order.id.as_bytes(), 5)) {
            return Err(invalid(format!("requests.{at}.custom_id: custom_id must be unique within a batch")));
        }
        orders.push(order);
    }
    Ok(orders)
}

fn order(body: &[u8], at: usize, request: &RawValue) -> Result<Order, ApiError> {
    let bad = |field: &str, why: &str| Err(invalid(format!("requests.{at}.{field}: {why}")));
    let Ok(request) = serde_json::from_str::<Request<'_>>(request.get()) else {
        return bad("", "Extra inputs are not permitted");
    };
    let Some(id) = request.custom_id else { return bad("custom_id", "Field required") };
    let Some(id) = json::text(id) else { return bad("custom_id", "Input should be a valid string") };
    if id.chars().count() > ID_CHARS_MAX {
        return bad("custom_id", "String should have at most 64 characters");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if id.is_empty() || !id.bytes().all(is_plain) {
        return bad("custom_id", "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'");
    }
    let Some(params) = request.params else { return bad("params", "Field required") };
    if !params.get().starts_with('{') {
        return bad("params", "Input should be a valid dictionary");
    }
    let start = params.get().as_ptr().addr().saturating_sub(body.as_ptr().addr());
    Ok(Order { id: id.into_owned(), start, length: params.get().len() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn create(requests: &str) -> String {
        format!(r#"{{ "requests": [{requests}] }}"#)
    }

    #[test]
    fn parameters_are_found_in_the_body() {
        let body = create(r#"{"custom_id":"a","params":{"n": 1}}, {"params": {} ,"custom_id":"b-_9"}"#);
        let orders = orders(body.as_bytes()).unwrap();
        let seen: Vec<(&str, &str)> = orders
            .iter()
            .map(|order| (order.id.as_str(), &body[order.start..order.start + order.length]))
            .collect();
        assert_eq!(seen, [("a", r#"{"n": 1}"#), ("b-_9", "{}")]);
    }

    #[test]
    fn refusals_name_the_place() {
        let one = |id: &str| format!(r#"{{"custom_id":"{id}","params":{{}}}}"#);
        let long = "x".repeat(65);
        let many = vec![one("a"); REQUESTS_MAX + 1].join(",");
        for (body, want) in [
            ("{".to_owned(), "not valid JSON"),
            ("{}".to_owned(), "requests: Field required"),
            (r#"{"requests":[],"betas":[]}"#.to_owned(), "betas: Extra inputs"),
            (create(""), "at least 1 item"),
            (create(&many), "at most 100000"),
            (create(&format!("{},{}", one("a"), one("a"))), "requests.1.custom_id: custom_id must be unique"),
            (create(&one(&long)), "requests.0.custom_id: String should have at most 64 characters"),
            (create(&one("a.b")), "requests.0.custom_id: String should match pattern"),
            (create(&one("")), "requests.0.custom_id: String should match pattern"),
            (create(r#"{"custom_id":7,"params":{}}"#), "valid string"),
            (create(r#"{"params":{}}"#), "requests.0.custom_id: Field required"),
            (create(r#"{"custom_id":"a"}"#), "requests.0.params: Field required"),
            (create(r#"{"custom_id":"a","params":[]}"#), "requests.0.params"),
            (create(r#"{"custom_id":"a","params":{},"betas":[]}"#), "Extra inputs"),
        ] {
            let error = orders(body.as_bytes()).unwrap_err();
            assert!(error.status == 400 && error.message.contains(want), "{want}: {error:?}");
        }
    }
}
