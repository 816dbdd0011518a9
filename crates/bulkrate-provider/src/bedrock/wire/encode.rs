//! Writes requests as bodies of Converse, which are also the records of a batch.
//!
//! The caller's own fields win over ours, within `inferenceConfig` and `additionalModelRequestFields` too, and are copied as he wrote
//! them, but for the service tier, which the lane decides.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{
    Blob, Content, DOCUMENT_FORMATS, Kind, Message, Part, Reasoning, Request, Role, SourceType,
    write_json_text,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::models::{MARK, claude, is_nova, is_plain};
use crate::anthropic::wire::encode::{self as claudes, check_reasoning, check_sampling, write_thinking};
use crate::anthropic::wire::models::family;
use crate::api::{Unsupported, WireOptions};
use crate::job::differs;
use crate::json::object::{Object, Own, array};
use crate::json::write_choices_schema;

const SERVICE: &str = "Bedrock";
/// Why a batch takes no schema, and none of the caller's own fields that are like it.
pub(super) const NO_SCHEMA: &str = "batches of Bedrock take no schema: use `--lane sync`, or describe the answer in the prompt and set `structured_outputs = false`";
pub(super) const NO_TOOLS: &str = "batches of Bedrock take no tools and no schema; use `--lane sync`";
const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];
/// Fields that another price belongs to, or whose answers would be lost.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "provider_kwargs.guardrailConfig",
        "guardrailConfig",
        "what a guardrail costs besides tokens is not known here",
    ),
    (
        "provider_kwargs.performanceConfig",
        "performanceConfig",
        "its price is not in the catalogue; leave it out",
    ),
    ("provider_kwargs.promptVariables", "promptVariables", "prompts are written out here; use the template"),
];
/// Where the caller may have set marks for the prompt cache.
const CACHED: &[&str] = &["system", "messages", "toolConfig"];

#[derive(Debug)]
pub(super) struct Encoder {
    structured_outputs: bool,
    claude: claudes::Encoder,
}

/// With Claude's own rules where the model is one.
type Job<'r> = crate::job::Job<'r, Option<claudes::Job<'r>>>;

impl Encoder {
    pub(super) fn new(structured_outputs: bool) -> Self {
        Self { structured_outputs, claude: claudes::Encoder::new(structured_outputs) }
    }

    pub(super) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let rules = claude(options.model).map(|name| claudes::Job { request, options, family: family(name) });
        let job = Job { request, options, family: rules };
        if request.kind != Kind::Chat {
            let name = request.kind.name();
            return Err(job.unsupported("kind", format!("bulkrate does not speak Bedrock's {name} APIs")));
        }
        let mut own = job.own()?;
        let config = own
            .within("inferenceConfig")
            .map_err(|why| job.unsupported("provider_kwargs.inferenceConfig", why))?;
        let extras = own
            .within("additionalModelRequestFields")
            .map_err(|why| job.unsupported("provider_kwargs.additionalModelRequestFields", why))?;
        check_own(&job, &own, (&config, &extras))?;
        for name in ["inferenceConfig", "additionalModelRequestFields", "serviceTier", "modelId"] {
            own.remove(name);
        }
        check_config(&job)?;
        match &job.family {
            Some(rules) => {
                check_sampling(rules)?;
                check_reasoning(rules, &extras)?;
            }
            None => check_effort(&job)?,
        }
        if !own.has("messages") {
            let prefills = job.family.as_ref().is_some_and(|rules| rules.family.prefills);
            job.check_turns((SERVICE, "messages"), prefills, |role, part| check_part(&job, role, part))?;
        }
        let schema = self.schema(&job, &own)?;
        write(&job, schema.as_deref(), Object::open(out, own), (config, extras));
        Ok(())
    }

    /// The schema of the answer, where one is sent. Batches take none.
    fn schema(&self, job: &Job<'_>, own: &Own<'_>) -> Result<Option<String>, Unsupported> {
        job.refuse_two_schemas()?;
        let config = job.config();
        if !self.structured_outputs || own.has("outputConfig") {
            return Ok(None);
        }
        if job.options.lane == Lane::Batch {
            return config
                .output_schema
                .map_or(Ok(None), |_| Err(job.unsupported("output_schema", NO_SCHEMA)));
        }
        if let Some(rules) = &job.family {
            return self.claude.format(rules, own);
        }
        if let Some(schema) = config.output_schema {
            return Ok(Some(schema.get().to_owned()));
        }
        let mut schema = Vec::new();
        if !config.choices.is_empty() {
            write_choices_schema(&config.choices, &mut schema);
        }
        Ok(String::from_utf8(schema).ok().filter(|schema| !schema.is_empty()))
    }
}

