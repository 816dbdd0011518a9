//! Failed items by class, from the outcomes.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use bulkrate_core::ids::Ordinal;
use bulkrate_store::{Fate, View};

use crate::EngineError;

/// Items by the class they ended with, followers included; a revived item counts only as it ended since.
pub(crate) fn failures(
    reader: &dyn View,
    job: u32,
    followers: &HashMap<Ordinal, u32>,
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
        *counts.entry(class.to_owned()).or_default() +=
            1 + u64::from(followers.get(&ordinal).copied().unwrap_or(0));
    }
    Ok(counts)
}
