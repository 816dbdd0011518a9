//! Mistral: OpenAI's files and calls, and batches that are jobs in numbered pages.

use std::sync::Arc;

use bulkrate_provider::openai::{self, presets::PRESETS};
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::openai::{OpenAi, completion, marked, result};
use super::{Ask, LineEnd, Manners, Order, Said, Start, Tongue, Wrong, in_query, parts};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Mistral;

impl Tongue for Mistral {
    fn manners(&self) -> Manners {
        let (provider, model, key_env) = ("mistral", "ministral-8b-2512", "MISTRAL_API_KEY");
        Manners { provider, model, key_env, ..OpenAi.manners() }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let row = PRESETS.iter().find(|row| row.name == self.manners().provider).ok_or("no such preset")?;
        let api = openai::OpenAi::over(*row, settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let page =
            || in_query(path, "page").and_then(|page| page.parse().ok()).map_or(Start::First, Start::Page);
        match (method, parts(path).as_slice()) {
            ("POST", ["batch", "jobs"]) => Ask::Create,
            ("GET", ["batch", "jobs"]) => Ask::List(page()),
            ("GET", ["batch", "jobs", id]) => Ask::Poll((*id).to_owned()),
            ("POST", ["batch", "jobs", id, "cancel"]) => Ask::Cancel((*id).to_owned()),
            (_, ["batches", ..]) => Ask::Unknown,
            _ => OpenAi.ask(method, path),
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        marked(&asked, &asked["input_files"][0])
    }

    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value {
        OpenAi.foreign_mark(ours, copy)
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        OpenAi.line(line)
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        OpenAi.prompt(body)
    }

    fn uploaded(&self, id: &str) -> Value {
        OpenAi.uploaded(id)
    }

    fn deleted(&self, id: &str) -> Value {
        OpenAi.deleted(id)
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let stage = batch.stage(now_ms);
        let word = match stage {
            Stage::Validating => "QUEUED",
            Stage::Running | Stage::Finalizing => "RUNNING",
            Stage::Cancelling => "CANCELLATION_REQUESTED",
            Stage::Completed => "SUCCESS",
            Stage::Failed => "FAILED",
            Stage::Expired => "TIMEOUT_EXCEEDED",
            Stage::Cancelled => "CANCELLED",
        };
        let over = batch.over.as_ref();
        let (succeeded, failed) = batch.counts(now_ms);
        let errors =
            if stage == Stage::Failed { json!([{"message": "try later", "count": 1}]) } else { json!([]) };
        json!({
            "id": batch.id, "object": "batch", "input_files": [batch.input], "endpoint": "/v1/chat/completions",
            "model": self.manners().model, "metadata": batch.mark, "errors": errors, "status": word,
            "created_at": batch.created_ms / 1_000, "completed_at": over.map(|over| over.at_ms / 1_000),
            "total_requests": if stage == Stage::Validating { 0 } else { batch.lines.len() },
            "completed_requests": succeeded + failed, "succeeded_requests": succeeded, "failed_requests": failed,
            "output_file": over.and_then(|over| over.output.clone()),
            "error_file": over.and_then(|over| over.errors.clone()),
        })
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["status"] = if unknown { "THINKING" } else { "QUEUED" }.into();
    }

    fn page(&self, shown: Vec<Value>, _: Option<usize>) -> Value {
        json!({"object": "list", "total": shown.len(), "data": shown})
    }

    fn answer(&self, said: &Said) -> Value {
        completion(said, self.manners().model)
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        result(id, end, |said| self.answer(said))
    }

    fn error(&self, wrong: Wrong) -> Answer {
        OpenAi.error(wrong)
    }
}
