//! Records that are whole requests: unified ones, and OpenAI batch lines.

use std::collections::BTreeMap;

use bulkrate_core::prepare::{Chosen, ItemError, Wishes};
use bulkrate_core::price::bound::default_output_max;
use bulkrate_core::request::{BodyError, Bound, Kind, Request, Role, RouteBy, Text, write_canonical};
use bulkrate_io::JsonRow;
use serde_json::value::RawValue;

use super::{AUTO, Draftsman, Drawn, ShapeError, UNBOUNDED_IMAGE, auto_in_a_line, effort};
use crate::prepare::raw::{RESPONSES, RawLine};
use crate::prepare::takes::Asker;

impl Draftsman {
    pub(super) fn unified(
        &mut self,
        line: &str,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        let bad = |why: String| ShapeError::Item(ItemError::BadRequest(why));
        let request: Request<'_> = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        self.request((request, None), number, out)
    }

    /// `bound`: whom the request is for, where its line was in the words of one provider; its turns may then be in its own fields.
    pub(super) fn request<'a>(
        &'a mut self,
        (request, bound): (Request<'a>, Option<Bound>),
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        let bad = |why: String| ShapeError::Item(ItemError::BadRequest(why));
        let plain = request.provider_kwargs.map(|kwargs| unescaped(kwargs.get())).transpose();
        let plain = plain.map_err(|why| bad(format!("`provider_kwargs`: {why}")))?.flatten();
        let mut request: Request<'_> = request;
        request.provider_kwargs = plain.as_deref().or(request.provider_kwargs);
        let own_turns = bound.is_some() && request.messages.is_empty() && request.kind.has_turns();
        if request.is_blank() && !own_turns {
            return Err(ItemError::EmptyPrompt.into());
        }
        let ours = [("route_score", request.route_score.is_some()), ("route_by", request.route_by.is_some())];
        if let Some((name, _)) = ours.iter().find(|(_, written)| *written) {
            return Err(bad(format!("`{name}` is what bulkrate writes, not what it reads")));
        }
        request.settle_blobs().map_err(|(part, source)| ItemError::Blob { part, source })?;
        if &*request.model == AUTO {
            return Err(auto_in_a_line());
        }
        self.of_one_price(request.kind)?;
        let deployment = self.named(&request.model)?;
        let names_it = !request.model.is_empty() && self.spec.model.is_some();
        let found = &self.deployments[deployment];
        let config = &mut request.generation_config;
        let choice_bytes = config.choices.iter().map(|choice| choice.len() as u64).max();
        if request.kind.pays_output() && config.max_tokens.is_none() {
            let most = found.max_output();
            let tokens = match (self.spec.max_output_tokens, request.kind) {
                (Some(tokens), _) => u64::from(tokens),
                (None, Kind::Image) => most.ok_or_else(|| bad(UNBOUNDED_IMAGE.to_owned()))?.0,
                (None, _) => default_output_max(choice_bytes, effort(config.reasoning), most).0,
            };
            config.max_tokens = Some(u32::try_from(tokens).unwrap_or(u32::MAX));
        }
        if config.max_tokens == Some(0) {
            return Err(bad("`generation_config.max_tokens` must be at least 1".to_owned()));
        }
        // A line's own says what the job's would, whether it stands before the turns or among them.
        let said = !request.system_prompt.is_empty()
            || request.messages.iter().any(|message| message.role == Role::System);
        if !said && request.kind.has_turns() {
            request.system_prompt.extend(self.spec.system.as_deref().map(Text::from));
        }
        request.model = Text::from(found.pinned.clone());
        let mut drawn = Drawn {
            item_id: request.custom_id.as_ref().map_or_else(|| number.to_string(), |id| id.to_string()),
            deployment,
            max_tokens: request.generation_config.max_tokens.unwrap_or(0),
            images: request.images(),
            documents: request.documents(),
            messages: request.messages.len() as u64 + 1,
            wishes: Wishes { priority: request.priority, cache: request.cache },
            chosen: names_it.then_some(Chosen::By(RouteBy::Line)),
            choice_bytes,
            data: request.data_bytes(),
            bound,
            ..Drawn::default()
        };
        if let Some(tags) = request.tags {
            tag_text(tags).map_err(bad)?;
            bulkrate_core::request::canonical_value(tags, &mut drawn.tags);
        }
        self.takes.prove(&mut drawn, number, &request, &self.deployments)?;
        let start = out.len();
        write_canonical(&request, out);
        drawn.structure = ((out.len() - start) as u64).saturating_sub(request.prompt_bytes());
        Ok(drawn)
    }

    /// The price of a decision is another one than that of the model's chats.
    fn of_one_price(&self, kind: Kind) -> Result<(), ShapeError> {
        if (kind == Kind::Decision) == (self.spec.kind == Kind::Decision) {
            return Ok(());
        }
        let why = "decisions are priced by themselves: all lines of a job are of kind `decision`, and so is the job, or none is";
        Err(ItemError::BadRequest(why.to_owned()).into())
    }

