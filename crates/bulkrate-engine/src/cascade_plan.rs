//! What a cascade adds to a plan: its cheap models, and from what share of accepted answers on it pays.

use bulkrate_core::cascade::{Accept, Question, VERDICTS};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan;
use bulkrate_core::price::Quote;
use bulkrate_core::request::Reasoning;

use crate::EngineError;
use crate::planning::{Facts, quote, quote_plain};
use crate::prepare::{ModelStats, Stats};
use crate::spec::{JobSpec, Learned, RunSpec};

/// Of an answer that is no choice: so long it is expected to be at most, and so many bytes are in a token.
const ANSWER_TOKENS: u32 = 256;
const BYTES_PER_TOKEN: u64 = 4;

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
    let own = own(facts, stats, lane, &strong.pinned)?;
    let cheap = before(facts, stats, lane, &strong.pinned)?;
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

/// The strong model's quote of what is asked of the cascade: what rules send elsewhere is not.
fn own(facts: &Facts<'_>, stats: &Stats, lane: Lane, strong: &str) -> Result<Quote, EngineError> {
    quote(facts, stats, None, lane, &|model| if model == strong { model } else { "" })
}

/// A quote of each model that is asked before the strong one: of a judge, for its own question about each answer.
fn before(facts: &Facts<'_>, stats: &Stats, lane: Lane, strong: &str) -> Result<Vec<Quote>, EngineError> {
    let about = judged(facts, stats);
    let each = facts.cheap.iter().enumerate().map(|(at, place)| {
        let asked = facts.deployments[*place].pinned.as_str();
        let asked = |model: &str| if model == strong { asked } else { "" };
        if judges(facts) && at + 1 == facts.cheap.len() {
            quote_plain(facts, &about, lane, &asked)
        } else {
            quote(facts, stats, None, lane, &asked)
        }
    });
    each.collect()
}

/// Whether the last that is asked before the strong model is a judge.
fn judges(facts: &Facts<'_>) -> bool {
    let cascade = facts.spec.request.cascade.as_ref();
    cascade.is_some_and(|cascade| matches!(cascade.accept, Accept::Judge { .. }))
}

/// What a judge would read and say if it were asked about the answer of every item.
fn judged(facts: &Facts<'_>, stats: &Stats) -> Stats {
    let reasoning = facts.spec.request.reasoning.as_deref().and_then(Reasoning::parse);
    let question = |stats: &ModelStats| {
        let answer = |tokens: u32| stats.choice_bytes.unwrap_or(u64::from(tokens) * BYTES_PER_TOKEN);
        let expected = Question::bytes_around() + answer(stats.output_max.min(ANSWER_TOKENS));
        let largest = Question::bytes_around() + answer(stats.output_max);
        ModelStats {
            bytes: stats.bytes + stats.items * expected,
            bytes_largest: stats.bytes_largest + largest,
            messages: 2 * stats.items,
            input_max: stats.input_max + stats.items * largest,
            input_max_largest: stats.input_max_largest + largest,
            output_max: Question::output_max(reasoning),
            choice_bytes: VERDICTS.iter().map(|verdict| verdict.len() as u64).max(),
            ..stats.clone()
        }
    };
    Stats { models: stats.models.iter().map(question).collect(), ..stats.clone() }
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
        self::own(&facts, stats, lane, &strong.pinned)
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
    let before = before(facts, stats, lane, &strong.pinned)?;
    let cheap: UsdNanos = before.iter().map(|quote| quote.expected).sum();
    let whole = own(facts, stats, lane, &strong.pinned)?.expected;
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
        let whom = if judges(facts) { "its cheap models and its judge" } else { "its cheap models" };
        format!(
            "the cascade can never pay: {whom} cost {}.{} % of what `{}` does; leave `--cascade` out",
            from / 10,
            from % 10,
            strong.pinned
        )
    } else if let Some((rejected, items)) = rejected(facts) {
        format!("{pays}; in the pilot {} of {items} were", items.saturating_sub(rejected))
    } else {
        format!("{pays}; what is expected takes half of them as accepted, P95 and worst case none")
    }))
}
