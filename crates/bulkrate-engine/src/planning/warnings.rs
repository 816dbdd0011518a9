//! What a plan says that the user should know before the job is run.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::Kind;

use super::{Facts, Part, WHOLE, batchable, decisions, hedge, stand_ins, untaken};
use crate::EngineError;
use crate::cascade_plan::cascade_told;
use crate::deployment::Deployment;
use crate::prepare::{Shape, Stats};
use crate::spec::{RequestSpec, RouterSpec, SemanticSpec};

/// What the user should know before the job is run.
pub(super) fn warnings(
    facts: &Facts<'_>,
    stats: &Stats,
    lane: Lane,
    part: Part,
) -> Result<Vec<String>, EngineError> {
    let request = &facts.spec.request;
    let mut warnings = facts.warnings.clone();
    warnings.extend(fallbacks_told(facts, lane));
    warnings.extend(unfilled(request));
    warnings.extend(unsaid(facts));
    warnings.extend(other_rows(facts, stats));
    warnings.extend(dearer_first(facts));
    warnings.extend(batchable::choices_unsaid(facts, lane));
    warnings.extend(request.router.as_deref().and_then(RouterSpec::off));
    warnings.extend(cascade_told(facts, stats, lane)?);
    warnings.extend(untaken::passed_over(facts, lane));
    warnings.extend(untaken::left_out(facts));
    warnings.extend(untaken::dead_all_the_same(facts, lane, part.of(stats.invalid)));
    warnings.extend(request.semantic.as_ref().map(SemanticSpec::warning));
    warnings.extend(hedge::told(facts.spec, lane));
    warnings.extend(decisions::told(facts, stats));
    if part != WHOLE {
        warnings.push(
            "the limit is not the one that the source was read with: counts and prices are scaled".to_owned(),
        );
    }
    Ok(warnings)
}

/// Texts that are sent as they are and look like templates.
fn unfilled(request: &RequestSpec) -> Option<String> {
    let looks = |text: &str| text.split_once("{{").is_some_and(|(_, rest)| rest.contains("}}"));
    let what = if request.system.as_deref().is_some_and(looks) {
        "the system prompt"
    } else if request.turns.iter().any(|turn| looks(&turn.content)) {
        "an example"
    } else {
        return None;
    };
    Some(format!(
        "{what} has `{{{{ ... }}}}` in it and is sent as it is: only the user prompt is filled in for each item"
    ))
}

/// A system prompt that lines of OpenAI's batches do not get, as they go out as they are.
fn unsaid(facts: &Facts<'_>) -> Option<String> {
    let as_it_is = |found: &&Deployment| found.account.api.wire().takes_openai(Kind::Chat, &found.model);
    let named =
        |found: &&Deployment| facts.checkpoint.stats.models.iter().any(|one| one.model == found.pinned);
    facts.spec.request.system.as_ref().filter(|_| facts.checkpoint.shape == Shape::OpenAi)?;
    let found = facts.deployments.iter().filter(named).find(as_it_is)?;
    Some(format!(
        "`--system` does not go to batch lines for `{}`: they go out as they are, with the system turn that they have or none",
        found.pinned
    ))
}

/// What the plan says of the models that may stand in: how they are priced, and which of them cannot.
fn fallbacks_told(facts: &Facts<'_>, lane: Lane) -> Vec<String> {
    let (mut able, mut told) = (Vec::new(), Vec::new());
    for route in facts.fallbacks {
        let (found, own) = (&facts.deployments[route.place], route.lane.unwrap_or(lane));
        let why = stand_ins::no_way(found, own, lane).or_else(|| untaken::not_instead(facts, found, own));
        match (why, own == lane) {
            (None, true) => able.push(format!("`{}`", found.pinned)),
            (None, false) => able.push(format!("`{}` in the {own} lane", found.pinned)),
            (Some(why), _) => {
                told.push(format!("`{}` cannot stand in within the {own} lane: {why}", found.pinned));
            }
        }
    }
    if !able.is_empty() {
        told.push(format!(
            "the worst case counts that {} may have to stand in; what is expected does not",
            able.join(", ")
        ));
    }
    told
}

/// A router promises its quality for rows like the labelled ones: far more or far fewer hard ones are a sign of others.
fn other_rows(facts: &Facts<'_>, stats: &Stats) -> Option<String> {
    const FAR_PERMILLE: u64 = 100;
    let router = facts.spec.request.router.as_ref().filter(|router| router.pinned.is_none())?;
    let all: u64 = stats.models.iter().map(|model| model.items).sum();
    let labelled = std::iter::once(&router.strong_permille).chain(&router.weak_permille);
    let far = facts.deployments.iter().zip(labelled).find_map(|(found, labelled)| {
        let of = stats.models.iter().filter(|model| model.model == found.pinned);
        let here = of.map(|model| model.items).sum::<u64>().saturating_mul(1_000).checked_div(all)?;
        (here.abs_diff(u64::from(*labelled)) > FAR_PERMILLE).then_some((found, here, labelled))
    });
    let (found, here, labelled) = far?;
    let to = if router.is_of_two() { "the strong model".to_owned() } else { format!("`{}`", found.pinned) };
    Some(format!(
        "{} % of the requests go to {to}, {} % of the labelled rows did: these rows are not like those, and the \
         promise of quality may not hold; label some of these",
        here / 10,
        labelled / 10
    ))
}

/// Models of a router that are named a dearer one first: it was trained for the cheapest first.
fn dearer_first(facts: &Facts<'_>) -> Option<String> {
    let router = facts.spec.request.router.as_ref().filter(|router| !router.is_of_two())?;
    let (strong, others) = facts.deployments.split_first()?;
    let named: Vec<&Deployment> = others.iter().take(router.weak.len()).chain([strong]).collect();
    let rates = |found: &Deployment| {
        let base = found.row.rates(Lane::Sync)?.base;
        Some((base.input.per_token, base.output.per_token))
    };
    let is_dearer = |two: &&[&Deployment]| match (rates(two[0]), rates(two[1])) {
        (Some(first), Some(then)) => first != then && first.0 >= then.0 && first.1 >= then.1,
        _ => false,
    };
    let two = named.windows(2).find(is_dearer)?;
    Some(format!(
        "`--models` names `{}` before `{}`, which costs less: is that the order that the router was trained for? It is the cheapest first",
        two[0].pinned, two[1].pinned
    ))
}
