//! One limit as a clock (GCRA): each admitted amount moves the clock ahead; how far ahead it may run is the burst.
//!
//! The burst `tau` starts at one second, because servers enforce limit/60 per second. It grows only on evidence:
//! after a full burst that no 429 followed, and then so slowly that the growth fits into the 1 % of the limit that
//! `SHARE` leaves unused. It shrinks after every 429.

use super::{SECOND_US, float, whole_up};

/// The share of a limit that is used; the rest absorbs jitter on the way to the server.
pub(super) const SHARE: f64 = 0.99;
const TAU_START_US: f64 = SECOND_US;
const TAU_MIN_US: f64 = 0.05 * SECOND_US;
const TAU_MAX_US: f64 = 5.0 * SECOND_US;
/// Growth of the burst in microseconds per microsecond; half of what `SHARE` leaves.
const TAU_GROWTH: f64 = 0.005;
/// What is to stay at the provider, as time of its refill.
const RESERVE_US: f64 = 0.05 * SECOND_US;
/// One reading never holds calls back for longer.
const CORRECTION_MAX_US: f64 = SECOND_US;
/// How long after a full burst a 429 may still come because of it.
const PROOF_US: f64 = 2.0 * SECOND_US;
/// After a 429 the burst is not widened for so long.
const CAUTION_US: u64 = 60_000_000;

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Unknown,
    /// Derived from the rate that met a 429; it is a guess and may be exceeded again.
    Guess,
    Config,
    Header,
}

#[derive(Debug, Clone)]
pub(super) struct Clock {
    per_minute: f64,
    origin: Origin,
    /// Theoretical arrival time: everything admitted so far is paid for at this time.
    tat_us: f64,
    tau_us: f64,
    tau_aim_us: f64,
    updated_us: u64,
    /// Last time at which less than half of the burst was used.
    slack_us: u64,
    /// A full burst went out at this time and no 429 has followed yet.
    burst_us: Option<u64>,
    cautious_until_us: u64,
}

impl Clock {
    pub(super) fn new(per_minute: Option<u64>) -> Self {
        let known = per_minute.filter(|limit| *limit > 0);
        Self {
            per_minute: known.map_or(0.0, float),
            origin: if known.is_some() { Origin::Config } else { Origin::Unknown },
            tat_us: 0.0,
            tau_us: TAU_START_US,
            tau_aim_us: TAU_START_US,
            updated_us: 0,
            slack_us: 0,
            burst_us: None,
            cautious_until_us: 0,
        }
    }

    /// What was only guessed is no limit any more.
    pub(super) fn forget_guess(&mut self) {
        if self.origin == Origin::Guess {
            self.origin = Origin::Unknown;
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn per_minute(&self) -> Option<f64> {
        (self.origin != Origin::Unknown).then_some(self.per_minute)
    }

    /// Takes over a limit; `true` if it differs from the one used so far.
    pub(super) fn adopt(&mut self, now_us: u64, per_minute: f64, origin: Origin) -> bool {
        let changed =
            self.origin == Origin::Unknown || (self.per_minute - per_minute).abs() > 0.001 * per_minute;
        if self.origin == Origin::Unknown {
            self.tat_us = self.tat_us.max(float(now_us));
        } else if changed && self.tat_us > float(now_us) {
            // What is outstanding stays the same amount at the new rate.
            self.tat_us = float(now_us) + (self.tat_us - float(now_us)) * self.per_minute / per_minute;
        }
        self.per_minute = per_minute;
        self.origin = origin;
        changed
    }

    /// When `amount` may go at the factor `k`; a time not after `now` means at once.
    pub(super) fn earliest_us(&mut self, now_us: u64, amount: f64, k: f64) -> u64 {
        if self.origin == Origin::Unknown {
            return 0;
        }
        self.advance(now_us);
        // An amount above the whole burst passes alone: it waits until nothing is outstanding, and then goes.
        let needed = self.cost_us(amount, k).min(self.tau_us);
        whole_up((self.tat_us + needed - self.tau_us).max(0.0))
    }

    /// Books `amount` as sent now.
    pub(super) fn book(&mut self, now_us: u64, amount: f64, k: f64) {
        if self.origin == Origin::Unknown {
            return;
        }
        let now = float(now_us);
        self.tat_us = self.tat_us.max(now) + self.cost_us(amount, k);
        let used = (self.tat_us - now) / self.tau_us;
        if used < 0.5 {
            self.slack_us = now_us;
        } else if used > 0.9
            && self.burst_us.is_none()
            && float(now_us.saturating_sub(self.slack_us)) < 0.5 * self.tau_us
        {
            self.burst_us = Some(now_us);
        }
    }

    /// Gives back (positive) or takes (negative) an amount booked too high or too low.
    pub(super) fn refund(&mut self, amount: f64, k: f64) {
        if self.origin != Origin::Unknown {
            self.tat_us = (self.tat_us - self.cost_us(amount, k)).max(0.0);
        }
    }

    /// The provider has only `left` at this moment: never believe in more, and keep a small reserve there, because
    /// calls overtake each other on the way.
    pub(super) fn cap_left(&mut self, now_us: u64, left: f64, k: f64) {
        if self.origin == Origin::Unknown {
            return;
        }
        let now = float(now_us);
        let ours_us = now + self.tau_us - self.tat_us.max(now);
        let theirs_us = self.cost_us(left, k) - RESERVE_US;
        if theirs_us < ours_us {
            self.tat_us = self.tat_us.max(now) + (ours_us - theirs_us).min(CORRECTION_MAX_US);
        }
    }

    /// A 429: the burst shrinks to `factor` of itself and is not widened again for a while.
    pub(super) fn shrink(&mut self, now_us: u64, factor: f64) {
        self.tau_us = (self.tau_us * factor).max(TAU_MIN_US);
        self.tau_aim_us = self.tau_us;
        self.burst_us = None;
        self.cautious_until_us = now_us.saturating_add(CAUTION_US);
    }

    fn cost_us(&self, amount: f64, k: f64) -> f64 {
        60.0 * SECOND_US * amount / (SHARE * k * self.per_minute)
    }

    fn advance(&mut self, now_us: u64) {
        let passed = float(now_us.saturating_sub(self.updated_us));
        self.updated_us = self.updated_us.max(now_us);
        if self.burst_us.is_some_and(|at| float(now_us.saturating_sub(at)) > PROOF_US) {
            self.burst_us = None;
            if now_us >= self.cautious_until_us {
                self.tau_aim_us = (self.tau_us * 1.1).clamp(TAU_MIN_US, TAU_MAX_US).max(self.tau_aim_us);
            }
        }
        if now_us >= self.cautious_until_us {
            // A burst shrunk below the start returns to it once the caution is over.
            let aim = self.tau_aim_us.max(TAU_START_US);
            self.tau_us = (self.tau_us + passed * TAU_GROWTH).min(aim).max(self.tau_us.min(aim));
        }
    }
}
