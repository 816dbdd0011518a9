//! POST /v1/messages: Anthropic's paid call.

mod read;
mod rules;
mod write;

use super::prompt_cache::{self, Breakpoint};
use super::text::{self, TextCall};
use super::{Context, Prepared};
use crate::catalogue::Lane;
use crate::errors::{ApiError, invalid};
use crate::tokens::Usage;
pub(super) use read::{read, read_hosted};
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
    /// Tools are declared.
    pub(super) has_tools: bool,
    /// Sold by Amazon, where batches keep no prompts.
    hosted: bool,
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
    /// Whether the answer is to be of a schema.
    pub(super) fn is_shaped(&self) -> bool {
        self.schema.is_some()
    }

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
        let points = match self.hosted && prepared.lane == Lane::Batch {
            true => &[][..],
            false => &self.breakpoints[..],
        };
        let least = cached_from(rules::own_name(&model.id));
        prompt_cache::touch(prepared, context, least, points, &mut composed.usage);
        write::message(out, prepared, self, &composed, context);
        Ok(composed.usage)
    }
}

#[cfg(test)]
mod tests;
