//! Bugs that can be planted on purpose, to prove that the checks can fail.
//!
//! Without the feature `planted-bugs` every question is answered `false` at compile time. With it a bug is chosen for the
//! current thread, at run time; none is chosen unless a test says so.

/// A bug of the kind that the design exists to avoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Bug {
    /// P1: the create leaves before its intent is durable.
    SendBeforeIntent = 1,
    /// P2: what was being sent when the process died is taken for unsent.
    SendingIsQueued = 2,
    /// P3: a doubt gives its reservation back.
    DoubtReleased = 3,
    /// P4: an answer lands whatever attempt the item is leased for.
    NoAttemptGuard = 4,
    /// P5: a listing stops at its first page.
    FirstPageOnly = 5,
    /// P6: the error file of a batch is not read.
    ErrorFileIgnored = 6,
    /// P7: a batch is settled although lines are missing.
    SettleShort = 7,
    /// P8: a gateway's 5xx counts as a refusal of a batch create.
    GatewayRefuses = 8,
    /// P9: a line that comes twice is booked twice.
    DoubleBooking = 9,
    /// P10: a batch is adopted for its input's digest, whoever made it.
    AdoptByDigest = 10,
    /// P11: a list that does not show a batch proves its absence, although nothing can be written on one and others make some too.
    AbsenceUnmarked = 11,
    /// P12: a batch without a mark is adopted for its looks in an account that others use as well.
    LooksAnywhere = 12,
    /// P13: the deletion of an input counts as done whatever was answered.
    FenceUnconfirmed = 13,
    /// P14: what a batch that was cut does not show was surely not paid.
    CutIsUnpaid = 14,
    /// P15: a copy leaves before its doubt is durable.
    CopyBeforeDoubt = 15,
    /// P16: the doubt about a copy ends because one of the two calls was lost.
    LostCopyCleared = 16,
    /// P17: a create that is sent again has another token.
    TokenRenewed = 17,
    /// P18: what goes to a stand-in reserves what it costs at most at the model that it names.
    BoundAsNamed = 18,
    /// P19: an answer of a stand-in is booked at the price of the model that is named.
    PricedAsNamed = 19,
    /// P20: a batch of a deployment that was left goes elsewhere although its create may have been sent.
    DoubtMoves = 20,
    /// P21: where the input file is the mark, a batch of any file is taken.
    AnyInput = 21,
    /// P22: no batch is known again by its input file.
    InputUnknown = 22,
    /// P23: a batch of our input is taken for one of our create however late it was made.
    InputAnyTime = 23,
}

impl Bug {
    pub const ALL: [Self; 23] = [
        Self::SendBeforeIntent,
        Self::SendingIsQueued,
        Self::DoubtReleased,
        Self::NoAttemptGuard,
        Self::FirstPageOnly,
        Self::ErrorFileIgnored,
        Self::SettleShort,
        Self::GatewayRefuses,
        Self::DoubleBooking,
        Self::AdoptByDigest,
        Self::AbsenceUnmarked,
        Self::LooksAnywhere,
        Self::FenceUnconfirmed,
        Self::CutIsUnpaid,
        Self::CopyBeforeDoubt,
        Self::LostCopyCleared,
        Self::TokenRenewed,
        Self::BoundAsNamed,
        Self::PricedAsNamed,
        Self::DoubtMoves,
        Self::AnyInput,
        Self::InputUnknown,
        Self::InputAnyTime,
    ];

    /// Whether only batches that are known by their input file can show it.
    #[must_use]
    pub fn is_of_inputs(self) -> bool {
        matches!(self, Self::AnyInput | Self::InputUnknown | Self::InputAnyTime)
    }

    /// `P1` and so on.
    #[must_use]
    pub fn name(self) -> String {
        format!("P{}", self as u8)
    }
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
}

/// Chooses the bug of this thread.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug.map_or(0, |bug| bug as u8));
}

/// Whether the bug is planted in this thread.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn has(bug: Bug) -> bool {
    PLANTED.get() == bug as u8
}

/// No bug is planted in a normal build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
#[must_use]
pub const fn has(_bug: Bug) -> bool {
    false
}
