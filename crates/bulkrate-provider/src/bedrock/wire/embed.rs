//! Vectors by `InvokeModel`, both ways: each maker has bodies of its own. One text goes out and one vector comes back.
//!
//! Bodies and answers are those of Amazon's pages on the models (Titan Text Embeddings, Cohere Embed v3 and v4, Nova Multimodal Embeddings).
//! Only Titan says in its answer how many tokens it read; of the others a header of the call does.

use bulkrate_core::answer::{Finish, Reading};
use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Request, write_json_text};
use bulkrate_core::usage::Usage;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::models::base;
use crate::api::{Unsupported, WireOptions};
use crate::http::strange::{no_json, unreadable};
use crate::job;
use crate::json::loose::Count;
use crate::json::object::{Object, Own};
use crate::vector;

type Job<'r> = job::Job<'r, Embedder>;

/// How many tokens were read, as a call says it.
const TOKENS: &str = "x-amzn-bedrock-input-token-count";
/// Numbers of a vector of Nova's, where nothing else was said: the length must be named.
const NOVA_DIMENSIONS: u32 = 3_072;

/// By the beginnings of their names: the dimensions of only some models can be chosen.
const EMBEDDERS: &[(&str, Embedder)] = &[
    ("amazon.titan-embed-text-v2", Embedder::Titan { sized: true }),
    ("amazon.titan-embed-", Embedder::Titan { sized: false }),
    ("cohere.embed-v4", Embedder::Cohere { sized: true }),
    ("cohere.embed-", Embedder::Cohere { sized: false }),
    ("amazon.nova-2-multimodal-embeddings", Embedder::Nova),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Embedder {
    Titan { sized: bool },
    Cohere { sized: bool },
    Nova,
}

fn embedder(model: &str) -> Option<Embedder> {
    let name = base(model);
    EMBEDDERS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, embedder)| *embedder)
}

/// Why no batches are made for a model's vectors.
pub(in crate::bedrock) fn no_batches(model: &str) -> Option<&'static str> {
    match embedder(model) {
        Some(Embedder::Titan { .. }) => None,
        _ => Some("results of its batches do not say how many tokens were read; use the sync lane"),
    }
}

pub(super) fn encode(
    request: &Request<'_>,
    options: WireOptions<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    let Some(family) = embedder(options.model) else {
        return Err(Unsupported {
            field: "kind",
            model: options.model.to_owned(),
            why: "it is no embedding model that is known here: those of Titan, Cohere and Nova are"
                .to_owned(),
        });
    };
    if let Some(why) = no_batches(options.model).filter(|_| options.lane == Lane::Batch) {
        return Err(Unsupported { field: "kind", model: options.model.to_owned(), why: why.to_owned() });
    }
    let job = Job { request, options, family };
    let fixed = matches!(family, Embedder::Titan { sized: false } | Embedder::Cohere { sized: false });
    if fixed && job.config().dimensions.is_some() {
        return Err(job.unsupported("dimensions", "its vectors have one length"));
    }
    match family {
        Embedder::Titan { .. } => titan(&job, out),
        Embedder::Cohere { .. } => cohere(&job, out),
        Embedder::Nova => nova(&job, out),
    }
}

/// What is charged by another unit than tokens.
fn refuse(job: &Job<'_>, own: &Own<'_>, media: &[&str]) -> Result<(), Unsupported> {
    if media.iter().any(|name| own.has(name)) {
        return Err(job.unsupported(
            "provider_kwargs",
            "only texts are embedded here: of images and sounds the price is not known",
        ));
    }
    Ok(())
}

fn titan(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let own = job.own()?;
    refuse(job, &own, &["inputImage"])?;
    let text = job.one_input(own.has("inputText"))?;
    let mut body = Object::open(out, own);
    body.text("inputText", text);
    body.number("dimensions", job.config().dimensions);
    body.close();
    Ok(())
}

