//! The file that a job has written, as it lies there now.

use bulkrate_io::{SourceError, digest_file};
use bulkrate_store::JobRow;

use super::Faults;
use crate::engine::delivered::delivered_file;
use crate::view::Check;

/// A file that is gone is the user's own doing and breaks nothing; one that says something else must not pass for the job's.
pub(super) fn delivered(job: &JobRow) -> Check {
    let mut faults = Faults::default();
    let again = format!("`bulkrate results {} --out FILE` writes the results again", job.name);
    let proved = match delivered_file(job) {
        None => "no file is on record as written".to_owned(),
        Some(file) => {
            let path = file.path.display();
            match digest_file(&file.path) {
                Ok(digest) if digest == file.digest => format!("`{path}` is as the job wrote it"),
                Ok(_) => {
                    faults.add(|| {
                        format!("`{path}` is not what the job wrote: it was edited or replaced since")
                    });
                    again
                }
                Err(SourceError::Missing { .. }) => {
                    format!("`{path}` is not there any more: it was moved away or deleted; {again}")
                }
                Err(error) => {
                    faults.add(|| format!("`{path}`: {error}"));
                    again
                }
            }
        }
    };
    faults.check("delivered file is as written", proved)
}
