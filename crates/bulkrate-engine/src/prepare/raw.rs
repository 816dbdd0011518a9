//! OpenAI batch lines: the body goes to who speaks that language as it is, but for our id, an absent output maximum, the
//! service tier, and a model that is called by a name of ours.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{Kind, Text, write_json_text};
use bulkrate_io::{JsonKind, JsonRow, JsonScanner};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How the canonical tail of such a line starts; a unified request has no such field.
pub(crate) const RAW_TAIL: &[u8] = b"\"body\":";

/// The names of the output maximum, newest first.
const MAXIMA: &[&str] = &["max_completion_tokens", "max_tokens"];
/// Its name in a body for `/responses`, which has an `input` and no `messages`.
const MAXIMUM_OF_RESPONSES: &[&str] = &["max_output_tokens"];
/// The path of those.
pub(crate) const RESPONSES: &str = "/responses";
/// What such a body may name that is not in it, so that nothing bounds what it costs.
const ELSEWHERE: [&str; 3] = ["previous_response_id", "conversation", "prompt"];
/// Tools that run nothing at the provider.
const OWN_TOOLS: [&str; 2] = ["function", "custom"];

/// What has a price that is not in its tokens.
const UNBOUNDED: [&str; 3] = ["\"input_audio\"", "\"web_search_options\"", "\"audio\""];
/// The field that a lane decides.
const TIER: &str = "service_tier";
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
            "chat/completions" | "responses" => Kind::Chat,
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
        // Sound and searches are billed by measures that no request shows beforehand.
        if let Some(field) = UNBOUNDED.iter().find(|field| self.named(field) > 0) {
            return Err(format!("`body` uses {}, whose price cannot be bounded", field.replace('"', "`")));
        }
        // The lane decides the tier, and with it the price: a dearer one would be billed beyond what is reserved.
        if row.get(TIER).and_then(|value| value.as_str()).is_some_and(|tier| !TIERS.contains(&&*tier)) {
            return Err(
                "`body.service_tier` asks for a tier that has no lane here; leave it out and use `--lane`"
                    .to_owned(),
            );
        }
        let maxima = self.maxima(&row);
        if maxima == MAXIMUM_OF_RESPONSES {
            check_response(&row)?;
        }
        let bounded = self.kind != Kind::Chat
            || maxima.iter().any(|name| row.get(name).is_some_and(|value| value.kind() == JsonKind::Number));
        out.push(b'{');
        out.extend_from_slice(RAW_TAIL);
        match self.body.strip_prefix('{') {
            Some(rest) if !bounded => {
                out.extend_from_slice(format!("{{\"{}\":{max_tokens}", maxima[0]).as_bytes());
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

    /// The body to send in `lane`, whose tier takes the place of the user's, to `model`, where he calls it by another name.
    /// `raised`: a new output maximum, after an answer that was cut. The rest stays as it is.
    pub(crate) fn body(&self, lane: Lane, model: &str, raised: Option<u32>, out: &mut Vec<u8>) {
        let tier = if lane == Lane::Flex { "\"flex\"" } else { "\"default\"" };
        let most = raised.map(|most| most.to_string());
        let mut named = Vec::new();
        write_json_text(model, &mut named);
        let mut scanner = JsonScanner::new();
        let Ok(row) = scanner.scan(self.body) else {
            out.extend_from_slice(self.body.as_bytes()); // it was readable when it was sealed
            return;
        };
        let maxima = self.maxima(&row);
        let mut done = 0;
        if self.kind == Kind::Chat && lane == Lane::Flex && row.get(TIER).is_none() {
            out.extend_from_slice(b"{\"service_tier\":\"flex\",");
            done = 1;
        }
        for (key, value) in row.iter() {
            let new = match (&*key, value.kind(), most.as_deref()) {
                (TIER, ..) => tier.as_bytes(),
                ("model", ..) if value.as_str().is_some_and(|own| own != model) => &named[..],
                (key, JsonKind::Number, Some(most)) if maxima.contains(&key) => most.as_bytes(),
                _ => continue,
            };
            // A value is a slice of the body.
            let start = value.raw().as_ptr() as usize - self.body.as_ptr() as usize;
            out.extend_from_slice(&self.body.as_bytes()[done..start]);
            out.extend_from_slice(new);
            done = start + value.raw().len();
        }
        out.extend_from_slice(&self.body.as_bytes()[done..]);
    }

    /// Images in the messages, and so on; text that only looks like one counts too, as a bound may be too high.
    pub(crate) fn images(&self) -> u64 {
        self.named("\"image_url\"")
    }

    pub(crate) fn documents(&self) -> u64 {
        self.named("\"file_id\"") + self.named("\"file_data\"")
    }

    pub(crate) fn messages(&self) -> u64 {
        // The input may be one text, and so are the instructions before it.
        let unnamed = if self.kind == Kind::Chat { 2 } else { 0 };
        match self.named("\"role\"") {
            0 => unnamed,
            roles => roles,
        }
    }

    /// What this body calls its output maximum.
    fn maxima(&self, row: &JsonRow<'_>) -> &'static [&'static str] {
        let is_response =
            self.kind == Kind::Chat && row.get("input").is_some() && row.get("messages").is_none();
        if is_response { MAXIMUM_OF_RESPONSES } else { MAXIMA }
    }

    fn named(&self, name: &str) -> u64 {
        self.body.matches(name).count() as u64
    }

    /// The output maximum, as set by the user or by us.
    pub(crate) fn max_tokens(&self, scanner: &mut JsonScanner) -> Option<u64> {
        let row = scanner.scan(self.body).ok()?;
        let set = self.maxima(&row).iter().find_map(|name| row.get(name))?;
        set.raw().parse().ok()
    }
}

/// Refuses what makes a response cost more than its body shows, and what comes back later.
fn check_response(row: &JsonRow<'_>) -> Result<(), String> {
    let says =
        |name: &str| row.get(name).filter(|value| value.kind() != JsonKind::Null && value.raw() != "false");
    if let Some(name) = ELSEWHERE.iter().find(|name| says(name).is_some()) {
        return Err(format!(
            "`body.{name}` names tokens that are not in the line, whose price cannot be bounded"
        ));
    }
    if says("background").is_some() {
        return Err("`body.background` is true; an answer that comes later cannot be collected".to_owned());
    }
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
    }
    let Some(tools) = says("tools") else { return Ok(()) };
    let tools: Vec<Tool<'_>> =
        serde_json::from_str(tools.raw()).map_err(|_| "`body.tools` is not a list of tools".to_owned())?;
    match tools.iter().find(|tool| !OWN_TOOLS.contains(&&*tool.kind)) {
        Some(tool) => Err(format!("`body.tools` has `{}`, whose price cannot be bounded", &*tool.kind)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_response_is_bounded_under_its_own_name() {
        let seal = |body: &str| {
            let mut sealed = Vec::new();
            let line = RawLine { kind: Kind::Chat, body, model: "openai/m".into() };
            line.seal(50, &mut JsonScanner::new(), &mut sealed)?;
            Ok::<_, String>(RawLine::unseal(&sealed).unwrap().body.to_owned())
        };
        let set =
            seal(r#"{"model":"m","input":"a","tools":[{"type":"function"}],"background":false}"#).unwrap();
        assert!(set.starts_with(r#"{"max_output_tokens":50,"model""#), "{set}");
        let line = RawLine { kind: Kind::Chat, body: &set, model: "openai/m".into() };
        assert_eq!((line.max_tokens(&mut JsonScanner::new()), line.messages()), (Some(50), 2));
        let mut sent = Vec::new();
        line.body(Lane::Batch, "m", Some(200), &mut sent);
        assert!(sent.starts_with(br#"{"max_output_tokens":200,"#));
        // What bounds one kind of body bounds no other.
        assert!(seal(r#"{"input":"a","max_tokens":9}"#).unwrap().contains(r#""max_output_tokens":50"#));
        assert!(
            seal(r#"{"messages":[],"max_output_tokens":9}"#)
                .unwrap()
                .contains(r#""max_completion_tokens":50"#)
        );
        for (more, word) in [
            (r#""previous_response_id":"r""#, "previous_response_id"),
            (r#""conversation":{"id":"c"}"#, "conversation"),
            (r#""prompt":{"id":"p"}"#, "prompt"),
            (r#""background":true"#, "background"),
            (r#""stream":true"#, "stream"),
            (r#""tools":[{"type":"function"},{"type":"web_search"}]"#, "web_search"),
            (r#""tools":{}"#, "not a list"),
        ] {
            let why = seal(&format!(r#"{{"input":"a",{more}}}"#)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

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
        line.body(Lane::Batch, "m", None, &mut sent);
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
        line.body(Lane::Flex, "m", None, &mut sent);
        assert_eq!(sent, br#"{"service_tier":"flex","max_completion_tokens":50,"model":"m"}"#);
    }

    #[test]
    fn a_model_is_called_as_its_provider_calls_it() {
        for (body, want) in [
            (r#"{"model" : "mistral/m","x":"mistral/m"}"#, r#"{"model" : "m","x":"mistral/m"}"#),
            (r#"{"model":"\u006d"}"#, r#"{"model":"\u006d"}"#),
        ] {
            let mut sent = Vec::new();
            let line = RawLine { kind: Kind::Chat, body, model: "mistral/m".into() };
            line.body(Lane::Sync, "m", None, &mut sent);
            assert_eq!(String::from_utf8(sent).unwrap(), want);
        }
    }

    #[test]
    fn the_lane_decides_the_tier() {
        let body = r#"{"model":"m","service_tier" : "auto","x":"service_tier"}"#;
        for (lane, body, want) in [
            (Lane::Sync, body, r#"{"model":"m","service_tier" : "default","x":"service_tier"}"#),
            (Lane::Batch, body, r#"{"model":"m","service_tier" : "default","x":"service_tier"}"#),
            (Lane::Flex, body, r#"{"model":"m","service_tier" : "flex","x":"service_tier"}"#),
            (Lane::Flex, r#"{"model":"m"}"#, r#"{"service_tier":"flex","model":"m"}"#),
            (Lane::Sync, r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        ] {
            let mut sent = Vec::new();
            RawLine { kind: Kind::Chat, body, model: "openai/m".into() }.body(lane, "m", None, &mut sent);
            assert_eq!(String::from_utf8(sent).unwrap(), want);
        }
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
                "m",
                Some(36),
                &mut sent,
            );
            assert_eq!(String::from_utf8(sent).unwrap(), want);
        }
    }

    #[test]
    fn what_stands_beside_the_text_is_counted() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"file","file":{"file_id":"f"}},{"type":"text","text":"\"role\" and \"file_id\""}]}]}"#;
        let line = RawLine { kind: Kind::Chat, body, model: "openai/m".into() };
        // The type of a part has the name of its field.
        assert_eq!((line.images(), line.documents(), line.messages()), (2, 1, 1));
    }

    #[test]
    fn what_cannot_be_collected_is_refused() {
        for body in [
            r#"{"stream":true}"#,
            r#"{"n":2}"#,
            r#"{"service_tier":"priority"}"#,
            r#"{"web_search_options":{}}"#,
            "[]",
        ] {
            assert!(
                RawLine { kind: Kind::Chat, body, model: "openai/m".into() }
                    .seal(1, &mut JsonScanner::new(), &mut Vec::new())
                    .is_err(),
                "{body}"
            );
        }
        assert_eq!(RawLine::kind_of_url("/v1/embeddings"), Some(Kind::Embedding));
        assert_eq!(RawLine::kind_of_url("/v1/responses"), Some(Kind::Chat));
        assert_eq!(RawLine::kind_of_url("/v1/images/generations"), None);
    }
}
