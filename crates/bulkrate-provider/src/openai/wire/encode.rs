//! Writes requests as bodies of chat completions, responses, embeddings and moderations; those of decisions stand in `decisions`.
//!
//! The caller's own fields win over ours and are copied as he wrote them, but for two: the service tier, which the lane
//! decides, and the output maximum where the options set one.

use std::collections::BTreeMap;

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{
    Blob, Config, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType, Text, write_json_text,
};

use super::check::refuse_lost_answers;
use super::models::{self, Family};
use super::schema;
use super::{decisions, images};
use crate::api::{Unsupported, WireOptions};
use crate::json::last::LastSchema;
use crate::json::object::{Object, array, write_on_one_line};
use crate::json::write_choices_schema;
use crate::openai::{Charges, Dialect, OutputMax, Tiers};
use crate::settings::{ChatEndpoint, Deployed};

#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) dialect: Dialect,
    pub(super) chat_endpoint: ChatEndpoint,
    pub(super) structured_outputs: bool,
    /// What deployments are said to serve, and by which name batches go to them.
    pub(super) deployments: BTreeMap<String, Deployed>,
    pub(super) strict: LastSchema<bool>,
}

pub(super) type Job<'r> = crate::job::Job<'r, &'static Family>;

impl Encoder {
    pub(super) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let deployed = self.deployments.get(options.model);
        let family = models::family(deployed.map_or(options.model, |there| &there.model));
        let job =
            Job { request, options: WireOptions { model: sent_to(deployed, options), ..options }, family };
        let mut own = job.own()?;
        refuse_lost_answers(&job, &own)?;
        if !self.dialect.takes.kinds.contains(&request.kind) {
            let name = self.dialect.name;
            return Err(
                job.unsupported("kind", format!("`{name}` has no {} API of this shape", request.kind.name()))
            );
        }
        if self.dialect.tiers != Tiers::Never {
            own.remove("service_tier"); // the lane decides it, and with it the price
        }
        match request.kind {
            Kind::Chat => {
                self.check(&job, &own)?;
                let told = || self.tells_no_logprobs(options.model, job.config().reasoning);
                if let Some(why) = options.alternatives.and_then(|_| told()) {
                    return Err(job.unsupported("logprobs", why));
                }
                if options.max_tokens.is_some() {
                    ["max_tokens", "max_completion_tokens", "max_output_tokens"]
                        .into_iter()
                        .for_each(|name| own.remove(name));
                }
                match self.chat_endpoint {
                    ChatEndpoint::ChatCompletions => self.chat(&job, Object::open(out, own)),
                    ChatEndpoint::Responses => self.responses(&job, Object::open(out, own)),
                }
            }
            Kind::Embedding => {
                if request.generation_config.dimensions.is_some() && !self.dialect.takes.dimensions {
                    return Err(self.lacks(&job, "dimensions"));
                }
                embedding(&job, self.dialect, Object::open(out, own));
            }
            Kind::Moderation => moderation(&job, Object::open(out, own)),
            Kind::Image => images::write(&job, Object::open(out, own))?,
            Kind::Decision => {
                decisions::check(&job, &own)?;
                decisions::write(&job, self.dialect.checks_models, Object::open(out, own));
            }
        }
        Ok(())
    }

    fn chat(&self, job: &Job<'_>, mut body: Object<'_, '_>) {
        let config = job.config();
        body.text("model", job.options.model);
        if !body.own().has("messages") {
            body.key("messages");
            let system = job.request.system_prompt.iter().map(Turn::System);
            array(system.chain(job.request.messages.iter().map(Turn::Message)), body.out, |turn, out| {
                turn.write(out);
            });
        }
        if !body.own().has("max_tokens") && !body.own().has("max_completion_tokens") {
            let name = match self.dialect.takes.output_max {
                OutputMax::MaxCompletionTokens => "max_completion_tokens",
                OutputMax::ByModel if job.family.reasons => "max_completion_tokens",
                OutputMax::ByModel | OutputMax::MaxTokens => "max_tokens",
            };
            body.number(name, job.max_tokens());
        }
        body.number("temperature", config.temperature.map(Float));
        body.number("top_p", config.top_p.map(Float));
        body.number("top_k", config.top_k);
        if !config.stop_sequences.is_empty() && body.key("stop") {
            array(&config.stop_sequences, body.out, |stop, out| write_json_text(stop, out));
        }
        body.number("presence_penalty", config.presence_penalty.map(Float));
        body.number("frequency_penalty", config.frequency_penalty.map(Float));
        if let Some(name) = self.dialect.takes.seed {
            body.number(name, config.seed);
        }
        self.reasoning(job, &mut body);
        if self.sends_format(config) && body.key("response_format") {
            body.out.extend_from_slice(b"{\"type\":\"json_schema\",\"json_schema\":{");
            self.format(config, body.out);
            body.out.extend_from_slice(b"}}");
        }
        if self.dialect.charges == Charges::Body {
            body.literal("usage", "{\"include\":true}");
        }
        self.ask_logprobs(job.options.alternatives, &mut body);
        self.tier(job, &mut body);
        body.close();
    }

    fn reasoning(&self, job: &Job<'_>, body: &mut Object<'_, '_>) {
        let takes = &self.dialect.takes;
        let Some(reasoning) = job.config().reasoning.filter(|_| sends_reasoning(job, self.dialect)) else {
            return;
        };
        if let (Reasoning::Tokens(tokens), Some((field, before, after))) = (reasoning, takes.budget) {
            body.literal(field, &format!("{before}{tokens}{after}"));
        }
        if let Some((_, field, value)) = takes.efforts.iter().find(|(known, ..)| *known == reasoning) {
            body.literal(field, value);
        }
    }

    fn responses(&self, job: &Job<'_>, mut body: Object<'_, '_>) {
        let config = job.config();
        body.text("model", job.options.model);
        match job.request.system_prompt.as_slice() {
            [] => {}
            prompts => body
                .text("instructions", &prompts.iter().map(|text| &**text).collect::<Vec<_>>().join("\n\n")),
        }
        if body.key("input") {
            array(&job.request.messages, body.out, write_input_item);
        }
        body.number("max_output_tokens", job.max_tokens());
        body.number("temperature", config.temperature.map(Float));
        body.number("top_p", config.top_p.map(Float));
        if let Some(effort) =
            config.reasoning.filter(|_| sends_reasoning(job, self.dialect)).and_then(models::effort)
            && body.key("reasoning")
        {
            body.out.extend_from_slice(format!("{{\"effort\":\"{effort}\"}}").as_bytes());
        }
        if self.sends_format(config) && body.key("text") {
            body.out.extend_from_slice(b"{\"format\":{\"type\":\"json_schema\",");
            self.format(config, body.out);
            body.out.extend_from_slice(b"}}");
        }
        body.literal("store", "false");
        self.ask_logprobs(job.options.alternatives, &mut body);
        self.tier(job, &mut body);
        body.close();
    }

    fn sends_format(&self, config: &Config<'_>) -> bool {
        self.structured_outputs
            && self.dialect.takes.schema
            && (!config.choices.is_empty() || config.output_schema.is_some())
    }

    /// The name, strictness and schema of a structured answer.
    fn format(&self, config: &Config<'_>, out: &mut Vec<u8>) {
        if let Some(schema) = config.output_schema {
            let strict = self.strict.of(schema, schema::is_strict_text);
            out.extend_from_slice(format!("\"name\":\"answer\",\"strict\":{strict},\"schema\":").as_bytes());
            write_on_one_line(schema.get(), out);
            return;
        }
        out.extend_from_slice(b"\"name\":\"choice\",\"strict\":true,\"schema\":");
        write_choices_schema(&config.choices, out);
    }

    fn tier(&self, job: &Job<'_>, body: &mut Object<'_, '_>) {
        match (job.options.lane, self.dialect.tiers) {
            (Lane::Batch, _) | (_, Tiers::Never) | (Lane::Sync, Tiers::Flex) => {}
            (Lane::Flex, _) => body.text("service_tier", "flex"),
            (Lane::Sync, Tiers::Always) => body.text("service_tier", "default"),
        }
    }
}

