//! How many calls may be in flight: a closed loop that finds what a provider can take.
//!
//! While latency stays what it was with few calls, more calls in flight mean more throughput (Little's law:
//! throughput = in flight / latency), so the limit trebles per round trip. Once latency grows calls queue, and the
//! throughput itself decides ([`Climb`]). Overload and time-outs cut the limit once per round trip; then it explores again,
//! faster the longer it stays quiet.
//!
//! Latency is taken per output token plus a constant, so that long answers do not look like congestion, and as the
//! median over a round, so that a heavy tail does not either.

use super::climb::Climb;
use super::float;

/// Tokens that the fixed part of a call's latency (network, prompt) is taken to be worth.
const TOKENS_BASE: f64 = 16.0;
const ROUND_MIN: u32 = 64;
/// Latencies kept of one round for its median, spread over it: the first answers of a burst are the quick ones.
const SAMPLES_MAX: u32 = 256;
/// Latency above the best by this factor: queueing has begun, no more trebling.
const QUEUEING: f64 = 1.6;
/// Latency above the best by this factor: fewer in flight may do as much.
const CONGESTED: f64 = 2.5;
const CUT: f64 = 0.9;
/// Cut when more than a third of the answers since the last cut are refusals.
const CUT_HARD: f64 = 0.7;
/// Growth per round trip as a share of the limit: it trebles. 1,000 calls are in flight after a little more than three round trips;
/// doubling would take five.
const GAIN_MAX: f64 = 2.0;
/// The same after a cut; it grows by half each quiet round, up to the most.
const GAIN_AFTER_CUT: f64 = 0.05;
/// How much of a higher latency the best known one takes over in five seconds: conditions change for good at times. By time and
/// not by round, or a server of one millisecond would have its best forgotten in a second, and growth would never end.
const FORGET: f64 = 0.01;
const FORGET_US: f64 = 5e6;

const LATENCY_EXPECTED_S: f64 = 5.0;

/// How a call ended, as far as the load is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    Ok,
    /// The provider is overloaded or refused for lack of capacity (503, 529, a 429 that no known rate limit explains).
    Overloaded,
    Timeout,
}

/// The limit of calls in flight to one (account, model).
#[derive(Debug, Clone)]
pub struct Concurrency {
    limit: f64,
    limit_max: f64,
    in_flight: u32,
    /// Growth per round trip as a share of the limit: 1.0 would double it.
    gain: f64,
    growing: bool,
    congested: bool,
    climb: Climb,
    round_left: u32,
    samples: Vec<f64>,
    best: Option<f64>,
    best_us: u64,
    round_trip_us: f64,
    cut_us: Option<u64>,
    good: u32,
    bad: u32,
}

impl Concurrency {
    pub const START: u32 = 32;
    pub const MAX: u32 = 2_000;

