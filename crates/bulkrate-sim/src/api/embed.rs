//! POST /v1beta/models/{model}:embedContent and :batchEmbedContents: vectors as Gemini has them. The model stands in the path.

use super::embeddings::{Entry, vector, write_vector};
use super::{Context, Prepared};
use crate::errors::{ApiError, invalid};
use crate::json::push_u64;
use crate::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The most numbers that a vector may have, which is what it has where nothing is said.
const DIMENSIONS: u64 = 3_072;
const REQUESTS_MAX: usize = 100;

/// One request, or a list of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    requests: Option<Vec<Body<'a>>>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<u64>,
    #[serde(rename = "taskType", alias = "task_type")]
    _task: Option<IgnoredAny>,
    #[serde(rename = "title")]
    _title: Option<IgnoredAny>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
    #[serde(rename = "role")]
    _role: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// A text, and how long its vector is to be.
#[derive(Debug)]
struct Asked<'a> {
    text: Cow<'a, str>,
    dimensions: u64,
}

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(super) model: Cow<'a, str>,
    asked: Vec<Asked<'a>>,
    /// Whether a list was asked for, which is answered by one.
    list: bool,
}

pub(super) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    let list = body.requests.is_some();
    let bodies = body.requests.unwrap_or_else(|| vec![Body { requests: None, ..body }]);
    if bodies.len() > REQUESTS_MAX {
        return Err(invalid("BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"));
    }
    let asked = bodies.into_iter().map(Body::asked).collect::<Result<_, _>>()?;
    Ok(Call { model: Cow::Borrowed(""), asked, list })
}

impl<'a> Body<'a> {
    fn asked(self) -> Result<Asked<'a>, ApiError> {
        let mut parts = self.content.map_or_else(Vec::new, |content| content.parts);
        let text = match parts.len() {
            1 => parts.swap_remove(0).text,
            _ => parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join("\n").into(),
        };
        if text.is_empty() {
            return Err(invalid("EmbedContentRequest.content: contents is not specified"));
        }
        let dimensions = self.output_dimensionality.unwrap_or(DIMENSIONS);
        if !(1..=DIMENSIONS).contains(&dimensions) {
            return Err(invalid(format!("output_dimensionality must be between 1 and {DIMENSIONS}")));
        }
        Ok(Asked { text, dimensions })
    }
}

impl Call<'_> {
    pub(super) fn tokens(&self) -> u64 {
        self.asked.iter().map(|asked| crate::tokens::of(&asked.text)).sum()
    }

    /// Appends the response: of a call with its usage, of a line of a batch with a count as text.
    pub(super) fn answer(
        &self,
        prepared: &Prepared<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Usage, ApiError> {
        let most = prepared.model.input_max;
        if self.asked.iter().any(|asked| crate::tokens::of(&asked.text) > most) {
            return Err(invalid(format!(
                "The input token count exceeds the maximum number of tokens allowed ({most})."
            )));
        }
        out.extend_from_slice(if self.list { b"{\"embeddings\":[" } else { b"{\"embedding\":" });
        for (at, asked) in self.asked.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b",{\"values\":" } else { b"{\"values\":" });
            let dimensions = usize::try_from(asked.dimensions).unwrap_or(1);
            write_vector(out, &vector(&Entry::Text(Cow::Borrowed(&asked.text)), dimensions), false);
            out.push(b'}');
        }
        if self.list {
            out.push(b']');
        }
        let tokens = self.tokens();
        if prepared.lane == crate::catalogue::Lane::Batch {
            context.twist.push_usage(out, "tokenCount", |out| {
                out.push(b'"');
                push_u64(out, tokens);
                out.push(b'"');
            });
        } else {
            context.twist.push_usage(out, "usageMetadata", |out| {
                out.extend_from_slice(b"{\"promptTokenCount\":");
                context.twist.push_tokens(out, tokens);
                out.push(b'}');
            });
        }
        out.push(b'}');
        Ok(Usage { prompt: tokens, ..Usage::default() })
    }
}
