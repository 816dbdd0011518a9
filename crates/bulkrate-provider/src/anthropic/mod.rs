//! Anthropic's Messages API, and its Message Batches.
//!
//! Two versions of the API are spoken: `2023-06-01`, and for who asks for it `2026-10-21`, which has no sampling parameters
//! ([Anthropic](https://platform.claude.com/docs/en/api/versioning)).

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

/// The header that names the version of the API.
const VERSION: &str = "anthropic-version";

/// A version of the API. It holds for a call, and for all lines of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Version {
    #[default]
    Sampling,
    /// Without `temperature`, `top_p` and `top_k`, whatever their values.
    Plain,
}

impl Version {
    const ALL: [Self; 2] = [Self::Sampling, Self::Plain];

    const fn name(self) -> &'static str {
        match self {
            Self::Sampling => "2023-06-01",
            Self::Plain => "2026-10-21",
        }
    }

    fn of(settings: &Settings) -> Result<Self, OpenError> {
        let Some(asked) = settings.api_version.as_deref().map(str::trim).filter(|asked| !asked.is_empty())
        else {
            return Ok(Self::default());
        };
        Self::ALL.into_iter().find(|version| version.name() == asked).ok_or_else(|| OpenError::ApiVersion {
            version: asked.to_owned(),
            provider: Anthropic::PRESET.name,
            known: Anthropic::PRESET.versions.join(" and "),
        })
    }
}

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
        versions: &[Version::Sampling.name(), Version::Plain.name()],
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
        let version = Version::of(settings)?;
        let settings = &own(settings, version);
        let account = Account::new(Self::PRESET.base_url, Self::PRESET.name, settings)?;
        let paid = calls(line, account.clone(), &[wire::MESSAGES, batch::BATCHES], settings)?;
        let free = Arc::new(FreeClient::on(line, account.clone(), settings, errors::classify)?);
        let wire = Arc::new(AnthropicWire::new(account, settings, version == Version::Sampling));
        let (to_paid, to_free) = (Arc::clone(&paid), Arc::clone(&free));
        let batches = AnthropicBatches::new(Arc::clone(&wire), to_paid, to_free, settings);
        Ok(Self { wire, paid, free, batches })
    }
}

/// The user's settings with what the service adds to them.
fn own(settings: &Settings, version: Version) -> Settings {
    let mut settings = settings.clone();
    settings.key_header = Some("x-api-key");
    settings.usual_headers = vec![(VERSION, version.name().to_owned())];
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
