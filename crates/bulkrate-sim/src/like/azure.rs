//! Azure OpenAI: deployments, two generations of paths, files that are looked into first, a content filter, and errors of its own.

use super::blobs;
use super::entra;
use super::manners::{Call, Entered, Manners, Own, bearer, guid, said};
use crate::errors::ApiError;
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Virtual seconds that a file is `pending`.
const PENDING_SECS: u64 = 30;
/// Codes that are words; all others are the status.
const CODES: &[&str] = &[
    "content_filter",
    "context_length_exceeded",
    "unsupported_parameter",
    "unsupported_value",
    "invalid_request",
];

#[derive(Debug)]
pub(super) struct Azure;

impl Manners for Azure {
    /// `/openai/v1/...`, or `/openai/...` with a version that is a date.
    fn enter(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
    ) -> Result<Entered, ApiError> {
        if path.starts_with("/sim/") {
            return Ok(Entered { path: Some(path.to_owned()), ..Entered::default() });
        }
        if let Some(own) = blobs::own(method, path) {
            return Ok(Entered { own: Some(own), is_open: true, ..Entered::default() });
        }
        if entra::is_asked(path) {
            return Ok(Entered { own: Some(entra::TOKEN), is_open: true, ..Entered::default() });
        }
        let Some(rest) = path.strip_prefix("/openai/") else { return Ok(Entered::default()) };
        if let Some(rest) = rest.strip_prefix("v1/") {
            return Ok(Entered { path: Some(format!("/v1/{rest}")), ..Entered::default() });
        }
        let version = query.get("api-version").filter(|version| version.starts_with("20"));
        let Some(version) = version else {
            let message = "API version not supported";
            return Err(ApiError::new(404, "", Some("InvalidApiVersion"), message));
        };
        let (model, path) = match rest.strip_prefix("deployments/").map(|rest| rest.split_once('/')) {
            Some(Some((name, path))) => (Some(crate::server::decoded(name)), path),
            Some(None) => return Ok(Entered::default()),
            // Calls to a model have its deployment in their path.
            None if ["chat/", "embeddings"].iter().any(|paid| rest.starts_with(paid)) => {
                return Ok(Entered::default());
            }
            None => (None, rest),
        };
        Ok(Entered {
            path: Some(format!("/v1/{path}")),
            model,
            version: Some(version.clone()),
            ..Entered::default()
        })
    }

    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        match call.path.starts_with(blobs::STORE) {
            true => blobs::serve(state, call),
            false => Ok(entra::grant(state, call)),
        }
    }

    fn leave_own(&self, own: Own, reply: Reply) -> Reply {
        if own == entra::TOKEN { reply } else { blobs::error(reply) }
    }

    fn create(&self, body: Value, _: &HashMap<String, String>) -> Result<Value, ApiError> {
        blobs::create(body)
    }

    fn holds(&self, state: &State, key: &str) -> Option<bool> {
        entra::holds(state, key)
    }

    fn key<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        let own = headers.get("api-key").and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        if own.is_empty() { bearer(headers) } else { own }
    }

    fn deploys(&self) -> bool {
        true
    }

    fn refuses_file(&self, id: &str, age_secs: u64) -> Option<ApiError> {
        if blobs::is_blob(id) {
            return None;
        }
        let message = "The input file is not processed yet: its status is 'pending'.";
        (age_secs < PENDING_SECS)
            .then(|| ApiError::invalid(Some("invalid_request"), "input_file_id", message))
    }

    /// Its window is a target only.
    fn expires(&self) -> bool {
        false
    }

    fn writes_empty_files(&self) -> bool {
        true
    }

    fn refusal(&self, mut refusal: Value) -> Value {
        let code = refusal["code"].as_str().unwrap_or_default().to_owned();
        let own = match code.as_str() {
            "mismatched_model" => "model_mismatch",
            "invalid_url" => "url_mismatch",
            "too_many_requests" => "too_many_tasks",
            other => other,
        };
        refusal["code"] = json!(own);
        if own == "token_limit_exceeded" {
            refusal["message"] = json!(token_limit(refusal["message"].as_str().unwrap_or_default()));
        }
        refusal
    }

    fn batch_id(&self, hex: &str) -> String {
        format!("batch_{}", guid(hex))
    }

    /// Half of what is refused is kept from the model; the other half is cut off while it answers.
    fn filtered(&self, key: u64) -> Option<ApiError> {
        let message = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry.";
        (key & 1 == 0).then(|| ApiError::invalid(Some("content_filter"), "prompt", message))
    }

    fn filters(&self) -> bool {
        true
    }

    fn answer(&self, answer: &mut Value) {
        let Some(choices) = answer.get_mut("choices").and_then(Value::as_array_mut) else { return };
        for choice in choices {
            let filtered = choice["finish_reason"] == "content_filter";
            choice["content_filter_results"] = filter_result(filtered);
        }
        answer["prompt_filter_results"] =
            json!([{"prompt_index": 0, "content_filter_results": filter_result(false)}]);
    }

    fn error(&self, status: u16, error: &Value) -> Option<Value> {
        let message = error["message"].as_str().unwrap_or_default();
        let code = error["code"].as_str().unwrap_or_default();
        let shaped = match (status, code) {
            (_, "content_filter" | "content_policy_violation") => json!({
                "message": message, "type": null, "param": "prompt", "code": "content_filter", "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": filter_result(true)},
            }),
            (401, _) => json!({
                "code": "401",
                "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
            }),
            (404, "model_not_found") => json!({
                "code": "DeploymentNotFound",
                "message": "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
            }),
            (429, "rate_limit_exceeded") => json!({"code": "429", "message": too_many(message)}),
            (_, "OperationNotSupported" | "InvalidApiVersion" | "insufficient_quota") => {
                json!({"code": code, "message": message})
            }
            (400, _) => json!({
                "message": message, "type": "invalid_request_error", "param": error["param"],
                "code": if CODES.contains(&code) { json!(code) } else { Value::Null },
            }),
            (status, _) => json!({"code": status.to_string(), "message": message}),
        };
        Some(json!({"error": shaped}))
    }

    fn leave(&self, state: &State, entered: &Entered, mut reply: Reply) -> Reply {
        reply.headers.retain(|(name, _)| !name.as_str().starts_with("x-ratelimit-reset"));
        reply.header("x-ms-region", "Sweden Central");
        let Some(mut value) = said(&reply) else { return reply };
        let is_dated = entered.version.is_some();
        match value["object"].as_str() {
            Some("file") if value["deleted"] == true && is_dated => {
                reply.status = 204;
                return reply.with_body(Bytes::new());
            }
            Some("file" | "batch") => shaped(state, &mut value, is_dated),
            Some("list") => {
                let listed = value["data"].as_array_mut().into_iter().flatten();
                listed.for_each(|one| shaped(state, one, is_dated));
            }
            _ => return reply,
        }
        reply.with_body(serde_json::to_vec(&value).unwrap_or_default().into())
    }
}

