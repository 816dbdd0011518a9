//! How confident the classifier must be, so that what it answers errs no more than was allowed, with 95 % confidence.
//!
//! From the surest rows downwards, a fiftieth at a time, the error is bounded from above; the last share whose bound holds is
//! taken, and the first that does not hold ends the search. The rows must be ones that the classifier has not learnt from.

use super::bound::{error_high, least_clean};
use super::classify::Confidence;

/// Shares that are tried.
const STEPS: usize = 50;

/// What is answered, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Rows with this confidence or a higher one are answered.
    pub confidence: Confidence,
    /// Of the rows that prove: how many were answered, how many of those wrongly, and how often at most.
    pub answered: u64,
    pub wrong: u64,
    pub wrong_high: f64,
    /// Share of the rows that prove.
    pub share: f64,
}

/// The largest share that is proved to err no more than `error_max`; `None`: nothing is.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts of rows")]
pub fn certify(rows: &[(Confidence, bool)], error_max: f64) -> Option<Cut> {
    let mut order = rows.to_vec();
    order.sort_unstable_by_key(|(confidence, _)| std::cmp::Reverse(*confidence));
    let mut best = None;
    for step in 1..=STEPS {
        let Some(last) = (order.len() * step / STEPS).checked_sub(1) else { continue };
        let confidence = order[last].0;
        // Equals stay together.
        let answered = order.partition_point(|(other, _)| *other >= confidence);
        if (answered as u64) < least_clean(error_max) {
            continue;
        }
        let wrong = order[..answered].iter().filter(|(_, right)| !right).count() as u64;
        let wrong_high = error_high(wrong, answered as u64);
        if wrong_high > error_max {
            break;
        }
        let share = answered as f64 / order.len() as f64;
        best = Some(Cut { confidence, answered: answered as u64, wrong, wrong_high, share });
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_surest_rows_are_taken_as_far_as_their_bound_holds() {
        // A thousand rows; the sure half is right, of the other half every tenth is wrong.
        let rows: Vec<(Confidence, bool)> =
            (0..1_000).map(|at| (Confidence(1_000_000 - at), at < 500 || at % 10 != 0)).collect();
        let cut = certify(&rows, 0.02).unwrap();
        assert!((0.5..0.7).contains(&cut.share) && cut.wrong_high <= 0.02, "{cut:?}");
        let more = certify(&rows, 0.05).unwrap();
        assert!(more.share > cut.share, "{more:?}");
        assert_eq!(certify(&rows[..140], 0.02), None, "148 rows at least");
        let wrong: Vec<(Confidence, bool)> = (0..1_000).map(|at| (Confidence(at), at % 9 != 0)).collect();
        assert_eq!(certify(&wrong, 0.02), None, "nothing is proved, nothing is answered");
    }

    #[test]
    fn equal_confidences_stay_together() {
        let rows: Vec<(Confidence, bool)> =
            (0..400).map(|at| (Confidence(i32::from(at < 300)), at < 300)).collect();
        let cut = certify(&rows, 0.02).unwrap();
        assert_eq!((cut.confidence, cut.answered, cut.wrong), (Confidence(1), 300, 0));
    }
}
