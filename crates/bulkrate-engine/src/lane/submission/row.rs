//! What a submission's row keeps of its machine, and the machine as the row tells it.

use bulkrate_core::submission::{Doubt, KnownBy, Machine, Ours, RemoteBatch, State};
use bulkrate_provider::BatchFacts;
use bulkrate_store::{Submission, SubmissionState};

use super::Driving;
use crate::lane::{lines, twin};
use crate::run::job::Job;

/// What is known of a doubt, as it is kept in the row.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Evidence {
    pub why: String,
    pub doubt: Doubt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// By what the batch would be known again.
    #[serde(default)]
    pub known_by: KnownBy,
}

pub(crate) fn evidence(row: &Submission) -> Option<Evidence> {
    serde_json::from_str(row.evidence.as_deref()?).ok()
}

/// The submission as its row tells it; `None` for what is no batch.
pub(super) fn machine(job: &Job, facts: BatchFacts, row: &Submission) -> Option<Machine> {
    let ours = Ours {
        inst: job.inst.clone(),
        sub: row.sub.to_string(),
        items: lines::requests(&job.dir, row, job.spec.request.bundle.is_some()),
        digest: row.input_digest.clone().unwrap_or_default(),
        input: row.remote_input.clone(),
        known_by: facts.known_by,
    };
    let mut machine = Machine::new(row.state.of_batch()?, row.epoch, ours);
    machine.sent_ms = row.sent_at_ms.and_then(|ms| u64::try_from(ms).ok());
    machine.batch.clone_from(&row.remote_batch);
    if let Some(kept) = evidence(row) {
        machine.why = kept.why;
        machine.doubt = Some(kept.doubt);
    }
    Some(machine)
}

impl Driving<'_> {
    /// Writes what the machine decided into the row.
    pub(super) fn note(&self, row: &mut Submission) {
        let machine = &self.machine;
        row.state = SubmissionState::from(machine.state);
        row.epoch = machine.epoch;
        row.remote_input.clone_from(&machine.ours.input);
        row.remote_batch.clone_from(&machine.batch);
        row.sent_at_ms = machine.sent_ms.and_then(|ms| i64::try_from(ms).ok());
        if let Some(doubt) = &machine.doubt {
            let (why, refused) = (machine.why.clone(), self.refused.clone());
            let known_by = self.api.facts().known_by;
            twin::rewrite(row, &Evidence { why, doubt: doubt.clone(), refused, known_by });
        }
        if machine.state == State::Ended && row.ended_at_ms.is_none() {
            row.ended_at_ms = Some(self.job.clock.row_ms());
        }
    }
}

/// What the provider says of the batch, as far as it goes on from what is known: an end is an end (I13).
pub(super) fn note_remote(submission: &mut Submission, remote: &RemoteBatch) {
    submission.remote_phase = Some(remote.phase.name().to_owned());
    submission.counts = remote.counts;
    submission.remote_output.clone_from(&remote.output_file);
    submission.remote_errors.clone_from(&remote.error_file);
}
