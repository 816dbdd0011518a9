//! What went wrong with one item so far.

use bulkrate_core::retry::Attempts;

/// Failures of one item, and the raised output maximum if it was cut.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trouble {
    pub attempts: Attempts,
    pub max_tokens: Option<u32>,
    pub waiting_since_us: Option<u64>,
    /// An attempt was cut at its output maximum, in an earlier run.
    pub cut: bool,
    /// Leases of the item that have ended, whether they counted as attempts or not.
    pub ended: u8,
    /// Attempts at models that the item has behind itself.
    pub earlier: u8,
    /// So often its bundle was halved before it was sent, in this run.
    pub halved: u8,
}

impl Trouble {
    /// All attempts that count, whatever the model.
    pub(crate) fn attempts_made(&self) -> u32 {
        self.attempts.total() + u32::from(self.earlier)
    }

    /// Its bundle was too much for what is left of the budget.
    pub(crate) fn had_no_room(&self) -> bool {
        (1..u8::MAX).contains(&self.halved)
    }

    /// Another model is asked: its attempts are counted from the first.
    pub(crate) fn begin_anew(&mut self) {
        let earlier = u8::try_from(self.attempts_made()).unwrap_or(u8::MAX);
        *self = Self { ended: self.ended, earlier, ..Self::default() };
    }
}
