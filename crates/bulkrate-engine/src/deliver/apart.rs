//! Outputs that would destroy what the job needs: the source, and what the state folder holds. Refused even if an existing
//! file may be replaced.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bulkrate_io::SinkError;

use crate::EngineError;
use crate::paths::is_of_state;
use crate::spec::JobSpec;

/// # Errors
/// `sink-bad-path`, where `out` is the job's source under any name, or a file of the state.
pub(crate) fn keep_apart(spec: &JobSpec, state_dir: &Path, out: &Path) -> Result<(), EngineError> {
    let refused = |what| Err(SinkError::Precious { path: out.to_owned(), what }.into());
    if out.as_os_str() == "-" {
        return Ok(());
    }
    if spec.source.path.as_deref().is_some_and(|source| is_same(source, out)) {
        return refused("it is the source of the job");
    }
    match (landing(out), state_dir.canonicalize()) {
        (Some(landing), Ok(state)) if landing.strip_prefix(&state).is_ok_and(is_of_state) => {
            refused("it is a file of the state folder")
        }
        _ => Ok(()),
    }
}

/// By inode, so that no link hides it.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Where a file written to `out` would lie, with links resolved.
fn landing(out: &Path) -> Option<PathBuf> {
    if let Ok(there) = out.canonicalize() {
        return Some(there);
    }
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(out.file_name()?))
}
