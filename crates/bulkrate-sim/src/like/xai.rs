//! xAI's batches: counters and no states, results on pages below the batch, days instead of times, errors that are a code and a text.

use super::manners::{Call, Entered, Manners, Own, said};
use crate::batches;
use crate::batches::lines::{Fate, Run};
use crate::errors::ApiError;
use crate::faults::Place;
use crate::files::{Content, Spoilt, page_size};
use crate::json::push_str;
use crate::server::{Reply, State};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

const BATCHES: &str = "/v1/batches";
const PAGE_MAX: usize = 1_000;
const LIFE_SECS: u64 = 30 * 86_400;
/// Virtual seconds for which a batch that was cancelled shows all of it as cancelled, what ran too.
const EARLY_SECS: u64 = 20;
/// Codes of gRPC, as results write them, and the statuses of HTTP that they stand for.
const CODES: &[(u16, u16)] = &[(400, 3), (401, 16), (403, 7), (404, 5), (429, 8), (500, 13), (503, 14)];

#[derive(Debug)]
pub(super) struct Xai;

impl Manners for Xai {
    fn enter(
        &self,
        method: &Method,
        path: &str,
        query: &HashMap<String, String>,
    ) -> Result<Entered, ApiError> {
        let below = path.strip_prefix(BATCHES).and_then(|rest| rest.strip_prefix('/'));
        let own = |label| Entered { own: Some(Own { place: Place::Content, label }), ..Entered::default() };
        match (method.as_str(), below.map(|rest| rest.rsplit_once(['/', ':']))) {
            ("GET", Some(Some((_, "results")))) => return Ok(own("GET /v1/batches/{id}/results")),
            ("GET", Some(Some((_, "requests")))) => return Ok(own("GET /v1/batches/{id}/requests")),
            ("POST", Some(Some((id, "cancel")))) => {
                let path = Some(format!("{BATCHES}/{id}/cancel"));
                return Ok(Entered { path, ..Entered::default() });
            }
            _ => {}
        }
        let parts = ["/v1/files", BATCHES, "/v1/chat/", "/v1/models", "/sim/"];
        let there = parts.iter().any(|part| path.starts_with(part));
        let listed = (method == Method::GET && path == BATCHES).then(|| {
            let mut own = query.clone();
            own.insert("offset".to_owned(), own.get("pagination_token").cloned().unwrap_or_default());
            own
        });
        Ok(Entered { path: there.then(|| path.to_owned()), query: listed, ..Entered::default() })
    }

    fn serve(&self, state: &Arc<State>, call: &Call<'_>) -> Result<Reply, ApiError> {
        let below = call.path.strip_prefix(BATCHES).unwrap_or_default().trim_start_matches('/');
        let (id, what) = below.rsplit_once('/').unwrap_or((below, ""));
        let spoilt = Spoilt::drawn(state);
        let batch = batches::find(state, &crate::server::decoded(id))?;
        if spoilt.gone {
            return Err(ApiError::not_found("Batch not found"));
        }
        let size = page_size(call.query, 100, PAGE_MAX)?;
        let from = call.query.get("pagination_token").map_or(Ok(0), |token| token.parse::<usize>());
        let from =
            from.map_err(|_| ApiError::invalid(None, "pagination_token", "Invalid pagination token"))?;
        // Nothing is to be had of it before it has ended.
        let (files, cancelled_at) = {
            let mut life = batch.life();
            let shown = batch.shown(&mut life, state, true);
            ([shown.output, shown.error], life.cancelled_at)
        };
        let rows = match what {
            "results" if is_early(state, cancelled_at) => Rows::AllCancelled,
            "results" => Rows::Results,
            _ => Rows::Requests,
        };
        let run = files.into_iter().flatten().find_map(|file| match &state.files.get(&file)?.content {
            Content::Lines(run, _) => Some(run.clone()),
            Content::Stored(_) | Content::Bare(..) => None,
        });
        let run = run.map(|run| if spoilt.reordered { Arc::new(run.reordered()) } else { run });
        Ok(page(state, run.as_deref(), rows, (from, size)))
    }

    fn create(&self, body: Value, _: &HashMap<String, String>) -> Result<Value, ApiError> {
        let name = body["name"].as_str().ok_or_else(|| ApiError::missing("name"))?;
        if !body["input_file_id"].is_string() {
            return Err(ApiError::invalid(None, "input_file_id", "Only batches of a file are simulated."));
        }
        Ok(json!({
            "endpoint": "/v1/chat/completions", "input_file_id": body["input_file_id"], "completion_window": "24h",
            "metadata": {"name": name},
        }))
    }

