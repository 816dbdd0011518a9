//! What a plan and a run want to know of models that stand in: what items cost there, and whether they have the lane that is named.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Ratios;
use bulkrate_core::price::estimate::quote;

use super::Facts;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::prepare::Checkpoint;
use crate::spec::JobSpec;

/// What the items that name one deployment are expected to cost at another, each by itself and without a prompt cache; `None`
/// where a price is not known, or nothing in the source names that one, as with a judge.
pub(crate) fn cost_at(
    spec: &JobSpec,
    checkpoint: &Checkpoint,
    named: &Deployment,
    found: &Deployment,
    lane: Lane,
) -> Option<UsdNanos> {
    let learned = spec.run.learned.as_deref();
    let ratios = learned.map_or_else(Ratios::default, |learned| learned.of(&found.pinned, lane));
    let rates = found.row.rates(lane)?;
    let mut own = checkpoint.stats.models.iter().filter(|stats| stats.model == named.pinned).peekable();
    own.peek()?;
    let reasons = spec.request.reasons();
    own.map(|stats| Some(quote(rates, &ratios, &stats.shape(reasons))?.expected)).sum()
}

/// Why a deployment cannot be asked in this lane for items of a job that is in `home`.
pub(crate) fn no_way(found: &Deployment, lane: Lane, home: Lane) -> Option<String> {
    if lane == Lane::Batch && home != Lane::Batch {
        return Some(format!("a job of the {home} lane does not wait for batches"));
    }
    found.unavailable(lane)
}

/// A lane that a model of `fallback` is to be asked in must be one that it has.
pub(super) fn check_lanes(facts: &Facts<'_>) -> Result<(), EngineError> {
    for route in facts.fallbacks {
        let found = &facts.deployments[route.place];
        if let Some((lane, why)) = route.lane.and_then(|lane| Some((lane, found.unavailable(lane)?))) {
            let why = format!("{why}, and `--fallback` names `{}@{lane}`", found.pinned);
            return Err(EngineError::LaneUnavailable { lane: lane.name(), why });
        }
    }
    Ok(())
}
