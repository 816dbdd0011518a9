//! `bulkrate rm`: a job leaves the state directory.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_store::{SqliteStore, Store, Submission, SubmissionState, View};

use super::find::find;
use crate::EngineError;
use crate::engine::patience::patiently;
use crate::paths::{JobDir, cache_dir, io_error};

/// Files go first: whatever a crash leaves can still be removed by the job's name.
pub(super) fn remove(state_dir: &Path, job: &str, now_ms: i64) -> Result<(), EngineError> {
    // Opening a store creates what is missing; a directory without state is told first.
    let job = find(&SqliteStore::open_reader(state_dir)?, job)?;
    let mut store = patiently(|| SqliteStore::open(state_dir, "", now_ms))?;
    let at_provider = |submission: &&Submission| submission.lane == Lane::Batch && may_run(submission.state);
    let batches = store.submissions(job.no)?.iter().filter(at_provider).count();
    if batches > 0 {
        return Err(EngineError::BadSpec {
            code: "job-in-flight",
            what: format!("job `{}` cannot be removed", job.id),
            why: format!(
                "{batches} of its batches may still be running at the provider, and their paid answers would be lost; `bulkrate resume` it, or `bulkrate cancel` it first"
            ),
        });
    }
    let keys = cache_dir(state_dir).join(format!("{}.keys", job.id));
    gone(&keys, fs::remove_file(&keys))?;
    let dir = JobDir::of(state_dir, &job.id).0;
    gone(&dir, fs::remove_dir_all(&dir))?;
    store.delete_job(job.no)?;
    Ok(())
}

/// Whether a batch in this state was or may have been sent and is not settled.
fn may_run(state: SubmissionState) -> bool {
    use SubmissionState::{Planned, Staged, Staging};
    !state.is_terminal() && !matches!(state, Planned | Staging | Staged)
}

fn gone(path: &Path, result: std::io::Result<()>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("could not remove", path)(error)),
        _ => Ok(()),
    }
}
