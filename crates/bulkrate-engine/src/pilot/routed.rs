//! Routers among the models of a pilot, each asked alone or in bundles: plans of it, learnt from the pilot's own answers.

use std::path::Path;

use bulkrate_core::plan::{Broken, Mix, Quality, Sheet, Way, asked_by_router, mix, routed, sequence};
use bulkrate_core::prepare::Template;
use bulkrate_core::route::learned::{MODELS_MAX, TrainOptions};

use super::teach::texts;
use super::{Answers, Judged, Manner, Reads};
use crate::EngineError;
use crate::spec::{RequestSpec, RouterSpec};

/// Of fewer items half would teach too little, and the other half prove next to nothing of a plan that is one of several: such a pilot
/// spends no doubt on it.
const ITEMS_MIN: usize = 500;
/// The same pilot makes the same router.
const SEED: u64 = 1;

/// What routers can be learnt from, and what each chooses among.
#[derive(Debug)]
pub(crate) struct Routable {
    /// One that asks each model alone, and one that asks some in bundles.
    mixes: Vec<Mix>,
    /// Bundles that it would have had, and that cost a model too much quality.
    broken: Vec<Broken>,
    column: String,
    texts: Vec<String>,
}

/// What each manner of asking has brought, by its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub manners: &'a [Manner],
    pub found: &'a [Option<(String, Answers)>],
    pub sheet: &'a Sheet,
}

impl Routable {
    /// `None`: the pilot is too small, its answers cannot be compared, no model is cheaper, or the prompt reads no text.
    pub(crate) fn find(
        request: &RequestSpec,
        sample: &Path,
        asked: Answered<'_>,
        reads: &Reads,
        loss_permille: u32,
    ) -> Result<Option<Self>, EngineError> {
        if asked.sheet.items() < ITEMS_MIN || reads.free && reads.labels.is_none() {
            return Ok(None);
        }
        let models: Vec<usize> =
            (0..asked.manners.len()).filter(|place| asked.manners[*place].bundle.is_none()).collect();
        let each = |place: usize| asked.found[place].as_ref().map(|(_, answers)| answers.each());
        let Some(alone) = mix(&models, MODELS_MAX, &each) else { return Ok(None) };
        let Some((column, texts)) = longest(request, sample)? else { return Ok(None) };
        let took_part: Vec<bool> = asked.found.iter().map(Option::is_some).collect();
        let sequences: Vec<Vec<usize>> = models
            .into_iter()
            .filter(|model| took_part[*model])
            .map(|model| sequence(asked.manners, &took_part, model))
            .collect();
        let cost = |place: usize| each(place).flatten();
        let best = asked_by_router(asked.sheet, &sequences, &texts, SEED, loss_permille, &cost);
        let broken = best.iter().filter_map(|one| one.broken).collect();
        let best: Vec<usize> = best.into_iter().map(|one| one.place).collect();
        // The strong model alone is what bundles of it are measured against: one place of a router's models.
        let together = mix(&best, MODELS_MAX - 1, &each);
        let is_new = |one: &Mix| one.way.models().any(|place| asked.manners[place].bundle.is_some());
        let mixes = std::iter::once(alone).chain(together.filter(is_new)).collect();
        Ok(Some(Self { mixes, broken, column, texts }))
    }

    /// The plans' names among those whose quality is measured.
    pub(crate) fn names(&self, shown: &[String]) -> impl Iterator<Item = String> {
        self.mixes.iter().map(|mix| format!("{} router", called(&mix.way, shown).join(" > ")))
    }

    /// In which bundles its models are not asked, and why. `pinned`: how each was.
    pub(crate) fn not_together(&self, pinned: &[Manner]) -> impl Iterator<Item = String> {
        self.broken.iter().map(|Broken { place, wrong, alone, of }| {
            let Manner { model, bundle } = &pinned[*place];
            let size = bundle.unwrap_or(1);
            format!(
                "no router asks {model} in bundles of {size} or more: there it is wrong on {wrong} of {of} items that teach one, alone on {alone}"
            )
        })
    }

    /// The plans, or why there is none. `names`: the models as the job names them; `pinned`: as they are asked.
    pub(crate) fn judged(
        &self,
        sheet: &Sheet,
        loss_permille: u32,
        doubt: f64,
        names: &[String],
        pinned: &[Manner],
    ) -> Vec<Result<Judged, String>> {
        let shown: Vec<String> = pinned.iter().map(ToString::to_string).collect();
        let models: Vec<String> = pinned.iter().map(|one| one.model.clone()).collect();
        let one = |mix: &Mix| {
            let options =
                TrainOptions { seed: SEED, quality_loss_permille: loss_permille, price_ratios: mix.ratios };
            let found = routed(sheet, &mix.way, &self.texts, &self.column, options, doubt);
            let none = |why: &str| {
                format!("no plan with a router ({}): {why}", called(&mix.way, &shown).join(" > "))
            };
            let Some(found) = found.map_err(|error| none(&error.to_string()))? else {
                return Err(none(
                    "on the items that did not teach it nothing is proved that one model alone would not do",
                ));
            };
            let mut router = found.router;
            router.call(&called(&mix.way, &models));
            let mut weak = called(&mix.way, names);
            let own = weak.pop().unwrap_or_default();
            Ok(Judged {
                way: mix.way.clone(),
                mark: None,
                quality: Quality::Measured(found.loss),
                rejected: None,
                router: Some(Box::new(RouterSpec::new(router, weak, &own))),
            })
        };
        self.mixes.iter().map(one).collect()
    }
}

/// Its models, the cheapest first, and the strong one.
fn called(way: &Way, names: &[String]) -> Vec<String> {
    way.models().filter_map(|place| names.get(place)).cloned().collect()
}

/// The column that the user prompt reads and that has most text in the sample, with its texts.
fn longest(request: &RequestSpec, sample: &Path) -> Result<Option<(String, Vec<String>)>, EngineError> {
    let user = request.user.as_deref().unwrap_or_default();
    let Ok(template) = Template::compile("user prompt", user) else { return Ok(None) };
    let mut best: Option<(usize, String, Vec<String>)> = None;
    for column in template.variables() {
        let texts = texts(sample, column)?;
        let length = texts.iter().map(String::len).sum();
        if length > 0 && best.as_ref().is_none_or(|(most, _, _)| length > *most) {
            best = Some((length, column.clone(), texts));
        }
    }
    Ok(best.map(|(_, column, texts)| (column, texts)))
}