    /// Starts at 32 calls in flight, or at `max` if that is lower.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self::starting_at(Self::START, max)
    }

    #[must_use]
    pub fn starting_at(start: u32, max: u32) -> Self {
        let max = max.max(1);
        Self {
            limit: f64::from(start.clamp(1, max)),
            limit_max: f64::from(max),
            in_flight: 0,
            gain: GAIN_MAX,
            growing: true,
            congested: false,
            climb: Climb::new(),
            round_left: ROUND_MIN,
            samples: Vec::with_capacity(SAMPLES_MAX as usize),
            best: None,
            best_us: 0,
            round_trip_us: 0.0,
            cut_us: None,
            good: 0,
            bad: 0,
        }
    }

    /// Calls that may be in flight, at least 1.
    #[must_use]
    pub fn limit(&self) -> u32 {
        u32::try_from(super::whole_up(self.limit.floor())).unwrap_or(u32::MAX).max(1)
    }

    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit()
    }

    /// Whether overload or time-outs have lowered the limit below the most that was set.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut_us.is_some() && self.limit < self.limit_max
    }

    /// A rate limit is known that allows `calls_per_s`: until something speaks against it, as many calls may be in
    /// flight as that rate brings within five seconds. The provider has announced that it takes them, and the pacer
    /// keeps them from going at once; finding that out from 32 calls, with answers of five seconds, would waste a quarter of a minute.
    pub fn raise_for_rate(&mut self, calls_per_s: f64) {
        if self.cut_us.is_none() && self.growing {
            self.limit = self.limit.max(calls_per_s * LATENCY_EXPECTED_S).min(self.limit_max);
        }
    }

    pub fn on_sent(&mut self, _now_us: u64) {
        self.in_flight = self.in_flight.saturating_add(1);
        if !self.has_room() {
            self.climb.reached_limit();
        }
    }

    /// A call ended after `latency_us` with `output_tokens` (0 if there are none).
    pub fn on_done(&mut self, now_us: u64, latency_us: u64, output_tokens: u64, signal: Signal) {
        let busy = f64::from(self.in_flight) * 2.0 >= self.limit;
        self.in_flight = self.in_flight.saturating_sub(1);
        if signal != Signal::Ok {
            self.bad = self.bad.saturating_add(1);
            self.overloaded(now_us);
            return;
        }
        self.good = self.good.saturating_add(1);
        let latency = float(latency_us.max(1));
        self.round_trip_us +=
            (latency - self.round_trip_us) * if self.round_trip_us > 0.0 { 0.02 } else { 1.0 };
        if busy && self.growing {
            self.limit = (self.limit + self.gain).min(self.limit_max);
        }
        let work = float(output_tokens) + TOKENS_BASE;
        let stride = self.limit().div_ceil(SAMPLES_MAX);
        if self.round_left.is_multiple_of(stride) && self.samples.len() < SAMPLES_MAX as usize {
            self.samples.push(latency / work);
        }
        if !self.growing
            && let Some(limit) = self.climb.on_done(now_us, work, self.limit, self.congested)
        {
            self.limit = limit.clamp(1.0, self.limit_max);
        }
        self.round_left = self.round_left.saturating_sub(1);
        if self.round_left == 0 {
            self.end_round(now_us);
        }
    }

    /// A call was given up without an answer that says anything about the load.
    pub fn on_dropped(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn end_round(&mut self, now_us: u64) {
        self.round_left = self.limit().max(ROUND_MIN);
        let Some(now) = median(&mut self.samples) else { return };
        self.samples.clear();
        let passed = (float(now_us.saturating_sub(self.best_us)) / FORGET_US).min(1.0);
        self.best_us = now_us;
        let best = *self.best.insert(match self.best {
            None => now,
            Some(best) if now < best => best + (now - best) * 0.5,
            Some(best) => best + (now - best) * FORGET * passed,
        });
        let ratio = now / best;
        self.growing = ratio < QUEUEING;
        self.congested = ratio > CONGESTED;
        if self.growing {
            self.gain = (self.gain * 1.5).min(GAIN_MAX);
            self.climb.restart();
        }
    }

    /// At most one cut per round trip: the calls already in flight tell of the old limit.
    fn overloaded(&mut self, now_us: u64) {
        let wait_us = super::whole_up(self.round_trip_us.max(super::SECOND_US));
        if self.cut_us.is_some_and(|at| now_us.saturating_sub(at) < wait_us) {
            return;
        }
        let hard = self.bad >= 8 && self.bad > self.good / 2;
        self.cut(now_us, if hard { CUT_HARD } else { CUT });
    }

    fn cut(&mut self, now_us: u64, factor: f64) {
        self.limit = (self.limit * factor).max(1.0);
        self.gain = GAIN_AFTER_CUT;
        self.cut_us = Some(now_us);
        self.samples.clear();
        self.climb.restart();
        self.round_left = self.limit().max(ROUND_MIN);
        (self.good, self.bad) = (0, 0);
    }
}

fn median(samples: &mut [f64]) -> Option<f64> {
    let middle = samples.len() / 2;
    (!samples.is_empty()).then(|| *samples.select_nth_unstable_by(middle, f64::total_cmp).1)
}
