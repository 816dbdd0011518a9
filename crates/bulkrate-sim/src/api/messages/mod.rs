//! POST /v1/messages: Anthropic's paid call.

mod cache;
mod read;
mod rules;
mod write;

use super::text::{self, TextCall};
use super::{Context, Prepared};
use crate::errors::{ApiError, invalid};
use crate::rng::{mix, unit};
use crate::tokens::Usage;
use cache::Lookup;
pub(crate) use cache::PromptCache;
pub(super) use read::read;
pub(super) use rules::generation;
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
    breakpoints: Vec<cache::Breakpoint>,
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
        composed.usage.cached = 0; // nothing is cached unless it is asked for
        let found = unit(mix(context.key ^ 0x3A8C_00ED)) < context.config.marked_hits;
        let lookup =
            Lookup { model: model.index, least: rules::cached_from(&model.id), found, wait: context.wait };
        context.prompt_cache.apply(&lookup, &self.breakpoints, &mut composed.usage);
        write::message(out, prepared, self, &composed, context);
        Ok(composed.usage)
    }
}

#[cfg(test)]
mod tests;
