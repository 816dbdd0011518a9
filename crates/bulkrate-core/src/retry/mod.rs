//! What becomes of an item whose attempt failed, and when failures are no longer single items' bad luck.
//!
//! Invariants
//! - Pure: times and randomness come in as arguments.
//! - Waiting for limits or capacity is not an attempt; every other failure moves the item nearer to an end.
//! - An answer that was cut is never asked for again at the same output maximum.
//!
//! Acted on by `bulkrate_engine::retry`.

mod ladder;
mod meter;
#[cfg(test)]
mod tests;

pub use ladder::{Attempts, Failure, Ladder, Next};
pub use meter::{Alarm, FailureMeter};
