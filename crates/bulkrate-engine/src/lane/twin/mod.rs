//! Another batch that the way to the provider made of one create (W1): it is cancelled, and what it is billed for is booked.
//!
//! Invariants
//! - Only a batch with the mark of this store and of the submission, or made of its input file, is cancelled (I14).
//! - From the commit that knows of a twin its bound is in doubt; that ends in the commit that books what it cost.
//! - Nothing of a twin lands: its items run elsewhere.

mod bill;

use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::ids::Sub;
use bulkrate_core::submission::{self, DENIALS_MAX, KnownBy, Phase, RemoteBatch};
use bulkrate_provider::BatchApi;
use bulkrate_store::{LedgerEntry, LedgerKind, Submission};
use serde::{Deserialize, Serialize};

use self::bill::{bill, shares_place};
use super::brought::Brought;
use super::evidence::{field, put};
use super::fetch::{LATE_FILE_TRIES, awaits_files};
use super::outage::{Redirects, halts, pause};
use super::stood_in;
use super::submission::save_with;
use crate::EngineError;
use crate::run::heaps::{count, heaps_of};
use crate::run::job::Job;
use crate::run::operator::Acts;
use crate::run::recover;

/// A provider that does not answer does not keep the run from ending: the next one asks again.
const FAILURES_MAX: u32 = 20;

/// What a row keeps of a twin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Twin {
    pub batch: String,
    /// What it cost stands in the ledger, or its doubt does for good.
    #[serde(default)]
    pub booked: bool,
}

const FIELD: &str = "twins";

/// The twins that a row knows of.
fn kept(row: &Submission) -> Vec<Twin> {
    field(row, FIELD)
}

fn keep(row: &mut Submission, twins: &[Twin]) {
    if twins.is_empty() {
        return;
    }
    put(row, FIELD, serde_json::json!(twins));
}

/// Puts other evidence into the row; the twins and the files that it knows of stay, and in whose place it was sent.
pub(crate) fn rewrite(row: &mut Submission, evidence: &impl Serialize) {
    let (twins, files, instead) = (kept(row), Brought::kept(row), stood_in::kept(row));
    row.evidence = serde_json::to_string(evidence).ok();
    keep(row, &twins);
    files.keep(row);
    stood_in::keep(row, &instead);
}

/// Writes a twin into the row. What comes back goes with the commit of the row: all that the twin may cost, as doubt.
pub(crate) fn note(
    job: &Rc<Job>,
    row: &mut Submission,
    batch: &str,
) -> Result<Vec<LedgerEntry>, EngineError> {
    let mut twins = kept(row);
    if twins.iter().any(|twin| twin.batch == batch) {
        return Ok(Vec::new());
    }
    twins.push(Twin { batch: batch.to_owned(), booked: false });
    keep(row, &twins);
    job.state.borrow_mut().twins_open.insert(row.sub);
    let fate = if job.cannot_cancel(&row.account) { "it cannot be cancelled" } else { "it is cancelled" };
    job.alert("batch-anomaly", &format!("batch {} was made twice by the way to the provider: {batch} runs as well; {fate}, and what it is billed for is booked as a duplicate", row.sub));
    let heaps = heaps_of(job, &recover::items(job, row)?);
    let entries: Vec<LedgerEntry> =
        heaps.iter().map(|(of, heap)| of.entry(job, LedgerKind::Doubt, row.sub, *heap, why(batch))).collect();
    count(job, &entries);
    Ok(entries)
}

/// Whether a row knows of a twin whose cost is not booked yet.
pub(crate) fn is_open(row: &Submission) -> bool {
    kept(row).iter().any(|twin| !twin.booked)
}

