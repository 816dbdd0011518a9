//! When a call is slow, and whether a second copy of it may go out beside it.
//!
//! Latencies are counted in classes an eighth of an octave wide, each as its upper edge: what is called slow is never too early, and at
//! most an eighth too late. Old ones fade, so that a provider that has become slower is soon known as such.

use crate::failure::{FailureClass, Verdict};
use crate::money::UsdNanos;

/// A class is so much of an octave.
const PARTS: u64 = 8;
/// Up to 38 hours; what takes longer is in the last class.
const CLASSES: usize = 8 * 34;
/// Of so many answers the older ones count half, those before them a quarter, and so on.
const HISTORY: u32 = 4_096;
/// A call is slow that has been out for longer than so many of a hundred answers took.
const SLOW_PERCENT: u64 = 95;
/// And for longer than so many times the median: its copy will take about the median once more, so that where there is no tail none
/// would be of use.
const SLOW_MEDIANS: u64 = 2;
/// What items cost so far is trusted within this factor, where money is kept back for the others.
const DEARER: u64 = 2;
/// An answer that was cut is asked for again with so many times the room.
const LONGER: u64 = 4;

/// When copies go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeRule {
    /// Answers that must be known before any call is called slow.
    pub answers_min: u32,
    /// Calls in thousandths of which a copy is sent, at most.
    pub share_permille: u32,
}

impl Default for HedgeRule {
    fn default() -> Self {
        Self { answers_min: 100, share_permille: 20 }
    }
}

/// The latencies of one deployment's calls in this run, and the copies that went out. Two kilobytes.
#[derive(Debug, Clone)]
pub struct Tail {
    rule: HedgeRule,
    classes: Vec<u32>,
    /// The sum of `classes`.
    counted: u32,
    answers: u64,
    sent: u64,
    copies: u64,
}

impl Tail {
    #[must_use]
    pub fn new(rule: HedgeRule) -> Self {
        Self { rule, classes: vec![0; CLASSES], counted: 0, answers: 0, sent: 0, copies: 0 }
    }

    /// A call left that is no copy.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// A call was answered after so long; or it was given up then, as its copy was answered.
    pub fn answered(&mut self, latency_us: u64) {
        self.answers += 1;
        self.classes[class(latency_us)] += 1;
        self.counted += 1;
        if self.counted >= HISTORY {
            self.classes.iter_mut().for_each(|count| *count /= 2);
            self.counted = self.classes.iter().sum();
        }
    }

    /// A call that is out for so long is slow. `None`: too little is known.
    #[must_use]
    pub fn slow_us(&self) -> Option<u64> {
        if self.answers < u64::from(self.rule.answers_min) || self.counted == 0 {
            return None;
        }
        let (usual, most) = (self.quantile_us(50)?, self.quantile_us(SLOW_PERCENT)?);
        Some(most.max(usual.saturating_mul(SLOW_MEDIANS)))
    }

    /// So many of a hundred answers took less.
    fn quantile_us(&self, percent: u64) -> Option<u64> {
        let rank = (u64::from(self.counted) * percent).div_ceil(100);
        let mut below = 0;
        let class = self.classes.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        });
        class.map(edge_us)
    }

    /// Whether one more copy stays within the share.
    #[must_use]
    pub fn may_copy(&self) -> bool {
        (self.copies + 1).saturating_mul(1_000)
            <= self.sent.saturating_mul(u64::from(self.rule.share_permille))
    }

    /// A copy will go out.
    pub fn copied(&mut self) {
        self.copies += 1;
    }

    /// It did not go out after all.
    pub fn uncopied(&mut self) {
        self.copies -= 1;
    }
}

/// Whether a cap that has `left` can bear a copy that costs `bound` at most: no item may stay without an answer for want of what a
/// copy has taken. `open` items have no answer yet, those that are under way among them; one cost `mean` so far, and `largest` is
/// the most that any could cost that was seen.
#[must_use]
pub fn bears_copy(left: UsdNanos, bound: UsdNanos, open: u64, mean: UsdNanos, largest: UsdNanos) -> bool {
    // The last of them needs its own bound to be sent at all, also where its answer was cut.
    let rest = mean.times(open.saturating_mul(DEARER)).saturating_add(largest.max(bound).times(LONGER));
    bound.saturating_add(rest) <= left
}

/// Whether an answer that is no good for this reason would come again: nothing is gained by waiting for that of the other call.
#[must_use]
pub fn would_repeat(class: FailureClass) -> bool {
    class == FailureClass::Truncated || class.verdict() == Verdict::GiveUp
}

