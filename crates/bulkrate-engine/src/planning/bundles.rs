//! What bundles make of a plan: what is said once instead of each time, and whether that pays at these prices.

use bulkrate_core::bundle::{
    ADDED_TOKENS, Alone, FRAMING_TOKENS, Kin, Limit, Room, Said, around_answer, asked_so, fitting, pays,
    together,
};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::{Tokens, UsdNanos};
use bulkrate_core::price::bound::{Writes, bound_tokens};
use bulkrate_core::price::{JobShape, Ratios, part_of};
use bulkrate_core::request::{Config, Content, Kind, Message, Request, Role};
use bulkrate_core::tokens::about;

use super::{Facts, How, prompt_cache, quoted};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::plan::BundlePlan;
use crate::prepare::{ModelStats, Shape, Stats};
use crate::spec::RequestSpec;

/// Bytes of a token, where nothing else is known of them.
const TOKEN_BYTES: u64 = 4;

/// Whether bundles pay for one model, and in which size.
enum Pays {
    Yes {
        size: u32,
        limit: Option<Limit>,
    },
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
    let (mut size, mut why, mut in_all) = (Some(asked), None, 0);
    for stats in &stats.models {
        let own = facts.spec.request.bundle_at(&stats.model).filter(|_| !stats.urgent);
        let alone = |found: &Deployment| Some(pay(facts, stats, found, lane, own?));
        match of(facts, &stats.model).and_then(alone) {
            Some(Pays::Yes { size: fits, limit }) => {
                in_all += stats.items.div_ceil(u64::from(fits));
                if let (Some(limit), Some(least)) = (limit, size.as_mut()) {
                    *least = fits.min(*least);
                    why = why.or_else(|| Some(format!("no more have room: {limit}")));
                }
            }
            Some(Pays::No(reason)) => {
                (size, why) = (None, Some(reason));
                break;
            }
            Some(Pays::Unknown) => {
                in_all += stats.items.div_ceil(u64::from(own.unwrap_or(1)));
                why = why.or_else(|| {
                    Some("the source holds whole requests: those that are alike go together".to_owned())
                });
            }
            None => in_all += stats.items,
        }
    }
    let expected =
        |how| Ok::<_, EngineError>(quoted(facts, stats, facts.counts, lane, &|model| model, how)?.expected);
    let saved = match size {
        // Bundles that a pilot found dearer save nothing.
        Some(_) => {
            let saved = expected(How::Alone)? - expected(How::Together)?;
            saved.max(UsdNanos::ZERO).share_up(requests, leaders)
        }
        None => Default::default(),
    };
    let in_all = size.map_or(requests, |_| part_of(in_all, requests, leaders));
    Ok(Some(BundlePlan { asked, size, requests: in_all, saved, why }))
}

/// A model's items as they are asked together, and by what their tokens are known.
pub(super) fn sent(
    facts: &Facts<'_>,
    stats: &ModelStats,
    found: &Deployment,
    lane: Lane,
    alone: (Ratios, JobShape),
) -> (Ratios, JobShape) {
    let request = &facts.spec.request;
    let Some(asked) = request.bundle_at(&found.pinned).filter(|_| !stats.urgent) else { return alone };
    // One model for which they do not pay, and the job has none.
    let models = &facts.checkpoint.stats.models;
    let off = models.iter().filter(|stats| !stats.urgent).any(|stats| {
        let own =
            || Some(pay(facts, stats, of(facts, &stats.model)?, lane, request.bundle_at(&stats.model)?));
        matches!(own(), Some(Pays::No(_)))
    });
    let Pays::Yes { size, .. } = pay(facts, stats, found, lane, asked) else { return alone };
    if off {
        return alone;
    }
    let (ratios, shape) = alone;
    let learned = facts.spec.run.learned.as_ref().and_then(|known| known.in_bundles(&found.pinned, lane));
    match learned {
        Some(seen) => (prompt_cache::seen(facts, found, lane, seen), asked_so(shape, size)),
        None => match said(&facts.spec.request, size) {
            Some(said) => (ratios, together(shape, size, &said)),
            None => alone,
        },
    }
}

fn of<'f>(facts: &'f Facts<'_>, model: &str) -> Option<&'f Deployment> {
    facts.deployments.iter().find(|found| found.pinned == model)
}