/// The name to send for the model: batches may go to a deployment of their own.
fn sent_to<'r>(deployed: Option<&'r Deployed>, options: WireOptions<'r>) -> &'r str {
    let for_batches =
        deployed.and_then(|there| there.batch.as_deref()).filter(|_| options.lane == Lane::Batch);
    for_batches.unwrap_or(options.model)
}

fn sends_reasoning(job: &Job<'_>, dialect: Dialect) -> bool {
    // A model that cannot reason obeys `none` by itself, and refuses the word.
    !dialect.checks_models || job.family.reasons
}

fn embedding(job: &Job<'_>, dialect: Dialect, mut body: Object<'_, '_>) {
    body.text("model", job.options.model);
    write_inputs(job, &mut body);
    if dialect.takes.base64_vectors {
        body.literal("encoding_format", "\"base64\"");
    }
    body.number("dimensions", job.config().dimensions);
    body.close();
}

fn moderation(job: &Job<'_>, mut body: Object<'_, '_>) {
    body.text("model", job.options.model);
    write_inputs(job, &mut body);
    body.close();
}

fn write_inputs(job: &Job<'_>, body: &mut Object<'_, '_>) {
    if !body.key("input") {
        return;
    }
    match job.request.input.as_slice() {
        [one] => write_json_text(one, body.out),
        many => array(many, body.out, |text, out| write_json_text(text, out)),
    }
}

