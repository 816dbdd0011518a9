//! Bedrock: objects in S3, jobs whose creates have tokens, Converse. A create is answered with the job's name and no more.

use std::sync::Arc;

use bulkrate_provider::bedrock;
use bulkrate_provider::{Exchange, Provider, Settings};
use serde_json::{Value, json};

use super::{
    Ask, Known, LineEnd, Manners, Order, Said, Tongue, Wrong, foreign_name, instant, named, paged, parts,
    past,
};
use crate::remote::{Answer, Batch, Stage};

#[derive(Debug)]
pub(crate) struct Bedrock;

impl Tongue for Bedrock {
    fn manners(&self) -> Manners {
        Manners {
            provider: "bedrock",
            model: "amazon.nova-lite-v1:0",
            base_url: "https://world.invalid",
            key_env: "AWS_BEARER_TOKEN_BEDROCK",
            ids: ["arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/job", "file"],
            known_by: Known::Mark,
            refuses_whole: true,
            one_file: true,
            shows_cut: true,
            newest_first: true,
            lists_all: false,
            items_min: 100,
            tokens: true,
            window_h: 24,
        }
    }

    fn open(&self, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Arc<dyn Provider>, String> {
        let settings = Settings {
            region: Some("us-east-1".to_owned()),
            role_arn: Some("arn:aws:iam::123456789012:role/world".to_owned()),
            storage: Some("s3://world/pre".to_owned()),
            ..settings.clone()
        };
        let api = bedrock::Bedrock::over(&settings, &line).map_err(|error| error.to_string())?;
        Ok(Arc::new(api))
    }

    fn ask(&self, method: &str, path: &str) -> Ask {
        let arn = |id: &str| id.replace("%3A", ":").replace("%2F", "/");
        let object = || format!("s3:/{path}");
        match (method, parts(path).as_slice()) {
            ("POST", ["model", _, "converse"]) => Ask::Call,
            ("POST", ["model-invocation-job"]) => Ask::Create,
            ("GET", ["model-invocation-jobs"]) => Ask::List(past(path, "nextToken")),
            ("GET", ["model-invocation-job", id]) => Ask::Poll(arn(id)),
            ("POST", ["model-invocation-job", id, "stop"]) => Ask::Cancel(arn(id)),
            ("PUT", _) => Ask::Put(object()),
            ("HEAD", _) => Ask::Look(object()),
            ("GET", _) => Ask::Content(object()),
            ("DELETE", _) => Ask::Discard(object()),
            _ => Ask::Unknown,
        }
    }

    fn order(&self, body: &[u8]) -> Order {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let input = &asked["inputDataConfig"]["s3InputDataConfig"]["s3Uri"];
        named(&asked["clientRequestToken"], '-', input)
    }

    fn foreign_mark(&self, ours: &Value, copy: bool) -> Value {
        foreign_name(ours, '-', copy)
    }

    fn line<'l>(&self, line: &'l Value) -> Option<(&'l str, &'l Value)> {
        Some((line["recordId"].as_str()?, &line["modelInput"]))
    }

