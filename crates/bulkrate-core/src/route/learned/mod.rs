//! A router that learns which prompts need the strongest of its models: from labels of the job's own items, on a processor, in seconds.
//!
//! Its models stand in the order of their prices, the cheapest first; the last one is the strongest, and what the others lose is lost
//! against it. An item goes to the cheapest model whose score of it is below that model's threshold, else to the strongest. Two models,
//! a weak and a strong one, are the case of one score and one threshold.
//!
//! Invariants
//! - The same labels and seed give the same router, whatever the order of the rows; the same router gives a text the same score.
//! - The thresholds keep one promise of quality, that of the whole mix, by an upper bound on rows that the model has not seen, never by the
//!   point estimate, which breaks the promise in about half of all jobs. What is searched beside them pays with a share of the doubt.
//! - A mix must cost less than the cheapest model that keeps the promise alone. Among more than two models one is pinned where that is
//!   proved, never because its labels look as good.
//! - Where routing does not pay, or would cost quality, one model is pinned and the router says why.
//!
//! The files stand in the order of the data: words, vectors, weights, a model that scores, thresholds, labels, the router, its file.

mod few;
mod words;
pub(crate) mod sparse;
mod space;
pub(crate) mod fit;
mod model;
pub mod metrics;
mod path;
pub mod threshold;
pub(crate) mod labels;
mod train;
mod evaluate;
mod file;

pub use evaluate::{Evaluation, Way};
pub use few::Few;
pub use file::{FORMAT, FileError};
pub use labels::LABELS_MIN;
pub use model::{Kind, Model, Scratch};
pub use path::place_of;
pub use train::{Facts, Labelled, PinReason, Router, TrainError, TrainOptions, Verdict, quality_interval};
pub use words::fingerprint;

/// Models that one router chooses among, at most.
pub const MODELS_MAX: usize = 8;

/// How much a text needs the strongest model rather than a cheaper one, in millionths: expected quality of its answer less that of the other's.
///
/// A whole number, so that scores compare exactly and a difference in the last digit of a float decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Score(pub i32);

impl Score {
    const ONE: f64 = 1e6;

    /// The nearest score; what is no number is 0.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "`as` saturates, and the score of no number is 0")]
    pub fn of(gain: f64) -> Self {
        Self((gain * Self::ONE).round() as i32)
    }

    #[must_use]
    pub fn gain(self) -> f64 {
        f64::from(self.0) / Self::ONE
    }
}

/// A count as a float; counts of rows and letters are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn real(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, reason = "seven digits are more than a text says about itself")]
pub(crate) fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests;
