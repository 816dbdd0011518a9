//! The gate of one deployment: its rate limits, its calls in flight, and what its replies teach about both.
//!
//! Items are leased a little ahead of the room for their calls, so that no place stays empty while an intent is made
//! durable. What waits at the gate when the run ends was surely not sent.

use std::collections::VecDeque;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::{Admit, Concurrency, Hints, Limits, Pacer, RefusalKind, Signal};
use bulkrate_provider::Reply;
use bytes::Bytes;

use super::away::Away;
use super::first::First;
use crate::run::bundle::bound;
use crate::run::ready::Ready;
use crate::spec::RunSpec;

/// Leases ahead of the calls in flight, as a share of these: what ends while a commit is under way.
const AHEAD_SHARE: u32 = 8;

/// One call from its lease to its reply.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub ready: Ready,
    /// Items of the same request, after the first.
    pub more: Vec<Ready>,
    pub lane: Lane,
    pub body: Bytes,
    pub tokens: u64,
    pub sent_us: u64,
    /// The submission that leases it, once there is one.
    pub group: Option<Sub>,
    /// It goes out beside another of the same lease.
    pub copy: bool,
}

impl Flight {
    pub(super) fn items(&self) -> impl Iterator<Item = &Ready> {
        std::iter::once(&self.ready).chain(&self.more)
    }

    /// The most that the call can cost.
    pub(super) fn bound(&self) -> UsdNanos {
        bound(&self.ready, &self.more)
    }
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
    away: Away,
    first: First,
}

/// What the end of a call says beyond its item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The job stops, and why.
    pub halt: Option<String>,
    /// The deployment is away from now on.
    pub away: bool,
    /// It had been away and is back.
    pub back: bool,
}

impl Gate {
    /// `marked`: its prompts are marked for a prompt cache.
    pub(super) fn new(run: &RunSpec, marked: bool) -> Self {
        Self {
            pacer: Pacer::new(Limits { rpm: run.rpm, tpm: run.tpm }),
            concurrency: Concurrency::new(run.concurrency_max),
            known: run.rpm.is_some() || run.tpm.is_some(),
            ahead: 0,
            armed: VecDeque::new(),
            away: Away::default(),
            first: First::new(marked),
        }
    }

    /// Whether another item may be leased.
    pub(super) fn has_room(&self, now_us: u64) -> bool {
        if self.goes_alone(now_us) {
            // What waits here while a process dies is in doubt: nothing is leased ahead of the one call's answer.
            return self.concurrency.in_flight() == 0 && self.ahead == 0 && !self.away.shuts(now_us);
        }
        let limit = self.concurrency.limit();
        self.concurrency.in_flight().saturating_add(self.ahead) < limit.saturating_add(limit / AHEAD_SHARE)
    }

    /// Whether as many calls are out as its refusals allow at once. The most that the user set is no limit of its, nor is one that
    /// goes alone.
    pub(super) fn is_crowded(&self, now_us: u64) -> bool {
        self.concurrency.is_cut() && !self.goes_alone(now_us) && !self.has_room(now_us)
    }

    /// Whether a copy of a call may go out now: nobody else takes that place.
    pub(super) fn has_room_beside(&self, now_us: u64) -> bool {
        let taken = self.concurrency.in_flight().saturating_add(self.ahead);
        !self.goes_alone(now_us) && taken < self.concurrency.limit()
    }

    /// A call was given up: its copy was answered, or it is a copy that nobody needs.
    pub(super) fn dropped(&mut self) {
        self.concurrency.on_dropped();
    }

    /// The next call would be one whose answer is waited for before others go.
    pub(super) fn is_first(&self, now_us: u64) -> bool {
        self.goes_alone(now_us) && self.has_room(now_us)
    }

    /// One call at a time: nobody knows yet whether this is the API, or whether it is back.
    fn goes_alone(&self, now_us: u64) -> bool {
        self.first.goes_alone(now_us) || self.away.is_away()
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
        let waits = alone && (self.concurrency.in_flight() > 0 || self.away.shuts(now_us));
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
        self.first.not_sent();
        self.away.not_sent(now_us, random)
    }

    /// A call was sent and never answered.
    pub(super) fn unanswered(&mut self, now_us: u64, sent_us: u64, random: u64, failure: &Failure) -> News {
        let signal =
            if failure.class == FailureClass::Timeout { Signal::Timeout } else { Signal::Overloaded };
        self.concurrency.on_done(now_us, now_us - sent_us, 0, signal);
        let halt = self.first.lost(&failure.message);
        News { halt, away: self.away.lost(now_us, random), back: false }
    }

    /// When the next call may go, where that is no matter of an answer: the first one is slow, or it is time to look whether
    /// the provider is back.
    pub(super) fn opens_at(&self, now_us: u64) -> Option<u64> {
        let back = self.away.opens_at(now_us).filter(|_| self.concurrency.in_flight() == 0);
        back.or_else(|| self.first.opens_at(now_us))
    }

    /// Nothing may leave for a while.
    pub(super) fn is_shut(&self, now_us: u64) -> bool {
        self.away.shuts(now_us)
    }

    /// Nothing good comes back of its calls.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_away()
    }

    /// How long the deployment has been away.
    pub(super) fn away_us(&self, now_us: u64) -> u64 {
        self.away.for_us(now_us)
    }

    /// Its calls go elsewhere.
    pub(super) fn is_left(&self) -> bool {
        self.away.is_left()
    }

    /// Its calls go elsewhere until a free look is answered.
    pub(super) fn leave(&mut self, now_us: u64) {
        self.away.leave(now_us);
    }

    /// Whether to ask now, by a call that costs nothing, if the provider is back.
    pub(super) fn takes_look(&mut self, now_us: u64) -> bool {
        self.concurrency.in_flight() == 0 && self.away.takes_look(now_us)
    }

    /// Such a call ended; `there`: somebody answered. True: a paid call may go.
    pub(super) fn looked(&mut self, now_us: u64, there: bool, random: u64) -> bool {
        self.away.looked(now_us, there, random)
    }

    /// What a reply says of the place it came from.
    pub(super) fn replied(
        &mut self,
        now_us: u64,
        sent_us: u64,
        random: u64,
        reading: &Reading<'_>,
        reply: &Reply,
    ) -> News {
        let halt = self.first.replied(reading, reply);
        match reading {
            Reading::Failure(failure)
                if failure.maybe_paid
                    || (reply.status >= 500 && failure.class == FailureClass::Transient) =>
            {
                News { halt, away: self.away.lost(now_us, random), back: false }
            }
            _ => News { halt, away: false, back: self.away.back(sent_us) },
        }
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

    /// Items that the limits known by now allow in a second, by a call of `tokens` with so many; `company`: go in one.
    pub(super) fn items_per_s(&self, tokens: u64, items: u32, company: u32) -> Option<f64> {
        // One that went alone may go with others later: then a call is as much larger, at most.
        let each = company.max(items).max(1);
        let tokens = tokens.saturating_mul(u64::from(each)) / u64::from(items.max(1));
        self.pacer.calls_per_s(tokens).map(|calls| calls * f64::from(each))
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
