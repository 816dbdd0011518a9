//! Failed items by class, from the outcomes.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::retry::Alarm;
use bulkrate_store::{Fate, Via, View};

use super::followers::Followers;
use super::job::State;
use crate::EngineError;

/// Whether a final outcome counts for the failure meter. One rule for what lands and for what an earlier run left: a leader
/// counts once each time that it ends, however many items follow it, as the meter judges requests and their provider. What
/// the caches answered, what the user cancelled and what a budget held back says nothing about either.
pub(crate) fn is_metered(via: Via, class: Option<FailureClass>) -> bool {
    !matches!(via, Via::Cache | Via::Filter | Via::Semantic)
        && !matches!(class, Some(FailureClass::CancelledByUser | FailureClass::BudgetExhausted))
}

impl State {
    /// A leader ended as a dead letter, and with it those that follow it.
    pub(crate) fn count_dead(
        &mut self,
        ordinal: Ordinal,
        via: Via,
        class: FailureClass,
        code: &str,
    ) -> Alarm {
        let (own, others) = self.followers.decides(ordinal);
        self.tally.failed += own + others;
        if is_metered(via, Some(class)) { self.meter.failed(class, code) } else { Alarm::Quiet }
    }
}

/// Items by the class they ended with, followers included; a revived item counts only as it ended since.
pub(crate) fn failures(
    reader: &dyn View,
    job: u32,
    followers: &Followers,
) -> Result<BTreeMap<String, u64>, EngineError> {
    let mut last: HashMap<Ordinal, &'static str> = HashMap::new();
    reader.scan_outcomes(job, &mut |outcomes| {
        for outcome in outcomes {
            match (outcome.fate, outcome.class) {
                (Fate::Final, Some(class)) => drop(last.insert(outcome.ordinal, class.name())),
                (Fate::Revive, _) => drop(last.remove(&outcome.ordinal)),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    })?;
    let mut counts = BTreeMap::new();
    for (ordinal, class) in last {
        let (own, others) = followers.decides(ordinal);
        if own + others > 0 {
            *counts.entry(class.to_owned()).or_default() += own + others;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_once_by_what_its_provider_did() {
        use FailureClass::{BudgetExhausted, CancelledByUser, InvalidInput, MaybePaidUnresolved, Truncated};
        for (via, class, want) in [
            (Via::Sync, None, true),
            (Via::Batch, Some(Truncated), true),
            (Via::Flex, Some(MaybePaidUnresolved), true), // a lost call that is not sent again
            (Via::Prepare, Some(InvalidInput), true),     // buried: it cannot be sent
            (Via::Cache, None, false),
            (Via::Semantic, None, false),
            (Via::Prepare, Some(CancelledByUser), false),
            (Via::Batch, Some(CancelledByUser), false), // its batch was cancelled
            (Via::Prepare, Some(BudgetExhausted), false),
        ] {
            assert_eq!(is_metered(via, class), want, "{via:?} {class:?}");
        }
    }
}
