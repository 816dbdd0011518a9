//! From what a source holds to what it would cost: every lane side by side, and the one that is chosen.

mod batchable;
mod batch_times;
mod bundles;
mod caps;
mod decisions;
mod hedge;
mod lanes;
mod prompt_cache;
mod quotes;
mod stand_ins;
mod untaken;
mod warnings;

pub(crate) use self::batch_times::curve_of;
use self::caps::default_cap;
pub(crate) use self::caps::{admit, budget};
use self::lanes::{choose, lanes};
use self::quotes::{How, quoted};
pub(crate) use self::quotes::{quote, quote_plain, too_dear};
pub(crate) use self::stand_ins::{cost_at, no_way};
use bulkrate_core::lane::Lane;
use bulkrate_core::order::{Factor, HIT_RATES, Sharing};
use bulkrate_core::pace::BatchCurve;
use bulkrate_core::price::bound::Writes;
use bulkrate_core::price::{Forecast, Ratios};
use bulkrate_store::Spent;

use crate::EngineError;
use crate::deployment::{Deployment, Route};
use crate::exact::ModelCount;
use crate::plan::{MarkedShare, ModelPlan, OrderPlan, OrderShare, Plan};
use crate::prepare::{Checkpoint, ModelStats, Stats};
use crate::spec::{JobSpec, SendBy};
use crate::strong::{Strong, naive_at, naive_model};

/// What a plan is made from.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub job: &'a str,
    pub spec: &'a JobSpec,
    pub checkpoint: &'a Checkpoint,
    pub deployments: &'a [Deployment],
    /// Those that stand in when another cannot serve.
    pub fallbacks: &'a [Route],
    /// The cheap models of a cascade, and after them its judge.
    pub cheap: &'a [usize],
    /// Whom the naive plan asks, where something chooses another.
    pub strong: Option<&'a Strong>,
    /// What the job itself has spent so far.
    pub spent: Spent,
    /// What its answers say of its cost.
    pub forecast: Option<Forecast>,
    /// Leaders without an outcome, when the job is resumed.
    pub open: Option<u64>,
    /// How long batches have taken here.
    pub curve: Option<BatchCurve>,
    /// The job has batches at the provider.
    pub batches_out: bool,
    /// Both in the same clock: since the epoch.
    pub now_us: u64,
    pub created_ms: u64,
    pub warnings: Vec<String>,
    /// Exact input tokens by model, where they were asked for.
    pub counts: Option<&'a [ModelCount]>,
}

/// Makes the plan and chooses the lane.
pub(crate) fn plan(facts: &Facts<'_>) -> Result<Plan, EngineError> {
    let Facts { spec, checkpoint, .. } = facts;
    let Asked { stats, part } = asked(spec.source.limit, checkpoint);
    let leaders: u64 = stats.models.iter().map(|model| model.items).sum();
    let requests = facts.open.unwrap_or(leaders.saturating_sub(stats.cached));
    let asked_again: u64 = stats.models.iter().map(|model| model.followers).sum();
    let estimated = lanes(facts, stats, None, requests, leaders)?;
    // A run has no counts: its lane and its cap are what the estimate says, in a plan with counts too.
    let (lane, why) = choose(facts, &estimated, requests)?;
    stand_ins::check_lanes(facts)?;
    let unpriced_models: Vec<String> =
        facts.deployments.iter().filter(|found| !found.priced).map(|found| found.pinned.clone()).collect();
    let priced = unpriced_models.is_empty();
    let chosen = estimated.iter().find(|plan| plan.lane == lane);
    let cap_is_default = spec.run.budget.is_none();
    let cap = spec.run.budget.or_else(|| priced.then(|| default_cap(chosen, stats, facts.spent)));
    let sync =
        quoted(facts, stats, facts.counts, Lane::Sync, &|model| naively(facts, model), How::Plain)?.expected;
    let bundle = bundles::plan(facts, stats, lane, (requests, leaders))?;
    let lanes = match facts.counts {
        None => estimated,
        counts => lanes(facts, stats, counts, requests, leaders)?,
    };
    Ok(Plan {
        job: facts.job.to_owned(),
        name: spec.name.clone(),
        models: model_plans(stats, facts.counts, part),
        records: part.of(stats.records),
        beyond_limit: checkpoint.stats.records - part.of(stats.records),
        requests,
        duplicates: part.of(stats.duplicates),
        cached: part.of(stats.cached),
        filtered: part.of(stats.filtered),
        invalid: part.of(stats.invalid),
        skipped_lines: checkpoint.stats.skipped,
        naive_model: naive_model(facts.strong, facts.deployments),
        naive: sync
            .share_up(part.of(leaders + asked_again), leaders)
            .saturating_add(stats.filter_saves.share_up(part.taken, part.of)),
        lanes,
        lane,
        why,
        cap,
        cap_is_default,
        spent: facts.spent.settled,
        forecast: facts.forecast,
        order: order(facts, lane),
        prompt_cache: prompt_cache::plan(facts, stats, lane),
        bundle,
        embedding: None, // it is a job of its own, planned by the engine
        warnings: warnings::warnings(facts, stats, lane, part)?,
        shape: checkpoint.shape.name().to_owned(),
        priced,
        unpriced_models,
    })
}

