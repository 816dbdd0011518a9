//! A batch in the same words for every provider: what is told of it, to people and to programs.

use bulkrate_core::submission::RemoteBatch;
use bulkrate_engine::view::JobBatch;
use serde::{Serialize, Serializer};

/// One batch, in the same words for every provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchView {
    /// The provider's id; `None`: it has none yet, or nobody knows.
    pub batch: Option<String>,
    pub provider: String,
    /// `validating in_progress finalizing cancelling completed partial failed expired cancelled lost unknown`; where the provider
    /// has no batch of it, the state of the submission.
    pub status: String,
    /// The provider's own word, where it was asked.
    pub said: Option<String>,
    #[serde(flatten, serialize_with = "twice")]
    pub counts: RequestCounts,
    #[serde(flatten)]
    pub times: Times,
    /// The job that it belongs to; `None`: somebody else's.
    pub job: Option<String>,
    /// Why the provider could not be asked: then this is what was last known.
    pub not_asked: Option<String>,
}

/// How many of a batch's requests stand where; together they are `total`, as far as the provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RequestCounts {
    pub total: u64,
    pub succeeded: u64,
    pub errored: u64,
    pub processing: u64,
    /// Ended without an answer, as the batch was.
    pub expired: u64,
    pub cancelled: u64,
}

/// Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    pub created: Option<i64>,
    /// When it ended, however it did.
    pub completed: Option<i64>,
    pub expires: Option<i64>,
}

/// As `request_counts`, and the first four of them by themselves too.
fn twice<S: Serializer>(counts: &RequestCounts, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Both<'a> {
        total: u64,
        succeeded: u64,
        errored: u64,
        processing: u64,
        request_counts: &'a RequestCounts,
    }
    let RequestCounts { total, succeeded, errored, processing, .. } = *counts;
    Both { total, succeeded, errored, processing, request_counts: counts }.serialize(serializer)
}

impl Serialize for Times {
    /// Each as a time that people read, and in milliseconds.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Both {
            created_at: Option<String>,
            completed_at: Option<String>,
            expires_at: Option<String>,
            created_at_ms: Option<i64>,
            completed_at_ms: Option<i64>,
            expires_at_ms: Option<i64>,
        }
        let text = |ms: Option<i64>| Some(jiff::Timestamp::from_millisecond(ms?).ok()?.to_string());
        Both {
            created_at: text(self.created),
            completed_at: text(self.completed),
            expires_at: text(self.expires),
            created_at_ms: self.created,
            completed_at_ms: self.completed,
            expires_at_ms: self.expires,
        }
        .serialize(serializer)
    }
}

/// A batch as rows have it.
pub(super) fn as_known(batch: &JobBatch, job: &str) -> BatchView {
    let line = &batch.line;
    let is_told = line.completed + line.failed > 0;
    BatchView {
        batch: line.batch.clone(),
        status: batch.phase.as_deref().map_or_else(
            || line.state.clone(),
            |phase| word(phase, line.items, line.completed, line.failed).to_owned(),
        ),
        counts: RequestCounts::of(
            (line.items, line.completed, line.failed),
            batch.at_work,
            batch.phase.as_deref().filter(|_| is_told),
        ),
        times: Times { created: Some(batch.created_at_ms), completed: batch.ended_at_ms, expires: None },
        job: Some(job.to_owned()),
        ..BatchView::nothing(&batch.provider)
    }
}

impl BatchView {
    pub(super) fn nothing(provider: &str) -> Self {
        Self {
            batch: None,
            provider: provider.to_owned(),
            status: String::new(),
            said: None,
            counts: RequestCounts::default(),
            times: Times::default(),
            job: None,
            not_asked: None,
        }
    }

    pub(super) fn hear(&mut self, remote: &RemoteBatch) {
        let ms = |at: Option<u64>| Some(i64::try_from(at?).unwrap_or(i64::MAX).saturating_mul(1_000));
        let (counts, phase) = (remote.counts, remote.phase);
        self.batch = Some(remote.id.clone());
        self.status = word(phase.name(), counts.total, counts.completed, counts.failed).to_owned();
        self.said = Some(remote.status.clone());
        let total = self.counts.total.max(counts.total);
        self.counts = RequestCounts::of(
            (total, counts.completed, counts.failed),
            !phase.is_terminal(),
            Some(phase.name()).filter(|_| counts.total > 0),
        );
        self.times.created = ms(remote.created_at).or(self.times.created);
        self.times.completed = ms(remote.ended_at).or(self.times.completed);
        self.times.expires = ms(remote.expires_at);
    }
}

