//! Where calls queue, whether more of them in flight still bring more answers.
//!
//! Latency says when to doubt, throughput decides: a server that batches answers later and more; a client that waits for
//! its disk between bursts gains from longer bursts; a server that is full only lets calls wait. So the limit is tried half as high
//! again and kept if a tenth more work is done; where latency is far above the best it is also tried a fifth lower and kept if
//! as much is done. What brought nothing is taken back and tried again ever less often.
//!
//! Unlike gradient limiters (Netflix's `concurrency-limits`), a latency that grew for reasons of the provider's own costs no
//! throughput here.

use super::float;

const HIGHER: f64 = 1.5;
const LOWER: f64 = 0.8;
/// A step up must bring this much.
const GAIN: f64 = 1.1;
/// A step down may cost this much.
const HELD: f64 = 0.95;
/// The least time over which work is counted: the bursts of a fast server and a slow disk must be many in it.
const WINDOW_US: u64 = 250_000;
/// Windows that a limit rests at most between two tries.
const REST_MAX: u32 = 64;

/// One try at a better limit of calls in flight.
#[derive(Debug, Clone)]
pub(super) struct Climb {
    step: Step,
    /// Windows to rest after the next step that brings nothing.
    patience: u32,
    /// Whether the last step down brought nothing: the next one goes up.
    lower_failed: bool,
    /// Calls still to end before the window begins: they tell of the limit before.
    settling: u32,
    since_us: u64,
    calls: u32,
    work: f64,
    /// Whether the limit was reached in this window.
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Rest(u32),
    /// From this limit, where so much was done per microsecond.
    Up(f64, f64),
    Down(f64, f64),
}

impl Climb {
    pub(super) fn new() -> Self {
        Self {
            step: Step::Rest(1),
            patience: 1,
            lower_failed: false,
            settling: 0,
            since_us: 0,
            calls: 0,
            work: 0.0,
            full: false,
        }
    }

    /// The limit was changed by somebody else, or calls do not queue: what was measured means nothing any more.
    pub(super) fn restart(&mut self) {
        if self.calls > 0 || self.step != Step::Rest(1) {
            *self = Self::new();
        }
    }

    pub(super) fn reached_limit(&mut self) {
        self.full = true;
    }

    /// A call of `work` tokens has ended; answers the limit from now on, if it changes.
    pub(super) fn on_done(&mut self, now_us: u64, work: f64, limit: f64, congested: bool) -> Option<f64> {
        if self.settling > 0 {
            self.settling -= 1;
            return None;
        }
        if self.calls == 0 {
            // The first call opens the window and is not counted: its work was done before.
            (self.since_us, self.calls, self.work) = (now_us, 1, 0.0);
            return None;
        }
        self.calls += 1;
        self.work += work;
        let elapsed_us = now_us.saturating_sub(self.since_us);
        if f64::from(self.calls) < limit || elapsed_us < WINDOW_US {
            return None;
        }
        let rate = self.work / float(elapsed_us);
        let full = std::mem::take(&mut self.full);
        self.calls = 0;
        let next = if full { self.judge(rate, limit, congested) } else { self.take_back() };
        if let Some(next) = next {
            self.settling = u32::try_from(super::whole_up(limit.max(next))).unwrap_or(u32::MAX);
        }
        next
    }

    fn judge(&mut self, rate: f64, limit: f64, congested: bool) -> Option<f64> {
        match self.step {
            Step::Rest(windows) if windows > 1 => {
                self.step = Step::Rest(windows - 1);
                None
            }
            Step::Rest(_) if congested && !self.lower_failed => self.down(limit, rate),
            Step::Rest(_) => self.up(limit, rate),
            Step::Up(_, before) if rate >= before * GAIN => {
                self.patience = 1;
                self.up(limit, rate)
            }
            Step::Down(_, before) if rate >= before * HELD => {
                self.patience = 1;
                if congested {
                    return self.down(limit, rate.max(before));
                }
                self.step = Step::Rest(1);
                None
            }
            Step::Up(..) | Step::Down(..) => self.take_back(),
        }
    }

    fn up(&mut self, limit: f64, rate: f64) -> Option<f64> {
        self.lower_failed = false;
        self.step = Step::Up(limit, rate);
        Some(limit * HIGHER)
    }

    fn down(&mut self, limit: f64, rate: f64) -> Option<f64> {
        self.step = Step::Down(limit, rate);
        Some(limit * LOWER)
    }

    /// The limit before the step, if one was being tried.
    fn take_back(&mut self) -> Option<f64> {
        let (Step::Up(from, _) | Step::Down(from, _)) = self.step else { return None };
        self.lower_failed = matches!(self.step, Step::Down(..));
        self.patience = (self.patience * 2).min(REST_MAX);
        self.step = Step::Rest(self.patience);
        Some(from)
    }
}
