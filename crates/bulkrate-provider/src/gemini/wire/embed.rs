//! Embeddings, both ways: a call asks for a list of one (`batchEmbedContents`, whose answer says what it used), a line of a batch for one
//! text by itself.

use std::borrow::Cow;

use bulkrate_core::answer::{Finish, Reading};
use bulkrate_core::lane::Lane;
use bulkrate_core::request::write_json_text;
use bulkrate_core::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::encode::Job;
use super::{read, usage};
use crate::api::Unsupported;
use crate::http::strange::no_json;
use crate::json::loose::Count;
use crate::json::object::Object;
use crate::vector;

pub(super) fn encode(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let mut own = job.own()?;
    let text = job.one_input(own.has("content"))?;
    own.remove("model");
    let call = job.options.lane != Lane::Batch;
    if call {
        out.extend_from_slice(b"{\"requests\":[");
    }
    let mut body = Object::open(out, own);
    if call {
        body.text("model", &format!("models/{}", job.options.model));
    }
    write_content(&mut body, text);
    body.number("outputDimensionality", job.config().dimensions);
    body.close();
    if call {
        out.extend_from_slice(b"]}");
    }
    Ok(())
}

/// The text, unless the caller gives what it is to be of himself.
pub(crate) fn write_content(body: &mut Object<'_, '_>, text: &str) {
    if body.key("content") {
        body.out.extend_from_slice(b"{\"parts\":[{\"text\":");
        write_json_text(text, body.out);
        body.out.extend_from_slice(b"}]}");
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    /// Of a call.
    #[serde(borrow, default)]
    embeddings: Vec<Vector<'a>>,
    /// Of a line.
    #[serde(borrow, default)]
    embedding: Option<Vector<'a>>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(default)]
    token_count: Count,
    #[serde(borrow, default)]
    truncated: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(borrow, default)]
    statistics: Option<Statistics<'a>>,
}

#[derive(Deserialize)]
struct Statistics<'a> {
    #[serde(borrow, default)]
    truncated: Option<&'a RawValue>,
}

/// Whether the vector is that of all of the text: a field of another type than expected says nothing else.
pub(crate) fn finish(truncated: Option<&RawValue>) -> Finish {
    if truncated.is_some_and(|said| said.get() == "true") { Finish::Length } else { Finish::Stop }
}

pub(crate) fn success(body: &[u8]) -> Reading<'_> {
    let response: Response<'_> = match serde_json::from_slice(body) {
        Ok(response) => response,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    let (said, tier) = usage::read(response.usage_metadata);
    let counted = response.token_count.or(None).map(|input| Usage { input, ..Usage::default() });
    let vector = response.embedding.or_else(|| response.embeddings.into_iter().next());
    let within = vector.as_ref().and_then(|vector| vector.statistics.as_ref()?.truncated);
    let finish = finish(response.truncated.or(within));
    answer(body, vector.map(|vector| vector.values), finish, (said.or(counted), tier))
}

/// What has no vector is no answer.
pub(crate) fn answer<'a>(
    body: &'a [u8],
    values: Option<&'a RawValue>,
    finish: Finish,
    (usage, tier): (Option<Usage>, Option<Cow<'a, str>>),
) -> Reading<'a> {
    vector::answer(values, finish, (usage, tier))
        .unwrap_or_else(|| Reading::Failure(read::without_answer(body, "the answer holds no vector")))
}
