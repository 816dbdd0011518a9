//! The job that a pilot is made of, and the jobs whose plans are compared.

use std::collections::BTreeMap;
use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::plan::Way;
use bulkrate_core::prompt_cache::Wish;
use bulkrate_core::request::CacheMode;

use super::Manner;
use crate::spec::{
    CascadeSpec, JobSpec, Learned, OnBadLine, RequestSpec, RouterSpec, RunSpec, SendBy, SinkSpec, SourceSpec,
};

/// Who is asked and how, by the places that ways speak of: as the job names the models, and as they are pinned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners<'m> {
    pub named: &'m [Manner],
    pub pinned: &'m [Manner],
}

impl Manners<'_> {
    /// The size of a way's bundles, and where its models are asked in several sizes that of each, by the pinned model.
    fn bundles(&self, way: &Way) -> (Option<u32>, BTreeMap<String, u32>) {
        let asked = || way.models().map(|place| &self.pinned[place]);
        let most = asked().filter_map(|one| one.bundle).max();
        if asked().all(|one| one.bundle == most) {
            return (most, BTreeMap::new());
        }
        (most, asked().map(|one| (one.model.clone(), one.bundle.unwrap_or(1))).collect())
    }
}

/// The job as another plan would run it, with its own mark for prompt caches where there is none. `router`: that of the way.
pub(crate) fn by_way(
    spec: &JobSpec,
    manners: Manners<'_>,
    (way, mark): (&Way, Option<Wish>),
    router: Option<Box<RouterSpec>>,
    learned: Learned,
) -> JobSpec {
    let name = |place: &usize| manners.named[*place].model.clone();
    let cascade = way.cascade.as_ref().map(|(cheap, accept)| CascadeSpec {
        models: cheap.iter().map(name).collect(),
        accept: accept.clone(),
    });
    let (model, (bundle, bundles)) = (Some(name(&way.last)), manners.bundles(way));
    let instead_of = instead_of(spec, model.as_ref());
    let request = RequestSpec { model, cascade, bundle, bundles, router, ..spec.request.clone() };
    let prompt_cache = mark.unwrap_or(spec.run.prompt_cache);
    let run = RunSpec { learned: Some(Box::new(learned)), instead_of, prompt_cache, ..spec.run.clone() };
    JobSpec { request, run, ..spec.clone() }
}

/// The job's own model, where a plan asks `model` and not that one: it is what the plan's saving is counted against.
pub(super) fn instead_of(spec: &JobSpec, model: Option<&String>) -> Option<String> {
    spec.request.model.clone().filter(|strong| Some(strong) != model)
}

/// One model asked of the sample. It is called one by one, so that a pilot takes minutes; `lane`: `None` where the model has no calls.
/// Log-probabilities are asked for where the job's own cascade would: a service that was not meant to tell any may refuse to.
pub(crate) fn pilot_job(spec: &JobSpec, manner: &Manner, sample: &Path, lane: Option<Lane>) -> JobSpec {
    let Manner { model, bundle } = manner;
    let own = spec.request.cascade.as_ref().filter(|own| bundle.is_none() && own.models.contains(model));
    // Nothing beside the model may answer in its place.
    let request = RequestSpec {
        model: Some(model.clone()),
        bundle: *bundle,
        logprobs: own.and_then(|own| own.accept.measure()),
        cascade: None,
        fallback: Vec::new(),
        ..spec.request.clone()
    };
    let run = RunSpec {
        lane,
        budget: None, // what the others leave of it is set when it is asked
        high_priority: false,
        deadline_ms: None,
        // The sum of all pilots was compared with the budget.
        strict: false,
        // A sample is small, and worth nothing by half.
        spend_all: true,
        order: SendBy::Source,
        hedge: false, // what an answer costs is measured, not how soon it comes
        // What fails is a finding.
        fail_above_permille: 1_000,
        max_error_permille: None,
        review_permille: 0,
        webhook: None,
        learned: None,
        instead_of: None,
        cache: match (bundle, &request.logprobs) {
            // What an item was answered alone says nothing of bundles.
            (Some(_), _) => CacheMode::Off,
            // Earlier answers do not say how sure their tokens were.
            (None, Some(_)) if spec.run.cache == CacheMode::Default => CacheMode::Refresh,
            (None, _) => spec.run.cache,
        },
        ..spec.run.clone()
    };
    JobSpec {
        name: name_of(&spec.name, manner),
        source: SourceSpec {
            path: Some(sample.to_owned()),
            format: Some("jsonl".to_owned()),
            id: spec.source.id.clone(),
            on_bad_line: OnBadLine::Dead,
            limit: None,
        },
        request,
        tags: spec.tags.clone(),
        run,
        sink: SinkSpec::default(),
        account: spec.account.clone(),
    }
}

/// What a part is called: by the whole name of the model, as two providers may call theirs the same.
fn name_of(job: &str, manner: &Manner) -> String {
    format!("{job}-pilot-{}", manner.to_string().replace(['/', ' '], "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_models_that_share_a_last_part_have_names_of_their_own() {
        let names = [("openai/luna", None), ("azure/luna", None), ("azure/luna", Some(20))]
            .map(|(model, bundle)| name_of("reviews", &Manner { model: model.to_owned(), bundle }));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            ["reviews-pilot-openai-luna", "reviews-pilot-azure-luna", "reviews-pilot-azure-luna-x20"]
        );
    }
}
