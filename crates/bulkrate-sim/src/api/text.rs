//! What chat and responses have in common: a prompt in, a text of a given form and length out.

use super::logprobs::Doubt;
use super::params::{self, Effort};
use super::{Context, Twist};
use crate::answers::schema::Schema;
use crate::answers::{self, Format, Prompt};
use crate::catalogue::Model;
use crate::errors::ApiError;
use crate::rng::{hash, mix, unit};
use crate::tokens::{self, Usage};
use crate::weak;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A chat or responses request, read.
#[derive(Debug, Default)]
pub(crate) struct TextCall<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) prompt: Prompt<'a>,
    pub(crate) max_output: Option<u64>,
    /// The field that set it.
    pub(crate) max_name: &'static str,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) logprobs: bool,
    /// Likely tokens that are to be told in the place of each.
    pub(crate) top_logprobs: u64,
    /// First given parameter of those that reasoning models never take.
    pub(crate) refused_by_reasoning: Option<&'static str>,
    pub(crate) effort: Option<Cow<'a, str>>,
    pub(crate) effort_name: &'static str,
    pub(crate) tier: Cow<'a, str>,
    pub(crate) stream: bool,
    pub(crate) n: u64,
    pub(crate) format: FormatAsked<'a>,
    /// Echoed by responses.
    pub(crate) instructions: Option<&'a RawValue>,
    pub(crate) metadata: Option<&'a RawValue>,
    pub(crate) store: bool,
}

/// The answer's form as asked for.
#[derive(Debug, Default)]
pub(crate) enum FormatAsked<'a> {
    #[default]
    Text,
    /// Any object; the prompt must speak of JSON.
    JsonObject,
    /// The same, whatever the prompt says.
    AnyJson,
    Schema {
        name: Cow<'a, str>,
        schema: Cow<'a, RawValue>,
        strict: bool,
        param: &'static str,
    },
}

impl<'a> FormatAsked<'a> {
    /// A schema without a name.
    pub(crate) fn of(schema: Cow<'a, RawValue>, param: &'static str) -> Self {
        Self::Schema { name: Cow::Borrowed("answer"), schema, strict: false, param }
    }
}

/// An answer before it is wrapped in an endpoint's envelope.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) text: String,
    pub(crate) refused: bool,
    /// Cut by the output limit.
    pub(crate) cut: bool,
    pub(crate) usage: Usage,
    /// Of its log-probabilities, where they were asked for.
    pub(crate) doubt: Option<Doubt>,
}

/// Schemas seen so far, so that the lines of a batch compile theirs once.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    seen: Mutex<HashMap<u64, Result<Arc<Schema>, ApiError>>>,
}

const SCHEMAS_MAX: usize = 1_024;

impl Schemas {
    fn get(
        &self,
        name: &str,
        schema: &RawValue,
        strict: bool,
        param: &'static str,
    ) -> Result<Arc<Schema>, ApiError> {
        let key =
            hash(schema.get().as_bytes(), hash(name.as_bytes(), param.len() as u64) ^ u64::from(strict));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(&key) {
            return known.clone();
        }
        let read = serde_json::from_str(schema.get())
            .map_err(|_| ApiError::bad_type(param, "an object", schema.get()))
            .and_then(|value| Schema::compile(&value, strict, name, param).map(Arc::new));
        if seen.len() >= SCHEMAS_MAX {
            seen.clear();
        }
        seen.insert(key, read.clone());
        read
    }
}

/// Checks the parameters and produces the text and its usage.
pub(crate) fn compose(
    call: &TextCall<'_>,
    model: &Model,
    context: &Context<'_>,
) -> Result<Composed, ApiError> {
    compose_with(call, model, context, params::check(call, model)?)
}

