//! Embeddings, acted out: what a job's prompts would cost to embed, the job that does it before, and the file of vectors.

use std::sync::Arc;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Kind;

use super::pilot::{Silent, why_halted};
use super::start::{end_of, source_halt, spent_by};
use super::{Engine, Prepared};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::embed::{Kept, Texts, Vectors, build, embedding_job, pays_from, warnings, write_texts};
use crate::event::{Event, Observer};
use crate::exact::ModelCount;
use crate::paths::JobDir;
use crate::pilot::left_of;
use crate::plan::{EmbeddingPlan, Plan};
use crate::report::{Embedded, Ending, Report};
use crate::spec::{EmbedSpec, JobSpec};
use crate::stop::Stop;

/// What is to be embedded before a job runs.
#[derive(Debug)]
pub(super) struct Embedding {
    plan: EmbeddingPlan,
    /// `None`: every item that is asked for was looked at.
    texts: Option<Texts>,
    /// `None`: there is no text to embed.
    own: Option<JobSpec>,
}

/// The job that embeds has a plan and an end of its own, of which the user's job tells.
#[derive(Debug)]
struct Hushed(Arc<dyn Observer>);

impl Observer for Hushed {
    fn event(&self, event: &Event<'_>) {
        if !matches!(event, Event::Planned { .. } | Event::Resumed { .. } | Event::Finished { .. }) {
            self.0.event(event);
        }
    }
}

impl Engine {
    /// A job's plan, with what is to be embedded before.
    pub(super) async fn planned(
        &self,
        prepared: &Prepared,
        counts: Option<&[ModelCount]>,
    ) -> Result<(Plan, Option<Embedding>), EngineError> {
        let mut plan = self.probed_plan(prepared, counts).await?;
        let Some(embed) = embed_of(&prepared.spec) else { return Ok((plan, None)) };
        let mut found = self.embedding(prepared, embed, &plan).await?;
        if let Some(lane) = plan.chosen() {
            let of = &mut found.plan;
            of.pays_from_permille = pays_from(of.expected, lane).filter(|_| of.priced && of.requests > 0);
            let told = warnings(&prepared.spec, lane, of);
            plan.warnings.extend(told);
        }
        plan.embedding = Some(found.plan.clone());
        Ok((plan, Some(found)))
    }

    async fn embedding(
        &self,
        prepared: &Prepared,
        embed: &EmbedSpec,
        plan: &Plan,
    ) -> Result<Embedding, EngineError> {
        let Prepared { row, spec, .. } = prepared;
        let (dir, reader) = (JobDir::of(&self.settings.state_dir, &row.id), self.reader()?);
        let mut of = EmbeddingPlan {
            model: embed.model.clone(),
            requests: 0,
            lane: plan.lane,
            expected: UsdNanos::ZERO,
            p95: UsdNanos::ZERO,
            worst: UsdNanos::ZERO,
            spent: Kept::load(&dir)?.spent(&*reader)?.total(),
            pays_from_permille: None,
            priced: true,
        };
        let from = Vectors::open(&dir)?.map_or(0, |known| known.head.until);
        let until = end_of(spec).min(Ordinal::try_from(row.items).unwrap_or(Ordinal::MAX));
        if from >= until || plan.requests == 0 {
            return Ok(Embedding { plan: of, texts: None, own: None });
        }
        let texts = write_texts(&*reader, row.no, &dir, (from, until))?;
        if texts.count == 0 {
            return Ok(Embedding { plan: of, texts: Some(texts), own: None });
        }
        let mut own = embedding_job(spec, &row.id, embed, &texts, None);
        let found = Deployment::resolve(&self.settings, own.asks(), &embed.model, self.today())?;
        self.embeds(&found)?;
        own.run.lane = spec.run.lane.filter(|lane| found.unavailable(*lane).is_none());
        let planned = Box::pin(self.plan(&own, &Silent)).await?;
        if let Some(lane) = planned.chosen() {
            (of.expected, of.p95, of.worst) = (lane.expected, lane.p95, lane.worst);
        }
        (of.requests, of.lane, of.priced, of.model) =
            (planned.requests, planned.lane, planned.priced, found.pinned);
        Ok(Embedding { plan: of, texts: Some(texts), own: Some(own) })
    }

    /// Refuses a model that is known to do something else.
    fn embeds(&self, found: &Deployment) -> Result<(), EngineError> {
        let listed = self.settings.catalogue.resolve_alive(&found.pinned, self.today());
        let Some(kind) = listed.ok().map(|listed| listed.row.kind).filter(|kind| *kind != Kind::Embedding)
        else {
            return Ok(());
        };
        Err(EngineError::BadSpec {
            code: "option-invalid",
            what: format!("`{}` makes no embeddings", found.pinned),
            why: format!(
                "it is a model of kind {}; `bulkrate prices list` names those of kind embedding",
                kind.name()
            ),
        })
    }

