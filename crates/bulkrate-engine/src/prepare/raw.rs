//! OpenAI batch lines: the body goes to the same provider as it is, but for our id, an absent output maximum and the
//! service tier (decision 27).

use std::borrow::Cow;
use std::fmt::Write as _;

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Kind, Text, write_json_text};
use bulkrate_io::{JsonKind, JsonScanner};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How the canonical tail of such a line starts; a unified request has no such field.
pub(crate) const RAW_TAIL: &[u8] = b"\"body\":";

/// The names of the output maximum, newest first.
const MAXIMA: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The tiers whose price a lane knows.
const TIERS: [&str; 3] = ["auto", "default", "flex"];

/// One line, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct RawLine<'a> {
    pub kind: Kind,
    pub body: &'a str,
    /// The pinned model.
    pub model: Text<'a>,
}

#[derive(Deserialize)]
struct SealedRaw<'a> {
    kind: Kind,
    #[serde(borrow)]
    body: &'a RawValue,
    #[serde(borrow)]
    model: Text<'a>,
}

impl<'a> RawLine<'a> {
    pub(crate) fn kind_of_url(url: &str) -> Option<Kind> {
        Some(match url.trim_start_matches('/').trim_start_matches("v1/") {
            "chat/completions" => Kind::Chat,
            "embeddings" => Kind::Embedding,
            "moderations" => Kind::Moderation,
            _ => return None,
        })
    }

    /// The canonical form: `{"body":{...},"kind":"chat","model":"..."}`, with the output maximum set.
    pub(crate) fn seal(
        &self,
        max_tokens: u64,
        scanner: &mut JsonScanner,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let row = scanner.scan(self.body).map_err(|fault| format!("`body` {}", fault.what))?;
        if row.get("stream").is_some_and(|value| value.raw() == "true") {
            return Err("`body.stream` is true; streamed answers cannot be collected".to_owned());
        }
        if row.get("n").is_some_and(|value| value.raw() != "1" && value.kind() != JsonKind::Null) {
            return Err("`body.n` asks for several answers; use one line each".to_owned());
        }
        // The lane decides the tier, and with it the price: a dearer one would be billed beyond what is reserved.
        if row
            .get("service_tier")
            .and_then(|value| value.as_str())
            .is_some_and(|tier| !TIERS.contains(&&*tier))
        {
            return Err(
                "`body.service_tier` asks for a tier that has no lane here; leave it out and use `--lane`"
                    .to_owned(),
            );
        }
        let bounded = self.kind != Kind::Chat
            || MAXIMA.iter().any(|name| row.get(name).is_some_and(|value| value.kind() == JsonKind::Number));
        out.push(b'{');
        out.extend_from_slice(RAW_TAIL);
        match self.body.strip_prefix('{') {
            Some(rest) if !bounded => {
                out.extend_from_slice(format!("{{\"max_completion_tokens\":{max_tokens}").as_bytes());
                if !row.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(rest.as_bytes());
            }
            _ => out.extend_from_slice(self.body.as_bytes()),
        }
        out.extend_from_slice(b",\"kind\":\"");
        out.extend_from_slice(self.kind.name().as_bytes());
        out.extend_from_slice(b"\",\"model\":");
        write_json_text(&self.model, out);
        out.push(b'}');
        Ok(())
    }

    /// Takes a sealed line apart again.
    pub(crate) fn unseal(line: &'a [u8]) -> Option<Self> {
        let SealedRaw { kind, body, model } = serde_json::from_slice(line).ok()?;
        Some(Self { kind, body: body.get(), model })
    }

    /// The body to send in `lane`. `raised`: a new output maximum, after an answer that was cut; the rest stays as it is.
    pub(crate) fn body(&self, lane: Lane, raised: Option<u32>, out: &mut Vec<u8>) {
        let body = raised.map_or(Cow::Borrowed(self.body), |most| self.raised(most));
        let tiered = self.kind == Kind::Chat && lane == Lane::Flex && !body.contains("\"service_tier\"");
        match body.strip_prefix('{') {
            Some(rest) if tiered => {
                out.extend_from_slice(b"{\"service_tier\":\"flex\",");
                out.extend_from_slice(rest.as_bytes());
            }
            _ => out.extend_from_slice(body.as_bytes()),
        }
    }

