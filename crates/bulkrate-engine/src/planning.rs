//! From what a source holds to what it would cost: every lane side by side, and the one that is chosen.

mod batchable;
mod batch_times;
mod bundles;
mod decisions;
mod hedge;
mod prompt_cache;
mod stand_ins;
mod untaken;
mod warnings;

pub(crate) use self::batch_times::curve_of;
pub(crate) use self::bundles::part_of;
pub(crate) use self::stand_ins::{cost_at, no_way};
use bulkrate_core::budget::{Budget, Cap, Scope};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::order::{Factor, HIT_RATES};
use bulkrate_core::pace::{BatchCurve, LaneChoice, LanePrices, Priority, choose_lane};
use bulkrate_core::price::bound::Writes;
use bulkrate_core::price::{Forecast, JobShape, Quote, Ratios};
use bulkrate_store::Spent;

use crate::EngineError;
use crate::cascade_plan::cascaded;
use crate::deployment::{Deployment, Route};
use crate::exact::ModelCount;
use crate::plan::{LanePlan, ModelPlan, OrderPlan, OrderShare, Plan};
use crate::prepare::{Checkpoint, ModelStats, Stats};
use crate::spec::{JobSpec, RunSpec, SendBy};
use crate::strong::{Strong, naive_at, naive_model};

