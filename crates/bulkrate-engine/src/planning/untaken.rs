//! What reading the source has found of lanes and of models that stand in: some of the job's requests cannot be sent there.

use bulkrate_core::lane::Lane;

use super::Facts;
use crate::deployment::Deployment;
use crate::prepare::Refusal;
use crate::spec::OnBadLine;

/// Why the job's requests cannot all be sent in a lane.
pub(super) fn refused(facts: &Facts<'_>, lane: Lane) -> Option<String> {
    first(facts, lane).map(Refusal::to_string)
}

/// Lanes that are left out for all because of one record, where the user names none and would let a bad record die by itself. What was
/// read for a job that is there is not read again.
pub(super) fn left_out(facts: &Facts<'_>) -> Vec<String> {
    if facts.spec.run.lane.is_some() || !bad_records_die(facts) {
        return Vec::new();
    }
    let told = |lane: &Lane| {
        let first = first(facts, *lane).filter(|first| first.record.is_some())?;
        Some(format!(
            "the {lane} lane is left out for all requests, as it cannot take {first}; with `--lane {lane}` such a record alone becomes a \
             dead letter"
        ))
    };
    Lane::ALL.iter().filter_map(told).collect()
}

/// Records that may have died for want of a lane in which the others do not go either: so few make no batch, which is known only once all
/// were read. `invalid`: so many have died.
pub(super) fn dead_all_the_same(facts: &Facts<'_>, lane: Lane, invalid: u64) -> Option<String> {
    let named = facts.spec.run.lane.filter(|named| *named != lane)?;
    (bad_records_die(facts) && invalid > 0).then(|| {
        format!(
            "{invalid} bad records are dead letters, those too that only the {named} lane cannot take, and the others go in the {lane} \
             lane: with `--lane {lane}` those are asked as well, if this job is not begun before"
        )
    })
}

/// Why a model cannot be asked in this lane instead of another.
pub(super) fn not_instead(facts: &Facts<'_>, found: &Deployment, lane: Lane) -> Option<String> {
    let is_its = |refusal: &&Refusal| refusal.instead && refusal.model == found.pinned;
    refusals(facts, lane).find(is_its).map(Refusal::to_string)
}

/// Cheap models of a cascade that some requests pass over.
pub(super) fn passed_over(facts: &Facts<'_>, lane: Lane) -> Vec<String> {
    let cheap = facts.cheap.iter().filter_map(|place| facts.deployments.get(*place));
    let told = |found: &Deployment| {
        let why = not_instead(facts, found, lane)?;
        Some(format!("the cascade passes over `{}` where it cannot be asked: {why}", found.pinned))
    };
    cheap.filter_map(told).collect()
}

/// Whether a record that cannot be sent is to die by itself, in a source that is being read.
fn bad_records_die(facts: &Facts<'_>) -> bool {
    facts.spec.source.on_bad_line != OnBadLine::Fail && facts.open.is_none()
}

/// The first that a lane cannot take of what the records ask themselves.
fn first<'f>(facts: &'f Facts<'_>, lane: Lane) -> Option<&'f Refusal> {
    refusals(facts, lane).find(|refusal| !refusal.instead)
}

fn refusals<'f>(facts: &'f Facts<'_>, lane: Lane) -> impl Iterator<Item = &'f Refusal> {
    facts.checkpoint.refusals_in(lane, facts.spec.source.limit)
}
