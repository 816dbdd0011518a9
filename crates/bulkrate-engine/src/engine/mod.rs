//! The engine of one state directory: prepares, plans, runs and resumes jobs.

pub(crate) mod intake;
pub(crate) mod start;
mod end;
pub(crate) mod delivered;
mod advice;
mod decide;
mod patient;
mod pilot;
mod embed;
pub(crate) mod patience;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bulkrate_core::ids::{Ordinal, short_id};
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{
    Fate, JobRow, JobState, LedgerEntry, Outcome, Place, Store, StoreError, Tx, Urgency, View, Writer,
};
use jiff::civil::Date;
use sha2::{Digest, Sha256};
use tokio::task::LocalSet;

use self::embed::Embedding;
use self::start::{check_keys, end_of};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::embed::Kept;
use crate::event::{Event, Observer};
use crate::exact::ModelCount;
use crate::ground::Ground;
use crate::paths::{JobDir, io_error};
use crate::plan::Plan;
use crate::planning::{admit, asked};
use crate::prepare::Checkpoint;
use crate::report::Report;
use crate::run::clock::Clock;
use crate::run::drive::drive;
use crate::run::job::Job;
use crate::run::recover::{doubt_lost_calls, open_batches};
use crate::run::stream::Stream;
use crate::settings::Settings;
use crate::spec::JobSpec;
use crate::stop::Stop;

/// Where it stands when the state was first opened.
const BORN: &str = "born_ms";

/// Holds the lock of a state directory; one per directory, many jobs in it.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    ground: Ground,
    writer: Writer,
    inst: String,
    /// When the state was first opened, by an earlier process.
    born_ms: Option<u64>,
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
    /// What the cache and the filter have answered of a new job, booked when it begins: the ledger outlives its job.
    unbooked: Vec<LedgerEntry>,
    /// The job that it works for: who cancels that cancels this.
    part_of: Option<u32>,
}

