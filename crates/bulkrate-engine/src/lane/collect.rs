//! T6 and T7: output and error file to outcomes, then the rest of the reservation is freed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::submission::EndKind;
use bulkrate_provider::BatchApi;
use bulkrate_store::{SubmissionState, Tx, Urgency};

use super::fetch::{Fetched, fetch};
use super::outage::{self, Redirects, halts};
use super::pack::Planned;
use super::submission::{Step, save};
use crate::EngineError;
use crate::event::Event;
use crate::paths::io_error;
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::operator::Acts;
use crate::run::results::Results;

/// Lines landed in one commit.
const CHUNK: usize = 1_000;
/// A longer line is no answer.
pub(super) const LINE_BYTES_MAX: usize = 32 << 20;
/// A batch that says it completed may show its output file a little later.
const LATE_FILE_TRIES: u32 = 5;
/// A file that is missing or damaged is downloaded so often again: that is free, and its items are paid for.
const READ_AGAIN_MAX: u32 = 3;

/// Downloads what an ended batch left and lands it.
///
/// Credentials that are refused meanwhile stop the job; the batch stays as it is and is collected by the next run.
pub(super) async fn collect(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    let dir = job.dir.batch(planned.submission.sub);
    let provider = job.deployments[planned.deployment].account.api.clone();
    let api = provider
        .batches()
        .ok_or_else(|| EngineError::Provider("the provider has no batch API".to_owned()))?;
    if !wait_for_files(job, planned, api).await {
        return Ok(Step::Done);
    }
    if planned.submission.state == SubmissionState::Ended {
        planned.submission.state = SubmissionState::Collecting;
        save(job, &planned.submission).await?;
    }
    let mut results = Results::open(
        &dir.results(),
        planned.submission.segment,
        job.last_place(planned.submission.segment)?,
    )?;
    let (output, errors) =
        (planned.submission.remote_output.clone(), planned.submission.remote_errors.clone());
    // What may take long comes before the items are held in memory.
    for (file, path) in [(&output, dir.output()), (&errors, dir.errors())] {
        let Some(file) = file.as_deref().filter(|file| !file.is_empty()) else { continue };
        if matches!(fetch(job, api, file, &path, false, planned.result_bytes_max).await?, Fetched::Refused) {
            return Ok(Step::Done);
        }
    }
    let turn = job.collecting.acquire().await;
    let _turn = turn.map_err(|_| EngineError::Internal("nothing is collected any more".to_owned()))?;
    planned.take_up(job)?;
    // Lines that landed, by their place in the batch: a file that is read again changes nothing there.
    let mut landed: Vec<bool> = planned.items.iter().map(|ready| !job.is_open(ready)).collect();
    // What an earlier run found unreadable is not on record.
    let resumed = planned.submission.output_cursor > 0 || planned.submission.error_cursor > 0;
    for again in 0..=READ_AGAIN_MAX {
        let mut damaged = resumed && again == 0;
        for (file, path, is_output) in [(&output, dir.output(), true), (&errors, dir.errors(), false)] {
            if !is_output && planted::has(Bug::ErrorFileIgnored) {
                continue;
            }
            let Some(file) = file.as_deref().filter(|file| !file.is_empty()) else { continue };
            if again > 0 {
                reread(planned, is_output);
            }
            match fetch(job, api, file, &path, again > 0, planned.result_bytes_max).await? {
                Fetched::Whole => {
                    damaged |=
                        land_file(job, planned, &path, is_output, &mut results, &mut landed, again == 0)
                            .await?;
                }
                Fetched::Missing => damaged = true,
                Fetched::Refused => return Ok(Step::Done),
            }
        }
        if !damaged
            || again == READ_AGAIN_MAX
            || landed.iter().all(|landed| *landed)
            || job.stop.is_detaching()
        {
            break;
        }
        job.tell(&Event::Note {
            message: &format!(
                "the results of batch {} are missing or damaged in part; downloading them again",
                planned.submission.sub
            ),
        });
        tokio::time::sleep(std::time::Duration::from_millis(job.spec.run.poll_min_ms.min(10_000))).await;
    }
    if job.stop.is_detaching() && !landed.iter().all(|landed| *landed) {
        return Ok(Step::Done); // what is missing may come with the next run
    }
    settle(job, planned, &mut results).await?;
    outage::landed(job, planned.submission.sub);
    if !job.spec.run.keep_remote {
        for file in [planned.submission.remote_input.as_deref(), output.as_deref(), errors.as_deref()]
            .into_iter()
            .flatten()
        {
            if let Err(error) = api.delete_file(file).await {
                job.tell(&Event::Note {
                    message: &format!("{error}; the file stays at the provider until it expires"),
                });
            }
        }
    }
    Ok(Step::Go)
}