    pub(super) fn openai(
        &mut self,
        row: &JsonRow<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Result<Drawn, ShapeError> {
        let bad = |why: &str| ShapeError::Item(ItemError::BadRequest(why.to_owned()));
        let url = row.get("url").and_then(|value| value.as_str()).ok_or_else(|| bad("`url` is missing"))?;
        let kind = RawLine::kind_of_url(&url).ok_or_else(|| {
            bad(match &*url {
                "/v1/images/generations" => "`url` is /v1/images/generations: write a unified request of kind `image`, whose `max_tokens` bounds what the picture costs",
                _ => "`url` is none of /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/moderations",
            })
        })?;
        self.of_one_price(kind)?;
        let body = row.get("body").ok_or_else(|| bad("`body` is missing"))?.raw();
        let plain = unescaped(body).map_err(|why| bad(&format!("`body`: {why}")))?;
        let body = plain.as_deref().map_or(body, RawValue::get);
        let model = {
            let fields = self.scanner.scan(body).map_err(|fault| bad(fault.what))?;
            fields
                .get("model")
                .and_then(|value| value.as_str())
                .map(|model| model.into_owned())
                .ok_or_else(|| bad("`body.model` is missing"))?
        };
        let deployment = self.named(&model)?;
        let found = &self.deployments[deployment];
        let (wire, response) = (found.account.api.wire(), url.ends_with(RESPONSES));
        if response && wire.path(kind, &found.model) != RESPONSES {
            return Err(bad(
                "`url` is /v1/responses, which is only asked where `responses_api = true` is set",
            ));
        }
        if !response && !wire.takes_openai(kind, &found.model) {
            let request = translated((kind, body), &found.pinned)?;
            let custom_id = row.get("custom_id").and_then(|value| value.as_str()).map(Text);
            let request = Request { custom_id, model: model.into(), ..request };
            return self.request((request, None), number, out);
        }
        let asker = Asker { place: deployment, urgent: false, record: Some(number - 1), bound: None };
        self.takes.check_kind(asker, kind, &self.deployments)?;
        let default = default_output_max(None, effort(None), self.deployments[deployment].max_output()).0;
        let default = self.spec.max_output_tokens.map_or(default, u64::from);
        let line = RawLine { kind, body, model: Text::from(self.deployments[deployment].pinned.clone()) };
        line.seal(default, &mut self.scanner, out)
            .map_err(|why| ShapeError::Item(ItemError::BadRequest(why)))?;
        let max_tokens =
            if kind == Kind::Chat { line.max_tokens(&mut self.scanner).unwrap_or(default) } else { 0 };
        Ok(Drawn {
            item_id: row
                .get("custom_id")
                .and_then(|value| value.as_str())
                .map_or_else(|| number.to_string(), std::borrow::Cow::into_owned),
            deployment,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            images: line.images(),
            documents: line.documents(),
            messages: line.messages(),
            ..Drawn::default()
        })
    }
}

/// JSON with its words as they are read, where some of its letters are written as escapes: what it costs is read off its words. `None`: it
/// is plain.
fn unescaped(json: &str) -> Result<Option<Box<RawValue>>, String> {
    if !hides_words(json) {
        return Ok(None);
    }
    let read = || serde_json::value::to_raw_value(&serde_json::from_str::<serde_json::Value>(json)?);
    read().map(Some).map_err(|error: serde_json::Error| error.to_string())
}

/// Whether an escape stands where a letter, a digit or what joins them in names could: no writer of JSON does that.
fn hides_words(json: &str) -> bool {
    json.split("\\u00").skip(1).any(|rest| {
        let code = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        code.is_some_and(|code| code.is_ascii_alphanumeric() || b"_-./".contains(&code))
    })
}

/// The body of an OpenAI batch line as a request to a model of another provider.
fn translated<'a>((kind, body): (Kind, &'a str), pinned: &str) -> Result<Request<'a>, ItemError> {
    Request::of_openai(kind, body).map_err(|error| match error {
        BodyError::Bad { .. } => ItemError::BadRequest(error.to_string()),
        BodyError::Untold { field, why } => ItemError::Unsupported {
            field,
            model: pinned.to_owned(),
            why: format!(
                "the line is in OpenAI's form and the model another provider's: {why}; leave it out, or write a unified request"
            ),
        },
    })
}

/// Tags are an object of strings.
fn tag_text(tags: &RawValue) -> Result<(), String> {
    serde_json::from_str::<BTreeMap<String, String>>(tags.get())
        .map(drop)
        .map_err(|_| "`tags` is an object of strings".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn letters_written_as_escapes_hide_nothing() {
        let of = |json: &str| unescaped(json).map(|plain| plain.map(|plain| plain.get().to_owned()));
        let plain = Ok(Some(r#"{"ttl":"1h"}"#.to_owned()));
        assert_eq!(of(r#"{"ttl":"\u0031h"}"#), plain);
        assert_eq!(of(r#"{"t\u0074l": "1h"}"#), plain);
        assert_eq!(of(r#"{"image\u005Furl":1}"#), Ok(Some(r#"{"image_url":1}"#.to_owned())));
        // What writers of JSON do escape stays as it is written, and so does the key of a line that was answered before.
        for kept in [
            r#"{"ttl":"1h"}"#,
            r#"{"a":"caf\u00e9 \u003cb\u003e \u0026 \u0027 \u001f\n"}"#,
            r#"{"a":"\\u00"}"#,
        ] {
            assert_eq!(of(kept), Ok(None), "{kept}");
        }
        let deep = format!(r#"{}"\u0031"{}"#, "[".repeat(200), "]".repeat(200));
        assert!(of(&deep).is_err(), "what cannot be read is refused");
    }
}
