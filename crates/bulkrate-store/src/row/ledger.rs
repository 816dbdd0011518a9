//! Every nano-dollar that moved, append-only.

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use crate::names::named;

named! {
    /// What an entry says. All amounts are written as positive numbers.
    LedgerKind {
        /// Set aside before anything is sent.
        Reserve = "reserve",
        /// A reservation, or a part of it, given back. A settled attempt releases its bound and settles its cost.
        Release = "release",
        /// Paid for an answer.
        Settle = "settle",
        /// May have been paid; counts against every cap until cleared.
        Doubt = "doubt",
        /// A doubt, or a part of it, that evidence has ended.
        DoubtCleared = "doubt_cleared",
        /// Paid for an answer that was already there: spend beside `settle`, the window's code is in `note`.
        Duplicate = "duplicate",
        /// Not spent, thanks to `lever`.
        Saving = "saving",
    }
}

/// One entry. Entries outlive their job, so that daily and monthly caps stay true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    pub job: u32,
    pub at_ms: i64,
    pub kind: LedgerKind,
    pub lane: Option<Lane>,
    pub provider: String,
    pub model: String,
    /// Number of the job's tag set; 0 = none.
    pub tags: u32,
    /// `dedup`, `cache`, `batch`, `flex`, `routing`.
    pub lever: Option<String>,
    pub sub: Option<Sub>,
    pub items: u32,
    pub usd: UsdNanos,
    /// Never user data: it stays when the job is removed.
    pub note: Option<String>,
}
