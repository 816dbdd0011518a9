//! What an operator says of a doubt that evidence has not settled. It travels as an order to the engine.

use bulkrate_core::money::UsdNanos;
use serde::{Deserialize, Serialize};

/// The verb of the order.
pub(crate) const VERB: &str = "doubt";
/// How every note of an entry begins that stands in the ledger on an operator's word.
pub(crate) const OPERATOR: &str = "operator ";

/// One word of an operator about one submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub sub: String,
    #[serde(flatten)]
    pub act: Act,
    /// Who said it.
    pub who: String,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// It is this batch.
    Adopt { batch: String },
    /// It was not run, and nothing is paid.
    Absent,
    /// It was paid: at this cost, or at an unknown one, which keeps its bound. What waits for it is a dead letter, or is asked
    /// `again`.
    Paid { cost: Option<UsdNanos>, again: bool },
}

impl Decision {
    /// The note of its entries in the ledger.
    pub(crate) fn note(&self) -> String {
        let said = match &self.act {
            Act::Adopt { batch } => format!("it is {batch}"),
            Act::Absent => "it was not run".to_owned(),
            Act::Paid { cost: Some(cost), .. } => format!("it was paid, USD {cost}"),
            Act::Paid { cost: None, .. } => KEPT.to_owned(),
        };
        format!("{OPERATOR}{}: {said}", self.who)
    }
}

/// Said of a doubt that stays, at its bound.
const KEPT: &str = "it was paid, the bound is kept";

/// Whether a note says that an operator lets a doubt stand.
pub(crate) fn is_kept(note: &str) -> bool {
    is_operators(note) && note.ends_with(KEPT)
}

/// Whether a note names the window (`W1`) through which something was paid twice.
pub(crate) fn is_window(note: &str) -> bool {
    note.strip_prefix('W').is_some_and(|code| code.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// How every note of an entry begins about a batch that no row knows.
pub(crate) const GHOST: &str = "W5: ";

/// Whether a note is about a batch that no row knows.
pub(crate) fn is_ghost(note: &str) -> bool {
    note.starts_with(GHOST)
}

/// How every note of an entry begins about a copy of a slow call, which a job has when it is asked to (`--hedge`).
pub(crate) const HEDGE: &str = "W9: ";

/// Whether a note is about such a copy.
pub(crate) fn is_hedge(note: &str) -> bool {
    note.starts_with(HEDGE)
}

/// Whether an entry stands there on an operator's word.
pub(crate) fn is_operators(note: &str) -> bool {
    note.starts_with(OPERATOR)
}
