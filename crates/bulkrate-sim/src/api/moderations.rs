//! POST /v1/moderations: categories by keyword. Free.

use super::params::string;
use crate::answers::sentiment::words;
use crate::errors::{ApiError, from_parse};
use crate::json::{self, push_str};
use crate::rng::{hash, push_base62, unit};
use crate::tokens::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

const CATEGORIES: [(&str, &[&str]); 13] = [
    ("hate", &["hate", "subhuman", "vermin"]),
    ("hate/threatening", &["exterminate"]),
    ("harassment", &["idiot", "loser", "moron", "pathetic"]),
    ("harassment/threatening", &["watch your back"]),
    ("illicit", &["counterfeit", "cocaine", "launder"]),
    ("illicit/violent", &["bomb", "explosive"]),
    ("self-harm", &["suicide", "self-harm"]),
    ("self-harm/intent", &["suicidal"]),
    ("self-harm/instructions", &[]),
    ("sexual", &["porn", "nude"]),
    ("sexual/minors", &[]),
    ("violence", &["kill", "murder", "stab", "shoot", "bomb"]),
    ("violence/graphic", &["gore", "dismember"]),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) model: Cow<'a, str>,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        let body: Body<'a> = serde_json::from_slice(body).map_err(|error| from_parse(&error))?;
        let input = body.input.ok_or_else(|| ApiError::missing("input"))?;
        let model = string("model", body.model)?.unwrap_or(Cow::Borrowed("omni-moderation-latest"));
        Ok(Self { model, texts: texts(input)? })
    }

    pub(super) fn tokens(&self) -> u64 {
        self.texts.iter().map(|text| crate::tokens::of(text)).sum()
    }

    pub(super) fn answer(&self, served: &str, key: u64, out: &mut Vec<u8>) -> Usage {
        out.extend_from_slice(b"{\"id\":\"modr-");
        push_base62(out, key, 24);
        out.extend_from_slice(b"\",\"model\":");
        push_str(out, served);
        out.extend_from_slice(b",\"results\":[");
        for (at, text) in self.texts.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_result(out, text);
        }
        out.extend_from_slice(b"]}");
        Usage { prompt: self.tokens(), ..Usage::default() }
    }
}

/// A string and an array of strings give one text each; an array of parts gives one text.
fn texts(raw: &RawValue) -> Result<Vec<Cow<'_, str>>, ApiError> {
    if let Some(text) = json::text(raw) {
        return Ok(vec![text]);
    }
    let wrong = || ApiError::bad_type("input", "a string or an array", raw.get());
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    if items.first().is_some_and(|item| item.get().starts_with('{')) {
        let mut joined = String::new();
        for item in items {
            let part: Part<'_> = serde_json::from_str(item.get()).map_err(|_| wrong())?;
            joined.push_str(&part.text.and_then(json::text).unwrap_or_default());
            joined.push('\n');
        }
        return Ok(vec![Cow::Owned(joined)]);
    }
    items.into_iter().map(|item| json::text(item).ok_or_else(wrong)).collect()
}

fn write_result(out: &mut Vec<u8>, text: &str) {
    let lower = text.to_ascii_lowercase();
    let hits: Vec<bool> = CATEGORIES
        .iter()
        .map(|(_, hints)| {
            hints.iter().any(|hint| {
                if hint.contains(' ') {
                    lower.contains(hint)
                } else {
                    words(&lower).any(|word| word == *hint)
                }
            })
        })
        .collect();
    out.extend_from_slice(if hits.contains(&true) { b"{\"flagged\":true" } else { b"{\"flagged\":false" });
    let mut section = |name: &str, value: &dyn Fn(&mut Vec<u8>, usize)| {
        out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
        for (at, (category, _)) in CATEGORIES.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_str(out, category);
            out.push(b':');
            value(out, at);
        }
        out.push(b'}');
    };
    section("categories", &|out, at| out.extend_from_slice(if hits[at] { b"true" } else { b"false" }));
    section("category_scores", &|out, at| {
        let noise = unit(hash(lower.as_bytes(), at as u64)) * 0.01;
        let _ = serde_json::to_writer(out, &if hits[at] { 0.9 + noise } else { noise });
    });
    section("category_applied_input_types", &|out, _| out.extend_from_slice(b"[\"text\"]"));
    out.push(b'}');
}
