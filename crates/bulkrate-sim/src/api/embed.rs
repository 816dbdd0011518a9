//! POST /v1beta/models/{model}:embedContent and :batchEmbedContents: vectors as Gemini has them; and :predict, as Vertex has them of
//! older models. The model stands in the path.

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
/// The same of older models.
const OLD_DIMENSIONS: u64 = 768;
const INSTANCES_MAX: usize = 250;

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
    #[serde(alias = "embed_content_config")]
    embed_content_config: Option<Config>,
    #[serde(rename = "taskType", alias = "task_type")]
    _task: Option<IgnoredAny>,
    #[serde(rename = "title")]
    _title: Option<IgnoredAny>,
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<u64>,
    #[serde(rename = "taskType", alias = "task_type")]
    _task: Option<IgnoredAny>,
    #[serde(rename = "title")]
    _title: Option<IgnoredAny>,
    #[serde(alias = "auto_truncate")]
    auto_truncate: Option<bool>,
}

/// What an older model is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instances<'a> {
    #[serde(borrow)]
    instances: Vec<Instance<'a>>,
    parameters: Option<Config>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(rename = "task_type")]
    _task: Option<IgnoredAny>,
    #[serde(rename = "title")]
    _title: Option<IgnoredAny>,
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
    /// Whether one that is too long is cut, and not refused.
    is_cut: bool,
}

impl Asked<'_> {
    /// Tokens that are read of it, of so many at most.
    fn tokens(&self, most: u64) -> u64 {
        crate::tokens::of(&self.text).min(most)
    }

    /// Letters that are charged of it.
    fn letters(&self) -> u64 {
        self.text.split_whitespace().map(str::len).sum::<usize>() as u64
    }
}

/// What is answered by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    List,
    /// Each with its own count.
    Predictions,
}

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(super) model: Cow<'a, str>,
    asked: Vec<Asked<'a>>,
    form: Form,
}

pub(super) fn read_instances(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Instances<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if !(1..=INSTANCES_MAX).contains(&body.instances.len()) {
        return Err(invalid(format!(
            "{} instance(s) is out of the range of 1 to {INSTANCES_MAX}",
            body.instances.len()
        )));
    }
    let is_cut = body.parameters.as_ref().and_then(|parameters| parameters.auto_truncate).unwrap_or(true);
    let dimensions = body.parameters.and_then(|parameters| parameters.output_dimensionality);
    let dimensions = checked(dimensions, OLD_DIMENSIONS)?;
    if body.instances.iter().any(|instance| instance.content.is_empty()) {
        return Err(invalid("The text content is empty."));
    }
    let asked =
        body.instances.into_iter().map(|instance| Asked { text: instance.content, dimensions, is_cut });
    Ok(Call { model: Cow::Borrowed(""), asked: asked.collect(), form: Form::Predictions })
}

fn checked(dimensions: Option<u64>, most: u64) -> Result<u64, ApiError> {
    let dimensions = dimensions.unwrap_or(most);
    match (1..=most).contains(&dimensions) {
        true => Ok(dimensions),
        false => Err(invalid(format!("output_dimensionality must be between 1 and {most}"))),
    }
}

pub(super) fn read(body: &[u8]) -> Result<Call<'_>, ApiError> {
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    let form = if body.requests.is_some() { Form::List } else { Form::One };
    let bodies = body.requests.unwrap_or_else(|| vec![Body { requests: None, ..body }]);
    if bodies.len() > REQUESTS_MAX {
        return Err(invalid("BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"));
    }
    let asked = bodies.into_iter().map(Body::asked).collect::<Result<_, _>>()?;
    Ok(Call { model: Cow::Borrowed(""), asked, form })
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
        let is_cut =
            self.embed_content_config.as_ref().is_some_and(|config| config.auto_truncate != Some(false));
        let said = self.embed_content_config.and_then(|config| config.output_dimensionality);
        let dimensions = checked(said.or(self.output_dimensionality), DIMENSIONS)?;
        Ok(Asked { text, dimensions, is_cut })
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
        let is_long = |asked: &Asked<'_>| crate::tokens::of(&asked.text) > most;
        if self.asked.iter().any(|asked| is_long(asked) && !asked.is_cut) {
            return Err(invalid(format!(
                "The input token count exceeds the maximum number of tokens allowed ({most})."
            )));
        }
        let (open, shut): (&[u8], &[u8]) = match self.form {
            Form::One => (b"{\"embedding\":", b""),
            Form::List => (b"{\"embeddings\":[", b"]"),
            Form::Predictions => (b"{\"predictions\":[", b"]"),
        };
        out.extend_from_slice(open);
        for (at, asked) in self.asked.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.write((asked, most), context, out);
        }
        out.extend_from_slice(shut);
        let mut tokens = self.asked.iter().map(|asked| asked.tokens(most)).sum();
        if self.form == Form::Predictions {
            let letters: u64 = self.asked.iter().map(Asked::letters).sum();
            // What is charged is letters, at the price of a token for four.
            tokens = letters.div_ceil(4).max(tokens);
            out.extend_from_slice(
                format!(",\"metadata\":{{\"billableCharacterCount\":{letters}}}").as_bytes(),
            );
        } else if prepared.lane == crate::catalogue::Lane::Batch {
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
        if self.form != Form::Predictions && self.asked.iter().any(is_long) {
            out.extend_from_slice(b",\"truncated\":true");
        }
        out.push(b'}');
        Ok(Usage { prompt: tokens, ..Usage::default() })
    }

    fn write(&self, (asked, most): (&Asked<'_>, u64), context: &Context<'_>, out: &mut Vec<u8>) {
        let counted = self.form == Form::Predictions;
        out.extend_from_slice(if counted { b"{\"embeddings\":{\"values\":" } else { b"{\"values\":" });
        let dimensions = usize::try_from(asked.dimensions).unwrap_or(1);
        write_vector(out, &vector(&Entry::Text(Cow::Borrowed(&asked.text)), dimensions), false);
        if counted {
            context.twist.push_usage(out, "statistics", |out| {
                let is_cut = crate::tokens::of(&asked.text) > most;
                out.extend_from_slice(format!("{{\"truncated\":{is_cut},\"token_count\":").as_bytes());
                context.twist.push_tokens(out, asked.tokens(most));
                out.push(b'}');
            });
            out.push(b'}');
        }
        out.push(b'}');
    }
}
