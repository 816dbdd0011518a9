//! The bodies of Anthropic's Messages API: `params` of a batch line.

use serde_json::value::RawValue;

use super::kept::Kept;
use super::{MODEL_OF_JOB, Tongue, Translated, content, role, turns};
use crate::request::blob::media_type_of;
use crate::request::fields::{
    Fields, NO_WORD, Read, at, bad, first_wrong, given, is_empty, most, needed, no_others, numbered, object,
    only, read, texts, untold,
};
use crate::request::{Blob, Config, Content, Message, Part, Reasoning, Request, SourceType, Text};

/// What only a body for a host of Claude's models has.
pub(super) const VERSION: &str = "anthropic_version";
/// What a mark for the prompt cache is called.
const MARK: &str = "cache_control";

pub(super) fn params(body: &str) -> Read<Translated<'_>> {
    of_its_own(&object("", body)?)
}

/// A body that goes to who speaks the same language.
fn of_its_own<'a>(fields: &Fields<'a>) -> Read<Translated<'a>> {
    if let Some(name) = ["betas", "anthropic_beta"].into_iter().find(|name| fields.contains_key(*name)) {
        return untold(
            name,
            "betas stand in a header, for all requests: set `betas` in `[provider]` of the job file",
        );
    }
    let (request, kept) = message_request(fields)?;
    Ok(Translated::new(request, kept, Tongue::Anthropic))
}

/// A body that a host of Claude's models takes: it names the version of the API, and no model.
pub(super) fn of_host(fields: Fields<'_>) -> Read<Translated<'_>> {
    if fields.contains_key("model") {
        return Err(bad("model", MODEL_OF_JOB));
    }
    of_its_own(&without_version(fields))
}

pub(super) fn without_version(mut fields: Fields<'_>) -> Fields<'_> {
    fields.remove(VERSION);
    fields
}

/// The request, and what of the body has no name in it.
pub(super) fn message_request<'a>(fields: &Fields<'a>) -> Read<(Request<'a>, Kept<'a>)> {
    let (mut request, mut kept) = (Request::default(), Kept::default());
    needed("", fields, "messages")?;
    for (name, raw) in fields.iter().map(|(name, raw)| (name.as_str(), *raw)) {
        let config = &mut request.generation_config;
        match name {
            name if says_nothing(name, raw, fields) => {}
            "model" => request.model = read(name, raw.get())?,
            "messages" => {
                request.messages = kept.unless(name, raw, turns(name, raw, message))?.unwrap_or_default();
            }
            "system" => {
                request.system_prompt = kept.unless(name, raw, system(raw))?.unwrap_or_default();
            }
            "max_tokens" => config.max_tokens = Some(most(name, raw)?),
            "temperature" => config.temperature = Some(read(name, raw.get())?),
            "top_p" => config.top_p = Some(read(name, raw.get())?),
            "top_k" => config.top_k = Some(read(name, raw.get())?),
            "stop_sequences" => config.stop_sequences = texts(name, raw)?,
            "thinking" | "output_config" => {} // together, below
            "service_tier" => return untold(name, "a tier that has no lane here"),
            "stream" => return untold(name, "one whole answer is kept for each request"),
            name => kept.keep(name, raw, name.to_owned()),
        }
    }
    reasoning(fields, &mut request.generation_config, &mut kept)?;
    Ok((request, kept))
}

/// Whether a field says no more than its absence would.
fn says_nothing(name: &str, raw: &RawValue, fields: &Fields<'_>) -> bool {
    let text = raw.get();
    match name {
        MARK => true,
        "tools" => is_empty(text),
        "tool_choice" => fields.get("tools").is_none_or(|tools| is_empty(tools.get())),
        "metadata" => object(name, text).is_ok_and(|fields| fields.is_empty()),
        "stream" => text == "false",
        "speed" => text == "\"standard\"",
        // The lane decides it.
        "service_tier" => ["\"auto\"", "\"standard_only\""].contains(&text),
        _ => false,
    }
}

fn system<'a>(raw: &'a RawValue) -> Read<Vec<Text<'a>>> {
    const PLACE: &str = "system";
    if raw.get().starts_with('"') {
        return Ok(vec![read(PLACE, raw.get())?]);
    }
    let blocks: Vec<Fields<'a>> = read(PLACE, raw.get())?;
    let text = |(place, fields): (String, Fields<'a>)| match part(&place, &given(fields))? {
        Part::Text { text } => Ok(text),
        _ => untold(&place, NO_WORD),
    };
    first_wrong(numbered(PLACE, blocks).map(text))
}

fn message<'a>(place: &str, turn: &Fields<'a>) -> Read<Message<'a>> {
    let role = role(place, turn)?;
    no_others(place, turn, &["role", "content"])?;
    let (raw, place) = (needed(place, turn, "content")?, at(place, "content"));
    let content = if raw.get().starts_with('[') {
        let blocks: Vec<Fields<'a>> = read(&place, raw.get())?;
        if blocks.is_empty() {
            return Err(bad(&place, "is empty"));
        }
        content(first_wrong(numbered(&place, blocks).map(|(place, block)| part(&place, &given(block))))?)
    } else {
        Content::Text(read(&place, raw.get())?)
    };
    Ok(Message { role, content, tool_call_id: None })
}

