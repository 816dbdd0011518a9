//! What a job counts: of this run, and of what earlier ones left.

use std::collections::BTreeMap;

use bulkrate_core::money::UsdNanos;

use super::job::FILTER;

/// Counts of this run and of what earlier runs of the job left.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub succeeded: u64,
    pub failed: u64,
    pub duplicates: u64,
    pub cached: u64,
    pub filtered: u64,
    /// Answered like a similar item.
    pub similar: u64,
    pub retries: u64,
    pub rate_limited: u64,
    pub no_capacity: u64,
    pub requests_sent: u64,
    pub batches: u64,
    /// Of what the run was asked for; so is [`Self::beyond`] not.
    pub naive: UsdNanos,
    pub beyond: Beyond,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub estimated: u64,
    /// Answers whose cost nobody knows.
    pub unpriced: u64,
}

impl Tally {
    /// The create of a batch with so many requests leaves. What is packed and waits is not sent.
    pub(crate) fn sent_batch(&mut self, requests: u64) {
        self.batches += 1;
        self.requests_sent += requests;
    }

    /// It never left this host.
    pub(crate) fn unsent_batch(&mut self, requests: u64) {
        self.batches -= 1;
        self.requests_sent -= requests;
    }
}

/// Saved by items that a run is not asked for (`--limit`) and that nothing was paid for: the ledger has it, the run has not
/// saved it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Beyond {
    pub cache: UsdNanos,
    pub filter: UsdNanos,
    pub dedup: UsdNanos,
}

impl Beyond {
    /// What is left of the ledger's sums by lever.
    pub(crate) fn without(self, mut saved: BTreeMap<String, UsdNanos>) -> BTreeMap<String, UsdNanos> {
        for (lever, beyond) in [("cache", self.cache), (FILTER, self.filter), ("dedup", self.dedup)] {
            let Some(sum) = saved.get_mut(lever).filter(|_| beyond != UsdNanos::ZERO) else { continue };
            *sum -= beyond;
            if *sum == UsdNanos::ZERO {
                saved.remove(lever);
            }
        }
        saved
    }
}