/// A file or a batch.
fn shaped(state: &State, value: &mut Value, is_dated: bool) {
    match value["object"].as_str() {
        Some("file") if value["purpose"] == "batch" && value.get("deleted").is_none() => {
            let age = state.clock.now().saturating_sub(value["created_at"].as_u64().unwrap_or(0));
            value["status"] = json!(if age < PENDING_SECS { "pending" } else { "processed" });
        }
        Some("batch") => {
            let endpoint = value["endpoint"].as_str().unwrap_or_default();
            value["endpoint"] = json!(endpoint.trim_start_matches("/v1"));
            match value["input_file_id"].as_str().is_some_and(blobs::is_blob) {
                true => blobs::shaped(value),
                false => {
                    for blob in ["input_blob", "output_blob", "error_blob"] {
                        value[blob] = if blob == "input_blob" { Value::Null } else { json!("") };
                    }
                }
            }
            if is_dated {
                older(value);
            }
        }
        _ => {}
    }
}

/// The batch of a dated version: capitals, a time as text, counts that nobody counts.
fn older(batch: &mut Value) {
    let status = batch["status"].as_str().unwrap_or_default();
    let mut words: Vec<String> = status.split('_').map(str::to_owned).collect();
    for word in &mut words {
        word[..1].make_ascii_uppercase();
    }
    batch["status"] = json!(words.join("_"));
    let at = batch["created_at"].as_i64().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    batch["created_at"] =
        json!(at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.2491382+00:00").to_string());
    batch["request_counts"]["completed"] = Value::Null;
    batch["request_counts"]["failed"] = Value::Null;
}

fn filter_result(filtered: bool) -> Value {
    let mut result = Map::new();
    for kind in ["hate", "self_harm", "sexual", "violence"] {
        let hit = filtered && kind == "violence";
        let severity = if hit { "medium" } else { "safe" };
        result.insert(kind.to_owned(), json!({"filtered": hit, "severity": severity}));
    }
    result.insert("jailbreak".to_owned(), json!({"filtered": false, "detected": false}));
    Value::Object(result)
}

/// OpenAI's `... Please try again in 120ms.` as Azure says it.
fn too_many(message: &str) -> String {
    let what = if message.contains("TPM") { "token" } else { "call" };
    let wait = message.rsplit_once("try again in ").map_or("1s", |(_, wait)| wait.trim_end_matches('.'));
    let secs = match wait.strip_suffix("ms") {
        Some(_) => "1".to_owned(),
        None => wait.trim_end_matches('s').split('.').next().unwrap_or("1").to_owned(),
    };
    let secs = secs.parse::<u64>().map_or(60, |secs| secs.max(1));
    format!(
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded {what} rate limit of your current OpenAI S0 pricing tier. Please retry after {secs} seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
    )
}

/// `Enqueued token limit reached for NAME in ... Limit: 30,000 ...` as Azure says it, in thousands.
fn token_limit(text: &str) -> String {
    let name = text.split(" for ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let limit = text.split("Limit: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let limit: u64 = limit.replace(',', "").parse().unwrap_or(0);
    let limit = if limit.is_multiple_of(1_000) && limit > 0 {
        format!("{}K", limit / 1_000)
    } else {
        limit.to_string()
    };
    format!(
        "The number of enqueued tokens has surpassed the configured limit of {limit} for the deployment '{name}'. Please wait for other jobs to complete."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str, version: Option<&str>) -> (Option<String>, Option<String>) {
        let query =
            version.map(|version| ("api-version".to_owned(), version.to_owned())).into_iter().collect();
        match Azure.enter(&Method::POST, path, &query) {
            Ok(entered) => (entered.path, entered.model),
            Err(error) => (error.code.map(str::to_owned), None),
        }
    }

    #[test]
    fn both_generations_of_paths_lead_to_openais() {
        let some = |text: &str| Some(text.to_owned());
        for (at, version, want) in [
            ("/openai/v1/chat/completions", None, (some("/v1/chat/completions"), None)),
            ("/openai/v1/batches", Some("preview"), (some("/v1/batches"), None)),
            (
                "/openai/deployments/a%20b/chat/completions",
                Some("2024-10-21"),
                (some("/v1/chat/completions"), some("a b")),
            ),
            ("/openai/files", Some("2024-10-21"), (some("/v1/files"), None)),
            ("/openai/files", None, (some("InvalidApiVersion"), None)),
            ("/openai/chat/completions", Some("2024-10-21"), (None, None)),
            ("/v1/chat/completions", None, (None, None)),
        ] {
            assert_eq!(path(at, version), want, "{at}");
        }
    }

    #[test]
    fn limits_are_said_in_azures_words() {
        let text = token_limit(
            "Enqueued token limit reached for mini-batch in organization org-sim. Limit: 30,000 enqueued tokens.",
        );
        assert!(text.contains("limit of 30K for the deployment 'mini-batch'"), "{text}");
        for (openai, secs) in
            [("(TPM): Limit 9. Please try again in 120ms.", 1), ("(RPM). Please try again in 8.64s.", 8)]
        {
            assert!(too_many(openai).contains(&format!("Please retry after {secs} seconds")), "{openai}");
        }
    }
}
