//! The engine of one state directory: prepares, plans, runs and resumes jobs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bulkrate_core::ids::short_id;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_core::price::Ratios;
use bulkrate_core::request::CacheMode;
use bulkrate_core::retry::Ladder;
use bulkrate_io::Source;
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{
    By, Fate, JobRow, JobState, LedgerKind, LedgerQuery, NewJob, Outcome, Place, SqliteReader, SqliteStore,
    Store, StoreError, Tx, Via, View, Writer,
};
use jiff::civil::Date;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::EngineError;
use crate::deployment::{Deployment, warnings};
use crate::event::{Event, Observer};
use crate::paths::{JobDir, create_dir, io_error, open_file};
use crate::plan::Plan;
use crate::planning::{Facts, admit, budget, plan};
use crate::prepare::{Checkpoint, Pass, Shape};
use crate::report::{Ending, Report};
use crate::run::clock::Clock;
use crate::run::drive::drive;
use crate::run::job::{Job, State};
use crate::run::recover::{doubt_lost_calls, open_batches, recover};
use crate::run::requests::Requests;
use crate::run::results::Results;
use crate::run::stream::Stream;
use crate::settings::Settings;
use crate::spec::JobSpec;
use crate::stop::Stop;

/// Holds the lock of a state directory; one per directory, many jobs in it.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    writer: Writer,
    inst: String,
    epoch: u64,
    clock: Clock,
    /// A state directory that goes away with the engine.
    aside: Option<tempfile::TempDir>,
}

/// A job whose source is read and checked.
#[derive(Debug)]
struct Prepared {
    row: JobRow,
    spec: JobSpec,
    checkpoint: Checkpoint,
    deployments: Vec<Deployment>,
    resumed: bool,
}

