//! OpenAI's JSON, both ways.

mod check;
mod decisions;
mod encode;
mod images;
mod logprobs;
mod models;
mod read;
mod schema;
mod usage;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bulkrate_core::answer::Reading;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::{Kind, Part, Reasoning, Request};

use super::{Charges, Dialect, entra};
use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::http::Account;
use crate::http::batches::in_path;
use crate::json::last::LastSchema;
use crate::settings::{ChatEndpoint, Settings};

/// The wire of one account. Texts that come back are redacted: a server may repeat the key it got.
#[derive(Debug)]
pub struct OpenAiWire {
    encoder: encode::Encoder,
    reader: read::Reader,
    account: Account,
    /// What stands before the path of the API in the lines of a batch.
    version: &'static str,
}

impl OpenAiWire {
    #[must_use]
    pub fn new(dialect: Dialect, account: Account, settings: &Settings) -> Self {
        let encoder = encode::Encoder {
            dialect,
            chat_endpoint: settings.chat_endpoint,
            structured_outputs: dialect.checks_models || settings.structured_outputs,
            deployments: settings.deployments.clone(),
            strict: LastSchema::default(),
        };
        let reader = read::Reader {
            chat_endpoint: settings.chat_endpoint,
            cost_headers: match dialect.charges {
                Charges::Headers(names) => names,
                Charges::Unsaid | Charges::Body => &[],
            },
            served_header: dialect.served_header,
            cost_header: settings.cost_header.as_ref().map(|name| name.to_ascii_lowercase()),
            trust_body_cost: settings.trust_body_cost,
        };
        // An API whose version stands in the query has none in its paths.
        let version = if settings.query.is_some() { "" } else { "/v1" };
        Self { encoder, reader, account, version }
    }

    /// The API of this kind, as batches name it.
    pub(super) fn endpoint_of_batch(&self, kind: Kind) -> String {
        format!("{}{}", self.version, self.endpoint(kind))
    }

    pub(crate) fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        use std::io::Write as _;
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"{}{}\",\"body\":",
            self.version,
            self.endpoint(kind)
        );
        out.extend_from_slice(body);
        out.extend_from_slice(b"}\n");
    }

    pub(crate) fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let line = self.reader.line(kind, line)?;
        Ok(BatchLine { reading: self.account.redacted(line.reading), ..line })
    }

    /// The same of a line whose answer stands alone in `response`.
    pub(super) fn read_bare_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let line = self.reader.bare_line(kind, line)?;
        Ok(BatchLine { reading: self.account.redacted(line.reading), ..line })
    }

    /// An answer without a reply or a line around it.
    pub(crate) fn read_answer<'a>(&self, kind: Kind, body: &'a [u8]) -> Reading<'a> {
        self.account.redacted(self.reader.success(kind, body, None))
    }

    pub(super) fn endpoint(&self, kind: Kind) -> &'static str {
        match (kind, self.reader.chat_endpoint) {
            (Kind::Chat, ChatEndpoint::ChatCompletions) => "/chat/completions",
            (Kind::Chat, ChatEndpoint::Responses) => "/responses",
            (Kind::Embedding, _) => "/embeddings",
            (Kind::Moderation, _) => "/moderations",
            (Kind::Decision, _) => "/decisions",
            (Kind::Image, _) => "/images/generations",
        }
    }
}

impl Wire for OpenAiWire {
    /// Where the version stands in the query, a deployment stands before what is asked of it.
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str> {
        match self.endpoint(kind) {
            endpoint if self.version.is_empty() && endpoint != "/responses" => {
                Cow::Owned(format!("/deployments/{}{endpoint}", in_path(model)))
            }
            endpoint => Cow::Borrowed(endpoint),
        }
    }

    fn takes_openai(&self, kind: Kind, _: &str) -> bool {
        self.endpoint(kind) != "/responses"
    }

    fn reads(&self, part: &Part<'_>, _: &str) -> bool {
        self.encoder.reads(part)
    }

    fn tells_no_logprobs(&self, model: &str, reasoning: Option<Reasoning>) -> Option<&'static str> {
        self.encoder.tells_no_logprobs(model, reasoning)
    }

    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        self.encoder.encode(request, options, out)
    }

    fn read<'a>(&self, kind: Kind, reply: &'a Reply) -> Reading<'a> {
        match self.account.redacted(self.reader.reply(kind, reply)) {
            Reading::Failure(failure) => {
                Reading::Failure(entra::renewing(&self.account, reply.status, failure))
            }
            reading => reading,
        }
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.account.hide(text)
    }
}
