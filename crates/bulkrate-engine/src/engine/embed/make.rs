//! Embeddings, acted out: the job that embeds, what is collected beside it, and the file of vectors.

use std::rc::Rc;
use std::sync::Arc;

use super::super::pilot::why_halted;
use super::super::start::{check_keys, source_halt, spent_by};
use super::super::{Engine, Prepared, go_on};
use super::Embedding;
use crate::EngineError;
use crate::deliver::spec_of;
use crate::embed::{Kept, Maker, Texts, build};
use crate::event::{Event, Observer};
use crate::paths::JobDir;
use crate::pilot::left_of;
use crate::plan::Plan;
use crate::report::{Ending, Report};
use crate::run::drive::cancels;
use crate::stop::Stop;
use bulkrate_core::lane::Lane;
use bulkrate_store::{JobRow, JobState};

/// A part of the work has a plan and an end of its own, of which the user's job tells.
#[derive(Debug)]
struct Hushed {
    observer: Arc<dyn Observer>,
    /// How far it is, is told.
    shown: bool,
}

impl Observer for Hushed {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Planned { .. } | Event::Resumed { .. } | Event::Finished { .. } => {}
            Event::Progress { .. } if !self.shown => {}
            _ => self.observer.event(event),
        }
    }
}

type Ears<'e> = (&'e Arc<dyn Observer>, &'e Stop);

impl Engine {
    /// Embeds what is to be embedded, and takes what that has cost from the budget of the job. Stopped in between, the same call goes on;
    /// answers how the job that embeds was left then.
    ///
    /// # Errors
    /// The job that embeds did not come to its end (code `embedding-halted`).
    pub(in super::super) async fn embed(
        &self,
        prepared: &mut Prepared,
        plan: &mut Plan,
        embedding: Option<Embedding>,
        ears: Ears<'_>,
    ) -> Result<Option<Box<Report>>, EngineError> {
        let Some(Embedding { texts, own, .. }) = embedding else { return Ok(None) };
        let dir = JobDir::of(&self.settings.state_dir, &prepared.row.id);
        let cancelled = self.is_cancelled(&prepared.row)?;
        if cancelled || prepared.resumed && source_halt(prepared, &dir).is_some() {
            own.map_or(Ok(()), |own| self.forget_new(&own))?;
            let ended = self.ended(prepared, &dir, cancelled, ears);
            return Box::pin(self.beside(prepared, plan, ears, ended)).await;
        }
        let asks = own.is_some();
        let left = match (&texts, own) {
            (Some(texts), Some(own)) => {
                let made = self.vectors(prepared, &dir, texts, *own, ears);
                Box::pin(self.beside(prepared, plan, ears, made)).await?
            }
            (Some(texts), None) => {
                build(&*self.reader()?, &self.settings.state_dir, &dir, texts, None)?;
                None
            }
            (None, _) => None,
        };
        let spent = Kept::load(&dir)?.spent(&*self.reader()?)?.total();
        prepared.spec.run.budget = left_of(prepared.spec.run.budget, spent);
        if asks {
            // It took its time, which a deadline counts.
            *plan = self.probed_plan(prepared, None).await?;
        } else if !plan.cap_is_default {
            plan.cap = prepared.spec.run.budget;
        }
        Ok(left)
    }

    fn is_cancelled(&self, row: &JobRow) -> Result<bool, EngineError> {
        Ok(self.reader()?.orders()?.iter().any(|order| cancels(order, |no| no == row.no)))
    }

    /// Where nothing new is sent for a job nothing is embedded for it: what is out for that comes in, and with a job that is cancelled all
    /// that embeds for it is. Answers how that was left, if it was.
    async fn ended(
        &self,
        prepared: &Prepared,
        dir: &JobDir,
        cancelled: bool,
        (observer, stop): Ears<'_>,
    ) -> Result<Option<Box<Report>>, EngineError> {
        let (reader, kept) = (self.reader()?, Kept::load(dir)?);
        for (id, _) in kept.left() {
            let row = reader.job_by_id(id)?.filter(|row| row.state == JobState::Running);
            let Some(row) = row else { continue };
            if !cancelled && reader.open_submissions(row.no)?.is_empty() {
                continue;
            }
            let (spec, started_us) = (spec_of(&row)?, self.clock.us());
            let own = Prepared { part_of: Some(prepared.row.no), ..self.known(row, spec)? };
            let plan = self.probed_plan(&own, None).await?;
            check_keys(&*reader, &own, &plan)?;
            let hushed = Arc::new(Hushed { observer: Arc::clone(observer), shown: true });
            let mut job = self.job(&own, &plan, plan.lane, hushed, stop.clone())?;
            job.only_collects = !cancelled;
            job.state.borrow_mut().cancelled = cancelled;
            let job = Rc::new(job);
            Box::pin(go_on(&job)).await?;
            if !cancelled {
                continue; // it goes on once the source is there
            }
            let report = self.end(&job, &own, None, started_us)?;
            if matches!(report.ending, Ending::Detached | Ending::Aborted) {
                return Ok(Some(Box::new(report)));
            }
        }
        Ok(None)
    }