impl Engine {
    /// Opens the state directory for work, and creates it if need be.
    ///
    /// # Errors
    /// Another engine holds it, it is from a newer version, or it cannot be written.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        let clock = Clock::start();
        let mut rng = SplitMix64::new(settings.seed);
        let inst = short_id(&Sha256::digest(rng.next_u64().to_be_bytes()).into(), 16);
        let store = SqliteStore::open(&settings.state_dir, &inst, clock.row_ms())?;
        let (inst, epoch) = (store.inst().to_owned(), store.epoch());
        Ok(Self { writer: Writer::spawn(Box::new(store))?, settings, inst, epoch, clock, aside: None })
    }

    /// As [`Self::open`], for [`Self::plan`] alone: beside a running engine it works in a directory of its own, and then
    /// knows nothing of earlier jobs.
    pub fn open_to_plan(settings: Settings) -> Result<Self, EngineError> {
        match Self::open(settings.clone()) {
            Err(EngineError::Store(StoreError::Locked { .. })) => {
                let aside = tempfile::tempdir()
                    .map_err(io_error("could not create", Path::new("a temporary directory")))?;
                let mut engine = Self::open(Settings { state_dir: aside.path().to_owned(), ..settings })?;
                engine.aside = Some(aside);
                Ok(engine)
            }
            other => other,
        }
    }

    fn reader(&self) -> Result<SqliteReader, EngineError> {
        Ok(SqliteStore::open_reader(&self.settings.state_dir)?)
    }

    fn with<R: Send + 'static>(
        &self,
        query: impl FnOnce(&mut dyn Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, EngineError> {
        self.writer.with(query).map_err(|error| crate::error::stored(&error))
    }

    /// What the job would cost and how long it would take. Reads and checks the whole source; the only calls are free ones
    /// (a custom base URL is asked whether it has a batch API). A job that was not there before is not there afterwards.
    pub async fn plan(&self, spec: &JobSpec, observer: &dyn Observer) -> Result<Plan, EngineError> {
        let prepared = self.prepare(spec, observer, false)?;
        let plan = self.probed_plan(&prepared).await;
        if !prepared.resumed {
            let (no, dir) = (prepared.row.no, JobDir::of(&self.settings.state_dir, &prepared.row.id));
            self.with(move |store| store.delete_job(no))?;
            std::fs::remove_dir_all(&dir.0).map_err(io_error("could not remove", &dir.0))?;
        }
        plan
    }

    /// Runs a job, or goes on with it if it is there already. `confirm` is asked once, after the plan is told.
    pub async fn run(
        &self,
        spec: &JobSpec,
        confirm: &dyn Fn(&Plan) -> bool,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let prepared = self.prepare(spec, &*observer, true)?;
        let plan = self.probed_plan(&prepared).await?;
        observer.event(&Event::Planned { plan: &plan });
        admit(&prepared.spec, &plan)?;
        if plan.requests > 0 && !confirm(&plan) {
            let p95 =
                plan.lanes.iter().find(|lane| lane.lane == plan.lane).map_or(UsdNanos::ZERO, |lane| lane.p95);
            return Err(EngineError::NotConfirmed { p95 });
        }
        self.work(prepared, &plan, observer, stop).await
    }

    /// The spec a job was last run with.
    pub fn spec_of(&self, job: &str) -> Result<JobSpec, EngineError> {
        let row = self.find(job)?;
        serde_json::from_str(&row.spec)
            .map_err(|error| EngineError::Internal(format!("the stored job cannot be read: {error}")))
    }

    /// Goes on with a job where it stands; `change` may set another budget, deadline, lane or output.
    pub async fn resume(
        &self,
        job: &str,
        change: &dyn Fn(&mut JobSpec),
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let prepared = self.stored(job, change)?;
        let plan = self.probed_plan(&prepared).await?;
        observer.event(&Event::Planned { plan: &plan });
        admit(&prepared.spec, &plan)?;
        self.work(prepared, &plan, observer, stop).await
    }

    /// Gives every dead item of a job a new set of attempts, and runs it.
    pub async fn retry(
        &self,
        job: &str,
        change: &dyn Fn(&mut JobSpec),
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let row = self.find(job)?;
        let no = row.no;
        let states = bulkrate_store::fold::ItemStates::load(&self.reader()?, no)?;
        let revived: Vec<Outcome> = states
            .iter()
            .filter(|(_, item)| matches!(item.state, ItemState::Dead | ItemState::Cancelled))
            .map(|(ordinal, _)| revival(ordinal))
            .collect();
        let count = revived.len();
        let mut tx = Tx::new(no);
        tx.outcomes = revived;
        tx.job_state = Some(JobState::Running);
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        observer.event(&Event::Note { message: &format!("{count} dead letters are tried again") });
        self.resume(job, change, observer, stop).await
    }

    fn find(&self, job: &str) -> Result<JobRow, EngineError> {
        crate::reader::find(&self.reader()?, job)
    }

    fn stored(&self, job: &str, change: &dyn Fn(&mut JobSpec)) -> Result<Prepared, EngineError> {
        let row = self.find(job)?;
        let mut spec: JobSpec = serde_json::from_str(&row.spec)
            .map_err(|error| EngineError::Internal(format!("the stored job cannot be read: {error}")))?;
        change(&mut spec);
        self.reopen(row, spec)
    }

    fn today(&self) -> Date {
        self.clock.today()
    }

    /// Finds the job in the state directory, or reads its source and makes it.
    ///
    /// What is only planned (`keep` is false) stays in preparation and books nothing, as the ledger outlives its job.
    fn prepare(&self, spec: &JobSpec, observer: &dyn Observer, keep: bool) -> Result<Prepared, EngineError> {
        let mut spec = spec.clone();
        check_sink(&spec)?;
        Deployment::of_job(&self.settings, &spec, self.today())?;
        let spool = self.spool(&mut spec)?;
        let path = spec.source.path.clone().unwrap_or_else(|| spool.clone().unwrap_or_default());
        let digest = bulkrate_io::hex(&bulkrate_io::digest_file(&path)?);
        let id = identity(&spec, if spool.is_some() { "standard input" } else { &digest });
        if let Some(row) = self.reader()?.job_by_id(&id)? {
            if row.state != JobState::Preparing {
                // Standard input is known by its name alone: other data under it would get the answers of the first.
                return if row.source_digest == digest { self.reopen(row, spec) } else { Err(EngineError::SourceChanged { path: "standard input".to_owned() }) };
            }
            // A pass that was cut short is made again: nothing was sent.
            let no = row.no;
            self.with(move |store| store.delete_job(no))?;
        }
        check_target(&spec)?;
        let new = NewJob {
            id: id.clone(),
            name: spec.name.clone(),
            spec: to_json(&spec)?,
            source: path.display().to_string(),
            source_digest: digest,
            catalogue_digest: self.settings.catalogue.digest().to_owned(),
            created_at_ms: self.clock.row_ms(),
        };
        let no = self.with(move |store| store.create_job(&new))?;
        let dir = JobDir::of(&self.settings.state_dir, &id);
        create_dir(&dir.0)?;
        if let Some(spool) = &spool {
            std::fs::rename(spool, dir.spool()).map_err(io_error("could not move", spool))?;
        }
        let source_path = spec.source.path.clone().unwrap_or_else(|| dir.spool());
        match self.pass(&spec, no, &dir, &source_path, observer, keep) {
            Ok((checkpoint, deployments)) => {
                let row = self
                    .reader()?
                    .job(no)?
                    .ok_or_else(|| EngineError::Internal("the job is gone".to_owned()))?;
                Ok(Prepared { row, spec, checkpoint, deployments, resumed: false })
            }
            Err(error) => {
                // A source that cannot be used leaves nothing behind.
                self.with(move |store| store.delete_job(no))?;
                drop(std::fs::remove_dir_all(&dir.0));
                Err(error)
            }
        }
    }

    /// Standard input is kept, as delivery reads the columns again.
    fn spool(&self, spec: &mut JobSpec) -> Result<Option<PathBuf>, EngineError> {
        if spec.source.path.is_some() {
            return Ok(None);
        }
        let path = self.settings.state_dir.join("stdin.spool");
        let mut file = open_file(&path, true)?;
        let mut input = std::io::stdin().lock();
        let mut block = vec![0; 1 << 18];
        let mut first = None;
        loop {
            let read =
                input.read(&mut block).map_err(io_error("could not read", Path::new("standard input")))?;
            if read == 0 {
                break;
            }
            first = first.or_else(|| block[..read].iter().copied().find(|byte| !byte.is_ascii_whitespace()));
            file.write_all(&block[..read]).map_err(io_error("could not write", &path))?;
        }
        spec.source
            .format
            .get_or_insert_with(|| if first == Some(b'{') { "jsonl" } else { "csv" }.to_owned());
        Ok(Some(path))
    }

    fn pass(
        &self,
        spec: &JobSpec,
        no: u32,
        dir: &JobDir,
        path: &Path,
        observer: &dyn Observer,
        keep: bool,
    ) -> Result<(Checkpoint, Vec<Deployment>), EngineError> {
        let mut options = crate::deliver::source_options(&spec.source, spec.source.limit)?;
        options.input = bulkrate_io::Input::File(path.to_owned());
        let shape = {
            let mut peek = Source::open(&options)?;
            let first = peek.next()?;
            Shape::of(&spec.request, first.as_ref().map(|row| &row.data))?
        };
        let mut source = Source::open(&options)?;
        crate::deliver::columns(spec, source.format(), source.columns(), shape)?;
        let mut pass =
            Pass::new(&self.settings, spec, no, dir, self.writer.clone(), &source, shape, self.today())?;
        let total = source.bytes_total();
        let mut told_us = self.clock.us();
        while let Some(row) = source.next()? {
            pass.record(&row)?;
            if pass.records() % 4_096 == 0 && self.clock.us() > told_us + 250_000 {
                told_us = self.clock.us();
                observer.event(&Event::Preparing {
                    records: pass.records(),
                    bytes: source.bytes_read(),
                    bytes_total: total,
                });
            }
        }
        observer.event(&Event::Preparing {
            records: pass.records(),
            bytes: source.bytes_read(),
            bytes_total: total,
        });
        let deployments = pass.deployments().to_vec();
        let (checkpoint, reused) = pass.finish(&source, true, self.clock.row_ms())?;
        for note in &reused.notes {
            observer.event(&Event::Note { message: note });
        }
        let mut tx = Tx::new(no);
        if keep {
            tx.ledger = reused.ledger;
            tx.job_state = Some(JobState::Running);
        }
        tx.checkpoint = Some(to_json(&checkpoint)?);
        tx.at_ms = Some(self.clock.row_ms());
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        Ok((checkpoint, deployments))
    }

    /// A job that is there already, with the new run settings.
    fn reopen(&self, row: JobRow, spec: JobSpec) -> Result<Prepared, EngineError> {
        let text = row
            .checkpoint
            .as_deref()
            .ok_or_else(|| EngineError::Internal("the job has no checkpoint".to_owned()))?;
        let checkpoint: Checkpoint = serde_json::from_str(text)
            .map_err(|error| EngineError::Internal(format!("the checkpoint cannot be read: {error}")))?;
        let mut deployments = Deployment::of_job(&self.settings, &spec, self.today())?;
        for stats in &checkpoint.stats.models {
            if !deployments.iter().any(|found| found.pinned == stats.model) {
                deployments.push(Deployment::resolve(&self.settings, &spec.run, &stats.model, self.today())?);
            }
        }
        let mut tx = Tx::new(row.no);
        tx.spec = Some(to_json(&spec)?);
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        Ok(Prepared { row, spec, checkpoint, deployments, resumed: true })
    }

    /// The plan, once it is known whether custom base URLs have a batch API. One that cannot be asked is a warning.
    async fn probed_plan(&self, prepared: &Prepared) -> Result<Plan, EngineError> {
        let mut warnings = Vec::new();
        let may_batch = prepared.resumed || matches!(prepared.spec.run.lane, None | Some(Lane::Batch));
        let mut asked: Vec<&str> = Vec::new();
        for account in prepared.deployments.iter().map(|found| &found.account) {
            if !may_batch
                || !account.custom
                || account.api.batches().is_some()
                || asked.contains(&account.id.as_str())
            {
                continue;
            }
            asked.push(&account.id);
            if let Err(error) = account.api.probe().await {
                warnings
                    .push(format!("whether `{}` has a batch API is not known: {error}", account.provider));
            }
        }
        let mut plan = self.plan_of(prepared)?;
        plan.warnings.append(&mut warnings);
        Ok(plan)
    }

    fn plan_of(&self, prepared: &Prepared) -> Result<Plan, EngineError> {
        let Prepared { row, spec, checkpoint, deployments, resumed } = prepared;
        let reader = self.reader()?;
        let open = if *resumed {
            Some(bulkrate_store::fold::ItemStates::load(&reader, row.no)?.counts().open())
        } else {
            None
        };
        let facts = Facts {
            job: &row.id,
            spec,
            checkpoint,
            deployments,
            cached: checkpoint.stats.cached,
            spent: spent_by(&reader, row.no)?,
            open,
            now_us: self.clock.unix_ms().saturating_mul(1_000),
            created_ms: u64::try_from(row.created_at_ms).unwrap_or(0),
            warnings: warnings(&self.settings.catalogue, deployments, self.today()),
        };
        plan(&facts)
    }

    async fn work(
        &self,
        prepared: Prepared,
        plan: &Plan,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let started_us = self.clock.us();
        let home = plan.lane;
        check_keys(&prepared, plan)?;
        let job = Rc::new(self.job(&prepared, plan, home, observer, stop)?);
        if prepared.resumed {
            let state = job.state.borrow();
            let done = state.tally.succeeded + state.tally.failed;
            job.tell(&Event::Resumed { job: &job.id, done, left: state.open(), spent: state.budget.settled });
        }
        if prepared.spec.sink.stream && prepared.spec.sink.path.is_some() {
            let stream =
                Stream::open(&self.reader()?, &prepared.row, &prepared.spec, &prepared.checkpoint, &job.dir)?;
            *job.stream.borrow_mut() = Some(stream);
        }
        let local = LocalSet::new();
        local
            .run_until(async {
                let lost = doubt_lost_calls(&job)?;
                if lost > 0 {
                    job.alert("calls-in-doubt", &format!("{lost} calls of an earlier run may have been paid without an answer; their price at most is booked as doubt"));
                }
                let open = open_batches(&job)?;
                let driven = drive(&job, open).await;
                job.notify.settle(&*job.observer).await;
                driven
            })
            .await?;
        let report = self.end(&job, &prepared, started_us)?;
        job.notify.end(&report, &*job.observer).await;
        Ok(report)
    }

    fn job(
        &self,
        prepared: &Prepared,
        plan: &Plan,
        home: Lane,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Job, EngineError> {
        let Prepared { row, spec, checkpoint, deployments, .. } = prepared;
        let reader = self.reader()?;
        let no = row.no;
        let dir = JobDir::of(&self.settings.state_dir, &row.id);
        let found = recover(
            &reader,
            no,
            checkpoint.stats.duplicates > 0,
            u64::from(spec.run.fail_above_permille) * 1_000,
        )?;
        let job_spent = spent_by(&reader, no)?;
        let (day_ms, month_ms) = period_starts(self.today());
        let budget =
            budget(spec, plan, job_spent, reader.spent_since(day_ms)?, reader.spent_since(month_ms)?);
        let ladder = Ladder { batch_wait_us: spec.run.poll_min_ms.min(60_000) * 1_000, ..Ladder::new(home) };
        let next_segment =
            reader.submissions(no)?.iter().map(|submission| submission.segment).max().unwrap_or(0) + 1;
        let end = spec.source.limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        let (call_retries, batch_retries) = State::queues();
        let mut state = State {
            canary_done: found.meter.counts().1 > 0,
            items: found.items,
            budget,
            trouble: found.trouble,
            followers: found.followers,
            call_retries,
            batch_retries,
            cursor: 0,
            end,
            meter: found.meter,
            halted: None,
            failed: None,
            blocked: None,
            switched: false,
            late_told: false,
            cancelled: false,
            active: (0..deployments.len()).collect(),
            ratios: vec![Ratios::default(); deployments.len()],
            moved: crate::run::ledger::Moved::default(),
            served: crate::cache::Served::new(!found.answered),
            outcomes: Vec::new(),
            rng: SplitMix64::new(self.settings.seed ^ self.epoch ^ self.clock.us()),
            batches: HashMap::new(),
            tally: found.tally,
            calls_in_flight: 0,
            calls_bound: UsdNanos::ZERO,
            unresolved: 0,
            over: false,
            enqueued_tokens: 0,
            enqueued_max: spec.run.enqueued_tokens_max,
            batch_not_before_us: 0,
        };
        state.queue_left_over(home, ladder.batch_max);
        Ok(Job {
            no,
            id: row.id.clone(),
            inst: self.inst.clone(),
            epoch: self.epoch,
            spec: spec.clone(),
            shape: checkpoint.shape,
            deadline_ms: spec
                .run
                .deadline_ms
                .map(|after| u64::try_from(row.created_at_ms).unwrap_or(0).saturating_add(after)),
            requests: RefCell::new(Requests::open(&dir.requests(), no)?),
            results: RefCell::new(Results::open(&dir.results(), 0, found.last_result)?),
            stream: RefCell::default(),
            notify: crate::notify::Notify::new(spec),
            dir,
            writer: self.writer.clone(),
            reader,
            deployments: deployments.clone(),
            home,
            ladder,
            clock: self.clock,
            observer,
            stop,
            state: RefCell::new(state),
            changed: Notify::new(),
            expectations: RefCell::default(),
            next_segment: Cell::new(next_segment),
        })
    }

    /// Says how the run ended, and writes the results if the job is complete.
    fn end(&self, job: &Rc<Job>, prepared: &Prepared, started_us: u64) -> Result<Report, EngineError> {
        let mut report = self.report(job, prepared, started_us)?;
        let complete = matches!(report.ending, Ending::Finished | Ending::Cancelled);
        let streamed = job.stream.borrow_mut().take();
        if let Some(stream) = streamed {
            stream.finish()?;
            report.output = prepared.spec.sink.path.as_ref().map(|path| path.display().to_string());
        } else if complete && prepared.spec.sink.path.is_some() {
            let reader = self.reader()?;
            let row =
                reader.job(job.no)?.ok_or_else(|| EngineError::Internal("the job is gone".to_owned()))?;
            let owned = crate::run::stream::claim(&prepared.spec, &job.dir)?;
            let mut told = 0;
            let written = crate::deliver::deliver(
                &reader,
                &row,
                &job.dir,
                &prepared.spec.sink,
                owned,
                &mut |rows, rows_total| {
                    if rows >= told + 50_000 {
                        told = rows;
                        job.tell(&Event::Delivering { rows, rows_total });
                    }
                },
            )?;
            let _ = written;
            report.output = prepared.spec.sink.path.as_ref().map(|path| path.display().to_string());
        }
        if let Err(error) = self.remember(job, complete) {
            job.tell(&Event::Note {
                message: &format!("the answers could not be kept for later jobs: {error}"),
            });
        }
        let mut tx = Tx::new(job.no);
        if complete {
            tx.job_state =
                Some(if report.ending == Ending::Cancelled { JobState::Cancelled } else { JobState::Done });
        }
        let mut stored =
            serde_json::to_value(&report).map_err(|error| EngineError::Internal(error.to_string()))?;
        stored["delivered"] = report.output.is_some().into();
        tx.report = Some(stored.to_string());
        tx.at_ms = Some(self.clock.row_ms());
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        job.tell(&Event::Finished { report: &report });
        Ok(report)
    }

    /// Adds what a job was answered to the response cache, once it is complete; notes the newest snapshots in any case.
    fn remember(&self, job: &Job, complete: bool) -> Result<(), EngineError> {
        let state = job.state.borrow();
        let served = state.served.newest();
        let snapshots: Vec<(String, String)> = served
            .iter()
            .map(|(place, model)| {
                (crate::cache::snapshot_key(&job.deployments[*place].pinned), model.clone())
            })
            .collect();
        for (key, model) in snapshots {
            self.with(move |store| store.set_meta(&key, &model))?;
        }
        let path = crate::paths::cache_dir(&self.settings.state_dir).join(format!("{}.keys", job.id));
        let nothing_new = served.is_empty() && path.exists();
        if complete && !nothing_new && job.spec.run.cache != CacheMode::Off {
            crate::cache::keep(
                &job.reader,
                job.no,
                &job.id,
                &job.dir,
                state.items.len(),
                &state.served,
                &path,
            )?;
        }
        Ok(())
    }

    fn report(&self, job: &Rc<Job>, prepared: &Prepared, started_us: u64) -> Result<Report, EngineError> {
        let state = job.state.borrow();
        let counts = state.items.counts();
        let invalid = counts.of(ItemState::Invalid);
        let open = counts.open();
        let failures = crate::run::failures::failures(&job.reader, job.no, &state.followers)?;
        let (ending, reason) = ending(job, &state, open);
        let saved = self
            .reader()?
            .ledger_totals(
                &LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job.no) }
                    .by(&[By::Lever]),
            )?
            .into_iter()
            .map(|total| (total.group.concat(), total.sums.usd(LedgerKind::Saving)))
            .collect();
        let failed = state.tally.failed;
        let cancelled = failures.get("cancelled_by_user").copied().unwrap_or(0);
        let items = counts.total();
        let above = u128::from(failed) * 1_000
            > u128::from(items) * u128::from(prepared.spec.run.fail_above_permille);
        let _ = invalid;
        Ok(Report {
            job: job.id.clone(),
            name: prepared.spec.name.clone(),
            ending,
            reason,
            halted_by: state.halted.as_ref().map(|halt| halt.class.name().to_owned()),
            items,
            succeeded: state.tally.succeeded,
            failed,
            cancelled,
            // Followers of an open item are open as well.
            open: if open == 0 { 0 } else { items.saturating_sub(state.tally.succeeded + failed) },
            duplicates: state.tally.duplicates,
            cached: state.tally.cached,
            failures,
            spent: state.budget.settled,
            in_doubt: state.budget.doubt,
            reserved: state.budget.reserved,
            naive: state.tally.naive,
            saved,
            input_tokens: state.tally.input_tokens,
            output_tokens: state.tally.output_tokens,
            requests_sent: state.tally.requests_sent,
            rate_limited: state.tally.rate_limited,
            batches: state.tally.batches,
            seconds: seconds(job.clock.us() - started_us),
            output: None,
            state_dir: self.settings.state_dir.display().to_string(),
            in_flight: state.calls_in_flight,
            in_flight_bound: state.calls_bound,
            above_threshold: above,
            estimated_usage: state.tally.estimated,
        })
    }
}

