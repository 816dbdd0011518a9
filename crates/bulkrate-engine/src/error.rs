//! What can stop the engine, with a code that has a page in `docs/errors/`.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::prepare::{ItemError, columns_hint};
use bulkrate_core::request::AddressError;
use bulkrate_core::route::nearest;
use bulkrate_io::{SinkError, SourceError};
use bulkrate_store::StoreError;

/// Everything the engine may refuse or fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    StoreFailed(std::sync::Arc<StoreError>),
    #[error("{place}: {source}")]
    Item { place: String, source: ItemError },
    #[error("{0}")]
    Setup(ItemError),
    #[error("{place}: the id `{id}` occurs twice; ids must be unique")]
    DuplicateId { place: String, id: String },
    #[error("unknown model `{model}`{}", nearest_text(.nearest))]
    UnknownModel { model: String, nearest: Vec<String> },
    #[error("model `{model}` was retired on {date}{}", .successor.as_ref().map(|next| format!("; its successor is `{next}`")).unwrap_or_default())]
    RetiredModel { model: String, date: String, successor: Option<String> },
    #[error("no credentials for `{provider}`: `{key_env}` is not set")]
    NoCredentials { provider: String, key_env: String },
    #[error(
        "the budget of USD {budget} does not cover the job: {} costs USD {needed} ({basis}), USD {short} more",
        asked_text(*.asked)
    )]
    BudgetTooSmall {
        budget: UsdNanos,
        needed: UsdNanos,
        short: UsdNanos,
        basis: &'static str,
        /// The lane, where `--lane` names one.
        asked: Option<Lane>,
        /// Another lane that the budget covers.
        fits: Option<Lane>,
    },
    #[error(
        "the budget of USD {budget} does not cover the pilot: its {items} items cost up to USD {needed} ({basis}), with what earlier pilots have cost"
    )]
    PilotTooDear { budget: UsdNanos, needed: UsdNanos, items: u64, basis: &'static str },
    #[error("the pilot of `{name}` did not finish: {why}")]
    PilotHalted { name: String, why: String, hint: String, exit: u8 },
    #[error("the embeddings for the semantic cache did not come to their end (job `{name}`): {why}")]
    EmbeddingHalted { name: String, why: String, hint: String, exit: u8 },
    #[error("`{model}` has no known price, so the budget of USD {budget} could not be kept")]
    Unpriced { model: String, budget: UsdNanos },
    #[error("{}, and nobody can be asked: standard input is not a terminal", costs_text(*.p95))]
    NotConfirmed { p95: Option<UsdNanos> },
    #[error("the {lane} lane is not available: {why}")]
    LaneUnavailable { lane: &'static str, why: String },
    #[error("{what}: {why}")]
    BadSpec { code: &'static str, what: String, why: String },
    #[error("no job `{job}` in this state directory{}", nearest_text(.nearest))]
    UnknownJob { job: String, nearest: Vec<String> },
    #[error("`{job}` matches several jobs: {}", .candidates.join(", "))]
    AmbiguousJob { job: String, candidates: Vec<String> },
    #[error("{what} `{path}`: {source}")]
    Io { what: &'static str, path: String, source: std::io::Error },
    #[error("could not set up the provider: {0}")]
    Provider(String),
    #[error("the source `{path}` is no longer what the job was made from")]
    SourceChanged { path: String },
    #[error("nothing came from the last {urls} URLs that were tried; at last: {why}")]
    UrlsAway { urls: u32, why: String },
    #[error("stopped before anything was sent")]
    Stopped,
    #[error("internal: {0}")]
    Internal(String),
}

/// What costs too much.
fn asked_text(asked: Option<Lane>) -> String {
    asked.map_or_else(|| "the cheapest plan".to_owned(), |lane| format!("the {lane} lane, as `--lane` asks,"))
}

fn costs_text(p95: Option<UsdNanos>) -> String {
    p95.map_or_else(
        || "what the plan costs is not known, as a model has no known price".to_owned(),
        |p95| format!("the plan costs up to USD {p95}"),
    )
}

fn nearest_text(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!(
            " (did you mean {}?)",
            nearest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
        )
    }
}

impl EngineError {
    /// The source has other columns than the one that is asked for.
    #[must_use]
    pub fn no_column(name: &str, columns: &[String]) -> Self {
        let near = nearest(name, columns.iter().map(String::as_str));
        let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        Self::BadSpec {
            code: "column-unknown",
            what: format!("the source has no column `{name}`{near}"),
            why: columns_hint(columns),
        }
    }

    /// The name of the page in `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Sink(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::StoreFailed(error) => error.code(),
            Self::Item { source, .. } | Self::Setup(source) => item_code(source),
            Self::DuplicateId { .. } => "item-duplicate-id",
            Self::UnknownModel { .. } => "unknown-model",
            Self::RetiredModel { .. } => "retired-model",
            Self::NoCredentials { .. } => "credentials-missing",
            Self::BudgetTooSmall { .. } | Self::PilotTooDear { .. } => "budget-too-small",
            Self::PilotHalted { .. } => "pilot-halted",
            Self::EmbeddingHalted { .. } => "embedding-halted",
            Self::Unpriced { .. } => "model-unpriced",
            Self::NotConfirmed { .. } => "plan-not-confirmed",
            Self::LaneUnavailable { .. } => "lane-unavailable",
            Self::BadSpec { code, .. } => code,
            Self::UnknownJob { .. } => "job-unknown",
            Self::AmbiguousJob { .. } => "job-ambiguous",
            Self::Io { .. } => "io-failed",
            Self::Provider(_) => "provider-setup",
            Self::SourceChanged { .. } => "source-changed",
            Self::UrlsAway { .. } => "urls-away",
            Self::Stopped => "stopped",
            Self::Internal(_) => "internal",
        }
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Sink(error) => error.hint(),
            Self::Item { source: ItemError::Template(error), .. } | Self::Setup(ItemError::Template(error)) => error.hint(),
            Self::Setup(ItemError::Unsupported { .. }) => Some("leave the setting out, or name a model that takes it".to_owned()),
            Self::Item { .. } => Some("mend the item, or pass `--on-bad-line dead` to go on with the others".to_owned()),
            Self::DuplicateId { .. } => Some("choose a column with unique values for `--id`, or leave `--id` out".to_owned()),
            Self::UnknownModel { .. } => Some("`bulkrate prices list` shows the known models; any model id is accepted with `--base-url`".to_owned()),
            Self::RetiredModel { successor: Some(next), .. } => Some(format!("pass `--model {next}`")),
            Self::NoCredentials { key_env, .. } => Some(format!("set `{key_env}`")),
            Self::BudgetTooSmall { needed, fits: Some(lane), .. } => Some(format!("leave out `--lane`: the {lane} lane fits the budget; or pass `--budget {needed}` or more")),
            Self::BudgetTooSmall { needed, .. } => Some(format!("pass `--budget {needed}` or more, a cheaper `--model`, or `--limit N`")),
            Self::PilotTooDear { needed, .. } => Some(format!("pass `--budget {needed}` or more, a smaller `--pilot`, or fewer candidates")),
            Self::PilotHalted { hint, .. } | Self::EmbeddingHalted { hint, .. } => Some(hint.clone()),
            Self::Unpriced { .. } => Some("pass `--price-in` and `--price-out` (USD per million tokens), or leave `--budget` out".to_owned()),
            // A budget is refused where it could not be kept.
            Self::NotConfirmed { p95: None } => Some("pass `--price-in` and `--price-out` (USD per million tokens), or `--yes` to run without a cap".to_owned()),
            Self::NotConfirmed { .. } => Some("pass `--budget USD` or `--yes`".to_owned()),
            Self::AmbiguousJob { .. } => Some("name it by its id, the first word of each".to_owned()),
            Self::UnknownJob { .. } => Some("`bulkrate status` lists the jobs".to_owned()),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Some("free some space and run the same command again; nothing that was committed is lost".to_owned()),
            Self::Stopped => Some("run the same command again: it begins anew, as nothing is left of it".to_owned()),
            Self::UrlsAway { .. } => Some("look at the network, and run the same command again: nothing was sent".to_owned()),
            Self::SourceChanged { path } if path == "standard input" => Some("give the other data a `--name` of its own, or remove the first job: `bulkrate rm JOB`".to_owned()),
            Self::SourceChanged { .. } => Some("restore the file, or write the answers alone: `bulkrate results JOB --answers-only --out FILE`".to_owned()),
            _ => None,
        }
    }

    /// The exit code of the process that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BudgetTooSmall { .. }
            | Self::PilotTooDear { .. }
            | Self::Unpriced { .. }
            | Self::NotConfirmed { .. } => 3,
            Self::NoCredentials { .. } => 4,
            Self::Stopped => 130,
            Self::PilotHalted { exit, .. } | Self::EmbeddingHalted { exit, .. } => *exit,
            Self::Sink(SinkError::DiskFull { .. } | SinkError::Io { .. })
            | Self::Source(SourceError::Io { .. }) => 1,
            Self::Store(_)
            | Self::StoreFailed(_)
            | Self::Io { .. }
            | Self::Internal(_)
            | Self::UrlsAway { .. }
            | Self::Provider(_) => 1,
            _ => 2,
        }
    }
}

fn item_code(error: &ItemError) -> &'static str {
    match error {
        ItemError::Template(error) => error.code(),
        ItemError::MissingField(_) => "item-missing-field",
        ItemError::EmptyPrompt => "item-empty-prompt",
        ItemError::Image { .. } | ItemError::Blob { .. } => "item-bad-image",
        ItemError::Address { source: AddressError::Refused(_), .. } => "item-url-refused",
        ItemError::Address { source: AddressError::Failed(_) | AddressError::Away(_), .. } => {
            "item-url-failed"
        }
        ItemError::BadRequest(_) => "item-bad-request",
        ItemError::OverContextWindow { .. } => "item-over-context-window",
        ItemError::Unsupported { .. } => "item-unsupported",
    }
}

/// A store error that several waited for.
pub(crate) fn stored(error: &std::sync::Arc<StoreError>) -> EngineError {
    EngineError::StoreFailed(std::sync::Arc::clone(error))
}
