//! One batch's way through its states.

use super::lines::{Rest, Run, Side, Tally, order_of};
use super::validate::{Plan, Refusals, token_limit, validate};
use super::words::Words;
use super::{Batch, Status};
use crate::api::Endpoint;
use crate::bedrock::jobs;
use crate::catalogue::Lane;
use crate::clock::{instant, ms};
use crate::faults::Fault;
use crate::files::{Content, File};
use crate::like::{Manners, Splice, blobs};
use crate::rng::hash;
use crate::server::State;
use crate::vertex;
use bytes::Bytes;
use serde_json::json;
use std::sync::{Arc, OnceLock};

/// The object that all results are in.
const RESULTS: &str = "predictions.jsonl";
const OUTPUT_FILE_SECS: u64 = 30 * 86_400;
const STUCK_FINALIZING_SECS: f64 = 6.0 * 3_600.0;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Expired,
    Cancelled,
}

impl Batch {
    /// How its lines are written that ran at a time.
    fn words(&self, at_ms: u64) -> Words {
        if self.is_flat { Words::Flat } else { Words::of(self.endpoint, self.place.is_some(), at_ms) }
    }
}

/// Runs a batch from `validating` to its end.
pub(crate) async fn drive(state: &Arc<State>, batch: &Arc<Batch>, input: &Arc<File>) {
    let hit = |fault| state.faults.batch(fault, batch.ordinal);
    let (bytes, splice) = match &input.content {
        Content::Stored(bytes) => (bytes, None),
        Content::Bare(bytes, splice) => (bytes, Some(splice.clone())),
        Content::Lines(..) => return,
    };
    let stuck = hit(Fault::StuckValidating).is_some();
    let quick = hit(Fault::Quick).is_some();
    let validated = batch.created_ms + ms(if quick { 0.0 } else { state.config.validating_secs });
    if cancelled_before(state, batch, if stuck { u64::MAX / 2 } else { validated }).await {
        return end_unstarted(state, batch).await;
    }
    if let Some(why) = jobs::absent(input) {
        return fail(state, batch, &[json!({"message": why})]);
    }
    let plan = match checked(state, batch, bytes.clone(), splice.clone()).await {
        Ok(plan) => plan,
        Err(refusals) => return fail(state, batch, &refusals),
    };
    if let Some(why) = jobs::too_few(state, batch, plan.spans.len() as u64) {
        return fail(state, batch, &[json!({"message": why})]);
    }
    if let Some(hit) = hit(Fault::FailFile) {
        let code = hit.word.unwrap_or("invalid_request");
        let denied = jobs::denied(batch, code);
        let message = denied.as_deref().unwrap_or("The input file could not be processed.");
        return fail(
            state,
            batch,
            &[json!({"code": code, "message": message, "param": "file_id", "line": null})],
        );
    }
    let (model, tokens) = (plan.model, plan.tokens);
    // Gemini's creates are refused where there is no room; once taken, a batch runs.
    let limit = state.config.enqueued_tokens.filter(|_| batch.named.is_none());
    if !state.batches.enqueue(model, if limit.is_some() { tokens } else { 0 }, limit) {
        return fail(
            state,
            batch,
            &[token_limit(&plan.model_name, state.config.enqueued_tokens.unwrap_or(0))],
        );
    }
    process(state, batch, plan, (bytes.clone(), splice)).await;
    if limit.is_some() {
        state.batches.release(model, tokens);
    }
}

/// Waits until a virtual time; true when a cancellation came first.
async fn cancelled_before(state: &State, batch: &Batch, at: u64) -> bool {
    tokio::select! {
        biased;
        () = batch.cancel.cancelled() => true,
        () = state.clock.sleep_until(at) => false,
    }
}

async fn checked(
    state: &Arc<State>,
    batch: &Arc<Batch>,
    input: Bytes,
    splice: Option<Arc<Splice>>,
) -> Result<Plan, Refusals> {
    let (state, batch) = (state.clone(), batch.clone());
    let work = tokio::task::spawn_blocking(move || {
        validate(
            &state.models,
            (batch.endpoint, batch.words(0)),
            &batch.url,
            batch.named.as_deref(),
            (&input, splice.as_deref()),
        )
    });
    work.await.unwrap_or_else(|_| Err(vec![json!({"code": "server_error", "message": "The file could not be validated.", "param": null, "line": null})]))
}

