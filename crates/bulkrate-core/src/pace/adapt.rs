//! How hard to press a limit: the factor `k`, cut when calls are refused and raised again with time.
//!
//! A refusal can mean two things. Now and then a call arrives a few milliseconds early: then the share of refused calls
//! is tiny and giving up 40 % of the rate would be absurd. Or the capacity is really smaller: then a large share is
//! refused. The share of refused among sent calls lately sent tells them apart.
//!
//! And it can mean nothing: a gateway that refuses one call in five at any rate. Going slower then gains nothing, and that is
//! how it is known: the share of refused calls stays what it was after the rate was cut. Such a share is taken as given, and
//! only what goes beyond it counts.

use super::{SECOND_US, float};

const K_MIN: f64 = 0.1;
/// After a cut at least so much of the share of refused calls must be left for the rate not to be the reason.
const SHARE_KEPT: f64 = 0.7;
/// Fewer refusals since a cut say nothing about it.
const SINCE_MIN: f64 = 4.0;
/// Where half of the calls are refused there is a limit, wherever it is.
const SHARE_GIVEN_MAX: f64 = 0.5;
/// Without any refusal for so long the given share is void.
const GIVEN_QUIET_US: u64 = 15_000_000;

/// The factor of one reaction to a real lack of capacity.
const CUT: f64 = 0.6;
const CUT_MIN: f64 = 0.4;
/// The factor when a rate that was cut before meets a single refusal again.
const NUDGE: f64 = 0.80;
/// From this share of refused calls on the limit itself is taken to be lower.
const SHARE_LOST: f64 = 0.10;
/// Fewer refusals may be chance.
const REFUSED_MIN: f64 = 2.5;
const CALLS_MIN: f64 = 40.0;
const WINDOW_MAX_US: f64 = 10.0 * SECOND_US;
const RATE_OVER_US: f64 = 3.0 * SECOND_US;
/// What goes out at once in the beginning is no rate.
const RATE_KNOWN_US: f64 = 0.5 * SECOND_US;
/// Of fewer calls lately sent no rate can be told: the first call of a run goes alone.
const RATE_CALLS_MIN: f64 = 4.0;
const REACT_EVERY_US: u64 = 5_000_000;
const AGAIN_US: u64 = 15_000_000;
/// Recovery per second, reached so long after the last refusal.
const RECOVERY: f64 = 0.01;
const RECOVERY_FULL_US: f64 = 46.0 * SECOND_US;
/// After a long quiet the recovery is faster by this factor.
const SPEED_MAX: f64 = 4.0;

/// What a refusal is taken to mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// One of those already reacted to.
    Known,
    /// A call that came a moment early.
    Early,
    /// The capacity is below what we send.
    Short,
    /// As many are refused at a lower rate: the rate is not the reason.
    Idle,
}

#[derive(Debug, Clone)]
pub(super) struct Pressure {
    k: f64,
    sent: f64,
    refused: f64,
    sent_per_s: f64,
    counted_us: u64,
    cut_us: Option<u64>,
    nudged_us: Option<u64>,
    refused_us: Option<u64>,
    hold_until_us: u64,
    answered: f64,
    first_us: Option<u64>,
    /// The share of calls that are refused at any rate.
    given: Option<f64>,
    cut_at: Option<Cut>,
}

/// What was so when the rate was last cut, and what has come since.
#[derive(Debug, Clone, Copy)]
struct Cut {
    share: f64,
    /// The factor before the first of the cuts in a row.
    k: f64,
    sent: f64,
    refused: f64,
}

impl Pressure {
    pub(super) fn new() -> Self {
        Self {
            k: 1.0,
            sent: 0.0,
            refused: 0.0,
            sent_per_s: 0.0,
            counted_us: 0,
            cut_us: None,
            nudged_us: None,
            refused_us: None,
            hold_until_us: 0,
            answered: 0.0,
            first_us: None,
            given: None,
            cut_at: None,
        }
    }

    pub(super) fn k(&self) -> f64 {
        self.k
    }

    pub(super) fn sent(&mut self) {
        self.sent += 1.0;
        self.first_us.get_or_insert(self.counted_us);
        if let Some(cut) = &mut self.cut_at {
            cut.sent += 1.0;
        }
        self.sent_per_s += SECOND_US / RATE_OVER_US;
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.answered += 1.0;
    }

    /// Whether most of what came back lately was refused: then all calls wait, not only the refused ones.
    pub(super) fn is_storm(&self) -> bool {
        self.refused >= self.answered
    }

