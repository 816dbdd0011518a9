//! What a person hears and sees of a batch.

use bulkrate_core::submission::{BatchCounts, EndKind, Notice};
use bulkrate_store::{Submission, SubmissionState};

use crate::event;
use crate::lane::lines;
use crate::run::job::Job;

pub(super) fn tell(job: &Job, row: &mut Submission, notice: &Notice) {
    let sub = row.sub;
    let id = row.remote_batch.as_deref().unwrap_or("?").to_owned();
    let note = |message: String| job.tell(&event::Event::Note { message: &message });
    match notice {
        Notice::UploadFailed(why) => note(format!("uploading the input of batch {sub}: {why}; trying again")),
        Notice::InDoubt(why) => job.alert("batch-in-doubt", &format!("batch {sub} may or may not have been created ({why}); looking for it, nothing is sent again")),
        Notice::Adopted(found) => note(format!("batch {sub} was found as {found} and adopted: nothing is paid twice")),
        Notice::NotAdopted(why) => job.alert("batch-not-adopted", &format!("submission {sub}: {why}; nothing is changed")),
        Notice::Twin(_) => {} // told where it is noted
        Notice::Strange(why) => job.alert("batch-anomaly", &format!("{why}; nothing is concluded from it")),
        Notice::Absent => note(format!("batch {sub} was proved not to exist; its items are sent again")),
        Notice::Unresolved => job.alert("batch-unresolved", &format!("batch {sub} could not be proved to exist or not; its items and money stay reserved")),
        Notice::PollFailed(why) => note(format!("{why}; the batch goes on, asking again later")),
        Notice::Denied => note(format!("batch {id} is unknown to the provider; asking again before it counts as lost")),
        Notice::Vanished => {
            row.remote_output = None;
            row.remote_errors = None;
            row.remote_phase = Some(EndKind::Vanished.name().to_owned());
            job.alert("batch-vanished", &format!("batch {id} is unknown to the provider; its items stay reserved as doubt"));
        }
        Notice::Deleted => {
            row.remote_output = None;
            row.remote_errors = None;
            row.counts = BatchCounts::default();
            row.remote_phase = Some(EndKind::Cancelled.name().to_owned());
            note(format!("batch {id} is gone since it was cancelled; what it had finished stays reserved as doubt"));
        }
        Notice::Overdue if job.cannot_cancel(&row.account) => job.alert("batch-overdue", &format!("batch {id} was sent over 25 hours ago and has not ended; it cannot be cancelled and is waited for")),
        Notice::Overdue => job.alert("batch-overdue", &format!("batch {id} was sent over 25 hours ago and has not ended; `bulkrate cancel` ends it, and what it has finished {}", job.of_cancelled(Some(&row.account)))),
        Notice::Regressed { from, to } => note(format!("batch {id} was {} and is now said to be {}", from.name(), to.name())),
        Notice::CancelFailed => note(format!("batch {id} could not be cancelled; asking again")),
    }
}

impl Job {
    /// Shows a batch in the display and tells when its state changed.
    pub(crate) fn show_batch(&self, submission: &Submission) {
        let phase = match submission.state {
            SubmissionState::Accepted | SubmissionState::Cancelling => {
                submission.remote_phase.clone().unwrap_or_else(|| "accepted".to_owned())
            }
            state => state.name().to_owned(),
        };
        let mut state = self.state.borrow_mut();
        state.note_doubt(submission);
        let before = state.batches.get(&submission.sub);
        let since_ms = before
            .filter(|before| before.state == phase)
            .map_or_else(|| self.clock.row_ms(), |before| before.since_ms);
        let (completed, failed) = lines::ended_items(submission);
        let line = event::BatchLine {
            sub: submission.sub.to_string(),
            batch: submission.remote_batch.clone(),
            state: phase,
            items: u64::from(submission.items),
            completed,
            failed,
            since_ms,
        };
        // One that is over has no line any more: its end was told when the line went.
        let changed = match before {
            Some(before) => before.state != line.state,
            None => !submission.state.is_terminal(),
        };
        if submission.state.is_terminal() {
            state.batches.remove(&submission.sub);
        } else {
            state.batches.insert(submission.sub, line.clone());
        }
        drop(state);
        if changed {
            self.tell(&event::Event::Batch { batch: &line });
        }
    }
}
