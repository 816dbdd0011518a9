//! Vectors, both ways: of Gemini's models by `embedContent`, of those before them by `predict`. Only the former have batches whose rows
//! have an id.

use bulkrate_core::answer::Reading;
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Request, write_json_text};
use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::{Unsupported, WireOptions};
use crate::gemini::wire::embed;
use crate::http::strange::no_json;
use crate::job;
use crate::json::loose::Count;
use crate::json::object::{Object, Own};

type Job<'r> = job::Job<'r, ()>;

/// What calls and what lines of batches call the same: the latter in the words of Google's page on them.
const CONFIG: [&str; 2] = ["embedContentConfig", "embed_content_config"];
const DIMENSIONS: [&str; 2] = ["outputDimensionality", "output_dimensionality"];

/// Whether a text that is too long is cut, without a word unless one looks for it. Of lines of batches Google's pages do not tell it.
const TRUNCATE: [&str; 2] = ["autoTruncate", "auto_truncate"];
/// It is for models of texts alone.
const TEXT_ONLY: &str = "gemini-embedding-001";

/// Why batches are not made for a model's vectors.
pub(super) fn no_batches(model: &str, in_tables: bool) -> Option<&'static str> {
    match (is_gemini(model), in_tables) {
        (true, false) => None,
        (true, true) => Some("Google takes vectors from a bucket and from no table; name one as `storage`"),
        (false, _) => Some("what comes back of its batches does not say whose it is; use the sync lane"),
    }
}

fn is_gemini(model: &str) -> bool {
    model.starts_with("gemini")
}

pub(super) fn verb(model: &str) -> &'static str {
    if is_gemini(model) { "embedContent" } else { "predict" }
}

pub(super) fn encode(
    request: &Request<'_>,
    options: WireOptions<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    let job = Job { request, options, family: () };
    if is_gemini(options.model) { content(&job, out) } else { predict(&job, out) }
}

fn content(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let mut own = job.own()?;
    let given = CONFIG.into_iter().find(|name| own.has(name)).unwrap_or(CONFIG[0]);
    let config =
        own.within(given).map_err(|why| job.unsupported("provider_kwargs.embedContentConfig", why))?;
    let text = job.one_input(own.has("content"))?;
    for name in ["model", given] {
        own.remove(name);
    }
    let says = |own: &Own<'_>| DIMENSIONS.iter().any(|name| own.has(name));
    let dimensions = job.config().dimensions.filter(|_| !says(&own) && !says(&config));
    let at = usize::from(job.options.lane == Lane::Batch);
    let is_told = job.options.model.starts_with(TEXT_ONLY) && !TRUNCATE.iter().any(|name| config.has(name));
    let refuses = at == 0 && is_told;
    let mut body = Object::open(out, own);
    embed::write_content(&mut body, text);
    if (refuses || dimensions.is_some() || config.names().next().is_some()) && body.key(CONFIG[at]) {
        let mut config = Object::open(body.out, config);
        config.number(DIMENSIONS[at], dimensions);
        if refuses {
            config.literal(TRUNCATE[at], "false");
        }
        config.close();
    }
    body.close();
    Ok(())
}

/// One instance, to which the caller's own may add (`task_type`, `title`).
fn predict(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let mut own = job.own()?;
    let within = |name| own.within(name).map_err(|why| job.unsupported("provider_kwargs.parameters", why));
    let (parameters, instance) = (within("parameters")?, instance(job, &own)?);
    let text = job.one_input(instance.has("content"))?;
    for name in ["model", "parameters", "instances"] {
        own.remove(name);
    }
    let mut body = Object::open(out, own);
    if body.key("instances") {
        body.out.push(b'[');
        let mut instance = Object::open(body.out, instance);
        if instance.key("content") {
            write_json_text(text, instance.out);
        }
        instance.close();
        body.out.push(b']');
    }
    let dimensions = job.config().dimensions.filter(|_| !parameters.has(DIMENSIONS[0]));
    if body.key("parameters") {
        let mut parameters = Object::open(body.out, parameters);
        parameters.number(DIMENSIONS[0], dimensions);
        parameters.literal(TRUNCATE[0], "false");
        parameters.close();
    }
    body.close();
    Ok(())
}

fn instance<'r>(job: &Job<'r>, own: &Own<'r>) -> Result<Own<'r>, Unsupported> {
    let Some(given) = own.get("instances") else { return Ok(Own::default()) };
    let one: Result<[&RawValue; 1], _> = serde_json::from_str(given);
    let one = one.map_err(|_| "an item has one vector: give a list of one object".to_owned());
    one.and_then(|[one]| Own::read(Some(one)))
        .map_err(|why| job.unsupported("provider_kwargs.instances", why))
}

#[derive(Deserialize)]
struct Predicted<'a> {
    #[serde(borrow, default)]
    predictions: Vec<Prediction<'a>>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// What is charged: letters without white space.
    #[serde(default)]
    billable_character_count: Count,
}

/// Letters that cost what a token does: the price list is by 1,000 of them, the catalogue by a million tokens.
const LETTERS_OF_TOKEN: u64 = 4;

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Vector<'a>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(borrow, default)]
    statistics: Statistics<'a>,
}

#[derive(Default, Deserialize)]
struct Statistics<'a> {
    #[serde(default)]
    token_count: Count,
    #[serde(borrow, default)]
    truncated: Option<&'a RawValue>,
}

/// An answer in either shape: neither has a text that a caller wrote.
pub(super) fn success(body: &[u8]) -> Reading<'_> {
    if memchr::memmem::find(body, b"\"predictions\"").is_none() {
        return embed::success(body);
    }
    let found: Predicted<'_> = match serde_json::from_slice(body) {
        Ok(found) => found,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    let vector = found.predictions.into_iter().next().map(|prediction| prediction.embeddings);
    let counted = vector.as_ref().and_then(|vector| vector.statistics.token_count.or(None));
    let letters = found.metadata.billable_character_count.or(None);
    // Booked is what is more: which of both a bill goes by is told in two ways.
    let input = counted.max(letters.map(|letters| letters.div_ceil(LETTERS_OF_TOKEN)));
    let usage = input.map(|input| Usage { input, ..Usage::default() });
    let finish = embed::finish(vector.as_ref().and_then(|vector| vector.statistics.truncated));
    embed::answer(body, vector.map(|vector| vector.values), finish, (usage, None))
}
