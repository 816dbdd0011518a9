//! Embeddings, acted out: the job that embeds, what is collected beside it, and the file of vectors.

use std::rc::Rc;
use std::sync::Arc;

use super::super::pilot::why_halted;
use super::super::start::{source_halt, spent_by};
use super::super::{Engine, Prepared, go_on};
use super::Embedding;
use crate::EngineError;
use crate::embed::{Kept, Texts, build};
use crate::event::{Event, Observer};
use crate::paths::JobDir;
use crate::pilot::left_of;
use crate::plan::Plan;
use crate::report::{Ending, Report};
use crate::run::drive::cancels;
use crate::stop::Stop;
use bulkrate_core::lane::Lane;
use bulkrate_store::JobRow;

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
        // Where nothing new is sent nothing is embedded for it.
        let is_new = own.as_ref().is_some_and(|own| !own.resumed);
        let over = prepared.resumed && source_halt(prepared, &dir).is_some()
            || is_new && self.is_cancelled(&prepared.row)?;
        if over {
            return own.map_or(Ok(()), |own| self.forget_new(&own)).map(|()| None);
        }
        let asks = own.is_some();
        let left = match (&texts, own) {
            (Some(texts), Some(own)) => {
                let made = self.vectors(prepared, &dir, texts, *own, ears);
                Box::pin(self.beside(prepared, plan, ears, made)).await?
            }
            (Some(texts), None) => {
                let mut kept = Kept::load(&dir)?;
                build(&*self.reader()?, &self.settings.state_dir, &dir, texts, None, &mut kept.snapshot)?;
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
        if kept.unfinished(&*reader, &id)? {
            self.forget_new(&own)?;
            return Err(other_limit(&name));
        }
        kept.note(&*reader)?;
        let (others, job) = (kept.spent_beside(&*reader, &id)?, spent_by(&*reader, prepared.row.no)?);
        own.spec.run.budget = left_of(prepared.spec.run.budget, others.total().saturating_add(job.total()));
        own.part_of = Some(prepared.row.no);
        // Before it spends: its number outlives it.
        kept.numbers.insert(own.row.no);
        if !kept.jobs.contains_key(&id) {
            kept.jobs.insert(id.clone(), false);
            kept.texts += texts.count;
        }
        kept.model = own.deployments.first().map(|found| found.pinned.clone());
        kept.store(dir)?;
        let message = format!("embedding {} texts first: job `{name}`", texts.count);
        observer.event(&Event::Note { message: &message });
        let hushed = Arc::new(Hushed { observer: Arc::clone(observer), shown: true });
        let report = Box::pin(self.start(own, &|_| true, hushed, stop.clone())).await?;
        match report.ending {
            Ending::Finished if report.succeeded == 0 && kept.vectors == 0 => {
                return Err(none_embedded(&report));
            }
            // What somebody has cancelled has no vector.
            Ending::Finished | Ending::Cancelled => {}
            Ending::Detached | Ending::Aborted => return Ok(Some(Box::new(report))),
            Ending::Halted | Ending::BudgetExhausted | Ending::BudgetForecast | Ending::InDoubt => {
                return Err(halted(&report, why_halted(&report)));
            }
        }
        let reader = self.reader()?;
        let row = reader.job_by_id(&id)?;
        let built = build(&*reader, &self.settings.state_dir, dir, texts, row.as_ref(), &mut kept.snapshot)?;
        kept.vectors = built.vectors;
        kept.jobs.insert(id, true);
        kept.store(dir)?;
        if !self.is_cancelled(&prepared.row)? {
            tell_without(&kept, built.of_another, &**observer);
        }
        Ok(None)
    }
}

/// Says how many rows are asked for want of a vector.
fn tell_without(kept: &Kept, of_another: u64, observer: &dyn Observer) {
    if of_another > 0 {
        let snapshot = kept.snapshot.as_deref().unwrap_or_default();
        let message = format!(
            "{of_another} texts were embedded by another snapshot than `{snapshot}`, which has made the other vectors: they are not \
             compared with those"
        );
        observer.event(&Event::Alert { code: "embeddings-mixed", message: &message });
    }
    if kept.vectors < kept.texts {
        let without = kept.texts - kept.vectors;
        let message = format!("{without} of {} texts have no vector: those rows are asked", kept.texts);
        observer.event(&Event::Note { message: &message });
    }
}

/// The run would be paid in full, and the semantic cache would do nothing.
fn none_embedded(report: &Report) -> EngineError {
    let why = format!("none of its {} texts has a vector", report.items);
    let hint = format!(
        "`bulkrate dead {}` says why; another `--semantic-embed`, or none, makes another job",
        report.handle
    );
    halted(report, (why, hint))
}

/// It was begun for other rows: what it has paid for would be asked again by the job that embeds these.
fn other_limit(name: &str) -> EngineError {
    EngineError::EmbeddingHalted {
        name: name.to_owned(),
        why: "it was begun with another `--limit` and is not over".to_owned(),
        hint: format!(
            "run the job with that `--limit` until its embeddings are there, then with this one; `bulkrate rm {name}` gives up what it has paid for"
        ),
        exit: 1,
    }
}

fn halted(report: &Report, (why, hint): (String, String)) -> EngineError {
    EngineError::EmbeddingHalted { name: report.name.clone(), why, hint, exit: report.exit_code() }
}
