//! T6 and T7: output and error file to outcomes, then the rest of the reservation is freed.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_provider::BatchApi;
use bulkrate_store::{SubmissionState, Tx, Urgency};

use super::pack::Planned;
use super::submission::save;
use crate::EngineError;
use crate::event::Event;
use crate::paths::io_error;
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::results::Results;

/// Lines landed in one commit.
const CHUNK: usize = 1_000;
/// A longer line is no answer.
const LINE_BYTES_MAX: usize = 32 << 20;
/// A batch that says it completed may show its output file a little later.
const LATE_FILE_TRIES: u32 = 5;

/// Downloads what an ended batch left and lands it.
pub(crate) async fn collect(job: &Rc<Job>, planned: &mut Planned) -> Result<(), EngineError> {
    let dir = job.dir.batch(planned.submission.sub);
    let deployment = planned.items.first().map_or(0, |ready| ready.deployment);
    let provider = job.deployments[deployment].account.api.clone();
    let api = provider.batches().ok_or_else(|| EngineError::Provider("the provider has no batch API".to_owned()))?;
    wait_for_files(job, planned, api).await;
    if planned.submission.state == SubmissionState::Ended {
        save(job, &mut planned.submission, SubmissionState::Collecting).await?;
    }
    let mut results = Results::open(&dir.results(), planned.submission.segment, job.last_place(planned.submission.segment)?)?;
    let (output, errors) = (planned.submission.remote_output.clone(), planned.submission.remote_errors.clone());
    if fetch(job, api, output.as_deref(), &dir.output()).await? {
        land_file(job, planned, &dir.output(), true, &mut results).await?;
    }
    if fetch(job, api, errors.as_deref(), &dir.errors()).await? {
        land_file(job, planned, &dir.errors(), false, &mut results).await?;
    }
    settle(job, planned, &mut results).await?;
    if !job.spec.run.keep_remote {
        for file in [planned.submission.remote_input.as_deref(), output.as_deref(), errors.as_deref()].into_iter().flatten() {
            if let Err(error) = api.delete_file(file).await {
                job.tell(&Event::Note { message: &format!("{error}; the file stays at the provider until it expires") });
            }
        }
    }
    Ok(())
}

/// `completed` may come a moment before the file ids do.
async fn wait_for_files(job: &Rc<Job>, planned: &mut Planned, api: &dyn BatchApi) {
    for _ in 0..LATE_FILE_TRIES {
        let submission = &planned.submission;
        let expects_output = submission.counts.completed > 0 && submission.remote_output.as_deref().unwrap_or("").is_empty();
        let expects_errors = submission.counts.failed > 0 && submission.remote_errors.as_deref().unwrap_or("").is_empty();
        if !(expects_output || expects_errors) || submission.remote_phase.as_deref() == Some("vanished") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(job.spec.run.poll_min_ms.min(60_000))).await;
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        if let Ok(Some(remote)) = api.poll(&id).await {
            planned.submission.remote_output = remote.output_file;
            planned.submission.remote_errors = remote.error_file;
            planned.submission.counts = remote.counts;
        }
    }
}

/// Whether there is such a file, on disk and whole.
async fn fetch(job: &Rc<Job>, api: &dyn BatchApi, file: Option<&str>, to: &Path) -> Result<bool, EngineError> {
    if to.exists() {
        return Ok(true); // downloads appear under their name only when whole
    }
    let Some(file) = file.filter(|file| !file.is_empty()) else { return Ok(false) };
    loop {
        match api.download(file, to).await {
            Ok(found) => return Ok(found.is_some()),
            Err(error) if job.stop.is_detaching() => return Err(EngineError::Provider(error.to_string())),
            Err(error) => {
                job.alert("download-failed", &format!("{error}; the results are paid for, asking again"));
                tokio::time::sleep(std::time::Duration::from_millis(job.spec.run.poll_min_ms.max(1_000))).await;
            }
        }
    }
}

