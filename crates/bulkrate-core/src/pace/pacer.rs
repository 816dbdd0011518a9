//! When the next call of one (account, model) may go, so that its rate limits are used to 99 % and not met.
//!
//! Two clocks, requests and tokens, each advanced by what is admitted; limits come from the configuration or from the
//! headers of answers; refusals press both (`adapt`); what a call costs in tokens is learned (`charge`).
//! With no limit known every call may go, and `Concurrency` alone bounds the flow.

use super::adapt::{Pressure, Reading};
use super::charge::Charge;
use super::clock::{Clock, Origin};
use super::{SECOND_US, float};

/// A guessed limit may be exceeded by this factor before it would be guessed anew.
const GUESS_K_MAX: f64 = 50.0;
/// After `slow_down` the rate is held before it is raised again.
const SLOW_DOWN_HOLD_US: u64 = 60_000_000;
/// Refusals so soon after a limit was learned come from calls sent without knowing it.
const LEARNING_US: u64 = 1_000_000;
/// Windows longer than half an hour belong to daily limits, which are not a pace.
const WINDOW_MAX_S: f64 = 1_800.0;

/// Limits known from the configuration; `None` = to be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
}

/// What the headers of one answer say about the limits; `None` = not said. Limits are per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    pub requests_limit: Option<u64>,
    pub requests_left: Option<u64>,
    /// Milliseconds until the requests are full again.
    pub requests_reset_ms: Option<u64>,
    pub tokens_limit: Option<u64>,
    pub tokens_left: Option<u64>,
    /// Milliseconds until the tokens are full again.
    pub tokens_reset_ms: Option<u64>,
}

/// Which limit refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    Requests,
    Tokens,
    /// A rate limit that does not say of what.
    Unspecified,
    /// The traffic grew too fast: go slower and hold.
    SlowDown,
    /// No room at the moment (flex, overload): says nothing about our limits.
    Capacity,
}

/// Whether a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Now; it is booked.
    Go,
    /// Not now: ask again at this time, in microseconds of the same clock.
    At(u64),
}

/// The limiter of one account and model.
#[derive(Debug, Clone)]
pub struct Pacer {
    requests: Clock,
    tokens: Clock,
    pressure: Pressure,
    charge: Charge,
    not_before_us: u64,
    /// When a limit was first learned; calls sent before that knew of none.
    learned_us: Option<u64>,
    /// What the last call admitted is charged.
    charged: f64,
    /// When headers last said that a limit is used up.
    empty_us: Option<u64>,
}