    /// The body with every output maximum in it replaced.
    fn raised(&self, most: u32) -> Cow<'a, str> {
        let mut scanner = JsonScanner::new();
        let Ok(row) = scanner.scan(self.body) else { return Cow::Borrowed(self.body) };
        let mut out = String::with_capacity(self.body.len() + 8);
        let mut done = 0;
        for (_, value) in row
            .iter()
            .filter(|(key, value)| MAXIMA.contains(&key.as_ref()) && value.kind() == JsonKind::Number)
        {
            // A value is a slice of the body.
            let start = value.raw().as_ptr() as usize - self.body.as_ptr() as usize;
            out.push_str(&self.body[done..start]);
            let _ = write!(out, "{most}"); // writing to a String cannot fail
            done = start + value.raw().len();
        }
        out.push_str(&self.body[done..]);
        Cow::Owned(out)
    }

    /// The output maximum, as set by the user or by us.
    pub(crate) fn max_tokens(&self, scanner: &mut JsonScanner) -> Option<u64> {
        let row = scanner.scan(self.body).ok()?;
        let set = MAXIMA.iter().find_map(|name| row.get(name))?;
        set.raw().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_body_goes_through_byte_for_byte() {
        let body =
            r#"{"model":"m", "messages":[{"role":"user","content":"a \u0041"}], "max_tokens": 9, "x":1e400}"#;
        let mut sealed = Vec::new();
        RawLine { kind: Kind::Chat, body, model: "openai/m".into() }
            .seal(50, &mut JsonScanner::new(), &mut sealed)
            .unwrap();
        let line = RawLine::unseal(&sealed).unwrap();
        assert_eq!(
            (line.kind, line.body, line.max_tokens(&mut JsonScanner::new())),
            (Kind::Chat, body, Some(9))
        );
        let mut sent = Vec::new();
        line.body(Lane::Batch, None, &mut sent);
        assert_eq!(sent, body.as_bytes());
    }

    #[test]
    fn an_absent_maximum_is_set() {
        let mut sealed = Vec::new();
        RawLine { kind: Kind::Chat, body: r#"{"model":"m"}"#, model: "openai/m".into() }
            .seal(50, &mut JsonScanner::new(), &mut sealed)
            .unwrap();
        let line = RawLine::unseal(&sealed).unwrap();
        assert_eq!(line.body, r#"{"max_completion_tokens":50,"model":"m"}"#);
        let mut sent = Vec::new();
        line.body(Lane::Flex, None, &mut sent);
        assert_eq!(sent, br#"{"service_tier":"flex","max_completion_tokens":50,"model":"m"}"#);
    }

    #[test]
    fn a_raised_maximum_replaces_what_was_asked() {
        for (body, want) in [
            (r#"{"max_tokens": 9 ,"m":"max_tokens"}"#, r#"{"max_tokens": 36 ,"m":"max_tokens"}"#),
            (
                r#"{"x":{"max_tokens":1},"max_completion_tokens":9}"#,
                r#"{"x":{"max_tokens":1},"max_completion_tokens":36}"#,
            ),
            (
                r#"{"max_tokens":9,"max_completion_tokens":10}"#,
                r#"{"max_tokens":36,"max_completion_tokens":36}"#,
            ),
            (
                r#"{"max_tokens":null,"max_completion_tokens":9}"#,
                r#"{"max_tokens":null,"max_completion_tokens":36}"#,
            ),
        ] {
            let mut sent = Vec::new();
            RawLine { kind: Kind::Chat, body, model: "openai/m".into() }.body(
                Lane::Batch,
                Some(36),
                &mut sent,
            );
            assert_eq!(String::from_utf8(sent).unwrap(), want);
        }
    }

    #[test]
    fn what_cannot_be_collected_is_refused() {
        for body in [r#"{"stream":true}"#, r#"{"n":2}"#, r#"{"service_tier":"priority"}"#, "[]"] {
            assert!(
                RawLine { kind: Kind::Chat, body, model: "openai/m".into() }
                    .seal(1, &mut JsonScanner::new(), &mut Vec::new())
                    .is_err(),
                "{body}"
            );
        }
        assert_eq!(RawLine::kind_of_url("/v1/embeddings"), Some(Kind::Embedding));
        assert_eq!(RawLine::kind_of_url("/v1/images/generations"), None);
    }
}
