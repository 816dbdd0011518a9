//! What a plan says of the provider's prompt cache: whether requests are marked for it, and what that makes of the input's price.

use bulkrate_core::lane::Lane;
use bulkrate_core::order::HIT_RATES;
use bulkrate_core::price::estimate::prompt_tokens;
use bulkrate_core::price::{JobShape, Ratios};
use bulkrate_core::prompt_cache::{Why, expected, factors};

use super::Facts;
use crate::deployment::Deployment;
use crate::plan::PromptCachePlan;
use crate::prepare::{Shape, Stats};
use crate::run::prompt_cache::{first_mark, marks_taken, static_bytes};

/// One entry for each model whose provider keeps what is marked, and for all where a mark was asked for.
pub(super) fn plan(facts: &Facts<'_>, stats: &Stats, lane: Lane) -> Vec<PromptCachePlan> {
    let wish = facts.spec.run.prompt_cache;
    let mut plans: Vec<PromptCachePlan> = Vec::new();
    for stats in stats.models.iter().filter(|stats| stats.items > 0) {
        let Some(found) = facts.deployments.iter().find(|found| found.pinned == stats.model) else {
            continue;
        };
        if plans.iter().any(|known| known.model == stats.model) {
            continue;
        }
        let mark = first_mark(facts.spec, facts.checkpoint, found, lane);
        if mark == Err(Why::NoMarks) && wish.fixed().is_none() {
            continue;
        }
        let prefix = (facts.checkpoint.shape == Shape::Table).then(|| prefix_tokens(facts));
        let prompt = stats.shape(false).input_expected(&Ratios::default()) / stats.items.max(1);
        let rates = found.row.rates(lane);
        plans.push(PromptCachePlan {
            model: stats.model.clone(),
            mark: mark.ok().map(bulkrate_core::prompt_cache::Ttl::name),
            why: mark.err().map(Why::text),
            prefix_tokens: prefix,
            factors: rates
                .zip(mark.ok())
                .zip(prefix)
                .and_then(|((rates, ttl), prefix)| factors(&rates.base, ttl, prefix, prompt)),
            hit_rates: HIT_RATES,
        });
    }
    plans
}

/// What is known of a model's answers, under the mark that the job asks for: what was found again of one mark is taken for another, and without
/// one nothing is. Where the job leaves it to us, what was seen is what comes.
pub(super) fn seen(facts: &Facts<'_>, found: &Deployment, lane: Lane, ratios: Ratios) -> Ratios {
    let wish = facts.spec.run.prompt_cache;
    if wish.is_usual() || marks_taken(&facts.spec.request, found, lane).is_none() {
        return ratios;
    }
    match first_mark(facts.spec, facts.checkpoint, found, lane) {
        Ok(ttl) => ratios.written_for(ttl.writes()),
        Err(_) => ratios.uncached(),
    }
}

/// The same of a model's requests in a lane, as a quote counts it. What a user marked is not known.
pub(super) fn shape(facts: &Facts<'_>, found: &Deployment, lane: Lane, plain: JobShape) -> JobShape {
    match first_mark(facts.spec, facts.checkpoint, found, lane) {
        Ok(ttl) if facts.checkpoint.shape == Shape::Table => {
            let cached = expected(ttl, prefix_tokens(facts), plain.items);
            JobShape { writes: ttl.writes(), cached: Some(cached), ..plain }
        }
        Ok(ttl) => JobShape { writes: ttl.writes(), ..plain },
        Err(Why::Own) => JobShape {
            writes: facts.spec.run.prompt_cache.fixed().map(|ttl| ttl.writes()).unwrap_or_default(),
            ..plain
        },
        Err(_) => plain,
    }
}

fn prefix_tokens(facts: &Facts<'_>) -> u64 {
    prompt_tokens(static_bytes(&facts.spec.request))
}