/// The same for a model whose parameters were checked, and that thinks so much.
pub(crate) fn compose_with(
    call: &TextCall<'_>,
    model: &Model,
    context: &Context<'_>,
    effort: Effort,
) -> Result<Composed, ApiError> {
    let format = form(call, model, context.schemas)?;
    let prompt = call.prompt.tokens();
    if prompt > model.input_max {
        let message = format!(
            "This model's maximum context length is {} tokens. However, your messages resulted in {prompt} tokens.",
            model.input_max
        );
        return Err(ApiError::invalid(Some("context_length_exceeded"), "messages", message));
    }
    let key = call.prompt.key(context.config.seed);
    let errs =
        |items: usize, user: &str, key: u64| weak::is_at(&context.config.weak, &call.model, items, user, key);
    let bundled = answers::bundled::write(&call.prompt, &format, key, context.config.bundle_faults, &errs);
    let wrong = bundled.is_none() && errs(1, &call.prompt.user, key);
    let text = match context.twist {
        Twist::Refusal => "I'm sorry, but I can't help with that.".to_owned(),
        Twist::Empty => String::new(),
        Twist::BadJson if key & 1 == 0 => "{\"unexpected\":\"field\"}".to_owned(),
        Twist::BadJson => "{\"unexpected\": ".to_owned(),
        _ if wrong => answers::write_blindly(&call.prompt, &format, key),
        _ => bundled.unwrap_or_else(|| answers::write(&call.prompt, &format, key)),
    };
    let usage = Usage { prompt, cached: cached(context, prompt, key), ..Usage::default() };
    let doubt = (call.logprobs && context.twist != Twist::NoLogprobs).then(|| {
        let own = key ^ hash(call.model.as_bytes(), 0x10_9B);
        let top = usize::try_from(call.top_logprobs).unwrap_or(usize::MAX);
        Doubt::of(&call.prompt, &format, (key, own), wrong, top)
    });
    Ok(Composed { doubt, ..cap(text, call.max_output, effort, usage, context.twist) })
}

/// Cuts the text to what reasoning leaves of the output limit.
fn cap(
    mut text: String,
    max_output: Option<u64>,
    effort: Effort,
    mut usage: Usage,
    twist: Twist,
) -> Composed {
    let max = max_output.unwrap_or(u64::MAX);
    usage.reasoning = effort.tokens().min(max);
    let room = match twist {
        Twist::Length => tokens::of(&text) / 2,
        _ => max - usage.reasoning,
    };
    let cut = tokens::of(&text) > room || twist == Twist::Length;
    if cut {
        let bytes = usize::try_from(room.saturating_mul(4)).unwrap_or(usize::MAX).min(text.len());
        text.truncate(text.floor_char_boundary(bytes));
    }
    usage.output = usage.reasoning + tokens::of(&text);
    Composed { text, refused: twist == Twist::Refusal, cut, usage, doubt: None }
}

fn form(call: &TextCall<'_>, model: &Model, schemas: &Schemas) -> Result<Format, ApiError> {
    match &call.format {
        FormatAsked::Text => Ok(Format::Text),
        FormatAsked::AnyJson => Ok(Format::JsonObject),
        FormatAsked::JsonObject => {
            let says_json =
                |text: &str| text.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"));
            if says_json(&call.prompt.instructions) || says_json(&call.prompt.user) {
                return Ok(Format::JsonObject);
            }
            let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
            Err(ApiError::invalid(None, "messages", message))
        }
        FormatAsked::Schema { param, .. } if !model.json_schema => {
            let message = format!(
                "Invalid parameter: '{param}' of type 'json_schema' is not supported with this model."
            );
            Err(ApiError::invalid(None, param, message))
        }
        FormatAsked::Schema { name, schema, strict, param } => {
            let named = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if !named {
                let message = format!(
                    "Invalid '{param}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                );
                return Err(ApiError::invalid(Some("invalid_value"), &format!("{param}.name"), message));
            }
            Ok(Format::Schema(schemas.get(name, schema, *strict, param)?))
        }
    }
}

fn cached(context: &Context<'_>, prompt: u64, key: u64) -> u64 {
    let share = context.config.cached_share;
    if prompt < 1_024 || share <= 0.0 || unit(mix(key ^ 0xCAC4E)) >= share {
        return 0;
    }
    prompt * 3 / 4 / 128 * 128
}
