//! Vertex AI: Gemini's calls, jobs with names and labels, and files in a bucket, where a job that was cut has what it finished.

use std::sync::Arc;

use bulkrate_provider::vertex;
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::gemini::{Gemini, refusal, word};
use super::{
    Ask, LineEnd, Manners, Order, Said, Tongue, Wrong, in_query, instant, named, paged, parts, past,
};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Vertex;

/// Of the project, and where jobs run.
const JOBS: &str = "projects/world/locations/us-central1/batchPredictionJobs";
const BUCKET: &str = "gs://world";

impl Tongue for Vertex {
    fn manners(&self) -> Manners {
        Manners {
            provider: "vertex",
            key_env: "GOOGLE_APPLICATION_CREDENTIALS",
            ids: ["projects/world/locations/us-central1/batchPredictionJobs/job", "file"],
            shows_cut: true,
            window_h: 24,
            ..Gemini.manners()
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let settings = Settings {
            api_key: "".into(),
            own_server: true,
            project: Some("world".to_owned()),
            region: Some("us-central1".to_owned()),
            storage: Some(BUCKET.to_owned()),
            ..settings.clone()
        };
        let api = vertex::Vertex::over(&settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let object = |name: &str| format!("{BUCKET}/{}", name.replace("%2F", "/"));
        let named = |parameter: &str| object(in_query(path, parameter).unwrap_or(""));
        let job = |id: &str| format!("{JOBS}/{id}");
        match (method, parts(path).as_slice()) {
            ("POST", ["publishers", "google", "models", call]) if call.ends_with(":generateContent") => {
                Ask::Call
            }
            ("POST", ["batchPredictionJobs"]) => Ask::Create,
            ("GET", ["batchPredictionJobs"]) => Ask::List(past(path, "pageToken")),
            ("GET", ["batchPredictionJobs", id]) => Ask::Poll(job(id)),
            ("POST", ["batchPredictionJobs", id]) => {
                id.strip_suffix(":cancel").map_or(Ask::Unknown, |id| Ask::Cancel(job(id)))
            }
            ("POST", ["upload", "storage", "v1", "b", "world", "o"]) => Ask::Put(named("name")),
            ("GET", ["storage", "v1", "b", "world", "o"]) => Ask::Below(named("prefix")),
            ("GET", ["storage", "v1", "b", "world", "o", name]) => Ask::Content(object(name)),
            ("DELETE", ["storage", "v1", "b", "world", "o", name]) => Ask::Discard(object(name)),
            _ => Ask::Unknown,
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        named(&asked["displayName"], '.', &asked["inputConfig"]["gcsSource"]["uris"][0])
    }

    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value {
        Gemini.foreign_mark(ours, copy)
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        let request = &line["request"];
        Some((request["labels"]["bulkrate"].as_str()?, request))
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        Gemini.prompt(body)
    }

    fn uploaded(&self, _: &str) -> Value {
        json!({})
    }

    fn files(&self, names: &[&str]) -> Value {
        let name = |id: &&str| json!({"name": id.strip_prefix(BUCKET).unwrap_or(id).trim_start_matches('/')});
        json!({"kind": "storage#objects", "items": names.iter().map(name).collect::<Vec<_>>()})
    }

    fn deleted(&self, _: &str) -> Value {
        json!({})
    }

    fn cancelled(&self, _: &Batch, _: u64) -> Value {
        json!({})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let stage = batch.stage(now_ms);
        let mut shown = json!({
            "name": batch.id, "displayName": batch.mark, "state": format!("JOB_STATE_{}", word(stage)),
            "createTime": instant(batch.created_ms), "inputConfig": {"gcsSource": {"uris": [batch.input]}},
            "outputConfig": {"gcsDestination": {"outputUriPrefix": out(&batch.input)}},
        });
        let Some(over) = &batch.over else { return shown };
        if over.output.is_some() {
            shown["outputInfo"] = json!({"gcsOutputDirectory": folder(batch)});
        }
        if stage == Stage::Failed {
            shown["error"] = json!({"code": 3, "message": "no such input"});
        }
        let rest = batch.lines.len() as u64 - over.completed.min(batch.lines.len() as u64);
        shown["completionStats"] = json!({
            "successfulCount": over.completed.to_string(), "failedCount": over.failed.to_string(),
            "incompleteCount": rest.saturating_sub(over.failed).to_string(),
        });
        shown
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["state"] = if unknown { "JOB_STATE_PAUSED" } else { "JOB_STATE_PENDING" }.into();
    }

    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value {
        paged(("batchPredictionJobs", "nextPageToken"), shown, next)
    }

    fn answer(&self, said: &Said) -> Value {
        Gemini.answer(said)
    }

    /// Whose a line is stands in the request, which is repeated.
    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        let (status, response) = match end {
            LineEnd::Answer(said) => (String::new(), self.answer(said)),
            LineEnd::Error(status) => {
                (json!({"error": {"code": status, "message": "no"}}).to_string(), json!({}))
            }
            LineEnd::Expired | LineEnd::Cancelled => return None,
        };
        let request = json!({"labels": {"bulkrate": id}});
        Some(json!({"status": status, "request": request, "response": response}))
    }

    fn says_unpaid(&self, end: LineEnd<'_>) -> bool {
        Gemini.says_unpaid(end)
    }

    fn results_of(&self, batch: &Batch) -> Option<String> {
        Some(format!("{}/predictions.jsonl", folder(batch)))
    }

    /// Each upload has a folder that no other has.
    fn told(&self, path: &str) -> String {
        match (path.starts_with("/upload/"), path.split_once("storage/v1/b/world/o")) {
            (true, _) => "/upload".to_owned(),
            (_, Some(_)) => "/storage".to_owned(),
            _ => path.to_owned(),
        }
    }

    fn error(&self, wrong: Wrong) -> Answer {
        match wrong {
            Wrong::NoFile => refusal(404, "NOT_FOUND", "No such object"),
            Wrong::NoInput => refusal(400, "INVALID_ARGUMENT", "The input is not there"),
            wrong => Gemini.error(wrong),
        }
    }
}

/// Below what the results of an input go.
fn out(input: &str) -> String {
    format!("{}/out", input.rsplit_once('/').map_or(input, |(folder, _)| folder))
}

/// The folder that a job makes there.
fn folder(batch: &Batch) -> String {
    format!("{}/prediction-{}", out(&batch.input), batch.id.rsplit('/').next().unwrap_or_default())
}