/// The order of sending as it was decided when the source was read, at the prices of this lane.
fn order(facts: &Facts<'_>, lane: Lane) -> Option<OrderPlan> {
    if facts.spec.run.order == SendBy::Source {
        return None;
    }
    let Some(ordered) = &facts.checkpoint.ordered else {
        let why = "the source was read before this order was asked for".to_owned();
        return Some(OrderPlan { by_prefix: false, why: Some(why), models: Vec::new() });
    };
    // Neither batches nor bundles have a second mark.
    let marks = lane != Lane::Batch && facts.spec.request.bundle.is_none();
    let share = |stats: &ModelStats| {
        let found = facts.deployments.iter().find(|found| found.pinned == stats.model)?;
        let (as_is, most) = stats.shared.shares();
        let begun = &ordered.begun;
        let ordered = if ordered.by_prefix { most } else { as_is };
        let factor = found.row.rates(lane).and_then(|rates| Factor::of(&rates.base, Writes::Short));
        let (model, hit_rates) = (stats.model.clone(), HIT_RATES);
        if let Some(begun) = begun.iter().find(|begun| begun.model == stats.model) {
            let Sharing { rows, beginnings, .. } = begun.sharing;
            let costs = factor.filter(|_| marks);
            let costs = costs.map(|factor| begun.sharing.costs(factor, stats.shared.bytes));
            let marked = marks.then_some(MarkedShare { rows, beginnings });
            return Some(OrderShare { model, as_is, ordered, costs, hit_rates, marked });
        }
        let costs = factor.map(|factor| HIT_RATES.map(|hits| factor.cost(ordered, hits)));
        Some(OrderShare { model, as_is, ordered, costs, hit_rates, marked: None })
    };
    let known = facts.checkpoint.stats.models.iter().filter(|stats| stats.shared.bytes > 0);
    let models = known.filter_map(share).collect();
    Some(OrderPlan { by_prefix: ordered.by_prefix, why: ordered.why.clone(), models })
}

/// Whom the naive plan asks: what was taken from the strong model goes to that.
fn naively<'a>(facts: &'a Facts<'_>, model: &'a str) -> &'a str {
    let place = facts.deployments.iter().position(|found| found.pinned == model);
    place.map_or(model, |place| &naive_at(facts.strong, facts.deployments, place).pinned)
}

/// What of a source a run is asked for.
pub(crate) struct Asked<'a> {
    pub stats: &'a Stats,
    /// How much of `stats` that is.
    part: Part,
}

/// A share of counts, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    taken: u64,
    of: u64,
}

const WHOLE: Part = Part { taken: 1, of: 1 };

impl Part {
    fn of(self, count: u64) -> u64 {
        let scaled = (u128::from(count) * u128::from(self.taken)).div_ceil(u128::from(self.of.max(1)));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// Counted exactly for the limit that the source was read with, scaled for another.
pub(crate) fn asked(limit: Option<u64>, checkpoint: &Checkpoint) -> Asked<'_> {
    let stats = &checkpoint.stats;
    match (limit, &checkpoint.limited) {
        (Some(limit), Some(limited)) if limited.limit == limit => {
            Asked { stats: &limited.stats, part: WHOLE }
        }
        (Some(limit), _) if limit < stats.records => {
            Asked { stats, part: Part { taken: limit, of: stats.records } }
        }
        _ => Asked { stats, part: WHOLE },
    }
}

/// One line a model, however urgent its items are.
fn model_plans(stats: &Stats, counts: Option<&[ModelCount]>, part: Part) -> Vec<ModelPlan> {
    let mut plans: Vec<ModelPlan> = Vec::new();
    let asked = stats.models.iter().filter(|model| model.items > 0);
    for plan in asked.map(|model| model_plan(model, counts, part)) {
        match plans.iter_mut().find(|known| known.model == plan.model) {
            None => plans.push(plan),
            Some(known) => {
                known.requests += plan.requests;
                known.input_tokens += plan.input_tokens;
                known.output_tokens += plan.output_tokens;
                known.max_output_tokens = known.max_output_tokens.max(plan.max_output_tokens);
                if known.input_count.as_ref().is_some_and(|count| count.exact) {
                    known.input_count = plan.input_count;
                }
            }
        }
    }
    plans
}

fn model_plan(stats: &ModelStats, counts: Option<&[ModelCount]>, part: Part) -> ModelPlan {
    let output = stats.choice_bytes.map_or(u64::from(stats.output_max).min(256), |bytes| bytes / 4 + 4);
    let count = counts.and_then(|counts| counts.iter().find(|count| count.is_of(stats)));
    ModelPlan {
        model: stats.model.clone(),
        requests: part.of(stats.items),
        input_tokens: part.of(count
            .and_then(ModelCount::tokens)
            .unwrap_or_else(|| stats.shape(false).input_expected(&Ratios::default()))),
        output_tokens: part.of(output * stats.items),
        max_output_tokens: stats.output_max,
        input_count: count.map(ModelCount::told),
    }
}
