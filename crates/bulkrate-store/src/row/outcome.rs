//! What became of one attempt.

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::usage::Usage;

use crate::names::named;

named! {
    /// What produced an outcome.
    Via {
        /// Decided without a call: validation, a cap, a deadline, a cancel, a revival. Needs no lease; attempt 0.
        Prepare = "prepare",
        /// The response cache. Needs no lease; attempt 0.
        Cache = "cache",
        Batch = "batch",
        Flex = "flex",
        Sync = "sync",
        /// A filter: rules, or a classifier that was proved. Needs no lease; attempt 0.
        Filter = "filter",
        /// The answer of a similar item of the job. Needs no lease; attempt 0.
        Semantic = "semantic",
    }
}

impl Via {
    /// Whether the outcome answers a lease.
    #[must_use]
    pub fn is_attempt(self) -> bool {
        matches!(self, Self::Batch | Self::Flex | Self::Sync)
    }
}

named! {
    /// What follows for the item.
    Fate {
        /// The item is done (no class), cancelled (`cancelled_by_user`) or dead (any other class).
        Final = "final",
        /// The item waits for another attempt.
        Retry = "retry",
        /// The operator asked again: a dead or cancelled item is queued anew and its attempts are forgotten.
        Revive = "revive",
        /// A cheap model's answer was not accepted, or none came: the item waits for a better model, with new attempts.
        Escalate = "escalate",
    }
}

/// Where a line begins: result file of the job, byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub segment: u32,
    pub offset: u64,
}

impl Place {
    /// No line was written.
    pub const NONE: Self = Self { segment: u32::MAX, offset: 0 };

    #[must_use]
    pub fn is_none(self) -> bool {
        self.segment == u32::MAX
    }
}

/// One attempt's end. Only leaders and invalid items have outcomes; followers share their leader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub ordinal: Ordinal,
    /// The attempt of the lease that it ends; 0 where `via` needs no lease.
    pub attempt: u8,
    pub via: Via,
    /// `None` = a good answer.
    pub class: Option<FailureClass>,
    pub fate: Fate,
    /// Whether it used up one of the item's attempts.
    pub counted: bool,
    pub cost: UsdNanos,
    /// What the sync lane would have cost without a prompt cache.
    pub naive: UsdNanos,
    /// What the provider's prompt cache saved of it, at the prices of its lane; negative where more was written than read.
    pub prompt_cache: UsdNanos,
    pub usage: Usage,
    /// Usage was missing: the cost is the reserved bound.
    pub estimated: bool,
    /// The stored line: the answer, or the evidence of the failure.
    pub place: Place,
}

impl Outcome {
    /// What was decided without a call: it costs nothing and ends no lease.
    #[must_use]
    pub fn without_call(ordinal: Ordinal, class: Option<FailureClass>, fate: Fate, place: Place) -> Self {
        Self {
            ordinal,
            attempt: 0,
            via: Via::Prepare,
            class,
            fate,
            counted: false,
            cost: UsdNanos::ZERO,
            naive: UsdNanos::ZERO,
            prompt_cache: UsdNanos::ZERO,
            usage: Usage::default(),
            estimated: false,
            place,
        }
    }
}
