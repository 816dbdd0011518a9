//! Every provider, one line each.

use std::sync::Arc;

use crate::anthropic::Anthropic;
use crate::api::{Facts, Provider};
use crate::bedrock::Bedrock;
use crate::gemini::Gemini;
use crate::openai::presets::PRESETS;
use crate::openai::{Dialect, OpenAi};
use crate::settings::Settings;
use crate::vertex::Vertex;
use crate::vllm::VllmOffline;

/// An account that cannot be opened. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("`{name}` is not a provider; known are {}", names().join(", "))]
    UnknownProvider { name: String },
    #[error("`{provider}` needs a base URL, for example `http://127.0.0.1:8000/v1`")]
    NoBaseUrl { provider: &'static str },
    #[error("`{url}` cannot be used as a base URL: {why}")]
    BadBaseUrl { url: String, why: String },
    #[error("`{name}` cannot be sent as a header: {why}")]
    BadHeader { name: String, why: &'static str },
    #[error("the proxy named by {from} cannot be used: {why}")]
    BadProxy { from: String, why: String },
    #[error("could not set up TLS: {why}")]
    Tls { why: String },
    #[error("could not read certificates from `{path}`: {why}")]
    CaFile { path: String, why: String },
}

type Constructor = fn(&Settings) -> Result<Arc<dyn Provider>, OpenError>;

const PROVIDERS: &[(&str, Constructor)] = &[
    ("openai", |settings| Ok(Arc::new(OpenAi::open(Dialect::OPENAI, settings)?))),
    ("openai-compatible", |settings| Ok(Arc::new(OpenAi::open(Dialect::COMPATIBLE, settings)?))),
    ("custom", |settings| Ok(Arc::new(OpenAi::open(Dialect::CUSTOM, settings)?))),
    (Dialect::AZURE.name, |settings| Ok(Arc::new(OpenAi::open(Dialect::AZURE, settings)?))),
    (Anthropic::PRESET.name, |settings| Ok(Arc::new(Anthropic::open(settings)?))),
    (Gemini::PRESET.name, |settings| Ok(Arc::new(Gemini::open(settings)?))),
    (Bedrock::PRESET.name, |settings| Ok(Arc::new(Bedrock::open(settings)?))),
    (Vertex::PRESET.name, |settings| Ok(Arc::new(Vertex::open(settings)?))),
    (VllmOffline::NAME, |settings| Ok(Arc::new(VllmOffline::open(settings)?))),
];

/// Opens an account. Sends nothing.
pub fn open(name: &str, settings: &Settings) -> Result<Arc<dyn Provider>, OpenError> {
    if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
        return Ok(Arc::new(OpenAi::open(*preset, settings)?));
    }
    let known = PROVIDERS.iter().find(|(known, _)| *known == name);
    let (_, constructor) = known.ok_or_else(|| OpenError::UnknownProvider { name: name.to_owned() })?;
    constructor(settings)
}

/// A service that needs no more than its key, or its key and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// As in `provider/model`.
    pub name: &'static str,
    /// `None`: everybody has an address of his own there.
    pub base_url: Option<&'static str>,
    /// The environment variable that holds the key.
    pub key_env: &'static str,
    pub facts: Facts,
    /// Variables that its own tools look at, and so does it: credentials are found there that are no key.
    pub variables: &'static [&'static str],
}

impl Preset {
    /// The variable that names the service's address: `GROQ_BASE_URL`, and `AZURE_OPENAI_ENDPOINT` as Azure's own SDKs call it.
    #[must_use]
    pub fn base_env(&self) -> String {
        match self.key_env.strip_suffix("_API_KEY") {
            Some(service) if self.base_url.is_none() => format!("{service}_ENDPOINT"),
            _ => format!("{}_BASE_URL", self.name.to_ascii_uppercase()),
        }
    }
}

/// Every service that needs no more than its key, in the order of the documentation.
pub fn presets() -> impl Iterator<Item = Preset> {
    let rows = std::iter::once(&Dialect::AZURE).chain(PRESETS).map(|row| Preset {
        name: row.name,
        base_url: row.base_url,
        key_env: row.key_env,
        facts: row.facts(),
        variables: &[],
    });
    [Anthropic::PRESET, Gemini::PRESET, Vertex::PRESET, Bedrock::PRESET].into_iter().chain(rows)
}

#[must_use]
pub fn names() -> Vec<&'static str> {
    PROVIDERS.iter().map(|(name, _)| *name).chain(PRESETS.iter().map(|preset| preset.name)).collect()
}
