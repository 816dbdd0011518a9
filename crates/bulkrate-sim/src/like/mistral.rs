//! Mistral's batches: jobs of one model over files whose lines name none, in states and counts of its own, on numbered pages.

use super::Splice;
use super::manners::{Entered, Manners, guid, said};
use crate::errors::ApiError;
use crate::files::File;
use crate::server::{Reply, State};
use http::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const JOBS: &str = "/v1/batch/jobs";

#[derive(Debug)]
pub(super) struct Mistral;

impl Manners for Mistral {
    fn enter(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
    ) -> Result<Entered, ApiError> {
        let Some(rest) = path.strip_prefix(JOBS).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            let parts = ["/v1/files", "/v1/chat/", "/v1/embeddings", "/v1/models", "/sim/"];
            let there = parts.iter().any(|part| path.starts_with(part));
            return Ok(Entered { path: there.then(|| path.to_owned()), ..Entered::default() });
        };
        let listed = (method == Method::GET && rest.is_empty()).then(|| page(query)).transpose()?;
        Ok(Entered { path: Some(format!("/v1/batches{rest}")), query: listed, ..Entered::default() })
    }

    fn create(&self, body: Value, _: &HashMap<String, String>) -> Result<Value, ApiError> {
        let missing =
            |name: &str| ApiError::new(422, "invalid_request_error", None, format!("Field required: {name}"));
        let model = body["model"].as_str().ok_or_else(|| missing("model"))?;
        let files = body["input_files"].as_array().ok_or_else(|| missing("input_files"))?;
        let [file] = files.as_slice() else {
            return Err(ApiError::invalid(None, "input_files", "One input file is simulated."));
        };
        let hours = body.get("timeout_hours").and_then(Value::as_u64).unwrap_or(24);
        if !(1..=168).contains(&hours) {
            return Err(ApiError::invalid(None, "timeout_hours", "timeout_hours must be from 1 to 168."));
        }
        Ok(json!({
            "endpoint": body["endpoint"], "input_file_id": file, "completion_window": "24h",
            "metadata": body["metadata"], "model": model,
        }))
    }

    /// The lines as OpenAI would have them, each when it is read. What names a model is none of Mistral's.
    fn input(&self, file: Arc<File>, order: &Value) -> Arc<File> {
        Splice {
            endpoint: order["endpoint"].to_string(),
            model: Some(order["model"].to_string()),
            renames: &[("random_seed", "seed")],
            drops: &[],
        }
        .into_file(file)
    }

    fn batch_id(&self, hex: &str) -> String {
        guid(hex)
    }

    fn error(&self, status: u16, error: &Value) -> Option<Value> {
        Some(json!({
            "object": "error", "message": error["message"], "type": error["type"], "param": error["param"],
            "code": status.to_string(),
        }))
    }

    fn leave(&self, state: &State, _: &Entered, reply: Reply) -> Reply {
        let Some(value) = said(&reply) else { return reply };
        let is_batch = |one: &Value| one["object"] == "batch";
        let shaped = match (value["object"].as_str(), value["data"].as_array()) {
            (Some("batch"), _) => job(&value),
            (Some("list"), Some(listed)) if listed.iter().all(is_batch) => {
                let total = state.batches.visible(&state.clock, 0).len();
                json!({"object": "list", "total": total, "data": listed.iter().map(job).collect::<Vec<_>>()})
            }
            _ => return reply,
        };
        reply.with_body(serde_json::to_vec(&shaped).unwrap_or_default().into())
    }
}

/// A numbered page as a number of batches to pass over.
fn page(query: &HashMap<String, String>) -> Result<HashMap<String, String>, ApiError> {
    let number = |name: &str, usual: usize| {
        let bad = || ApiError::new(422, "invalid_request_error", None, format!("{name} must be a number"));
        query.get(name).map_or(Ok(usual), |text| text.parse::<usize>().map_err(|_| bad()))
    };
    let (page, size) = (number("page", 0)?, number("page_size", 100)?);
    let pairs = [("limit", size), ("offset", page.saturating_mul(size))];
    Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect())
}

fn job(batch: &Value) -> Value {
    let status = match batch["status"].as_str().unwrap_or_default() {
        "validating" => "QUEUED",
        "in_progress" | "finalizing" => "RUNNING",
        "completed" => "SUCCESS",
        "failed" => "FAILED",
        "expired" => "TIMEOUT_EXCEEDED",
        "cancelling" => "CANCELLATION_REQUESTED",
        "cancelled" => "CANCELLED",
        other => other,
    };
    let errors = batch["errors"]["data"].as_array().cloned().unwrap_or_default();
    let errors: Vec<Value> =
        errors.iter().map(|error| json!({"message": error["message"], "count": 1})).collect();
    let counts = &batch["request_counts"];
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    let mut job = json!({
        "object": "batch", "input_files": [batch["input_file_id"]], "endpoint": batch["endpoint"],
        "model": batch["model"], "agent_id": null, "metadata": batch["metadata"], "errors": errors, "status": status,
        "created_at": batch["created_at"], "started_at": batch["in_progress_at"], "completed_at": batch["completed_at"],
        "total_requests": count("total"), "completed_requests": count("completed") + count("failed"),
        "succeeded_requests": count("completed"), "failed_requests": count("failed"),
        "output_file": batch["output_file_id"], "error_file": batch["error_file_id"], "outputs": null,
    });
    // A fault may have taken it.
    if let Some(id) = batch.get("id") {
        job["id"] = id.clone();
    }
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_batches_and_pages_have_numbers() {
        let query =
            [("page", "2"), ("page_size", "50")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        let entered = Mistral.enter(&Method::GET, "/v1/batch/jobs", &query.into_iter().collect());
        let entered = entered.unwrap_or_default();
        assert_eq!(entered.path.as_deref(), Some("/v1/batches"));
        assert_eq!(entered.query.and_then(|query| query.get("offset").cloned()).as_deref(), Some("100"));
        for (path, want) in [
            ("/v1/batch/jobs/j/cancel", Some("/v1/batches/j/cancel")),
            ("/v1/batch/jobsters", None),
            ("/v1/batches", None),
            ("/v1/files/f/content", Some("/v1/files/f/content")),
        ] {
            let entered = Mistral.enter(&Method::POST, path, &HashMap::new()).unwrap_or_default();
            assert_eq!(entered.path.as_deref(), want, "{path}");
        }
    }
}
