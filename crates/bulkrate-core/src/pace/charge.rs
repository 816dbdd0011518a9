//! How many tokens a provider charges a limit for one call, as a factor of our own estimate.
//!
//! Some servers charge the prompt, some the prompt and the whole output maximum, some what was used in the end; with
//! an estimate of prompt plus output maximum the right factor may be 1.0 or 0.1, and too high costs throughput one to
//! one. So it is measured: between two readings of `tokens left`, the server took away
//! `left before - left after + refill`, and we know what we sent in between. Without such headers the usage of the
//! answers is the next best thing to believe.

use std::collections::VecDeque;

use super::{SECOND_US, float};

const FACTOR_MIN: f64 = 0.02;
const FACTOR_MAX: f64 = 1.5;
/// Calls remembered for comparing readings; older ones can no longer be compared with.
const SENT_MAX: usize = 8_192;
const WINDOW_FIRST_US: f64 = 0.1 * SECOND_US;
const WINDOW_MAX_US: f64 = SECOND_US;
/// Order of arrival within this time is not known.
const BLUR_US: u64 = 20_000;
/// What one window keeps of all before it.
const MEMORY: f64 = 0.85;

#[derive(Debug, Clone, Copy)]
struct Reading {
    sent_us: u64,
    left: f64,
    sum: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Charge {
    factor: f64,
    /// The server contradicted a lower factor.
    floor: f64,
    by_headers: bool,
    charged: f64,
    estimated: f64,
    sent: VecDeque<(u64, f64)>,
    sum: f64,
    anchor: Option<Reading>,
    window_us: f64,
    left_max: f64,
    converged: bool,
    waited: bool,
}

impl Charge {
    pub(super) fn new() -> Self {
        Self {
            factor: 1.0,
            floor: FACTOR_MIN,
            by_headers: false,
            charged: 0.0,
            estimated: 0.0,
            sent: VecDeque::new(),
            sum: 0.0,
            anchor: None,
            window_us: WINDOW_FIRST_US,
            left_max: 0.0,
            converged: false,
            waited: false,
        }
    }

    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// A call was held back by the token limit alone.
    pub(super) fn waited(&mut self) {
        self.waited = true;
    }

    pub(super) fn sent(&mut self, now_us: u64, estimated: f64) {
        self.sum += estimated;
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((now_us, self.sum));
    }

    /// Learns from usage; gives the tokens to refund (negative: to debit). 0 once headers tell the charge.
    pub(super) fn used(&mut self, estimated: f64, actual: f64) -> f64 {
        if self.by_headers || estimated <= 0.0 {
            return 0.0;
        }
        let booked = estimated * self.factor;
        self.learn(actual, estimated, 0.98);
        booked - actual.max(estimated * self.floor)
    }

    /// The token limit refused a call: what we believe is charged is too little.
    pub(super) fn contradicted(&mut self) {
        if !self.by_headers {
            self.floor = (self.factor * 1.3).min(1.0);
            self.factor = self.factor.max(self.floor);
        }
        self.converged = true;
        self.anchor = None;
    }

    /// Forgets the last reading, because refusals or a new limit make the next one incomparable.
    pub(super) fn interrupt(&mut self) {
        self.anchor = None;
    }

    /// `left` tokens were left when the call sent at `sent_us` was admitted; `per_us` flow back each microsecond.
    pub(super) fn read(&mut self, sent_us: u64, left: f64, per_us: f64) {
        self.by_headers = true;
        self.left_max = self.left_max.max(left);
        let Some(sum) = self.sum_at(sent_us) else { return };
        if self.is_blurred(sent_us, per_us) {
            return;
        }
        let reading = Reading { sent_us, left, sum };
        let Some(from) = self.anchor else {
            self.anchor = Some(reading);
            return;
        };
        let passed = float(sent_us.saturating_sub(from.sent_us));
        let estimated = sum - from.sum;
        if passed < self.window_us || estimated <= 0.0 {
            return;
        }
        self.anchor = Some(reading);
        self.window_us = (self.window_us * 2.0).min(WINDOW_MAX_US);
        let refill = per_us * passed;
        let charged = from.left - left + refill;
        // A bucket that is full throws refill away, so `charged` is only an upper bound.
        let full = (from.left - left).abs() < 0.1 * refill && left > self.left_max - 0.1 * refill;
        if !full {
            self.converged = true;
            self.learn(charged.clamp(0.0, 3.0 * estimated), estimated, MEMORY);
        } else if self.waited {
            // We hold calls back although nothing is scarce: the estimate is too high.
            let less = if self.converged { 0.97 } else { 0.7 };
            self.charged *= less;
            self.set(self.factor * less);
        }
        self.waited = false;
    }

    fn learn(&mut self, charged: f64, estimated: f64, memory: f64) {
        self.charged = self.charged * memory + charged;
        self.estimated = self.estimated * memory + estimated;
        self.set(self.charged / self.estimated);
    }

    fn set(&mut self, factor: f64) {
        self.factor = factor.clamp(self.floor.max(FACTOR_MIN), FACTOR_MAX);
    }

    /// Sum of the estimates of all calls sent up to `at_us`; `None` if that is longer ago than we remember.
    fn sum_at(&self, at_us: u64) -> Option<f64> {
        let after = self.sent.partition_point(|(sent_us, _)| *sent_us <= at_us);
        after.checked_sub(1).and_then(|index| self.sent.get(index)).map(|(_, sum)| *sum)
    }

    /// Whether so much was sent around that time that the order of arrival decides what the reading means.
    fn is_blurred(&self, at_us: u64, per_us: f64) -> bool {
        let Some(before) = self.sum_at(at_us.saturating_sub(BLUR_US)) else {
            return at_us > 0 && self.sent.len() == SENT_MAX;
        };
        let after = self.sum_at(at_us.saturating_add(BLUR_US)).unwrap_or(self.sum);
        (after - before) * self.factor > 6.0 * float(BLUR_US) * per_us
    }
}
