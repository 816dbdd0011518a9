//! Writes requests as bodies of `generateContent`; those for vectors are `embed`'s.
//!
//! The caller's own fields win over ours, within `generationConfig` too, and are copied as he wrote them, but for the service tier,
//! which the lane decides.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{
    Blob, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType, write_json_text,
};

use super::embed;
use super::models::{self, Family, Thinks};
use crate::api::{Unsupported, WireOptions};
use crate::job::differs;
use crate::json::object::{Object, Own, array, write_on_one_line};
use crate::json::write_choices_schema;

const SERVICE: &str = "Gemini";
const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];
const DOCUMENTS: &[&str] =
    &["application/pdf", "text/plain", "text/html", "text/css", "text/csv", "text/xml", "text/markdown"];
const STOPS_MAX: usize = 5;
/// Fields that another price belongs to, or whose answers would be lost.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "provider_kwargs.generationConfig",
        "maxOutputTokens",
        "it decides what is reserved for the request: set `max_tokens`",
    ),
    ("provider_kwargs.generationConfig", "candidateCount", "one answer is read; leave it out"),
    ("provider_kwargs.generationConfig", "responseModalities", "answers of text are read; leave it out"),
];

/// In what the houses differ that sell these models.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// How the addresses of files begin that it can read.
    files: &'static str,
    /// What to do where a file lies elsewhere.
    files_hint: &'static str,
    /// Whether the body says in which tier it runs.
    says_tier: bool,
    /// Fields of the caller that it does not have.
    refused: &'static [&'static str],
    /// Whether embeddings are asked for in the same shape as there.
    embeds: bool,
}

impl Host {
    /// Whether it takes the blob as it is given: as bytes, or as the address of a file of its own.
    pub(crate) fn reads(self, blob: &Blob<'_>) -> bool {
        blob.source_type == SourceType::Base64 || blob.data.starts_with(self.files)
    }
}

pub(crate) const STUDIO: Host = Host {
    files: "https://generativelanguage.googleapis.com/",
    files_hint: "Gemini fetches nothing: give the bytes as base64, the URI of a file that was uploaded to it, or `fetch_urls`",
    says_tier: true,
    refused: &[],
    embeds: true,
};

pub(crate) const VERTEX: Host = Host {
    files: "gs://",
    files_hint: "nothing is fetched there: give the bytes as base64, the `gs://` address of an object in Cloud Storage, or `fetch_urls`",
    says_tier: false,
    refused: &["store"],
    embeds: false,
};

#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) structured_outputs: bool,
    pub(crate) host: Host,
}

pub(super) type Job<'r> = crate::job::Job<'r, Family>;

