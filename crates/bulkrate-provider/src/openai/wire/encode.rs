//! Writes requests as bodies of chat completions, responses, embeddings and moderations.
//!
//! The caller's own fields win over ours and are copied as he wrote them, but for two: the service tier, which the lane
//! decides, and the output maximum where the options set one.

use bulkrate_core::lane::Lane;
use bulkrate_core::request::{
    Blob, Config, Content, Kind, Message, Part, Reasoning, Request, Role, SourceType, Text, write_json_text,
};

use super::models::{self, Family, Sampling};
use super::object::{Object, Own, array, write_on_one_line};
use super::schema::StrictCheck;
use crate::api::{Unsupported, WireOptions};
use crate::openai::{Charges, Dialect, OutputMax};
use crate::settings::ChatEndpoint;

/// Stop sequences that OpenAI takes.
const STOPS_MAX: usize = 4;
/// The least output maximum that the Responses API takes.
const RESPONSES_OUTPUT_MIN: u32 = 16;

#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) dialect: Dialect,
    pub(super) chat_endpoint: ChatEndpoint,
    pub(super) structured_outputs: bool,
    pub(super) strict: StrictCheck,
}

/// What one request is written with.
struct Job<'r> {
    request: &'r Request<'r>,
    options: WireOptions<'r>,
    family: &'static Family,
}

impl Job<'_> {
    fn unsupported(&self, field: &'static str, why: impl Into<String>) -> Unsupported {
        Unsupported { field, model: self.options.model.to_owned(), why: why.into() }
    }

    fn config(&self) -> &Config<'_> {
        &self.request.generation_config
    }

    fn max_tokens(&self) -> Option<u32> {
        self.options.max_tokens.or(self.config().max_tokens)
    }
}

impl Encoder {
    pub(super) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let job = Job { request, options, family: models::family(options.model) };
        let mut own =
            Own::read(request.provider_kwargs).map_err(|why| job.unsupported("provider_kwargs", why))?;
        refuse_lost_answers(&job, &own)?;
        if !self.dialect.takes.kinds.contains(&request.kind) {
            let name = self.dialect.name;
            return Err(
                job.unsupported("kind", format!("`{name}` has no {} API of this shape", request.kind.name()))
            );
        }
        if self.dialect.has_tiers {
            own.remove("service_tier"); // the lane decides it, and with it the price
        }
        match request.kind {
            Kind::Chat => {
                self.check(&job, &own)?;
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
        }
        Ok(())
    }

    /// Refuses what the model cannot take, before a byte is written.
    fn check(&self, job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
        let config = job.config();
        let is_responses = self.chat_endpoint == ChatEndpoint::Responses;
        if !config.choices.is_empty() && config.output_schema.is_some() {
            return Err(job.unsupported("output_schema", "`choices` is its own schema; give one of the two"));
        }
        if is_responses {
            check_responses(job)?;
        }
        check_parts(job, is_responses)?;
        self.check_taken(job, own)?;
        if self.dialect.checks_models {
            check_model(job, own)?;
        }
        Ok(())
    }

    fn lacks(&self, job: &Job<'_>, field: &'static str) -> Unsupported {
        job.unsupported(
            field,
            format!(
                "`{}` is not known to take it; `provider_kwargs` sends what you write",
                self.dialect.name
            ),
        )
    }

    /// Refuses what the service does not take, whatever the model.
    fn check_taken(&self, job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
        let (config, takes) = (job.config(), &self.dialect.takes);
        let has = |is: fn(&Part<'_>) -> bool| {
            job.request
                .messages
                .iter()
                .any(|message| matches!(&message.content, Content::Parts(parts) if parts.iter().any(is)))
        };
        let effort_is_taken = |reasoning: Reasoning| match reasoning {
            Reasoning::Tokens(_) => takes.budget.is_some(),
            effort => takes.efforts.iter().any(|(known, ..)| *known == effort),
        };
        let missing = [
            ("top_k", config.top_k.is_some() && !takes.top_k),
            ("presence_penalty", config.presence_penalty.is_some() && !takes.penalties),
            ("frequency_penalty", config.frequency_penalty.is_some() && !takes.penalties),
            ("seed", config.seed.is_some() && takes.seed.is_none()),
            ("reasoning", config.reasoning.is_some_and(|reasoning| !effort_is_taken(reasoning))),
            ("messages.image", has(|part| matches!(part, Part::Image(_))) && !takes.images),
            ("messages.document", has(|part| matches!(part, Part::Document(_))) && !takes.documents),
        ];
        if let Some((field, _)) = missing.into_iter().find(|(_, refused)| *refused) {
            return Err(self.lacks(job, field));
        }
        // Without it the schema would be checked here only, and the model would not know of it.
        if config.output_schema.is_some()
            && !takes.schema
            && self.structured_outputs
            && !own.has("response_format")
        {
            return Err(job.unsupported(
                "output_schema",
                format!(
                    "`{}` takes no schema; describe the answer in the prompt and set `structured_outputs = false`",
                    self.dialect.name
                ),
            ));
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
            let strict = self.strict.is_strict(schema);
            out.extend_from_slice(format!("\"name\":\"answer\",\"strict\":{strict},\"schema\":").as_bytes());
            write_on_one_line(schema.get(), out);
            return;
        }
        out.extend_from_slice(
            b"\"name\":\"choice\",\"strict\":true,\"schema\":{\"type\":\"object\",\"properties\":{\"answer\":{\"type\":\"string\",\"enum\":",
        );
        array(&config.choices, out, |choice, out| write_json_text(choice, out));
        out.extend_from_slice(b"}},\"required\":[\"answer\"],\"additionalProperties\":false}");
    }

