//! Together: jobs on which nothing can be written and which tell no counts, listed all at once, over files that are told of before their
//! bytes come. Calls are OpenAI's.

use std::sync::Arc;

use bulkrate_provider::openai::{self, presets::PRESETS};
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::openai::{OpenAi, completion, marked, result};
use super::{Ask, FileStage, Known, LineEnd, Manners, Order, Said, Start, Tongue, Wrong, instant, parts};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Together;

impl Tongue for Together {
    fn manners(&self) -> Manners {
        Manners {
            provider: "together",
            model: "reflection/Beam-1.0-501B-A23B",
            base_url: "http://127.0.0.1:9/v1", // without encryption to be set up for each upload
            key_env: "TOGETHER_API_KEY",
            ids: ["job", "file"],
            known_by: Known::Input,
            shows_cut: false,
            newest_first: false,
            lists_all: true,
            ..OpenAi.manners()
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let row = PRESETS.iter().find(|row| row.name == self.manners().provider).ok_or("no such preset")?;
        let api = openai::OpenAi::over(*row, settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        match (method, parts(path).as_slice()) {
            ("POST", ["files"]) => Ask::Announce,
            ("PUT", ["r2", id]) => Ask::Bring((*id).to_owned()),
            ("POST", ["files", id, "preprocess"]) => Ask::LookInto((*id).to_owned()),
            ("GET", ["files", id]) => Ask::ShowFile((*id).to_owned()),
            ("GET", ["batches"]) => Ask::List(Start::First),
            _ => OpenAi.ask(method, path),
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        marked(&asked, &asked["input_file_id"])
    }

    /// Nobody can write anything.
    fn foreign_mark(&self, _: &Value, _: bool) -> Value {
        Value::Null
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        OpenAi.line(line)
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        OpenAi.prompt(body)
    }

    fn uploaded(&self, id: &str) -> Value {
        self.file(id, FileStage::Ready)
    }

    fn announced(&self, body: &[u8]) -> Option<String> {
        let form = String::from_utf8_lossy(body).into_owned();
        form.split('&').find_map(|pair| pair.strip_prefix("checksum=")).map(str::to_owned)
    }

    fn goes_to(&self, id: &str, known: bool) -> Answer {
        if known {
            return Answer::of(
                409,
                &json!({"error": {"message": "it exists", "type": "conflict"}, "file_id": id}),
            );
        }
        let headers = vec![
            ("location", format!("http://127.0.0.1:9/r2/{id}?X-Amz-Signature=f00d")),
            ("x-together-file-id", id.to_owned()),
        ];
        Answer { headers, ..Answer::bytes(302, Vec::new()) }
    }

    fn file(&self, id: &str, stage: FileStage) -> Value {
        let status = match stage {
            FileStage::Told | FileStage::Brought => Value::Null,
            FileStage::LookedInto => "PENDING".into(),
            FileStage::Ready => "COMPLETED".into(),
        };
        json!({"id": id, "object": "file", "Processed": stage != FileStage::Told, "processing_status": status})
    }

    fn deleted(&self, id: &str) -> Value {
        json!({"id": id, "deleted": true})
    }

    fn created(&self, batch: &Batch, now_ms: u64) -> Value {
        json!({"job": self.batch(batch, now_ms), "warning": null})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let stage = batch.stage(now_ms);
        let over = batch.over.as_ref();
        let (completed, failed) = batch.counts(now_ms);
        let word = match stage {
            Stage::Running | Stage::Finalizing | Stage::Cancelling => "in_progress",
            other => other.word(),
        };
        let input = Some(&batch.input).filter(|input| !input.is_empty());
        json!({
            "id": batch.id, "user_id": "world", "input_file_id": input, "endpoint": "/v1/chat/completions",
            "status": word.to_ascii_uppercase(), "model_id": self.manners().model,
            "progress": (completed + failed) * 100 / (batch.lines.len() as u64).max(1),
            "error": (stage == Stage::Failed).then_some("try later"),
            "output_file_id": over.and_then(|over| over.output.clone()),
            "error_file_id": over.and_then(|over| over.errors.clone()),
            "created_at": instant(batch.created_ms), "job_deadline": instant(batch.created_ms + 86_400_000),
            "completed_at": over.map(|over| instant(over.at_ms)),
        })
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["status"] = if unknown { "THINKING" } else { "VALIDATING" }.into();
    }

    /// All of them: there are no pages.
    fn page(&self, shown: Vec<Value>, _: Option<usize>) -> Value {
        shown.into()
    }

    fn answer(&self, said: &Said) -> Value {
        completion(said, said.model)
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        result(id, end, |said| self.answer(said))
    }

    fn error(&self, wrong: Wrong) -> Answer {
        OpenAi.error(wrong)
    }

    fn keeps_file(&self) -> Option<Answer> {
        Some(Answer::of(
            400,
            &json!({"error": {"message": "The file is in use", "type": "invalid_request_error"}}),
        ))
    }
}
