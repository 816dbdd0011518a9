//! One paid request, and the items it leases.

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::submission::{BatchCounts, State};

use crate::names::named;

named! {
    /// Where a submission stands (ARCHITECTURE.md, section 6).
    SubmissionState {
        /// A group of sync or flex calls: an intent row that is never updated; its outcomes say what became of it.
        Call = "call",
        Planned = "planned",
        Staging = "staging",
        Staged = "staged",
        Sending = "sending",
        Accepted = "accepted",
        InDoubt = "in_doubt",
        Fencing = "fencing",
        Cancelling = "cancelling",
        Ended = "ended",
        Collecting = "collecting",
        Settled = "settled",
        /// Proved unpaid: its leases are void.
        Refused = "refused",
        /// Proved never to have arrived: its leases are void.
        Absent = "absent",
        Unresolved = "unresolved",
    }
}

impl SubmissionState {
    /// Whether the items are free again without an outcome.
    #[must_use]
    pub fn voids_leases(self) -> bool {
        matches!(self, Self::Refused | Self::Absent)
    }

    /// Whether no create was sent yet, as far as this row knows.
    #[must_use]
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Planned | Self::Staging | Self::Staged)
    }

    /// Whether nobody knows yet if the batch exists.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        matches!(self, Self::Sending | Self::InDoubt | Self::Fencing | Self::Unresolved)
    }

    /// Whether nothing more will happen to a submission in this state.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Settled | Self::Refused | Self::Absent)
    }
}

impl SubmissionState {
    /// The state of a batch; `None` for a group of calls.
    #[must_use]
    pub fn of_batch(self) -> Option<State> {
        State::ALL.into_iter().find(|state| Self::from(*state) == self)
    }
}

impl From<State> for SubmissionState {
    fn from(state: State) -> Self {
        match state {
            State::Planned => Self::Planned,
            State::Staging => Self::Staging,
            State::Staged => Self::Staged,
            State::Sending => Self::Sending,
            State::Accepted => Self::Accepted,
            State::InDoubt => Self::InDoubt,
            State::Fencing => Self::Fencing,
            State::Cancelling => Self::Cancelling,
            State::Ended => Self::Ended,
            State::Collecting => Self::Collecting,
            State::Settled => Self::Settled,
            State::Refused => Self::Refused,
            State::Absent => Self::Absent,
            State::Unresolved => Self::Unresolved,
        }
    }
}

/// One item carried by a submission; its place in the list is the `seq` of its wire id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub ordinal: Ordinal,
    /// From 1.
    pub attempt: u8,
    /// The most this attempt can cost; reserved while it runs.
    pub bound: UsdNanos,
}

/// A batch create, or a group of sync or flex calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    pub sub: Sub,
    pub job: u32,
    pub lane: Lane,
    pub provider: String,
    /// The account's name or digest, never its secret.
    pub account: String,
    pub model: String,
    /// The kind of request (`chat`, `embeddings`, ...).
    pub kind: String,
    pub state: SubmissionState,
    pub reserved: UsdNanos,
    /// Number of the result file its answers are written to.
    pub segment: u32,
    /// Leases at creation.
    pub items: u32,
    /// SHA-256 of the input file, hex.
    pub input_digest: Option<String>,
    pub input_bytes: u64,
    pub remote_input: Option<String>,
    pub remote_batch: Option<String>,
    pub remote_phase: Option<String>,
    pub remote_output: Option<String>,
    pub remote_errors: Option<String>,
    /// As last told by the provider.
    pub counts: BatchCounts,
    pub created_at_ms: i64,
    pub sent_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    pub settled_at_ms: Option<i64>,
    /// Bytes of the output and of the error file that have landed.
    pub output_cursor: u64,
    pub error_cursor: u64,
    /// The store epoch in which the row was last written.
    pub epoch: u64,
    /// What is known about a doubt or an end, JSON.
    pub evidence: Option<String>,
}

impl Submission {
    /// A submission of which nothing has happened yet; fill in what is known.
    #[must_use]
    pub fn new(sub: Sub, job: u32, lane: Lane, state: SubmissionState, created_at_ms: i64) -> Self {
        Self {
            sub,
            job,
            lane,
            provider: String::new(),
            account: String::new(),
            model: String::new(),
            kind: String::new(),
            state,
            reserved: UsdNanos::ZERO,
            segment: 0,
            items: 0,
            input_digest: None,
            input_bytes: 0,
            remote_input: None,
            remote_batch: None,
            remote_phase: None,
            remote_output: None,
            remote_errors: None,
            counts: BatchCounts::default(),
            created_at_ms,
            sent_at_ms: None,
            ended_at_ms: None,
            settled_at_ms: None,
            output_cursor: 0,
            error_cursor: 0,
            epoch: 0,
            evidence: None,
        }
    }
}
