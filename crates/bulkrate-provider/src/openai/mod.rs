//! OpenAI and the services that speak its language.

mod azure;
pub(crate) mod entra;
pub mod batch;
mod blobs;
mod dialect;
mod form;
mod inline;
mod mistral;
mod named;
mod pages;
mod sets;
mod together;
mod xai;
pub mod errors;
pub mod presets;
mod remote;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::api::{ApiError, BatchApi, BatchLimits, CallApi, Exchange, Facts, Health, Provider, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::calls;
use crate::http::sign::Sign;
use crate::http::tokens::{self, Tokens};
use crate::registry::OpenError;
use crate::settings::{ChatEndpoint, Deployed, Settings};
pub use dialect::{Batches, Charges, Dialect, OutputMax, Takes, Tiers};
pub use form::Form;

use batch::OpenAiBatches;
use blobs::Blobs;
use entra::Entra;
use inline::InlineBatches;
use sets::SetBatches;
use wire::OpenAiWire;

/// One account that speaks OpenAI's language.
#[derive(Debug)]
pub struct OpenAi {
    dialect: Dialect,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    batches: Lane,
    has_batches: AtomicBool,
    deployments: BTreeMap<String, Deployed>,
    /// Whether calls have tokens, where there is no key.
    signs: bool,
    /// What is wrong with those who ask for them.
    ready: Result<(), String>,
}

/// Its batch API: of files, of requests, or of data sets.
#[derive(Debug)]
enum Lane {
    Files(Box<OpenAiBatches>),
    Inline(Box<InlineBatches>),
    Sets(Box<SetBatches>),
}

impl OpenAi {
    /// Sends nothing.
    pub fn open(dialect: Dialect, settings: &Settings) -> Result<Self, OpenError> {
        Self::on(dialect, settings, None)
    }

    /// Over a line that is given instead of connections, for simulated worlds.
    pub fn over(dialect: Dialect, settings: &Settings, line: &Arc<dyn Exchange>) -> Result<Self, OpenError> {
        Self::on(dialect, settings, Some(line))
    }

