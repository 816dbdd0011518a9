//! Everything a command may end with, one way of printing it and one exit code.

use std::error::Error as _;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::price::{CatalogueError, ImportError, ResolveError, WorkloadError};
use bulkrate_engine::EngineError;
use bulkrate_provider::OpenError;

use super::RouteError;
use crate::config::ConfigError;

/// A command that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("no space is left for the state in `{dir}`")]
    StateFull { dir: String, source: Box<EngineError> },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("`{path}`: {source}")]
    Prices { path: String, source: CatalogueError },
    #[error("`{path}`: {source}")]
    Import { path: String, source: ImportError },
    #[error(transparent)]
    Model(#[from] ResolveError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("{0}")]
    Provider(bulkrate_provider::ApiError),
    #[error("`{provider}` has no batch API that is known here")]
    NoBatches { provider: String },
    #[error("batches at `{provider}` cannot be cancelled: nothing was ordered")]
    RunsToItsEnd { provider: String },
    #[error("`{provider}` is not set up here")]
    NotSetUp { provider: String },
    #[error("the simulator stopped: {0}")]
    Sim(#[from] bulkrate_sim::SimError),
    #[error("not confirmed: nothing was {0}")]
    Declined(&'static str),
    #[error("could not start the runtime: {0}")]
    Runtime(std::io::Error),
}

impl AppError {
    /// The name of the page in `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::StateFull { source, .. } => source.code(),
            Self::Open(_) => "provider-setup",
            Self::Prices { source, .. } => source.code(),
            Self::Import { source, .. } => source.code(),
            Self::Model(error) => error.code(),
            Self::Workload(error) => error.code(),
            Self::Route(error) => error.code(),
            Self::Provider(error) if error.is_unanswered() => "provider-unreachable",
            Self::Provider(_) => "provider-refused",
            Self::NoBatches { .. } => "lane-unavailable",
            Self::RunsToItsEnd { .. } => "batch-not-cancellable",
            Self::NotSetUp { .. } => "provider-not-set-up",
            Self::Sim(_) => "simulator-failed",
            Self::Declined(_) => "not-confirmed",
            Self::Runtime(_) => "runtime-failed",
        }
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Engine(EngineError::Store(error)) => Some(error.hint()),
            Self::Engine(EngineError::StoreFailed(error)) => Some(error.hint()),
            Self::Engine(error) => error.hint(),
            Self::StateFull { dir, .. } => Some(format!(
                "free some space where `{dir}` is and run the same command again; nothing that was committed is lost"
            )),
            Self::Prices { source, .. } => Some(source.hint()),
            Self::Import { source, .. } => Some(source.hint().to_owned()),
            Self::Model(error) => Some(error.hint()),
            Self::Workload(error) => error.hint().map(str::to_owned),
            Self::Route(error) => Some(error.hint()),
            Self::Declined(_) => Some("pass `--yes` to skip the question".to_owned()),
            Self::Sim(error) => error.hint().map(str::to_owned),
            Self::Open(OpenError::NoBaseUrl { .. } | OpenError::BadBaseUrl { .. }) => Some(
                "write the base URL with its version, such as `--base-url http://127.0.0.1:8000/v1`"
                    .to_owned(),
            ),
            Self::Provider(error) if error.is_unanswered() => Some(
                "check the base URL, the network and the proxy; `bulkrate doctor` tries the address"
                    .to_owned(),
            ),
            Self::Provider(_) => Some("`bulkrate doctor` checks the key and the address".to_owned()),
            Self::NoBatches { .. } => Some("`bulkrate explain lane-unavailable` says who has one".to_owned()),
            Self::RunsToItsEnd { .. } => Some(
                "`bulkrate cancel` keeps the rest of the job from being sent; what runs is collected when it has ended"
                    .to_owned(),
            ),
            Self::NotSetUp { provider } => {
                let preset = bulkrate_provider::presets().find(|preset| preset.name == provider);
                let key = preset.map(|preset| format!("set `{}`", preset.key_env));
                let known = || {
                    let names = bulkrate_provider::names().join(", ");
                    format!(
                        "known are: {names}; accounts of a job are known where its file or its name is given"
                    )
                };
                Some(key.unwrap_or_else(known))
            }
            Self::Open(_) | Self::Runtime(_) => None,
        }
    }

    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(error) => error.exit_code(),
            Self::StateFull { source, .. } => source.exit_code(),
            Self::Config(_)
            | Self::Open(_)
            | Self::Prices { .. }
            | Self::Import { .. }
            | Self::Model(_)
            | Self::Workload(_)
            | Self::Route(_)
            | Self::Sim(_) => 2,
            Self::NoBatches { .. } | Self::RunsToItsEnd { .. } | Self::NotSetUp { .. } => 2,
            Self::Provider(error) if error.failure.class == FailureClass::Auth => 4,
            Self::Provider(_) => 1,
            Self::Declined(_) => 3,
            Self::Runtime(_) => 1,
        }
    }

    /// `error[code]: message`, the causes not yet told, a hint and where to read more.
    #[must_use]
    pub fn page(&self) -> String {
        let mut text = format!("error[{}]: {self}\n", self.code());
        let mut cause = self.source();
        let mut told = self.to_string();
        while let Some(error) = cause {
            let line = error.to_string();
            if !told.contains(&line) {
                text.push_str(&format!("  because: {line}\n"));
                told.push_str(&line);
            }
            cause = error.source();
        }
        text.push('\n');
        if let Some(hint) = self.hint() {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text.push_str(&format!("docs: bulkrate explain {}\n", self.code()));
        text
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "code": self.code(), "message": self.to_string(), "hint": self.hint(), "exit_code": self.exit_code(),
        } })
    }

    /// Tells a person on standard error, and with `--json` a program on standard output.
    pub fn tell(&self, json: bool) {
        crate::report::out::talk(&self.page());
        if json {
            crate::report::out::json(&self.json());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page_says_what_and_what_to_do() {
        let error =
            AppError::Config(ConfigError::option("--name", "standard input needs a name", Some("name it")));
        insta::assert_snapshot!(error.page(), @r"
        error[option-invalid]: --name: standard input needs a name

        hint: name it
        docs: bulkrate explain option-invalid
        ");
        assert_eq!(error.exit_code(), 2);
    }
}