/// Whether all tools are functions of the caller's, and marks between them.
fn is_the_callers(config: &str) -> bool {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        tools: Vec<BTreeMap<String, IgnoredAny>>,
    }
    // What is no such object the service refuses.
    let config: Config = serde_json::from_str(config).unwrap_or(Config { tools: Vec::new() });
    config
        .tools
        .iter()
        .flat_map(BTreeMap::keys)
        .all(|name| matches!(name.as_str(), "toolSpec" | "cachePoint"))
}

/// A field of the model's own that another price or a longer answer belongs to.
fn unbounded(extras: &Own<'_>) -> Option<&'static str> {
    const LONGER: [&str; 4] = ["max_tokens", "maxTokens", "max_new_tokens", "max_gen_len"];
    const DEARER: [&str; 2] = ["speed", "mcp_servers"];
    let within = |config: &str| {
        let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(config).unwrap_or_default();
        LONGER.iter().any(|name| fields.contains_key(*name))
    };
    if extras.get("inferenceConfig").is_some_and(within) {
        return Some("inferenceConfig");
    }
    if !extras.get("tools").is_none_or(claudes::run_with_the_caller) {
        return Some("tools");
    }
    LONGER.into_iter().chain(DEARER).find(|name| extras.has(name))
}

/// What would be paid for and then not be read, or be paid for by another price than the one that was reserved.
fn check_own(
    job: &Job<'_>,
    own: &Own<'_>,
    (config, extras): (&Own<'_>, &Own<'_>),
) -> Result<(), Unsupported> {
    if let Some((field, _, why)) = REFUSED.iter().find(|(_, name, _)| own.has(name)) {
        return Err(job.unsupported(field, *why));
    }
    if own.get("toolConfig").is_some_and(|given| !is_the_callers(given)) {
        let why =
            "what this tool costs besides tokens is not known here; functions can be declared (`toolSpec`)";
        return Err(job.unsupported("provider_kwargs.toolConfig", why));
    }
    if let Some(name) = unbounded(extras) {
        let why = format!("`{name}`: it changes what is charged beyond what is reserved for the request");
        return Err(job.unsupported("provider_kwargs.additionalModelRequestFields", why));
    }
    if config.has("maxTokens") {
        let why = "`maxTokens`: it decides what is reserved for the request: set `max_tokens`";
        return Err(job.unsupported("provider_kwargs.inferenceConfig", why));
    }
    if job.options.mark != Some(Ttl::Hour) && marks(own, "1h") {
        let why = "to write the one-hour prompt cache costs more than is reserved for a request; say `--prompt-cache 1h`, or use the one of five minutes";
        return Err(job.unsupported("provider_kwargs.cachePoint", why));
    }
    if job.options.lane == Lane::Batch {
        let refused =
            [("provider_kwargs.toolConfig", "toolConfig"), ("provider_kwargs.outputConfig", "outputConfig")];
        if let Some((field, _)) = refused.into_iter().find(|(_, name)| own.has(name)) {
            return Err(job.unsupported(field, NO_TOOLS));
        }
    }
    Ok(())
}

/// Whether the caller's own texts have the word.
fn marks(own: &Own<'_>, word: &str) -> bool {
    let word = format!("\"{word}\"");
    CACHED.iter().filter_map(|name| own.get(name)).any(|value| value.contains(&word))
}

fn check_config(job: &Job<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    job.refuse_absent("Converse")?;
    for (field, value) in [("temperature", config.temperature), ("top_p", config.top_p)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) && differs(value) {
            return Err(job.unsupported(field, "Bedrock takes 0 to 1"));
        }
    }
    if config.top_k.is_some() && job.family.is_none() && !is_nova(job.options.model) {
        let why = "what this model calls it is not known here: give it in `provider_kwargs.additionalModelRequestFields`";
        return Err(job.unsupported("top_k", why));
    }
    Ok(())
}

