//! T6 and T7: output and error file to outcomes, then the rest of the reservation is freed.

mod land;

use std::path::PathBuf;
use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::submission::EndKind;
use bulkrate_provider::BatchApi;
use bulkrate_store::{Submission, SubmissionState, Tx, Urgency};

use self::land::Lander;
use super::brought::Brought;
use super::fetch::{Fetched, LATE_FILE_TRIES, awaits_files, fetch, named};
use super::outage::{self, Redirects, halts};
use super::pack::Planned;
use super::reach;
use super::submission::{Step, save};
use crate::EngineError;
use crate::event::Event;
use crate::run::job::Job;
use crate::run::land::Landing;
use crate::run::operator::Acts;
use crate::run::results::Results;

pub(super) use self::land::{LINE_BYTES_MAX, read_line};

/// A file that an ended batch left at the provider, and where it lands here.
struct ResultFile {
    id: String,
    path: PathBuf,
    is_output: bool,
}

impl ResultFile {
    fn all(job: &Job, row: &Submission) -> Vec<Self> {
        let dir = job.dir.batch(row.sub);
        [(&row.remote_output, dir.output(), true), (&row.remote_errors, dir.errors(), false)]
            .into_iter()
            .filter_map(|(id, path, is_output)| {
                Some(Self { id: named(id.as_deref())?.to_owned(), path, is_output })
            })
            .collect()
    }
}

/// Downloads what an ended batch left and lands it.
///
/// Credentials that are refused meanwhile stop the job; the batch stays as it is and is collected by the next run.
pub(super) async fn collect(
    job: &Rc<Job>,
    api: &dyn BatchApi,
    planned: &mut Planned,
) -> Result<Step, EngineError> {
    if !wait_for_files(job, planned, api).await {
        return Ok(Step::Done);
    }
    if planned.submission.state == SubmissionState::Ended {
        planned.submission.state = SubmissionState::Collecting;
        save(job, &planned.submission).await?;
    }
    let mut results = results_of(job, &planned.submission)?;
    let files = ResultFile::all(job, &planned.submission);
    // What may take long comes before the items are held in memory.
    for file in &files {
        let most = planned.result_bytes_max;
        let from = (api, planned.submission.account.as_str());
        if matches!(fetch(job, from, &file.id, &file.path, false, most).await?, Fetched::Refused) {
            return Ok(Step::Done);
        }
    }
    let turn = job.collecting.acquire().await;
    let _turn = turn.map_err(|_| EngineError::Internal("nothing is collected any more".to_owned()))?;
    planned.take_up(job)?;
    if matches!(Lander::new(job, api, planned, &mut results).land(&files).await?, Step::Done) {
        return Ok(Step::Done);
    }
    // A batch that was adopted by its looks is proved ours by a line of an item of ours, or it is not touched.
    let is_ours = api.facts().known_by.is_exact() || !planned.items.iter().all(|ready| job.is_open(ready));
    let missing = missing(planned, planned.items.iter().filter(|ready| !job.is_open(ready)).count());
    settle(job, planned, &mut results).await?;
    outage::landed(job, &planned.submission);
    if is_ours && !job.spec.run.keep_remote {
        delete_remote(job, api, &planned.submission, missing).await;
    }
    Ok(Step::Go)
}

/// Where the lines of a batch's items are kept.
fn results_of(job: &Job, row: &Submission) -> Result<Results, EngineError> {
    Results::open(&job.dir.batch(row.sub).results(), row.segment, job.last_place(row.segment)?)
}