impl RequestCounts {
    /// What is neither succeeded nor errored is at work, or has ended as its batch has. `phase`: where the provider counts.
    fn of((total, succeeded, errored): (u64, u64, u64), at_work: bool, phase: Option<&str>) -> Self {
        let left = total.saturating_sub(succeeded.saturating_add(errored));
        let counts = Self { total, succeeded, errored, ..Self::default() };
        match phase {
            _ if at_work => Self { processing: left, ..counts },
            Some("expired") => Self { expired: left, ..counts },
            Some("cancelled") => Self { cancelled: left, ..counts },
            _ => counts,
        }
    }
}

pub(super) const LOST: &str = "lost";
pub(super) const UNKNOWN: &str = "unknown";

/// What a phase is called, where its name does not say how it went: a batch that has ended by itself may have failed in part, or
/// altogether. Counts of 0 are those of a provider that tells none.
fn word(phase: &str, total: u64, succeeded: u64, errored: u64) -> &str {
    match phase {
        "vanished" => LOST,
        "completed" if succeeded == 0 && errored > 0 => "failed",
        "completed" if errored > 0 || succeeded > 0 && succeeded < total => "partial",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::submission::{BatchCounts, Owner, Phase};

    fn heard(phase: Phase, total: u64, completed: u64, failed: u64) -> BatchView {
        let mut view = BatchView::nothing("openai");
        view.hear(&RemoteBatch {
            id: "b".into(),
            phase,
            status: "theirs".into(),
            input_file: None,
            output_file: None,
            error_file: None,
            counts: BatchCounts { total, completed, failed },
            errors: Vec::new(),
            created_at: Some(1_795_046_400),
            ended_at: phase.is_terminal().then_some(1_795_050_000),
            expires_at: Some(1_795_132_800),
            marker: None,
            owner: Owner::Unknown,
        });
        view
    }

    #[test]
    fn the_words_and_counts_of_every_end() {
        for (phase, total, completed, failed, status, rest) in [
            (Phase::Validating, 0, 0, 0, "validating", (0, 0, 0)),
            (Phase::InProgress, 7, 2, 1, "in_progress", (4, 0, 0)),
            (Phase::Finalizing, 7, 6, 1, "finalizing", (0, 0, 0)),
            (Phase::Cancelling, 7, 2, 0, "cancelling", (5, 0, 0)),
            (Phase::Completed, 7, 7, 0, "completed", (0, 0, 0)),
            (Phase::Completed, 7, 6, 1, "partial", (0, 0, 0)),
            (Phase::Completed, 7, 6, 0, "partial", (0, 0, 0)),
            (Phase::Completed, 7, 0, 7, "failed", (0, 0, 0)),
            // A provider that tells no counts.
            (Phase::Completed, 0, 0, 0, "completed", (0, 0, 0)),
            (Phase::Failed, 0, 0, 0, "failed", (0, 0, 0)),
            (Phase::Expired, 7, 2, 1, "expired", (0, 4, 0)),
            (Phase::Cancelled, 7, 2, 1, "cancelled", (0, 0, 4)),
            (Phase::Unknown, 7, 2, 1, "unknown", (4, 0, 0)),
        ] {
            let view = heard(phase, total, completed, failed);
            let counts = view.counts;
            assert_eq!(view.status, status, "{phase:?} {total} {completed} {failed}");
            assert_eq!((counts.processing, counts.expired, counts.cancelled), rest, "{phase:?}");
            assert_eq!(view.times.completed.is_some(), phase.is_terminal(), "{phase:?}");
        }
        assert_eq!((word("vanished", 7, 0, 0), word("in_doubt", 7, 0, 0)), ("lost", "in_doubt"));
    }

    #[test]
    fn what_programs_read() {
        let json = serde_json::to_string_pretty(&heard(Phase::Expired, 7, 2, 1)).unwrap();
        insta::assert_snapshot!(json, @r#"
        {
          "batch": "b",
          "provider": "openai",
          "status": "expired",
          "said": "theirs",
          "total": 7,
          "succeeded": 2,
          "errored": 1,
          "processing": 0,
          "request_counts": {
            "total": 7,
            "succeeded": 2,
            "errored": 1,
            "processing": 0,
            "expired": 4,
            "cancelled": 0
          },
          "created_at": "2026-11-19T00:00:00Z",
          "completed_at": "2026-11-19T01:00:00Z",
          "expires_at": "2026-11-20T00:00:00Z",
          "created_at_ms": 1795046400000,
          "completed_at_ms": 1795050000000,
          "expires_at_ms": 1795132800000,
          "job": null,
          "not_asked": null
        }
        "#);
    }
}