/// Of models that are not Claude.
fn check_effort(job: &Job<'_>) -> Result<(), Unsupported> {
    match job.config().reasoning {
        None => Ok(()),
        Some(Reasoning::None) if is_plain(job.options.model) => Ok(()),
        Some(_) => {
            let why = "how this model is told is not known here: give it in `provider_kwargs.additionalModelRequestFields`";
            Err(job.unsupported("reasoning", why))
        }
    }
}

fn check_part(job: &Job<'_>, role: Role, part: &Part<'_>) -> Result<(), Unsupported> {
    match part {
        Part::Text { .. } => Ok(()),
        Part::Image(blob) => check_blob(job, ("messages.image", role, blob), IMAGES),
        Part::Document(blob) => {
            let known: Vec<&str> = DOCUMENT_FORMATS.iter().map(|(kind, _)| *kind).collect();
            check_blob(job, ("messages.document", role, blob), &known)
        }
    }
}

/// Whether it takes the blob as it is given: as bytes, or as the address of an object in S3.
pub(super) fn reads(blob: &Blob<'_>) -> bool {
    blob.source_type == SourceType::Base64 || blob.data.starts_with("s3://")
}

fn check_blob(
    job: &Job<'_>,
    (field, role, blob): (&'static str, Role, &Blob<'_>),
    known: &[&str],
) -> Result<(), Unsupported> {
    job.refuse_blob((field, role, blob), SERVICE, known)?;
    if !reads(blob) {
        let why = "Bedrock fetches from no address but `s3://bucket/key`: give the bytes, as base64 or a data URL, or `fetch_urls`";
        return Err(job.unsupported(field, why));
    }
    if !known.contains(&&*blob.media_type) {
        return Err(job.unsupported(field, format!("its type must be one of {}", known.join(", "))));
    }
    Ok(())
}

fn write(
    job: &Job<'_>,
    schema: Option<&str>,
    mut body: Object<'_, '_>,
    (config, extras): (Own<'_>, Own<'_>),
) {
    write_prompt(job, &mut body);
    body.key("inferenceConfig");
    write_config(job, Object::open(body.out, config));
    let mut fields = Vec::new();
    let effort = write_extras(job, Object::open(&mut fields, extras));
    if fields != b"{}" && body.key("additionalModelRequestFields") {
        body.out.extend_from_slice(&fields);
    }
    if (effort.is_some() || schema.is_some()) && body.key("outputConfig") {
        write_output(effort, schema, body.out);
    }
    if job.options.lane == Lane::Flex {
        body.literal("serviceTier", "{\"type\":\"flex\"}");
    }
    body.close();
}

/// The system prompt and the turns. What stands before the last turn is what requests may have in common: a mark ends it, and what some
/// share within that, unless the caller has set marks himself.
fn write_prompt(job: &Job<'_>, body: &mut Object<'_, '_>) {
    let (prompts, (_, turns)) = (job.prompts(), job.split());
    let marked = marks(body.own(), MARK);
    let mark = job.options.mark.filter(|_| !marked);
    let halves = if marked { None } else { job.halves() };
    let before_last = turns.len().saturating_sub(1);
    if !prompts.is_empty() && body.key("system") {
        let mark = mark.filter(|_| before_last == 0);
        let blocks = prompts.into_iter().map(Block::Text).chain(mark.map(Block::Mark));
        array(blocks, body.out, |block, out| block.write(&mut 0, out));
    }
    if body.key("messages") {
        array(turns.iter().enumerate(), body.out, |(at, turn), out| match halves {
            Some(halves) if at == before_last => write_halves(turn, halves, out),
            _ => write_turn(turn, mark.filter(|_| at + 1 == before_last), out),
        });
    }
}

/// One block of a content.
enum Block<'r> {
    Text(&'r str),
    Part(&'r Part<'r>),
    /// All that stands before it is kept for so long. Five minutes are the default.
    Mark(Ttl),
}

