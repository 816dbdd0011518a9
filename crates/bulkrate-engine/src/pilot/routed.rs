//! A router among the models of a pilot: one of its plans, learnt from the pilot's own answers.

use std::path::Path;

use bulkrate_core::plan::{Quality, Sheet, Way, routed};
use bulkrate_core::prepare::Template;
use bulkrate_core::route::learned::{Few, MODELS_MAX, TrainOptions};

use super::teach::{price_ratio, texts};
use super::{Answers, Judged, Reads};
use crate::EngineError;
use crate::spec::{RequestSpec, RouterSpec};

/// Of fewer items half would teach too little, and the other half prove next to nothing of a plan that is one of several: such a pilot
/// spends no doubt on it.
const ITEMS_MIN: usize = 500;
/// The same pilot makes the same router.
const SEED: u64 = 1;

/// What a router can be learnt from, and what it chooses among.
#[derive(Debug)]
pub(crate) struct Routable {
    /// Places of the models beside the strong one, the cheapest first.
    cheap: Vec<usize>,
    ratios: Few<f64>,
    column: String,
    texts: Vec<String>,
}

impl Routable {
    /// `None`: the pilot is too small, its answers cannot be compared, no model is cheaper, or the prompt reads no text.
    pub(crate) fn find(
        request: &RequestSpec,
        sample: &Path,
        found: &[Option<(String, Answers)>],
        reads: &Reads,
    ) -> Result<Option<Self>, EngineError> {
        let Some((Some((_, strong)), others)) = found.split_first() else { return Ok(None) };
        if strong.said.len() < ITEMS_MIN || reads.free && reads.labels.is_none() {
            return Ok(None);
        }
        let cheap = cheaper(strong, others);
        let text = if cheap.is_empty() { None } else { longest(request, sample)? };
        Ok(text.map(|(column, texts)| Self {
            ratios: cheap.iter().map(|(_, ratio)| *ratio).collect(),
            cheap: cheap.into_iter().map(|(place, _)| place).collect(),
            column,
            texts,
        }))
    }

    /// The plan's name among those whose quality is measured.
    pub(crate) fn name(&self, names: &[String]) -> String {
        format!("{} router", self.models(names).join(" > "))
    }

    /// Its models, the cheapest first, and the strong one.
    fn models(&self, names: &[String]) -> Vec<String> {
        self.cheap.iter().chain([&0]).filter_map(|place| names.get(*place)).cloned().collect()
    }

    /// The plan, or why there is none. `names`: the models as the job names them; `shown`: as they are pinned.
    pub(crate) fn judged(
        &self,
        sheet: &Sheet,
        loss_permille: u32,
        doubt: f64,
        names: &[String],
        shown: &[String],
    ) -> Result<Judged, String> {
        let options =
            TrainOptions { seed: SEED, quality_loss_permille: loss_permille, price_ratios: self.ratios };
        let models = self.models(shown);
        let found = routed(sheet, &self.cheap, &self.texts, &self.column, options, doubt);
        let none = |why: &str| format!("no plan with a router ({}): {why}", models.join(" > "));
        let Some(found) = found.map_err(|error| none(&error.to_string()))? else {
            return Err(none(
                "on the items that did not teach it nothing is proved that one model alone would not do",
            ));
        };
        let name = |place: &usize| names[*place].clone();
        let mut router = found.router;
        router.call(&models);
        let spec = RouterSpec::new(router, self.cheap.iter().map(name).collect(), &names[0]);
        Ok(Judged {
            way: Way { router: self.cheap.clone(), ..Way::alone(0) },
            mark: None,
            quality: Quality::Measured(found.loss),
            rejected: None,
            router: Some(Box::new(spec)),
        })
    }
}

/// Places and price ratios of the models that are cheaper than the strong one, the cheapest first. One alone may have an unknown price.
fn cheaper(strong: &Answers, others: &[Option<(String, Answers)>]) -> Vec<(usize, f64)> {
    let took_part = (1..).zip(others).filter_map(|(place, other)| Some((place, &other.as_ref()?.1)));
    let mut all: Vec<(usize, Option<f64>)> =
        took_part.map(|(place, other)| (place, price_ratio(strong, other))).collect();
    if let [(place, None)] = all[..] {
        return vec![(place, f64::INFINITY)];
    }
    all.retain(|(_, ratio)| ratio.is_some_and(|ratio| ratio > 1.0));
    let mut known: Vec<(usize, f64)> =
        all.into_iter().filter_map(|(place, ratio)| Some((place, ratio?))).collect();
    known.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    known.truncate(MODELS_MAX - 1);
    known
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

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::money::UsdNanos;

    #[test]
    fn a_router_takes_the_models_that_are_cheaper() {
        let of = |spent: i64, paid: u64| Answers { spent: UsdNanos(spent), paid, ..Answers::default() };
        let some = |spent: i64, paid: u64| Some(("m".to_owned(), of(spent, paid)));
        let strong = of(2_000, 10);
        for (others, want) in [
            (vec![some(100, 10)], vec![(1, 20.0)]),
            (vec![some(500, 10), None, some(100, 10)], vec![(3, 20.0), (1, 4.0)]),
            (vec![some(0, 0)], vec![(1, f64::INFINITY)]),
            (vec![some(0, 0), some(100, 10)], vec![(2, 20.0)]),
            (vec![some(9_000, 10), some(100, 10)], vec![(2, 20.0)]),
            (vec![some(9_000, 10)], vec![]),
        ] {
            assert_eq!(cheaper(&strong, &others), want);
        }
    }
}