/// `completed` may come a moment before the file ids do. False: they could not be asked for in this run.
async fn wait_for_files(job: &Rc<Job>, planned: &mut Planned, api: &dyn BatchApi) -> bool {
    let mut tries = 0;
    let mut failures = 0;
    let redirects = Redirects::default();
    let pace = job.spec.run.pace().soon();
    while tries < LATE_FILE_TRIES {
        let submission = &planned.submission;
        let expects_output =
            submission.counts.completed > 0 && submission.remote_output.as_deref().unwrap_or("").is_empty();
        let expects_errors =
            submission.counts.failed > 0 && submission.remote_errors.as_deref().unwrap_or("").is_empty();
        if !(expects_output || expects_errors) || submission.remote_phase.as_deref() == Some("vanished") {
            return true;
        }
        let wait_ms = pace.wait_ms(failures, job.random());
        tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        match api.poll(&id).await {
            Ok(remote) => {
                failures = 0;
                redirects.none();
                tries += 1;
                if let Some(remote) = remote {
                    planned.submission.remote_output = remote.output_file;
                    planned.submission.remote_errors = remote.error_file;
                    planned.submission.counts = remote.counts;
                }
            }
            // Without an answer nothing is known: giving up would count what is paid for as lost.
            Err(error) => {
                if job.stop.is_detaching() || halts(job, &error, &redirects) {
                    return false;
                }
                failures += 1;
                outage::begins(job, planned.submission.sub, &error.to_string());
            }
        }
    }
    true
}

fn reread(planned: &mut Planned, output: bool) {
    if output {
        planned.submission.output_cursor = 0;
    } else {
        planned.submission.error_cursor = 0;
    }
}

/// Lands one file in commits of a thousand lines, from where the last commit stopped. True: it is damaged, lines of it
/// cannot be read or it has none.
async fn land_file(
    job: &Rc<Job>,
    planned: &mut Planned,
    path: &Path,
    output: bool,
    results: &mut Results,
    landed: &mut [bool],
    first: bool,
) -> Result<bool, EngineError> {
    let mut cursor = if output { planned.submission.output_cursor } else { planned.submission.error_cursor };
    let mut file = File::open(path).map_err(io_error("could not open", path))?;
    file.seek(SeekFrom::Start(cursor)).map_err(io_error("could not seek in", path))?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut lines = 0;
    let (mut strange, mut unreadable): (u64, u64) = (0, 0);
    loop {
        line.clear();
        let read = read_line(&mut reader, &mut line).map_err(io_error("could not read", path))?;
        if read == 0 {
            break;
        }
        cursor += read as u64;
        match land_line(job, planned, &line, results, landed) {
            Line::Fine => {}
            Line::Strange => strange += 1,
            Line::Unreadable => unreadable += 1,
        }
        lines += 1;
        if lines % CHUNK == 0 {
            commit_chunk(job, planned, output, cursor, results, Urgency::Landing).await?;
        }
    }
    if first && strange + unreadable > 0 {
        job.alert("batch-anomaly", &format!("{strange} lines of {} belong to no item of the batch or came twice, and {unreadable} cannot be read; they are kept in the file", path.display()));
    }
    commit_chunk(job, planned, output, cursor, results, Urgency::Now).await?;
    Ok(unreadable > 0 || cursor == 0)
}

/// Reads a line with its end; of one that is too long to be an answer only the beginning is kept. Answers its bytes.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    let most = LINE_BYTES_MAX as u64 + 1;
    let mut read = reader.by_ref().take(most).read_until(b'\n', line)?;
    if line.len() as u64 == most && !line.ends_with(b"\n") {
        read += reader.skip_until(b'\n')?;
    }
    Ok(read)
}

/// What a line of a result file was.
enum Line {
    Fine,
    /// None of ours, or it came twice.
    Strange,
    Unreadable,
}

fn land_line(
    job: &Rc<Job>,
    planned: &Planned,
    line: &[u8],
    results: &mut Results,
    landed: &mut [bool],
) -> Line {
    let text = line.trim_ascii();
    if text.is_empty() {
        return Line::Fine;
    }
    if text.len() > LINE_BYTES_MAX {
        return Line::Unreadable;
    }
    let wire = job.deployments[planned.deployment].account.api.wire();
    let Ok(found) = wire.read_line(planned.kind, text) else { return Line::Unreadable };
    let ours = WireId::parse(&found.custom_id)
        .filter(|id| id.sub == planned.submission.sub)
        .map(|id| id.seq as usize);
    let Some((seq, ready)) = ours.and_then(|seq| Some((seq, planned.items.get(seq)?))) else {
        return Line::Strange;
    };
    if std::mem::replace(&mut landed[seq], true) && !planted::has(Bug::DoubleBooking) {
        return Line::Strange;
    }
    let landing = Landing { ready, lane: Lane::Batch, sub: Some(planned.submission.sub), group: None };
    outage::note_line(job, planned.submission.sub, &found.reading);
    job.land(landing, &found.reading, results.place(), results.buffer());
    Line::Fine
}

