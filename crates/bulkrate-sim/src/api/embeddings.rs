//! POST /v1/embeddings: unit vectors of hashed three-byte pieces, so that similar texts are near each other.

use super::params::{integer, string};
use crate::catalogue::Model;
use crate::errors::{ApiError, from_parse};
use crate::json::{self, push_str, push_u64};
use crate::rng::{below, hash, mix};
use crate::tokens::Usage;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

const ENTRIES_MAX: usize = 2_048;
const ENTRY_TOKENS_MAX: u64 = 8_192;
const REQUEST_TOKENS_MAX: u64 = 300_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields without a meaning here are listed so that only unknown ones are refused")]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    dimensions: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding_format: Option<&'a RawValue>,
    user: Option<IgnoredAny>,
}

/// One text, or the tokens of one.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Text(Cow<'a, str>),
    Tokens(Vec<u64>),
}

impl Entry<'_> {
    fn tokens(&self) -> u64 {
        match self {
            Self::Text(text) => crate::tokens::of(text).max(1),
            Self::Tokens(tokens) => tokens.len() as u64,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) inputs: Vec<Entry<'a>>,
    dimensions: Option<u64>,
    base64: bool,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let body: Body<'a> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
        let base64 = match string("encoding_format", body.encoding_format)?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let message =
                    format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
                return Err(ApiError::invalid(Some("invalid_value"), "encoding_format", message));
            }
        };
        Ok(Self {
            model: string("model", body.model)?.unwrap_or_default(),
            inputs: entries(body.input.ok_or_else(|| ApiError::missing("input"))?)?,
            dimensions: integer("dimensions", body.dimensions, 1)?,
            base64,
        })
    }

    pub(super) fn tokens(&self) -> u64 {
        self.inputs.iter().map(Entry::tokens).sum()
    }

    pub(super) fn answer(&self, served: &str, model: &Model, out: &mut Vec<u8>) -> Result<Usage, ApiError> {
        let wrong = |message: String| Err(ApiError::invalid(None, "input", message));
        if self.inputs.is_empty()
            || self
                .inputs
                .iter()
                .any(|entry| entry.tokens() == 0 || matches!(entry, Entry::Text(text) if text.is_empty()))
        {
            return wrong("'$.input' is invalid: input cannot be an empty string.".to_owned());
        }
        if self.inputs.len() > ENTRIES_MAX {
            return wrong(format!("'$.input' is invalid: at most {ENTRIES_MAX} entries are allowed."));
        }
        if let Some(entry) = self.inputs.iter().find(|entry| entry.tokens() > ENTRY_TOKENS_MAX) {
            return wrong(format!(
                "This model's maximum context length is {ENTRY_TOKENS_MAX} tokens, however you requested {} tokens. Please reduce your prompt.",
                entry.tokens()
            ));
        }
        let total = self.tokens();
        if total > REQUEST_TOKENS_MAX {
            let message = format!("Requested {total} tokens, max {REQUEST_TOKENS_MAX} tokens per request");
            return Err(ApiError::new(
                400,
                "max_tokens_per_request",
                Some("max_tokens_per_request"),
                message,
            ));
        }
        let dimensions = self.dimensions(model)?;
        out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        for (at, entry) in self.inputs.iter().enumerate() {
            out.extend_from_slice(if at > 0 {
                b",{\"object\":\"embedding\",\"index\":"
            } else {
                b"{\"object\":\"embedding\",\"index\":"
            });
            push_u64(out, at as u64);
            out.extend_from_slice(b",\"embedding\":");
            write_vector(out, &vector(entry, dimensions), self.base64);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"model\":");
        push_str(out, served);
        out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
        push_u64(out, total);
        out.extend_from_slice(b",\"total_tokens\":");
        push_u64(out, total);
        out.extend_from_slice(b"}}");
        Ok(Usage { prompt: total, ..Usage::default() })
    }

    fn dimensions(&self, model: &Model) -> Result<usize, ApiError> {
        let own = if model.output_max == u64::MAX { 256 } else { model.output_max };
        let Some(asked) = self.dimensions else { return Ok(usize::try_from(own).unwrap_or(256)) };
        if !model.id.contains("-3-") && own != 256 {
            return Err(ApiError::invalid(
                None,
                "dimensions",
                "This model does not support specifying dimensions.",
            ));
        }
        if asked > own {
            let message =
                format!("Invalid value for 'dimensions' = {asked}. Must be less than or equal to {own}.");
            return Err(ApiError::invalid(None, "dimensions", message));
        }
        Ok(usize::try_from(asked).unwrap_or(256))
    }
}

fn entries(raw: &RawValue) -> Result<Vec<Entry<'_>>, ApiError> {
    if let Some(text) = json::text(raw) {
        return Ok(vec![Entry::Text(text)]);
    }
    let wrong = || ApiError::bad_type("input", "a string or an array", raw.get());
    if let Ok(tokens) = serde_json::from_str::<Vec<u64>>(raw.get())
        && !tokens.is_empty()
    {
        return Ok(vec![Entry::Tokens(tokens)]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    let entry = |item: &'_ RawValue| {
        serde_json::from_str::<Vec<u64>>(item.get()).map(Entry::Tokens).map_err(|_| wrong())
    };
    items
        .into_iter()
        .map(|item| json::text(item).map_or_else(|| entry(item), |text| Ok(Entry::Text(text))))
        .collect()
}

pub(super) fn vector(entry: &Entry<'_>, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let mut add = |piece: u64| {
        let key = mix(piece);
        vector[below(key, dimensions)] += if key & 1 == 0 { 1.0 } else { -1.0 };
    };
    match entry {
        Entry::Text(text) => {
            let lower = text.to_ascii_lowercase();
            let padded = format!(" {lower} ");
            padded.as_bytes().windows(3).for_each(|piece| add(hash(piece, 11)));
        }
        Entry::Tokens(tokens) => tokens.iter().for_each(|&token| add(token)),
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    } else if let Some(first) = vector.first_mut() {
        *first = 1.0;
    }
    vector
}

pub(super) fn write_vector(out: &mut Vec<u8>, vector: &[f32], base64: bool) {
    if !base64 {
        // Writing numbers into a Vec cannot fail.
        let _ = serde_json::to_writer(out, vector);
        return;
    }
    out.push(b'"');
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    push_base64(out, &bytes);
    out.push(b'"');
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| usize::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for at in 0..4 {
            out.push(if at <= chunk.len() { ALPHABET[bits >> (18 - 6 * at) & 63] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn base64_matches_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            let mut out = Vec::new();
            push_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn similar_texts_are_near() {
        let of = |text: &str| vector(&Entry::Text(text.to_owned().into()), 512);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let base = of("my parcel is late");
        assert!((dot(&base, &base) - 1.0).abs() < 1e-5);
        assert!(dot(&base, &of("the parcel is late")) > dot(&base, &of("quarterly revenue growth")) + 0.3);
    }

    #[test]
    fn inputs_of_every_shape() {
        for (input, entries, tokens) in
            [("\"abcde\"", 1, 2), ("[\"a\",\"b\"]", 2, 2), ("[1,2,3]", 1, 3), ("[[1],[2,3]]", 2, 3)]
        {
            let body = format!("{{\"model\":\"m\",\"input\":{input}}}");
            let request = Request::read(body.as_bytes()).unwrap();
            assert_eq!((request.inputs.len(), request.tokens()), (entries, tokens), "{input}");
        }
        assert!(Request::read(b"{\"model\":\"m\",\"input\":{}}").is_err());
    }
}
