//! Model invocation jobs: made once for each token, looked at, listed, stopped. What moves them is what moves every batch.

use crate::api::Endpoint;
use crate::batches::lines::Tally;
use crate::batches::{self, Batch, Listing, Order, Status};
use crate::catalogue::Lane;
use crate::clock::{instant, ms};
use crate::errors::{ApiError, invalid};
use crate::faults::{Fault, Place};
use crate::files::{Content, File};
use crate::server::{Reply, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const ACCOUNT: &str = "123456789012";
const USUAL_REGION: &str = "us-east-1";
/// What is not there, among the files.
const MISSING: &str = "missing";
/// Records of a job, unless said otherwise.
pub(crate) const RECORDS_MIN: u64 = 100;

/// Jobs by the tokens of their creates.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    by_token: Mutex<HashMap<String, Arc<Batch>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    job_name: String,
    role_arn: String,
    client_request_token: Option<String>,
    model_id: String,
    input_data_config: Input,
    output_data_config: Output,
    model_invocation_type: Option<String>,
    timeout_duration_in_hours: Option<u64>,
    #[serde(rename = "vpcConfig")]
    _vpc: Option<Value>,
    #[serde(rename = "tags")]
    _tags: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    s3_input_data_config: Place3,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Output {
    s3_output_data_config: Place3,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Place3 {
    s3_uri: String,
    #[serde(rename = "s3InputFormat")]
    _format: Option<String>,
    #[serde(rename = "s3BucketOwner")]
    _owner: Option<String>,
    #[serde(rename = "s3EncryptionKeyId")]
    _key: Option<String>,
}

fn region(state: &State) -> &str {
    state.config.region.as_deref().unwrap_or(USUAL_REGION)
}

fn arn(state: &State, batch: &Batch) -> String {
    format!("arn:aws:bedrock:{}:{ACCOUNT}:model-invocation-job/{}", region(state), batch.id)
}

/// POST /model-invocation-job. `None`: the connection closes without an answer.
pub(super) fn create(state: &Arc<State>, body: &Bytes) -> Result<Option<Reply>, ApiError> {
    let asked: Create =
        serde_json::from_slice(body).map_err(|error| invalid(format!("Malformed request: {error}")))?;
    check(state, &asked)?;
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let token = asked.client_request_token.clone();
    // Where a token is known, nothing is made, and the answer is the one of the first time.
    let known =
        |token: &Option<String>| token.as_ref().and_then(|token| state.tokens.lock().get(token).cloned());
    if known(&token).is_none() {
        room(state, &asked)?;
    }
    let input = asked.input_data_config.s3_input_data_config.s3_uri.clone();
    let endpoint = endpoint(&asked);
    let order = Order::of_job(endpoint, &asked.model_id, file(state, &input), fields);
    let start = |state: &Arc<State>, order: Order| -> Arc<Batch> {
        let mut tokens = state.tokens.lock();
        match token.as_ref().and_then(|token| tokens.get(token)) {
            Some(batch) => batch.clone(),
            None => {
                let batch = batches::start(state, order);
                if let Some(token) = &token {
                    tokens.insert(token.clone(), batch.clone());
                }
                batch
            }
        }
    };
    if state.faults.hit(Fault::CreateLate, Place::Create) {
        let (late, token) = (order, token.clone());
        state.spawn_late(move |state| {
            let mut tokens = state.tokens.lock();
            // Unless it has been made meanwhile, or its records are gone.
            let made = token.as_ref().is_some_and(|token| tokens.contains_key(token));
            if !made && state.files.get(&input).is_some() {
                let batch = batches::start(state, late);
                token.map(|token| tokens.insert(token, batch));
            }
        });
        return Ok(None);
    }
    Ok(batches::made(state, || start(state, order.clone()), |batch| json!({"jobArn": arn(state, batch)})))
}

impl Tokens {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Batch>>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is refused at once.
fn check(state: &State, asked: &Create) -> Result<(), ApiError> {
    let bad = |field: &str, value: &str| {
        Err(invalid(format!(
            "1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint"
        )))
    };
    let name = &asked.job_name;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !(1..=63).contains(&name.len())
        || !name.bytes().all(plain)
        || !name.as_bytes()[0].is_ascii_alphanumeric()
    {
        return bad("jobName", name);
    }
    if let Some(token) = &asked.client_request_token
        && (!(1..=256).contains(&token.len())
            || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            || token.starts_with('-')
            || token.ends_with('-'))
    {
        return bad("clientRequestToken", token);
    }
    if !asked.role_arn.starts_with("arn:aws") || !asked.role_arn.contains(":role/") {
        return bad("roleArn", &asked.role_arn);
    }
    let kind = asked.model_invocation_type.as_deref().unwrap_or("InvokeModel");
    if !["InvokeModel", "Converse"].contains(&kind) {
        return bad("modelInvocationType", kind);
    }
    if asked.timeout_duration_in_hours.is_some_and(|hours| !(24..=168).contains(&hours)) {
        return bad("timeoutDurationInHours", "?");
    }
    let places =
        [&asked.input_data_config.s3_input_data_config, &asked.output_data_config.s3_output_data_config];
    let odd = |uri: &str| {
        !uri.strip_prefix("s3://").is_some_and(|rest| {
            rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-!_*'().//".contains(&byte))
        })
    };
    if let Some(place) = places.iter().find(|place| odd(&place.s3_uri)) {
        return bad("s3Uri", &place.s3_uri);
    }
    let (model, _) = state.models.find(&asked.model_id)?;
    if !model.serves(endpoint(asked).kind()) {
        return Err(invalid(
            "Jobs of this type are simulated for other models: Converse for chats, InvokeModel for vectors and for Claude.",
        ));
    }
    if model.tariff.rates(Lane::Batch).is_none() {
        return Err(invalid(format!("The model {} doesn't support batch inference.", asked.model_id)));
    }
    if state.config.role.as_deref().is_some_and(|role| role != asked.role_arn) {
        return Err(invalid(format!(
            "Could not assume provided IAM role {}. Please verify that the role exists and its trust policy allows this service to assume the role",
            asked.role_arn
        )));
    }
    let output = &asked.output_data_config.s3_output_data_config.s3_uri;
    let bucket = output.trim_start_matches("s3://").split('/').next().unwrap_or_default();
    if state.config.bucket.as_deref().is_some_and(|known| known != bucket) {
        return Err(invalid(format!("Could not access output S3 bucket {bucket}")));
    }
    Ok(())
}

/// What its records are bodies of. Nothing said is the same as `InvokeModel`.
fn endpoint(asked: &Create) -> Endpoint {
    let called = match asked.model_invocation_type.as_deref() {
        Some("Converse") => Endpoint::Converse,
        _ => Endpoint::Invoke,
    };
    super::endpoint(called, &asked.model_id)
}

/// A name is taken while its job runs, and so many jobs run at once.
fn room(state: &State, asked: &Create) -> Result<(), ApiError> {
    let jobs = state.batches.visible(&state.clock, 0);
    let open: Vec<&Arc<Batch>> = jobs.iter().filter(|batch| !batch.life().status.is_ended()).collect();
    if open.iter().any(|batch| batch.told("jobName") == asked.job_name) {
        return Err(ApiError::new(
            400,
            "ConflictException",
            None,
            format!("A job with the name {} already exists.", asked.job_name),
        ));
    }
    if state.config.jobs_max.is_some_and(|most| open.len() as u64 >= most) {
        return Err(ApiError::new(
            400,
            "ServiceQuotaExceededException",
            None,
            "Sum of in-progress and submitted batch inference jobs using a base model exceeds the quota.",
        ));
    }
    Ok(())
}

/// What lies at a place; nothing is an empty file, which fails when it is looked at.
fn file(state: &State, uri: &str) -> Arc<File> {
    state.files.get(uri).unwrap_or_else(|| {
        Arc::new(File {
            id: uri.to_owned(),
            bytes: 0,
            created_at: 0,
            expires_at: None,
            filename: String::new(),
            purpose: MISSING.to_owned(),
            content: Content::Stored(Bytes::new()),
        })
    })
}

fn find(state: &State, id: &str) -> Result<Arc<Batch>, ApiError> {
    let id = id.rsplit('/').next().unwrap_or(id);
    let unknown = || {
        ApiError::new(404, "ResourceNotFoundException", None, "The provided job identifier does not exist.")
    };
    state.batches.get(id).ok_or_else(unknown)
}

/// GET /model-invocation-job/{id}
pub(super) fn get(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    if state.faults.hit(Fault::Gone, Place::Poll) {
        return Err(ApiError::new(
            404,
            "ResourceNotFoundException",
            None,
            "The provided job identifier does not exist.",
        ));
    }
    Ok(Reply::of(&view(state, &batch, true)))
}

/// POST /model-invocation-job/{id}/stop
pub(super) fn stop(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    let has_ended = batch.life().status.is_ended();
    if has_ended || batch.ask_cancel(&state.clock).is_err() {
        let message = "The job is in a state in which it cannot be stopped.";
        return Err(ApiError::new(400, "ConflictException", None, message));
    }
    Ok(Reply::of(&json!({})))
}

/// GET /model-invocation-jobs, newest first unless said otherwise; a token is the number of those before.
pub(super) fn list(state: &State, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let text = |name: &str| query.get(name).map(String::as_str);
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (size, before) = (number("maxResults").unwrap_or(100).clamp(1, 1_000), number("nextToken"));
    let since = text("submitTimeAfter").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let listing = Listing::of(state, before.is_some())?;
    let mut jobs = state.batches.visible(&state.clock, listing.lag_ms);
    if text("sortOrder") != Some("Ascending") {
        jobs.reverse();
    }
    jobs.retain(|batch| {
        let at = i64::try_from(batch.created_ms).unwrap_or(i64::MAX);
        text("nameContains").is_none_or(|part| batch.told("jobName").contains(part))
            && since.is_none_or(|since| since.as_millisecond() <= at)
            && text("statusEquals").is_none_or(|status| view(state, batch, false)["status"] == status)
    });
    let start = before.filter(|_| !listing.repeats).unwrap_or(0) + usize::from(listing.skips);
    let page: Vec<Value> =
        jobs.iter().skip(start).take(size).map(|batch| view(state, batch, false)).collect();
    let end = start + page.len();
    let mut body = json!({"invocationJobSummaries": page});
    if end < jobs.len() {
        body["nextToken"] = end.to_string().into();
    }
    Ok(Reply::of(&body))
}

fn word(batch: &Batch, status: Status, ran: u64, now: u64, validating_ms: u64) -> &'static str {
    match status {
        Status::Validating if now < batch.created_ms + validating_ms / 2 => "Submitted",
        Status::Validating if now < batch.created_ms + validating_ms => "Validating",
        Status::Validating => "Scheduled",
        Status::InProgress | Status::Finalizing => "InProgress",
        Status::Completed => "Completed",
        Status::Failed => "Failed",
        Status::Expired if ran > 0 => "PartiallyCompleted",
        Status::Expired => "Expired",
        Status::Cancelling => "Stopping",
        Status::Cancelled => "Stopped",
    }
}

/// The job as it is shown. `poll` is a look at this one alone, which some faults count.
fn view(state: &State, batch: &Batch, poll: bool) -> Value {
    let mut life = batch.life();
    let shown = batch.shown(&mut life, state, poll);
    let (now, done) = (state.clock.now_ms(), life.done(state.clock.now_ms()));
    let validating = ms(state.config.validating_secs);
    let word = word(batch, shown.status, life.completed + life.failed, now, validating);
    let hours = batch
        .metadata
        .as_ref()
        .and_then(|fields| fields.get("timeoutDurationInHours"))
        .and_then(Value::as_u64)
        .unwrap_or(24);
    let mut job = json!({
        "jobArn": arn(state, batch), "status": if shown.unknown { "Paused" } else { word },
        "submitTime": instant(batch.created_ms), "lastModifiedTime": instant(now), "timeoutDurationInHours": hours,
        "jobExpirationTime": instant(batch.created_ms + hours * 3_600_000),
        "totalRecordCount": life.total, "processedRecordCount": done + life.failed, "successRecordCount": done, "errorRecordCount": life.failed,
    });
    for name in [
        "jobName",
        "modelId",
        "roleArn",
        "clientRequestToken",
        "inputDataConfig",
        "outputDataConfig",
        "modelInvocationType",
    ] {
        if let Some(value) = batch.metadata.as_ref().and_then(|fields| fields.get(name)) {
            job[name] = value.clone();
        }
    }
    if shown.status.is_ended() {
        let at = [life.completed_at, life.failed_at, life.expired_at, life.cancelled_at]
            .into_iter()
            .flatten()
            .next();
        job["endTime"] = instant(at.unwrap_or_default() * 1_000).into();
    }
    if let Some(why) = life.errors.as_ref().and_then(|errors| errors.pointer("/data/0/message")) {
        job["message"] = why.clone();
    }
    job
}

/// The fields of a job that somebody else made.
pub(crate) fn foreign(id: &str) -> Value {
    json!({
        "jobName": format!("another-tool-{id}"), "modelId": "amazon.nova-lite-v1:0",
        "roleArn": format!("arn:aws:iam::{ACCOUNT}:role/another"),
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://another/in.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://another/out/"}},
    })
}

/// Where a job writes: the object of its answers, and that of its sums.
pub(crate) fn outputs(batch: &Batch) -> (String, String) {
    let base = batch
        .metadata
        .as_ref()
        .and_then(|fields| fields.get("outputDataConfig")?.pointer("/s3OutputDataConfig/s3Uri")?.as_str());
    let root = format!("{}/{}", base.unwrap_or("s3://lost").trim_end_matches('/'), batch.id);
    let name = batch.input_file_id.rsplit('/').next().unwrap_or_default();
    (format!("{root}/{name}.out"), format!("{root}/manifest.json.out"))
}

/// Why a job cannot read its records.
pub(crate) fn absent(input: &File) -> Option<String> {
    let why = || format!("The input data location {} does not exist or cannot be read.", input.id);
    (input.purpose == MISSING).then(why)
}

/// The words in which a job's role may not read its records.
pub(crate) fn denied(batch: &Batch, code: &str) -> Option<String> {
    let is_denied = batch.endpoint.is_amazons() && code == "input_no_permissions";
    let place = batch.input_file_id.strip_prefix("s3://").filter(|_| is_denied)?;
    let (bucket, key) = place.split_once('/')?;
    Some(format!(
        "Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key {key}"
    ))
}

/// Why a job of so few records runs none of them.
pub(crate) fn too_few(state: &State, batch: &Batch, records: u64) -> Option<String> {
    let (arn, least) = (arn(state, batch), state.config.records_min);
    let short = batch.endpoint.is_amazons() && records < least;
    short.then(|| {
        format!("Batch job {arn} contains less records ({records}) than the required minimum of: {least}")
    })
}

/// The sums of a job that has ended.
pub(crate) fn write_manifest(state: &State, batch: &Batch, total: u64, tally: &Tally) {
    let sums = json!({
        "totalRecordCount": total, "processedRecordCount": tally.completed + tally.failed,
        "successRecordCount": tally.completed, "errorRecordCount": tally.failed,
        "inputTokenCount": tally.usage.prompt, "outputTokenCount": tally.usage.output,
    });
    super::objects::store(state, &outputs(batch).1, sums.to_string().into());
}
