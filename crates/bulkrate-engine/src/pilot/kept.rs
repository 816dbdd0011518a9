//! What is kept of a job's pilots: what they were asked for, the jobs that they were made of, and the plans that were taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::doubt_at;
use bulkrate_core::prompt_cache::Wish;
use bulkrate_store::{JobRow, Spent, View};
use serde::{Deserialize, Serialize};

use super::job::instead_of;
use super::{PilotAsk, PilotCost};
use crate::EngineError;
use crate::engine::start::spent_by_all;
use crate::paths::{PilotDir, create_dir, read_if_there, write_whole};
use crate::spec::{CascadeSpec, JobSpec, Learned, RouterSpec};

/// One file, written as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// What the last pilot that was compared was asked for.
    pub asked: Option<PilotAsk>,
    /// The job's name, and the models that took part, the strong one first.
    pub name: String,
    /// Names that it had in earlier pilots: a name is no part of what a job is.
    pub names: BTreeSet<String>,
    pub models: Vec<Asked>,
    /// The loss that it allowed, in thousandths.
    pub loss_permille: Option<u32>,
    /// What all pilots had cost when it was shown, and what the strong model alone would cost for the whole job.
    pub cost: Option<(UsdNanos, UsdNanos)>,
    /// Names of the plans that it showed, by their numbers.
    pub shown: Vec<String>,
    /// Every job that a pilot was ever made of, noted before it spends: the budget holds all of them together.
    pub jobs: BTreeSet<String>,
    /// Numbers of those that were removed: the ledger knows what they have spent.
    pub removed: BTreeSet<u32>,
    /// What was measured, look by look: each takes from the certainty of the later ones.
    pub looks: Vec<Look>,
    /// The last one comes last.
    pub taken: Vec<Taken>,
}

/// A model as it is pinned, and the job that its answers are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub model: String,
    pub job: String,
}

/// A comparison that was made: of these plans, by so many items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub items: u64,
    pub limit: Option<u64>,
    pub labels: Option<String>,
    /// Those whose quality was measured.
    pub plans: BTreeSet<String>,
}

/// A plan that was run: while its job is there, a second run is of the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The job that it made.
    pub job: String,
    pub model: Option<String>,
    pub cascade: Option<CascadeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<String, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Box<RouterSpec>>,
    pub lane: Option<Lane>,
    /// How prompts are marked for the prompt cache.
    #[serde(default, skip_serializing_if = "Wish::is_usual")]
    pub prompt_cache: Wish,
    pub learned: Option<Box<Learned>>,
}

impl Taken {
    pub(crate) fn of(job: String, spec: &JobSpec) -> Self {
        Self {
            job,
            model: spec.request.model.clone(),
            cascade: spec.request.cascade.clone(),
            bundle: spec.request.bundle,
            bundles: spec.request.bundles.clone(),
            router: spec.request.router.clone(),
            lane: spec.run.lane,
            prompt_cache: spec.run.prompt_cache,
            learned: spec.run.learned.clone(),
        }
    }

    /// The job as this plan runs it; a lane that is asked for now is taken.
    pub(crate) fn again(&self, spec: &JobSpec) -> JobSpec {
        let mut spec = spec.clone();
        spec.run.instead_of = instead_of(&spec, self.model.as_ref());
        spec.request.model.clone_from(&self.model);
        spec.request.cascade.clone_from(&self.cascade);
        spec.request.bundle = self.bundle;
        spec.request.bundles.clone_from(&self.bundles);
        // Its job is prepared, so that it knows where each item goes.
        spec.request.router.clone_from(&self.router);
        spec.run.lane = spec.run.lane.or(self.lane.filter(|_| !spec.run.high_priority));
        // What the job says itself goes before what its plan has found.
        if spec.run.prompt_cache.is_usual() {
            spec.run.prompt_cache = self.prompt_cache;
        }
        spec.run.learned.clone_from(&self.learned);
        spec
    }
}

