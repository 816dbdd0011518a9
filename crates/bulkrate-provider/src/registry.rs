//! Every provider, one line each.

use std::path::Path;
use std::sync::Arc;

use crate::anthropic::Anthropic;
use crate::api::{Facts, Provider};
use crate::bedrock::Bedrock;
use crate::gemini::Gemini;
use crate::openai::entra;
use crate::openai::presets::PRESETS;
use crate::openai::{Dialect, OpenAi};
use crate::settings::Settings;
use crate::vertex::Vertex;
use crate::vllm::{self, VllmOffline};

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
    #[error("`api_version` {version} is none that `{provider}` has; known are {known}")]
    ApiVersion { version: String, provider: &'static str, known: String },
    #[error("could not read certificates from `{path}`: {why}")]
    CaFile { path: String, why: String },
}

type Constructor = fn(&Settings) -> Result<Arc<dyn Provider>, OpenError>;

/// How an account is come by.
enum Way {
    /// By the settings' own address and key.
    Settings,
    /// The same, but only at an address of the user's own.
    OwnAddress,
    /// By a key in a variable, or by what is found on the machine.
    Preset(fn() -> Preset),
    /// It is a program of this machine. With what takes away what a submission that is over has left in a folder.
    Program(fn(&Path, &str) -> std::io::Result<()>),
}

const PROVIDERS: &[(&str, Way, Constructor)] = &[
    (Dialect::OPENAI.name, Way::Settings, |settings| Ok(Arc::new(OpenAi::open(Dialect::OPENAI, settings)?))),
    (Dialect::COMPATIBLE.name, Way::OwnAddress, |settings| {
        Ok(Arc::new(OpenAi::open(Dialect::COMPATIBLE, settings)?))
    }),
    (Dialect::CUSTOM.name, Way::OwnAddress, |settings| {
        Ok(Arc::new(OpenAi::open(Dialect::CUSTOM, settings)?))
    }),
    (Anthropic::PRESET.name, Way::Preset(|| Anthropic::PRESET), |settings| {
        Ok(Arc::new(Anthropic::open(settings)?))
    }),
    (Gemini::PRESET.name, Way::Preset(|| Gemini::PRESET), |settings| Ok(Arc::new(Gemini::open(settings)?))),
    (Vertex::PRESET.name, Way::Preset(|| Vertex::PRESET), |settings| Ok(Arc::new(Vertex::open(settings)?))),
    (Bedrock::PRESET.name, Way::Preset(|| Bedrock::PRESET), |settings| {
        Ok(Arc::new(Bedrock::open(settings)?))
    }),
    (Dialect::AZURE.name, Way::Preset(|| preset(&Dialect::AZURE)), |settings| {
        Ok(Arc::new(OpenAi::open(Dialect::AZURE, settings)?))
    }),
    (VllmOffline::NAME, Way::Program(vllm::forget), |settings| Ok(Arc::new(VllmOffline::open(settings)?))),
];

/// Opens an account. Sends nothing.
pub fn open(name: &str, settings: &Settings) -> Result<Arc<dyn Provider>, OpenError> {
    if let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) {
        return Ok(Arc::new(OpenAi::open(*preset, settings)?));
    }
    let known = PROVIDERS.iter().find(|(known, ..)| *known == name);
    let (.., constructor) = known.ok_or_else(|| OpenError::UnknownProvider { name: name.to_owned() })?;
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
    /// What these credentials are called; empty where there is only a key.
    pub found: &'static str,
    /// How the place is written where files of batches lie; empty where the service keeps them itself.
    pub storage: &'static str,
    /// Versions of its API that a setting may name; none: whatever is named, or none is.
    pub versions: &'static [&'static str],
}

impl Preset {
    /// Whether a version that is set for all services may be meant for this one.
    #[must_use]
    pub fn has_version(&self, version: &str) -> bool {
        self.versions.is_empty() || self.versions.contains(&version.trim())
    }

    /// The variable that names the service's address: `GROQ_BASE_URL`, and `AZURE_OPENAI_ENDPOINT` as Azure's own SDKs call it.
    #[must_use]
    pub fn base_env(&self) -> String {
        match self.key_env.strip_suffix("_API_KEY") {
            Some(service) if self.base_url.is_none() => format!("{service}_ENDPOINT"),
            _ => format!("{}_BASE_URL", self.name.to_ascii_uppercase()),
        }
    }
}

/// Of a row of OpenAI's family.
fn preset(row: &Dialect) -> Preset {
    Preset {
        name: row.name,
        base_url: row.base_url,
        key_env: row.key_env,
        facts: row.facts(),
        // What is called by deployments is Azure's, whose tokens take the place of a key.
        variables: if row.deploys { entra::VARIABLES } else { &[] },
        found: if row.deploys { "credentials of Entra" } else { "" },
        storage: "",
        versions: &[],
    }
}

/// Every service that needs no more than its key, in the order of the documentation.
pub fn presets() -> impl Iterator<Item = Preset> {
    let own = PROVIDERS.iter().filter_map(|(_, way, _)| match way {
        Way::Preset(preset) => Some(preset()),
        _ => None,
    });
    own.chain(PRESETS.iter().map(preset))
}

/// What is reached by the settings' own address and key. `users`: the address is one of the user's own.
pub fn by_settings(users: bool) -> impl Iterator<Item = &'static str> {
    let reached = move |way: &Way| matches!(way, Way::Settings) || users && matches!(way, Way::OwnAddress);
    PROVIDERS.iter().filter(move |(_, way, _)| reached(way)).map(|(name, ..)| *name)
}

/// What runs on this machine: no address, no key.
pub fn programs() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().filter(|(_, way, _)| matches!(way, Way::Program(_))).map(|(name, ..)| *name)
}

/// Takes away what programs of this machine have left in `folder` of a submission that is over.
pub fn forget(folder: &Path, sub: &str) -> std::io::Result<()> {
    PROVIDERS.iter().try_for_each(|(_, way, _)| match way {
        Way::Program(forget) => forget(folder, sub),
        _ => Ok(()),
    })
}

#[must_use]
pub fn names() -> Vec<&'static str> {
    PROVIDERS.iter().map(|(name, ..)| *name).chain(PRESETS.iter().map(|preset| preset.name)).collect()
}
