//! The gate of one deployment: its rate limits, its calls in flight, and what its replies teach about both.
//!
//! Items are leased a little ahead of the room for their calls, so that no place stays empty while an intent is made
//! durable. What waits at the gate when the run ends was surely not sent.

use std::collections::VecDeque;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::pace::{Admit, Concurrency, Hints, Limits, Pacer, RefusalKind, Signal};
use bulkrate_provider::Reply;
use bytes::Bytes;

use super::first::First;
use crate::run::ready::Ready;
use crate::spec::RunSpec;

/// The longest wait between two looks at a provider that is away, and at one that may never have been there.
const AWAY_WAIT_MAX_US: u64 = 60_000_000;
const NEVER_THERE_WAIT_MAX_US: u64 = 5_000_000;
/// Leases ahead of the calls in flight, as a share of these: what ends while a commit is under way.
const AHEAD_SHARE: u32 = 8;

/// One call from its lease to its reply.
#[derive(Debug)]
pub(super) struct Flight {
    pub ready: Ready,
    pub lane: Lane,
    pub body: Bytes,
    pub tokens: u64,
    pub sent_us: u64,
    /// The submission that leases it, once there is one.
    pub group: Option<Sub>,
}

/// Pacing of one deployment.
#[derive(Debug)]
pub(super) struct Gate {
    pacer: Pacer,
    concurrency: Concurrency,
    /// Its rate limits are known.
    known: bool,
    /// Leases whose calls have not been sent.
    ahead: u32,
    /// Those of them whose intents are durable.
    armed: VecDeque<Flight>,
    /// Since when no call could be sent at all.
    unreachable_since_us: Option<u64>,
    /// Until when nobody looks again whether one can.
    shut_until_us: u64,
    /// Something has come back in this run.
    answered: bool,
    first: First,
}

impl Gate {
    pub(super) fn new(run: &RunSpec) -> Self {
        Self {
            pacer: Pacer::new(Limits { rpm: run.rpm, tpm: run.tpm }),
            concurrency: Concurrency::new(run.concurrency_max),
            known: run.rpm.is_some() || run.tpm.is_some(),
            ahead: 0,
            armed: VecDeque::new(),
            unreachable_since_us: None,
            shut_until_us: 0,
            answered: false,
            first: First::default(),
        }
    }

    /// Whether another item may be leased.
    pub(super) fn has_room(&self, now_us: u64) -> bool {
        if self.goes_alone(now_us) {
            // What waits here while a process dies is in doubt: nothing is leased ahead of the one call's answer.
            return self.concurrency.in_flight() == 0 && self.ahead == 0 && now_us >= self.shut_until_us;
        }
        let limit = self.concurrency.limit();
        self.concurrency.in_flight().saturating_add(self.ahead) < limit.saturating_add(limit / AHEAD_SHARE)
    }

    /// One call at a time: nobody knows yet whether this is the API, or whether it can be reached again.
    fn goes_alone(&self, now_us: u64) -> bool {
        self.first.goes_alone(now_us) || self.unreachable_since_us.is_some()
    }

    /// Takes the tokens of a call that will be leased, or says when to ask again.
    pub(super) fn admit(&mut self, now_us: u64, tokens: u64) -> Admit {
        let admit = self.pacer.admit(now_us, tokens);
        self.ahead += u32::from(admit == Admit::Go);
        admit
    }

    /// The intent of a leased call is durable.
    pub(super) fn arm(&mut self, flight: Flight) {
        self.armed.push_back(flight);
    }

    /// Whether the calls that are ready may not last until the next intents are durable.
    pub(super) fn is_short(&self) -> bool {
        self.armed.len() < (self.concurrency.limit() / AHEAD_SHARE / 2).max(1) as usize
    }

    /// The next call that may be sent now.
    pub(super) fn next(&mut self, now_us: u64) -> Option<Flight> {
        let alone = self.goes_alone(now_us);
        let waits = alone && (self.concurrency.in_flight() > 0 || now_us < self.shut_until_us);
        if waits || !self.concurrency.has_room() {
            return None;
        }
        let mut flight = self.armed.pop_front()?;
        self.ahead -= 1;
        self.concurrency.on_sent(now_us);
        self.first.sent(now_us);
        flight.sent_us = now_us;
        Some(flight)
    }

    /// A leased call that will not be sent any more.
    pub(super) fn give_up(&mut self) -> Option<Flight> {
        let flight = self.armed.pop_front()?;
        self.ahead -= 1;
        Some(flight)
    }

    /// A lease whose intent could not be made durable.
    pub(super) fn forget(&mut self) {
        self.ahead -= 1;
    }

    /// A call could not be sent. For how long to wait, drawn with `random`, and whether it is the first.
    pub(super) fn not_sent(&mut self, now_us: u64, sent_us: u64, random: u64) -> (u64, bool) {
        self.concurrency.on_done(now_us, now_us - sent_us, 0, Signal::Overloaded);
        self.first.unanswered();
        let first = self.unreachable_since_us.is_none();
        // As long again as it has been away, however many calls have found that out: a short outage costs little.
        let away_us = now_us - *self.unreachable_since_us.get_or_insert(now_us);
        let longest_us = if self.answered { AWAY_WAIT_MAX_US } else { NEVER_THERE_WAIT_MAX_US };
        let most_us = away_us.clamp(500_000, longest_us);
        let wait_us = most_us / 2 + random % (most_us / 2);
        self.shut_until_us = self.shut_until_us.max(now_us + wait_us);
        (wait_us, first)
    }