fn fail(state: &State, batch: &Batch, refusals: &[serde_json::Value]) {
    let own = |refusal: &serde_json::Value| match state.manners() {
        Some(manners) => manners.refusal(refusal.clone()),
        None => refusal.clone(),
    };
    let refusals: Vec<serde_json::Value> = refusals.iter().map(own).collect();
    let mut life = batch.life();
    life.status = Status::Failed;
    life.failed_at = Some(state.clock.now());
    life.errors = Some(json!({"object": "list", "data": refusals}));
}

/// A batch cancelled while validating has nothing to show.
async fn end_unstarted(state: &State, batch: &Batch) {
    state.clock.sleep_until(state.clock.now_ms() + ms(state.config.cancel_secs)).await;
    let mut life = batch.life();
    life.status = Status::Cancelled;
    life.cancelled_at = Some(state.clock.now());
}

async fn process(
    state: &Arc<State>,
    batch: &Arc<Batch>,
    plan: Plan,
    (input, splice): (Bytes, Option<Arc<Splice>>),
) {
    let lines = plan.spans.len();
    let expire = state.faults.batch(Fault::Expire, batch.ordinal).map(|hit| hit.amount_or(0.5));
    let start = begin(state, batch, &plan);
    let (run_secs, window_holds) = pace(state, batch.ordinal);
    let full = start + ms(run_secs).max(1);
    let last = if window_holds { batch.expires_ms().max(start + 1) } else { u64::MAX };
    let stop = expire.map_or(full.min(last), |share| start + scaled(full - start, share));
    let mut end = if expire.is_some() || stop < full { End::Expired } else { End::Completed };
    let mut ran = scaled(lines as u64, (stop - start) as f64 / (full - start) as f64);
    batch.life().span = Some((start, full));
    if cancelled_before(state, batch, stop).await {
        end = End::Cancelled;
        let mut life = batch.life();
        ran = life.done(state.clock.now_ms());
        (life.completed, life.span) = (ran, None);
    }
    if let Some(share) = expire.filter(|_| end == End::Expired) {
        ran = scaled(lines as u64, share);
    }
    if state.faults.batch(Fault::CancelDone, batch.ordinal).is_some() && end == End::Cancelled {
        ran = lines as u64;
    }
    if end == End::Expired && batch.words(0) == Words::Gemini {
        ran = 0; // nothing is to be had of it
    }
    let run = Arc::new(Run {
        ordinal: batch.ordinal,
        key: hash(batch.id.as_bytes(), state.config.seed),
        endpoint: batch.endpoint,
        words: batch.words(state.clock.now_ms()),
        named: batch.named.clone(),
        input,
        splice,
        order: order_of(state, batch.ordinal, lines, hash(batch.id.as_bytes(), state.config.seed ^ 1)),
        spans: plan.spans,
        ran: usize::try_from(ran).unwrap_or(lines).min(lines),
        rest: if end == End::Cancelled { Rest::Cancelled } else { Rest::Expired },
        at_ms: state.clock.now_ms(),
        rows: OnceLock::new(),
    });
    let tally = wind_down(state, batch, &run, &mut end).await;
    finish(state, batch, &run, &tally, end, plan.model);
}

/// Virtual seconds of the run, and whether the completion window ends it.
pub(crate) fn pace(state: &State, ordinal: u64) -> (f64, bool) {
    if state.faults.batch(Fault::Quick, ordinal).is_some() {
        return (1.0, true);
    }
    match state.faults.batch(Fault::SlowBatch, ordinal) {
        Some(hit) => (hit.amount_or(30.0).min(1e6) * 3_600.0, false),
        None => (state.config.run_secs, state.manners().is_none_or(Manners::expires)),
    }
}

pub(crate) fn scaled(amount: u64, share: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of lines or milliseconds"
    )]
    let scaled = (amount as f64 * share.clamp(0.0, 1.0)).round() as u64;
    scaled.min(amount)
}

/// Enters `in_progress` (unless a cancellation was faster) and gives the virtual start.
fn begin(state: &State, batch: &Batch, plan: &Plan) -> u64 {
    let start = state.clock.now_ms();
    let mut life = batch.life();
    if life.status == Status::Validating {
        life.status = Status::InProgress;
    }
    life.in_progress_at = Some(start / 1_000);
    life.total = plan.spans.len() as u64;
    life.model = Some(plan.served.clone());
    start
}

