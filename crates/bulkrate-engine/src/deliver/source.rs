//! The source of a job, read again.

use std::fs::File;
use std::path::Path;

use bulkrate_io::{Input, OnBadLine, Source, SourceError, SourceOptions, Stamp, digest_file};
use bulkrate_store::JobRow;

use super::format_of;
use crate::EngineError;
use crate::paths::{JobDir, io_error};
use crate::spec::{self, JobSpec, SourceSpec};

/// How a job's source is read, the first time and again: the same options give the same records the same numbers.
pub(crate) fn source_options(source: &SourceSpec, limit: Option<u64>) -> Result<SourceOptions, EngineError> {
    let options = source.path.as_ref().map_or_else(|| SourceOptions::new("-"), SourceOptions::new);
    Ok(SourceOptions {
        format: source.format.as_deref().map(format_of).transpose()?,
        on_bad_line: match source.on_bad_line {
            spec::OnBadLine::Fail => OnBadLine::Fail,
            spec::OnBadLine::Skip => OnBadLine::Skip,
            spec::OnBadLine::Dead => OnBadLine::Dead,
        },
        limit,
        ..options
    })
}

/// Opens the source again, or what was kept of standard input, if it still has the digest the job was made from.
pub(crate) fn reopen(spec: &JobSpec, job: &JobRow, dir: &JobDir, rows: u64) -> Result<Source, EngineError> {
    is_there(spec, job, dir)?;
    let options = source_options(&spec.source, Some(rows))?;
    let spool = dir.spool();
    match &options.input {
        Input::File(_) => Ok(Source::open(&options)?),
        Input::Stdin => {
            let file = File::open(&spool).map_err(io_error("could not open", &spool))?;
            Ok(Source::from_reader(Box::new(file), &options)?)
        }
    }
}

/// Refuses a source that the rows could not be written from, before more is paid for them.
pub(crate) fn check(spec: &JobSpec, job: &JobRow, dir: &JobDir) -> Result<(), EngineError> {
    if spec.sink.path.is_none() || spec.sink.answers_only {
        return Ok(());
    }
    is_there(spec, job, dir)
}

/// Whether the source, or what was kept of standard input, is what the job was made from.
fn is_there(spec: &JobSpec, job: &JobRow, dir: &JobDir) -> Result<(), EngineError> {
    let spool = dir.spool();
    if is_unchanged(spec.source.path.as_deref().unwrap_or(&spool), spec, job)? {
        return Ok(());
    }
    Err(EngineError::SourceChanged { path: path_text(spec) })
}

/// By the file system's word where the job has its stamp, else by its digest.
fn is_unchanged(path: &Path, spec: &JobSpec, job: &JobRow) -> Result<bool, EngineError> {
    let stamp = super::checkpoint_of(job).ok().and_then(|checkpoint| checkpoint.stamp);
    if stamp.is_some_and(|stamp| Stamp::of(path).is_ok_and(|now| now == stamp)) {
        return Ok(true);
    }
    let digest = digest_file(path).map_err(|error| match error {
        SourceError::Missing { .. } => EngineError::SourceChanged { path: path_text(spec) },
        error => error.into(),
    })?;
    Ok(job.source_digest.is_empty() || digest == job.source_digest)
}

/// The source as messages name it.
pub(crate) fn path_text(spec: &JobSpec) -> String {
    spec.source.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
}
