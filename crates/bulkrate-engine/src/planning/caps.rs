//! What a job may spend: whether its budget does, and every cap that holds for it.

use bulkrate_core::budget::{Budget, Cap, Scope};
use bulkrate_core::money::UsdNanos;
use bulkrate_store::Spent;

use crate::EngineError;
use crate::plan::{LanePlan, Plan};
use crate::prepare::Stats;
use crate::spec::JobSpec;

/// 1.5 times the P95, and never so little that single requests could not be reserved.
pub(super) fn default_cap(chosen: Option<&LanePlan>, stats: &Stats, spent: Spent) -> UsdNanos {
    let p95 = chosen.map_or(UsdNanos::ZERO, |plan| plan.p95);
    let leaders: u64 = stats.models.iter().map(|model| model.items).sum();
    let worst_one = chosen.map_or(UsdNanos::ZERO, |plan| {
        UsdNanos(plan.worst.0 / i64::try_from(leaders.max(1)).unwrap_or(i64::MAX) + 1)
    });
    let base = UsdNanos(p95.0.saturating_add(p95.0 / 2)).max(worst_one.times(leaders.min(100) * 2));
    base.saturating_add(spent.settled).saturating_add(spent.doubt).saturating_add(spent.reserved)
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
