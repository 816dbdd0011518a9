//! A batch as a provider shows it, in one shape for all providers.

use serde::{Deserialize, Serialize};

/// Where a batch stands at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Validating,
    InProgress,
    Finalizing,
    Cancelling,
    /// Ended: says nothing about the single items.
    Completed,
    /// Refused as a whole; nothing ran and nothing is billed.
    Failed,
    /// The window ran out; what finished is billed and can be had.
    Expired,
    /// Ended by a cancel; what finished is billed and can be had.
    Cancelled,
    /// A status we do not know: treated as still running.
    Unknown,
}

impl Phase {
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired | Self::Cancelled)
    }

    /// How far a batch is. What is learned later is never less; an unknown word says nothing.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Validating => 1,
            Self::InProgress => 2,
            Self::Finalizing | Self::Cancelling => 3,
            Self::Completed | Self::Failed | Self::Expired | Self::Cancelled => 4,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

/// What we write on a batch to know it again: which store made it, for which submission, with what in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The store's random instance id.
    pub inst: String,
    pub sub: String,
    pub items: u32,
    /// SHA-256 of the input file, in hex.
    pub digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchCounts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}

/// A reason for which a batch as a whole was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchError {
    pub code: Option<String>,
    pub message: String,
    /// 1-based line of the input file.
    pub line: Option<u64>,
}

/// Whose a batch is on which nothing can be written, as far as anything else shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    #[default]
    Unknown,
    /// Of this submission: an item in its results says so, or a row of this store.
    Submission(String),
    /// Its results name items that are not ours.
    Foreign,
}

/// A batch in a provider's list or answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteBatch {
    pub id: String,
    pub phase: Phase,
    /// The provider's own word for the phase.
    pub status: String,
    pub input_file: Option<String>,
    pub output_file: Option<String>,
    pub error_file: Option<String>,
    pub counts: BatchCounts,
    pub errors: Vec<BatchError>,
    /// Seconds since the epoch, by the provider's clock.
    pub created_at: Option<u64>,
    /// When it ended, however it did.
    #[serde(default)]
    pub ended_at: Option<u64>,
    pub expires_at: Option<u64>,
    pub marker: Option<Marker>,
    #[serde(default)]
    pub owner: Owner,
}
