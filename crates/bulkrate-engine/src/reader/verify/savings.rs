//! What levers have saved, computed anew from the outcomes: `naive - savings = spend`, lever by lever.

use std::collections::{BTreeMap, HashMap};

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Fate, JobRow, JobState, Outcome, Via, View};

use super::Faults;
use crate::EngineError;
use crate::engine::delivered::report_of;
use crate::engine::start::saved_by;
use crate::reader::savings::Beside;
use crate::run::job::{BY_MODEL, FILTER, PROMPT_CACHE};
use crate::run::semantic::SEMANTIC;
use crate::view::Check;

const NAME: &str = "savings add up";

/// What the outcomes say, summed while they are read.
#[derive(Debug, Default)]
pub(super) struct Savings {
    /// Items by the leader that they follow.
    followers: HashMap<Ordinal, u64>,
    naive: UsdNanos,
    spent: UsdNanos,
    saved: BTreeMap<&'static str, UsdNanos>,
}

impl Savings {
    pub(super) fn follows(&mut self, leader: Ordinal) {
        *self.followers.entry(leader).or_default() += 1;
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        let followers = match (outcome.fate, outcome.class) {
            (Fate::Final, None) => self.followers.get(&outcome.ordinal).copied().unwrap_or(0),
            _ => 0,
        };
        let of_followers = outcome.naive.times(followers);
        self.naive = self.naive.saturating_add(outcome.naive).saturating_add(of_followers);
        self.spent = self.spent.saturating_add(outcome.cost);
        self.add("dedup", of_followers);
        self.add(PROMPT_CACHE, outcome.prompt_cache);
        self.add(lever(outcome.via), outcome.naive - outcome.prompt_cache - outcome.cost);
    }

    fn add(&mut self, lever: &'static str, usd: UsdNanos) {
        let sum = self.saved.entry(lever).or_default();
        *sum = sum.saturating_add(usd);
    }

    /// The rows of the ledger must say the same. What a router or a cascade saved depends on prices that no outcome holds: it is
    /// compared with what the job reported when it was done.
    pub(super) fn check(self, view: &dyn View, job: &JobRow, beside: &Beside) -> Result<Check, EngineError> {
        let mut faults = Faults::default();
        if job.state == JobState::Preparing {
            return Ok(faults.check(NAME, "they are booked once the source is read".to_owned()));
        }
        let mut booked = saved_by(view, job.no)?;
        let by_model = BY_MODEL.map(|lever| (lever, booked.remove(lever).unwrap_or_default()));
        for (lever, want) in &self.saved {
            let found = booked.remove(*lever).unwrap_or_default();
            if found != *want {
                faults.add(|| {
                    format!("`saving` rows of {lever} sum up to USD {found}, the outcomes saved USD {want}")
                });
            }
        }
        for (lever, found) in booked.iter().filter(|(_, found)| **found != UsdNanos::ZERO) {
            faults.add(|| format!("`saving` rows of {lever} sum up to USD {found}, no outcome saved so"));
        }
        for (lever, found) in by_model {
            if let Some(told) = told(job, lever).filter(|told| *told != found) {
                faults.add(|| {
                    format!("`saving` rows of {lever} sum up to USD {found}, the job reported USD {told}")
                });
            }
        }
        let Self { naive, spent, .. } = self;
        let naive = naive.saturating_add(by_model.iter().map(|(_, usd)| *usd).sum());
        let mut proved = format!("naive USD {naive} - saved USD {}", naive - spent);
        let mut all = spent;
        for (name, _, usd) in beside.iter().filter(|(.., usd)| *usd != UsdNanos::ZERO) {
            proved += &format!(" + {name} USD {usd}");
            all += *usd;
        }
        proved += &format!(" = spent USD {all}");
        Ok(faults.check(NAME, proved))
    }
}

/// Under which name an outcome of this kind is booked as cheaper than one by one in the sync lane.
fn lever(via: Via) -> &'static str {
    match via {
        Via::Cache => "cache",
        Via::Filter => FILTER,
        Via::Semantic => SEMANTIC,
        Via::Batch => "batch",
        Via::Flex => "flex",
        Via::Sync | Via::Prepare => "provider",
    }
}

/// What a finished job said of a lever; while it is being worked on, more is booked than was said.
fn told(job: &JobRow, lever: &str) -> Option<UsdNanos> {
    if job.state != JobState::Done {
        return None;
    }
    let report = report_of(job)?;
    let told = report.get("saved")?.get(lever).cloned();
    told.map_or(Some(UsdNanos::ZERO), |told| serde_json::from_value(told).ok())
}
