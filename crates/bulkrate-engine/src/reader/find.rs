//! The job that a user names.

use bulkrate_core::route::nearest;
use bulkrate_store::{JobRow, View};

use crate::EngineError;

/// By id, by name, by the beginning of an id; in this order.
pub(crate) fn find(view: &dyn View, wanted: &str) -> Result<JobRow, EngineError> {
    let mut jobs = view.jobs()?;
    if let Some(place) = jobs.iter().position(|job| job.id == wanted) {
        return Ok(jobs.swap_remove(place));
    }
    let named = jobs.iter().any(|job| job.name == wanted);
    let fits = |job: &&JobRow| {
        if named { job.name == wanted } else { !wanted.is_empty() && job.id.starts_with(wanted) }
    };
    let fitting: Vec<&JobRow> = jobs.iter().filter(fits).collect();
    match fitting.as_slice() {
        [job] => Ok((*job).clone()),
        [] => {
            let names = jobs.iter().flat_map(|job| [job.name.as_str(), job.id.as_str()]);
            let nearest = nearest(wanted, names).map(str::to_owned).into_iter().collect();
            Err(EngineError::UnknownJob { job: wanted.to_owned(), nearest })
        }
        several => {
            let candidates = several.iter().map(|job| format!("{} ({})", job.id, job.name)).collect();
            Err(EngineError::AmbiguousJob { job: wanted.to_owned(), candidates })
        }
    }
}
