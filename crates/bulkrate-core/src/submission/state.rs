//! Where a batch submission stands, and what its end means for items without a line.

use super::remote::Phase;
use crate::failure::FailureClass;

/// The states of one paid create; the arrows between them are in `machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its input file was spoilt before it was sent: to be given up.
    Planned,
    Staging,
    Staged,
    Sending,
    Accepted,
    InDoubt,
    Fencing,
    Cancelling,
    Ended,
    Collecting,
    Settled,
    /// Proved unpaid: its leases are void.
    Refused,
    /// Proved never to have arrived: its leases are void.
    Absent,
    Unresolved,
}

impl State {
    pub const ALL: [Self; 14] = [
        Self::Planned,
        Self::Staging,
        Self::Staged,
        Self::Sending,
        Self::Accepted,
        Self::InDoubt,
        Self::Fencing,
        Self::Cancelling,
        Self::Ended,
        Self::Collecting,
        Self::Settled,
        Self::Refused,
        Self::Absent,
        Self::Unresolved,
    ];

    /// Nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Settled | Self::Refused | Self::Absent)
    }

    /// Nothing that could be paid has left this host.
    #[must_use]
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Planned | Self::Staging | Self::Staged)
    }
}

/// How a batch ended at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndKind {
    Completed,
    Failed,
    Expired,
    Cancelled,
    /// The provider denies a batch that it had accepted.
    Vanished,
}

impl EndKind {
    pub const ALL: [Self; 5] =
        [Self::Completed, Self::Failed, Self::Expired, Self::Cancelled, Self::Vanished];

    #[must_use]
    pub fn of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Completed => Some(Self::Completed),
            Phase::Failed => Some(Self::Failed),
            Phase::Expired => Some(Self::Expired),
            Phase::Cancelled => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// As it is kept in the row.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Vanished => "vanished",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What an item without a line means (window W8): it may have run, so its bound stays as doubt.
    #[must_use]
    pub fn missing(self) -> (FailureClass, &'static str) {
        match self {
            Self::Expired => (FailureClass::Expired, "the batch expired without a line for the item"),
            Self::Cancelled => (FailureClass::Expired, "the batch was cancelled without a line for the item"),
            Self::Vanished => (FailureClass::ResultLostAtProvider, "the provider lost the batch"),
            Self::Completed | Self::Failed => {
                (FailureClass::Transient, "the batch ended without a line for the item")
            }
        }
    }
}

/// What becomes of a doubt that no evidence has settled in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unresolved {
    /// Items and money wait for the operator.
    #[default]
    Hold,
    /// The items are dead letters, `maybe_paid_unresolved`.
    Dead,
    /// The items are sent again beside the doubt (window W4).
    Repay,
}