fn ending(job: &Job, state: &State, open: u64) -> (Ending, Option<String>) {
    if job.stop.is_aborting() {
        return (Ending::Aborted, Some("stopped at once by the user".to_owned()));
    }
    if let Some(halt) = &state.halted {
        return (Ending::Halted, Some(halt.message.clone()));
    }
    if state.cancelled && open == 0 {
        return (Ending::Cancelled, Some("cancelled by the user".to_owned()));
    }
    if open == 0 {
        return (Ending::Finished, None);
    }
    if job.stop.is_detaching() {
        return (Ending::Detached, Some("detached by the user; batches go on at the provider".to_owned()));
    }
    match &state.blocked {
        Some(over) => (Ending::BudgetExhausted, Some(over.to_string())),
        None if state.unresolved > 0 => {
            (Ending::InDoubt, Some("batches in doubt wait for the operator".to_owned()))
        }
        None => (Ending::Finished, None),
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people")]
fn seconds(us: u64) -> f64 {
    (us / 1_000) as f64 / 1_000.0
}

fn check_keys(prepared: &Prepared, plan: &Plan) -> Result<(), EngineError> {
    if plan.requests == 0 {
        return Ok(());
    }
    match prepared.deployments.iter().find(|found| !found.account.has_key && !found.account.custom) {
        Some(found) => Err(EngineError::NoCredentials {
            provider: found.account.provider.clone(),
            key_env: found.account.key_env.clone(),
        }),
        None => Ok(()),
    }
}

fn revival(ordinal: u32) -> Outcome {
    Outcome {
        ordinal,
        attempt: 0,
        via: Via::Prepare,
        class: None,
        fate: Fate::Revive,
        counted: false,
        cost: UsdNanos::ZERO,
        naive: UsdNanos::ZERO,
        usage: bulkrate_core::usage::Usage::default(),
        estimated: false,
        place: Place::NONE,
    }
}

fn spent_by(reader: &dyn View, job: u32) -> Result<bulkrate_store::Spent, EngineError> {
    let totals = reader.ledger_totals(&LedgerQuery::of_job(job))?;
    Ok(totals.first().map(|total| total.sums.spent()).unwrap_or_default())
}

/// Midnight UTC, and that of the first of the month, in milliseconds since the epoch.
fn period_starts(today: Date) -> (i64, i64) {
    let start = |date: Date| {
        date.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_millisecond())
    };
    (start(today), start(today.first_of_month()))
}

/// The format of the output is known and can be written as asked.
fn check_sink(spec: &JobSpec) -> Result<(), EngineError> {
    if spec.sink.path.is_none() {
        return Ok(());
    }
    let mode = if spec.sink.stream {
        bulkrate_io::SinkMode::Stream { resume_at: None }
    } else {
        bulkrate_io::SinkMode::Whole
    };
    crate::deliver::sink_options(&spec.sink, true, mode)?.shape()?;
    Ok(())
}

/// A file that this job did not write is not replaced unasked; told before anything is spent.
fn check_target(spec: &JobSpec) -> Result<(), EngineError> {
    match &spec.sink.path {
        Some(path) if path.as_os_str() != "-" && !spec.sink.force && path.is_file() => {
            Err(bulkrate_io::SinkError::Exists { path: path.clone() }.into())
        }
        _ => Ok(()),
    }
}

/// Same job spec and same input: same job. Budget, deadline, lane, limits and output do not count.
fn identity(spec: &JobSpec, digest: &str) -> String {
    let named = if spec.source.path.is_none() { spec.name.as_str() } else { "" };
    let source = (&spec.source.format, &spec.source.id, spec.source.on_bad_line, spec.source.limit);
    let parts = (&spec.request, &spec.tags, source, named, spec.run.distinct, digest);
    let text = serde_json::to_vec(&parts).unwrap_or_default();
    short_id(&Sha256::digest(text).into(), 10)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, EngineError> {
    serde_json::to_string(value).map_err(|error| EngineError::Internal(error.to_string()))
}