impl Block<'_> {
    /// `documents`: so many stand before it; each has a name of its own.
    fn write(self, documents: &mut u32, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => write_text(text, out),
            Self::Part(Part::Text { text }) => write_text(text, out),
            Self::Part(Part::Image(blob)) => {
                write_blob("image", blob.media_type.trim_start_matches("image/"), "", blob, out);
            }
            Self::Part(Part::Document(blob)) => {
                *documents += 1;
                let format = DOCUMENT_FORMATS.iter().find(|(kind, _)| *kind == &*blob.media_type);
                let name = format!("\"name\":\"document {documents}\",");
                write_blob("document", format.map_or("pdf", |(_, format)| format), &name, blob, out);
            }
            Self::Mark(ttl) => {
                let lasts = if ttl == Ttl::Hour { ",\"ttl\":\"1h\"" } else { "" };
                out.extend_from_slice(format!("{{\"{MARK}\":{{\"type\":\"default\"{lasts}}}}}").as_bytes());
            }
        }
    }
}

fn write_config(job: &Job<'_>, mut body: Object<'_, '_>) {
    let config = job.config();
    body.number("maxTokens", job.max_tokens());
    for (name, value) in [("temperature", config.temperature), ("topP", config.top_p)] {
        // Some of Claude take none but the usual one, and that only unsaid.
        body.number(name, value.filter(|_| job.family.is_none() || differs(value)));
    }
    if !config.stop_sequences.is_empty() && body.key("stopSequences") {
        array(&config.stop_sequences, body.out, |stop, out| write_json_text(stop, out));
    }
    body.close();
}

/// What only some models know. Answers the effort that goes with it.
fn write_extras(job: &Job<'_>, mut body: Object<'_, '_>) -> Option<&'static str> {
    let top_k = job.config().top_k;
    let effort = match &job.family {
        Some(rules) => {
            body.number("top_k", top_k);
            write_thinking(rules, &mut body)
        }
        None => {
            if let Some(top_k) = top_k {
                body.literal("inferenceConfig", &format!("{{\"topK\":{top_k}}}"));
            }
            None
        }
    };
    body.close();
    effort
}

fn write_output(effort: Option<&str>, schema: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(effort) = effort {
        out.extend_from_slice(format!("\"effort\":\"{effort}\"").as_bytes());
    }
    if let Some(schema) = schema {
        if effort.is_some() {
            out.push(b',');
        }
        let head = "\"textFormat\":{\"type\":\"json_schema\",\"structure\":{\"jsonSchema\":{\"name\":\"answer\",\"schema\":";
        out.extend_from_slice(head.as_bytes());
        write_json_text(schema, out); // a text, and no object
        out.extend_from_slice(b"}}}");
    }
    out.push(b'}');
}

/// A turn of text that is marked within.
fn write_halves(message: &Message<'_>, [shared, own]: [&str; 2], out: &mut Vec<u8>) {
    open_turn(message, out);
    let blocks = [Block::Text(shared), Block::Mark(Ttl::FiveMinutes), Block::Text(own)];
    array(blocks, out, |block, out| block.write(&mut 0, out));
    out.push(b'}');
}

fn open_turn(message: &Message<'_>, out: &mut Vec<u8>) {
    let role = if message.role == Role::Assistant { "assistant" } else { "user" };
    out.extend_from_slice(format!("{{\"role\":\"{role}\",\"content\":").as_bytes());
}

fn write_turn(message: &Message<'_>, mark: Option<Ttl>, out: &mut Vec<u8>) {
    open_turn(message, out);
    let (end, mut documents) = (mark.map(Block::Mark), 0);
    match &message.content {
        Content::Text(text) => {
            let blocks = std::iter::once(Block::Text(text)).chain(end);
            array(blocks, out, |block, out| block.write(&mut documents, out));
        }
        Content::Parts(parts) => {
            // An empty text is refused, and says nothing.
            let is_said = |part: &&Part<'_>| !matches!(part, Part::Text { text } if text.is_empty());
            let blocks = parts.iter().filter(is_said).map(Block::Part).chain(end);
            array(blocks, out, |block, out| block.write(&mut documents, out));
        }
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"text\":");
    write_json_text(text, out);
    out.push(b'}');
}

fn write_blob(kind: &str, format: &str, more: &str, blob: &Blob<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"{kind}\":{{\"format\":\"{format}\",{more}\"source\":{{").as_bytes());
    match blob.source_type {
        SourceType::Base64 => {
            out.extend_from_slice(b"\"bytes\":");
            write_json_text(&blob.data, out);
        }
        SourceType::Url => {
            out.extend_from_slice(b"\"s3Location\":{\"uri\":");
            write_json_text(&blob.data, out);
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"}}}");
}
