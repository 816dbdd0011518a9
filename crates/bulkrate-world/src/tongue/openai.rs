//! OpenAI: files, batches with metadata, chat completions.

use std::sync::Arc;

use bulkrate_provider::openai::{self, Dialect};
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::{Ask, Known, LineEnd, Manners, Order, Said, Start, Tongue, Wrong, in_query, parts};
use crate::remote::{Answer, Batch};

#[derive(Debug)]
pub(crate) struct OpenAi;

impl Tongue for OpenAi {
    fn manners(&self) -> Manners {
        Manners {
            provider: "openai",
            model: "gpt-6-luna",
            base_url: "https://world.invalid/v1",
            key_env: "OPENAI_API_KEY",
            ids: ["batch", "file"],
            known_by: Known::Mark,
            refuses_whole: true,
            one_file: false,
            shows_cut: true,
            newest_first: true,
            lists_all: false,
            items_min: 1,
            tokens: false,
            window_h: 24,
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let api =
            openai::OpenAi::over(Dialect::OPENAI, settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let after = || in_query(path, "after").map_or(Start::First, |id| Start::After(id.to_owned()));
        match (method, parts(path).as_slice()) {
            ("POST", ["files"]) => Ask::Upload,
            ("DELETE", ["files", id]) => Ask::DeleteFile((*id).to_owned()),
            ("GET", ["files", id, "content"]) => Ask::Content((*id).to_owned()),
            ("POST", ["batches"]) => Ask::Create,
            ("GET", ["batches"]) => Ask::List(after()),
            ("GET", ["batches", id]) => Ask::Poll((*id).to_owned()),
            ("POST", ["batches", id, "cancel"]) => Ask::Cancel((*id).to_owned()),
            ("POST", ["chat", "completions"]) => Ask::Call,
            _ => Ask::Unknown,
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        marked(&asked, &asked["input_file_id"])
    }

    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value {
        if !copy {
            return json!({"team": "search"});
        }
        let mut mark = ours.clone();
        mark["br_inst"] = "somebody-else".into();
        mark
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        Some((line["custom_id"].as_str()?, &line["body"]))
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body["messages"].as_array()?.last()?["content"].as_str()
    }

    fn is_flex(&self, body: &Value) -> bool {
        body["service_tier"] == "flex"
    }

    fn uploaded(&self, id: &str) -> Value {
        json!({"id": id, "object": "file"})
    }

    fn deleted(&self, id: &str) -> Value {
        json!({"id": id, "object": "file", "deleted": true})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let status = batch.stage(now_ms).word();
        let over = batch.over.as_ref();
        let (completed, failed) = batch.counts(now_ms);
        let errors = (status == "failed")
            .then(|| json!({"data": [{"code": "too_many_requests", "message": "try later"}]}));
        json!({
            "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions", "errors": errors,
            "input_file_id": batch.input, "completion_window": "24h", "status": status,
            "output_file_id": over.and_then(|over| over.output.clone()),
            "error_file_id": over.and_then(|over| over.errors.clone()),
            "created_at": batch.created_ms / 1_000, "expires_at": batch.created_ms / 1_000 + 86_400,
            "ended_at": over.map(|over| over.at_ms / 1_000),
            "request_counts": {
                "total": if status == "validating" { 0 } else { batch.lines.len() },
                "completed": completed, "failed": failed,
            },
            "metadata": batch.mark,
        })
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["status"] = if unknown { "thinking" } else { "validating" }.into();
    }

    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value {
        json!({"object": "list", "data": shown, "has_more": next.is_some()})
    }

    fn answer(&self, said: &Said) -> Value {
        completion(said, &format!("{}-2026-09-22", said.model))
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        result(id, end, |said| self.answer(said))
    }

    fn error(&self, wrong: Wrong) -> Answer {
        let (status, kind, message, param) = match wrong {
            Wrong::Limited => (429, "requests", "Rate limit reached. Please try again in 2s.", None),
            Wrong::LimitedCreate => (429, "slow_down", "Rate limit reached. Please try again in 2s.", None),
            Wrong::Server => (500, "server_error", "The server had an error", None),
            Wrong::NoFile => (404, "invalid_request_error", "No such File object", None),
            Wrong::NoInput => (400, "invalid_request_error", "No such File object", Some("input_file_id")),
            Wrong::NoBatch => (404, "invalid_request_error", "No batch found", None),
            Wrong::Over | Wrong::Runs | Wrong::Taken => {
                (409, "invalid_request_error", "Cannot do that in the state that the batch is in", None)
            }
            Wrong::NoPrompt => (400, "invalid_request_error", "no prompt", None),
            Wrong::NotYours => (403, "invalid_request_error", "Project does not have access to model", None),
        };
        let body = json!({"error": {"message": message, "type": kind, "param": param, "code": null}});
        Answer::of(status, &body)
    }
}

/// A create whose mark is its metadata.
pub(super) fn marked(asked: &Value, input: &Value) -> Order {
    let mark = asked["metadata"].clone();
    let text = |name: &str| mark[name].as_str().map(str::to_owned);
    let says = text("br_sub").zip(text("br_digest"));
    Order { says, mark, input: input.as_str().map(str::to_owned), carried: None }
}

pub(super) fn completion(said: &Said, model: &str) -> Value {
    let usage = json!({
        "prompt_tokens": said.input, "completion_tokens": said.output, "total_tokens": said.input + said.output,
    });
    json!({
        "id": "c", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.text}}],
        "usage": if said.usage { usage } else { Value::Null },
    })
}

pub(super) fn result(id: &str, end: LineEnd<'_>, answer: impl Fn(&Said) -> Value) -> Option<Value> {
    let (status, body) = match end {
        LineEnd::Answer(said) => (200, answer(said)),
        LineEnd::Error(status) => {
            let code = match status {
                400 => "invalid_value",
                429 => "rate_limit_exceeded",
                _ => "server_error",
            };
            (status, json!({"error": {"message": "no", "type": "error", "code": code}}))
        }
        LineEnd::Expired => {
            let error = json!({"code": "batch_expired", "message": "This request could not be executed"});
            return Some(json!({"custom_id": id, "response": null, "error": error}));
        }
        LineEnd::Cancelled => return None,
    };
    let response = json!({"status_code": status, "request_id": "q", "body": body});
    Some(json!({"id": "r", "custom_id": id, "response": response, "error": null}))
}
