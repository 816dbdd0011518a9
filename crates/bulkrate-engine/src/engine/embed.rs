//! Embeddings, planned: what a job's prompts would cost to embed, and the job that does it before.

mod make;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Kind;

use super::pilot::Silent;
use super::start::end_of;
use super::{Engine, Prepared};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::embed::{Kept, Texts, Vectors, embedding_job, pays_from, warnings, write_texts};
use crate::exact::ModelCount;
use crate::paths::JobDir;
use crate::plan::{EmbeddingPlan, Plan};
use crate::report::Embedded;
use crate::spec::{EmbedSpec, JobSpec};
use crate::stop::Stop;

/// What is to be embedded before a job runs.
#[derive(Debug)]
pub(super) struct Embedding {
    plan: EmbeddingPlan,
    /// `None`: every item that is asked for was looked at.
    texts: Option<Texts>,
    /// The job that embeds, prepared; `None`: there is no text to embed.
    own: Option<Box<Prepared>>,
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
        let kept = Kept::load(&dir)?;
        let spent = kept.spent(&*reader)?;
        let mut of = EmbeddingPlan {
            model: embed.model.clone(),
            requests: 0,
            lane: plan.lane,
            expected: UsdNanos::ZERO,
            p95: UsdNanos::ZERO,
            worst: UsdNanos::ZERO,
            // What is out is among the requests.
            spent: spent.settled.saturating_add(spent.doubt),
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
        let found = self.maker(spec, embed, kept.model(&*reader)?)?;
        self.embeds(&found)?;
        let lane = spec.run.lane.filter(|lane| found.unavailable(*lane).is_none());
        let own = self.prepare(
            &embedding_job(spec, &row.id, (&found.pinned, embed), &texts, lane),
            &Silent,
            &Stop::new(),
        )?;
        let planned = match self.probed_plan(&own, None).await {
            Ok(planned) => planned,
            Err(error) => {
                self.forget_new(&own)?;
                return Err(error);
            }
        };
        if let Some(lane) = planned.chosen() {
            (of.expected, of.p95, of.worst) = (lane.expected, lane.p95, lane.worst);
        }
        (of.requests, of.lane, of.priced, of.model) =
            (planned.requests, planned.lane, planned.priced, found.pinned);
        Ok(Embedding { plan: of, texts: Some(texts), own: Some(Box::new(own)) })
    }

    /// Whoever makes the vectors of a job goes on making them: those of another model are never compared with them, whatever the
    /// user's word for it means by now.
    fn maker(
        &self,
        spec: &JobSpec,
        embed: &EmbedSpec,
        known: Option<&str>,
    ) -> Result<Deployment, EngineError> {
        let asks = (&spec.run, bulkrate_core::request::Kind::Embedding);
        let Some(model) = known else {
            return Deployment::resolve(&self.settings, asks, &embed.model, self.today());
        };
        Deployment::resolve(&self.settings, asks, model, self.today()).map_err(|gone| {
            let why = format!("{gone}; `{model}` has made the vectors that this job has, and no other can make more of them: take the `--limit` that they were made for, or another `--semantic-embed`, which makes another job");
            EngineError::BadSpec { code: gone.code(), what: format!("`--semantic-embed {}`", embed.model), why }
        })
    }

    /// A job that embeds and that is not begun leaves nothing behind.
    pub(super) fn leave(&self, embedding: Option<Embedding>) -> Result<(), EngineError> {
        embedding.and_then(|found| found.own).map_or(Ok(()), |own| self.forget_new(&own))
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

    /// What was embedded for a job, for its report.
    pub(super) fn embedded(&self, prepared: &Prepared) -> Result<Option<Embedded>, EngineError> {
        let Some(embed) = embed_of(&prepared.spec) else { return Ok(None) };
        let kept = Kept::load(&JobDir::of(&self.settings.state_dir, &prepared.row.id))?;
        let spent = kept.spent(&*self.reader()?)?;
        Ok(Some(Embedded {
            model: kept.model.clone().unwrap_or_else(|| embed.model.clone()),
            texts: kept.texts(),
            vectors: kept.vectors,
            spent: spent.settled,
            in_doubt: spent.doubt,
            left: false,
        }))
    }
}

fn embed_of(spec: &JobSpec) -> Option<&EmbedSpec> {
    spec.request.semantic.as_ref()?.embed.as_ref()
}
