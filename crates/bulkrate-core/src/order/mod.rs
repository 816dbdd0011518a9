//! In which order items are sent, so that a provider's prompt cache finds the beginning of one prompt in that of another.
//!
//! Two questions. Which order of the *fields* of a prompt would let rows share the most ([`FieldTable`])? That is advice: a
//! template is the user's. Which order of the *rows* puts equal beginnings side by side ([`Prefix`], and [`Ends`] where a provider caches
//! what is marked alone)? That changes no request.
//! Both are worth what the cache's prices make of them ([`Factor`]): writing may cost more than input, and a prefix that is not
//! found again is money lost.
//!
//! Invariants
//! - Pure, and the same on every machine: ties go to what comes first.
//! - An order is a permutation of the items: none is left out, none comes twice.

mod begins;
mod factor;
mod fields;
mod prefix;

pub use begins::{CellDigest, Counter, End, Ends, Least, Sharing};
pub use factor::{Factor, HIT_RATES, Reason, Shared, Verdict, judge};
pub use fields::{FieldOrder, FieldTable};
pub use prefix::{PREFIX_MIN, Prefix};
