//! Claude in its maker's own words: bodies of the Messages API, by `InvokeModel` and in jobs of that type.
//!
//! Which words an account asks in is a setting, and answers are read by their own form: a state folder may hold jobs of both.

use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Marks;
use bulkrate_core::request::{Kind, Part, Request};

use super::models::claude;
use crate::anthropic::wire::encode::Encoder;
use crate::anthropic::wire::host::Host;
use crate::anthropic::wire::models;
use crate::api::{Unsupported, WireOptions};
use crate::json::object::Own;
use crate::settings::Settings;

/// What a record of a job begins with, after its id. The version stands first in what is written here, and in no body of Converse's.
const RECORD: &[u8] = b"\"modelInput\":{\"anthropic_version\":";
/// How much of a file is looked at for it: an id is far shorter.
pub(in crate::bedrock) const HEAD_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Native {
    structured_outputs: bool,
    host: Host,
    calls: Encoder,
    /// Batches take no schema.
    batches: Encoder,
}

impl Native {
    pub(super) fn new(settings: &Settings) -> Self {
        let (structured_outputs, host) =
            (settings.structured_outputs, Host::Bedrock { betas: settings.betas.clone() });
        Self {
            structured_outputs,
            calls: Encoder::of_host(host.clone(), structured_outputs),
            batches: Encoder::of_host(host.clone(), false),
            host,
        }
    }

    pub(super) fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        let unsupported = |field: &'static str, why: String| {
            Err(Unsupported { field, model: options.model.to_owned(), why })
        };
        if request.kind != Kind::Chat {
            let name = request.kind.name();
            return unsupported("kind", format!("bulkrate does not speak Bedrock's {name} APIs"));
        }
        let Some(name) = claude(options.model) else {
            let why = "`InvokeModel` is for Claude's models alone, whose maker's words are known here; leave it out, or give this model an account of its own";
            return unsupported("model_invocation_type", why.to_owned());
        };
        if options.lane != Lane::Batch {
            return self.calls.encode_as(name, request, options, out);
        }
        if request.generation_config.output_schema.is_some() && self.structured_outputs {
            return unsupported("output_schema", super::encode::NO_SCHEMA.to_owned());
        }
        if let Some(field) = in_batches(request) {
            return unsupported(field, super::encode::NO_TOOLS.to_owned());
        }
        self.batches.encode_as(name, request, options, out)
    }

    pub(super) fn reads(&self, part: &Part<'_>) -> bool {
        self.host.reads(part)
    }
}

/// What calls of a model keep where they are marked, as at its maker.
pub(super) fn marks(model: &str) -> Option<Marks> {
    claude(model).map(models::marks)
}

/// Fields of the caller's own that batches do not take. What is no object at all is told of by the encoder.
fn in_batches(request: &Request<'_>) -> Option<&'static str> {
    let own = Own::read(request.provider_kwargs).ok()?;
    let formats = || own.within("output_config").is_ok_and(|config| config.has("format"));
    match () {
        () if own.has("tools") => Some("provider_kwargs.tools"),
        () if formats() => Some("provider_kwargs.output_config"),
        () => None,
    }
}

/// Whether a file of records that begins so holds bodies in the maker's words.
pub(in crate::bedrock) fn begins(head: &[u8]) -> bool {
    memchr::memmem::find(head, RECORD).is_some()
}

#[cfg(test)]
mod tests;