fn class(latency_us: u64) -> usize {
    let octave = u64::from(latency_us.max(PARTS).ilog2());
    let part = (latency_us.max(PARTS) >> (octave - 3)) - PARTS;
    usize::try_from((octave - 3) * PARTS + part).unwrap_or(usize::MAX).min(CLASSES - 1)
}

/// What is in a class took less than this.
fn edge_us(class: usize) -> u64 {
    let class = class as u64;
    (PARTS + class % PARTS + 1) << (class / PARTS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_slow_before_enough_is_known() {
        let mut tail = Tail::new(HedgeRule::default());
        for _ in 0..99 {
            tail.answered(1_000);
        }
        assert_eq!(tail.slow_us(), None);
        tail.answered(1_000);
        assert_eq!(tail.slow_us(), Some(2 * 1_024), "twice the edge of the class, where all take as long");
    }

    #[test]
    fn five_of_a_hundred_are_slow() {
        let mut tail = Tail::new(HedgeRule::default());
        for at in 1..=1_000_u64 {
            tail.answered(if at <= 600 { 1_000 } else { at * 1_000 });
        }
        let slow_us = tail.slow_us().unwrap();
        assert!((950_000..=950_000 + 950_000 / 8).contains(&slow_us), "{slow_us}");
        // A tail of two in a hundred is not what is usual.
        let mut tail = Tail::new(HedgeRule::default());
        (0..98).for_each(|_| tail.answered(200_000));
        (0..2).for_each(|_| tail.answered(60_000_000));
        assert!((400_000..=450_000 + 8_192).contains(&tail.slow_us().unwrap()), "{:?}", tail.slow_us());
    }

    #[test]
    fn a_provider_that_becomes_slower_is_known_as_such() {
        let mut tail = Tail::new(HedgeRule::default());
        (0..100_000).for_each(|_| tail.answered(10_000));
        (0..2_000).for_each(|_| tail.answered(100_000));
        assert!(tail.slow_us().unwrap() > 100_000, "{:?}", tail.slow_us());
    }

    #[test]
    fn of_a_hundred_calls_two_are_copied() {
        let mut tail = Tail::new(HedgeRule::default());
        let mut copies = 0;
        for sent in 1..=1_000_u64 {
            tail.sent();
            while tail.may_copy() {
                tail.copied();
                copies += 1;
            }
            assert_eq!(copies, sent * 2 / 100, "{sent}");
        }
        tail.uncopied();
        assert!(tail.may_copy(), "one that did not go out does not count");
        assert!(!Tail::new(HedgeRule::default()).may_copy());
    }

    #[test]
    fn a_copy_takes_no_items_money() {
        for (left, bound, open, mean, largest, want) in [
            (500, 100, 1, 0, 100, true), // the end of a job: its own item may have to be asked again, for a longer answer
            (499, 100, 1, 0, 100, false),
            (501, 100, 1, 1, 100, false), // and costs what items cost
            (519, 100, 10, 1, 0, false),  // ten items at twice what they cost so far
            (520, 100, 10, 1, 0, true),
            (1_119, 100, 10, 1, 250, false), // one of them is larger than this
            (1_120, 100, 10, 1, 250, true),
            (i64::MAX, 1, u64::MAX, i64::MAX, 1, true), // a cap without an end
            (1_000, 1, u64::MAX, 1, 1, false),
        ] {
            let [left, bound, mean, largest] = [left, bound, mean, largest].map(UsdNanos);
            let got = bears_copy(left, bound, open, mean, largest);
            assert_eq!(got, want, "{left} {bound} {open} {mean} {largest}");
        }
    }

    #[test]
    fn only_what_another_answer_may_mend_is_waited_for() {
        use FailureClass::{ContentPolicy, Empty, RefusedByProvider, SchemaFailed, Transient, Truncated};
        for (class, want) in [
            (Truncated, true),
            (ContentPolicy, true),
            (RefusedByProvider, true),
            (Transient, false),
            (SchemaFailed, false),
            (Empty, false),
        ] {
            assert_eq!(would_repeat(class), want, "{class}");
        }
    }

    proptest! {
        #[test]
        fn a_class_holds_what_is_below_its_edge(latency_us in 0_u64..60_000_000_000) {
            let class = class(latency_us);
            prop_assert!(latency_us.max(PARTS) < edge_us(class));
            prop_assert!(class == 0 || latency_us >= edge_us(class - 1));
        }
    }
}
