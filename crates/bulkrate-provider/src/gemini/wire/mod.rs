//! Gemini's JSON, both ways.

pub(crate) mod embed;
pub(crate) mod encode;
mod models;
pub(crate) mod read;
mod usage;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bulkrate_core::answer::Reading;
use bulkrate_core::request::{Kind, Part, Request, Tongue};

use super::VERSION;
use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::http::Account;
use crate::http::batches::in_path;
use crate::settings::Settings;

/// The wire of one account. Texts that come back are redacted: a server may repeat the key it got.
#[derive(Debug)]
pub struct GeminiWire {
    encoder: encode::Encoder,
    account: Account,
}

impl GeminiWire {
    #[must_use]
    pub fn new(account: Account, settings: &Settings) -> Self {
        let encoder =
            encode::Encoder { structured_outputs: settings.structured_outputs, host: encode::STUDIO };
        Self { encoder, account }
    }

    pub(super) fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let BatchLine { custom_id, reading } = read::line(kind, line)?;
        Ok(BatchLine { custom_id, reading: self.account.redacted(reading) })
    }
}

impl Wire for GeminiWire {
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str> {
        let verb = if kind == Kind::Embedding { "batchEmbedContents" } else { "generateContent" };
        Cow::Owned(format!("{VERSION}/models/{}:{verb}", in_path(model)))
    }

    fn speaks(&self, tongue: Tongue, _: Kind, _: &str) -> bool {
        tongue == Tongue::Gemini
    }

    fn reads(&self, part: &Part<'_>, _: &str) -> bool {
        part.blob().is_none_or(|blob| encode::STUDIO.reads(blob))
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
        self.account.redacted(read::reply(kind, reply))
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.account.hide(text)
    }
}
