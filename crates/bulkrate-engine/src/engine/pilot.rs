//! A pilot, acted out: the sample, a job of each model, and the plans that what they said makes.

mod compare;

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{JobRow, JobState, Spent};

use super::Engine;
use super::intake::identity;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::event::{Event, Observer};
use crate::paths::PilotDir;
use crate::pilot::{
    Aim, Asked, Kept, LOSS_PERMILLE, Manner, Measured, Outlay, PilotAsk, Piloted, Promise, Reads, Taken,
    check, left_of, missing, pilot_job, sizes, undecided, write_sample,
};
use crate::plan::Plan;
use crate::report::{Ending, Report};
use crate::run::cascade::Cascade;
use crate::spec::JobSpec;
use crate::stop::Stop;

/// Of a size so many bundles are asked at least.
const BUNDLES_MIN: u64 = 10;

/// Plans are made of every model; nobody wants to hear of each reading.
#[derive(Debug)]
pub(super) struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// A model that takes part in one manner, or the reason why it does not.
#[derive(Debug)]
struct Entrant {
    manner: Manner,
    /// The model as it is pinned, and the lane that the pilot asks it in.
    found: Result<(String, Option<Lane>), String>,
}

/// The job that one model's pilot is, and where it stands.
#[derive(Debug)]
struct Part {
    entrant: usize,
    id: String,
    spec: JobSpec,
    plan: Plan,
    /// Every item has its outcome.
    over: bool,
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
        let (cascade, bundle) = (spec.request.cascade.clone(), spec.request.bundle);
        let ask = &PilotAsk { limit: spec.source.limit, cascade, bundle, ..ask.clone() };
        // Whether the job can start at all is known before anything is spent: its rows, its ids, its lane, its cascade.
        let deployments = Deployment::of_job(&self.settings, spec, self.today())?;
        Cascade::of(&self.settings, spec, &deployments, self.today())?;
        let whole = self.looked_at_until(&undecided(spec), &stop)?;
        let alone = self.plan_by(&whole, undecided(spec)).await;
        self.forget_new(&whole)?;
        let alone = alone?;
        let dir = self.pilot_dir(spec)?;
        let items = write_sample(spec, &dir.1, ask.items, &dir.0.sample(ask.items, ask.limit))?;
        if let Some(column) = ask.labels.as_deref().filter(|_| items > 0) {
            Reads::labelled(&spec.request, &dir.0.sample(ask.items, ask.limit), column)?;
        }
        let entrants = self.entrants(spec, ask)?;
        let mut failed = BTreeMap::new();
        let mut parts = self.parts(spec, ask, &dir.0, &entrants, &mut failed).await?;
        let mut kept = Kept::load(&dir.0)?;
        let gone = self.gone(&kept, parts.iter().map(|part| &part.id), "")?;
        let whole = alone.priced.then_some(alone.naive);
        let outlay = Outlay { whole, ..outlay(items, &entrants, &parts, gone.total()) };
        afford(spec, &outlay)?;
        if outlay.requests > 0 && !confirm(&outlay) {
            return Err(EngineError::NotConfirmed { p95: outlay.priced.then_some(outlay.p95) });
        }
        kept.jobs.extend(parts.iter().map(|part| part.id.clone()));
        kept.store(&dir.0)?;
        for part in parts.iter_mut().filter(|part| !part.over) {
            match self.ask_one(spec, part, &kept, &observer, &stop).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if part.entrant == 0 => return Err(error),
                Err(error) => {
                    failed.insert(part.entrant, error.to_string());
                }
            }
        }
        kept.asked = Some(ask.clone());
        kept.loss_permille = Some(promise.loss_permille);
        kept.store(&dir.0)?;
        let found = self.compared(spec, ask, promise, &entrants, failed, &mut kept).await?;
        let took_part = found.models.iter().filter(|one| one.failed.is_none() && one.bundle.is_none());
        let asked = |one: &Measured| Some(Asked { model: one.model.clone(), job: one.job.clone()? });
        let before = std::mem::replace(&mut kept.name, spec.name.clone());
        kept.names.extend(Some(before).filter(|before| !before.is_empty() && *before != kept.name));
        kept.models = took_part.filter_map(asked).collect();
        kept.cost = (found.naive > UsdNanos::ZERO).then_some((found.spent, found.naive));
        // What is shown now is what numbers mean from now on.
        kept.shown = found.plans.iter().map(|plan| plan.name.clone()).collect();
        kept.store(&dir.0)?;
        Ok(Some(found))
    }

    /// The plans that the job's last pilot makes, at today's prices. Sends nothing that is paid. `loss_permille`: that of the pilot,
    /// where nobody says another.
    ///
    /// # Errors
    /// No pilot was made of the job as it is now (code `pilot-missing`).
    pub async fn replan(
        &self,
        spec: &JobSpec,
        aim: Aim,
        loss_permille: Option<u32>,
    ) -> Result<Piloted, EngineError> {
        check(spec, &PilotAsk { items: 1, ..PilotAsk::default() })?;
        let mut kept = Kept::load(&self.pilot_dir(spec)?.0)?;
        let Some(ask) = kept.asked.clone() else { return Err(missing(&spec.name)) };
        ask.covers(spec)?;
        let mut spec = spec.clone();
        spec.request.cascade.clone_from(&ask.cascade);
        spec.request.bundle = ask.bundle;
        let spec = &spec;
        let entrants = self.entrants(spec, &ask)?;
        let loss_permille = loss_permille.or(kept.loss_permille).unwrap_or(LOSS_PERMILLE);
        let promise = Promise { aim, loss_permille };
        self.compared(spec, &ask, promise, &entrants, BTreeMap::new(), &mut kept).await
    }

    /// Notes that `chosen`, a plan of the job's pilot, is about to be run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take(&self, spec: &JobSpec, chosen: &JobSpec) -> Result<(), EngineError> {
        let dir = self.pilot_dir(spec)?.0;
        let mut kept = Kept::load(&dir)?;
        let taken = Taken::of(self.id_of(chosen)?, chosen);
        kept.taken.retain(|known| known.job != taken.job);
        kept.taken.push(taken);
        kept.store(&dir)
    }

    /// The job as the plan runs it that was taken last and whose job is there, not cancelled: another plan would pay for the same items
    /// again. With the job's id.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn taken(&self, spec: &JobSpec) -> Result<Option<(JobSpec, String)>, EngineError> {
        check(spec, &PilotAsk { items: 1, ..PilotAsk::default() })?;
        let kept = Kept::load(&self.pilot_dir(spec)?.0)?;
        let reader = self.reader()?;
        for taken in kept.taken.iter().rev() {
            let row = reader.job_by_id(&taken.job)?;
            if row.is_some_and(|row| matches!(row.state, JobState::Running | JobState::Done)) {
                let mut again = taken.again(spec);
                again.run.budget = left_of(spec.run.budget, self.gone(&kept, [], "")?.total());
                return Ok(Some((again, taken.job.clone())));
            }
        }
        Ok(None)
    }

    /// The folder of the job's pilots, and the job's id.
    fn pilot_dir(&self, spec: &JobSpec) -> Result<(PilotDir, String), EngineError> {
        let id = self.id_of(&undecided(spec))?;
        Ok((PilotDir::of(&self.settings.state_dir, &id), id))
    }

    /// The job's own model first, then the cheap ones, each once; then each of them in bundles, where the job has any.
    fn entrants(&self, spec: &JobSpec, ask: &PilotAsk) -> Result<Vec<Entrant>, EngineError> {
        let cascade = spec.request.cascade.iter().flat_map(|cascade| &cascade.models);
        let mut all: Vec<Entrant> = Vec::new();
        for name in spec.request.model.iter().chain(cascade).chain(&ask.candidates) {
            let found = match Deployment::resolve(&self.settings, spec.asks(), name, self.today()) {
                Ok(found) => {
                    let lane = found.unavailable(Lane::Sync).is_none().then_some(Lane::Sync);
                    Ok((found.pinned, lane))
                }
                Err(error) if all.is_empty() => return Err(error),
                Err(error) => Err(error.to_string()),
            };
            let known = |one: &Entrant| match (&one.found, &found) {
                (Ok(known), Ok(found)) => known.0 == found.0,
                _ => one.manner.model == *name,
            };
            if !all.iter().any(known) {
                all.push(Entrant { manner: Manner { model: name.clone(), bundle: None }, found });
            }
        }
        for model in 0..all.len() {
            let (Entrant { manner, found }, Some(most)) = (&all[model], spec.request.bundle) else { break };
            let Ok(found) = found else { continue };
            let together = |size| Entrant {
                manner: Manner { bundle: Some(size), ..manner.clone() },
                found: Ok(found.clone()),
            };
            let together: Vec<Entrant> = sizes(most).map(together).collect();
            all.extend(together);
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
        let sample = dir.sample(ask.items, ask.limit);
        let mut parts = Vec::new();
        for (entrant, one) in entrants.iter().enumerate() {
            let Ok((_, lane)) = &one.found else { continue };
            let own = pilot_job(spec, &one.manner, &sample, *lane);
            let plan = self.plan(&own, &Silent).await;
            let is_new = self.row_of(&own)?.is_none();
            let plan = plan.and_then(|plan| together(one.manner.bundle, plan));
            let plan = plan.and_then(|plan| if is_new { filled(&one.manner, plan) } else { Ok(plan) });
            match plan.and_then(|plan| self.can_ask(&own, &plan).map(|()| plan)) {
                Ok(plan) => {
                    let over = plan.requests == 0 && !is_new;
                    parts.push(Part { entrant, id: self.id_of(&own)?, spec: own, plan, over });
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
        part: &mut Part,
        kept: &Kept,
        observer: &Arc<dyn Observer>,
        stop: &Stop,
    ) -> Result<bool, EngineError> {
        part.spec.run.budget = left_of(spec.run.budget, self.gone(kept, [], &part.id)?.total());
        let report = Box::pin(self.run(&part.spec, &|_| true, Arc::clone(observer), stop.clone())).await?;
        match report.ending {
            Ending::Finished => Ok(true),
            Ending::Detached | Ending::Aborted | Ending::Cancelled => Ok(false),
            Ending::Halted | Ending::BudgetExhausted | Ending::BudgetForecast | Ending::InDoubt => {
                Err(halted(&report))
            }
        }
    }

    /// What is to be asked has its key, before another model is paid.
    fn can_ask(&self, own: &JobSpec, plan: &Plan) -> Result<(), EngineError> {
        if plan.requests == 0 {
            return Ok(());
        }
        for found in Deployment::of_job(&self.settings, own, self.today())? {
            if found.account.lacks_key() {
                return Err(found.account.no_key());
            }
            super::start::check_ready(&found.account)?;
        }
        Ok(())
    }

    pub(super) fn id_of(&self, spec: &JobSpec) -> Result<String, EngineError> {
        let digest = bulkrate_io::digest_file(spec.source.path.as_deref().unwrap_or("".as_ref()))?;
        identity(spec, &digest)
    }

    fn row_of(&self, spec: &JobSpec) -> Result<Option<JobRow>, EngineError> {
        let row = self.reader()?.job_by_id(&self.id_of(spec)?)?;
        Ok(row.filter(|row| row.state != JobState::Preparing))
    }

    /// See [`Kept::gone`].
    fn gone<'i>(
        &self,
        kept: &'i Kept,
        more: impl IntoIterator<Item = &'i String>,
        own: &str,
    ) -> Result<Spent, EngineError> {
        kept.gone(&*self.reader()?, more, own)
    }
}

/// What the pilot would cost, and what its parts have cost.
fn outlay(items: u64, entrants: &[Entrant], parts: &[Part], spent: UsdNanos) -> Outlay {
    let sum = |of: fn(&crate::plan::LanePlan) -> UsdNanos| {
        parts.iter().filter_map(|part| part.plan.chosen()).map(of).sum()
    };
    Outlay {
        items,
        models: parts.iter().map(|part| entrants[part.entrant].manner.to_string()).collect(),
        requests: parts.iter().map(|part| requests_of(&part.plan)).sum(),
        expected: sum(|lane| lane.expected),
        p95: sum(|lane| lane.p95),
        worst: sum(|lane| lane.worst),
        spent,
        priced: parts.iter().all(|part| part.plan.priced),
        whole: None,
    }
}

/// Calls, each of which may hold a bundle.
fn requests_of(plan: &Plan) -> u64 {
    plan.bundle
        .as_ref()
        .filter(|bundle| bundle.size.is_some())
        .map_or(plan.requests, |bundle| bundle.requests)
}

/// The plan, if the sample fills enough bundles of this size to say something of them: rows of one bundle may go wrong together.
fn filled(manner: &Manner, plan: Plan) -> Result<Plan, EngineError> {
    let Some(size) = manner.bundle.map(u64::from) else { return Ok(plan) };
    if plan.requests >= size.saturating_mul(BUNDLES_MIN) {
        return Ok(plan);
    }
    Err(EngineError::BadSpec {
        code: "option-invalid",
        what: format!("bundles of {size} items"),
        why: format!(
            "the sample has {} different ones, and fewer than {BUNDLES_MIN} bundles say too little",
            plan.requests
        ),
    })
}

/// The plan, if it has the bundles that it was made for.
fn together(asked: Option<u32>, plan: Plan) -> Result<Plan, EngineError> {
    let Some(size) = asked else { return Ok(plan) };
    let bundle = plan.bundle.as_ref();
    if plan.requests == 0 || bundle.is_some_and(|bundle| bundle.size == Some(size)) {
        return Ok(plan);
    }
    let why = bundle.and_then(|bundle| bundle.why.clone());
    Err(EngineError::BadSpec {
        code: "option-invalid",
        what: format!("bundles of {size} items"),
        why: why.unwrap_or_else(|| "they do not pay".to_owned()),
    })
}

/// What keeps a part of a pilot from its end, what to do about it, and the exit code that its run would have had.
fn halted(report: &Report) -> EngineError {
    let (why, hint) = why_halted(report);
    EngineError::PilotHalted { name: report.name.clone(), why, hint, exit: report.exit_code() }
}

/// What keeps a job that is a part of another from its end, and what to do about it.
pub(super) fn why_halted(report: &Report) -> (String, String) {
    let told = |why: &str| report.reason.clone().unwrap_or_else(|| why.to_owned());
    match report.ending {
        Ending::BudgetExhausted | Ending::BudgetForecast => (
            told("what is left of the budget is not enough for its next request"),
            "pass a larger `--budget`: the same command goes on, and pays for no answer twice".to_owned(),
        ),
        Ending::InDoubt => (
            told(&format!("USD {} may have been paid for answers that never came", report.in_doubt)),
            "`bulkrate doubt list` shows it; say what became of it, and run the same command again"
                .to_owned(),
        ),
        _ => (
            told("it was halted"),
            format!("mend that and run the same command again; `bulkrate status {}` tells more", report.job),
        ),
    }
}

/// The budget holds the pilots of all models together.
fn afford(spec: &JobSpec, outlay: &Outlay) -> Result<(), EngineError> {
    let Some(budget) = spec.run.budget.filter(|_| outlay.requests > 0) else { return Ok(()) };
    let (most, basis) =
        if spec.run.strict { (outlay.worst, "the worst case") } else { (outlay.p95, "the 95th percentile") };
    let needed = most.saturating_add(outlay.spent);
    if needed > budget {
        return Err(EngineError::PilotTooDear { budget, needed, items: outlay.items, basis });
    }
    Ok(())
}