/// A turn of a chat.
enum Turn<'r> {
    System(&'r Text<'r>),
    Message(&'r Message<'r>),
}

impl Turn<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let (role, content, call) = match self {
            Self::System(text) => {
                out.extend_from_slice(b"{\"role\":\"system\",\"content\":");
                write_json_text(text, out);
                out.push(b'}');
                return;
            }
            Self::Message(message) => (message.role.name(), &message.content, message.tool_call_id.as_ref()),
        };
        out.extend_from_slice(b"{\"role\":\"");
        out.extend_from_slice(role.as_bytes());
        out.extend_from_slice(b"\",\"content\":");
        match content {
            Content::Text(text) => write_json_text(text, out),
            Content::Parts(parts) => array(parts, out, write_part),
        }
        if let Some(call) = call {
            out.extend_from_slice(b",\"tool_call_id\":");
            write_json_text(call, out);
        }
        out.push(b'}');
    }
}

fn write_part(part: &Part<'_>, out: &mut Vec<u8>) {
    match part {
        Part::Text { text } => {
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
            write_json_text(text, out);
            out.push(b'}');
        }
        Part::Image(blob) => {
            out.extend_from_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":");
            write_url(blob, out);
            out.extend_from_slice(b"}}");
        }
        Part::Document(blob) => {
            out.extend_from_slice(b"{\"type\":\"file\",\"file\":{\"filename\":");
            write_json_text(&file_name(blob), out);
            out.extend_from_slice(b",\"file_data\":");
            write_url(blob, out);
            out.extend_from_slice(b"}}");
        }
    }
}

/// A message as an input item of the Responses API.
pub(super) fn write_input_item(message: &Message<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"role\":\"");
    out.extend_from_slice(message.role.name().as_bytes());
    out.extend_from_slice(b"\",\"content\":");
    let text_type = if message.role == Role::Assistant { "output_text" } else { "input_text" };
    match &message.content {
        Content::Text(text) => write_json_text(text, out),
        Content::Parts(parts) => array(parts, out, |part, out| write_input_part(part, text_type, out)),
    }
    out.push(b'}');
}

fn write_input_part(part: &Part<'_>, text_type: &str, out: &mut Vec<u8>) {
    match part {
        Part::Text { text } => {
            out.extend_from_slice(format!("{{\"type\":\"{text_type}\",\"text\":").as_bytes());
            write_json_text(text, out);
        }
        Part::Image(blob) => {
            // The field has a default, and the API's own types have it always.
            out.extend_from_slice(b"{\"type\":\"input_image\",\"detail\":\"auto\",\"image_url\":");
            write_url(blob, out);
        }
        Part::Document(blob) if blob.source_type == SourceType::Url => {
            out.extend_from_slice(b"{\"type\":\"input_file\",\"file_url\":");
            write_url(blob, out);
        }
        Part::Document(blob) => {
            out.extend_from_slice(b"{\"type\":\"input_file\",\"filename\":");
            write_json_text(&file_name(blob), out);
            out.extend_from_slice(b",\"file_data\":");
            write_url(blob, out);
        }
    }
    out.push(b'}');
}

/// The URL itself, or a `data:` URL around base64.
fn write_url(blob: &Blob<'_>, out: &mut Vec<u8>) {
    match blob.source_type {
        SourceType::Url => write_json_text(&blob.data, out),
        SourceType::Base64 => {
            out.extend_from_slice(b"\"data:");
            write_text_inside(&blob.media_type, out);
            out.extend_from_slice(b";base64,");
            write_text_inside(&blob.data, out);
            out.push(b'"');
        }
    }
}

/// A part of a JSON string, without its quotes.
fn write_text_inside(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut quoted = Vec::with_capacity(text.len() + 16);
    write_json_text(text, &mut quoted);
    out.extend_from_slice(&quoted[1..quoted.len() - 1]);
}

fn file_name(blob: &Blob<'_>) -> String {
    let subtype = blob.media_type.rsplit('/').next().unwrap_or("pdf");
    let extension = if subtype.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !subtype.is_empty() {
        subtype
    } else {
        "bin"
    };
    format!("document.{extension}")
}

/// A number as JSON writes it.
struct Float(f64);

impl std::fmt::Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No parameter is infinite; JSON could not carry it, so a null goes out and the provider says no.
        if self.0.is_finite() { write!(f, "{}", self.0) } else { f.write_str("null") }
    }
}
