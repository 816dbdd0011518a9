//! One job in `bulkrate status`.

use std::ops::ControlFlow;

use bulkrate_core::lane::Lane;
use bulkrate_store::fold::{ItemStates, State};
use bulkrate_store::{ItemRec, JobRow, LedgerQuery, Submission, SubmissionState, Sums, View};

use crate::EngineError;
use crate::deliver::spec_of;
use crate::event::BatchLine;
use crate::paths::{JobDir, disk_bytes};
use crate::view::{DoubtSum, JobStatus};

/// Items by what became of them, followers counted with their leaders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    open: u64,
    /// Of the succeeded: with the answer of an equal item.
    duplicates: u64,
}

impl Tally {
    fn add(&mut self, state: State, count: u64) {
        *match state {
            State::Done => &mut self.succeeded,
            State::Dead | State::Invalid => &mut self.failed,
            State::Cancelled => &mut self.cancelled,
            State::Queued | State::Leased | State::Retry | State::Follower => &mut self.open,
        } += count;
    }
}

pub(super) fn status(
    view: &dyn View,
    dir: &JobDir,
    job: &JobRow,
    engine_at_work: bool,
) -> Result<JobStatus, EngineError> {
    let spec = spec_of(job)?;
    let mut states = ItemStates::load(view, job.no)?;
    let counts = states.counts();
    let tally = tally(view, job, &states)?;
    let spent = sums(view, &LedgerQuery::of_job(job.no))?.spent();
    let batches = view.submissions(job.no)?;
    let limit = spec.source.limit.filter(|limit| *limit < states.len() as u64);
    let open_asked = limit.map_or(tally.open, |limit| {
        states.ask_until(u32::try_from(limit).unwrap_or(u32::MAX));
        states.asked().open()
    });
    Ok(JobStatus {
        job: job.id.clone(),
        name: job.name.clone(),
        state: job.state.name().to_owned(),
        engine_at_work,
        created_at_ms: job.created_at_ms,
        items: states.len() as u64,
        succeeded: tally.succeeded,
        failed: tally.failed,
        cancelled: tally.cancelled,
        open: tally.open,
        open_asked,
        limit,
        in_flight: counts.of(State::Leased),
        duplicates: tally.duplicates,
        spent: spent.settled,
        reserved: spent.reserved,
        in_doubt: spent.doubt,
        // What is done expects nothing more.
        forecast: crate::run::forecast::kept(dir).forecast.filter(|_| open_asked > 0),
        unpriced: !super::cost::unpriced_models(job).is_empty(),
        doubts: DoubtSum::of(&super::doubt::lines(view, job, engine_at_work)?),
        batches: batches.iter().filter(|submission| submission.lane == Lane::Batch).map(batch_line).collect(),
        source: job.source.clone(),
        output: spec.sink.path.map(|path| path.display().to_string()),
        disk_bytes: disk_bytes(&dir.0),
        judged: super::judged(view, job.no)?,
    })
}

fn tally(view: &dyn View, job: &JobRow, states: &ItemStates) -> Result<Tally, EngineError> {
    let mut tally = Tally::default();
    let counts = states.counts();
    for state in State::ALL.into_iter().filter(|state| *state != State::Follower) {
        tally.add(state, counts.of(state));
    }
    if counts.of(State::Follower) == 0 {
        return Ok(tally);
    }
    let mut left = counts.of(State::Follower);
    view.scan_items(job.no, 0, &mut |chunk| {
        for item in &chunk.items {
            // Items that were appended since the fold are left out.
            if let ItemRec::Follower { leader } = item
                && left > 0
            {
                let state = states.get(*leader).map_or(State::Queued, |leader| leader.state);
                tally.add(state, 1);
                tally.duplicates += u64::from(state == State::Done);
                left -= 1;
            }
        }
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(tally)
}

/// Where a batch stands, for people.
pub(super) fn batch_line(submission: &Submission) -> BatchLine {
    let created = submission.created_at_ms;
    let sent = submission.sent_at_ms.unwrap_or(created);
    let ended = submission.ended_at_ms.unwrap_or(sent);
    let since_ms = match submission.state {
        SubmissionState::Call
        | SubmissionState::Planned
        | SubmissionState::Staging
        | SubmissionState::Staged => created,
        SubmissionState::Sending
        | SubmissionState::Accepted
        | SubmissionState::InDoubt
        | SubmissionState::Fencing
        | SubmissionState::Cancelling => sent,
        SubmissionState::Settled => submission.settled_at_ms.unwrap_or(ended),
        _ => ended,
    };
    let (completed, failed) = crate::lane::lines::ended_items(submission);
    BatchLine {
        sub: submission.sub.to_string(),
        batch: submission.remote_batch.clone(),
        state: submission.state.name().to_owned(),
        items: u64::from(submission.items),
        completed,
        failed,
        since_ms,
    }
}

/// All entries that match, in one sum.
pub(crate) fn sums(view: &dyn View, query: &LedgerQuery) -> Result<Sums, EngineError> {
    let query = LedgerQuery { by: Vec::new(), ..query.clone() };
    Ok(view.ledger_totals(&query)?.first().map(|total| total.sums).unwrap_or_default())
}
