//! In whose place a batch was sent, kept in its row: another run that lands it knows nothing else of that.

use std::collections::BTreeMap;

use bulkrate_store::Submission;
use serde_json::json;

use super::evidence::{field, put};
use crate::run::job::Job;
use crate::run::ready::Ready;
use crate::run::standing::{By, Instead, Why};

/// Beside whatever else the row's evidence says: the reason, by the pinned model that was meant.
const FIELD: &str = "instead";

/// Puts what the items of a batch say into its row.
pub(crate) fn note(job: &Job, row: &mut Submission, items: &[Ready]) {
    let mut known: Vec<Instead> = Vec::new();
    for instead in items.iter().filter_map(|ready| ready.instead) {
        if !known.contains(&instead) {
            known.push(instead);
        }
    }
    let named = |instead: &Instead| {
        (job.deployments[instead.of as usize].pinned.clone(), instead.why.name().to_owned())
    };
    keep(row, &known.iter().map(named).collect());
}

/// The field as it stands in a row.
pub(super) fn kept(row: &Submission) -> BTreeMap<String, String> {
    field(row, FIELD)
}

pub(super) fn keep(row: &mut Submission, known: &BTreeMap<String, String>) {
    if !known.is_empty() {
        put(row, FIELD, json!(known));
    }
}

/// Whether an earlier run packed it for a stand-in to whom nobody's items go now: a run starts at what they name.
pub(super) fn is_outdated(job: &Job, row: &Submission, place: usize) -> bool {
    let goes_there = || job.places_in_use(&job.state.borrow(), By::Batches).any(|used| used == place);
    row.epoch != job.epoch && !kept(row).is_empty() && !goes_there()
}

/// The same as the items have it; one that names the sender itself was sent in nobody's place.
pub(crate) fn recall(job: &Job, row: &Submission) -> impl Fn(&Ready) -> Option<Instead> + use<> {
    let of = |(pinned, why): (String, String)| {
        let place = job.deployments.iter().position(|found| found.pinned == pinned)?;
        Some(Instead { of: u32::try_from(place).ok()?, why: Why::parse(&why)? })
    };
    let known: Vec<Instead> = kept(row).into_iter().filter_map(of).collect();
    move |ready| {
        let own = known.iter().find(|instead| instead.of as usize == ready.named).or(known.first());
        own.copied().filter(|_| ready.named != ready.deployment)
    }
}
