//! POST /model/{model}/converse: Bedrock's paid call. The model stands in the path.

mod read;
mod rules;
mod write;

use super::prompt_cache::{self, Breakpoint};
use super::text::{self, TextCall};
use super::{Context, Prepared};
use crate::catalogue::Lane;
use crate::errors::{ApiError, invalid};
use crate::tokens::Usage;
pub(super) use read::read;

/// A request, read.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    pub(super) text: TextCall<'a>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    effort: Option<String>,
    /// What is told beside Converse's own fields.
    extras: serde_json::Map<String, serde_json::Value>,
    /// The last turn is the model's own.
    prefills: bool,
    /// Tools are declared.
    pub(super) tools: bool,
    /// The tool that must be called, by name.
    tool: Option<String>,
    pub(super) shaped: bool,
    breakpoints: Vec<Breakpoint>,
}

impl Call<'_> {
    /// Appends the response.
    pub(super) fn answer(
        &self,
        prepared: &Prepared<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Usage, ApiError> {
        let effort = rules::check(self, prepared.model)?;
        let mut composed = text::compose_with(&self.text, prepared.model, context, effort)?;
        // In batches nothing is kept.
        let kept = if prepared.lane == Lane::Batch { None } else { rules::cached_from(&prepared.model.id) };
        let points = if kept.is_some() { &self.breakpoints[..] } else { &[] };
        prompt_cache::touch(prepared, context, kept.unwrap_or_default(), points, &mut composed.usage);
        write::response(out, prepared, self.tool.as_deref(), &composed, context);
        Ok(composed.usage)
    }
}

#[cfg(test)]
mod tests;
