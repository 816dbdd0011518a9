//! Anthropic: messages, and batches that carry their requests and bear no mark. All of a batch's results lie at the batch.

use std::sync::Arc;

use bulkrate_provider::anthropic;
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Ask, Known, LineEnd, Manners, Order, Said, Start, Tongue, Wrong, in_query, instant, parts};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Anthropic;

impl Tongue for Anthropic {
    fn manners(&self) -> Manners {
        Manners {
            provider: "anthropic",
            model: "claude-haiku-5-5",
            base_url: "https://world.invalid",
            key_env: "ANTHROPIC_API_KEY",
            ids: ["msgbatch", "file"],
            known_by: Known::Looks,
            refuses_whole: false,
            one_file: true,
            shows_cut: true,
            newest_first: true,
            lists_all: false,
            items_min: 1,
            tokens: false,
            window_h: 24,
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let api = anthropic::Anthropic::over(settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let after = || in_query(path, "after_id").map_or(Start::First, |id| Start::After(id.to_owned()));
        match (method, parts(path).as_slice()) {
            ("POST", ["v1", "messages"]) => Ask::Call,
            ("POST", ["v1", "messages", "batches"]) => Ask::Create,
            ("GET", ["v1", "messages", "batches"]) => Ask::List(after()),
            ("GET", ["v1", "messages", "batches", id]) => Ask::Poll((*id).to_owned()),
            ("DELETE", ["v1", "messages", "batches", id]) => Ask::DeleteBatch((*id).to_owned()),
            ("POST", ["v1", "messages", "batches", id, "cancel"]) => Ask::Cancel((*id).to_owned()),
            ("GET", ["v1", "messages", "batches", id, "results"]) => Ask::Content((*id).to_owned()),
            _ => Ask::Unknown,
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        #[derive(serde::Deserialize)]
        struct Create<'a> {
            #[serde(borrow)]
            requests: Vec<&'a RawValue>,
        }
        let requests = serde_json::from_slice::<Create<'_>>(body).map(|create| create.requests);
        let lines: String = requests.into_iter().flatten().map(|one| format!("{}\n", one.get())).collect();
        Order { carried: Some(lines.into_bytes()), ..Order::default() }
    }

    fn foreign_mark(&self, _: &Value, _: bool) -> Value {
        Value::Null
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        Some((line["custom_id"].as_str()?, &line["params"]))
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        let content = &body["messages"].as_array()?.last()?["content"];
        content.as_str().or_else(|| content.as_array()?.last()?["text"].as_str())
    }

    /// There are no files.
    fn uploaded(&self, _: &str) -> Value {
        Value::Null
    }

    fn deleted(&self, id: &str) -> Value {
        json!({"id": id, "type": "message_batch_deleted"})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let total = batch.lines.len() as u64;
        let word = match batch.stage(now_ms) {
            Stage::Validating | Stage::Running | Stage::Finalizing => "in_progress",
            Stage::Cancelling => "canceling",
            Stage::Completed | Stage::Failed | Stage::Expired | Stage::Cancelled => "ended",
        };
        let counts = batch.over.as_ref().map_or(json!({"processing": total}), |over| {
            let rest = total - over.run as u64;
            let (canceled, expired) = if over.stage == Stage::Cancelled { (rest, 0) } else { (0, rest) };
            json!({
                "processing": 0, "succeeded": over.completed, "errored": over.failed,
                "canceled": canceled, "expired": expired,
            })
        });
        let results = batch.over.as_ref().and_then(|over| over.output.as_ref());
        let url = results.map(|id| format!("https://world.invalid/v1/messages/batches/{id}/results"));
        json!({
            "id": batch.id, "type": "message_batch", "processing_status": word, "request_counts": counts,
            "created_at": instant(batch.created_ms), "expires_at": instant(batch.created_ms + 86_400_000),
            "ended_at": batch.over.as_ref().map(|over| instant(over.at_ms)),
            "cancel_initiated_at": batch.cancel_ms.map(instant), "archived_at": null, "results_url": url,
        })
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["processing_status"] = if unknown { "thinking" } else { "in_progress" }.into();
    }

    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value {
        let id = |batch: Option<&Value>| batch.map(|batch| batch["id"].clone());
        let (first, last) = (id(shown.first()), id(shown.last()));
        json!({"data": shown, "has_more": next.is_some(), "first_id": first, "last_id": last})
    }

    fn answer(&self, said: &Said) -> Value {
        let usage = json!({
            "input_tokens": said.input, "output_tokens": said.output, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "service_tier": "standard",
        });
        let content =
            if said.text.is_empty() { json!([]) } else { json!([{"type": "text", "text": said.text}]) };
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": self.manners().model, "content": content,
            "stop_reason": "end_turn", "stop_sequence": null, "usage": if said.usage { usage } else { Value::Null },
        })
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        let result = match end {
            LineEnd::Answer(said) => json!({"type": "succeeded", "message": self.answer(said)}),
            LineEnd::Error(status) => json!({"type": "errored", "error": error(status, "no")}),
            LineEnd::Expired => json!({"type": "expired"}),
            LineEnd::Cancelled => json!({"type": "canceled"}),
        };
        Some(json!({"custom_id": id, "result": result}))
    }

    /// Whatever did not succeed is not billed.
    fn says_unpaid(&self, end: LineEnd<'_>) -> bool {
        !matches!(end, LineEnd::Answer(_))
    }

    fn results_of(&self, batch: &Batch) -> Option<String> {
        Some(batch.id.clone())
    }

    fn error(&self, wrong: Wrong) -> Answer {
        let (status, message) = match wrong {
            Wrong::Limited | Wrong::LimitedCreate => (429, "This request would exceed your rate limit."),
            Wrong::Server => (500, "Internal server error"),
            Wrong::NoFile | Wrong::NoBatch => (404, "Message batch not found."),
            Wrong::NoInput | Wrong::NoPrompt => (400, "requests: Field required"),
            Wrong::Taken | Wrong::Over => (400, "Batch cannot be canceled because it has already ended."),
            Wrong::Runs => (400, "Batch cannot be deleted while it is being processed; cancel it first."),
            Wrong::NotYours => (403, "Your API key does not have permission to use the specified resource."),
        };
        Answer::of(status, &error(status, message))
    }
}

fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
}