    fn tier(&self, job: &Job<'_>, body: &mut Object<'_, '_>) {
        if !self.dialect.has_tiers {
            return;
        }
        match job.options.lane {
            Lane::Batch => {}
            Lane::Flex => body.text("service_tier", "flex"),
            Lane::Sync => body.text("service_tier", "default"),
        }
    }
}

/// What would be paid for and then not be read.
fn refuse_lost_answers(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    if own.get("stream").is_some_and(|stream| stream == "true") {
        return Err(job.unsupported("provider_kwargs.stream", "answers are read whole; leave it out"));
    }
    if own.get("background").is_some_and(|background| background == "true") {
        return Err(
            job.unsupported("provider_kwargs.background", "its answer is only a receipt; leave it out")
        );
    }
    if own.get("n").is_some_and(|n| !matches!(n, "1" | "null")) {
        return Err(job
            .unsupported("provider_kwargs.n", "one answer is kept for each request; use `sample` for more"));
    }
    let inputs = job.request.input.len();
    if job.request.kind == Kind::Embedding && inputs != 1 && !own.has("input") {
        return Err(job.unsupported(
            "input",
            format!("an item has one vector, and here are {inputs} inputs; make one item of each"),
        ));
    }
    Ok(())
}

fn sends_reasoning(job: &Job<'_>, dialect: Dialect) -> bool {
    // A model that cannot reason obeys `none` by itself, and refuses the word.
    !dialect.checks_models || job.family.reasons
}

/// Parameters that the Responses API does not have.
fn check_responses(job: &Job<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    let missing = [
        ("stop_sequences", !config.stop_sequences.is_empty()),
        ("presence_penalty", config.presence_penalty.is_some()),
        ("frequency_penalty", config.frequency_penalty.is_some()),
        ("seed", config.seed.is_some()),
        ("top_k", config.top_k.is_some()),
    ];
    if let Some((field, _)) = missing.into_iter().find(|(_, given)| *given) {
        return Err(job.unsupported(field, "the Responses API does not have it"));
    }
    if job.max_tokens().is_some_and(|tokens| tokens < RESPONSES_OUTPUT_MIN) {
        return Err(
            job.unsupported("max_tokens", format!("the Responses API takes {RESPONSES_OUTPUT_MIN} or more"))
        );
    }
    if job.request.messages.iter().any(|message| message.role == Role::Tool) {
        return Err(
            job.unsupported("messages", "tool results go to the Responses API as `provider_kwargs.input`")
        );
    }
    Ok(())
}

/// Parts and roles that the API cannot carry.
fn check_parts(job: &Job<'_>, is_responses: bool) -> Result<(), Unsupported> {
    for message in &job.request.messages {
        if message.role == Role::Tool && message.tool_call_id.is_none() {
            return Err(job.unsupported("messages", "a message with role `tool` needs `tool_call_id`"));
        }
        let Content::Parts(parts) = &message.content else { continue };
        for part in parts {
            match part {
                Part::Document(blob) if blob.source_type == SourceType::Url && !is_responses => {
                    return Err(
                        job.unsupported("messages", "chat completions take documents as base64, not by URL")
                    );
                }
                Part::Image(_) | Part::Document(_) if message.role != Role::User => {
                    return Err(job.unsupported(
                        "messages",
                        "images and documents stand only in messages with role `user`",
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The parameter matrix.
fn check_model(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    let (config, family) = (job.config(), job.family);
    if config.top_k.is_some() {
        return Err(job.unsupported("top_k", "OpenAI has no such parameter"));
    }
    if config.stop_sequences.len() > STOPS_MAX {
        return Err(job.unsupported("stop_sequences", format!("OpenAI takes at most {STOPS_MAX}")));
    }
    if !family.stops {
        let refused = [
            ("stop_sequences", !config.stop_sequences.is_empty()),
            ("presence_penalty", config.presence_penalty.is_some_and(|penalty| penalty.abs() > 0.0)),
            ("frequency_penalty", config.frequency_penalty.is_some_and(|penalty| penalty.abs() > 0.0)),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, given)| *given) {
            return Err(job.unsupported(field, "reasoning models refuse it"));
        }
    }
    let differs = |value: Option<f64>| value.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON);
    let sampled = [("temperature", differs(config.temperature)), ("top_p", differs(config.top_p))];
    if let Some((field, _)) = sampled.into_iter().find(|(_, differs)| *differs) {
        let chosen_by_caller = own.has("reasoning_effort") || own.has("reasoning");
        match family.sampling {
            Sampling::Never => return Err(job.unsupported(field, "this model takes only the default of 1")),
            Sampling::WithoutReasoning if config.reasoning != Some(Reasoning::None) && !chosen_by_caller => {
                return Err(job.unsupported(
                    field,
                    "this model takes it only without reasoning; set `reasoning` to `none`",
                ));
            }
            Sampling::Free | Sampling::WithoutReasoning => {}
        }
    }
    check_reasoning(job)
}

fn check_reasoning(job: &Job<'_>) -> Result<(), Unsupported> {
    match job.config().reasoning {
        Some(Reasoning::Tokens(_)) => Err(job.unsupported(
            "reasoning",
            "OpenAI takes an effort (`none`, `low`, `medium`, `high`), not tokens",
        )),
        Some(Reasoning::None) if !job.family.reasoning_off => {
            Err(job.unsupported("reasoning", "this model always reasons; the least effort here is `low`"))
        }
        Some(effort) if effort != Reasoning::None && !job.family.reasons => {
            Err(job.unsupported("reasoning", "this model does not reason; leave it out or set it to `none`"))
        }
        _ => Ok(()),
    }
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
fn write_input_item(message: &Message<'_>, out: &mut Vec<u8>) {
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
            out.extend_from_slice(b"{\"type\":\"input_image\",\"image_url\":");
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
