//! What one request is written with, and what every wire refuses of it in the same words.

use bulkrate_core::request::{Config, Request};

use crate::api::{Unsupported, WireOptions};
use crate::json::object::Own;

/// `F` is what a wire knows of the model.
pub(crate) struct Job<'r, F> {
    pub(crate) request: &'r Request<'r>,
    pub(crate) options: WireOptions<'r>,
    pub(crate) family: F,
}

impl<'r, F> Job<'r, F> {
    pub(crate) fn unsupported(&self, field: &'static str, why: impl Into<String>) -> Unsupported {
        Unsupported { field, model: self.options.model.to_owned(), why: why.into() }
    }

    pub(crate) fn config(&self) -> &'r Config<'r> {
        &self.request.generation_config
    }

    pub(crate) fn max_tokens(&self) -> Option<u32> {
        self.options.max_tokens.or(self.config().max_tokens)
    }

    /// The caller's own fields.
    pub(crate) fn own(&self) -> Result<Own<'r>, Unsupported> {
        Own::read(self.request.provider_kwargs).map_err(|why| self.unsupported("provider_kwargs", why))
    }

    pub(crate) fn refuse_stream(&self, own: &Own<'_>) -> Result<(), Unsupported> {
        match own.get("stream") {
            Some("true") => {
                Err(self.unsupported("provider_kwargs.stream", "answers are read whole; leave it out"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn refuse_two_schemas(&self) -> Result<(), Unsupported> {
        let config = self.config();
        if config.choices.is_empty() || config.output_schema.is_none() {
            return Ok(());
        }
        Err(self.unsupported("output_schema", "`choices` is its own schema; give one of the two"))
    }
}

/// Whether a setting differs from its default of 1.
pub(crate) fn differs(value: Option<f64>) -> bool {
    value.is_some_and(|value| (value - 1.0).abs() > f64::EPSILON)
}

/// Whether a penalty is given. One of 0 is none.
pub(crate) fn penalizes(penalty: Option<f64>) -> bool {
    penalty.is_some_and(|penalty| penalty.abs() > 0.0)
}
