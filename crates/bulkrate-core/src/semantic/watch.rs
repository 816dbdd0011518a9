//! Looks at the job as a whole: how many rows have been answered wrongly so far, and how much of what is allowed is left.
//!
//! A row that was to be asked with probability `tau`, was asked, and shows that it would have been answered wrongly stands for
//! `(1 - tau) / tau` rows that were served wrongly. Of these weights the sum has the expectation of the number of wrong answers, whatever
//! the order of the rows and whatever the model says: all that it needs are fair coins, thrown once a row. So a row is served only as
//! far as the sum stays within the allowed share even if that row proves to be wrong, and all that are still out beside it; and with a margin
//! of standard errors, as few rows of large weight may by chance have shown less than there was.

/// How a row was decided that is asked although it might have been served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance {
    pub entry: super::EntryNo,
    /// In whole thousandths, above 0 and below 1.
    pub tau: f64,
    pub at: Moment,
}

/// When a row was decided: with what had ended by then, and what was out, the decision can be made again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// So many rows had ended by then, with a good answer or with a failure that taught something.
    pub after: u64,
    /// What the rows weighed that were asked and had not answered yet.
    pub out: f64,
}

/// Standard errors that are kept back: as many as a normal variable stays within 95 times of 100 on one side.
const MARGIN: f64 = 1.645;

/// A share of the rows that is worth an alarm holds so many rows at least: less is soon used up by chance.
const TOLD_FROM: f64 = 10.0;

#[derive(Debug)]
pub(super) struct Watch {
    error_max: f64,
    ended: u64,
    wrong: f64,
    /// The variance of `wrong` around the number of rows that were served wrongly, as the rows that were asked show it.
    variance: f64,
    /// What rows weigh that are asked and have not answered yet.
    out: f64,
}

fn weight(tau: f64) -> f64 {
    (1.0 - tau) / tau
}

impl Watch {
    pub(super) fn new(error_max: f64) -> Self {
        Self { error_max, ended: 0, wrong: 0.0, variance: 0.0, out: 0.0 }
    }

    pub(super) fn ended(&mut self) {
        self.ended += 1;
    }

    /// A row is asked that might have been served.
    pub(super) fn asks(&mut self, tau: f64) {
        self.out += weight(tau);
    }

    /// It has ended.
    pub(super) fn back(&mut self, tau: f64) {
        self.out = (self.out - weight(tau)).max(0.0);
    }

    /// A row that was asked with this probability would have been answered wrongly.
    pub(super) fn wrong(&mut self, tau: f64) {
        self.wrong += weight(tau);
        // A row that is wrong is served with probability 1 - tau and counts 1, or shows itself and stands for its weight: the
        // difference has the variance `weight`, seen with probability tau.
        self.variance += weight(tau) / tau;
    }

    #[allow(clippy::cast_precision_loss, reason = "rows of a job")]
    fn allowed(&self) -> f64 {
        self.error_max * self.ended as f64
    }

    /// How many rows have been served wrongly, with the margin.
    fn taken(&self) -> f64 {
        self.wrong + MARGIN * self.variance.sqrt()
    }

    /// What rows weigh that are asked and have not answered yet.
    pub(super) fn out(&self) -> f64 {
        self.out
    }

    /// The probability with which every row must be asked at least, beside rows that are `out`.
    pub(super) fn tau_min(&self, out: f64) -> f64 {
        1.0 / (1.0 + (self.allowed() - self.taken() - out).max(0.0))
    }

    /// How many rows are taken to be wrong, and of how many, if that is as many as are allowed.
    pub(super) fn used_up(&self) -> Option<(f64, u64)> {
        let spent = self.allowed() >= TOLD_FROM && self.taken() > self.allowed() - 1.0;
        if spent { Some((self.wrong, self.ended)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::rng::{mix, unit};

    #[test]
    fn what_is_allowed_is_used_up_by_rows_that_would_have_been_wrong() {
        let near = |watch: &Watch, left: f64| (watch.tau_min(watch.out()) - 1.0 / (1.0 + left)).abs() < 1e-9;
        let mut watch = Watch::new(0.05);
        assert!(
            watch.tau_min(watch.out()) >= 1.0 && watch.used_up().is_none(),
            "of no rows none may be wrong"
        );
        (0..400).for_each(|_| watch.ended());
        assert!(near(&watch, 20.0), "{}", watch.tau_min(watch.out()));
        watch.asks(0.2);
        assert!(near(&watch, 16.0), "it may be wrong: {}", watch.tau_min(watch.out()));
        watch.back(0.2);
        assert!(near(&watch, 20.0), "{}", watch.tau_min(watch.out()));
        watch.wrong(0.2);
        assert!(
            near(&watch, 16.0 - MARGIN * 20_f64.sqrt()),
            "four stand for the one, give or take: {}",
            watch.tau_min(watch.out())
        );
        watch.wrong(0.05);
        assert!(watch.tau_min(watch.out()) >= 1.0 && watch.used_up().is_some());
        (0..1_200).for_each(|_| watch.ended());
        assert!(
            watch.tau_min(watch.out()) < 0.2 && watch.used_up().is_none(),
            "more rows, more that may be wrong"
        );
    }

    /// The rule that wants least, and a model that is always against it: the promise is kept all the same.
    #[test]
    fn of_rows_in_any_order_few_are_wrong_whatever_the_rule_believes_and_however_many_are_out() {
        for (name, wrong_at) in [
            ("all", (|_| true) as fn(u64) -> bool),
            ("one in five", |row| mix(row).is_multiple_of(5)),
            ("a shift", |row| row > 2_000),
            ("blocks", |row| row / 500 % 2 == 1),
        ] {
            for (error_max, out_max) in [(0.02, 1), (0.05, 1), (0.05, 20), (0.02, 4_000), (0.05, 4_000)] {
                let of_seed = |seed: u64| {
                    let (mut watch, mut served) = (Watch::new(error_max), 0_u32);
                    let mut out = Vec::new();
                    for row in 0..4_000_u64 {
                        let tau = watch.tau_min(watch.out()).max(0.05);
                        if unit(mix(seed ^ mix(row))) >= tau {
                            served += u32::from(wrong_at(row));
                        } else {
                            watch.asks(tau);
                            out.push((tau, wrong_at(row)));
                        }
                        watch.ended();
                        if out.len() < out_max && row % 500 > 0 {
                            continue;
                        }
                        for (tau, wrong) in out.drain(..) {
                            watch.back(tau);
                            if wrong {
                                watch.wrong(tau);
                            }
                        }
                    }
                    f64::from(served) / 4_000.0
                };
                let mean = (1..=150).map(of_seed).sum::<f64>() / 150.0;
                assert!(mean <= error_max, "{name}, {error_max}, {out_max} out: {mean}");
            }
        }
    }
}
