//! A pilot, acted out: the sample, a job of each model, and the plans that what they said makes.

mod compare;

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{JobRow, JobState};

use super::Engine;
use super::intake::{identity, to_json};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::event::{Event, Observer};
use crate::paths::{PilotDir, io_error};
use crate::pilot::{
    Outlay, PilotAsk, Piloted, Promise, Reads, check, left_of, missing, pilot_job, undecided, write_sample,
};
use crate::plan::Plan;
use crate::report::Ending;
use crate::spec::JobSpec;
use crate::stop::Stop;

/// Plans are made of every model; nobody wants to hear of each reading.
#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// A model that takes part, or the reason why it does not.
#[derive(Debug)]
struct Entrant {
    name: String,
    /// The model as it is pinned, and the lane that the pilot asks it in.
    found: Result<(String, Option<Lane>), String>,
}

/// The job that one model's pilot is, and where it stands.
#[derive(Debug)]
struct Part {
    entrant: usize,
    spec: JobSpec,
    plan: Plan,
    /// Every item has its outcome.
    over: bool,
    /// Settled and in doubt.
    gone: UsdNanos,
}

impl Engine {
    /// Asks a sample of the job's items of every model, and compares the plans that follow. `confirm` is asked once, before anything is
    /// spent. `None`: it was stopped; the same call goes on.
    ///
    /// # Errors
    /// The job cannot have a pilot, the budget does not cover it, or the strong model cannot be asked. Another model that cannot is
    /// told of in the comparison.
    pub async fn pilot(
        &self,
        spec: &JobSpec,
        ask: &PilotAsk,
        promise: Promise,
        confirm: &dyn Fn(&Outlay) -> bool,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Option<Piloted>, EngineError> {
        check(spec, ask)?;
        let dir = self.pilot_dir(spec)?;
        let items = write_sample(spec, &dir.1, ask.items, &dir.0.sample(ask.items))?;
        if let Some(column) = ask.labels.as_deref().filter(|_| items > 0) {
            Reads::labelled(&spec.request, &dir.0.sample(ask.items), column)?;
        }
        let entrants = self.entrants(spec, ask)?;
        let mut failed = BTreeMap::new();
        let mut parts = self.parts(spec, ask, &dir.0, &entrants, &mut failed).await?;
        let outlay = outlay(items, &entrants, &parts);
        afford(spec, &outlay)?;
        if outlay.requests > 0 && !confirm(&outlay) {
            return Err(EngineError::NotConfirmed { p95: outlay.priced.then_some(outlay.p95) });
        }
        for at in 0..parts.len() {
            if parts[at].over {
                continue;
            }
            match self.ask_one(spec, at, &mut parts, &observer, &stop).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if parts[at].entrant == 0 => return Err(error),
                Err(error) => {
                    failed.insert(parts[at].entrant, error.to_string());
                }
            }
        }
        let asked = dir.0.asked();
        let kept = PilotAsk { cascade: spec.request.cascade.clone(), ..ask.clone() };
        std::fs::write(&asked, to_json(&kept)?).map_err(io_error("could not write", &asked))?;
        self.compared(spec, ask, promise, &entrants, failed).await.map(Some)
    }

    /// The plans that the job's last pilot makes, at today's prices. Sends nothing that is paid.
    ///
    /// # Errors
    /// No pilot was made of the job as it is now (code `pilot-missing`).
    pub async fn replan(&self, spec: &JobSpec, promise: Promise) -> Result<Piloted, EngineError> {
        check(spec, &PilotAsk { items: 1, ..PilotAsk::default() })?;
        let asked = self.pilot_dir(spec)?.0.asked();
        let text = std::fs::read_to_string(&asked).map_err(|_| missing(&spec.name))?;
        let ask: PilotAsk = serde_json::from_str(&text).map_err(|error| {
            EngineError::Internal(format!("what the pilot was asked for cannot be read: {error}"))
        })?;
        let mut spec = spec.clone();
        spec.request.cascade.clone_from(&ask.cascade);
        let spec = &spec;
        let entrants = self.entrants(spec, &ask)?;
        self.compared(spec, &ask, promise, &entrants, BTreeMap::new()).await
    }

    /// The folder of the job's pilots, and the job's id.
    fn pilot_dir(&self, spec: &JobSpec) -> Result<(PilotDir, String), EngineError> {
        let digest = bulkrate_io::digest_file(spec.source.path.as_deref().unwrap_or("".as_ref()))?;
        let id = identity(&undecided(spec), &digest)?;
        Ok((PilotDir::of(&self.settings.state_dir, &id), id))
    }

