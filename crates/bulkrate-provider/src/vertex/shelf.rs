//! Where inputs and results of batches lie: a bucket, or a dataset of BigQuery. What is named there says by its scheme which.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bulkrate_core::failure::FailureClass;

use super::storage::{Folder, Storage};
use super::tables::{Dataset, Tables};
use super::{Place, account, variable};
use crate::api::{ApiError, Exchange};
use crate::http::free::FreeClient;
use crate::http::sign::Sign;
use crate::registry::OpenError;
use crate::settings::Settings;

const STORAGE: &str = "https://storage.googleapis.com";
const BIGQUERY: &str = "https://bigquery.googleapis.com";
/// Variables by which Google's own clients are led to a stand-in.
pub(super) const STORAGE_HOST: &str = "STORAGE_EMULATOR_HOST";
pub(super) const BIGQUERY_HOST: &str = "BIGQUERY_EMULATOR_HOST";

/// The scheme of a table's address.
pub(super) const TABLE: &str = "bq://";
/// The same of an object's.
pub(super) const OBJECT: &str = "gs://";

/// The code of a file that lies where this shelf does not reach.
const OTHER_SHELF: &str = "other_storage";

/// A name of the other kind is no file that is gone: `storage` named a bucket when the batch was made and names a dataset now, or the
/// other way round. `Err` stops the job, with all that it has.
pub(super) fn check(free: &FreeClient, what: &str, name: &str, other: &str) -> Result<(), ApiError> {
    if !name.starts_with(other) {
        return Ok(());
    }
    let why = format!("`{name}` is not where `storage` is now: name what it named when this batch was made");
    Err(own_fault(free, what, OTHER_SHELF, &why))
}

/// What only the user can put right: the job stops, with all that it has.
pub(super) fn own_fault(free: &FreeClient, what: &str, code: &str, why: &str) -> ApiError {
    let mut error = free.error(what, None, FailureClass::Auth, why);
    error.failure.provider_code = Some(code.to_owned());
    error
}

/// Files of one account's batches.
#[async_trait]
pub(super) trait Shelf: Send + Sync + Debug {
    /// Whether it is there, and may be looked into.
    async fn look(&self) -> Result<(), ApiError>;

    /// Brings a file of lines there under a name that nothing else has, made of this one; answers its address.
    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError>;

    /// Brings what lies under a name to one file of lines. `None`: there is nothing.
    async fn download(&self, name: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError>;

    /// Whether a batch has written any results under a name.
    async fn has_results(&self, name: &str) -> Result<bool, ApiError>;

    /// Whether results may be seen in part for a while.
    fn is_seen_late(&self) -> bool {
        false
    }

    /// Deletes what lies under a name.
    async fn delete(&self, name: &str) -> Result<(), ApiError>;
}

/// What `storage` names.
#[derive(Debug)]
pub(super) enum Named {
    Bucket(Folder),
    Dataset(Dataset),
}

impl Named {
    /// Reads `bq://dataset`, `bq://project.dataset`, or anything that names a bucket.
    pub(super) fn read(text: &str, place: &Place) -> Result<Self, String> {
        match text.trim().strip_prefix(TABLE) {
            Some(dataset) => Dataset::read(dataset, &place.project).map(Self::Dataset),
            None => Folder::read(text).map(Self::Bucket),
        }
    }

    pub(super) fn is_dataset(&self) -> bool {
        matches!(self, Self::Dataset(_))
    }

    /// Another service, with the same tokens. A stand-in for it that is no https gets none. Sends nothing.
    pub(super) fn open(
        self,
        settings: &Settings,
        tokens: Option<&Arc<dyn Sign>>,
        place: &Place,
        line: Option<&Arc<dyn Exchange>>,
    ) -> Result<Arc<dyn Shelf>, OpenError> {
        let (usual, name) = match &self {
            Self::Bucket(_) => (STORAGE, STORAGE_HOST),
            Self::Dataset(_) => (BIGQUERY, BIGQUERY_HOST),
        };
        let url = variable(settings, name).map_or_else(
            || usual.to_owned(),
            // Some write it without a scheme.
            |host| if host.contains("://") { host.to_owned() } else { format!("http://{host}") },
        );
        let settings = Settings { base_url: Some(url), ..settings.clone() };
        let (account, _) = account(&settings, tokens)?;
        Ok(match self {
            Self::Bucket(folder) => {
                let free = FreeClient::on(line, account, &settings, super::storage::classify)?;
                Arc::new(Storage::new(free, folder))
            }
            Self::Dataset(dataset) => {
                let free = FreeClient::new(account, &settings, super::tables::classify)?;
                Arc::new(Tables::new(free, dataset, place.clone()))
            }
        })
    }
}
