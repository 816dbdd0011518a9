//! POST /v1beta/models/{model}:generateContent: Gemini's paid call. The model stands in the path.

mod read;
mod rules;
mod write;

use super::text::{self, TextCall};
use super::{Context, Prepared, Twist};
use crate::errors::{ApiError, invalid};
use crate::tokens::Usage;
pub(super) use read::read;

/// A request, read.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    pub(super) text: TextCall<'a>,
    thinking: Thinking,
    temperature: Option<f64>,
    stops: usize,
    candidates: u64,
    /// The function that must be called, by name.
    function: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Thinking {
    #[default]
    Unsaid,
    Budget(i64),
    Level(String),
}

impl Call<'_> {
    /// Appends the response.
    pub(super) fn answer(
        &self,
        prepared: &Prepared<'_>,
        context: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Usage, ApiError> {
        let model = prepared.model;
        let effort = rules::check(self, model)?;
        let mut composed = text::compose_with(&self.text, model, context, effort)?;
        // Some prompts are not let through at all: nothing is written, and nothing of that is paid.
        let blocked = context.twist == Twist::Refusal && context.key & 1 == 0;
        if blocked {
            (composed.usage.output, composed.usage.reasoning) = (0, 0);
        }
        write::response(out, prepared, self.function.as_deref(), &composed, blocked, context);
        Ok(composed.usage)
    }
}

#[cfg(test)]
mod tests;