    /// The job's own model first, then the cheap ones, each once.
    fn entrants(&self, spec: &JobSpec, ask: &PilotAsk) -> Result<Vec<Entrant>, EngineError> {
        let cascade = spec.request.cascade.iter().flat_map(|cascade| &cascade.models);
        let mut all: Vec<Entrant> = Vec::new();
        for name in spec.request.model.iter().chain(cascade).chain(&ask.candidates) {
            let found = match Deployment::resolve(&self.settings, &spec.run, name, self.today()) {
                Ok(found) => {
                    let lane = found.unavailable(Lane::Sync).is_none().then_some(Lane::Sync);
                    Ok((found.pinned, lane))
                }
                Err(error) if all.is_empty() => return Err(error),
                Err(error) => Err(error.to_string()),
            };
            let known = |one: &Entrant| match (&one.found, &found) {
                (Ok(known), Ok(found)) => known.0 == found.0,
                _ => one.name == *name,
            };
            if !all.iter().any(known) {
                all.push(Entrant { name: name.clone(), found });
            }
        }
        Ok(all)
    }

    /// One job a model, planned. What cannot be planned has failed, unless it is the strong model.
    async fn parts(
        &self,
        spec: &JobSpec,
        ask: &PilotAsk,
        dir: &PilotDir,
        entrants: &[Entrant],
        failed: &mut BTreeMap<usize, String>,
    ) -> Result<Vec<Part>, EngineError> {
        let sample = dir.sample(ask.items);
        let mut parts = Vec::new();
        for (entrant, one) in entrants.iter().enumerate() {
            let Ok((_, lane)) = &one.found else { continue };
            let own = pilot_job(spec, &one.name, &sample, *lane, None);
            match self.plan(&own, &Silent).await {
                Ok(plan) => {
                    let known = self.row_of(&own)?;
                    let over = plan.requests == 0 && known.is_some();
                    let gone = known.map(|row| self.gone(&row)).transpose()?.unwrap_or_default();
                    parts.push(Part { entrant, spec: own, plan, over, gone });
                }
                Err(error) if entrant == 0 => return Err(error),
                Err(error) => {
                    failed.insert(entrant, error.to_string());
                }
            }
        }
        Ok(parts)
    }

    /// Runs one model's job, under what the others leave of the budget. False: it was stopped.
    async fn ask_one(
        &self,
        spec: &JobSpec,
        at: usize,
        parts: &mut [Part],
        observer: &Arc<dyn Observer>,
        stop: &Stop,
    ) -> Result<bool, EngineError> {
        let others =
            parts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, part)| part.gone).sum();
        let part = &mut parts[at];
        part.spec.run.budget = left_of(spec.run.budget, others);
        let report = Box::pin(self.run(&part.spec, &|_| true, Arc::clone(observer), stop.clone())).await?;
        part.gone = report.spent.saturating_add(report.in_doubt);
        match report.ending {
            Ending::Finished => Ok(true),
            Ending::Detached | Ending::Aborted | Ending::Cancelled => Ok(false),
            Ending::Halted | Ending::BudgetExhausted | Ending::InDoubt => Err(EngineError::BadSpec {
                code: "pilot-halted",
                what: format!("the pilot of `{}` did not finish", report.name),
                why: report
                    .reason
                    .unwrap_or_else(|| "its budget, or what is in doubt, does not allow it".to_owned()),
            }),
        }
    }

    fn row_of(&self, spec: &JobSpec) -> Result<Option<JobRow>, EngineError> {
        let digest = bulkrate_io::digest_file(spec.source.path.as_deref().unwrap_or("".as_ref()))?;
        let row = self.reader()?.job_by_id(&identity(spec, &digest)?)?;
        Ok(row.filter(|row| row.state != JobState::Preparing))
    }

    fn gone(&self, row: &JobRow) -> Result<UsdNanos, EngineError> {
        let spent = super::start::spent_by(&*self.reader()?, row.no)?;
        Ok(spent.settled.saturating_add(spent.doubt))
    }
}

/// What the pilot would cost, and what its parts have cost.
fn outlay(items: u64, entrants: &[Entrant], parts: &[Part]) -> Outlay {
    let chosen = |part: &Part| part.plan.lanes.iter().find(|lane| lane.lane == part.plan.lane).cloned();
    let sum = |of: fn(&crate::plan::LanePlan) -> UsdNanos| {
        parts.iter().filter_map(chosen).map(|lane| of(&lane)).sum()
    };
    Outlay {
        items,
        models: parts.iter().map(|part| entrants[part.entrant].name.clone()).collect(),
        requests: parts.iter().map(|part| part.plan.requests).sum(),
        expected: sum(|lane| lane.expected),
        p95: sum(|lane| lane.p95),
        worst: sum(|lane| lane.worst),
        spent: parts.iter().map(|part| part.gone).sum(),
        priced: parts.iter().all(|part| part.plan.priced),
    }
}

/// The budget holds the pilots of all models together.
fn afford(spec: &JobSpec, outlay: &Outlay) -> Result<(), EngineError> {
    let Some(budget) = spec.run.budget.filter(|_| outlay.requests > 0) else { return Ok(()) };
    let most = if spec.run.strict { outlay.worst } else { outlay.p95 };
    let needed = most.saturating_add(outlay.spent);
    if needed > budget {
        return Err(EngineError::PilotTooDear { budget, needed, items: outlay.items });
    }
    Ok(())
}
