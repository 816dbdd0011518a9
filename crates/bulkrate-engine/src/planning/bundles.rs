//! What bundles make of a plan: what is said once instead of each time, and whether that pays at these prices.

use bulkrate_core::bundle::{ADDED_TOKENS, FRAMING_TOKENS, ID_TOKENS, pays};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::Tokens;
use bulkrate_core::price::JobShape;

use super::{Facts, quoted, scaled};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::plan::BundlePlan;
use crate::prepare::{ModelStats, Shape, Stats};
use crate::spec::RequestSpec;

/// Bytes of a token, where nothing else is known of them.
const TOKEN_BYTES: u64 = 4;

/// Whether bundles of this size pay for one model, and what all of its requests have in common.
enum Pays {
    Yes(u64),
    No(String),
    /// Requests that say all of themselves: nobody has compared them.
    Unknown,
}

/// The bundles of a job; `None` where none were asked for.
pub(super) fn plan(
    facts: &Facts<'_>,
    stats: &Stats,
    lane: Lane,
    (requests, leaders): (u64, u64),
) -> Result<Option<BundlePlan>, EngineError> {
    let Some(asked) = facts.spec.request.bundle else { return Ok(None) };
    let (mut size, mut why) = (Some(asked), None);
    for found in asked_of(facts, stats) {
        match pay(facts, found, lane, asked) {
            Pays::Yes(_) => {}
            Pays::No(reason) => (size, why) = (None, Some(reason)),
            Pays::Unknown if why.is_none() => {
                why = Some("the source holds whole requests: those that are alike go together".to_owned());
            }
            Pays::Unknown => {}
        }
    }
    let together = quoted(facts, stats, facts.counts, lane, &|model| model, true)?.expected;
    let apart = quoted(facts, stats, facts.counts, lane, &|model| model, false)?.expected;
    let saved = if size.is_some() { scaled(apart - together, requests, leaders) } else { Default::default() };
    let in_all = size.map_or(requests, |size| requests.div_ceil(u64::from(size)));
    Ok(Some(BundlePlan { asked, size, requests: in_all, saved, why }))
}

/// A model's items as they are asked together.
pub(super) fn shape(
    facts: &Facts<'_>,
    stats: &ModelStats,
    found: &Deployment,
    lane: Lane,
    alone: JobShape,
) -> JobShape {
    let Some(size) = facts.spec.request.bundle.filter(|_| !stats.urgent) else { return alone };
    // One model for which they do not pay, and the job has none.
    let models = &facts.checkpoint.stats.models;
    let off = models.iter().any(|stats| {
        matches!(of(facts, &stats.model).map(|found| pay(facts, found, lane, size)), Some(Pays::No(_)))
    });
    let Pays::Yes(common) = pay(facts, found, lane, size) else { return alone };
    if off || alone.counted.is_some() {
        return alone;
    }
    let whole = alone.items.div_ceil(u64::from(size));
    let said_less = common.saturating_mul(alone.items - whole);
    let framed = alone.items * u64::from(FRAMING_TOKENS) * TOKEN_BYTES;
    let added = whole * u64::from(ADDED_TOKENS) * TOKEN_BYTES;
    let messages = alone.messages / alone.items.max(1) * whole + whole;
    JobShape {
        bytes: alone.bytes.saturating_sub(said_less) + framed + added,
        bytes_largest: alone.bytes_largest.saturating_mul(u64::from(size)),
        messages,
        choice_bytes: alone.choice_bytes.map(|bytes| bytes + u64::from(ID_TOKENS) * TOKEN_BYTES),
        output_max: Tokens(alone.output_max.0 + u64::from(ID_TOKENS)),
        ..alone
    }
}

fn asked_of<'f>(facts: &'f Facts<'_>, stats: &'f Stats) -> impl Iterator<Item = &'f Deployment> {
    stats.models.iter().filter_map(|stats| of(facts, &stats.model))
}

fn of<'f>(facts: &'f Facts<'_>, model: &str) -> Option<&'f Deployment> {
    facts.deployments.iter().find(|found| found.pinned == model)
}

fn pay(facts: &Facts<'_>, found: &Deployment, lane: Lane, size: u32) -> Pays {
    if facts.checkpoint.shape != Shape::Table {
        return Pays::Unknown;
    }
    let common = common_bytes(&facts.spec.request);
    let Some(rates) = found.row.rates(lane) else { return Pays::Yes(common) };
    let (tokens, set) = (common / TOKEN_BYTES, &rates.base);
    let (input, output) = (set.input.per_token, set.output.per_token);
    if pays(tokens, size, input, input, output) || output.0 == 0 && input.0 == 0 {
        return Pays::Yes(common);
    }
    Pays::No(format!(
        "about {tokens} tokens are the same in every request of `{}`, which does not pay for the {FRAMING_TOKENS} tokens around each \
         item, the {ID_TOKENS} around each answer and the {ADDED_TOKENS} that say how to answer",
        found.pinned
    ))
}

/// Bytes that every request of a table says: all but what is filled in.
fn common_bytes(request: &RequestSpec) -> u64 {
    let turns: usize = request.turns.iter().map(|turn| turn.content.len()).sum();
    let around = request.user.as_deref().map_or(0, around);
    let system = request.system.as_deref().map_or(0, str::len);
    (turns + around + system) as u64
}

/// Bytes of a template outside its marks.
fn around(template: &str) -> usize {
    let mut rest = template;
    let mut bytes = 0;
    while let Some((before, marked)) = rest.split_once('{') {
        bytes += before.len();
        let end = match marked.as_bytes().first() {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                bytes += 1;
                rest = marked;
                continue;
            }
        };
        rest = marked.split_once(end).map_or("", |(_, rest)| rest);
    }
    bytes + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_not_common() {
        for (template, bytes) in [
            ("Sort: {{ text }}.", 7),
            ("{% if a %}x{% endif %}{# no #}y", 2),
            ("{{a}}{{b}}", 0),
            ("a {b} c", 7),
            ("open {{ text", 5),
        ] {
            assert_eq!(around(template), bytes, "{template}");
        }
    }
}
