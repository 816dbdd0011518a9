//! Some of a job's items asked for real, to learn what its models cost and how well they answer; and the plans that follow.
//!
//! Invariants
//! - Money is spent by ordinary jobs alone, each of one model and the same sample ([ADR 12](../../../docs/adr/0012-pilot.md)).
//! - A pilot's requests are those of the job itself: their answers are the job's, and are paid once.
//!
//! What is proved and which plan wins is decided in `bulkrate_core::plan`; `engine/pilot.rs` acts.

mod sample;
mod job;
mod labels;
mod kept;
mod read;
mod ways;
mod priced;
mod routed;
mod names;
mod teach;
mod examples;
mod report;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::too_dear;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::spec::{CascadeSpec, JobSpec, RequestSpec};

pub use bulkrate_core::plan::Aim;
pub(crate) use bulkrate_core::plan::Manner;
pub use examples::Examples;
pub(crate) use examples::examples;
pub use report::{Line, Losing, Measured, PilotCost, Piloted, PlanLine, Proved};
pub use teach::Lesson;
pub(crate) use teach::lesson;

pub(crate) use job::{Manners, by_way, pilot_job};
pub(crate) use kept::{Asked, Kept, Look, Taken, cost_of, removed};
pub(crate) use names::{plan_name, short_names};
pub(crate) use priced::candidates;
pub(crate) use read::{Answers, Reads};
pub(crate) use routed::{Answered, Routable};
pub(crate) use sample::write as write_sample;
pub(crate) use ways::{Judged, by_mark, left_of};

/// Quality that may be lost where nobody says, in thousandths.
pub const LOSS_PERMILLE: u32 = 20;
/// The most items of one pilot: its answers are held in memory.
pub const ITEMS_MAX: u64 = 100_000;

/// What a pilot asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PilotAsk {
    pub items: u64,
    /// Models beside the job's own and those of its cascade.
    pub candidates: Vec<String>,
    /// The column with the right answers; without it answers are compared with the strong model's.
    pub labels: Option<String>,
    /// Only so many records were drawn from (`--limit`): of the others nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The cascade that the job had when the pilot was made: it is one of the plans, whatever the run says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeSpec>,
    /// The largest bundle that the job allowed then: each model was asked in bundles too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u32>,
}

/// Sizes of bundles that are tried, with the largest that is allowed.
const SIZES: [u32; 4] = [5, 10, 20, 50];

/// The sizes that are tried where so many items may go together, the smallest first.
pub(crate) fn sizes(most: u32) -> impl Iterator<Item = u32> {
    SIZES.into_iter().filter(move |size| *size < most).chain([most])
}

/// What a plan must keep, beside what the job says itself: its deadline, its lane and its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    pub aim: Aim,
    /// Quality that may be lost against the strong model, in thousandths.
    pub loss_permille: u32,
}

/// What the pilot itself would cost, before it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlay {
    pub items: u64,
    pub models: Vec<String>,
    /// Over all models; what earlier pilots have answered is not asked again.
    pub requests: u64,
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    pub worst: UsdNanos,
    pub spent: UsdNanos,
    pub priced: bool,
    /// What all of the job would cost at its own model alone, one by one in the sync lane, by the same estimate.
    pub whole: Option<UsdNanos>,
}

impl Outlay {
    /// The share of the whole job's cost that the pilot would take, with what earlier ones have taken, in permille, where that is too
    /// much. A model that is asked alone gives answers that the run takes: nothing of it is lost.
    #[must_use]
    pub fn too_dear(&self) -> Option<u64> {
        let compares = self.priced && self.requests > 0 && self.models.len() > 1;
        too_dear(self.spent.saturating_add(self.expected), self.whole.filter(|_| compares)?)
    }
}

/// What is said of a pilot that has cost so much that what it brings hardly earns it back; `whole`: all items at the strong model alone.
#[must_use]
pub fn dear_pilot(spent: UsdNanos, whole: UsdNanos) -> Option<String> {
    let permille = too_dear(spent, whole)?;
    let share = format!("{}.{} %", permille / 10, permille % 10);
    Some(format!(
        "the pilot has cost {share} of what the strong model alone would cost for the whole job: above 2 % it is seldom earned back"
    ))
}

/// Refuses jobs that no pilot can be made of.
pub(crate) fn check(spec: &JobSpec, ask: &PilotAsk) -> Result<(), EngineError> {
    let refused = |what: &str, why: &str| {
        Err(EngineError::BadSpec { code: "pilot-unfit", what: what.to_owned(), why: why.to_owned() })
    };
    if ask.items == 0 || ask.items > ITEMS_MAX {
        return refused("`--pilot`", "a pilot has from 1 to 100,000 items");
    }
    if spec.source.path.is_none() {
        return refused("standard input", "a pilot reads the source twice: write it to a file first");
    }
    if spec.request.user.is_none() {
        return refused(
            "the source holds whole requests",
            "each names its own model, so that plans have nothing to choose",
        );
    }
    if spec.request.router.is_some() {
        return refused(
            "`--model auto`",
            "a router chooses the model of each item; name the strong model, and the others with `--candidate`",
        );
    }
    if spec.request.semantic.is_some() {
        return refused(
            "`--semantic-cache`",
            "a sample is asked for real, each item for itself: leave it out here and give it to `run`",
        );
    }
    if spec.request.model.is_none() {
        return refused("no model", "name the strong model with `--model`: the others are compared with it");
    }
    Ok(())
}

/// The job without what a plan decides: by this its pilots are known.
pub(crate) fn undecided(spec: &JobSpec) -> JobSpec {
    let request = RequestSpec { cascade: None, bundle: None, fallback: Vec::new(), ..spec.request.clone() };
    JobSpec { request, ..spec.clone() }
}

/// A part of a pilot that was not asked to its end.
pub(crate) fn cut_short(name: &str, id: &str) -> EngineError {
    EngineError::BadSpec {
        code: "pilot-halted",
        what: format!("the pilot of `{name}` did not finish"),
        why: format!(
            "some of its items are open or were cancelled: `bulkrate retry {id}` asks those, `plan --pilot` the open ones"
        ),
    }
}

/// The strong model has answered nothing that another could be compared with.
pub(crate) fn unanswered(name: &str, id: &str) -> EngineError {
    EngineError::PilotHalted {
        name: name.to_owned(),
        why: "not one of its answers can be used, so that nothing can be compared with them".to_owned(),
        hint: format!("`bulkrate dead {id}` shows why, and `bulkrate retry {id}` asks those items again"),
        exit: 5,
    }
}

impl PilotAsk {
    /// Refuses a run of records that the pilot could not draw.
    pub(crate) fn covers(&self, spec: &JobSpec) -> Result<(), EngineError> {
        match (self.limit, spec.source.limit) {
            (Some(seen), asked) if asked.is_none_or(|asked| asked > seen) => Err(EngineError::BadSpec {
                code: "pilot-missing",
                what: format!("the pilot of `{}` saw the first {seen} records alone", spec.name),
                why: format!(
                    "of the others nothing is known: run with `--limit {seen}`, or make a pilot without"
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// Nothing is known of this job.
pub(crate) fn missing(name: &str) -> EngineError {
    EngineError::BadSpec {
        code: "pilot-missing",
        what: format!("no pilot was made of `{name}` as it is now"),
        why: "what one has learned is needed here: run `bulkrate plan ... --pilot 100` with the same source and request first"
            .to_owned(),
    }
}
