//! Anthropic's JSON, both ways.

pub(crate) mod encode;
mod blocks;
pub(crate) mod host;
pub(crate) mod models;
pub(crate) mod read;
mod schema;
mod usage;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bulkrate_core::answer::Reading;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Marks;
use bulkrate_core::request::{Kind, Request, Tongue};

use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::http::Account;
use crate::settings::Settings;

pub(super) const MESSAGES: &str = "/v1/messages";

/// The wire of one account. Texts that come back are redacted: a server may repeat the key it got.
#[derive(Debug)]
pub struct AnthropicWire {
    encoder: encode::Encoder,
    account: Account,
}

impl AnthropicWire {
    /// `samples`: the version of the API has sampling parameters.
    #[must_use]
    pub fn new(account: Account, settings: &Settings, samples: bool) -> Self {
        let encoder = encode::Encoder::new(settings.structured_outputs);
        Self { encoder: if samples { encoder } else { encoder.without_sampling() }, account }
    }

    pub(super) fn read_line<'a>(&self, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let BatchLine { custom_id, reading } = read::line(line)?;
        Ok(BatchLine { custom_id, reading: self.account.redacted(reading) })
    }
}

impl Wire for AnthropicWire {
    fn path(&self, _: Kind, _: &str) -> Cow<'static, str> {
        Cow::Borrowed(MESSAGES)
    }

    fn speaks(&self, tongue: Tongue, _: Kind, _: &str) -> bool {
        tongue == Tongue::Anthropic
    }

    fn marks(&self, _: Lane, model: &str) -> Option<Marks> {
        Some(models::marks(model))
    }

    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        self.encoder.encode(request, options, out)
    }

    fn read<'a>(&self, _: Kind, reply: &'a Reply) -> Reading<'a> {
        self.account.redacted(read::reply(reply))
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.account.hide(text)
    }
}