async fn commit_chunk(
    job: &Rc<Job>,
    planned: &mut Planned,
    output: bool,
    cursor: u64,
    results: &mut Results,
    urgency: Urgency,
) -> Result<(), EngineError> {
    if output {
        planned.submission.output_cursor = cursor;
    } else {
        planned.submission.error_cursor = cursor;
    }
    commit(job, planned, results, urgency, Acts::default()).await
}

/// Outcomes, their lines' file, the ledger and the cursor, together.
async fn commit(
    job: &Rc<Job>,
    planned: &Planned,
    results: &mut Results,
    urgency: Urgency,
    acts: Acts,
) -> Result<(), EngineError> {
    let mut tx = Tx::new(job.no);
    tx.sync_first.extend(results.flush()?);
    // What calls have landed meanwhile is in the same ledger sums: it goes along.
    tx.sync_first.extend(job.results.borrow_mut().flush()?);
    tx.ledger = job.take_ledger();
    tx.ledger.extend(acts.ledger);
    tx.orders_done = acts.orders_done;
    tx.outcomes = job.take_outcomes();
    tx.submissions.push((planned.submission.clone(), None));
    let rows = job.to_stream(&tx.outcomes);
    job.commit(tx, urgency).await?;
    job.stream(&rows);
    job.changed.notify_waiters();
    Ok(())
}

/// T7: every item of the batch is accounted for.
async fn settle(job: &Rc<Job>, planned: &mut Planned, results: &mut Results) -> Result<(), EngineError> {
    let kind = planned.submission.remote_phase.as_deref().and_then(EndKind::from_name);
    let (class, message) = kind.unwrap_or(EndKind::Completed).missing();
    if !planted::has(Bug::SettleShort) {
        land_rest(job, planned, class, message, results);
    }
    close(job, planned, results, Acts::default()).await
}

/// Every item without an outcome ends this attempt with `class`; its bound stays booked as doubt (W8).
fn land_rest(job: &Job, planned: &Planned, class: FailureClass, message: &str, results: &mut Results) {
    for ready in planned.items.iter().filter(|ready| job.is_open(ready)) {
        let place = results.place();
        let landing = Landing { ready, lane: Lane::Batch, sub: Some(planned.submission.sub), group: None };
        job.land_missing(landing, class, true, message, place, results.buffer());
    }
}

/// A doubt that nothing settles, by the operator's wish: each item ends this attempt, its bound booked as doubt.
pub(crate) async fn write_off(
    job: &Rc<Job>,
    planned: &mut Planned,
    class: FailureClass,
    acts: Acts,
) -> Result<(), EngineError> {
    let path = job.dir.batch(planned.submission.sub).results();
    let segment = planned.submission.segment;
    let mut results = Results::open(&path, segment, job.last_place(segment)?)?;
    land_rest(job, planned, class, "nobody can tell whether the batch was created", &mut results);
    close(job, planned, &mut results, acts).await
}

/// The last commit of a batch.
async fn close(
    job: &Rc<Job>,
    planned: &mut Planned,
    results: &mut Results,
    acts: Acts,
) -> Result<(), EngineError> {
    let tokens = planned.tokens;
    {
        let mut state = job.state.borrow_mut();
        state.enqueued_tokens = state.enqueued_tokens.saturating_sub(tokens);
    }
    planned.submission.settled_at_ms = Some(job.clock.row_ms());
    planned.submission.state = SubmissionState::Settled;
    planned.submission.epoch = job.epoch;
    commit(job, planned, results, Urgency::Now, acts).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_without_being_held() {
        let long = "x".repeat(LINE_BYTES_MAX + 70_000);
        let text = format!("first\n{long}\nlast");
        let mut reader = BufReader::with_capacity(1 << 16, text.as_bytes());
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        loop {
            line.clear();
            let read = read_line(&mut reader, &mut line).unwrap();
            if read == 0 {
                break;
            }
            lengths.push((read, line.len()));
        }
        assert_eq!(lengths, [(6, 6), (long.len() + 1, LINE_BYTES_MAX + 1), (4, 4)]);
    }
}
