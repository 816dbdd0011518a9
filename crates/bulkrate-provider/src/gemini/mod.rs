//! Google's Gemini API, as AI Studio sells it: `generateContent`, and its batch mode.
//!
//! The model stands in the path of a call and not in its body. One version of the API is spoken, which has all of it: `v1beta`.

pub mod batch;
pub mod errors;
pub(crate) mod remote;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;

use crate::api::{ApiError, BatchApi, CallApi, Exchange, Facts, Health, Provider, Unlisted, Wire};
use crate::http::Account;
use crate::http::free::FreeClient;
use crate::http::paid::calls;
use crate::registry::{OpenError, Preset};
use crate::settings::Settings;

use batch::GeminiBatches;
use wire::GeminiWire;

const VERSION: &str = "/v1beta";

/// One account at Google AI Studio.
#[derive(Debug)]
pub struct Gemini {
    wire: Arc<GeminiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    batches: GeminiBatches,
}

impl Gemini {
    pub const PRESET: Preset = Preset {
        name: "gemini",
        base_url: Some("https://generativelanguage.googleapis.com"),
        key_env: "GEMINI_API_KEY",
        facts: Facts { flex: true, unlisted: Unlisted::Priced, needs_key: true, caches_unmarked: true },
        variables: &[],
        found: "",
        storage: "",
        versions: &[],
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
        let paid = calls(line, account.clone(), &[], settings)?;
        let free = Arc::new(FreeClient::on(line, account.clone(), settings, errors::classify)?);
        let wire = Arc::new(GeminiWire::new(account, settings));
        let (to_paid, to_free) = (Arc::clone(&paid), Arc::clone(&free));
        let batches = GeminiBatches::new(Arc::clone(&wire), to_paid, to_free, settings);
        Ok(Self { wire, paid, free, batches })
    }
}

/// The user's settings with what the service adds to them.
fn own(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.key_header = Some("x-goog-api-key");
    settings.without_version(&["/v1beta", "/v1"]);
    settings
}

#[async_trait]
impl Provider for Gemini {
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
        let usual_base = "it ends before the version, as in `https://generativelanguage.googleapis.com`";
        let health =
            self.free.list_models(&format!("{VERSION}/models?pageSize=1000"), false, usual_base).await?;
        Ok(Health { batches: self.batches.exists().await, ..health })
    }
}
