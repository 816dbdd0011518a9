//! What items are expected to cost in one lane, whoever is asked and however they are sent.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{JobShape, Quote, Ratios};

use super::{Facts, bundles, prompt_cache};
use crate::EngineError;
use crate::exact::ModelCount;
use crate::prepare::Stats;

/// The quote of all leaders in one lane, each at the model that `asked` names; zero where no price is known.
pub(crate) fn quote<'a>(
    facts: &'a Facts<'_>,
    stats: &'a Stats,
    counts: Option<&[ModelCount]>,
    lane: Lane,
    asked: &dyn Fn(&'a str) -> &'a str,
) -> Result<Quote, EngineError> {
    quoted(facts, stats, counts, lane, asked, How::Together)
}

/// The same, each by itself and without a prompt cache.
pub(crate) fn quote_plain<'a>(
    facts: &'a Facts<'_>,
    stats: &'a Stats,
    lane: Lane,
    asked: &dyn Fn(&'a str) -> &'a str,
) -> Result<Quote, EngineError> {
    quoted(facts, stats, None, lane, asked, How::Plain)
}

/// How the items of a quote are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Each by itself, and without a prompt cache.
    Plain,
    /// Each by itself.
    Alone,
    /// Several in one request, where the job bundles.
    Together,
}

pub(super) fn quoted<'a>(
    facts: &'a Facts<'_>,
    stats: &'a Stats,
    counts: Option<&[ModelCount]>,
    lane: Lane,
    asked: &dyn Fn(&'a str) -> &'a str,
    how: How,
) -> Result<Quote, EngineError> {
    let mut total =
        Quote { expected: UsdNanos::ZERO, p95: UsdNanos::ZERO, worst: UsdNanos::ZERO, learned: true };
    let reasoning = facts.spec.request.reasons();
    for stats in &stats.models {
        let mut known = facts.deployments.iter().chain(facts.strong.map(|strong| &strong.deployment));
        let Some(found) = known.find(|found| found.pinned == asked(&stats.model)) else { continue };
        let lane = if stats.urgent { Lane::Sync } else { lane };
        let Some(rates) = found.row.rates(lane) else { continue };
        let count = counts.and_then(|counts| counts.iter().find(|count| count.is_of(stats)));
        let shape = JobShape { counted: count.and_then(ModelCount::counted), ..stats.shape(reasoning) };
        // What was learned of another model's answers had that name in each request.
        let named = |model: &str| stats.items.saturating_mul(model.len() as u64);
        let lengths =
            shape.lengths.map(|all| (all + named(&found.pinned)).saturating_sub(named(&stats.model)));
        let shape = JobShape { lengths, ..shape };
        let learned = facts.spec.run.learned.as_deref();
        let ratios = learned.map_or_else(Ratios::default, |learned| learned.of(&found.pinned, lane));
        let sent = |found| {
            let marked = |shape| {
                let seen = prompt_cache::seen(facts, found, lane, ratios);
                (seen, prompt_cache::shape(facts, found, lane, shape))
            };
            match how {
                How::Plain => (ratios.uncached(), shape),
                How::Alone => marked(shape),
                How::Together => bundles::sent(facts, stats, found, lane, marked(shape)),
            }
        };
        let quote = |found, rates| {
            let (ratios, shape) = sent(found);
            bulkrate_core::price::estimate::quote(rates, &ratios, &shape).ok_or_else(too_dear)
        };
        let own = quote(found, rates)?;
        total.learned &= own.learned || stats.items == 0;
        total.expected = total.expected.saturating_add(own.expected);
        total.p95 = total.p95.saturating_add(own.p95);
        // In the worst case the dearest that may stand in answers everything.
        let mut worst = own.worst;
        for route in facts.fallbacks {
            let other = &facts.deployments[route.place];
            if let Some(rates) = other.row.rates(route.lane.unwrap_or(lane)) {
                worst = worst.max(quote(other, rates)?.worst);
            }
        }
        total.worst = total.worst.saturating_add(worst);
    }
    Ok(total)
}

/// No such sum is written down.
pub(crate) fn too_dear() -> EngineError {
    EngineError::Internal("the worst case is larger than the ledger can hold".to_owned())
}