/// `completed` may come a moment before the file ids do, and `cancelled` before what was under way has ended.
/// False: they could not be asked for in this run.
async fn wait_for_files(job: &Rc<Job>, planned: &mut Planned, api: &dyn BatchApi) -> bool {
    let mut tries = 0;
    let mut failures = 0;
    let redirects = Redirects::default();
    let pace = job.spec.run.pace().soon();
    while tries < LATE_FILE_TRIES {
        let row = &planned.submission;
        let vanished = row.remote_phase.as_deref() == Some(EndKind::Vanished.name());
        let files = (row.remote_output.as_deref(), row.remote_errors.as_deref());
        let is_early = tries == 0
            && api.facts().cancels_late
            && row.remote_phase.as_deref() == Some(EndKind::Cancelled.name());
        if vanished || !is_early && !awaits_files(api.facts(), row.counts, files.0, files.1) {
            return true;
        }
        let wait_ms = pace.wait_ms(failures, job.random());
        tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        let began_us = job.clock.us();
        match api.poll(&id).await {
            Ok(remote) => {
                reach::answered(job, &planned.submission.account);
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
                let silent = || reach::heard(job, &planned.submission.account, &error, began_us);
                if job.stop.is_detaching() || halts(job, &error, &redirects) || silent() {
                    return false;
                }
                failures += 1;
                outage::begins(job, planned.submission.sub, &error.to_string());
            }
        }
    }
    true
}

/// How many answers a batch's counts tell of that have not landed. (Of bundles it may be more.) Where it tells no counts but names
/// results, each item is to have one.
fn missing(planned: &Planned, landed: usize) -> u64 {
    let (counts, row) = (planned.submission.counts, &planned.submission);
    let files = [&row.remote_output, &row.remote_errors];
    if counts.total == 0 && files.into_iter().any(|file| named(file.as_deref()).is_some()) {
        return planned.items.len().saturating_sub(landed) as u64;
    }
    counts.completed.saturating_add(counts.failed).saturating_sub(landed as u64)
}

/// The provider need not keep what has landed. What lacks answers that were paid stays where somebody can look for them.
async fn delete_remote(job: &Job, api: &dyn BatchApi, row: &Submission, missing: u64) {
    let mut files = vec![&row.remote_input];
    if missing == 0 {
        files.extend([&row.remote_output, &row.remote_errors]);
    } else {
        let message = &format!(
            "{missing} answers of batch {} are not in its results, which are left at the provider",
            row.sub
        );
        job.tell(&Event::Note { message });
    }
    for file in files.into_iter().filter_map(|file| named(file.as_deref())) {
        if let Err(error) = api.delete_file(file).await {
            job.tell(&Event::Note {
                message: &format!("{error}; the file stays at the provider until it expires"),
            });
        }
    }
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
    let row = &mut planned.submission;
    Brought::of(&job.dir.batch(row.sub)).keep(row);
    close(job, planned, results, Acts::default()).await
}

/// Every item without an outcome ends this attempt with `class`; its bound stays booked as doubt (W8).
fn land_rest(job: &Job, planned: &Planned, class: FailureClass, message: &str, results: &mut Results) {
    for ready in planned.items.iter().filter(|ready| job.is_open(ready)) {
        let place = results.place();
        let landing = Landing { ready, lane: Lane::Batch, sub: Some(planned.submission.sub), group: None };
        let maybe_paid = class != FailureClass::Expired || !planted::has(Bug::CutIsUnpaid);
        job.land_missing(landing, class, maybe_paid, message, place, results.buffer());
    }
}

/// A doubt that nothing settles, by the operator's wish: each item ends this attempt, its bound booked as doubt.
pub(crate) async fn write_off(
    job: &Rc<Job>,
    planned: &mut Planned,
    class: FailureClass,
    acts: Acts,
) -> Result<(), EngineError> {
    let mut results = results_of(job, &planned.submission)?;
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
    if let Some(queue) = job.state.borrow_mut().queue_of(job, &planned.submission) {
        queue.tokens = queue.tokens.saturating_sub(planned.tokens);
    }
    planned.submission.settled_at_ms = Some(job.clock.row_ms());
    planned.submission.state = SubmissionState::Settled;
    planned.submission.epoch = job.epoch;
    commit(job, planned, results, Urgency::Now, acts).await
}
