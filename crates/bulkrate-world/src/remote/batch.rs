//! A batch at the provider.

use bulkrate_core::ids::WireId;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    Expired,
}

/// How far a batch is, whatever the provider calls that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Validating,
    Running,
    Finalizing,
    Cancelling,
    Completed,
    Failed,
    Expired,
    Cancelled,
}

impl Stage {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Running => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// It ended before its time.
    pub(crate) fn is_cut(self) -> bool {
        matches!(self, Self::Expired | Self::Cancelled)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    /// What is written on it.
    pub(crate) mark: Value,
    pub(crate) input: String,
    pub(crate) model: &'static str,
    pub(crate) created_ms: u64,
    /// When it ends by itself, and how.
    pub(crate) end_ms: u64,
    pub(crate) end: End,
    pub(crate) cancel_ms: Option<u64>,
    /// Ids and prompts.
    pub(crate) lines: Vec<(String, String)>,
    /// So many of them are done when it ends by itself, which are the first.
    pub(crate) reach: usize,
    /// What ended batches have.
    pub(crate) over: Option<Over>,
    pub(crate) foreign: bool,
    pub(crate) visible_ms: u64,
    /// Until then lists do not show of which file it was made.
    pub(crate) bare_until_ms: u64,
    /// Its results are named so long after its end.
    pub(crate) late_ms: u64,
    /// It was deleted.
    pub(crate) gone: bool,
}

impl Batch {
    /// Lines that are done at a time, as long as the batch runs: evenly, one after the other.
    pub(crate) fn done_at(&self, at_ms: u64) -> usize {
        let share = self.end_ms.saturating_sub(self.created_ms).max(1);
        let ran_ms = at_ms.min(self.end_ms).saturating_sub(self.created_ms);
        self.reach * usize::try_from(ran_ms * 1_000 / share).unwrap_or(0) / 1_000
    }

    /// Answered and refused lines, as those tell them that count while a batch runs: which of its lines are refused is told at its end.
    pub(crate) fn counts(&self, now_ms: u64) -> (u64, u64) {
        self.over.as_ref().map_or((self.done_at(now_ms) as u64, 0), |over| (over.completed, over.failed))
    }

    pub(crate) fn stage(&self, now_ms: u64) -> Stage {
        match (&self.over, self.cancel_ms) {
            (Some(over), _) => over.stage,
            (None, Some(_)) => Stage::Cancelling,
            (None, None) if now_ms < self.created_ms + 3_000 => Stage::Validating,
            (None, None) if now_ms + 2_000 > self.end_ms => Stage::Finalizing,
            (None, None) => Stage::Running,
        }
    }

    /// The submission of ours that it was made for, as anybody sees who looks at its lines.
    pub(crate) fn sub(&self) -> Option<String> {
        let (id, _) = self.lines.first().filter(|_| !self.foreign)?;
        WireId::parse(id).map(|id| id.sub.to_string())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Over {
    pub(crate) stage: Stage,
    pub(crate) at_ms: u64,
    pub(crate) output: Option<String>,
    pub(crate) errors: Option<String>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Lines that were run, which are the first of them.
    pub(crate) run: usize,
}
