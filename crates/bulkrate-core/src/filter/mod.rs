//! Items that need no model: rules of the user's, then a small classifier of embeddings where rows have them, then one of words, each
//! only where its error is proved to be small.
//!
//! Invariants
//! - A rule, and a confidence of the classifier, answers only if the upper 95 % bound of its error on labelled rows is within what
//!   was allowed; the rows that prove are not the ones that taught. What is not proved goes to the model.
//! - The same labels, rules and seed give the same filter; the same filter gives a text the same answer.
//! - On hard rows the honest filter answers nothing, and says so.

mod bound;
mod certify;
mod classify;
mod features;
mod meaning;
mod rules;
mod train;

pub use bound::{error_high, error_high_at, least_clean, least_clean_at};
pub use certify::{Cut, certify};
pub use classify::{ANSWERS_MAX, Classifier, Confidence, Scratch};
pub use rules::{Rule, RuleError, When};
pub use train::{EmbeddedFacts, Facts, Filter, FilterError, Labelled, LearnedFacts, Measured, TrainOptions};

/// How an item was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By this rule, from 1.
    Rule(usize),
    Learned(Confidence),
    /// By the embedding.
    Embedded(Confidence),
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (by, Confidence(millionths)) = match self {
            Self::Rule(number) => return write!(f, "rule {number}"),
            Self::Learned(confidence) => ("learned", confidence),
            Self::Embedded(confidence) => ("embedding", confidence),
        };
        write!(f, "{by}, confidence {:.6}", f64::from(*millionths) / 1e6)
    }
}
