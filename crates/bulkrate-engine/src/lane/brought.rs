//! What a batch has brought, byte for byte: the digests of its result files, kept in its row once all of them have landed.
//! `verify` compares the files on disk with them.

use std::path::PathBuf;

use bulkrate_io::digest_file;
use bulkrate_store::Submission;
use serde::{Deserialize, Serialize};

use super::evidence::{field, put};
use crate::paths::BatchDir;

/// Beside whatever else the row's evidence says.
const FIELD: &str = "files";

/// Digests by file; what did not come has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Brought {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errors: Option<String>,
}

impl Brought {
    /// What lies on disk.
    pub(crate) fn of(dir: &BatchDir) -> Self {
        Self { output: digest_file(dir.output()).ok(), errors: digest_file(dir.errors()).ok() }
    }

    /// What a row remembers; nothing of a batch that is not settled, or was by an older version.
    pub(crate) fn kept(row: &Submission) -> Self {
        field(row, FIELD)
    }

    /// Puts it into the row.
    pub(crate) fn keep(&self, row: &mut Submission) {
        if *self == Self::default() {
            return;
        }
        put(row, FIELD, serde_json::json!(self));
    }

    /// The name, place and digest of each file.
    pub(crate) fn files(self, dir: &BatchDir) -> impl Iterator<Item = (&'static str, PathBuf, String)> {
        let files =
            [("output.jsonl", dir.output(), self.output), ("errors.jsonl", dir.errors(), self.errors)];
        files.into_iter().filter_map(|(name, path, digest)| Some((name, path, digest?)))
    }
}
