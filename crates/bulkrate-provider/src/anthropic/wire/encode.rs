//! Writes requests as bodies of the Messages API.
//!
//! The caller's own fields win over ours and are copied as he wrote them, but for two: the service tier, which decides the price, and
//! the output maximum where the options set one.

use bulkrate_core::prompt_cache::Ttl;
use bulkrate_core::request::{Config, Kind, Part, Reasoning, Request, Role, write_json_text};
use serde::Deserialize;

use super::blocks::{write_halves, write_text, write_turn};
use super::host::Host;
use super::models::{self, Family, Thinks};
use super::schema::{self, Translated};
use crate::api::{Unsupported, WireOptions};
use crate::job::differs;
use crate::json::last::LastSchema;
use crate::json::loose::LooseText;
use crate::json::object::{Object, Own, array};
use crate::json::write_choices_schema;

/// The least budget of thinking that is taken.
const BUDGET_MIN: u32 = 1_024;
/// Where the caller may have set marks of his own.
const MARKED: [&str; 4] = [models::MARK, "system", "messages", "tools"];
const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

#[derive(Debug)]
pub(crate) struct Encoder {
    structured_outputs: bool,
    schemas: LastSchema<Translated>,
    host: Host,
    /// The version of the API has sampling parameters.
    samples: bool,
}

pub(crate) type Job<'r> = crate::job::Job<'r, Family>;

impl<'r> Job<'r> {
    fn budget(&self) -> Option<u32> {
        match (self.config().reasoning?, self.family.thinks) {
            (Reasoning::None, _) => None,
            (Reasoning::Tokens(tokens), _) => Some(tokens),
            (effort, Thinks::Budget) => Some(effort.allowance()),
            _ => None,
        }
    }
}

impl Encoder {
    pub(crate) fn new(structured_outputs: bool) -> Self {
        Self { structured_outputs, schemas: LastSchema::default(), host: Host::Own, samples: true }
    }

    /// For a version of the API that has no sampling parameters.
    pub(crate) fn without_sampling(self) -> Self {
        Self { samples: false, ..self }
    }

    /// For the models that somebody else sells.
    pub(crate) fn of_host(host: Host, structured_outputs: bool) -> Self {
        Self { host, ..Self::new(structured_outputs) }
    }

    pub(crate) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        self.encode_as(options.model, request, options, out)
    }

    /// `name`: the maker's own of the model, which its host may call otherwise.
    pub(crate) fn encode_as(
        &self,
        name: &str,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let job = Job { request, options, family: models::family(name) };
        if request.kind != Kind::Chat {
            let name = request.kind.name();
            return Err(job.unsupported("kind", format!("Anthropic has no {name} API")));
        }
        let mut own = job.own()?;
        check_own(&job, &own)?;
        self.host.take(&mut own);
        if options.max_tokens.is_some() {
            own.remove("max_tokens");
        }
        check_missing(&job)?;
        check_sampling(&job)?;
        if !self.samples {
            refuse_sampling(&job, &own)?;
        }
        check_reasoning(&job, &own)?;
        if !own.has("messages") {
            job.check_turns(("Anthropic", "messages"), job.family.prefills, |role, part| {
                self.host.check(&job, part)?;
                check_part(&job, role, part)
            })?;
        }
        let format = self.format(&job, &own)?;
        let mut body = Object::open(out, own);
        self.host.begin(options.model, &mut body);
        write(&job, format.as_deref(), &mut body);
        self.host.end(&mut body);
        body.close();
        Ok(())
    }

    /// The schema of the answer, where one is sent.
    pub(crate) fn format(&self, job: &Job<'_>, own: &Own<'_>) -> Result<Option<String>, Unsupported> {
        let config = job.config();
        job.refuse_two_schemas()?;
        if !self.structured_outputs || own.has("output_config") {
            return Ok(None);
        }
        if let Some(schema) = config.output_schema {
            let schema = self.schemas.of(schema, schema::translate).map_err(|why| {
                job.unsupported(
                    "output_schema",
                    format!("{why}; describe the answer in the prompt and set `structured_outputs = false`"),
                )
            })?;
            return Ok(Some(schema.to_string()));
        }
        if config.choices.is_empty() {
            return Ok(None);
        }
        let mut schema = Vec::with_capacity(128);
        write_choices_schema(&config.choices, &mut schema);
        Ok(String::from_utf8(schema).ok())
    }
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseText<'a>,
}

