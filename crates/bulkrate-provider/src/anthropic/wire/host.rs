//! Who sells Claude's models, and what a body says to whom beside the request.

use bulkrate_core::request::{Part, SourceType, write_json_text};

use super::encode::Job;
use crate::api::Unsupported;
use crate::json::object::{Object, Own, array};

/// A field of a body for a host: the version of the API that it speaks.
const VERSION: &str = "anthropic_version";
const VERTEX_VERSION: &str = "vertex-2023-10-16";
const BEDROCK_VERSION: &str = "bedrock-2023-05-31";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Own,
    /// The path names the model, and the body the version.
    Vertex,
    /// The same, and the features that are not general yet. Which tier it is stands in a header.
    Bedrock {
        betas: Vec<String>,
    },
}

impl Host {
    /// What of the caller's own fields is not his to say.
    pub(super) fn take(&self, own: &mut Own<'_>) {
        own.remove("service_tier"); // another tier has another price
        if let Self::Bedrock { .. } = self {
            // By the version a record is told from Converse's; the rest belongs to the call.
            [VERSION, "model", "stream"].into_iter().for_each(|name| own.remove(name));
        }
    }

    /// What it does not take of a turn.
    pub(super) fn check(&self, job: &Job<'_>, part: &Part<'_>) -> Result<(), Unsupported> {
        if self.reads(part) {
            return Ok(());
        }
        let field = if matches!(part, Part::Image(_)) { "messages.image" } else { "messages.document" };
        let why = "Bedrock fetches nothing for a body in Claude's own words: give the bytes, as base64 or a data URL, or `fetch_urls`";
        Err(job.unsupported(field, why))
    }

    /// Whether it takes a part as it is given: as bytes, or also as an address.
    pub(crate) fn reads(&self, part: &Part<'_>) -> bool {
        let is_address = part.blob().is_some_and(|blob| blob.source_type == SourceType::Url);
        !(is_address && matches!(self, Self::Bedrock { .. }))
    }

    /// What stands before the request.
    pub(super) fn begin(&self, model: &str, body: &mut Object<'_, '_>) {
        match self {
            Self::Own => body.text("model", model),
            Self::Vertex => body.text(VERSION, VERTEX_VERSION),
            Self::Bedrock { betas } => {
                body.text(VERSION, BEDROCK_VERSION);
                if !betas.is_empty() && body.key("anthropic_beta") {
                    array(betas, body.out, |beta, out| write_json_text(beta, out));
                }
            }
        }
    }

    /// What stands after it.
    pub(super) fn end(&self, body: &mut Object<'_, '_>) {
        if *self == Self::Own {
            body.literal("service_tier", "\"standard_only\"");
        }
    }
}