    /// Embeds what is to be embedded, and takes what that has cost from the budget of the job. Stopped in between, the same call goes on.
    ///
    /// # Errors
    /// The job that embeds did not come to its end (code `embedding-halted`).
    pub(super) async fn embed(
        &self,
        prepared: &mut Prepared,
        plan: &mut Plan,
        embedding: Option<Embedding>,
        (observer, stop): (&Arc<dyn Observer>, &Stop),
    ) -> Result<(), EngineError> {
        let Some(Embedding { texts, own, .. }) = embedding else { return Ok(()) };
        let dir = JobDir::of(&self.settings.state_dir, &prepared.row.id);
        if prepared.resumed && source_halt(prepared, &dir).is_some() {
            return Ok(()); // nothing new is sent: nothing is embedded for it
        }
        let asks = own.is_some();
        if let Some(texts) = &texts {
            self.vectors(prepared, &dir, texts, own, (observer, stop)).await?;
        }
        let spent = Kept::load(&dir)?.spent(&*self.reader()?)?.total();
        prepared.spec.run.budget = left_of(prepared.spec.run.budget, spent);
        if asks {
            // It took its time, which a deadline counts.
            *plan = self.probed_plan(prepared, None).await?;
        } else if !plan.cap_is_default {
            plan.cap = prepared.spec.run.budget;
        }
        Ok(())
    }

    /// Runs the job that embeds, and writes the vectors once it is over.
    async fn vectors(
        &self,
        prepared: &Prepared,
        dir: &JobDir,
        texts: &Texts,
        own: Option<JobSpec>,
        (observer, stop): (&Arc<dyn Observer>, &Stop),
    ) -> Result<(), EngineError> {
        let Some(mut own) = own else {
            build(&*self.reader()?, &self.settings.state_dir, dir, texts, None)?;
            return Ok(());
        };
        let mut kept = Kept::load(dir)?;
        let id = self.id_of(&own)?;
        let reader = self.reader()?;
        if kept.unfinished(&*reader, &id)? {
            return Err(other_limit(&own.name));
        }
        kept.note(&*reader)?;
        let (others, job) = (kept.spent_beside(&*reader, &id)?, spent_by(&*reader, prepared.row.no)?);
        own.run.budget = left_of(prepared.spec.run.budget, others.total().saturating_add(job.total()));
        if !kept.jobs.contains_key(&id) {
            kept.jobs.insert(id.clone(), false);
            kept.texts += texts.count;
            kept.store(dir)?;
        }
        let message = format!("embedding {} texts first: job `{}`", texts.count, own.name);
        observer.event(&Event::Note { message: &message });
        let hushed: Arc<dyn Observer> = Arc::new(Hushed(Arc::clone(observer)));
        let report = Box::pin(self.run(&own, &|_| true, hushed, stop.clone())).await;
        kept.note(&*self.reader()?)?;
        kept.store(dir)?;
        let report = report?;
        match report.ending {
            Ending::Finished if report.succeeded == 0 && kept.vectors == 0 => {
                return Err(none_embedded(&report));
            }
            // What somebody has cancelled has no vector.
            Ending::Finished | Ending::Cancelled => {}
            Ending::Detached | Ending::Aborted => return Ok(()),
            Ending::Halted | Ending::BudgetExhausted | Ending::BudgetForecast | Ending::InDoubt => {
                return Err(halted(&report, why_halted(&report)));
            }
        }
        let reader = self.reader()?;
        let row = reader.job_by_id(&id)?;
        kept.vectors = build(&*reader, &self.settings.state_dir, dir, texts, row.as_ref())?;
        kept.jobs.insert(id, true);
        kept.store(dir)?;
        if kept.vectors < kept.texts {
            let without = kept.texts - kept.vectors;
            let message = format!("{without} of {} texts have no vector: those rows are asked", kept.texts);
            observer.event(&Event::Note { message: &message });
        }
        Ok(())
    }

    /// What was embedded for a job, for its report.
    pub(super) fn embedded(&self, prepared: &Prepared) -> Result<Option<Embedded>, EngineError> {
        let Some(embed) = embed_of(&prepared.spec) else { return Ok(None) };
        let kept = Kept::load(&JobDir::of(&self.settings.state_dir, &prepared.row.id))?;
        let spent = kept.spent(&*self.reader()?)?;
        Ok(Some(Embedded {
            model: embed.model.clone(),
            texts: kept.texts,
            vectors: kept.vectors,
            spent: spent.settled,
            in_doubt: spent.doubt,
        }))
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

fn embed_of(spec: &JobSpec) -> Option<&EmbedSpec> {
    spec.request.semantic.as_ref()?.embed.as_ref()
}