/// Takes in what a sweep has found: submissions and other batches of theirs. Rows that are over are noted here, the others by
/// their drivers.
pub(super) async fn found(
    job: &Rc<Job>,
    rows: Vec<Submission>,
    strays: &[(String, String)],
) -> Result<(), EngineError> {
    for mut row in rows {
        let sub = row.sub.to_string();
        let known = kept(&row);
        for (_, batch) in strays.iter().filter(|(of, _)| *of == sub) {
            if known.iter().any(|twin| twin.batch == *batch) {
                continue;
            }
            if row.state.is_terminal() {
                let entries = note(job, &mut row, batch)?;
                save_with(job, &row, Acts { ledger: entries, ..Acts::default() }).await?;
                cancel(job, &row, batch).await;
            } else {
                job.state.borrow_mut().strays.entry(row.sub).or_default().insert(batch.clone());
                job.wishes.notify_waiters();
            }
        }
    }
    Ok(())
}

/// At once, as each of a twin's answers costs; it is seen to later, and asked again then.
async fn cancel(job: &Job, row: &Submission, batch: &str) {
    if let Some(api) = sender(job, row) {
        drop(api.cancel(batch).await);
    }
}

/// The batches of the account that sent a submission.
fn sender<'j>(job: &'j Job, row: &Submission) -> Option<&'j dyn BatchApi> {
    job.deployments.iter().find(|found| found.account.id == row.account)?.account.api.batches()
}

/// Takes the twins of batches that are over to their last ledger entry. One that is given up is for the job's next run.
pub(super) async fn settle_open(job: &Rc<Job>) -> Result<(), EngineError> {
    let open: Vec<Sub> = job.state.borrow().twins_open.iter().copied().collect();
    for sub in open {
        let Some(row) = job.reader.submission(sub)?.filter(|row| row.state.is_terminal()) else { continue };
        let booked = settle(job, row).await?;
        let mut state = job.state.borrow_mut();
        state.twins_open.remove(&sub);
        if !booked {
            state.twins_left.insert(sub);
        }
        drop(state);
        job.changed.notify_waiters();
    }
    Ok(())
}

/// The same for all that the job's rows know of. False: some are left to another run.
pub(super) async fn settle_all(job: &Rc<Job>) -> Result<bool, EngineError> {
    let mut booked = true;
    for row in job.reader.submissions(job.no)?.into_iter().filter(is_open) {
        let left = !row.state.is_terminal() || job.state.borrow().twins_left.contains(&row.sub);
        booked &= !left && settle(job, row).await?;
    }
    Ok(booked)
}