/// Typical time of a batch, for the plan, while too few have run here; the provider promises 24 hours and most end within one.
const BATCH_SECONDS: u64 = 3_600;
const SECOND_US: u64 = 1_000_000;
/// A call's latency and places, assumed for the plan while nothing is known.
const CALL_SECONDS: u32 = 2;

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
    let share = |stats: &ModelStats| {
        let found = facts.deployments.iter().find(|found| found.pinned == stats.model)?;
        let (as_is, most) = stats.shared.shares();
        let ordered = if ordered.by_prefix { most } else { as_is };
        let factor = found.row.rates(lane).and_then(|rates| Factor::of(&rates.base, Writes::Short));
        let costs = factor.map(|factor| HIT_RATES.map(|hits| factor.cost(ordered, hits)));
        Some(OrderShare { model: stats.model.clone(), as_is, ordered, costs, hit_rates: HIT_RATES })
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

/// Every lane with its price and time.
fn lanes(
    facts: &Facts<'_>,
    stats: &Stats,
    counts: Option<&[ModelCount]>,
    requests: u64,
    leaders: u64,
) -> Result<Vec<LanePlan>, EngineError> {
    let run = &facts.spec.run;
    let models = &stats.models;
    let share = |amount: UsdNanos| amount.share_up(requests, leaders);
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        let quote = cascaded(facts, stats, lane, quote(facts, stats, counts, lane, &|model| model)?)?;
        let unavailable = facts
            .deployments
            .iter()
            .enumerate()
            .filter(|(place, found)| {
                facts.cheap.contains(place) || models.iter().any(|model| model.model == found.pinned)
            })
            .find_map(|(_, found)| found.unavailable(lane));
        let unavailable = unavailable.or_else(|| match lane {
            Lane::Batch => batchable::refused(facts, requests),
            Lane::Flex | Lane::Sync => None,
        });
        let unavailable = unavailable.or_else(|| untaken::refused(facts, lane));
        lanes.push(LanePlan {
            lane,
            unavailable,
            expected: share(quote.expected),
            p95: share(quote.p95),
            worst: share(quote.worst),
            learned: quote.learned,
            seconds: Some(seconds(facts, lane, requests)),
            seconds_p95: facts
                .curve
                .filter(|_| lane == Lane::Batch)
                .map(|curve| (curve.q95_us.saturating_mul(waves(run, requests))).div_ceil(SECOND_US)),
            batches: (lane == Lane::Batch).then(|| requests.div_ceil(run.shard(requests, 1))),
        });
    }
    Ok(lanes)
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
enum How {
    /// Each by itself, and without a prompt cache.
    Plain,
    /// Each by itself.
    Alone,
    /// Several in one request, where the job bundles.
    Together,
}

fn quoted<'a>(
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

/// 1.5 times the P95, and never so little that single requests could not be reserved.
fn default_cap(chosen: Option<&LanePlan>, stats: &Stats, spent: Spent) -> UsdNanos {
    let p95 = chosen.map_or(UsdNanos::ZERO, |plan| plan.p95);
    let leaders: u64 = stats.models.iter().map(|model| model.items).sum();
    let worst_one = chosen.map_or(UsdNanos::ZERO, |plan| {
        UsdNanos(plan.worst.0 / i64::try_from(leaders.max(1)).unwrap_or(i64::MAX) + 1)
    });
    let base = UsdNanos(p95.0.saturating_add(p95.0 / 2)).max(worst_one.times(leaders.min(100) * 2));
    base.saturating_add(spent.settled).saturating_add(spent.doubt).saturating_add(spent.reserved)
}

fn seconds(facts: &Facts<'_>, lane: Lane, requests: u64) -> u64 {
    let run = &facts.spec.run;
    match lane {
        Lane::Batch => {
            let one = facts.curve.map_or(BATCH_SECONDS, |curve| curve.median_us.div_ceil(SECOND_US));
            one.saturating_mul(waves(run, requests))
        }
        Lane::Flex | Lane::Sync => {
            let paced = run.rpm.map_or(0, |rpm| requests.saturating_mul(60) / rpm.max(1));
            let placed = requests
                .saturating_mul(u64::from(CALL_SECONDS))
                .div_ceil(u64::from(run.concurrency_max).clamp(1, 200));
            paced.max(placed).max(u64::from(CALL_SECONDS).min(requests))
        }
    }
}

/// How many batches run one after the other, as no more than so many are out at once.
fn waves(run: &RunSpec, requests: u64) -> u64 {
    let batches = requests.div_ceil(run.shard(requests, 1));
    batches.div_ceil(u64::from(run.batches_max).max(1)).max(1)
}

fn choose(facts: &Facts<'_>, lanes: &[LanePlan], requests: u64) -> Result<(Lane, String), EngineError> {
    let find = |lane: Lane| lanes.iter().find(|plan| plan.lane == lane);
    let refused = |lane: Lane, plan: Option<&LanePlan>| {
        plan.and_then(|plan| plan.unavailable.clone())
            .map(|why| EngineError::LaneUnavailable { lane: lane.name(), why })
    };
    if let Some(lane) = facts.spec.run.lane {
        // Who asks for batches wants the answers all the same.
        let few = batchable::too_few(facts, requests).filter(|_| lane == Lane::Batch);
        if let (Some(why), None) = (few, refused(Lane::Sync, find(Lane::Sync))) {
            return Ok((Lane::Sync, format!("{why}: they go one by one")));
        }
        return match refused(lane, find(lane)) {
            Some(error) => Err(error),
            None => Ok((lane, "as asked".to_owned())),
        };
    }
    let available = |lane: Lane| find(lane).is_some_and(|plan| plan.unavailable.is_none());
    // Where there are no calls, no deadline and no hurry makes any.
    if !available(Lane::Sync) && available(Lane::Batch) {
        return Ok((Lane::Batch, "the only lane available here".to_owned()));
    }
    let price = |lane: Lane| find(lane).filter(|plan| plan.unavailable.is_none()).map(|plan| plan.expected);
    let run = &facts.spec.run;
    // Nothing learned yet: what the plan's own seconds assume.
    let assumed = f64::from(run.concurrency_max.clamp(1, 200)) / f64::from(CALL_SECONDS);
    let rate = run.rpm.map_or(assumed, |rpm| f64::from(u32::try_from(rpm).unwrap_or(u32::MAX)) / 60.0);
    let (lane, why) = choose_lane(&LaneChoice {
        now_us: facts.now_us,
        deadline_us: run.deadline_ms.map(|ms| facts.created_ms.saturating_add(ms).saturating_mul(1_000)),
        items: requests,
        priority: if run.high_priority { Priority::Fast } else { Priority::Cheap },
        prices: LanePrices { batch: price(Lane::Batch), flex: price(Lane::Flex), sync: price(Lane::Sync) },
        items_per_s: rate,
        latency_p99_us: 20_000_000,
        // Batches that are out are waited for, however long others took.
        batch_q95_us: facts
            .curve
            .filter(|_| !facts.batches_out)
            .map(|curve| curve.q95_us.saturating_mul(waves(run, requests))),
        batch_available: available(Lane::Batch),
        flex_available: available(Lane::Flex),
    });
    match refused(lane, find(lane)) {
        Some(error) => Err(error),
        None => Ok((lane, why.to_owned())),
    }
}

/// Admission compares the P95 (strict: the worst case) of the chosen lane with the budget.
pub(crate) fn admit(spec: &JobSpec, plan: &Plan) -> Result<(), EngineError> {
    let Some(budget) = spec.run.budget else { return Ok(()) };
    if !plan.priced {
        let model = plan.unpriced_models.join("`, `");
        return Err(EngineError::Unpriced { model, budget });
    }
    if let Some(of) = plan.embedding.as_ref().filter(|of| of.requests > 0 && !of.priced) {
        return Err(EngineError::Unpriced { model: of.model.clone(), budget });
    }
    let Some(chosen) = plan.chosen() else { return Ok(()) };
    let (mut needed, basis) = match plan.forecast {
        _ if spec.run.strict => (chosen.worst.saturating_add(plan.spent), "its worst case"),
        // A job that has answers knows better, and so does the run: it sends nothing if they say that the budget will not do. What is
        // embedded before would be paid by then.
        Some(forecast) if plan.embedding.as_ref().is_some_and(|of| of.requests > 0) => {
            let least = if spec.run.spend_all { UsdNanos::ZERO } else { forecast.low };
            (least.max(plan.spent), "what its answers say, and the 95th percentile of its embeddings")
        }
        Some(_) => return Ok(()),
        None => (chosen.p95.saturating_add(plan.spent), "the 95th percentile of the estimate"),
    };
    if let Some(of) = &plan.embedding {
        let more = if spec.run.strict { of.worst } else { of.p95 };
        needed = needed.saturating_add(more).saturating_add(of.spent);
    }
    if needed > budget {
        let asked = spec.run.lane.filter(|lane| *lane == plan.lane);
        // The rest of what is needed does not depend on the lane.
        let of = |lane: &LanePlan| if spec.run.strict { lane.worst } else { lane.p95 };
        let room = budget - (needed - of(chosen));
        let others = plan.lanes.iter().filter(|lane| plan.forecast.is_none() && lane.unavailable.is_none());
        let others = others.filter(|_| asked.is_some());
        let fits = others.filter(|lane| of(lane) <= room).min_by_key(|lane| of(lane)).map(|found| found.lane);
        return Err(EngineError::BudgetTooSmall {
            budget,
            needed,
            short: needed - budget,
            basis,
            asked,
            fits,
        });
    }
    Ok(())
}

/// Every cap of the job, with what other jobs of the period hold against it. `tags`: those of `budget_tags`.
pub(crate) fn budget(
    spec: &JobSpec,
    plan: &Plan,
    job: Spent,
    day: Spent,
    month: Spent,
    tags: Vec<Cap>,
) -> Budget {
    let mut caps = Vec::new();
    if let Some(limit) = plan.cap {
        caps.push(Cap::new(Scope::Job, limit));
    }
    for (scope, limit, spent) in
        [(Scope::Day, spec.run.budget_daily, day), (Scope::Month, spec.run.budget_monthly, month)]
    {
        if let Some(limit) = limit {
            caps.push(Cap {
                settled: spent.settled,
                reserved: spent.reserved,
                doubt: spent.doubt,
                ..Cap::new(scope, limit)
            });
        }
    }
    caps.extend(tags);
    let mut budget = Budget { caps, per_request: spec.run.budget_per_request, ..Budget::default() };
    budget.restore(job.settled, job.reserved, job.doubt);
    budget
}
