//! What an engine needs besides a job: where its state is, what models cost, how to reach providers.

use std::path::PathBuf;
use std::sync::Arc;

use bulkrate_core::price::Catalogue;
use bulkrate_core::tokens::CountTokens;
use bulkrate_provider::Provider;

use crate::EngineError;

pub use crate::paths::local_runs;

/// Everything that is the machine's or the account's, not the job's.
#[derive(Debug, Clone)]
pub struct Settings {
    pub state_dir: PathBuf,
    pub catalogue: Arc<Catalogue>,
    /// Opened providers, by the name before the slash in `provider/model`.
    pub accounts: Vec<Account>,
    /// Counts tokens where bytes cannot decide. Loads nothing before it is asked.
    pub tables: Arc<dyn CountTokens>,
    /// Seeds jitter and ids; from the system in the binary, fixed in tests.
    pub seed: u64,
    /// Items of open batches that are held in memory, some 56 bytes each; those of further batches are read again when their
    /// results are there.
    pub batch_items_kept: usize,
}

/// The usual [`Settings::batch_items_kept`]: 7 MB.
pub const BATCH_ITEMS_KEPT: usize = 1 << 17;

/// One credential at one provider.
#[derive(Debug, Clone)]
pub struct Account {
    /// As in `provider/model`.
    pub provider: String,
    /// Whose API it is, where `provider` is a name that the user gave: such an account has the models of that provider.
    pub serves: Option<String>,
    /// Digest of provider, base URL, project and salted credential: what a submission is bound to.
    pub id: String,
    pub api: Arc<dyn Provider>,
    /// The base URL is not the provider's own: any model id is accepted.
    pub custom: bool,
    /// The environment variable that holds the key, for messages.
    pub key_env: String,
    pub has_key: bool,
    /// The user said which variable that is: then one is expected, wherever the account is.
    pub key_named: bool,
    /// A variable with another address that may be meant as well: what this account serves is then refused.
    pub rival: Option<String>,
}

impl Account {
    /// The provider whose models it has.
    #[must_use]
    pub fn whose(&self) -> &str {
        self.serves.as_deref().unwrap_or(&self.provider)
    }

    /// Whether calls would go without a key that is needed, or that the user meant them to have.
    #[must_use]
    pub fn lacks_key(&self) -> bool {
        !self.has_key && (self.key_named || !self.custom && self.api.facts().needs_key)
    }

    /// The error of an account whose key is not set.
    #[must_use]
    pub fn no_key(&self) -> EngineError {
        EngineError::NoCredentials { provider: self.provider.clone(), key_env: self.key_env.clone() }
    }
}