impl Kept {
    /// What all of its pilots have spent, may have spent and have set aside, those of `more` jobs included, but for `own`. A job that was
    /// removed has spent what it has.
    pub(crate) fn gone<'i>(
        &'i self,
        view: &dyn View,
        more: impl IntoIterator<Item = &'i String>,
        own: &str,
    ) -> Result<Spent, EngineError> {
        let mut numbers = self.removed.clone();
        for id in self.jobs.iter().chain(more).filter(|id| *id != own) {
            numbers.extend(view.job_by_id(id)?.map(|row| row.no));
        }
        spent_by_all(view, numbers)
    }

    /// The doubt that each plan of a look is given. The same look again is no new one.
    pub(crate) fn look(&mut self, look: Look) -> f64 {
        let known = self.looks.iter().position(|known| *known == look);
        let place = known.unwrap_or(self.looks.len());
        if known.is_none() && !look.plans.is_empty() {
            self.looks.push(look);
        }
        let ever: BTreeSet<&String> =
            self.looks.iter().take(place + 1).flat_map(|look| &look.plans).collect();
        doubt_at(place + 1, ever.len())
    }

    /// The jobs that need what lies beside the file: its own, those of its plans, and those that the sample is the source of.
    pub(super) fn users<'k>(&'k self, own: &'k str) -> impl Iterator<Item = &'k str> {
        let taken = self.taken.iter().map(|taken| taken.job.as_str());
        self.jobs.iter().map(String::as_str).chain(taken).chain([own])
    }

    /// Whether a pilot of the job was made under that name.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name == name || self.names.contains(name)
    }

    /// Nothing, where no pilot was made.
    pub(crate) fn load(dir: &PilotDir) -> Result<Self, EngineError> {
        let Some(text) = read_if_there(&dir.kept())? else { return Ok(Self::default()) };
        serde_json::from_slice(&text).map_err(|error| {
            EngineError::Internal(format!("what was kept of the pilot cannot be read: {error}"))
        })
    }

    /// All or nothing: what is noted here decides what is spent.
    pub(crate) fn store(&self, dir: &PilotDir) -> Result<(), EngineError> {
        create_dir(&dir.0)?;
        write_whole(&dir.kept(), &crate::engine::intake::to_json(self)?)
    }
}

/// What the pilot has cost of whose plans `job` is one; `None`: it is none of any.
pub(crate) fn cost_of(
    state_dir: &Path,
    job: &str,
    view: &dyn View,
) -> Result<Option<PilotCost>, EngineError> {
    for dir in PilotDir::all(state_dir)? {
        let kept = Kept::load(&dir)?;
        if kept.taken.iter().any(|taken| taken.job == job) {
            let spent = kept.gone(view, [], "")?.settled;
            return Ok(Some(PilotCost { jobs: kept.jobs.into_iter().collect(), spent }));
        }
    }
    Ok(None)
}

/// Notes that a job is about to be removed: what it spent goes on counting. With the last job that has to do with a pilot go its
/// samples; what is left says numbers of jobs and names of models, nothing of the source, and is gone too where nothing was spent.
pub(crate) fn removed(state_dir: &Path, job: &JobRow, view: &dyn View) -> Result<(), EngineError> {
    for dir in PilotDir::all(state_dir)? {
        let (mut kept, own) = (Kept::load(&dir)?, dir.job());
        if !kept.users(&own).any(|user| user == job.id) {
            continue;
        }
        if kept.jobs.contains(&job.id) {
            kept.removed.insert(job.no);
        }
        let mut left = false;
        for user in kept.users(&own).filter(|user| *user != job.id) {
            left |= view.job_by_id(user)?.is_some();
        }
        kept.taken.retain(|taken| taken.job != job.id);
        if !left {
            dir.clear(kept.removed.is_empty())?;
        }
        if left || !kept.removed.is_empty() {
            kept.store(&dir)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_takes_from_the_certainty_of_the_later_ones() {
        let of = |items: u64, plans: &[&str]| Look {
            items,
            limit: None,
            labels: None,
            plans: plans.iter().map(|plan| (*plan).to_owned()).collect(),
        };
        let mut kept = Kept::default();
        for (look, k, plans) in [
            (of(100, &["a", "b"]), 1, 2),
            (of(300, &["a"]), 2, 2),
            // The same again: no new look, and no plan that came later counts.
            (of(100, &["a", "b"]), 1, 2),
            (of(300, &["a", "c"]), 3, 3),
            (of(300, &["a"]), 2, 2),
        ] {
            assert!((kept.look(look) - doubt_at(k, plans)).abs() < 1e-15, "{k}");
        }
        assert_eq!(kept.looks.len(), 3);
    }
}