fn pay(facts: &Facts<'_>, stats: &ModelStats, found: &Deployment, lane: Lane, asked: u32) -> Pays {
    if facts.checkpoint.shape != Shape::Table {
        return Pays::Unknown;
    }
    let request = &facts.spec.request;
    if let Some(why) = alone(request) {
        return Pays::No(format!("each item is asked alone: {why}"));
    }
    let common = common_bytes(request);
    let (size, limit) = fitting(asked, &room(facts, stats, found, lane, common));
    if let (1, Some(limit)) = (size, limit) {
        return Pays::No(format!("each item of `{}` is asked alone: {}", found.pinned, Alone::NoRoom(limit)));
    }
    let Some(rates) = found.row.rates(lane) else { return Pays::Yes { size, limit } };
    let (tokens, set) = (common / TOKEN_BYTES, &rates.base);
    let (input, output) = (set.input.per_token, set.output.per_token);
    let is_choice = stats.choice_bytes.is_some();
    if pays(tokens, size, input, input, output, is_choice) || output.0 == 0 && input.0 == 0 {
        return Pays::Yes { size, limit };
    }
    Pays::No(format!(
        "about {tokens} tokens are the same in every request of `{}`, which does not pay for the {FRAMING_TOKENS} tokens around each \
         item, the {} more around each answer and the {ADDED_TOKENS} that say how to answer",
        found.pinned,
        around_answer(is_choice)
    ))
}

/// Why no item of a table can be asked together with another: what the job sets for all of them.
fn alone(request: &RequestSpec) -> Option<Alone> {
    if request.kind != Kind::Chat {
        return Some(Alone::NoChat);
    }
    if request.image.is_some() {
        return Some(Alone::NoLastText);
    }
    let raw = |text: &Option<String>| {
        text.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
    };
    let line = serde_json::json!({
        "model": "", "messages": [{"role": "user", "content": ""}], "provider_kwargs": raw(&request.provider_kwargs),
        "generation_config": {"stop_sequences": request.stop, "output_schema": raw(&request.schema)}
    })
    .to_string();
    let request: Request<'_> = serde_json::from_str(&line).ok()?;
    Kin::of(&request).err()
}

/// What a model's mean item asks of a request.
fn room(facts: &Facts<'_>, stats: &ModelStats, found: &Deployment, lane: Lane, common: u64) -> Room {
    let items = stats.items.max(1);
    let bytes = stats.bytes / items;
    let output = u64::from(stats.output_max);
    let bound = found.row.rates(lane).and_then(|rates| {
        bound_tokens(rates, Tokens(stats.input_max / items), Tokens(output), Writes::default())
    });
    Room {
        prompt: (bytes / TOKEN_BYTES, bytes.saturating_sub(common) / TOKEN_BYTES + u64::from(FRAMING_TOKENS)),
        output: (output, found.max_output().map(|most| most.0)),
        price: (bound.unwrap_or_default(), facts.spec.run.budget_per_request),
    }
}

/// Bytes that every request of a table says: all but what is filled in.
fn common_bytes(request: &RequestSpec) -> u64 {
    let turns: usize = request.turns.iter().map(|turn| turn.content.len()).sum();
    let around = request.user.as_deref().map_or(0, |user| around(user).len());
    let system = request.system.as_deref().map_or(0, str::len);
    (turns + around + system) as u64
}

/// What a bundle of a table's rows says beside them, about.
fn said(request: &RequestSpec, size: u32) -> Option<Said> {
    let schema = request.schema.as_deref().and_then(|schema| serde_json::from_str(schema).ok());
    let user = request.user.as_deref().unwrap_or_default();
    let own = |role, text: &str| Message {
        role,
        content: Content::Text(text.to_owned().into()),
        tool_call_id: None,
    };
    let turns = request.turns.iter().map(|turn| own(turn.role, &turn.content));
    let lead = Request {
        system_prompt: request.system.as_deref().map(Into::into).into_iter().collect(),
        messages: turns.chain([own(Role::User, user)]).collect(),
        generation_config: Config {
            choices: request.choices.iter().map(|choice| choice.as_str().into()).collect(),
            output_schema: schema,
            ..Config::default()
        },
        ..Request::default()
    };
    Said::of(&lead, &|word| around(user) + word, size, &about)
}

/// A template without its marks.
fn around(template: &str) -> String {
    let mut rest = template;
    let mut text = String::new();
    while let Some((before, marked)) = rest.split_once('{') {
        text.push_str(before);
        let end = match marked.as_bytes().first() {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                text.push('{');
                rest = marked;
                continue;
            }
        };
        rest = marked.split_once(end).map_or("", |(_, rest)| rest);
    }
    text + rest
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
            assert_eq!(around(template).len(), bytes, "{template}");
        }
    }
}