    fn error(&self, status: u16, error: &Value) -> Option<Value> {
        let code = match status {
            400 => "Client specified an invalid argument",
            401 | 403 => "The caller does not have permission to execute the specified operation",
            404 => "Some requested entity was not found",
            429 => "Some resource has been exhausted",
            _ => "Internal error",
        };
        Some(json!({"code": code, "error": error["message"]}))
    }

    fn leave(&self, state: &State, entered: &Entered, reply: Reply) -> Reply {
        let Some(value) = said(&reply) else { return reply };
        let is_batch = |one: &Value| one["object"] == "batch";
        let shaped = match (value["object"].as_str(), value["data"].as_array()) {
            (Some("batch"), _) => batch(&value, is_early(state, value["cancelled_at"].as_u64())),
            (Some("list"), Some(listed)) if entered.query.is_some() && listed.iter().all(is_batch) => {
                let told = |name: &str| entered.query.as_ref()?.get(name)?.parse::<usize>().ok();
                let next = told("offset").unwrap_or(0) + listed.len();
                let token = (value["has_more"] == true).then(|| next.to_string());
                let early = |one: &Value| is_early(state, one["cancelled_at"].as_u64());
                let batches: Vec<Value> = listed.iter().map(|one| batch(one, early(one))).collect();
                json!({"batches": batches, "pagination_token": token})
            }
            (Some("file"), _) if value.get("deleted").is_none() => {
                let mut file = value;
                file["purpose"] = json!("");
                file
            }
            _ => return reply,
        };
        reply.with_body(serde_json::to_vec(&shaped).unwrap_or_default().into())
    }
}

fn day(secs: u64) -> Value {
    json!(crate::clock::instant(secs * 1_000).get(..10))
}

/// A cancel counts everything as cancelled at first; what had run is counted, and had, a moment later.
fn is_early(state: &State, cancelled_at: Option<u64>) -> bool {
    cancelled_at.is_some_and(|at| state.clock.now() < at + EARLY_SECS)
}

/// Reasoning is billed as output, and `completion_tokens` do not count it.
pub(super) fn set_reasoning_beside(usage: &mut serde_json::Map<String, Value>) {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    let details = usage.get("completion_tokens_details");
    let reasoning = number(details.and_then(|details| details.get("reasoning_tokens")));
    let output = number(usage.get("completion_tokens"));
    usage.insert("completion_tokens".to_owned(), json!(output.saturating_sub(reasoning)));
}

fn batch(batch: &Value, early: bool) -> Value {
    let status = batch["status"].as_str().unwrap_or_default();
    let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or(0);
    let (all, done, failed) = (count("total"), count("completed"), count("failed"));
    // Until it has ended something is pending: results are there as soon as nothing is.
    let done = if status == "finalizing" { done.saturating_sub(1) } else { done };
    let (done, failed) = if early { (0, 0) } else { (done, failed) };
    let rest = all.saturating_sub(done + failed);
    let has_ended = matches!(status, "completed" | "expired" | "cancelled" | "failed");
    let created = batch["created_at"].as_u64().unwrap_or(0);
    let refused = batch["errors"]["data"][0]["message"].as_str();
    let ended_early = matches!(status, "cancelling" | "cancelled" | "failed");
    let mut shaped = json!({
        "name": batch["metadata"]["name"], "create_time": day(created), "expire_time": day(created + LIFE_SECS),
        "create_api_key_id": "key_sim", "cancel_time": if ended_early { day(created) } else { Value::Null },
        "cancel_by_xai_message": refused.map(|why| format!("JSONL file validation failed: {why}")),
        "input_file_id": batch["input_file_id"],
        "state": {
            "num_requests": all, "num_pending": if has_ended { 0 } else { rest }, "num_success": done,
            "num_error": failed, "num_cancelled": if has_ended { rest } else { 0 },
        },
        "cost_breakdown": null,
    });
    // A fault may have taken it.
    if let Some(id) = batch.get("id") {
        shaped["batch_id"] = id.clone();
    }
    shaped
}

/// What a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Results,
    /// Results that a cancel has hidden for a moment.
    AllCancelled,
    /// What became of each request.
    Requests,
}

