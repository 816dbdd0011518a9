//! Gemini: files, batches that are operations and bear a name of ours, `generateContent`. What a batch that was cut has finished is not
//! shown, its list is in no order, and a file that is not there may not be had.

use std::sync::Arc;

use bulkrate_provider::gemini;
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::{
    Ask, Known, LineEnd, Manners, Order, Said, Tongue, Wrong, foreign_name, instant, named, paged, parts,
    past,
};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Gemini;

impl Tongue for Gemini {
    fn manners(&self) -> Manners {
        Manners {
            provider: "gemini",
            model: "gemini-3.5-flash-lite",
            base_url: "https://world.invalid",
            key_env: "GEMINI_API_KEY",
            ids: ["batches/batch", "files/file"],
            known_by: Known::Mark,
            refuses_whole: true,
            one_file: true,
            shows_cut: false,
            newest_first: false,
            lists_all: false,
            items_min: 1,
            tokens: false,
            window_h: 48,
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let api = gemini::Gemini::over(settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let parts = parts(path);
        let Some((last, before)) = parts.split_last() else { return Ask::Unknown };
        let (id, verb) = last.split_once(':').unwrap_or((last, ""));
        let named = |kind: &str| format!("{kind}/{id}");
        match (method, before, verb) {
            ("POST", ["upload", "v1beta"], "") if id == "files" => Ask::Upload,
            ("DELETE", ["v1beta", "files"], "") => Ask::DeleteFile(named("files")),
            ("GET", ["v1beta", "files"], "download") => Ask::Content(named("files")),
            ("POST", ["v1beta", "models"], "batchGenerateContent") => Ask::Create,
            ("POST", ["v1beta", "models"], "generateContent") => Ask::Call,
            ("GET", ["v1beta"], "") if id == "batches" => Ask::List(past(path, "pageToken")),
            ("GET", ["v1beta", "batches"], "") => Ask::Poll(named("batches")),
            ("POST", ["v1beta", "batches"], "cancel") => Ask::Cancel(named("batches")),
            _ => Ask::Unknown,
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let batch = &asked["batch"];
        named(&batch["displayName"], '.', &batch["inputConfig"]["fileName"])
    }

    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value {
        foreign_name(ours, '.', copy)
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        Some((line["key"].as_str()?, &line["request"]))
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body["contents"].as_array()?.last()?["parts"].as_array()?.last()?["text"].as_str()
    }

    fn uploaded(&self, id: &str) -> Value {
        json!({"file": {"name": id, "state": "ACTIVE"}})
    }

    fn deleted(&self, _: &str) -> Value {
        json!({})
    }

    fn cancelled(&self, _: &Batch, _: u64) -> Value {
        json!({})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let stage = batch.stage(now_ms);
        let word = word(stage);
        let (completed, failed) = batch.over.as_ref().map_or((0, 0), |over| (over.completed, over.failed));
        let total = if stage == Stage::Validating { 0 } else { batch.lines.len() as u64 };
        let stats =
            [("requestCount", total), ("successfulRequestCount", completed), ("failedRequestCount", failed)];
        let stats = stats.into_iter().filter(|(_, number)| *number > 0);
        let stats: serde_json::Map<String, Value> =
            stats.map(|(name, number)| (name.to_owned(), number.to_string().into())).collect();
        let mut shown = json!({"name": batch.id, "metadata": {
            "name": batch.id, "state": format!("BATCH_STATE_{word}"), "displayName": batch.mark,
            "createTime": instant(batch.created_ms), "inputConfig": {"fileName": batch.input},
            "batchStats": stats,
        }});
        let Some(over) = &batch.over else { return shown };
        shown["done"] = true.into();
        if let Some(file) = &over.output {
            shown["response"] = json!({"responsesFile": file});
        }
        match stage {
            Stage::Failed => shown["error"] = json!({"code": 3, "message": "Error on line 1: invalid JSON"}),
            Stage::Cancelled => {
                shown["error"] = json!({"code": 1, "message": "The operation was cancelled."});
            }
            _ => {}
        }
        shown
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        let word = if unknown { "BATCH_STATE_PAUSED" } else { "BATCH_STATE_PENDING" };
        shown["metadata"]["state"] = word.into();
    }

    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value {
        paged(("operations", "nextPageToken"), shown, next)
    }

    fn answer(&self, said: &Said) -> Value {
        let mut candidate = json!({"finishReason": "STOP", "index": 0});
        if !said.text.is_empty() {
            candidate["content"] = json!({"role": "model", "parts": [{"text": said.text}]});
        }
        let mut answer =
            json!({"candidates": [candidate], "modelVersion": self.manners().model, "responseId": "r"});
        if said.usage {
            answer["usageMetadata"] = json!({
                "promptTokenCount": said.input, "candidatesTokenCount": said.output,
                "totalTokenCount": said.input + said.output,
            });
        }
        answer
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        match end {
            LineEnd::Answer(said) => Some(json!({"key": id, "response": self.answer(said)})),
            LineEnd::Error(status) => Some(json!({"key": id, "error": {"code": status, "message": "no"}})),
            LineEnd::Expired | LineEnd::Cancelled => None,
        }
    }

    fn says_unpaid(&self, end: LineEnd<'_>) -> bool {
        matches!(end, LineEnd::Error(_))
    }

    fn error(&self, wrong: Wrong) -> Answer {
        let (status, name, message) = match wrong {
            Wrong::Limited | Wrong::LimitedCreate => {
                (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
            }
            Wrong::Server => (500, "INTERNAL", "Internal error encountered."),
            Wrong::NoFile | Wrong::NoInput => (
                403,
                "PERMISSION_DENIED",
                "You do not have permission to access the File f or it may not exist.",
            ),
            Wrong::NoBatch => (404, "NOT_FOUND", "Requested entity was not found."),
            Wrong::Over | Wrong::Runs | Wrong::Taken => {
                (400, "FAILED_PRECONDITION", "The operation has ended.")
            }
            Wrong::NoPrompt => (400, "INVALID_ARGUMENT", "contents is not specified"),
            Wrong::NotYours => (403, "PERMISSION_DENIED", "The caller does not have permission"),
        };
        refusal(status, name, message)
    }

    fn keeps_file(&self) -> Option<Answer> {
        Some(refusal(403, "PERMISSION_DENIED", "The caller does not have permission"))
    }
}

/// An error as Google's services write it.
pub(super) fn refusal(status: u16, name: &str, message: &str) -> Answer {
    Answer::of(status, &json!({"error": {"code": status, "message": message, "status": name}}))
}

/// A state without the word before it.
pub(super) fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Validating => "PENDING",
        Stage::Running | Stage::Finalizing | Stage::Cancelling => "RUNNING",
        Stage::Completed => "SUCCEEDED",
        Stage::Failed => "FAILED",
        Stage::Expired => "EXPIRED",
        Stage::Cancelled => "CANCELLED",
    }
}