fn part<'a>(place: &str, block: &Fields<'a>) -> Read<Part<'a>> {
    let kind: Text<'_> = read(&at(place, "type"), needed(place, block, "type")?.get())?;
    let own = match &*kind {
        "text" => "text",
        "image" | "document" => "source",
        _ => return untold(place, NO_WORD),
    };
    let is_said = |(name, raw): &(&String, &&RawValue)| match name.as_str() {
        "type" | MARK => false,
        "citations" => !is_empty(raw.get()) && raw.get() != "{\"enabled\":false}",
        name => name != own,
    };
    if let Some((name, _)) = block.iter().find(is_said) {
        return untold(&at(place, name), NO_WORD);
    }
    let (raw, place) = (needed(place, block, own)?, at(place, own));
    Ok(match &*kind {
        "text" => Part::Text { text: read(&place, raw.get())? },
        "image" => Part::Image(blob(&place, raw, None)?),
        _ => Part::Document(blob(&place, raw, Some("application/pdf"))?),
    })
}

/// What stands in a `source`: bytes, or an address. `of`: the one type that there is at addresses, and as bytes.
fn blob<'a>(place: &str, raw: &'a RawValue, of: Option<&'static str>) -> Read<Blob<'a>> {
    let source = object(place, raw.get())?;
    let text = |name: &str| read::<Text<'a>>(&at(place, name), needed(place, &source, name)?.get());
    match &*text("type")? {
        "url" => {
            only(place, raw, &["type", "url"])?;
            let data = text("url")?;
            let media_type = of.unwrap_or_else(|| media_type_of(&data)).into();
            Ok(Blob { source_type: SourceType::Url, media_type, data })
        }
        "base64" => {
            only(place, raw, &["type", "media_type", "data"])?;
            let (media_type, data) = (text("media_type")?, text("data")?);
            Ok(Blob { source_type: SourceType::Base64, media_type, data })
        }
        _ => untold(place, NO_WORD),
    }
}

/// How much it is to think, and the schema of its answer: efforts stand beside that, and go with a way of thinking.
fn reasoning<'a>(fields: &Fields<'a>, config: &mut Config<'a>, kept: &mut Kept<'a>) -> Read<()> {
    let output = fields.get("output_config").copied();
    let said = match output {
        Some(raw) => kept.unless("output_config", raw, output_config(raw))?.unwrap_or_default(),
        None => Output::default(),
    };
    config.output_schema = said.schema;
    let effort = said.effort.as_deref();
    let Some(raw) = fields.get("thinking").copied() else {
        return keep_effort(effort, output, kept);
    };
    let thinking = kept.unless("thinking", raw, thinking(raw, effort))?;
    config.reasoning = thinking;
    // Only with such a one is the effort said by it.
    match thinking {
        Some(Reasoning::Low | Reasoning::Medium | Reasoning::High) => Ok(()),
        _ => keep_effort(effort, output, kept),
    }
}

/// An effort by itself: how a model thinks that was told nothing else is no effort of ours.
fn keep_effort<'a>(effort: Option<&str>, output: Option<&'a RawValue>, kept: &mut Kept<'a>) -> Read<()> {
    if let (Some(_), Some(raw)) = (effort, output) {
        kept.keep("output_config", raw, "output_config.effort".to_owned());
    }
    Ok(())
}

#[derive(Default)]
struct Output<'a> {
    effort: Option<Text<'a>>,
    schema: Option<&'a RawValue>,
}

fn output_config(raw: &RawValue) -> Read<Output<'_>> {
    const PLACE: &str = "output_config";
    let fields = only(PLACE, raw, &["effort", "format"])?;
    let effort = fields.get("effort").map(|raw| read("output_config.effort", raw.get())).transpose()?;
    let Some(format) = fields.get("format") else { return Ok(Output { effort, schema: None }) };
    let place = at(PLACE, "format");
    let format = only(&place, format, &["type", "schema"])?;
    let kind: Text<'_> = read(&at(&place, "type"), needed(&place, &format, "type")?.get())?;
    if &*kind != "json_schema" {
        return untold(&place, NO_WORD);
    }
    Ok(Output { effort, schema: Some(needed(&place, &format, "schema")?) })
}

fn thinking(raw: &RawValue, effort: Option<&str>) -> Read<Reasoning> {
    const PLACE: &str = "thinking";
    let fields = only(PLACE, raw, &["type", "budget_tokens"])?;
    let kind: Text<'_> = read("thinking.type", needed(PLACE, &fields, "type")?.get())?;
    let budget = fields.get("budget_tokens");
    match (&*kind, budget, effort) {
        ("disabled", None, _) => Ok(Reasoning::None),
        ("enabled", Some(budget), _) => Ok(Reasoning::Tokens(read("thinking.budget_tokens", budget.get())?)),
        ("enabled", None, _) => Err(bad("thinking.budget_tokens", "is missing")),
        ("adaptive", None, Some("low")) => Ok(Reasoning::Low),
        ("adaptive", None, Some("medium")) => Ok(Reasoning::Medium),
        ("adaptive", None, Some("high")) => Ok(Reasoning::High),
        _ => untold("thinking.type", NO_WORD),
    }
}
