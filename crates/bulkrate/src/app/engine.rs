//! The one place that calls the engine: opens it, runs it to the end on this thread, or reads beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use bulkrate_engine::Stop;
use bulkrate_engine::decision::Decision;
use bulkrate_engine::event::Observer;
use bulkrate_engine::pilot::{Aim, Examples, Lesson, Outlay, PilotAsk, Piloted, Promise};
use bulkrate_engine::plan::Plan;
use bulkrate_engine::reader::CostQuery;
use bulkrate_engine::report::Report;
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::{JobSpec, RunSpec, SinkSpec};
use bulkrate_engine::view::{CostRow, DeadLetter, DoubtLine, JobStatus, Judged, Savings, Verification};
use bulkrate_engine::{Engine, EngineError, Reader};

use super::accounts::Reached;
use super::{AppError, runtime};
use crate::config;
use crate::config::job_file::Run;
use crate::config::value::Percent;

/// What flags change in a job that is there already.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides {
    run: Run,
    sink: Option<SinkSpec>,
    /// `Some(None)`: no limit.
    limit: Option<Option<u64>>,
    /// Where no other output is named: the job's own may be replaced.
    force: bool,
}

impl Overrides {
    pub(super) fn new(run: Run, sink: Option<SinkSpec>, limit: Option<Option<u64>>) -> Self {
        Self { run, sink, limit, force: false }
    }

    pub(super) fn forcing(self, force: bool) -> Self {
        Self { force, ..self }
    }

    pub(super) fn connections(&self) -> u32 {
        self.run.concurrency_max.unwrap_or_else(|| RunSpec::default().concurrency_max)
    }

    pub(super) fn out(&self) -> Option<&Path> {
        self.sink.as_ref().and_then(|sink| sink.path.as_deref())
    }

    fn apply(&self, spec: &mut JobSpec) {
        let run = &self.run;
        if let Some(lane) = run.lane {
            spec.run.lane = lane.lane();
        }
        spec.run.deadline_ms = run.deadline.map(|time| time.0).or(spec.run.deadline_ms);
        spec.run.budget = run.budget.map(|usd| usd.0).or(spec.run.budget);
        spec.run.spend_all = run.spend_all.unwrap_or(spec.run.spend_all);
        spec.run.max_in_doubt = run.max_in_doubt.map(|usd| usd.0).or(spec.run.max_in_doubt);
        spec.run.max_error_permille =
            run.max_error_rate.map(|share| share.permille).or(spec.run.max_error_permille);
        spec.run.rpm = run.rpm.or(spec.run.rpm);
        spec.run.tpm = run.tpm.or(spec.run.tpm);
        spec.run.concurrency_max = run.concurrency_max.unwrap_or(spec.run.concurrency_max);
        spec.run.budget_daily = run.budget_daily.map(|usd| usd.0).or(spec.run.budget_daily);
        spec.run.budget_monthly = run.budget_monthly.map(|usd| usd.0).or(spec.run.budget_monthly);
        let stored = (spec.run.poll_min_ms, spec.run.poll_max_ms);
        (spec.run.poll_min_ms, spec.run.poll_max_ms) = config::resolve::polls(run, stored).unwrap_or(stored);
        spec.run.timeout_ms = run.timeout.map(|time| time.0).or(spec.run.timeout_ms);
        spec.run.fail_above_permille =
            run.fail_above.map_or(spec.run.fail_above_permille, |share| share.permille);
        spec.run.hedge = run.hedge.unwrap_or(spec.run.hedge);
        spec.run.fallback_when = run.fallback_when.map_or(spec.run.fallback_when, Into::into);
        spec.run.sync_doubt = run.sync_doubt.map_or(spec.run.sync_doubt, Into::into);
        spec.source.limit = self.limit.unwrap_or(spec.source.limit);
        if let Some(sink) = &self.sink {
            spec.sink = sink.clone();
        }
        spec.sink.force |= self.force;
    }
}

/// The engine is one async thread; what must not wait for it has threads of its own.
fn on_this_thread<T>(work: impl Future<Output = Result<T, EngineError>>) -> Result<T, AppError> {
    Ok(runtime::single()?.block_on(work)?)
}

/// Runs a job. A full disk is named by the folder that is on it.
fn working<R>(
    settings: Settings,
    work: impl AsyncFnOnce(&Engine) -> Result<R, EngineError>,
) -> Result<R, AppError> {
    let dir = settings.state_dir.clone();
    let worked = on_this_thread(async { Box::pin(work(&Engine::open(settings)?)).await });
    worked.map_err(|error| match error {
        AppError::Engine(source) if source.code() == "state-full" => {
            AppError::StateFull { dir: dir.display().to_string(), source: Box::new(source) }
        }
        other => other,
    })
}

pub(super) fn plan(
    settings: Settings,
    spec: &JobSpec,
    exact: bool,
    observer: &dyn Observer,
) -> Result<Plan, AppError> {
    on_this_thread(async {
        let engine = Engine::open_to_plan(settings)?;
        if exact {
            Box::pin(engine.plan_exact(spec, observer)).await
        } else {
            Box::pin(engine.plan(spec, observer)).await
        }
    })
}