/// Lands one file in commits of a thousand lines, from where the last commit stopped.
async fn land_file(job: &Rc<Job>, planned: &mut Planned, path: &Path, output: bool, results: &mut Results) -> Result<(), EngineError> {
    let mut cursor = if output { planned.submission.output_cursor } else { planned.submission.error_cursor };
    let mut file = File::open(path).map_err(io_error("could not open", path))?;
    file.seek(SeekFrom::Start(cursor)).map_err(io_error("could not seek in", path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut lines = 0;
    let mut strange: u64 = 0;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(io_error("could not read", path))?;
        if read == 0 {
            break;
        }
        cursor += read as u64;
        if !land_line(job, planned, &line, results) {
            strange += 1;
        }
        lines += 1;
        if lines % CHUNK == 0 {
            commit_chunk(job, planned, output, cursor, results, Urgency::Landing).await?;
        }
    }
    if strange > 0 {
        job.alert("batch-anomaly", &format!("{strange} lines of {} belong to no item of the batch or came twice; they are kept in the file", path.display()));
    }
    commit_chunk(job, planned, output, cursor, results, Urgency::Now).await
}

/// False: the line is none of ours, or came twice.
fn land_line(job: &Rc<Job>, planned: &Planned, line: &[u8], results: &mut Results) -> bool {
    let text = line.trim_ascii();
    if text.is_empty() {
        return true;
    }
    if text.len() > LINE_BYTES_MAX {
        return false;
    }
    let deployment = planned.items.first().map_or(0, |ready| ready.deployment);
    let wire = job.deployments[deployment].account.api.wire();
    let Ok(found) = wire.read_line(planned.kind, text) else { return false };
    let ours = WireId::parse(&found.custom_id).filter(|id| id.sub == planned.submission.sub);
    let Some(ready) = ours.and_then(|id| planned.items.get(id.seq as usize)) else { return false };
    let before = results.place();
    let landing = Landing { ready, lane: Lane::Batch, sub: Some(planned.submission.sub) };
    job.land(landing, &found.reading, before, results.buffer());
    results.place() != before
}

async fn commit_chunk(job: &Rc<Job>, planned: &mut Planned, output: bool, cursor: u64, results: &mut Results, urgency: Urgency) -> Result<(), EngineError> {
    if output {
        planned.submission.output_cursor = cursor;
    } else {
        planned.submission.error_cursor = cursor;
    }
    commit(job, planned, results, urgency).await
}

/// Outcomes, their lines' file, the ledger and the cursor, together.
async fn commit(job: &Rc<Job>, planned: &Planned, results: &mut Results, urgency: Urgency) -> Result<(), EngineError> {
    let mut tx = Tx::new(job.no);
    tx.sync_first.extend(results.flush()?);
    // What calls have landed meanwhile is in the same ledger sums: it goes along.
    tx.sync_first.extend(job.results.borrow_mut().flush()?);
    tx.ledger = job.take_ledger();
    tx.outcomes = std::mem::take(&mut job.state.borrow_mut().outcomes);
    tx.submissions.push((planned.submission.clone(), None));
    let rows = job.to_stream(&tx.outcomes);
    job.commit(tx, urgency).await?;
    job.stream(&rows);
    job.changed.notify_waiters();
    Ok(())
}

/// T7: every item of the batch is accounted for.
async fn settle(job: &Rc<Job>, planned: &mut Planned, results: &mut Results) -> Result<(), EngineError> {
    let phase = planned.submission.remote_phase.clone().unwrap_or_default();
    for ready in &planned.items {
        if !job.is_open(ready) {
            continue;
        }
        let (class, maybe_paid, message) = match phase.as_str() {
            "expired" => (FailureClass::Expired, true, "the batch expired without a line for the item"),
            "cancelled" => (FailureClass::Expired, true, "the batch was cancelled without a line for the item"),
            "vanished" => (FailureClass::ResultLostAtProvider, true, "the provider lost the batch"),
            // W8: it may have run and its line is missing.
            _ => (FailureClass::Transient, true, "the batch ended without a line for the item"),
        };
        let place = results.place();
        let landing = Landing { ready, lane: Lane::Batch, sub: Some(planned.submission.sub) };
        job.land_missing(landing, class, maybe_paid, message, place, results.buffer());
    }
    let tokens: u64 = planned.items.iter().map(|ready| job.prompt_tokens(ready)).sum();
    let mut state = job.state.borrow_mut();
    state.enqueued_tokens = state.enqueued_tokens.saturating_sub(tokens);
    drop(state);
    planned.submission.settled_at_ms = Some(job.clock.row_ms());
    planned.submission.state = SubmissionState::Settled;
    planned.submission.epoch = job.epoch;
    commit(job, planned, results, Urgency::Now).await
}