    /// A call was sent and never answered.
    pub(super) fn unanswered(&mut self, now_us: u64, sent_us: u64, class: FailureClass) {
        self.first.unanswered();
        self.unreachable_since_us = None;
        let signal = if class == FailureClass::Timeout { Signal::Timeout } else { Signal::Overloaded };
        self.concurrency.on_done(now_us, now_us - sent_us, 0, signal);
    }

    /// When the next call may go, where that is no matter of an answer: the first one is slow, or it is time to look whether
    /// the provider is back.
    pub(super) fn opens_at(&self, now_us: u64) -> Option<u64> {
        let looks = self.unreachable_since_us.is_some() && self.concurrency.in_flight() == 0;
        let back = Some(self.shut_until_us).filter(|until| looks && now_us < *until);
        back.or_else(|| self.first.opens_at(now_us))
    }

    /// `Some`: the job stops, as this is not the API, and why.
    pub(super) fn know_foreign(&mut self, reading: &Reading<'_>, reply: &Reply) -> Option<String> {
        self.first.replied(reading, reply)
    }

    /// Takes in what a reply shows about pace and load.
    pub(super) fn learn(
        &mut self,
        flight: &Flight,
        reading: &Reading<'_>,
        reply: &Reply,
        now_us: u64,
        output_tokens: u64,
    ) {
        self.unreachable_since_us = None;
        self.answered = true;
        let hints = reply.limit_hints();
        let hints = Hints {
            requests_limit: hints.requests_limit,
            requests_left: hints.requests_left,
            requests_reset_ms: hints.requests_reset_ms,
            tokens_limit: hints.tokens_limit,
            tokens_left: hints.tokens_left,
            tokens_reset_ms: hints.tokens_reset_ms,
        };
        self.known |= hints.requests_limit.is_some() || hints.tokens_limit.is_some();
        self.pacer.observe(now_us, flight.sent_us, &hints);
        let latency_us = now_us.saturating_sub(flight.sent_us);
        match reading {
            Reading::Answer(answer) => {
                self.pacer.answered(now_us);
                self.concurrency.on_done(now_us, latency_us, output_tokens, Signal::Ok);
                if let Some(usage) = answer.usage {
                    self.pacer.correct(flight.tokens, usage.prompt() + usage.output);
                }
                if self.known
                    && let Some(rate) = self.pacer.calls_per_s(flight.tokens)
                {
                    self.concurrency.raise_for_rate(rate);
                }
            }
            Reading::Failure(failure) => self.learn_failure(failure, reply.status, now_us, latency_us),
        }
    }

    /// Calls of `tokens` each that the limits known by now allow in a second.
    pub(super) fn rate(&self, tokens: u64) -> Option<f64> {
        self.pacer.calls_per_s(tokens)
    }

    fn learn_failure(&mut self, failure: &Failure, status: u16, now_us: u64, latency_us: u64) {
        let wait_us = failure.wait_ms.map(|wait| wait.saturating_mul(1_000));
        let code = failure.provider_code.as_deref().unwrap_or("");
        match (failure.class, code) {
            (FailureClass::RateLimited, "resource_unavailable") => {
                self.concurrency.on_done(now_us, latency_us, 0, Signal::Overloaded);
            }
            (FailureClass::RateLimited, _) => {
                let kind = if code == "slow_down" { RefusalKind::SlowDown } else { RefusalKind::Unspecified };
                self.pacer.on_refused(now_us, kind, wait_us);
                self.concurrency.on_dropped();
            }
            (FailureClass::Transient, _) if matches!(status, 503 | 529) => {
                self.concurrency.on_done(now_us, latency_us, 0, Signal::Overloaded);
            }
            _ => self.concurrency.on_dropped(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Looks at a provider that is away, as the lane does; answers how long the longest wait was.
    fn longest_wait_s(answered: bool) -> u64 {
        let mut gate = Gate::new(&RunSpec { concurrency_max: 100, ..RunSpec::default() });
        gate.answered = answered;
        let (mut now_us, mut longest_us) = (1_000_000, 0);
        for look in 0..200_u64 {
            assert!(gate.has_room(now_us), "look {look}");
            assert_eq!(gate.opens_at(now_us), None, "a time that is past wakes nobody");
            assert_eq!(gate.admit(now_us, 10), Admit::Go);
            assert!(!gate.has_room(now_us), "one look at a time");
            gate.forget();
            gate.concurrency.on_sent(now_us);
            assert_eq!(gate.opens_at(now_us), None, "while it is out nobody waits for a time");
            let (wait_us, first) = gate.not_sent(now_us, now_us, look.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(first, look == 0);
            assert!(!gate.has_room(now_us + wait_us - 1));
            assert_eq!(gate.opens_at(now_us), Some(now_us + wait_us));
            longest_us = longest_us.max(wait_us);
            now_us += wait_us;
        }
        longest_us / 1_000_000
    }

    #[test]
    fn one_call_at_a_time_looks_whether_a_provider_is_back() {
        assert!((30..=60).contains(&longest_wait_s(true)));
        assert!(longest_wait_s(false) <= 5, "whose address may be wrong is not waited for so long");
    }
}
