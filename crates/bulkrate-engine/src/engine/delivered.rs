//! The file that a job has written, as its stored report remembers it: `verify` compares the file on disk with that.
//!
//! Invariant
//! - While a file is being replaced no digest stands for it: what a crash leaves there is not called an edit.

use std::path::{Path, PathBuf};

use bulkrate_io::digest_file;
use bulkrate_store::{JobRow, Tx};
use serde::{Deserialize, Serialize};

use super::Engine;
use crate::EngineError;
use crate::spec::JobSpec;

/// Beside the fields of the report.
pub(crate) const FIELD: &str = "delivered_file";

/// A whole file, and the digest of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveredFile {
    pub path: PathBuf,
    pub digest: String,
}

impl DeliveredFile {
    /// `None` for what cannot be read again: standard output, a device, a pipe.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok().filter(|path| path.is_file())?;
        let digest = digest_file(&path).ok()?;
        Some(Self { path, digest })
    }
}

/// The file that the job has last written.
pub(crate) fn delivered_file(job: &JobRow) -> Option<DeliveredFile> {
    let mut report = report_of(job)?;
    serde_json::from_value(report.get_mut(FIELD)?.take()).ok()
}

/// The report that is stored, as it is there.
pub(crate) fn report_of(job: &JobRow) -> Option<serde_json::Value> {
    serde_json::from_str(job.report.as_deref()?).ok()
}

/// A file that the job wrote and somebody has changed since is theirs: it is not replaced unasked.
pub(super) fn check_unedited(row: &JobRow, spec: &JobSpec) -> Result<(), EngineError> {
    let path = spec.sink.path.as_ref().filter(|_| !spec.sink.force);
    let Some((path, written)) = path.zip(delivered_file(row)) else { return Ok(()) };
    if std::path::absolute(path).is_ok_and(|path| path != written.path) {
        return Ok(());
    }
    match DeliveredFile::of(path) {
        Some(found) if found.digest != written.digest => {
            Err(bulkrate_io::SinkError::Edited { path: path.clone() }.into())
        }
        _ => Ok(()),
    }
}

impl Engine {
    /// Before the file is touched.
    pub(super) fn forget_delivered(&self, job: u32) -> Result<(), EngineError> {
        let Some(row) = self.reader()?.job(job)?.filter(|row| delivered_file(row).is_some()) else {
            return Ok(());
        };
        let Some(mut report) = report_of(&row) else { return Ok(()) };
        if let Some(fields) = report.as_object_mut() {
            fields.remove(FIELD);
        }
        let mut tx = Tx::new(job);
        tx.report = Some(report.to_string());
        self.writer.commit(tx).map(drop).map_err(|error| crate::error::stored(&error))
    }
}
