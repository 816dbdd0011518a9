//! A batch at the provider.

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Failed,
    Expired,
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) metadata: Value,
    pub(crate) input: String,
    pub(crate) created_ms: u64,
    /// When it ends by itself, and how.
    pub(crate) end_ms: u64,
    pub(crate) end: End,
    pub(crate) cancel_ms: Option<u64>,
    pub(crate) lines: Vec<(String, String)>,
    /// What ended batches have.
    pub(crate) over: Option<Over>,
    pub(crate) foreign: bool,
    pub(crate) visible_ms: u64,
}

impl Batch {
    /// Lines that are done at a time, as long as the batch runs: evenly, one after the other.
    pub(crate) fn done_at(&self, at_ms: u64) -> usize {
        let share = self.end_ms.saturating_sub(self.created_ms).max(1);
        let ran_ms = at_ms.min(self.end_ms).saturating_sub(self.created_ms);
        self.lines.len() * usize::try_from(ran_ms * 1_000 / share).unwrap_or(0) / 1_000
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Over {
    pub(crate) status: &'static str,
    pub(crate) at_ms: u64,
    pub(crate) output: Option<String>,
    pub(crate) errors: Option<String>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Lines that were run, which are the first of them.
    pub(crate) run: usize,
}