impl Encoder {
    pub(crate) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let job = Job { request, options, family: models::family(options.model) };
        if request.kind == Kind::Embedding && self.host.embeds {
            return embed::encode(&job, out);
        }
        if request.kind != Kind::Chat {
            let name = request.kind.name();
            return Err(job.unsupported("kind", format!("bulkrate does not speak Gemini's {name} API")));
        }
        let mut own = job.own()?;
        let config = own.within("generationConfig");
        let config = config.map_err(|why| job.unsupported("provider_kwargs.generationConfig", why))?;
        check_own(&job, &own, &config)?;
        if let Some(name) = self.host.refused.iter().find(|name| own.has(name)) {
            return Err(
                job.unsupported("provider_kwargs", format!("`{name}` is no field there; leave it out"))
            );
        }
        for name in ["generationConfig", "serviceTier", "service_tier", "model"] {
            own.remove(name);
        }
        job.refuse_two_schemas()?;
        check_config(&job)?;
        if !config.has("thinkingConfig") {
            check_reasoning(&job)?;
        }
        if !own.has("contents") {
            check_turns(&job, self.host)?;
        }
        self.write(&job, Object::open(out, own), config);
        Ok(())
    }

    fn write(&self, job: &Job<'_>, mut body: Object<'_, '_>, config: Own<'_>) {
        let prompts = job.prompts();
        if !prompts.is_empty() && body.key("systemInstruction") {
            body.out.extend_from_slice(b"{\"parts\":[{\"text\":");
            write_json_text(&prompts.join("\n\n"), body.out);
            body.out.extend_from_slice(b"}]}");
        }
        if body.key("contents") {
            array(job.split().1, body.out, write_turn);
        }
        if body.key("generationConfig") {
            self.write_config(job, Object::open(body.out, config));
        }
        if job.options.lane == Lane::Flex && self.host.says_tier {
            body.literal("serviceTier", "\"flex\"");
        }
        body.close();
    }

    fn write_config(&self, job: &Job<'_>, mut body: Object<'_, '_>) {
        let config = job.config();
        body.number("maxOutputTokens", job.max_tokens());
        body.number("temperature", config.temperature);
        body.number("topP", config.top_p);
        body.number("topK", config.top_k);
        body.number("seed", config.seed);
        body.number("presencePenalty", config.presence_penalty);
        body.number("frequencyPenalty", config.frequency_penalty);
        if !config.stop_sequences.is_empty() && body.key("stopSequences") {
            array(&config.stop_sequences, body.out, |stop, out| write_json_text(stop, out));
        }
        if let Some(thinking) = thinking(job) {
            body.literal("thinkingConfig", &thinking);
        }
        let shaped = config.output_schema.is_some() || !config.choices.is_empty();
        let has_own = ["responseSchema", "responseJsonSchema"].into_iter().any(|name| body.own().has(name));
        if shaped && self.structured_outputs && !has_own {
            body.literal("responseMimeType", "\"application/json\"");
            body.key("responseJsonSchema");
            match config.output_schema {
                // What the API does not know of a schema it passes over; the answer is checked here against all of it.
                Some(schema) => write_on_one_line(schema.get(), body.out),
                None => write_choices_schema(&config.choices, body.out),
            }
        }
        body.close();
    }
}

/// What would be paid for and then not be read, or be paid for by another price than the one that was reserved.
fn check_own(job: &Job<'_>, own: &Own<'_>, config: &Own<'_>) -> Result<(), Unsupported> {
    if own.has("generation_config") {
        let why = "write it `generationConfig`, as the rest of it is added to yours";
        return Err(job.unsupported("provider_kwargs.generation_config", why));
    }
    // Both spellings are taken there, and one only is looked for here.
    if let Some(name) = config.names().find(|name| name.contains('_')) {
        let why = format!("`{name}`: write the fields of `generationConfig` as `maxOutputTokens` is written");
        return Err(job.unsupported("provider_kwargs.generationConfig", why));
    }
    if let Some((field, name, why)) = REFUSED.iter().find(|(_, name, _)| config.has(name)) {
        return Err(job.unsupported(field, format!("`{name}`: {why}")));
    }
    let tools: Vec<std::collections::BTreeMap<String, serde::de::IgnoredAny>> = own
        .get("tools")
        .map_or(Ok(Vec::new()), serde_json::from_str)
        .map_err(|error| job.unsupported("provider_kwargs.tools", format!("not a list of tools: {error}")))?;
    let is_plain = |name: &String| matches!(name.as_str(), "functionDeclarations" | "function_declarations");
    if tools.iter().any(|tool| !tool.keys().all(is_plain)) {
        let why = "what this tool costs besides tokens is not known here; functions can be declared";
        return Err(job.unsupported("provider_kwargs.tools", why));
    }
    Ok(())
}

fn check_config(job: &Job<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    if config.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return Err(job.unsupported("temperature", "Gemini takes 0 to 2"));
    }
    if config.top_p.is_some_and(|value| !(0.0..=1.0).contains(&value)) && differs(config.top_p) {
        return Err(job.unsupported("top_p", "Gemini takes 0 to 1"));
    }
    if config.stop_sequences.len() > STOPS_MAX {
        return Err(job.unsupported("stop_sequences", format!("Gemini takes {STOPS_MAX}")));
    }
    Ok(())
}

