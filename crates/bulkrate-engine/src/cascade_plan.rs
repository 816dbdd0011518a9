//! What a cascade adds to a plan: its cheap models, and from what share of accepted answers on it pays.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan;
use bulkrate_core::price::Quote;

use crate::EngineError;
use crate::planning::{Facts, quote};
use crate::prepare::Stats;
use crate::spec::{JobSpec, Learned, RunSpec};

/// With the cheap models of a cascade, which are asked first, added to a quote at the strong one. What share of their answers will
/// be accepted a pilot may have told; else half of them in what is expected, none in the P95 and the worst case.
pub(crate) fn cascaded(
    facts: &Facts<'_>,
    stats: &Stats,
    lane: Lane,
    at_strong: Quote,
) -> Result<Quote, EngineError> {
    let Some(strong) = facts.deployments.first().filter(|_| !facts.cheap.is_empty()) else {
        return Ok(at_strong);
    };
    // What rules send elsewhere is not asked of the cascade.
    let own = quote(facts, stats, None, lane, &|model| if model == strong.pinned { model } else { "" })?;
    let cheap = |place: &usize| {
        let cheap = &facts.deployments[*place].pinned;
        quote(facts, stats, None, lane, &|model| if model == strong.pinned { cheap } else { "" })
    };
    let cheap: Vec<Quote> = facts.cheap.iter().map(cheap).collect::<Result<_, _>>()?;
    if let Some((rejected, items)) = rejected(facts) {
        let asked = plan::cascaded(&cheap, &of_harder(facts, stats, lane, &own)?, rejected, items);
        return Ok(Quote {
            expected: at_strong.expected - own.expected + asked.expected,
            p95: at_strong.p95 - own.p95 + asked.p95,
            worst: at_strong.worst - own.worst + asked.worst,
            learned: at_strong.learned && asked.learned,
        });
    }
    let mut total = Quote { expected: at_strong.expected - UsdNanos(own.expected.0 / 2), ..at_strong };
    for added in cheap {
        total.expected = total.expected.saturating_add(added.expected);
        total.p95 = total.p95.saturating_add(added.p95);
        total.worst = total.worst.saturating_add(added.worst);
    }
    Ok(total)
}

/// The quote of the job's own model if all items were like those that a pilot saw go on to it.
fn of_harder(facts: &Facts<'_>, stats: &Stats, lane: Lane, own: &Quote) -> Result<Quote, EngineError> {
    let (Some(strong), Some(learned)) = (facts.deployments.first(), &facts.spec.run.learned) else {
        return Ok(*own);
    };
    let Some(like) = learned.of_harder(&strong.pinned) else { return Ok(*own) };
    let quoted = |learned: Learned| {
        let run = RunSpec { learned: Some(Box::new(learned)), ..facts.spec.run.clone() };
        let spec = JobSpec { run, ..facts.spec.clone() };
        let facts = Facts { spec: &spec, warnings: Vec::new(), ..*facts };
        quote(&facts, stats, None, lane, &|model| if model == strong.pinned { model } else { "" })
    };
    let harder = quoted(like)?;
    // Of few of them nothing is promised: any may be as long as is allowed.
    let promised = learned.gone_on.is_some_and(|few| few.promises());
    let p95 = if promised { harder.p95 } else { harder.p95.max(quoted(Learned::default())?.p95) };
    Ok(Quote { p95, worst: own.worst.max(p95), ..harder })
}

/// What a pilot saw go on to the strong model.
fn rejected(facts: &Facts<'_>) -> Option<(u64, u64)> {
    facts.spec.run.learned.as_ref()?.rejected.filter(|(_, items)| *items > 0)
}

/// From what share of accepted answers on a cascade pays, and what the plan takes it to be.
pub(crate) fn cascade_told(
    facts: &Facts<'_>,
    stats: &Stats,
    lane: Lane,
) -> Result<Option<String>, EngineError> {
    let Some(strong) = facts.deployments.first().filter(|_| !facts.cheap.is_empty()) else { return Ok(None) };
    let of = |asked: &str| {
        quote(facts, stats, None, lane, &|model| if model == strong.pinned { asked } else { "" })
            .map(|quote| quote.expected)
    };
    let mut cheap = UsdNanos::ZERO;
    for place in facts.cheap {
        cheap = cheap.saturating_add(of(&facts.deployments[*place].pinned)?);
    }
    let whole = of(&strong.pinned)?;
    if whole == UsdNanos::ZERO {
        return Ok(None);
    }
    let from = i128::from(cheap.0) * 1_000 / i128::from(whole.0);
    let pays = format!(
        "the cascade pays if more than {}.{} % of the cheap answers are accepted",
        from / 10,
        from % 10
    );
    Ok(Some(if from >= 1_000 {
        format!("the cascade cannot pay: its cheap models cost as much as `{}`", strong.pinned)
    } else if let Some((rejected, items)) = rejected(facts) {
        format!("{pays}; in the pilot {} of {items} were", items.saturating_sub(rejected))
    } else {
        format!("{pays}; what is expected takes half of them as accepted, P95 and worst case none")
    }))
}
