//! OpenAI and the services that speak its language.

mod azure;
pub(crate) mod entra;
pub mod batch;
mod dialect;
mod form;
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

use crate::api::{ApiError, BatchApi, CallApi, Exchange, Facts, GivenCalls, Health, Provider, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::PaidClient;
use crate::http::sign::Sign;
use crate::http::tokens::{self, Tokens};
use crate::registry::OpenError;
use crate::settings::{ChatEndpoint, Deployed, Settings};
pub use dialect::{Batches, Charges, Dialect, OutputMax, Takes, Tiers};
pub use form::Form;

use batch::OpenAiBatches;
use entra::Entra;
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

/// Its batch API: of files, or of data sets.
#[derive(Debug)]
enum Lane {
    Files(Box<OpenAiBatches>),
    Sets(Box<SetBatches>),
}

/// What speaks to one origin.
type Clients = (Arc<dyn CallApi>, Arc<FreeClient>);

impl OpenAi {
    /// Sends nothing.
    pub fn open(dialect: Dialect, settings: &Settings) -> Result<Self, OpenError> {
        let settings = &of_dialect(dialect, settings);
        let account = Account::new(dialect.base_url, dialect.name, settings)?;
        let (account, ready) = with_tokens(dialect, account, settings)?;
        let signs = account.is_signed() || ready.is_err();
        let classify = if account.is_signed() { entra::classify } else { errors::classify };
        let paths = ["/chat/completions", "/responses", "/embeddings", "/moderations", "/decisions"];
        let paid: Arc<dyn CallApi> = Arc::new(PaidClient::new(account.clone(), &paths, settings)?);
        let open = match dialect.form().upload {
            form::Upload::Form => FreeClient::new,
            // What says where to upload to is a redirect.
            form::Upload::Named(_) => FreeClient::unled,
        };
        let free = Arc::new(open(account.clone(), settings, classify)?);
        let clients: Clients = (paid, free);
        let of_batches = match dialect.batches {
            Batches::Sets { .. } => {
                let beside = sets::beside(dialect, settings);
                let account = Account::new(None, dialect.name, &beside)?;
                let paid = PaidClient::new(account.clone(), &[], &beside)?;
                (Arc::new(paid) as _, Arc::new(FreeClient::new(account, &beside, errors::classify)?))
            }
            _ => clients.clone(),
        };
        let open = Self::with(dialect, account, settings, clients, of_batches);
        Ok(Self { signs, ready, ..open })
    }

    /// Over a line that is given instead of connections, for simulated worlds.
    pub fn over(dialect: Dialect, settings: &Settings, line: Arc<dyn Exchange>) -> Result<Self, OpenError> {
        let settings = &of_dialect(dialect, settings);
        let account = Account::new(dialect.base_url, dialect.name, settings)?;
        let free = FreeClient::over(Arc::clone(&line), account.clone(), settings, errors::classify);
        let clients: Clients = (Arc::new(GivenCalls(line)), Arc::new(free));
        Ok(Self::with(dialect, account, settings, clients.clone(), clients))
    }

    fn with(
        dialect: Dialect,
        account: Account,
        settings: &Settings,
        (paid, free): Clients,
        (to_paid, to_free): Clients,
    ) -> Self {
        let wire = Arc::new(OpenAiWire::new(dialect, account, settings));
        let shared = Arc::clone(&wire);
        let batches = match dialect.batches {
            Batches::Sets { .. } => {
                Lane::Sets(Box::new(SetBatches::new(dialect, shared, to_paid, to_free, settings)))
            }
            _ => Lane::Files(Box::new(OpenAiBatches::new(dialect, shared, to_paid, to_free, settings))),
        };
        let has_batches = dialect.batches.is_known();
        let deployments = settings.deployments.clone();
        let has_batches = AtomicBool::new(has_batches);
        Self { dialect, wire, paid, free, batches, has_batches, deployments, signs: false, ready: Ok(()) }
    }
}

/// Deployments that are called without a key are called with tokens, where somebody is named who asks for them. The second says why they
/// are not.
fn with_tokens(
    dialect: Dialect,
    account: Account,
    settings: &Settings,
) -> Result<(Account, Result<(), String>), OpenError> {
    let found = if dialect.deploys && settings.api_key.is_empty() { Entra::find(settings) } else { Ok(None) };
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
            Lane::Sets(batches) => batches.exists().await,
        };
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
