//! A cheap model answers first; what is not accepted goes to a better one.
//!
//! Invariants
//! - Pure: the answer, the rule and the answers before it decide, so that another run of the same log decides alike.
//! - What is rejected is rejected for a reason that can be told of each item.
//! - An item goes up only: no step is asked again.
//!
//! Acted on by `bulkrate_engine::run::cascade`.

mod accept;
mod ladder;
mod question;
mod sureness;
mod worth;

pub use accept::{Accept, BadAccept, Opinion, judge};
pub use ladder::{Goes, goes};
pub use question::{Question, VERDICTS};
pub use sureness::{Measure, Sureness};
pub use worth::Worth;
