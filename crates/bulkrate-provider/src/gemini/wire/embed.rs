//! Embeddings, both ways: a call asks for a list of one (`batchEmbedContents`, whose answer says what it used), a line of a batch for one
//! text by itself.

use bulkrate_core::answer::{Answer, Body, Embedding, Finish, Reading};
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

pub(super) fn encode(job: &Job<'_>, out: &mut Vec<u8>) -> Result<(), Unsupported> {
    let mut own = job.own()?;
    let inputs = &job.request.input;
    if inputs.len() != 1 && !own.has("content") {
        let why =
            format!("an item has one vector, and here are {} inputs; make one item of each", inputs.len());
        return Err(job.unsupported("input", why));
    }
    own.remove("model");
    let call = job.options.lane != Lane::Batch;
    if call {
        out.extend_from_slice(b"{\"requests\":[");
    }
    let mut body = Object::open(out, own);
    if call {
        body.text("model", &format!("models/{}", job.options.model));
    }
    if body.key("content") {
        body.out.extend_from_slice(b"{\"parts\":[{\"text\":");
        write_json_text(inputs.first().map_or("", |text| text), body.out);
        body.out.extend_from_slice(b"}]}");
    }
    body.number("outputDimensionality", job.config().dimensions);
    body.close();
    if call {
        out.extend_from_slice(b"]}");
    }
    Ok(())
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
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

pub(super) fn success(body: &[u8]) -> Reading<'_> {
    let response: Response<'_> = match serde_json::from_slice(body) {
        Ok(response) => response,
        Err(error) => return Reading::Failure(no_json(body, &error)),
    };
    let (said, tier) = usage::read(response.usage_metadata);
    let counted = response.token_count.or(None).map(|input| Usage { input, ..Usage::default() });
    let vector = response.embedding.or_else(|| response.embeddings.into_iter().next());
    let Some(vector) = vector.filter(|vector| vector.values.get().starts_with('[')) else {
        return Reading::Failure(read::without_answer(body, "the answer holds no vector"));
    };
    Reading::Answer(Box::new(Answer {
        body: Body::Embedding(Embedding::Numbers(vector.values)),
        finish: Finish::Stop,
        usage: said.or(counted),
        model: None,
        tier,
        charged: None,
        tokens: Vec::new(),
    }))
}
