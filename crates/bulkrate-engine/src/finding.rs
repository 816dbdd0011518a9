//! Which job a user means: by id, by a prefix of it, or by name.

use bulkrate_store::{JobRow, View};

use crate::EngineError;

/// The one job that `wanted` names; of several with one name the newest that is not done, else the newest.
pub(crate) fn find(view: &dyn View, wanted: &str) -> Result<JobRow, EngineError> {
    let jobs = view.jobs()?;
    if let Some(job) = jobs.iter().find(|job| job.id == wanted) {
        return Ok(job.clone());
    }
    let matching: Vec<&JobRow> = jobs.iter().filter(|job| job.name == wanted || (!wanted.is_empty() && job.id.starts_with(wanted))).collect();
    match matching.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let names = jobs.iter().flat_map(|job| [job.id.as_str(), job.name.as_str()]);
            let nearest = bulkrate_core::route::nearest(wanted, names).map(str::to_owned).into_iter().collect();
            Err(EngineError::UnknownJob { job: wanted.to_owned(), nearest })
        }
        several => Err(EngineError::AmbiguousJob { job: wanted.to_owned(), candidates: several.iter().map(|job| format!("{} ({})", job.id, job.name)).collect() }),
    }
}
