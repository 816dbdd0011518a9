//! A router that learns which prompts need the strong model: from labels of the job's own items, on a processor, in seconds.
//!
//! Invariants
//! - The same labels and seed give the same router, whatever the order of the rows; the same router gives a text the same score.
//! - The threshold keeps its promise of quality by an upper bound on rows that the model has not seen, never by the point
//!   estimate, which breaks the promise in about half of all jobs.
//! - Where routing does not pay, or would cost quality, one model is pinned and the router says why.
//!
//! The files stand in the order of the data: words, vectors, weights, a model that scores, a threshold, labels, the router, its file.

mod words;
pub(crate) mod sparse;
mod space;
pub(crate) mod fit;
mod model;
pub mod metrics;
pub mod threshold;
pub(crate) mod labels;
mod train;
mod evaluate;
mod file;

pub use evaluate::{Evaluation, Way};
pub use file::{FORMAT, FileError};
pub use labels::LABELS_MIN;
pub use model::{Kind, Model, Scratch};
pub use train::{Facts, Labelled, PinReason, Router, TrainError, TrainOptions, Verdict};
pub use words::fingerprint;

/// How much a text needs the strong model, in millionths: expected quality of the strong answer less that of the weak one.
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

/// One of the two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Weak,
    Strong,
}

impl Side {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Strong => "strong",
        }
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