impl Engine {
    /// Opens the state directory for work, and creates it if need be.
    ///
    /// # Errors
    /// Another engine holds it, it is from a newer version, or it cannot be written.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        Self::on_ground(settings, true)
    }

    fn on_ground(settings: Settings, patient: bool) -> Result<Self, EngineError> {
        let mut rng = SplitMix64::new(settings.seed);
        let inst = short_id(&Sha256::digest(rng.next_u64().to_be_bytes()).into(), 16);
        let ground = Ground::open(&settings, &inst, patient)?;
        Self::on(settings, ground)
    }

    /// An engine over a store that is open already.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn on(settings: Settings, ground: Ground) -> Result<Self, EngineError> {
        let now_ms = ground.unix_ms.to_string();
        let (inst, epoch, born) = ground
            .writer
            .with(move |store| {
                let born = store.meta(BORN)?;
                if born.is_none() {
                    store.set_meta(BORN, &now_ms)?;
                }
                Ok((store.inst().to_owned(), store.epoch(), born))
            })
            .map_err(|error| crate::error::stored(&error))?;
        let born_ms = born.and_then(|ms| ms.parse().ok());
        let clock = Clock::started_at(ground.unix_ms);
        Ok(Self { writer: ground.writer.clone(), ground, settings, inst, epoch, born_ms, clock, aside: None })
    }

    /// As [`Self::open`], for [`Self::plan`] alone: beside a running engine it works in a directory of its own, and then
    /// knows nothing of earlier jobs.
    pub fn open_to_plan(settings: Settings) -> Result<Self, EngineError> {
        match Self::on_ground(settings.clone(), false) {
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

    fn reader(&self) -> Result<Box<dyn View>, EngineError> {
        Ok((self.ground.views)()?)
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
        self.plan_with(spec, observer, false).await
    }

    /// As [`Self::plan`], with the input tokens of every request counted where the model's tokenizer is known.
    pub async fn plan_exact(&self, spec: &JobSpec, observer: &dyn Observer) -> Result<Plan, EngineError> {
        self.plan_with(spec, observer, true).await
    }

    async fn plan_with(
        &self,
        spec: &JobSpec,
        observer: &dyn Observer,
        exact: bool,
    ) -> Result<Plan, EngineError> {
        let prepared = self.prepare(spec, observer, &Stop::new())?;
        if !prepared.resumed && spec.request.fetch.is_some() {
            let message =
                "what a plan fetches is not kept: `run` fetches it again, once for all its attempts";
            observer.event(&Event::Note { message });
        }
        let counts = exact.then(|| self.counts(&prepared)).transpose();
        let planned = match counts {
            Ok(counts) => self.planned(&prepared, counts.as_deref()).await,
            Err(error) => Err(error),
        };
        let plan = planned.and_then(|(plan, embedding)| self.leave(embedding).map(|()| plan));
        self.forget_new(&prepared)?;
        plan
    }

    fn counts(&self, prepared: &Prepared) -> Result<Vec<ModelCount>, EngineError> {
        let requests = JobDir::of(&self.settings.state_dir, &prepared.row.id).requests();
        let shape = prepared.checkpoint.shape;
        let asked = asked(prepared.spec.source.limit, &prepared.checkpoint);
        crate::exact::count(&requests, shape, &prepared.deployments, asked.stats, &*self.settings.tables)
    }

    /// A job that was only looked at, or refused, leaves nothing behind.
    fn forget_new(&self, prepared: &Prepared) -> Result<(), EngineError> {
        if prepared.resumed {
            return Ok(());
        }
        let (no, dir) = (prepared.row.no, JobDir::of(&self.settings.state_dir, &prepared.row.id));
        self.with(move |store| store.delete_job(no))?;
        std::fs::remove_dir_all(&dir.0).map_err(io_error("could not remove", &dir.0))
    }

    /// Runs a job, or goes on with it if it is there already. `confirm` is asked once, after the plan is told.
    pub async fn run(
        &self,
        spec: &JobSpec,
        confirm: &dyn Fn(&Plan) -> bool,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let prepared = self.prepare(spec, &*observer, &stop)?;
        self.start(prepared, confirm, observer, stop).await
    }

    /// Runs what is prepared, or leaves nothing of it.
    async fn start(
        &self,
        prepared: Prepared,
        confirm: &dyn Fn(&Plan) -> bool,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let refused = match self.planned(&prepared, None).await {
            Err(error) => error,
            Ok((plan, embedding)) => {
                observer.event(&Event::Planned { plan: &plan });
                let refused = admit(&prepared.spec, &plan).err().or_else(|| {
                    let p95 = plan.is_priced().then(|| plan.price().1);
                    (plan.requests > 0 && !confirm(&plan)).then_some(EngineError::NotConfirmed { p95 })
                });
                match refused {
                    None => return Box::pin(self.work(prepared, plan, embedding, observer, stop)).await,
                    Some(error) => {
                        self.leave(embedding)?;
                        error
                    }
                }
            }
        };
        self.forget_new(&prepared)?;
        Err(refused)
    }

    /// The spec a job was last run with.
    pub fn spec_of(&self, job: &str) -> Result<JobSpec, EngineError> {
        self.last_spec(&self.find(job)?)
    }

    /// A word to replace a file holds until the job has made the file its own.
    fn last_spec(&self, row: &JobRow) -> Result<JobSpec, EngineError> {
        let mut spec: JobSpec = serde_json::from_str(&row.spec)
            .map_err(|error| EngineError::Internal(format!("the stored job cannot be read: {error}")))?;
        spec.sink.force &= !crate::run::stream::owns(&spec, &JobDir::of(&self.settings.state_dir, &row.id));
        Ok(spec)
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
        let (plan, embedding) = self.planned(&prepared, None).await?;
        observer.event(&Event::Planned { plan: &plan });
        if let Err(refused) = admit(&prepared.spec, &plan) {
            self.leave(embedding)?;
            return Err(refused);
        }
        Box::pin(self.work(prepared, plan, embedding, observer, stop)).await
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
        let mut spec = self.spec_of(job)?;
        change(&mut spec);
        self.check_output(&row, &spec)?;
        let count = self.revive(row.no, end_of(&spec))?;
        // Texts that were cancelled with it, or that nobody has embedded.
        for (id, _) in Kept::load(&JobDir::of(&self.settings.state_dir, &row.id))?.left() {
            let embeds = self.reader()?.job_by_id(id)?;
            if let Some(embeds) = embeds.filter(|embeds| embeds.state != JobState::Preparing) {
                self.revive(embeds.no, Ordinal::MAX)?;
            }
        }
        observer.event(&Event::Note { message: &format!("{count} dead letters are tried again") });
        self.resume(job, change, observer, stop).await
    }

    /// Gives the dead items of a job before this one a new set of attempts, and says how many they are.
    fn revive(&self, no: u32, end: Ordinal) -> Result<usize, EngineError> {
        let states = bulkrate_store::fold::ItemStates::load(&*self.reader()?, no)?;
        let revived: Vec<Outcome> = states
            .iter()
            .take_while(|(ordinal, _)| *ordinal < end)
            .filter(|(_, item)| matches!(item.state, ItemState::Dead | ItemState::Cancelled))
            .map(|(ordinal, _)| Outcome::without_call(ordinal, None, Fate::Revive, Place::NONE))
            .collect();
        let count = revived.len();
        let mut tx = Tx::new(no);
        tx.outcomes = revived;
        tx.job_state = Some(JobState::Running);
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        Ok(count)
    }

    /// A job that was begun.
    fn find(&self, job: &str) -> Result<JobRow, EngineError> {
        let row = crate::reader::find(&*self.reader()?, job)?;
        if row.state == JobState::Preparing { Err(crate::deliver::preparing(&row)) } else { Ok(row) }
    }

    fn stored(&self, job: &str, change: &dyn Fn(&mut JobSpec)) -> Result<Prepared, EngineError> {
        let row = self.find(job)?;
        let mut spec = self.last_spec(&row)?;
        change(&mut spec);
        self.reopen(row, spec)
    }

    fn today(&self) -> Date {
        self.clock.today()
    }

    async fn work(
        &self,
        mut prepared: Prepared,
        mut plan: Plan,
        embedding: Option<Embedding>,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Report, EngineError> {
        let started_us = self.clock.us();
        self.begin(&mut prepared)?;
        if let Err(refused) = check_keys(&*self.reader()?, &prepared, &plan) {
            self.leave(embedding)?;
            return Err(refused);
        }
        let left = self.embed(&mut prepared, &mut plan, embedding, (&observer, &stop)).await?;
        let job = Rc::new(self.job(&prepared, &plan, plan.lane, observer, stop)?);
        if prepared.resumed {
            let state = job.state.borrow();
            let done = state.tally.succeeded + state.tally.failed;
            // Followers of an open item are open as well.
            let left = if state.open() == 0 { 0 } else { state.items.asked().total().saturating_sub(done) };
            job.tell(&Event::Resumed { job: &job.id, done, left, spent: state.budget.settled });
        }
        if prepared.spec.sink.stream && prepared.spec.sink.path.is_some() {
            self.forget_delivered(job.no)?;
            let stream = Stream::open(
                &*self.reader()?,
                &prepared.row,
                &prepared.spec,
                &prepared.checkpoint,
                &job.dir,
            )?;
            *job.stream.borrow_mut() = Some(stream);
        }
        go_on(&job).await?;
        advice::advise(&job, &self.settings.catalogue).await;
        let report = self.end(&job, &prepared, left.as_deref(), started_us)?;
        job.notify.end(&report, &*job.observer).await;
        Ok(report)
    }
}

/// Takes up what an earlier run left, and drives the job to its end.
async fn go_on(job: &Rc<Job>) -> Result<(), EngineError> {
    let driven = async {
        let lost = doubt_lost_calls(job)?;
        if lost > 0 {
            job.alert("calls-in-doubt", &format!("{lost} calls of an earlier run may have been paid without an answer; their price at most is booked as doubt"));
            // An order that waits may be about them: it is heard once they are rows.
            job.commit(Tx::new(job.no), Urgency::Now).await?;
        }
        let open = open_batches(job)?;
        let driven = drive(job, open).await;
        // What the results are written with is not wanted on top of what the calls took.
        for calls in job.deployments.iter().filter_map(|deployment| deployment.account.api.calls()) {
            calls.rest().await;
        }
        job.notify.settle(&*job.observer).await;
        driven
    };
    LocalSet::new().run_until(driven).await
}