/// Whether all of these tools run with the caller, which costs their tokens alone: what runs there is charged by use, or reads what
/// nothing bounds. What is no list of tools the service refuses.
pub(crate) fn run_with_the_caller(tools: &str) -> bool {
    const CALLERS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
    let tools: Vec<Tool<'_>> = serde_json::from_str(tools).unwrap_or_default();
    let is = |kind: &str| kind == "custom" || CALLERS.iter().any(|name| kind.starts_with(name));
    tools.iter().all(|tool| tool.kind.as_deref().is_none_or(is))
}

/// What would be paid for and then not be read, or be paid for by another price than the one that was reserved.
fn check_own(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    job.refuse_stream(own)?;
    if own.has("betas") || own.has("anthropic_beta") {
        let why = "betas are those of an account, for all its requests: set `betas` in `[provider]` of the job file";
        return Err(job.unsupported("provider_kwargs.betas", why));
    }
    let priced = [
        ("provider_kwargs.speed", "speed", ["\"standard\"", "null"]),
        ("provider_kwargs.inference_geo", "inference_geo", ["\"global\"", "null"]),
    ];
    for (field, name, usual) in priced {
        if own.get(name).is_some_and(|value| !usual.contains(&value)) {
            return Err(job.unsupported(field, "its price is not in the catalogue; leave it out"));
        }
    }
    let serves = own.get("mcp_servers").is_some_and(|servers| servers != "null");
    if serves || !own.get("tools").is_none_or(run_with_the_caller) {
        return Err(
            job.unsupported("provider_kwargs.tools", "what this tool costs besides tokens is not known here")
        );
    }
    let hour = || MARKED.into_iter().filter_map(|name| own.get(name)).any(|value| value.contains("\"1h\""));
    if job.options.mark != Some(Ttl::Hour) && hour() {
        let why = "to write the one-hour prompt cache costs more than is reserved for a request; say `--prompt-cache 1h`, or use the one of five minutes";
        return Err(job.unsupported("provider_kwargs.cache_control", why));
    }
    Ok(())
}

/// Parameters that the API does not have.
fn check_missing(job: &Job<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    job.refuse_absent("Anthropic")?;
    if job.max_tokens().is_none() {
        return Err(job.unsupported("max_tokens", "Anthropic needs it"));
    }
    if config.stop_sequences.iter().any(|stop| stop.trim().is_empty()) {
        return Err(job.unsupported("stop_sequences", "one of white space only is refused"));
    }
    Ok(())
}

pub(crate) fn check_sampling(job: &Job<'_>) -> Result<(), Unsupported> {
    let config = job.config();
    let Some(field) = sampled(config) else { return Ok(()) };
    if !job.family.samples {
        return Err(job.unsupported(field, "this model chooses its own; leave it out"));
    }
    if config.reasoning.is_some_and(|reasoning| reasoning != Reasoning::None) {
        return Err(
            job.unsupported(field, "this model takes it only without reasoning; set `reasoning` to `none`")
        );
    }
    if config.temperature.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        return Err(job.unsupported("temperature", "Anthropic takes 0 to 1"));
    }
    if differs(config.temperature) && differs(config.top_p) {
        return Err(job.unsupported("top_p", "this model takes either `temperature` or `top_p`"));
    }
    Ok(())
}