    /// Whether no more is refused lately than is at any rate.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some_and(|share| self.refused <= (1.5 * share + 0.05) * self.sent + 1.0)
    }

    /// Whether calls were refused so lately that what is measured now says little about the limits.
    pub(super) fn disturbed(&self, now_us: u64) -> bool {
        self.k < 0.95 || self.refused_us.is_some_and(|at| now_us.saturating_sub(at) < REACT_EVERY_US)
    }

    /// Lets time pass: counts fade, `k` recovers up to `k_max`.
    pub(super) fn advance(&mut self, now_us: u64, k_max: f64) {
        let passed = float(now_us.saturating_sub(self.counted_us));
        if passed <= 0.0 {
            return;
        }
        self.counted_us = now_us;
        self.sent_per_s *= (-passed / RATE_OVER_US).exp();
        // A second, or longer where a second holds too few calls to tell a share from chance.
        let window_us = (SECOND_US * CALLS_MIN / self.sent_per_s.max(0.1)).clamp(SECOND_US, WINDOW_MAX_US);
        let kept = (-passed / window_us).exp();
        self.sent *= kept;
        self.refused *= kept;
        self.answered *= kept;
        if self.refused_us.is_some_and(|at| now_us.saturating_sub(at) >= GIVEN_QUIET_US) {
            self.given = None;
            self.cut_at = None;
        }
        if self.k < k_max && now_us >= self.hold_until_us {
            let quiet = self.refused_us.map_or(f64::INFINITY, |at| float(now_us.saturating_sub(at)));
            // Slow near the rate that was just refused, fast once that is long past.
            let speed = (quiet / RECOVERY_FULL_US).powi(2).min(SPEED_MAX);
            self.k = (self.k + RECOVERY * speed * passed.min(SECOND_US) / SECOND_US).min(k_max);
        }
    }

    /// Counts a refusal and reacts at most once in five seconds to each kind. `explained`: the headers say that a limit is
    /// used up, so the rate is the reason whatever came of going slower.
    pub(super) fn refused(&mut self, now_us: u64, explained: bool) -> Reading {
        self.refused += 1.0;
        self.refused_us = Some(now_us);
        if let Some(cut) = self.cut_at.as_mut().filter(|_| !explained) {
            cut.refused += 1.0;
        }
        if !explained && self.is_given() {
            return Reading::Known;
        }
        let due = |last: Option<u64>| last.is_none_or(|at| now_us.saturating_sub(at) >= REACT_EVERY_US);
        if !explained && due(self.cut_us) && due(self.nudged_us) && self.was_idle() {
            return Reading::Idle;
        }
        if self.refused >= REFUSED_MIN && self.refused > SHARE_LOST * self.sent {
            if !due(self.cut_us) {
                return Reading::Known;
            }
            // What still gets through is what the capacity is.
            self.cut(now_us, (1.0 - self.refused / self.sent.max(1.0)).clamp(CUT_MIN, CUT));
            return Reading::Short;
        }
        if !due(self.nudged_us) || !due(self.cut_us) {
            return Reading::Known;
        }
        // One early call in a while needs no slower pace; several do.
        let again = self.nudged_us.is_some_and(|at| now_us.saturating_sub(at) < AGAIN_US);
        self.nudged_us = Some(now_us);
        if self.k < 1.0 || again {
            self.lower(NUDGE);
        }
        Reading::Early
    }

    /// Whether the last cut changed nothing; if so it is undone.
    fn was_idle(&mut self) -> bool {
        let Some(cut) = self.cut_at.filter(|cut| cut.refused >= SINCE_MIN) else { return false };
        let share = cut.refused / cut.sent.max(1.0);
        if share < SHARE_KEPT * cut.share || share >= SHARE_GIVEN_MAX {
            return false;
        }
        self.given = Some(share);
        self.k = cut.k.max(self.k);
        self.cut_at = None;
        true
    }

    fn lower(&mut self, factor: f64) {
        let share = self.refused / self.sent.max(1.0);
        let k = self.cut_at.map_or(self.k, |cut| cut.k);
        self.cut_at = Some(Cut { share, k, sent: 0.0, refused: 0.0 });
        self.given = None;
        self.k = (self.k * factor).max(K_MIN);
    }

    /// The provider asked for less: cut at once and do not grow for `hold_us`.
    pub(super) fn slow_down(&mut self, now_us: u64, hold_us: u64) {
        self.refused_us = Some(now_us);
        if self.cut_us.is_none_or(|at| now_us.saturating_sub(at) >= REACT_EVERY_US) {
            self.cut(now_us, CUT);
        }
        self.hold_until_us = self.hold_until_us.max(now_us.saturating_add(hold_us));
    }

    /// A new limit was adopted: what was learned about the old one is void.
    pub(super) fn reset(&mut self) {
        self.k = 1.0;
        self.cut_at = None;
    }

    /// Whether enough calls were sent lately to tell at what rate they get through.
    pub(super) fn tells_rate(&self) -> bool {
        self.sent >= RATE_CALLS_MIN
    }

    /// Calls per second that got through lately.
    pub(super) fn passed_per_s(&self) -> f64 {
        let share = if self.sent > 0.0 { (1.0 - self.refused / self.sent).max(0.1) } else { 1.0 };
        // The mean over three seconds has seen less than that in the beginning.
        let known_us = float(self.counted_us - self.first_us.unwrap_or(self.counted_us)).max(RATE_KNOWN_US);
        (self.sent_per_s / (1.0 - (-known_us / RATE_OVER_US).exp()) * share).max(1.0)
    }

    fn cut(&mut self, now_us: u64, factor: f64) {
        self.lower(factor);
        self.cut_us = Some(now_us);
    }
}
