//! The JSON of Converse, of Claude's own API and of embedding models, both ways.

pub(super) mod embed;
mod encode;
mod models;
pub(super) mod native;
mod read;
mod usage;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bulkrate_core::answer::Reading;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Marks;
use bulkrate_core::request::{Kind, Part, Request, Tongue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::{BatchLine, Reply, Unsupported, Wire, WireOptions};
use crate::http::Account;
use crate::http::batches::in_path;
use crate::http::tiers::FLEX;
use crate::settings::{ModelInvocationType, Settings};
use native::Native;

/// The wire of one account. Texts that come back are redacted: a server may repeat what it got.
#[derive(Debug)]
pub struct BedrockWire {
    encoder: encode::Encoder,
    /// Where chats are asked in the words of the model's maker.
    native: Option<Native>,
    account: Account,
}

impl BedrockWire {
    #[must_use]
    pub fn new(account: Account, settings: &Settings) -> Self {
        let native = settings.model_invocation_type == ModelInvocationType::InvokeModel;
        let native = native.then(|| Native::new(settings));
        Self { encoder: encode::Encoder::new(settings.structured_outputs), native, account }
    }

    pub(super) fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let BatchLine { custom_id, reading } = read::line(kind, line)?;
        Ok(BatchLine { custom_id, reading: self.account.redacted(reading) })
    }
}

impl Wire for BedrockWire {
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str> {
        let invokes = kind == Kind::Embedding || self.native.is_some();
        let verb = if invokes { "invoke" } else { "converse" };
        Cow::Owned(format!("/model/{}/{verb}", in_path(model)))
    }

    /// Converse's body says its tier itself.
    fn path_in(&self, lane: Lane, kind: Kind, model: &str) -> Cow<'static, str> {
        let path = self.path(kind, model);
        let said_beside = lane == Lane::Flex && kind == Kind::Chat && self.native.is_some();
        if said_beside { Cow::Owned(format!("{path}{FLEX}")) } else { path }
    }

    /// In batches nothing is cached.
    fn marks(&self, lane: Lane, model: &str) -> Option<Marks> {
        match lane {
            Lane::Batch => None,
            _ if self.native.is_some() => native::marks(model),
            _ => models::marks(model),
        }
    }

    fn speaks(&self, tongue: Tongue, kind: Kind, _: &str) -> bool {
        let spoken = if self.native.is_some() { Tongue::Anthropic } else { Tongue::Converse };
        tongue == spoken && kind == Kind::Chat
    }

    fn reads(&self, part: &Part<'_>, _: &str) -> bool {
        match &self.native {
            Some(native) => native.reads(part),
            None => part.blob().is_none_or(encode::reads),
        }
    }

    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        if request.kind == Kind::Embedding {
            return embed::encode(request, options, out);
        }
        match &self.native {
            Some(native) => native.encode(request, options, out),
            None => self.encoder.encode(request, options, out),
        }
    }

    fn read<'a>(&self, kind: Kind, reply: &'a Reply) -> Reading<'a> {
        match self.account.redacted(read::reply(kind, reply)) {
            Reading::Failure(failure) => Reading::Failure(self.account.renewing(failure)),
            reading => reading,
        }
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.account.hide(text)
    }
}

/// How many models a list has.
pub(super) fn models_listed(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct List {
        model_summaries: Vec<IgnoredAny>,
    }
    serde_json::from_slice::<List>(body).ok().map(|list| list.model_summaries.len() as u64)
}