/// A text that is too long is refused and not cut; what it is for must be said, and most are kept to be searched.
fn cohere(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let own = job.own()?;
    refuse(job, &own, &["images", "inputs"])?;
    if own.has("texts") || own.has("embedding_types") {
        let why = "one text is sent and its vector read as numbers: leave `texts` and `embedding_types` out";
        return Err(job.unsupported("provider_kwargs", why));
    }
    let text = job.one_input(false)?;
    let mut body = Object::open(out, own);
    if body.key("texts") {
        body.out.push(b'[');
        write_json_text(text, body.out);
        body.out.push(b']');
    }
    body.text("input_type", "search_document");
    body.literal("embedding_types", "[\"float\"]");
    body.number("output_dimension", job.config().dimensions);
    body.text("truncate", "NONE");
    body.close();
    Ok(())
}

fn nova(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    const WITHIN: &str = "singleEmbeddingParams";
    let mut own = job.own()?;
    let within =
        own.within(WITHIN).map_err(|why| job.unsupported("provider_kwargs.singleEmbeddingParams", why))?;
    refuse(job, &within, &["image", "audio", "video"])?;
    let text = job.one_input(within.has("text"))?;
    own.remove(WITHIN);
    let mut body = Object::open(out, own);
    body.text("taskType", "SINGLE_EMBEDDING");
    body.key(WITHIN);
    let mut params = Object::open(body.out, within);
    params.text("embeddingPurpose", "GENERIC_INDEX");
    params.number("embeddingDimension", Some(job.config().dimensions.unwrap_or(NOVA_DIMENSIONS)));
    if params.key("text") {
        params.out.extend_from_slice(b"{\"truncationMode\":\"NONE\",\"value\":");
        write_json_text(text, params.out);
        params.out.push(b'}');
    }
    params.close();
    body.close();
    Ok(())
}

/// An answer of any maker: they share no field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    /// Titan.
    #[serde(borrow, default)]
    embedding: Option<&'a RawValue>,
    #[serde(default)]
    input_text_token_count: Count,
    /// Cohere, by type or plain; Nova.
    #[serde(borrow, default)]
    embeddings: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    /// There where a text was cut.
    #[serde(borrow, default)]
    truncated_char_length: Option<&'a RawValue>,
}

/// `headers`: of a call.
pub(super) fn success<'a>(body: &'a [u8], headers: Option<&HeaderMap>) -> Reading<'a> {
    let response: Response<'_> = match serde_json::from_slice(body) {
        Ok(response) => response,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    let told = headers.and_then(|headers| headers.get(TOKENS)?.to_str().ok()?.trim().parse().ok());
    let input = response.input_text_token_count.or(told);
    let usage = input.map(|input| Usage { input, ..Usage::default() });
    let (values, finish) = match response.embedding {
        Some(values) => (Some(values), Finish::Stop),
        None => response.embeddings.map_or((None, Finish::Stop), first),
    };
    vector::answer(values, finish, (usage, None))
        .unwrap_or_else(|| Reading::Failure(unreadable("the answer holds no vector")))
}

/// The first vector of a list, and whether it is that of all of the text.
fn first(listed: &RawValue) -> (Option<&RawValue>, Finish) {
    if listed.get().starts_with('{') {
        let by_type = serde_json::from_str::<ByType<'_>>(listed.get()).ok();
        return (by_type.and_then(|by| by.float.into_iter().next()), Finish::Stop);
    }
    let list = serde_json::from_str::<Vec<&RawValue>>(listed.get()).unwrap_or_default();
    let Some(one) = list.into_iter().next() else { return (None, Finish::Stop) };
    // A list would be read as the fields of one.
    let typed = serde_json::from_str::<Typed<'_>>(one.get()).ok().filter(|_| one.get().starts_with('{'));
    let Some(typed) = typed else { return (Some(one), Finish::Stop) };
    let is_cut = typed.truncated_char_length.is_some_and(|length| length.get() != "null");
    (Some(typed.embedding), if is_cut { Finish::Length } else { Finish::Stop })
}
