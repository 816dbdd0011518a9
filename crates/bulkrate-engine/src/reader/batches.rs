//! The batches of a job as rows have them, with what is needed to ask a provider for more.

use bulkrate_core::lane::Lane;
use bulkrate_store::{JobRow, Submission, SubmissionState, View};

use crate::EngineError;
use crate::view::JobBatch;

pub(super) fn of(view: &dyn View, job: &JobRow) -> Result<Vec<JobBatch>, EngineError> {
    let rows = view.submissions(job.no)?;
    Ok(rows.into_iter().filter(|row| row.lane == Lane::Batch).map(one).collect())
}

/// The job of a submission, by name.
pub(super) fn owner(view: &dyn View, sub: &str) -> Result<Option<String>, EngineError> {
    let Some(sub) = bulkrate_core::ids::Sub::parse(sub) else { return Ok(None) };
    let Some(row) = view.submission(sub)? else { return Ok(None) };
    Ok(view.job(row.job)?.map(|job| job.name))
}

/// The job that made a batch at an account, by name, where nothing is written on the batch.
pub(super) fn maker(view: &dyn View, account: &str, batch: &str) -> Result<Option<String>, EngineError> {
    for job in view.jobs()?.into_iter().rev() {
        let is_it = |one: &JobBatch| one.account == account && one.line.batch.as_deref() == Some(batch);
        if of(view, &job)?.iter().any(is_it) {
            return Ok(Some(job.name));
        }
    }
    Ok(None)
}

fn one(row: Submission) -> JobBatch {
    JobBatch {
        line: super::status::batch_line(&row),
        provider: row.provider,
        account: row.account,
        at_work: matches!(row.state, SubmissionState::Accepted | SubmissionState::Cancelling),
        phase: row.remote_phase,
        created_at_ms: row.sent_at_ms.unwrap_or(row.created_at_ms),
        ended_at_ms: row.ended_at_ms.or(row.settled_at_ms),
    }
}
