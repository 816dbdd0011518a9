//! POST /v1/images/generations: a picture of a few bytes, whose tokens are those of its size and quality.

use super::params::{integer, string};
use super::{Context, Twist};
use crate::errors::{ApiError, from_parse};
use crate::json::push_u64;
use crate::rng::hash;
use crate::tokens::Usage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Output tokens of a picture by size, in the order of the qualities: what OpenAI's guide told of its first model of this kind. Its
/// later ones have other numbers.
const SIZES: [(&str, [u64; 3]); 3] = [
    ("1024x1024", [272, 1_056, 4_160]),
    ("1024x1536", [408, 1_584, 6_240]),
    ("1536x1024", [400, 1_568, 6_208]),
];
const QUALITIES: [&str; 3] = ["low", "medium", "high"];
/// With what a file of each begins.
const FORMATS: [(&str, &[u8]); 3] = [
    ("png", b"\x89PNG\r\n\x1a\n"),
    ("jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"),
    ("webp", b"RIFF\x10\x00\x00\x00WEBP"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    quality: Option<&'a RawValue>,
    #[serde(borrow)]
    output_format: Option<&'a RawValue>,
    output_compression: Option<IgnoredAny>,
    background: Option<IgnoredAny>,
    moderation: Option<IgnoredAny>,
    user: Option<IgnoredAny>,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) model: Cow<'a, str>,
    prompt: Cow<'a, str>,
    pictures: u64,
    /// Places in the lists of sizes and qualities.
    size: usize,
    quality: usize,
    format: usize,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let body: Body<'a> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
        let prompt = string("prompt", body.prompt)?.filter(|prompt| !prompt.is_empty());
        Ok(Self {
            model: string("model", body.model)?.unwrap_or_default(),
            prompt: prompt.ok_or_else(|| ApiError::missing("prompt"))?,
            pictures: pictures(body.n)?,
            size: one_of("size", body.size, &SIZES.map(|(name, _)| name), 0)?,
            quality: one_of("quality", body.quality, &QUALITIES, 1)?,
            format: one_of("output_format", body.output_format, &FORMATS.map(|(name, _)| name), 0)?,
        })
    }

    pub(super) fn tokens(&self) -> u64 {
        crate::tokens::of(&self.prompt)
    }

    /// Appends the pictures: bytes that depend on the prompt.
    pub(super) fn answer(&self, context: &Context<'_>, out: &mut Vec<u8>) -> Usage {
        let usage = Usage {
            prompt: self.tokens(),
            output: self.pictures * SIZES[self.size].1[self.quality],
            ..Usage::default()
        };
        out.extend_from_slice(b"{\"created\":");
        push_u64(out, context.at_ms / 1_000);
        out.extend_from_slice(b",\"data\":[");
        for at in 0..self.pictures {
            if at > 0 {
                out.push(b',');
            }
            let mut picture = FORMATS[self.format].1.to_vec();
            picture.extend_from_slice(&hash(self.prompt.as_bytes(), context.config.seed ^ at).to_le_bytes());
            let text = STANDARD.encode(picture);
            out.extend_from_slice(format!("{{\"b64_json\":\"{text}\"}}").as_bytes());
        }
        let (size, quality, format) = (SIZES[self.size].0, QUALITIES[self.quality], FORMATS[self.format].0);
        let said = format!(
            "],\"background\":\"opaque\",\"output_format\":\"{format}\",\"quality\":\"{quality}\",\"size\":\"{size}\""
        );
        out.extend_from_slice(said.as_bytes());
        context.twist.push_usage(out, "usage", |out| write_usage(out, usage, context.twist));
        out.push(b'}');
        usage
    }
}

fn write_usage(out: &mut Vec<u8>, usage: Usage, twist: Twist) {
    let (prompt, output) = (usage.prompt, usage.output);
    out.extend_from_slice(b"{\"input_tokens\":");
    twist.push_tokens(out, prompt);
    let rest = format!(
        ",\"input_tokens_details\":{{\"image_tokens\":0,\"text_tokens\":{prompt}}},\"output_tokens\":{output},\"total_tokens\":{}}}",
        prompt + output
    );
    out.extend_from_slice(rest.as_bytes());
}

/// How many are asked for.
fn pictures(n: Option<&RawValue>) -> Result<u64, ApiError> {
    match integer("n", n, 1)?.unwrap_or(1) {
        pictures @ 1..=10 => Ok(pictures),
        more => Err(ApiError::invalid(
            Some("integer_above_max_value"),
            "n",
            format!(
                "Invalid 'n': integer above maximum value. Expected a value <= 10, but got {more} instead."
            ),
        )),
    }
}

/// The place of a word in a list; `auto` and none stand for the one at `usual`.
fn one_of(name: &str, raw: Option<&RawValue>, known: &[&str], usual: usize) -> Result<usize, ApiError> {
    match string(name, raw)?.as_deref() {
        None | Some("auto") => Ok(usual),
        Some(word) => known.iter().position(|one| *one == word).ok_or_else(|| {
            let list = known.join("', '");
            let message = format!("Invalid value: '{word}'. Supported values are: '{list}', and 'auto'.");
            ApiError::invalid(Some("invalid_value"), name, message)
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_picture_costs_by_size_and_quality_and_what_is_unknown_is_refused() {
        for (body, wanted) in [
            (r#"{"prompt":"a"}"#, Ok(1_056)),
            (r#"{"prompt":"a","quality":"low","size":"1024x1536"}"#, Ok(408)),
            (r#"{"prompt":"a","quality":"high","n":2}"#, Ok(8_320)),
            (r#"{"prompt":"a","size":"2x2"}"#, Err("1536x1024")),
            (r#"{"prompt":"a","n":11}"#, Err("<= 10")),
            (r#"{"prompt":""}"#, Err("prompt")),
            (r#"{"prompt":"a","input":"b"}"#, Err("input")),
        ] {
            let read = Request::read(body.as_bytes());
            let told = read.map(|asked| asked.pictures * SIZES[asked.size].1[asked.quality]);
            match (told, wanted) {
                (Ok(tokens), Ok(wanted)) => assert_eq!(tokens, wanted, "{body}"),
                (Err(error), Err(word)) => assert!(format!("{error:?}").contains(word), "{body}: {error:?}"),
                (told, _) => panic!("{body}: {told:?}"),
            }
        }
    }
}
