//! `bulkrate rm`: a job leaves the state directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_store::{JobRow, SqliteStore, Store, Submission, SubmissionState, View};

use super::find::find;
use crate::EngineError;
use crate::engine::patience::patiently;
use crate::lane::ghost;
use crate::paths::{JobDir, cache_dir, io_error, local_runs};

/// Files go first: whatever a crash leaves can still be removed by the job's name.
pub(super) fn remove(state_dir: &Path, job: &str, now_ms: i64) -> Result<(), EngineError> {
    // Opening a store creates what is missing; a directory without state is told first.
    let job = find(&SqliteStore::open_reader(state_dir)?, job)?;
    // With a job go those that embed for it.
    for id in embeds(state_dir, &job)? {
        remove(state_dir, &id, now_ms)?;
    }
    let mut store = patiently(|| SqliteStore::open(state_dir, "", now_ms))?;
    let mut submissions = store.submissions(job.no)?;
    submissions.retain(|submission| submission.lane == Lane::Batch);
    let at_provider = |submission: &&Submission| may_run(submission.state);
    let batches = submissions.iter().filter(at_provider).count();
    if batches > 0 {
        return Err(EngineError::BadSpec {
            code: "job-in-flight",
            what: format!("job `{}` cannot be removed", job.id),
            why: format!(
                "{batches} of its batches may still be running at the provider, and their paid answers would be lost; `bulkrate resume` it, or `bulkrate cancel` it first"
            ),
        });
    }
    refuse_ghosts(&store, &job)?;
    crate::pilot::removed(state_dir, &job, &store)?;
    let keys = cache_dir(state_dir).join(format!("{}.keys", job.id));
    gone(&keys, fs::remove_file(&keys))?;
    let local = local_runs(state_dir);
    for submission in &submissions {
        let left = bulkrate_provider::forget(&local, &submission.sub.to_string());
        left.map_err(io_error("could not remove what a batch left in", &local))?;
    }
    let dir = JobDir::of(state_dir, &job.id).0;
    gone(&dir, fs::remove_dir_all(&dir))?;
    store.delete_job(job.no)?;
    Ok(())
}

/// The jobs that embed for this one and are still there.
fn embeds(state_dir: &Path, job: &JobRow) -> Result<Vec<String>, EngineError> {
    let view = SqliteStore::open_reader(state_dir)?;
    let mut there = Vec::new();
    for (id, _) in crate::embed::Kept::without_vectors(&JobDir::of(state_dir, &job.id))?.jobs {
        there.extend(view.job_by_id(&id)?.map(|row| row.id));
    }
    Ok(there)
}

/// With the job would go the question that keeps others from sending what a batch no row knows may have been paid for.
fn refuse_ghosts(view: &dyn View, job: &JobRow) -> Result<(), EngineError> {
    let ghosts = ghost::standing(view)?.into_iter().filter(|(_, of)| *of == job.no);
    let ghosts: Vec<String> = ghosts.map(|(sub, _)| sub.to_string()).collect();
    let Some(first) = ghosts.first() else { return Ok(()) };
    Err(EngineError::BadSpec {
        code: "job-in-flight",
        what: format!("job `{}` cannot be removed", job.id),
        why: format!(
            "batches with the mark of this state folder that no row here knows, and that may still be charged, stand in its ledger: {}; say first what became of them: `bulkrate doubt release {first} --absent`, or `--paid --cost USD`",
            ghosts.join(", ")
        ),
    })
}

/// Whether a batch in this state was or may have been sent and is not settled.
fn may_run(state: SubmissionState) -> bool {
    !state.is_terminal() && !state.is_unsent()
}

fn gone(path: &Path, result: std::io::Result<()>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("could not remove", path)(error)),
        _ => Ok(()),
    }
}