/// The first sampling parameter that is sent: that of a default is not.
fn sampled(config: &Config<'_>) -> Option<&'static str> {
    let given = [
        ("temperature", differs(config.temperature)),
        ("top_p", differs(config.top_p)),
        ("top_k", config.top_k.is_some()),
    ];
    given.into_iter().find_map(|(field, given)| given.then_some(field))
}

/// The newer version of the API refuses them at any value.
fn refuse_sampling(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    const OWN: [(&str, &str); 3] = [
        ("temperature", "provider_kwargs.temperature"),
        ("top_p", "provider_kwargs.top_p"),
        ("top_k", "provider_kwargs.top_k"),
    ];
    let own = OWN.into_iter().find_map(|(name, field)| own.has(name).then_some(field));
    let Some(field) = sampled(job.config()).or(own) else { return Ok(()) };
    Err(job.unsupported(field, "this version of the API has no sampling parameters; leave it out, or set `api_version` to 2023-06-01"))
}

pub(crate) fn check_reasoning(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    if own.has("thinking") {
        return Ok(()); // the caller's own words win
    }
    match job.config().reasoning {
        Some(Reasoning::None) if job.family.thinks == Thinks::Always => {
            return Err(
                job.unsupported("reasoning", "this model always reasons; the least effort here is `low`")
            );
        }
        Some(Reasoning::Tokens(_)) if !job.family.thinks.takes_tokens() => {
            return Err(job.unsupported(
                "reasoning",
                "this model takes an effort (`low`, `medium`, `high`), not tokens",
            ));
        }
        _ => {}
    }
    let Some(budget) = job.budget() else { return Ok(()) };
    if budget < BUDGET_MIN {
        return Err(job.unsupported("reasoning", format!("the least number of tokens is {BUDGET_MIN}")));
    }
    job.refuse_budget(budget)
}

fn check_part(job: &Job<'_>, role: Role, part: &Part<'_>) -> Result<(), Unsupported> {
    match part {
        Part::Text { .. } => Ok(()),
        Part::Image(blob) => job.refuse_blob(("messages.image", role, blob), "Anthropic", IMAGES),
        Part::Document(blob) => {
            job.refuse_blob(("messages.document", role, blob), "Anthropic", &["application/pdf"])
        }
    }
}

fn write(job: &Job<'_>, format: Option<&str>, body: &mut Object<'_, '_>) {
    let config = job.config();
    body.number("max_tokens", job.max_tokens());
    write_prompt(job, body);
    if !config.stop_sequences.is_empty() && body.key("stop_sequences") {
        array(&config.stop_sequences, body.out, |stop, out| write_json_text(stop, out));
    }
    for (name, value) in [("temperature", config.temperature), ("top_p", config.top_p)] {
        if let Some(value) = value.filter(|_| differs(value)) {
            body.literal(name, &format!("{value}"));
        }
    }
    body.number("top_k", config.top_k);
    let effort = write_thinking(job, body);
    if (effort.is_some() || format.is_some()) && body.key("output_config") {
        write_output_config(effort, format, body.out);
    }
}

/// The system prompt and the turns. What stands before the last turn is what requests may have in common: its end is marked, and the end
/// of what some share within it. Nothing is where the caller has set marks himself.
fn write_prompt(job: &Job<'_>, body: &mut Object<'_, '_>) {
    let (_, turns) = job.split();
    let marked = is_marked(body.own());
    let (mark, before_last) = (job.options.mark.filter(|_| !marked), turns.len().saturating_sub(1));
    let halves = if marked { None } else { job.halves() };
    let of_system = mark.filter(|_| before_last == 0);
    match job.prompts().as_slice() {
        [] => {}
        [one] if of_system.is_none() => body.text("system", one),
        many => {
            if body.key("system") {
                let last = many.len() - 1;
                array(many.iter().enumerate(), body.out, |(at, text), out| {
                    write_text(text, of_system.filter(|_| at == last), out);
                });
            }
        }
    }
    if body.key("messages") {
        array(turns.iter().enumerate(), body.out, |(at, turn), out| match halves {
            Some(halves) if at == before_last => write_halves(turn.role, halves, out),
            _ => write_turn(turn, mark.filter(|_| at + 1 == before_last), out),
        });
    }
}

fn is_marked(own: &Own<'_>) -> bool {
    let sets = |name: &str| {
        own.get(name).is_some_and(|value| name == MARKED[0] || value.contains("\"cache_control\""))
    };
    MARKED.into_iter().any(sets)
}

/// The effort that goes with it, where the model thinks as it sees fit.
pub(crate) fn write_thinking(job: &Job<'_>, body: &mut Object<'_, '_>) -> Option<&'static str> {
    let reasoning = job.config().reasoning?;
    if let Some(budget) = job.budget() {
        body.literal("thinking", &format!("{{\"type\":\"enabled\",\"budget_tokens\":{budget}}}"));
        return None;
    }
    let effort = match reasoning {
        Reasoning::Low => "low",
        Reasoning::Medium => "medium",
        Reasoning::High => "high",
        Reasoning::None | Reasoning::Tokens(_) => {
            body.literal("thinking", "{\"type\":\"disabled\"}");
            return None;
        }
    };
    body.literal("thinking", "{\"type\":\"adaptive\"}");
    job.family.thinks.adapts().then_some(effort)
}

fn write_output_config(effort: Option<&str>, format: Option<&str>, out: &mut Vec<u8>) {
    let effort = effort.map(|effort| format!("\"effort\":\"{effort}\""));
    let format = format.map(|schema| format!("\"format\":{{\"type\":\"json_schema\",\"schema\":{schema}}}"));
    let fields: Vec<String> = effort.into_iter().chain(format).collect();
    out.extend_from_slice(format!("{{{}}}", fields.join(",")).as_bytes());
}
