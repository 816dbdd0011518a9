//! Failed items by class, from the outcomes.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use bulkrate_core::ids::Ordinal;
use bulkrate_store::{Fate, View};

use super::followers::Followers;
use crate::EngineError;

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
