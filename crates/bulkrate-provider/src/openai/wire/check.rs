//! What a request may ask of a service and of a model: refused here, before a byte is written.

use bulkrate_core::request::{Blob, Content, Kind, Part, Reasoning, Role, SourceType};

use super::encode::{Encoder, Job};
use super::models::Sampling;
use crate::api::Unsupported;
use crate::job::{differs, penalizes};
use crate::json::object::Own;
use crate::settings::ChatEndpoint;

/// Stop sequences that OpenAI takes.
const STOPS_MAX: usize = 4;
/// The least output maximum that the Responses API takes.
const RESPONSES_OUTPUT_MIN: u32 = 16;

impl Encoder {
    /// Refuses what the model cannot take, before a byte is written.
    pub(super) fn check(&self, job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
        let is_responses = self.chat_endpoint == ChatEndpoint::Responses;
        job.refuse_two_schemas()?;
        if is_responses {
            check_responses(job)?;
        }
        self.check_parts(job)?;
        self.check_taken(job, own)?;
        if self.dialect.checks_models {
            check_model(job, own)?;
        }
        Ok(())
    }

    /// Whether a part is taken as it is given: as text, as bytes, or by an address that the service fetches from.
    pub(super) fn reads(&self, part: &Part<'_>) -> bool {
        match part {
            Part::Image(Blob { source_type: SourceType::Url, .. }) => self.dialect.takes.addresses,
            Part::Document(Blob { source_type: SourceType::Url, .. }) => {
                self.chat_endpoint == ChatEndpoint::Responses
            }
            _ => true,
        }
    }

    /// Parts and roles that the API cannot carry.
    fn check_parts(&self, job: &Job<'_>) -> Result<(), Unsupported> {
        for message in &job.request.messages {
            if message.role == Role::Tool && message.tool_call_id.is_none() {
                return Err(job.unsupported("messages", "a message with role `tool` needs `tool_call_id`"));
            }
            let Content::Parts(parts) = &message.content else { continue };
            let beside = parts.iter().filter_map(|part| Some((part, part.medium()?)));
            for (part, medium) in beside {
                if !self.reads(part) {
                    let name = medium.name();
                    let why = format!(
                        "{name}s go there as base64, not by URL; `fetch_urls` brings them here first"
                    );
                    return Err(job.unsupported("messages", why));
                }
                if message.role != Role::User {
                    let why = "images and documents stand only in messages with role `user`";
                    return Err(job.unsupported("messages", why));
                }
            }
        }
        Ok(())
    }

    pub(super) fn lacks(&self, job: &Job<'_>, field: &'static str) -> Unsupported {
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
            ("messages.image", job.has_part(|part| matches!(part, Part::Image(_))) && !takes.images),
            ("messages.document", job.has_part(|part| matches!(part, Part::Document(_))) && !takes.documents),
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
}

/// What would be paid for and then not be read.
pub(super) fn refuse_lost_answers(job: &Job<'_>, own: &Own<'_>) -> Result<(), Unsupported> {
    job.refuse_stream(own)?;
    if own.get("background").is_some_and(|background| background == "true") {
        return Err(
            job.unsupported("provider_kwargs.background", "its answer is only a receipt; leave it out")
        );
    }
    if own.get("n").is_some_and(|n| !matches!(n, "1" | "null")) {
        return Err(job
            .unsupported("provider_kwargs.n", "one answer is kept for each request; use `sample` for more"));
    }
    if job.request.kind == Kind::Embedding {
        job.one_input(own.has("input"))?;
    }
    Ok(())
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
            ("presence_penalty", penalizes(config.presence_penalty)),
            ("frequency_penalty", penalizes(config.frequency_penalty)),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, given)| *given) {
            return Err(job.unsupported(field, "reasoning models refuse it"));
        }
    }
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
