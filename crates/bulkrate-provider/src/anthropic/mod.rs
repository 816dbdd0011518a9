//! Anthropic's Messages API, in the sync lane.
//!
//! One version of the API is spoken: `2023-06-01`. The newer one takes less (no sampling parameters at all) and gives nothing that is
//! used here.

pub mod errors;
pub mod wire;

use async_trait::async_trait;

use crate::api::{ApiError, BatchApi, CallApi, Facts, Health, Provider, Unlisted, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::PaidClient;
use crate::registry::{OpenError, Preset};
use crate::settings::Settings;

use wire::AnthropicWire;

const HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];

/// One account at Anthropic.
#[derive(Debug)]
pub struct Anthropic {
    wire: AnthropicWire,
    paid: PaidClient,
    free: FreeClient,
}

impl Anthropic {
    pub const PRESET: Preset = Preset {
        name: "anthropic",
        base_url: "https://api.anthropic.com",
        key_env: "ANTHROPIC_API_KEY",
        facts: Facts { flex: false, unlisted: Unlisted::Priced, needs_key: true },
    };

    /// Sends nothing.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let settings = &own(settings);
        let account = Account::new(Some(Self::PRESET.base_url), Self::PRESET.name, settings)?;
        let paid = PaidClient::new(account.clone(), &[wire::MESSAGES], settings)?;
        let free = FreeClient::new(account.clone(), settings, errors::classify)?;
        Ok(Self { wire: AnthropicWire::new(account, settings), paid, free })
    }
}

/// The user's settings with what the service adds to them.
fn own(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.key_header = Some("x-api-key");
    settings.usual_headers = HEADERS;
    // The service's own SDKs write the address without the version; ours elsewhere have it.
    settings.base_url = settings.base_url.map(|url| {
        let url = url.trim().trim_end_matches('/');
        url.strip_suffix("/v1").unwrap_or(url).to_owned()
    });
    settings
}

#[async_trait]
impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        Self::PRESET.name
    }

    fn wire(&self) -> &dyn Wire {
        &self.wire
    }

    fn calls(&self) -> Option<&dyn CallApi> {
        Some(&self.paid)
    }

    fn batches(&self) -> Option<&dyn BatchApi> {
        None
    }

    fn facts(&self) -> Facts {
        Self::PRESET.facts
    }

    /// One free call: the models.
    async fn probe(&self) -> Result<Health, ApiError> {
        let usual_base = "it ends before the version, as in `https://api.anthropic.com`";
        self.free.list_models("/v1/models?limit=1000", false, usual_base).await
    }
}