    /// Brings in what an earlier run has left at the provider while something else is done first: results expire. What is still out
    /// then is the run's; where nothing comes of the other, all of it is waited for.
    async fn beside<T>(
        &self,
        prepared: &Prepared,
        plan: &Plan,
        (observer, stop): Ears<'_>,
        first: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let open = self.reader()?.open_submissions(prepared.row.no)?;
        if !prepared.resumed || open.iter().all(|open| open.lane != Lane::Batch) {
            return first.await;
        }
        let until = stop.part();
        let hushed = Arc::new(Hushed { observer: Arc::clone(observer), shown: false });
        let mut job = self.job(prepared, plan, plan.lane, hushed, until.clone())?;
        job.only_collects = true;
        let first = async {
            let done = first.await;
            match &done {
                Ok(_) => until.detach(),
                Err(error) => {
                    let message = format!("{error}; batches that are out are brought in before the job ends");
                    observer.event(&Event::Note { message: &message });
                }
            }
            done
        };
        let job = Rc::new(job);
        let (done, collected) = tokio::join!(first, Box::pin(go_on(&job)));
        let done = done?;
        collected.map(|()| done)
    }

    /// Runs the job that embeds, and writes the vectors once it is over. Answers how it was left, if it was.
    async fn vectors(
        &self,
        prepared: &Prepared,
        dir: &JobDir,
        texts: &Texts,
        mut own: Prepared,
        (observer, stop): Ears<'_>,
    ) -> Result<Option<Box<Report>>, EngineError> {
        let (mut kept, reader) = (Kept::load(dir)?, self.reader()?);
        let (id, name) = (own.row.id.clone(), own.spec.name.clone());
        if let Some(other) = kept.unfinished(&*reader, &id)? {
            let refused = other_limit(&name, other);
            self.forget_new(&own)?;
            return Err(refused);
        }
        kept.note(&*reader)?;
        let (others, job) = (kept.spent_beside(&*reader, &id)?, spent_by(&*reader, prepared.row.no)?);
        own.spec.run.budget = left_of(prepared.spec.run.budget, others.total().saturating_add(job.total()));
        own.part_of = Some(prepared.row.no);
        // Before it spends: its number outlives it.
        kept.numbers.insert(own.row.no);
        kept.begin(&id, texts);
        kept.model = own.deployments.first().map(|found| found.pinned.clone());
        kept.store(dir)?;
        let message = format!("embedding {} texts first: job `{name}`", texts.count);
        observer.event(&Event::Note { message: &message });
        let hushed = Arc::new(Hushed { observer: Arc::clone(observer), shown: true });
        let report = Box::pin(self.start(own, &|_| true, hushed, stop.clone())).await?;
        match report.ending {
            Ending::Finished if report.succeeded == 0 && kept.vectors == 0 => {
                return Err(none_embedded(&report, &prepared.row.id));
            }
            // With its job, which `retry` may take up again.
            Ending::Cancelled if self.is_cancelled(&prepared.row)? => return Ok(None),
            // What somebody has cancelled has no vector.
            Ending::Finished | Ending::Cancelled => {}
            Ending::Detached | Ending::Aborted => return Ok(Some(Box::new(report))),
            Ending::Halted | Ending::BudgetExhausted | Ending::BudgetForecast | Ending::InDoubt => {
                return Err(halted(&report, why_halted(&report)));
            }
        }
        let reader = self.reader()?;
        let row = reader.job_by_id(&id)?;
        let of_another = build(&*reader, &self.settings.state_dir, dir, texts, row.as_ref())?;
        let kept = Kept::load(dir)?;
        kept.store(dir)?;
        if !self.is_cancelled(&prepared.row)? {
            tell_without(&kept, of_another, &**observer);
        }
        Ok(None)
    }
}

/// Says how many rows are asked for want of a vector.
fn tell_without(kept: &Kept, of_another: u64, observer: &dyn Observer) {
    if of_another > 0 {
        let message = format!(
            "{of_another} texts were embedded by another snapshot than `{}`, which has made the other vectors: they are not compared \
             with those",
            kept.snapshot
        );
        observer.event(&Event::Alert { code: "embeddings-mixed", message: &message });
    }
    let texts = kept.texts();
    if kept.vectors < texts {
        let without = texts - kept.vectors;
        let message = format!("{without} of {texts} texts have no vector: those rows are asked");
        observer.event(&Event::Note { message: &message });
    }
}

/// The run would be paid in full, and the semantic cache would do nothing.
fn none_embedded(report: &Report, job: &str) -> EngineError {
    let why = format!("none of its {} texts has a vector", report.items);
    let hint = format!(
        "`bulkrate dead {}` says why; `bulkrate retry {job}` asks for them again; another `--semantic-embed`, or none, makes another job",
        report.handle
    );
    halted(report, (why, hint))
}

/// It was begun for other rows: what it has paid for would be asked again by the job that embeds these.
fn other_limit(name: &str, (id, other): (&str, &Maker)) -> EngineError {
    let until = other.until;
    EngineError::EmbeddingHalted {
        name: name.to_owned(),
        why: format!("`{id}` was begun with another `--limit`, for the first {until} rows, and is not over"),
        hint: format!(
            "run the job with `--limit {until}` until its embeddings are there, then with this one; `bulkrate rm {id}` gives up what it has paid for"
        ),
        exit: 1,
    }
}

fn halted(report: &Report, (why, hint): (String, String)) -> EngineError {
    EngineError::EmbeddingHalted { name: report.name.clone(), why, hint, exit: report.exit_code() }
}