/// `finalizing` or `cancelling`, while the lines are written for the first time. A cancellation still counts in `finalizing`.
async fn wind_down(state: &Arc<State>, batch: &Arc<Batch>, run: &Arc<Run>, end: &mut End) -> Tally {
    let (owner, work) = (state.clone(), run.clone());
    let tally = tokio::task::spawn_blocking(move || work.tally(&owner));
    let now = state.clock.now_ms();
    if *end != End::Cancelled {
        {
            let mut life = batch.life();
            life.completed = run.ran as u64;
            if life.status == Status::InProgress && *end == End::Completed {
                life.status = Status::Finalizing;
                life.finalizing_at = Some(now / 1_000);
            }
        }
        let stuck = state.faults.batch(Fault::StuckFinalizing, batch.ordinal).is_some();
        let quick = state.faults.batch(Fault::Quick, batch.ordinal).is_some();
        let secs = match (stuck, quick) {
            (true, _) => STUCK_FINALIZING_SECS,
            (false, true) => 0.0,
            (false, false) => state.config.finalizing_secs,
        };
        if cancelled_before(state, batch, now + ms(secs)).await {
            *end = End::Cancelled;
        }
    }
    if *end == End::Cancelled {
        state.clock.sleep_until(state.clock.now_ms() + ms(state.config.cancel_secs)).await;
    }
    tally.await.unwrap_or_default()
}

fn finish(state: &Arc<State>, batch: &Batch, run: &Arc<Run>, tally: &Tally, end: End, model: usize) {
    state.bill.charge(&state.models.models[model], Lane::Batch, tally.sums, Some(&batch.id), None);
    let _ = run.rows.set(tally.output_rows);
    let now = state.clock.now();
    let made = instant(batch.created_ms);
    let table = batch.place.as_ref().filter(|place| place.starts_with(vertex::TABLE));
    let folder = batch.place.as_ref().map(|place| format!("{place}/prediction-model-{made}"));
    let file = |side, bytes, suffix| {
        let in_blobs = blobs::is_blob(&batch.input_file_id);
        let writes_empty = || state.manners().is_some_and(Manners::writes_empty_files);
        let is_wanted = side == Side::Errors && !in_blobs && writes_empty();
        let shows = match batch.endpoint {
            Endpoint::Generate | Endpoint::Embed => folder.is_some() || end == End::Completed,
            endpoint if endpoint.is_amazons() => state.faults.batch(Fault::NoFiles, batch.ordinal).is_none(),
            _ => true,
        };
        ((bytes > 0 || is_wanted) && shows).then(|| {
            let file = state.files.add(File {
                id: match (&folder, batch.endpoint) {
                    _ if in_blobs => {
                        blobs::result(batch, if side == Side::Output { "results" } else { "errors" })
                    }
                    _ if table.is_some() => table.cloned().unwrap_or_default(),
                    (Some(folder), _) => format!("{folder}/{RESULTS}"),
                    (None, Endpoint::Generate | Endpoint::Embed) => format!("batch-{}", batch.id),
                    (None, endpoint) if endpoint.is_amazons() => jobs::outputs(batch).0,
                    (None, _) => state.keys.id("file-", 22, false),
                },
                bytes,
                created_at: now,
                expires_at: Some(now + batch.output_secs.unwrap_or(OUTPUT_FILE_SECS)),
                filename: match folder.as_ref().and_then(|folder| folder.split_once('/')) {
                    Some((_, path)) => format!("{path}/{RESULTS}"),
                    None => format!("{}_{suffix}.jsonl", batch.id),
                },
                purpose: "batch_output".to_owned(),
                content: Content::Lines(run.clone(), side),
            });
            file.id.clone()
        })
    };
    if batch.endpoint.is_amazons() {
        jobs::write_manifest(state, batch, run.spans.len() as u64, tally);
    }
    let output = file(Side::Output, tally.output_bytes, "output");
    let errors = file(Side::Errors, tally.error_bytes, "error");
    let mut life = batch.life();
    // What is named is the folder, and only where something is in it.
    life.output_file_id = match &folder {
        _ if table.is_some() => output,
        Some(folder) => output.map(|_| format!("gs://{folder}")),
        None => output,
    };
    life.error_file_id = errors;
    life.completed = tally.completed;
    life.failed = tally.failed;
    life.usage = Some(tally.usage);
    let (status, at) = match end {
        End::Completed => (Status::Completed, &mut life.completed_at),
        End::Expired => (Status::Expired, &mut life.expired_at),
        End::Cancelled => (Status::Cancelled, &mut life.cancelled_at),
    };
    *at = Some(now);
    life.status = status;
}
