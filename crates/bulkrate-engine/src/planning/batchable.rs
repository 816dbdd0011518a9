//! What keeps a job out of the batch lane besides prices: too few requests, answers that must have a shape.

use bulkrate_core::lane::Lane;
use bulkrate_provider::BatchFacts;

use super::Facts;
use crate::deployment::Deployment;

/// Why the job's requests, so many of them, make no batch; `None` where they do.
pub(super) fn refused(facts: &Facts<'_>, requests: u64) -> Option<String> {
    too_few(facts, requests)
        .or_else(|| schema_refused(facts))
        .or_else(|| media_refused(facts))
        .or_else(|| price_missing(facts))
        .or_else(|| model_refused(facts))
}

/// Choices that go to a batch without a schema: only the prompt can hold answers to them.
pub(super) fn choices_unsaid(facts: &Facts<'_>, lane: Lane) -> Option<String> {
    let name =
        without_schema(facts).filter(|_| lane == Lane::Batch && !facts.spec.request.choices.is_empty())?;
    Some(format!(
        "batches of `{name}` cannot be held to the choices: the prompt must ask for one of them and for nothing else"
    ))
}

/// Whose batches cannot be held to a schema.
fn without_schema(facts: &Facts<'_>) -> Option<&'static str> {
    whose(facts, |facts| facts.takes_no_schema)
}

/// Why so few requests make no batch; `None` where they do. The first of them goes alone.
pub(super) fn too_few(facts: &Facts<'_>, requests: u64) -> Option<String> {
    let canary = u64::from(facts.spec.run.canary);
    let least = |found: &Deployment| {
        let least = u64::from(found.account.api.batches()?.facts().items_min);
        (requests > 0 && requests < least.saturating_add(canary)).then(|| {
            let name = found.account.api.name();
            format!(
                "a batch of `{name}` holds no fewer than {least} items, and there are {} for one",
                requests.saturating_sub(canary)
            )
        })
    };
    facts.deployments.iter().find_map(least)
}

/// Why answers that have a schema cannot come from batches.
fn schema_refused(facts: &Facts<'_>) -> Option<String> {
    facts.spec.request.schema.as_ref()?;
    let name = without_schema(facts)?;
    Some(format!(
        "answers of batches of `{name}` cannot be held to a schema; describe the answer in the prompt and set `structured_outputs = false`"
    ))
}

/// Why images cannot go to batches.
fn media_refused(facts: &Facts<'_>) -> Option<String> {
    facts.spec.request.image.as_ref()?;
    let name = whose(facts, |facts| facts.takes_no_media)?;
    Some(format!("batches of `{name}` take text alone"))
}

/// Why nobody would know what batches cost.
fn price_missing(facts: &Facts<'_>) -> Option<String> {
    let is_unsaid = |found: &&Deployment| {
        let needed = found.account.api.batches().is_some_and(|batches| batches.facts().needs_price);
        needed && found.row.batch.is_none()
    };
    let found = facts.deployments.iter().find(is_unsaid)?;
    let name = found.account.api.name();
    Some(format!(
        "results of batches of `{name}` do not say what they cost: give a row of your own with `batch_input` and `batch_output` (`--prices`), or `--price-in` and `--price-out`, which hold in all lanes"
    ))
}

/// Whether what is in a batch of somebody's cannot be called back.
pub(super) fn is_held(facts: &Facts<'_>) -> bool {
    whose(facts, |facts| facts.cannot_cancel).is_some()
}

/// The first of the job's providers whose batches are so.
fn whose(facts: &Facts<'_>, are: fn(BatchFacts) -> bool) -> Option<&'static str> {
    let mut apis = facts.deployments.iter().map(|found| &found.account.api);
    apis.find(|api| api.batches().is_some_and(|batches| are(batches.facts()))).map(|api| api.name())
}

/// Why such items cannot come from batches of a model.
fn model_refused(facts: &Facts<'_>) -> Option<String> {
    let why = |found: &Deployment| {
        let why = found.account.api.batches()?.refuses(facts.spec.request.kind, &found.model)?;
        Some(format!("no batches are made for `{}`: {why}", found.model))
    };
    facts.deployments.iter().find_map(why)
}
