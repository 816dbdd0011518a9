//! Looks through the accounts' lists for batches of ours that no row accounts for: before a resumed job sends anything, every
//! quarter of an hour while batches run, and when a run ends.
//!
//! Invariants
//! - A list that could not be had proves nothing: the next sweep begins where the last whole one did.
//! - A row that is driven belongs to its driver, who is told of its twins; rows that are over belong to the sweep.
//! - A job owes a sweep until a whole one has come so late that none of its creates can still arrive.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::failure::Verdict;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::submission::{KnownBy, LATE_MS, Owner, RemoteBatch, Stray, created_since_s, sweep};
use bulkrate_provider::BatchApi;
use bulkrate_store::{Submission, SubmissionState, Tx, Urgency, View};
use tokio::time::{Instant, sleep_until};

use super::ghost::{self, Ghost};
use super::outage::pause;
use super::pack::Planned;
use super::twin;
use crate::EngineError;
use crate::event::Event;
use crate::run::job::Job;

/// Between two sweeps of a run; who polls less often sweeps less often.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// A list that fails is asked for so often.
const LIST_TRIES: u32 = 3;
/// What the accounts list, each beside a deployment that uses it.
struct Listed {
    began_ms: u64,
    accounts: Vec<(usize, Vec<RemoteBatch>)>,
    /// Every account has answered.
    whole: bool,
}

/// Whether batches of this job may still turn up.
pub(crate) fn is_owed(job: &Job) -> Result<bool, EngineError> {
    let rows = job.reader.submissions(job.no)?;
    let batches = rows.iter().filter(|row| row.lane == Lane::Batch);
    let Some(last_ms) = batches.filter_map(|row| row.sent_at_ms).max() else { return Ok(false) };
    let swept_ms = job.reader.meta(&key(job))?.and_then(|ms| ms.parse::<u64>().ok());
    Ok(swept_ms.is_none_or(|swept_ms| swept_ms < u64::try_from(last_ms).unwrap_or(0) + LATE_MS))
}

/// Where it stands when the last whole sweep of a job began.
fn key(job: &Job) -> String {
    format!("swept.{}", job.no)
}

/// Before anything is sent where there was work before: what is listed may be more than the rows know (W5).
pub(crate) async fn begin(job: &Rc<Job>, open: &mut [Planned]) -> Result<(), EngineError> {
    let listed = list_all(job, LIST_TRIES).await;
    for planned in open.iter_mut() {
        own_up(job, &mut planned.submission, &listed);
    }
    act(job, listed).await
}

/// A batch of a submission that was never sent as far as its row knows: the state folder is older than the create (W5). The
/// row says from now on that a create was under way, and the batch is looked for and adopted as any other.
fn own_up(job: &Job, row: &mut Submission, listed: &Listed) {
    if !row.state.is_unsent() {
        return;
    }
    let ours = |(place, batches): &'_ (usize, Vec<RemoteBatch>)| {
        let known_by = known_by(job, *place);
        batches.iter().find(|batch| twin::is_of(batch, known_by, job, row)).cloned()
    };
    let Some(batch) = listed.accounts.iter().find_map(ours) else { return };
    job.alert("batch-unknown", &format!("batch {} was created for submission {}, which this state folder has not sent: it was restored from an old backup, or a copy of it is at work; the batch is looked for, and nothing is sent again", batch.id, row.sub));
    row.state = SubmissionState::Sending;
    let created_ms = batch.created_at.map_or(u64::MAX, |created_s| created_s.saturating_mul(1_000));
    row.sent_at_ms = i64::try_from(created_ms.min(job.clock.unix_ms())).ok();
}

/// Sweeps while batches run, and takes twins to their last ledger entry once their rows are over.
pub(crate) async fn watch(job: Rc<Job>) {
    let every = EVERY.max(Duration::from_millis(job.spec.run.poll_max_ms));
    let mut due = Instant::now() + every;
    loop {
        let done = async {
            if Instant::now() >= due {
                due = Instant::now() + every;
                act(&job, list_all(&job, LIST_TRIES).await).await?;
            }
            twin::settle_open(&job).await
        };
        if let Err(error) = done.await {
            return job.fail(error);
        }
        let waiting = !job.state.borrow().twins_open.is_empty();
        tokio::select! {
            biased; // the same world does the same
            () = job.changed.notified(), if waiting => {}
            () = sleep_until(due) => {}
        }
    }
}

/// The last sweep of a run. What it leaves, and what comes later, is for the job's next one.
pub(crate) async fn end(job: &Rc<Job>) -> Result<(), EngineError> {
    // What the sweep before this one has handed over is durable, or it would be booked twice.
    job.commit(Tx::new(job.no), Urgency::Now).await?;
    job.state.borrow_mut().swept_ms = None;
    let listed = list_all(job, 1).await;
    let (began_ms, whole) = (listed.began_ms, listed.whole);
    act(job, listed).await?;
    let settled = twin::settle_all(job).await?;
    if whole && settled {
        let (key, ms) = (key(job), began_ms.to_string());
        let stored = job.writer.with(move |store| store.set_meta(&key, &ms));
        stored.map_err(|error| crate::error::stored(&error))?;
    }
    Ok(())
}