fn check_reasoning(job: &Job<'_>) -> Result<(), Unsupported> {
    let refused = |why: String| Err(job.unsupported("reasoning", why));
    match (job.config().reasoning, job.family.thinks) {
        (None | Some(Reasoning::None), Thinks::Never) => Ok(()),
        (Some(_), Thinks::Never) => refused("this model does not reason; leave it out".to_owned()),
        (Some(Reasoning::None), Thinks::Level { .. } | Thinks::Budget { off: false, .. }) => {
            refused("this model always reasons; leave it out, and it does so as little as it can".to_owned())
        }
        (Some(Reasoning::Tokens(_)), Thinks::Level { .. }) => {
            refused("this model takes an effort (`low`, `medium`, `high`), not tokens".to_owned())
        }
        (Some(Reasoning::Tokens(tokens)), Thinks::Budget { least, most, .. })
            if !(least..=most).contains(&tokens) =>
        {
            refused(format!("this model takes {least} to {most} tokens"))
        }
        _ => budget(job).map_or(Ok(()), |budget| job.refuse_budget(budget)),
    }
}

/// The tokens that the model is told to think with, where it is told in tokens. Nothing said is as little as it can: by itself it
/// would think more than the usual output maximum leaves room for.
fn budget(job: &Job<'_>) -> Option<u32> {
    let Thinks::Budget { least, most, off } = job.family.thinks else { return None };
    Some(match job.config().reasoning {
        None | Some(Reasoning::None) => {
            if off {
                0
            } else {
                least
            }
        }
        Some(said) => said.allowance().min(most),
    })
}

fn thinking(job: &Job<'_>) -> Option<String> {
    if let Some(budget) = budget(job) {
        return Some(format!("{{\"thinkingBudget\":{budget}}}"));
    }
    let Thinks::Level { least } = job.family.thinks else { return None };
    let level = match job.config().reasoning {
        Some(Reasoning::Low) => "LOW",
        Some(Reasoning::Medium) => "MEDIUM",
        Some(Reasoning::High) => "HIGH",
        None | Some(Reasoning::None | Reasoning::Tokens(_)) => least,
    };
    Some(format!("{{\"thinkingLevel\":\"{level}\"}}"))
}

fn check_turns(job: &Job<'_>, host: Host) -> Result<(), Unsupported> {
    job.refuse_turns(SERVICE, "contents")?;
    let (_, turns) = job.split();
    for turn in turns {
        let Content::Parts(parts) = &turn.content else { continue };
        for part in parts {
            let (field, blob, known) = match part {
                Part::Text { .. } => continue,
                Part::Image(blob) => ("messages.image", blob, IMAGES),
                Part::Document(blob) => ("messages.document", blob, DOCUMENTS),
            };
            job.refuse_blob((field, turn.role, blob), SERVICE, known)?;
            if !host.reads(blob) {
                return Err(job.unsupported(field, host.files_hint));
            }
        }
    }
    if turns.last().is_some_and(|last| last.role == Role::Assistant) {
        let why = "Gemini does not continue a turn of its own; end with the `user`'s";
        return Err(job.unsupported("messages", why));
    }
    Ok(())
}

fn write_turn(message: &Message<'_>, out: &mut Vec<u8>) {
    let role = if message.role == Role::Assistant { "model" } else { "user" };
    out.extend_from_slice(format!("{{\"role\":\"{role}\",\"parts\":").as_bytes());
    match &message.content {
        Content::Text(text) => array([text], out, |text, out| write_text(text, out)),
        Content::Parts(parts) => {
            // An empty text is refused, and says nothing.
            let is_said = |part: &&Part<'_>| !matches!(part, Part::Text { text } if text.is_empty());
            array(parts.iter().filter(is_said), out, |part, out| match part {
                Part::Text { text } => write_text(text, out),
                Part::Image(blob) | Part::Document(blob) => write_blob(blob, out),
            });
        }
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"text\":");
    write_json_text(text, out);
    out.push(b'}');
}

fn write_blob(blob: &Blob<'_>, out: &mut Vec<u8>) {
    let (kind, place) = match blob.source_type {
        SourceType::Base64 => ("inlineData", "data"),
        SourceType::Url => ("fileData", "fileUri"),
    };
    out.extend_from_slice(format!("{{\"{kind}\":{{\"mimeType\":").as_bytes());
    write_json_text(&blob.media_type, out);
    out.extend_from_slice(format!(",\"{place}\":").as_bytes());
    write_json_text(&blob.data, out);
    out.extend_from_slice(b"}}");
}
