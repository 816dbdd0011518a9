//! POST /v1/messages: Anthropic's paid call.

mod read;
mod rules;
mod write;

use super::prompt_cache::{self, Breakpoint};
use super::text::{self, TextCall};
use super::{Context, Prepared};
use crate::errors::{ApiError, invalid};
use crate::tokens::Usage;
pub(super) use read::read;
pub(super) use rules::{cached_from, generation};
use serde_json::value::RawValue;

/// A request, read.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    pub(super) text: TextCall<'a>,
    thinking: Thinking,
    /// Given, and not its default.
    samples: Vec<(&'static str, f64)>,
    /// The last turn is the model's own.
    prefills: bool,
    effort: Option<String>,
    schema: Option<&'a RawValue>,
    /// The tool that must be called, by name.
    tool: Option<String>,
    breakpoints: Vec<Breakpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Thinking {
    #[default]
    Unsaid,
    Disabled,
    Adaptive,
    Enabled {
        budget: u64,
    },
}

impl Call<'_> {
    /// Appends the message.
    pub(super) fn answer(
        &self,
        prepared: &Prepared<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Usage, ApiError> {
        let model = prepared.model;
        rules::check(self, model)?;
        let mut composed = text::compose(&self.text, model, context)?;
        let least = cached_from(&model.id);
        prompt_cache::touch(prepared, context, least, &self.breakpoints, &mut composed.usage);
        write::message(out, prepared, self, &composed, context);
        Ok(composed.usage)
    }
}

#[cfg(test)]
mod tests;