async fn settle(job: &Rc<Job>, mut row: Submission) -> Result<bool, EngineError> {
    for place in 0..kept(&row).len() {
        if !kept(&row)[place].booked && !run(job, &mut row, place).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One twin from the cancel to the booking. False: it goes on in another run.
async fn run(job: &Rc<Job>, row: &mut Submission, place: usize) -> Result<bool, EngineError> {
    let twin = kept(row).swap_remove(place).batch;
    let Some(api) = sender(job, row) else { return Ok(true) };
    let remote = match end(job, api, row, &twin).await {
        Ended::Batch(remote) => Some(remote),
        Ended::Gone => None,
        Ended::Later => return Ok(false),
    };
    let items = recover::items(job, row)?;
    let mut entries = Vec::new();
    if let Some(remote) = &remote {
        let Some(bill) = bill(job, api, row, &items, remote, place).await? else { return Ok(false) };
        entries = bill.entries(job, row, &twin, &items)?;
    }
    let mut twins = kept(row);
    twins[place].booked = true;
    keep(row, &twins);
    save_with(job, row, Acts { ledger: entries, ..Acts::default() }).await?;
    if let Some(remote) = remote.filter(|remote| !job.spec.run.keep_remote && !shares_place(row, remote)) {
        for file in remote.output_file.iter().chain(&remote.error_file).filter(|file| !file.is_empty()) {
            drop(api.delete_file(file).await); // it expires there
        }
    }
    Ok(true)
}

enum Ended {
    Batch(Box<RemoteBatch>),
    /// The provider denies it, or it is not ours: its doubt stands.
    Gone,
    /// Not in this run.
    Later,
}

/// Cancels a twin and waits until it has ended and shows its files.
async fn end(job: &Rc<Job>, api: &dyn BatchApi, row: &Submission, twin: &str) -> Ended {
    let pace = job.spec.run.pace();
    let (mut polls, mut denials, mut late, mut failures) = (0, 0, 0, 0);
    let redirects = Redirects::default();
    loop {
        if job.stop.is_detaching() {
            return Ended::Later;
        }
        match api.poll(twin).await {
            Ok(Some(remote)) if !is_of(&remote, api.facts().known_by, job, row) => {
                job.alert("batch-anomaly", &format!("batch {twin} has no mark of submission {}; it is left alone, what it may cost stays in doubt", row.sub));
                return Ended::Gone;
            }
            Ok(Some(remote)) if !remote.phase.is_terminal() => {
                if remote.phase != Phase::Cancelling {
                    drop(api.cancel(twin).await); // asked again after the next poll
                }
            }
            Ok(Some(remote)) if is_late(api, &remote) && late < LATE_FILE_TRIES => late += 1,
            Ok(Some(remote)) => return Ended::Batch(Box::new(remote)),
            Ok(None) if denials >= DENIALS_MAX => {
                job.alert(
                    "batch-vanished",
                    &format!("batch {twin} is unknown to the provider; what it may have cost stays in doubt"),
                );
                return Ended::Gone;
            }
            Ok(None) => denials += 1,
            Err(error) if halts(job, &error, &redirects) || failures >= FAILURES_MAX => return Ended::Later,
            Err(_) => failures += 1,
        }
        pause(job, Duration::from_millis(pace.wait_ms(polls, job.random()))).await;
        polls = polls.saturating_add(1);
    }
}

/// Whether a batch is that of a submission, by its mark or by the file that was uploaded for it.
pub(super) fn is_of(remote: &RemoteBatch, known_by: KnownBy, job: &Job, row: &Submission) -> bool {
    match &remote.marker {
        Some(marker) => marker.inst == job.inst && marker.sub == row.sub.to_string(),
        None => known_by == KnownBy::Input && is_made_of(remote, row) && is_in_time(remote, row),
    }
}

/// Whether its input file is the one that was uploaded for a submission.
pub(super) fn is_made_of(remote: &RemoteBatch, row: &Submission) -> bool {
    row.remote_input.is_some() && remote.input_file == row.remote_input
}

/// Whether the create of a submission can have made a batch: no create arrives later.
pub(super) fn is_in_time(remote: &RemoteBatch, row: &Submission) -> bool {
    let sent_ms = row.sent_at_ms.and_then(|ms| u64::try_from(ms).ok());
    submission::is_in_time(remote.created_at, sent_ms)
}

fn is_late(api: &dyn BatchApi, remote: &RemoteBatch) -> bool {
    awaits_files(api.facts(), remote.counts, remote.output_file.as_deref(), remote.error_file.as_deref())
}

/// The note of a twin's entries: the window it came through.
fn why(twin: &str) -> String {
    format!("W1: {twin} was made by the same create")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::lane::Lane;
    use bulkrate_store::SubmissionState;
    use serde_json::Value;

    #[test]
    fn twins_are_kept_beside_the_doubt() {
        let mut row = Submission::new(Sub::new(1, 1), 1, Lane::Batch, SubmissionState::Accepted, 1);
        assert!(kept(&row).is_empty());
        row.evidence = Some("{\"why\":\"lost\",\"doubt\":7}".to_owned());
        let twins = [Twin { batch: "b".into(), booked: false }, Twin { batch: "c".into(), booked: true }];
        keep(&mut row, &twins);
        assert_eq!(kept(&row), twins);
        let evidence: Value = serde_json::from_str(row.evidence.as_deref().unwrap()).unwrap();
        assert_eq!((&evidence["why"], &evidence["doubt"]), (&"lost".into(), &7.into()));
        keep(&mut row, &[]);
        assert_eq!(kept(&row), twins, "nothing new forgets nothing");
    }
}
