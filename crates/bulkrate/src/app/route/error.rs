//! What is wrong with labels and routers.

use bulkrate_core::route::learned::TrainError;

/// Labels or a router that cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    #[error("`{path}` has no column `{column}`: columns are: {}", .columns.join(", "))]
    Column { path: String, column: String, columns: Vec<String> },
    #[error(
        "`{path}`, line {line}: `{column}` is `{cell}`, which is no label: write 0 or 1 (wrong, right), or a quality of 0 or more"
    )]
    Label { path: String, line: u64, column: String, cell: String },
    #[error("`{path}` has labels of {}, and the router chooses among {}", .labelled.join(", "), .router.join(", "))]
    Models { path: String, labelled: Vec<String>, router: Vec<String> },
    #[error(
        "`{path}` has labels of {}, and the router chooses among {}, in this order", .labelled.join(", "), .router.join(", ")
    )]
    Order { path: String, labelled: Vec<String>, router: Vec<String> },
    #[error("`{path}`: `{column}` is named as the label of two models")]
    Twice { path: String, column: String },
    #[error("`{path}`: {source}")]
    Train { path: String, source: TrainError },
    #[error("`{path}`: none of its {rows} labelled rows is new to the router, so they prove nothing")]
    NothingLeft { path: String, rows: usize },
}

impl RouteError {
    /// The name of the page in `docs/errors/`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Column { .. } => "column-unknown",
            Self::Label { .. } => "labels-invalid",
            Self::NothingLeft { .. } => "labels-too-few",
            Self::Models { .. } | Self::Order { .. } | Self::Twice { .. } => "option-invalid",
            Self::Train { source, .. } => source.code(),
        }
    }

    /// What to do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Column { .. } => {
                "name the columns with `--text`, `--weak`, `--strong` (or `--models`) and `--category`"
                    .to_owned()
            }
            Self::Label { .. } => "leave a cell empty where an answer was not judged".to_owned(),
            Self::Models { .. } => {
                "name as many with `--models`, in the order of the router: the cheapest first".to_owned()
            }
            Self::Order { .. } => "name them with `--models` as the router does".to_owned(),
            Self::Twice { .. } => "name a column of labels for each model".to_owned(),
            Self::NothingLeft { .. } => "label rows that `route train` did not read".to_owned(),
            Self::Train { source, .. } => source.hint().to_owned(),
        }
    }
}
