//! Counts how items end, and says when the failures are worth an alarm or the whole job is bound to fail.

use crate::failure::{FailureClass, Verdict};

/// What the counts mean after one more item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Nothing new.
    Quiet,
    /// The share of failed items passed the threshold; told once.
    Alert { failed: u64, total: u64 },
    /// Every item would fail like this; told each time.
    Stop(FailureClass),
}

/// Items that ended, good or bad, of one job.
#[derive(Debug, Clone)]
pub struct FailureMeter {
    /// Alarm above so many failures per million items.
    threshold_ppm: u64,
    total: u64,
    failed: u64,
    alerted: bool,
    /// Class and code that every item so far ended with; `None` once one differs.
    same: Option<(FailureClass, Box<str>)>,
}

impl FailureMeter {
    pub const THRESHOLD_PPM: u64 = 50_000;
    /// Below so many items a share means nothing.
    pub const ALERT_ITEMS_MIN: u64 = 50;
    /// So many first items with one and the same error stop the job.
    pub const STOP_ITEMS_MIN: u64 = 20;

    #[must_use]
    pub fn new(threshold_ppm: u64) -> Self {
        Self { threshold_ppm, total: 0, failed: 0, alerted: false, same: None }
    }

    pub fn ok(&mut self) -> Alarm {
        self.total += 1;
        self.same = None;
        Alarm::Quiet
    }

    /// An item ended with `class`; `code` is the provider's own word for it, empty if none.
    pub fn failed(&mut self, class: FailureClass, code: &str) -> Alarm {
        self.total += 1;
        self.failed += 1;
        if class.verdict() == Verdict::HaltJob {
            return Alarm::Stop(class);
        }
        if self.is_same(class, code) && self.total >= Self::STOP_ITEMS_MIN {
            return Alarm::Stop(class);
        }
        if !self.alerted && self.total >= Self::ALERT_ITEMS_MIN && self.is_above() {
            self.alerted = true;
            return Alarm::Alert { failed: self.failed, total: self.total };
        }
        Alarm::Quiet
    }

    /// Whether the job ends as failed: at the end the share counts whatever the number of items.
    #[must_use]
    pub fn is_above(&self) -> bool {
        u128::from(self.failed) * 1_000_000 > u128::from(self.total) * u128::from(self.threshold_ppm)
    }

    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.failed, self.total)
    }

    /// The error of the request itself that every item so far ended with, if there is one.
    #[must_use]
    pub fn same(&self) -> Option<FailureClass> {
        self.same.as_ref().map(|(class, _)| *class)
    }

    /// Whether this and every item before it ended with the same error of the request itself.
    fn is_same(&mut self, class: FailureClass, code: &str) -> bool {
        let systematic = matches!(class, FailureClass::InvalidInput | FailureClass::RefusedByProvider);
        if self.total == 1 && systematic {
            self.same = Some((class, code.into()));
        }
        let same =
            systematic && self.same.as_ref().is_some_and(|(first, word)| *first == class && **word == *code);
        if !same {
            self.same = None;
        }
        same
    }
}

impl Default for FailureMeter {
    fn default() -> Self {
        Self::new(Self::THRESHOLD_PPM)
    }
}
