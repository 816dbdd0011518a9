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
const FACTOR_MAX: f64 = 1.2;
/// Calls remembered for comparing readings; older ones can no longer be compared with.
const SENT_MAX: usize = 8_192;
const WINDOW_FIRST_US: f64 = 0.1 * SECOND_US;
const WINDOW_MAX_US: f64 = SECOND_US;
/// A bucket within this part of a second's worth of its highest level may have thrown refill away.
const NEAR_FULL: f64 = 0.15;
/// Order of arrival within this time is not known.
const BLUR_US: u64 = 20_000;
/// What one window keeps of all before it.
const MEMORY: f64 = 0.93;

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
    /// The bucket was near its highest level since the anchor.
    seen_full: bool,
    always_full: bool,
    ignore_before_us: u64,
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
            seen_full: false,
            always_full: false,
            ignore_before_us: 0,
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

    /// Calls and charged tokens sent after `at_us`; `None` if that is longer ago than we remember.
    pub(super) fn sent_after(&self, at_us: u64) -> Option<(f64, f64)> {
        let (sum, _) = self.sum_at(at_us)?;
        let index = self.sent.partition_point(|(sent_us, _)| *sent_us <= at_us);
        Some((float(u64::try_from(self.sent.len() - index).ok()?), (self.sum - sum) * self.factor))
    }

    /// Learns from usage; gives the tokens to refund (negative: to debit). 0 once headers tell the charge.
    pub(super) fn used(&mut self, estimated: f64, actual: f64) -> f64 {
        if self.by_headers || estimated <= 0.0 {
            return 0.0;
        }
        let booked = estimated * self.factor;
        self.floor = (self.floor * 0.9998).max(FACTOR_MIN);
        self.learn(actual, estimated, 0.98);
        booked - actual.max(estimated * self.floor)
    }

    /// The token limit refused a call: what we believe is charged may be too little. `true` if that explains it,
    /// because the charge was still being searched for.
    pub(super) fn contradicted(&mut self, now_us: u64) -> bool {
        self.anchor = None;
        if !self.by_headers {
            self.floor = (self.factor * 2.0).min(1.0).max(self.floor);
            self.factor = self.factor.max(self.floor);
            return false;
        }
        let searching = !self.converged && self.factor < 1.0;
        if searching && now_us >= self.ignore_before_us {
            self.set(self.factor * 1.5);
            self.ignore_before_us = now_us;
        }
        searching
    }

    /// The capacity turned out to be short: refill was less than announced, so the charge may look too high.
    pub(super) fn short(&mut self) {
        self.set(self.factor.min(1.0));
        self.charged = self.factor * self.estimated;
        self.anchor = None;
    }

    /// Forgets the last reading, because refusals or a new limit make the next one incomparable.
    pub(super) fn interrupt(&mut self) {
        self.anchor = None;
    }

    /// `left` tokens were left when the call sent at `sent_us` was admitted; `per_us` flow back each microsecond.
    pub(super) fn read(&mut self, now_us: u64, sent_us: u64, left: f64, per_us: f64) {
        self.by_headers = true;
        let Some((sum, own)) = self.sum_at(sent_us) else { return };
        // What was left before this very call was booked: the level of a full bucket does not depend on the call.
        let level = left + own * self.factor;
        self.left_max = self.left_max.max(level);
        let full = level >= self.left_max - NEAR_FULL * self.left_max.min(per_us * SECOND_US);
        self.seen_full |= full;
        self.always_full &= full;
        if sent_us < self.ignore_before_us || self.is_blurred(sent_us, per_us) {
            return;
        }
        let reading = Reading { sent_us, left, sum };
        let Some(from) = self.anchor else {
            self.restart(Some(reading), full);
            return;
        };
        let passed = float(sent_us.saturating_sub(from.sent_us));
        let estimated = sum - from.sum;
        if passed < self.window_us || estimated <= 0.0 {
            return;
        }
        let charged = (from.left - left + per_us * passed).clamp(0.0, 3.0 * estimated);
        // A bucket that was full on the way threw refill away: then `charged` is only an upper bound.
        if !self.seen_full || charged < 0.8 * self.factor * estimated {
            self.window_us = (self.window_us * 2.0).min(WINDOW_MAX_US);
            self.learn(charged, estimated, if self.converged { MEMORY } else { 0.0 });
            self.converged |= !self.seen_full;
        } else if self.waited && self.always_full {
            // We hold calls back although nothing is scarce: the estimate is too high. See what less does before more.
            let less = if self.converged { 0.97 } else { 0.6 };
            self.charged *= less;
            self.set(self.factor * less);
            self.ignore_before_us = now_us;
            self.anchor = None;
            return;
        }
        self.restart(Some(reading), full);
    }

    fn restart(&mut self, anchor: Option<Reading>, full: bool) {
        self.anchor = anchor;
        self.seen_full = full;
        self.always_full = full;
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

    /// Sum of the estimates of all calls sent up to `at_us`, and the estimate of the last of them; `None` if that is
    /// longer ago than we remember.
    fn sum_at(&self, at_us: u64) -> Option<(f64, f64)> {
        let last = self.sent.partition_point(|(sent_us, _)| *sent_us <= at_us).checked_sub(1)?;
        let (_, sum) = *self.sent.get(last)?;
        let before = last.checked_sub(1).and_then(|index| self.sent.get(index)).map_or(0.0, |(_, sum)| *sum);
        Some((sum, if last == 0 && self.sent.len() == SENT_MAX { 0.0 } else { sum - before }))
    }

    /// Whether so much was sent around that time that the order of arrival decides what the reading means.
    fn is_blurred(&self, at_us: u64, per_us: f64) -> bool {
        let Some((before, _)) = self.sum_at(at_us.saturating_sub(BLUR_US)) else {
            return at_us > 0 && self.sent.len() == SENT_MAX;
        };
        let after = self.sum_at(at_us.saturating_add(BLUR_US)).map_or(self.sum, |(sum, _)| sum);
        (after - before) * self.factor > 6.0 * float(BLUR_US) * per_us
    }
}