    fn on(
        dialect: Dialect,
        settings: &Settings,
        line: Option<&Arc<dyn Exchange>>,
    ) -> Result<Self, OpenError> {
        let settings = &of_dialect(dialect, settings);
        let account = Account::new(dialect.base_url, dialect.name, settings)?;
        let (account, ready) = with_tokens(dialect, account, settings)?;
        let signs = account.is_signed() || ready.is_err();
        let classify = if account.is_signed() { entra::classify } else { errors::classify };
        let paths = ["/chat/completions", "/responses", "/embeddings", "/moderations", "/decisions"];
        let paid = calls(line, account.clone(), &paths, settings)?;
        let free = Arc::new(match dialect.form().upload {
            // What says where to upload to is a redirect.
            form::Upload::Named(_) if line.is_none() => {
                FreeClient::unled(account.clone(), settings, classify)
            }
            _ => FreeClient::on(line, account.clone(), settings, classify),
        }?);
        let wire = Arc::new(OpenAiWire::new(dialect, account, settings));
        let shared = Arc::clone(&wire);
        // Of all services only Azure has blobs of one's own.
        let blobs = if dialect.deploys { Blobs::open(settings)? } else { Ok(None) };
        let (blobs, stored) = match blobs {
            Ok(blobs) => (blobs, Ok(())),
            Err(why) => (None, Err(why)),
        };
        let ready = ready.and(stored);
        let batches = match dialect.batches {
            Batches::Sets { items_max, bytes_max } => {
                let limits = BatchLimits { items_max, bytes_max, embedding_inputs_max: u64::MAX };
                Lane::Sets(Box::new(SetBatches::new(dialect, limits, shared, settings, line)?))
            }
            Batches::Inline { items_max, bytes_max } => {
                let limits = BatchLimits { items_max, bytes_max, embedding_inputs_max: u64::MAX };
                let (paid, free) = (Arc::clone(&paid), Arc::clone(&free));
                Lane::Inline(Box::new(InlineBatches::new(limits, shared, (paid, free), settings)))
            }
            _ => {
                let (paid, free) = (Arc::clone(&paid), Arc::clone(&free));
                Lane::Files(Box::new(OpenAiBatches::new(dialect, shared, (paid, free), blobs, settings)))
            }
        };
        let has_batches = AtomicBool::new(dialect.batches.is_known());
        let deployments = settings.deployments.clone();
        Ok(Self { dialect, wire, paid, free, batches, has_batches, deployments, signs, ready })
    }
}

/// Deployments that are called without a key are called with tokens, where somebody is named who asks for them. The second says why they
/// are not.
fn with_tokens(
    dialect: Dialect,
    account: Account,
    settings: &Settings,
) -> Result<(Account, Result<(), String>), OpenError> {
    let found = if dialect.deploys && settings.api_key.is_empty() {
        Entra::find(settings, entra::MODELS)
    } else {
        Ok(None)
    };
    match found {
        Ok(None) => Ok((account, Ok(()))),
        Ok(Some(entra)) => {
            let tokens: Arc<dyn Sign> = Arc::new(Tokens::new(Box::new(entra), settings)?);
            Ok(tokens::signed(account, Some(&tokens)))
        }
        Err(why) => Ok((account, Err(why))),
    }
}

/// The user's settings with what the service adds to them.
fn of_dialect(dialect: Dialect, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.usual_headers = dialect.headers.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    if !dialect.has_responses {
        settings.chat_endpoint = ChatEndpoint::ChatCompletions;
    }
    settings.trust_body_cost |= dialect.charges == Charges::Body;
    settings.key_header = dialect.key_header;
    if dialect.deploys {
        azure::address(&mut settings);
    } else {
        settings.deployments.clear(); // a name is that of a model
    }
    settings
}

#[async_trait]
impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        self.dialect.name
    }

    fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        Some(&*self.paid)
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        let there = self.has_batches.load(Ordering::Relaxed);
        there.then_some(match &self.batches {
            Lane::Files(batches) => &**batches as &dyn BatchApi,
            Lane::Inline(batches) => &**batches,
            Lane::Sets(batches) => &**batches,
        })
    }

    fn facts(&self) -> Facts {
        let facts = self.dialect.facts();
        Facts { needs_key: facts.needs_key && !self.signs, ..facts }
    }

    fn signs(&self) -> bool {
        self.signs
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }

    fn deployed<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let said = || self.deployments.get(name).map_or(name, |there| &there.model);
        self.dialect.deploys.then(said)
    }

    /// Two free calls: the models, then whether `GET /batches` answers a list.
    async fn probe(&self) -> Result<Health, ApiError> {
        let usual_base = match self.dialect.deploys {
            true => "it is that of the resource, as in `https://NAME.openai.azure.com`",
            false => "it ends in the version, as in `/v1`",
        };
        let health = self.free.list_models("/models", true, usual_base).await?;
        // A list that is there says nothing where the shape is known to be another.
        let batches = match &self.batches {
            _ if matches!(self.dialect.batches, Batches::No) => false,
            Lane::Files(batches) => batches.exists().await,
            Lane::Inline(batches) => batches.exists().await,
            Lane::Sets(batches) => batches.exists().await,
        };
        if let Lane::Files(batches) = &self.batches {
            batches.look().await?;
        }
        let known = self.dialect.batches.is_known();
        self.has_batches.store(batches || known, Ordering::Relaxed);
        Ok(Health { batches, ..health })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The wire of a preset at an address where nobody is.
    pub(super) fn wire(name: &str) -> OpenAiWire {
        let dialect = *presets::PRESETS.iter().find(|preset| preset.name == name).unwrap();
        let settings = Settings { proxy: crate::ProxyFrom::None, ..Settings::default() };
        let account = Account::new(dialect.base_url, dialect.name, &settings).unwrap();
        OpenAiWire::new(dialect, account, &settings)
    }
}