impl Pacer {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            requests: Clock::new(limits.rpm),
            tokens: Clock::new(limits.tpm),
            pressure: Pressure::new(),
            charge: Charge::new(),
            not_before_us: 0,
            learned_us: None,
            charged: 0.0,
            empty_us: None,
        }
    }

    /// May a call of `tokens` go now? `tokens` = estimated prompt plus output maximum; the pacer learns which part
    /// of that the provider charges. `Go` books the call; `At` books nothing.
    pub fn admit(&mut self, now_us: u64, tokens: u64) -> Admit {
        self.pressure.advance(now_us, self.k_max());
        let k = self.pressure.k();
        let charged = float(tokens) * self.charge.factor();
        let requests_us = self.requests.earliest_us(now_us, 1.0, k);
        let tokens_us = self.tokens.earliest_us(now_us, charged, k);
        if tokens_us > now_us && tokens_us > requests_us {
            self.charge.waited();
        }
        let at_us = requests_us.max(tokens_us).max(self.not_before_us);
        if at_us > now_us {
            return Admit::At(at_us);
        }
        self.charged = charged;
        self.requests.book(now_us, 1.0, k);
        self.tokens.book(now_us, charged, k);
        self.charge.sent(now_us, float(tokens));
        self.pressure.sent();
        Admit::Go
    }

    /// An answer came: `actual` tokens were used where `admit` was told `estimated`. Call after `observe`; where
    /// headers tell what is charged, usage is not consulted.
    pub fn correct(&mut self, estimated: u64, actual: u64) {
        let refund = self.charge.used(float(estimated), float(actual));
        self.tokens.refund(refund, self.pressure.k());
    }

    /// A call was answered, whatever headers and usage came along.
    pub fn answered(&mut self, now_us: u64) {
        self.pressure.advance(now_us, self.k_max());
        self.pressure.answered();
    }

    /// The headers of an answer, good or bad, to the call that was sent at `sent_us`.
    pub fn observe(&mut self, now_us: u64, sent_us: u64, hints: &Hints) {
        let empty = hints.requests_left == Some(0)
            || hints.tokens_left.is_some_and(|left| float(left) < self.charged);
        if empty {
            self.empty_us = Some(now_us);
        }
        let since = self.charge.sent_after(sent_us);
        let (requests, tokens) = (since.map(|(calls, _)| calls), since.map(|(_, tokens)| tokens));
        for (clock, limit, left, reset_ms, sent) in [
            (
                &mut self.requests,
                hints.requests_limit,
                hints.requests_left,
                hints.requests_reset_ms,
                requests,
            ),
            (&mut self.tokens, hints.tokens_limit, hints.tokens_left, hints.tokens_reset_ms, tokens),
        ] {
            if is_daily(limit, left, reset_ms) {
                if left == Some(0) {
                    self.not_before_us = self.not_before_us.max(after_ms(now_us, reset_ms));
                }
                continue;
            }
            let first = clock.origin() == Origin::Unknown;
            if let Some(limit) = limit.filter(|limit| *limit > 0)
                && clock.adopt(now_us, float(limit), Origin::Header)
            {
                self.charge.interrupt();
                self.pressure.reset();
                if first {
                    self.learned_us = Some(now_us);
                }
            }
            match (left, clock.per_minute(), sent) {
                (Some(0), None, _) => self.not_before_us = self.not_before_us.max(after_ms(now_us, reset_ms)),
                (Some(left), Some(per_minute), Some(sent)) => {
                    // The rest is as old as the call: since then some flowed back and some was sent.
                    let refill = float(now_us.saturating_sub(sent_us)) * per_minute / (60.0 * SECOND_US);
                    clock.cap_left(now_us, float(left) + refill - sent, self.pressure.k());
                }
                _ => {}
            }
        }
        if let (Some(left), Some(per_minute)) = (hints.tokens_left, self.tokens.per_minute()) {
            if self.pressure.disturbed(now_us) {
                self.charge.interrupt();
            } else {
                self.charge.read(now_us, sent_us, float(left), per_minute / (60.0 * SECOND_US));
            }
        }
    }

    /// A 429 came. `retry_after_us`: how long the provider asks us to wait. Not an attempt of the item.
    pub fn on_refused(&mut self, now_us: u64, kind: RefusalKind, retry_after_us: Option<u64>) {
        self.pressure.advance(now_us, self.k_max());
        if kind == RefusalKind::Capacity {
            return;
        }
        // One call that is refused among many that are answered, with room left by the headers or without any word of them,
        // waits for itself. All calls wait where the headers explain it, and where most are refused.
        let explained = self.empty_us == Some(now_us);
        let for_all = kind == RefusalKind::SlowDown || explained || self.pressure.is_storm();
        if let Some(wait_us) = retry_after_us.filter(|_| for_all) {
            self.not_before_us = self.not_before_us.max(now_us.saturating_add(wait_us));
        }
        if self.learned_us.is_some_and(|at| now_us.saturating_sub(at) < LEARNING_US) {
            return;
        }
        if kind == RefusalKind::SlowDown {
            self.pressure.slow_down(now_us, SLOW_DOWN_HOLD_US);
            return;
        }
        if (explained || !self.pressure.is_given()) && self.pressure.tells_rate() {
            self.guess(now_us, kind);
        }
        if kind == RefusalKind::Tokens && self.charge.contradicted(now_us) {
            return;
        }
        let reading = self.pressure.refused(now_us, explained);
        let factor = match reading {
            Reading::Known => return,
            Reading::Idle => {
                self.requests.forget_guess();
                self.tokens.forget_guess();
                return;
            }
            Reading::Early => 0.9,
            Reading::Short => {
                self.charge.short();
                0.8
            }
        };
        if kind != RefusalKind::Tokens {
            self.requests.shrink(now_us, factor);
        }
        if kind != RefusalKind::Requests {
            self.tokens.shrink(now_us, factor);
        }
    }

    /// The limits in use, per minute: configured, learned or guessed.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let whole = |clock: &Clock| clock.per_minute().map(super::whole_up);
        Limits { rpm: whole(&self.requests), tpm: whole(&self.tokens) }
    }

    /// The share of the limits in use, 1.0 unless refusals brought it down.
    #[must_use]
    pub fn k(&self) -> f64 {
        self.pressure.k()
    }

    /// The part of `admit`'s estimate that the provider is believed to charge.
    #[must_use]
    pub fn charge_factor(&self) -> f64 {
        self.charge.factor()
    }

    /// Calls per second that the limits allow for calls of `tokens` each; `None` while no limit is known.
    #[must_use]
    pub fn calls_per_s(&self, tokens: u64) -> Option<f64> {
        let share = super::clock::SHARE * self.pressure.k() / 60.0;
        let by_requests = self.requests.per_minute().map(|limit| limit * share);
        let charged = (float(tokens) * self.charge.factor()).max(1.0);
        let by_tokens = self.tokens.per_minute().map(|limit| limit * share / charged);
        match (by_requests, by_tokens) {
            (Some(requests), Some(tokens)) => Some(requests.min(tokens)),
            (one, other) => one.or(other),
        }
    }

    /// Only a configured or announced limit is a limit; a guessed one is a start.
    fn k_max(&self) -> f64 {
        let guessed = [&self.requests, &self.tokens].iter().any(|clock| clock.origin() == Origin::Guess);
        if guessed { GUESS_K_MAX } else { 1.0 }
    }

    /// Refused without any known limit that explains it: take the rate that got through as the limit.
    fn guess(&mut self, now_us: u64, kind: RefusalKind) {
        let known = |clock: &Clock| clock.origin() != Origin::Unknown;
        let explained = match kind {
            RefusalKind::Requests => known(&self.requests),
            RefusalKind::Tokens => known(&self.tokens) || known(&self.requests),
            _ => known(&self.requests) || known(&self.tokens),
        };
        if !explained {
            self.requests.adopt(now_us, 60.0 * self.pressure.passed_per_s(), Origin::Guess);
        }
    }
}

/// Whether limit, rest and time until full belong to a window far longer than a minute.
fn is_daily(limit: Option<u64>, left: Option<u64>, reset_ms: Option<u64>) -> bool {
    let (Some(limit), Some(left), Some(reset_ms)) = (limit, left, reset_ms) else { return false };
    let gone = limit.saturating_sub(left);
    gone > 0 && float(reset_ms) / 1_000.0 * float(limit) / float(gone) > WINDOW_MAX_S && reset_ms > 2_000
}

fn after_ms(now_us: u64, wait_ms: Option<u64>) -> u64 {
    now_us.saturating_add(wait_ms.unwrap_or(1_000).saturating_mul(1_000))
}