/// A page from one row on.
fn page(state: &State, run: Option<&Run>, what: Rows, (from, size): (usize, usize)) -> Reply {
    let (mut rows, mut next) = (Vec::new(), None);
    if let Some(run) = run {
        let all = run.order.len();
        let end = all.min(from.saturating_add(size));
        for at in from..end {
            run.line_at(state, at, |id, fate, text| {
                for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let start = rows.len();
                    if start > 0 {
                        rows.push(b',');
                    }
                    if !push_row(&mut rows, what, (id, fate), line) {
                        rows.truncate(start); // no JSON has a place in this page
                    }
                    if what == Rows::Requests {
                        break;
                    }
                }
            });
        }
        next = (end < all).then_some(end);
    }
    let name = if what == Rows::Requests { "batch_request_metadata" } else { "results" };
    let mut body = format!("{{\"{name}\":[").into_bytes();
    body.extend_from_slice(&rows);
    let token = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    body.extend_from_slice(format!("],\"pagination_token\":{token}}}").as_bytes());
    Reply::bytes(200, body)
}

/// A line of OpenAI's, as far as it is shown here.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    custom_id: &'a RawValue,
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    status_code: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// An answer, its usage as xAI has it.
fn push_answer(out: &mut Vec<u8>, body: &str) {
    let mut answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer.get_mut("usage").and_then(Value::as_object_mut) {
        Some(usage) => {
            set_reasoning_beside(usage);
            out.extend_from_slice(answer.to_string().as_bytes());
        }
        None => out.extend_from_slice(body.as_bytes()),
    }
}

/// False: the line is not to be read.
fn push_row(out: &mut Vec<u8>, what: Rows, (id, fate): (&str, Fate), line: &[u8]) -> bool {
    if what == Rows::Requests {
        let state = match fate {
            Fate::Answered => "succeeded",
            Fate::Failed => "failed",
            Fate::NotRun => "cancelled",
        };
        let row = format!(
            "{{\"batch_request_id\":{id},\"endpoint\":\"xai_api.Chat/GetCompletion\",\"state\":\"{state}\"}}"
        );
        out.extend_from_slice(row.as_bytes());
        return true;
    }
    let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { return false };
    let response = line.response.filter(|_| what == Rows::Results);
    out.extend_from_slice(b"{\"batch_request_id\":");
    out.extend_from_slice(line.custom_id.get().as_bytes());
    let Some(response) = response else {
        out.extend_from_slice(b",\"batch_result\":{\"error\":\"Batch cancelled\"}}");
        return true;
    };
    if response.status_code == 200 {
        out.extend_from_slice(b",\"batch_result\":{\"response\":{\"chat_get_completion\":");
        push_answer(out, response.body.get());
        out.extend_from_slice(b"}}}");
        return true;
    }
    let code = CODES.iter().find(|(status, _)| *status == response.status_code).map_or(2, |(_, code)| *code);
    let said: Value = serde_json::from_str(response.body.get()).unwrap_or_default();
    out.extend_from_slice(format!(",\"batch_result\":{{\"error\":{{\"code\":{code},\"message\":").as_bytes());
    push_str(out, said["error"].as_str().unwrap_or_default());
    out.extend_from_slice(b"}}}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(method: &Method, path: &str) -> Entered {
        Xai.enter(method, path, &HashMap::new()).unwrap_or_default()
    }

    #[test]
    fn what_is_below_a_batch_is_its_own() {
        assert_eq!(
            entered(&Method::POST, "/v1/batches/b:cancel").path.as_deref(),
            Some("/v1/batches/b/cancel")
        );
        for (path, own) in [
            ("/v1/batches/b/results", true),
            ("/v1/batches/b/requests", true),
            ("/v1/batches/b", false),
            ("/v1/batches", false),
        ] {
            let entered = entered(&Method::GET, path);
            assert_eq!((entered.own.is_some(), entered.path.is_some()), (own, !own), "{path}");
        }
        assert!(entered(&Method::GET, "/v1/embeddings").path.is_none());
    }

    #[test]
    fn counters_tell_what_a_state_would() {
        let shaped = |status: &str, early: bool| {
            batch(
                &json!({"id": "b", "status": status, "created_at": 1_795_046_400, "request_counts": {"total": 5, "completed": 2, "failed": 1}}),
                early,
            )
        };
        let running = shaped("in_progress", false);
        assert_eq!((&running["state"]["num_pending"], &running["cancel_time"]), (&json!(2), &Value::Null));
        assert_eq!(running["create_time"], "2026-11-19");
        let early = shaped("cancelled", true);
        assert_eq!(
            (&early["state"]["num_success"], &early["state"]["num_cancelled"]),
            (&json!(0), &json!(5))
        );
        let ended = shaped("cancelled", false);
        assert_eq!(
            (&ended["state"]["num_cancelled"], &ended["cancel_time"]),
            (&json!(2), &json!("2026-11-19"))
        );
    }
}