    fn prompt<'b>(&self, body: &'b Value) -> Option<&'b str> {
        body["messages"].as_array()?.last()?["content"].as_array()?.last()?["text"].as_str()
    }

    /// Objects have names.
    fn uploaded(&self, _: &str) -> Value {
        Value::Null
    }

    fn deleted(&self, _: &str) -> Value {
        Value::Null
    }

    fn created(&self, batch: &Batch, _: u64) -> Value {
        json!({"jobArn": batch.id})
    }

    fn cancelled(&self, _: &Batch, _: u64) -> Value {
        json!({})
    }

    fn batch(&self, batch: &Batch, now_ms: u64) -> Value {
        let stage = batch.stage(now_ms);
        let ran = batch.over.as_ref().map_or(0, |over| over.run);
        let word = match stage {
            Stage::Validating => "Validating",
            Stage::Running | Stage::Finalizing => "InProgress",
            Stage::Cancelling => "Stopping",
            Stage::Completed => "Completed",
            Stage::Failed => "Failed",
            Stage::Expired if ran > 0 => "PartiallyCompleted",
            Stage::Expired => "Expired",
            Stage::Cancelled => "Stopped",
        };
        let (succeeded, failed) = batch.over.as_ref().map_or((0, 0), |over| (over.completed, over.failed));
        json!({
            "jobArn": batch.id, "status": word, "clientRequestToken": batch.mark,
            "submitTime": instant(batch.created_ms), "jobExpirationTime": instant(batch.created_ms + 86_400_000),
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": batch.input}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": FOLDER}},
            "totalRecordCount": if stage == Stage::Validating { 0 } else { batch.lines.len() },
            "successRecordCount": succeeded, "errorRecordCount": failed,
        })
    }

    fn oddly(&self, shown: &mut Value, unknown: bool) {
        shown["status"] = if unknown { "Paused" } else { "Validating" }.into();
    }

    fn page(&self, shown: Vec<Value>, next: Option<usize>) -> Value {
        paged(("invocationJobSummaries", "nextToken"), shown, next)
    }

    fn answer(&self, said: &Said) -> Value {
        let content = if said.text.is_empty() { json!([]) } else { json!([{"text": said.text}]) };
        let mut answer = json!({
            "output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn",
            "metrics": {"latencyMs": 1},
        });
        if said.usage {
            let (input, output) = (said.input, said.output);
            answer["usage"] =
                json!({"inputTokens": input, "outputTokens": output, "totalTokens": input + output});
        }
        answer
    }

    fn result(&self, id: &str, end: LineEnd<'_>) -> Option<Value> {
        match end {
            LineEnd::Answer(said) => Some(json!({"recordId": id, "modelOutput": self.answer(said)})),
            LineEnd::Error(status) => {
                Some(json!({"recordId": id, "error": {"errorCode": status, "errorMessage": "no"}}))
            }
            LineEnd::Expired | LineEnd::Cancelled => None,
        }
    }

    fn says_unpaid(&self, end: LineEnd<'_>) -> bool {
        matches!(end, LineEnd::Error(_))
    }

    /// Below the job's own id, under the input's name.
    fn results_of(&self, batch: &Batch) -> Option<String> {
        let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        Some(format!("{FOLDER}{}/{}.out", last(&batch.id), last(&batch.input)))
    }

    fn header(&self) -> Option<(&'static str, &'static str)> {
        Some(("x-amz-request-id", "1"))
    }

    /// Each upload has a name that no other has.
    fn told(&self, path: &str) -> String {
        match path.rsplit_once('-') {
            Some((before, after)) if path.starts_with("/world/") && after.contains(".jsonl") => {
                before.to_owned()
            }
            _ => path.to_owned(),
        }
    }

    fn error(&self, wrong: Wrong) -> Answer {
        let (status, name, message) = match wrong {
            Wrong::NoFile => {
                let body = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
                return Answer::bytes(404, body.as_bytes().to_vec());
            }
            Wrong::Limited | Wrong::LimitedCreate => (429, "ThrottlingException", "Too many requests"),
            Wrong::Server => (500, "InternalServerException", "The server had an error"),
            Wrong::NoInput => (400, "ValidationException", "The input data is not there"),
            Wrong::NoBatch => (404, "ResourceNotFoundException", "No such job"),
            Wrong::Over | Wrong::Runs => (409, "ConflictException", "The job has ended"),
            Wrong::Taken => (409, "ConflictException", "A job of this name is there"),
            Wrong::NoPrompt => (400, "ValidationException", "no messages"),
            Wrong::NotYours => (403, "AccessDeniedException", "You do not have access to the model"),
        };
        Answer::of(status, &json!({"__type": name, "message": message}))
    }
}

/// Where jobs write.
const FOLDER: &str = "s3://world/pre/out/";