async fn list_all(job: &Rc<Job>, tries: u32) -> Listed {
    let mut listed = Listed { began_ms: job.clock.unix_ms(), accounts: Vec::new(), whole: true };
    let since_ms = job.state.borrow().swept_ms.unwrap_or(job.sweep_from_ms);
    let mut asked: Vec<&str> = Vec::new();
    for (place, account) in job.deployments.iter().map(|found| &found.account).enumerate() {
        let Some(api) = account.api.batches() else { continue };
        if asked.contains(&account.id.as_str()) {
            continue;
        }
        asked.push(&account.id);
        match list(job, api, created_since_s(since_ms), tries).await {
            Some(batches) => listed.accounts.push((place, batches)),
            None => listed.whole = false,
        }
    }
    if listed.whole {
        job.state.borrow_mut().swept_ms = Some(listed.began_ms);
    }
    listed
}

async fn list(job: &Rc<Job>, api: &dyn BatchApi, since_s: u64, tries: u32) -> Option<Vec<RemoteBatch>> {
    let mut again = 1;
    loop {
        match api.list_since(since_s).await {
            Ok(listed) => return Some(listed),
            Err(error)
                if again >= tries
                    || job.stop.is_detaching()
                    || error.failure.class.verdict() != Verdict::RetryLater =>
            {
                let message =
                    format!("{error}; whether batches run that nothing here knows of could not be looked up");
                job.tell(&Event::Note { message: &message });
                return None;
            }
            Err(error) => {
                let message = format!("{error}; asking again whether batches run that nothing here knows of");
                job.tell(&Event::Note { message: &message });
                pause(job, Duration::from_millis(job.spec.run.poll_min_ms.min(10_000))).await;
            }
        }
        again += 1;
    }
}

/// Hands on what a list shows. The rows are read after it, so that what was created meanwhile is known.
async fn act(job: &Rc<Job>, mut listed: Listed) -> Result<(), EngineError> {
    let rows: Vec<Submission> =
        job.reader.submissions(job.no)?.into_iter().filter(|row| row.lane == Lane::Batch).collect();
    let (mut twins, mut ghosts) = (Vec::new(), Vec::new());
    for (place, batches) in &mut listed.accounts {
        if known_by(job, *place) == KnownBy::Input {
            name_by_input(job, &rows, batches);
        }
        let known = known(&*job.reader, &rows, batches)?;
        for stray in sweep(&job.inst, batches, &known) {
            match stray {
                Stray::Twin(batch, sub) => twins.push((sub.to_owned(), batch.id.clone())),
                Stray::Ghost(batch) => ghosts.extend(Ghost::of(batch, *place)),
            }
        }
    }
    twin::found(job, rows, &twins).await?;
    ghost::book(job, ghosts).await
}

/// By what the batches of a deployment's account are known again.
fn known_by(job: &Job, place: usize) -> KnownBy {
    let api = job.deployments[place].account.api.batches();
    api.map_or(KnownBy::Mark, |api| api.facts().known_by)
}

/// Notes on each batch of whose input file it was made. One that no create of ours can have made is somebody's rerun of the file.
fn name_by_input(job: &Job, rows: &[Submission], listed: &mut [RemoteBatch]) {
    for remote in listed.iter_mut().filter(|remote| remote.marker.is_none()) {
        let Some(row) = rows.iter().find(|row| twin::is_made_of(remote, row)) else { continue };
        if twin::is_in_time(remote, row) {
            remote.owner = Owner::Submission(row.sub.to_string());
        } else if row.remote_batch.as_ref() != Some(&remote.id)
            && job.state.borrow_mut().reruns_told.insert(remote.id.clone())
        {
            job.alert("batch-anomaly", &format!("batch {} was made of the input file of submission {} long after that was sent: somebody else runs it again; it is left alone, and what it costs is not in the ledger", remote.id, row.sub));
        }
    }
}

/// What a sweep takes for known. A batch of a submission that was proved unpaid is a twin too: its items run elsewhere. Those
/// of other jobs are for their own sweeps.
fn known(
    view: &dyn View,
    rows: &[Submission],
    listed: &[RemoteBatch],
) -> Result<HashMap<String, Option<String>>, EngineError> {
    let batch = |row: &Submission| {
        let none = row.state.voids_leases() && row.sent_at_ms.is_some();
        row.remote_batch.clone().or_else(|| none.then(String::new))
    };
    let mut known: HashMap<_, _> = rows.iter().map(|row| (row.sub.to_string(), batch(row))).collect();
    for marker in listed.iter().filter_map(|remote| remote.marker.as_ref()) {
        let Some(sub) = Sub::parse(&marker.sub).filter(|_| !known.contains_key(&marker.sub)) else {
            continue;
        };
        if view.submission(sub)?.is_some() {
            known.insert(marker.sub.clone(), None);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_store::MemStore;

    #[test]
    fn what_was_proved_unpaid_can_only_have_twins() {
        let row = |no, state, batch: Option<&str>, sent: Option<i64>| Submission {
            remote_batch: batch.map(str::to_owned),
            sent_at_ms: sent,
            ..Submission::new(Sub::new(no, 1), 1, Lane::Batch, state, 1)
        };
        for (row, want) in [
            (row(1, SubmissionState::Settled, Some("b"), Some(1)), Some("b")),
            (row(2, SubmissionState::Absent, None, Some(1)), Some("")),
            (row(3, SubmissionState::Refused, None, None), None),
            (row(4, SubmissionState::InDoubt, None, Some(1)), None),
        ] {
            let sub = row.sub.to_string();
            let known = known(&MemStore::new("i"), &[row], &[]).unwrap();
            assert_eq!(known[&sub].as_deref(), want, "{sub}");
        }
    }
}