/// Asks a sample for real; `None`: it was stopped.
pub(super) fn pilot(
    settings: Settings,
    spec: &JobSpec,
    ask: &PilotAsk,
    promise: Promise,
    confirm: &dyn Fn(&Outlay) -> bool,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<Option<Piloted>, AppError> {
    working(settings, async |engine| {
        Box::pin(engine.pilot(spec, ask, promise, confirm, observer, stop)).await
    })
}

/// The plans that the job's last pilot makes.
pub(super) fn replan(
    settings: Settings,
    spec: &JobSpec,
    aim: Aim,
    loss_permille: Option<u32>,
) -> Result<Piloted, AppError> {
    working(settings, async |engine| engine.replan(spec, aim, loss_permille).await)
}

/// What a job's last pilot teaches a router.
pub(super) fn lesson(state: &Path, job: &str, models: &[String], column: &str) -> Result<Lesson, AppError> {
    Ok(Reader::open(state)?.lesson(job, models, column)?)
}

/// What a job's last pilot teaches a filter.
pub(super) fn examples(state: &Path, job: &str, column: &str) -> Result<Examples, AppError> {
    Ok(Reader::open(state)?.examples(job, column)?)
}

/// The plan that the job runs by already, and the job's id.
pub(super) fn taken(settings: Settings, spec: &JobSpec) -> Result<Option<(JobSpec, String)>, AppError> {
    working(settings, async |engine| engine.taken(spec))
}

/// Notes that a plan is about to be run.
pub(super) fn take(settings: Settings, spec: &JobSpec, chosen: &JobSpec) -> Result<(), AppError> {
    working(settings, async |engine| engine.take(spec, chosen))
}

pub(super) fn run(
    settings: Settings,
    spec: &JobSpec,
    confirm: &dyn Fn(&Plan) -> bool,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<Report, AppError> {
    working(settings, async |engine| engine.run(spec, confirm, observer, stop).await)
}

pub(super) fn resume(
    settings: Settings,
    job: &str,
    changes: &Overrides,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<Report, AppError> {
    let change = |spec: &mut JobSpec| changes.apply(spec);
    working(settings, async |engine| engine.resume(job, &change, observer, stop).await)
}

pub(super) fn retry(
    settings: Settings,
    job: &str,
    changes: &Overrides,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<Report, AppError> {
    let change = |spec: &mut JobSpec| changes.apply(spec);
    working(settings, async |engine| engine.retry(job, &change, observer, stop).await)
}

/// A job as it last ran.
pub(super) fn stored(state: &Path, job: &str) -> Result<JobSpec, AppError> {
    let row = Reader::open(state)?.find(job)?;
    let spec: Result<JobSpec, _> = serde_json::from_str(&row.spec);
    Ok(spec.map_err(|error| EngineError::Internal(format!("the stored job cannot be read: {error}")))?)
}

/// Where a job's providers were when it last ran. Flags may name another place; variables do not, as its batches are there.
pub(super) fn reached(state: &Path, spec: JobSpec) -> Reached {
    let mut account = spec.account;
    let named = std::mem::take(&mut account.named);
    Reached {
        state: state.to_owned(),
        provider: config::account::said(account),
        accounts: named.into_iter().map(|(name, account)| (name, config::account::said(account))).collect(),
    }
}

/// Writes the results there are; answers the rows.
pub(super) fn results(state: &Path, job: &str, sink: &SinkSpec) -> Result<u64, AppError> {
    Ok(Reader::open(state)?.results(job, sink, &mut |_, _| ())?.rows)
}

/// All jobs, or one; a folder without a state has none.
pub(super) fn status(state: &Path, job: Option<&str>) -> Result<Vec<JobStatus>, AppError> {
    match Reader::open(state) {
        Err(error) if job.is_none() && is_missing(&error) => Ok(Vec::new()),
        reader => Ok(reader?.status(job)?),
    }
}

/// Nothing was ever run in this folder.
fn is_missing(error: &EngineError) -> bool {
    error.code() == "state-missing"
}

pub(super) fn dead(state: &Path, job: &str) -> Result<Vec<DeadLetter>, AppError> {
    Ok(Reader::open(state)?.dead(job)?)
}

pub(super) fn verify(state: &Path, job: &str, bills: &[PathBuf]) -> Result<Verification, AppError> {
    Ok(Reader::open(state)?.verify(job, bills)?)
}

/// Takes the verdicts in a file.
pub(super) fn judge(state: &Path, job: &str, file: &Path) -> Result<Judged, AppError> {
    Ok(Reader::open(state)?.judge(job, file)?)
}

/// Writes a sample for a reviewer; answers its items.
pub(super) fn draw_review(
    state: &Path,
    job: &str,
    out: &Path,
    share: Option<Percent>,
) -> Result<u64, AppError> {
    Ok(Reader::open(state)?.draw_review(job, out, share.map(|share| share.permille))?)
}

pub(super) fn cost(state: &Path, ask: &CostQuery, job: Option<&str>) -> Result<Vec<CostRow>, AppError> {
    match Reader::open(state) {
        Err(error) if job.is_none() && is_missing(&error) => Ok(Vec::new()),
        reader => Ok(reader?.cost(ask, job)?),
    }
}

pub(super) fn savings(state: &Path, job: &str) -> Result<Savings, AppError> {
    Ok(Reader::open(state)?.savings(job)?)
}

pub(super) fn show(state: &Path, job: &str, item: &str) -> Result<serde_json::Value, AppError> {
    Ok(Reader::open(state)?.show(job, item)?)
}

/// Leaves an order. True: an engine is at work and takes it within a second; false: it is taken when the job is next run.
pub(super) fn cancel(state: &Path, job: &str) -> Result<bool, AppError> {
    Ok(Reader::open(state)?.cancel(job)?)
}

/// Everything in doubt; a folder without a state has nothing.
pub(super) fn doubts(state: &Path, job: Option<&str>) -> Result<Vec<DoubtLine>, AppError> {
    match Reader::open(state) {
        Err(error) if job.is_none() && is_missing(&error) => Ok(Vec::new()),
        reader => Ok(reader?.doubts(job)?),
    }
}

pub(super) fn doubt(state: &Path, sub: &str) -> Result<DoubtLine, AppError> {
    Ok(Reader::open(state)?.doubt(sub)?)
}

/// Leaves an order for the engine at work. `None`: none is; otherwise whether it was taken within so long.
pub(super) fn order_doubt(state: &Path, decision: &Decision, wait_ms: u64) -> Result<Option<bool>, AppError> {
    let reader = Reader::open(state)?;
    let ordered = reader.engine_at_work().then(|| reader.order_doubt(decision, wait_ms));
    Ok(ordered.transpose()?)
}

/// Carries an operator's word out, in this process.
pub(super) fn decide(
    settings: Settings,
    decision: &Decision,
    observer: Arc<dyn Observer>,
) -> Result<(), AppError> {
    working(settings, async |engine| engine.decide(decision, observer).await)
}

pub(super) fn remove(state: &Path, job: &str) -> Result<(), AppError> {
    Ok(Reader::remove(state, job)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::value::{DoubtChoice, FallbackChoice, LaneChoice, Millis, Usd};
    use crate::config::{Layer, job};
    use bulkrate_core::lane::Lane;
    use bulkrate_core::money::UsdNanos;

    #[test]
    fn only_what_is_said_changes() {
        let file = "[source]\npath = \"a.csv\"\nlimit = 9\n[run]\nlane = \"batch\"\nbudget = 5\nrpm = 9\n[sink]\npath = \"a.jsonl\"\n";
        let before = job(Layer::parse("job.toml", file).unwrap()).unwrap();
        let mut spec = before.clone();
        Overrides::default().apply(&mut spec);
        assert_eq!(spec, before);
        let run =
            Run { lane: Some(LaneChoice::Auto), budget: Some(Usd(UsdNanos::dollars(7))), ..Run::default() };
        let sink = SinkSpec { path: Some("b.csv".into()), ..SinkSpec::default() };
        Overrides::new(run, Some(sink.clone()), None).apply(&mut spec);
        assert_eq!((before.run.lane, spec.run.lane), (Some(Lane::Batch), None));
        assert_eq!((spec.run.budget, spec.run.rpm, &spec.sink), (Some(UsdNanos::dollars(7)), Some(9), &sink));
        assert_eq!(spec.source.limit, Some(9));
        let run = Run {
            poll_min: Some(Millis(400_000)),
            timeout: Some(Millis(7)),
            fail_above: Some(Percent { permille: 9 }),
            sync_doubt: Some(DoubtChoice::Dead),
            hedge: Some(true),
            fallback_when: Some(FallbackChoice::Capacity),
            budget_daily: Some(Usd(UsdNanos::dollars(3))),
            budget_monthly: Some(Usd(UsdNanos::dollars(4))),
            ..Run::default()
        };
        Overrides::new(run, None, None).apply(&mut spec);
        assert_eq!((spec.run.poll_min_ms, spec.run.poll_max_ms), (400_000, 400_000));
        assert_eq!((spec.run.timeout_ms, spec.run.fail_above_permille), (Some(7), 9));
        assert!(!before.run.hedge && spec.run.hedge);
        assert_eq!(spec.run.fallback_when, bulkrate_engine::spec::FallbackWhen::Capacity);
        assert_eq!(spec.run.sync_doubt, bulkrate_engine::spec::SyncDoubt::Dead);
        assert_eq!(spec.run.budget_daily, Some(UsdNanos::dollars(3)));
        assert_eq!(spec.run.budget_monthly, Some(UsdNanos::dollars(4)));
        for limit in [Some(70), None] {
            Overrides::new(Run::default(), None, Some(limit)).apply(&mut spec);
            assert_eq!(spec.source.limit, limit);
        }
    }
}
