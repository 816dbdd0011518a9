//! What is wrong with flags, job files and the files they name.

use std::path::PathBuf;

use bulkrate_core::filter::FilterError;
use bulkrate_core::route::learned::FileError;

/// A configuration that cannot be used. Nothing was read from the source and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `place` is `file:line:column`.
    #[error("{place}: {message}")]
    JobFile { place: String, message: String, hint: Option<String> },
    #[error("{option}: {message}")]
    Option { option: String, message: String, hint: Option<String> },
    #[error("the schema `{path}` is no JSON Schema: {why}")]
    Schema { path: String, why: String },
    #[error("could not read {what} `{}`: {source}", .path.display())]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{}` cannot be used as a router: {source}", .path.display())]
    Router { path: PathBuf, source: FileError },
    #[error("`{}`: {source}", .path.display())]
    Filter { path: PathBuf, source: FilterError },
    #[error("`{}` is there already", .path.display())]
    Exists { path: PathBuf },
    #[error("could not write `{}`: {source}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl ConfigError {
    /// The name of the page in `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::JobFile { .. } => "job-file-invalid",
            Self::Option { .. } => "option-invalid",
            Self::Schema { .. } => "schema-invalid",
            Self::Read { .. } => "file-unreadable",
            Self::Router { source, .. } => source.code(),
            Self::Filter { source, .. } => source.code(),
            Self::Exists { .. } => "file-exists",
            Self::Write { .. } => "file-unwritable",
        }
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::JobFile { hint, .. } | Self::Option { hint, .. } => hint.clone(),
            Self::Schema { .. } => {
                Some("mend the schema file; it must hold one JSON Schema, which is a JSON object".to_owned())
            }
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path; paths in a job file are relative to that file".to_owned())
            }
            Self::Router { source, .. } => Some(source.hint().to_owned()),
            Self::Filter { source, .. } => Some(source.hint().to_owned()),
            Self::Exists { .. } => Some("choose another name, or remove the file first".to_owned()),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }

    pub(crate) fn option(option: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Option { option: option.to_owned(), message: message.into(), hint: hint.map(str::to_owned) }
    }
}
