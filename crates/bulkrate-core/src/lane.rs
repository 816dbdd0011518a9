//! How an attempt runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The channel of one attempt; each has its own price and its own kind of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A provider's batch API: cheapest, within 24 hours.
    Batch,
    /// A paced call at the batch price that may be refused for lack of capacity.
    Flex,
    /// A paced call at the standard price.
    Sync,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Batch, Self::Flex, Self::Sync];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Sync => "sync",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Lane {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.name() == text)
            .ok_or_else(|| format!("`{text}` is not a lane; lanes are `batch`, `flex` and `sync`"))
    }
}
