//! What the embeddings in a job's source have cost: an ordinary job of kind embedding has made them, in whose books that stands.
//!
//! Nobody has to name that job: its report remembers the file that it wrote, and the job that reads it knows its source, both by the
//! digest of all bytes. A file that was changed on the way, or made in another state folder, is nobody's.

use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::Kind;
use bulkrate_store::{JobRow, LedgerQuery, View};
use serde::Serialize;

use crate::EngineError;
use crate::deliver::spec_of;
use crate::engine::delivered::delivered_file;
use crate::reader::status::sums;

/// What was paid for the embeddings in a source. It is booked where it was paid, and nowhere twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceCost {
    /// The jobs that have written this very file: one, unless another came to the same.
    pub jobs: Vec<String>,
    pub spent: UsdNanos,
}

/// Of a job with a filter, which alone reads embeddings from a source; `None`: nothing is known of any.
pub(crate) fn embeddings_of(view: &dyn View, job: &JobRow) -> Result<Option<SourceCost>, EngineError> {
    if job.source_digest.is_empty() || spec_of(job)?.request.filter.is_none() {
        return Ok(None);
    }
    let mut found = SourceCost { jobs: Vec::new(), spent: UsdNanos::ZERO };
    for other in view.jobs()? {
        let wrote_it = || delivered_file(&other).is_some_and(|file| file.digest == job.source_digest);
        if other.no == job.no || !wrote_it() || spec_of(&other)?.request.kind != Kind::Embedding {
            continue;
        }
        let spent = sums(view, &LedgerQuery::of_job(other.no))?.spent().settled;
        found.spent = found.spent.saturating_add(spent);
        found.jobs.push(other.id);
    }
    Ok((!found.jobs.is_empty()).then_some(found))
}
