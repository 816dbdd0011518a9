//! Anthropic's Messages API, and its Message Batches.
//!
//! One version of the API is spoken: `2023-06-01`. The newer one takes less (no sampling parameters at all) and gives nothing that is
//! used here.

pub mod batch;
pub mod errors;
mod remote;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::{ApiError, BatchApi, CallApi, Exchange, Facts, Health, Provider, Unlisted, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::calls;
use crate::registry::{OpenError, Preset};
use crate::settings::Settings;

use batch::AnthropicBatches;
use wire::AnthropicWire;

const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// One account at Anthropic.
#[derive(Debug)]
pub struct Anthropic {
    wire: Arc<AnthropicWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    batches: AnthropicBatches,
}

impl Anthropic {
    pub const PRESET: Preset = Preset {
        name: "anthropic",
        base_url: Some("https://api.anthropic.com"),
        key_env: "ANTHROPIC_API_KEY",
        facts: Facts { flex: false, unlisted: Unlisted::Priced, needs_key: true, caches_unmarked: false },
        variables: &[],
        found: "",
        storage: "",
    };

    /// Sends nothing.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        Self::on(settings, None)
    }

    /// Over a line that is given instead of connections, for simulated worlds.
    pub fn over(settings: &Settings, line: &Arc<dyn Exchange>) -> Result<Self, OpenError> {
        Self::on(settings, Some(line))
    }

    fn on(settings: &Settings, line: Option<&Arc<dyn Exchange>>) -> Result<Self, OpenError> {
        let settings = &own(settings);
        let account = Account::new(Self::PRESET.base_url, Self::PRESET.name, settings)?;
        let paid = calls(line, account.clone(), &[wire::MESSAGES, batch::BATCHES], settings)?;
        let free = Arc::new(FreeClient::on(line, account.clone(), settings, errors::classify)?);
        let wire = Arc::new(AnthropicWire::new(account, settings));
        let (to_paid, to_free) = (Arc::clone(&paid), Arc::clone(&free));
        let batches = AnthropicBatches::new(Arc::clone(&wire), to_paid, to_free, settings);
        Ok(Self { wire, paid, free, batches })
    }
}

/// The user's settings with what the service adds to them.
fn own(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.key_header = Some("x-api-key");
    settings.usual_headers = vec![(VERSION.0, VERSION.1.to_owned())];
    if !settings.betas.is_empty() {
        settings.usual_headers.push(("anthropic-beta", settings.betas.join(",")));
    }
    settings.without_version(&["/v1"]);
    settings
}

#[async_trait]
impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        Self::PRESET.name
    }

    fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        Some(&*self.paid)
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        Some(&self.batches)
    }

    fn facts(&self) -> Facts {
        Self::PRESET.facts
    }

    /// Two free calls: the models, then the batches.
    async fn probe(&self) -> Result<Health, ApiError> {
        let usual_base = "it ends before the version, as in `https://api.anthropic.com`";
        let health = self.free.list_models("/v1/models?limit=1000", false, usual_base).await?;
        Ok(Health { batches: self.batches.exists().await, ..health })
    }
}
