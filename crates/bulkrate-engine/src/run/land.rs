//! What one reply means for its item: a receipt, a result line, and what comes next.
//!
//! Invariants
//! - An outcome is booked only if it ends the lease it belongs to; what comes late changes nothing.
//! - Every leased bound leaves the reservation exactly once: settled, released or doubted.

use bulkrate_core::answer::{Answer, Body, Failure, Reading};
use bulkrate_core::collect::{Checked, Flaw, check};
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::retry::{Alarm, Failure as LadderFailure, Ladder, Next};
use bulkrate_core::usage::Usage;
use bulkrate_store::fold::Applied;
use bulkrate_store::{Fate, LedgerKind, Outcome, Place, Via};

use super::failures::is_metered;
use super::job::{Halt, Job, Retry};
use super::ledger::At;
use super::ready::Ready;
use crate::result_line::{Frame, write_bad, write_good};
use crate::spec::SyncDoubt;

/// So many items go ahead of the batches, one after the other, until one is answered.
const CANARIES: u64 = 3;

/// A cost above so many times the worst case is no cost but an error of the provider.
const CREDIBLE_FACTOR: u64 = 16;
/// Below this nothing is called nonsense: small bounds are easily passed by rounding.
const CREDIBLE_MIN: UsdNanos = UsdNanos(10_000_000);
/// The most that one answer of a model without a known price may be said to cost.
const UNPRICED_MAX: UsdNanos = UsdNanos::dollars(1_000);

/// An open lease whose reply is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landing<'a> {
    pub ready: &'a Ready,
    pub lane: Lane,
    /// The submission, for batches; calls are booked by group.
    pub sub: Option<Sub>,
    /// The group that a call was leased with: a doubt names it.
    pub group: Option<Sub>,
}

/// Money of one answer.
#[derive(Debug, Clone, Copy, Default)]
struct Receipt {
    cost: UsdNanos,
    naive: UsdNanos,
    usage: Usage,
    estimated: bool,
    paid: bool,
    /// What the provider told, where that is more than was reserved; not always believed.
    above: Option<UsdNanos>,
    /// The provider may have billed what it did not answer.
    doubt: bool,
}

/// How an attempt ended.
struct End<'a> {
    class: Option<FailureClass>,
    message: &'a str,
    provider_code: Option<&'a str>,
    answer: Option<&'a str>,
    wait_ms: Option<u64>,
}

impl Job {
    /// Books a reply. The line goes to `out`, which starts at `place`. Returns the answer's output tokens.
    pub(crate) fn land(
        &self,
        landing: Landing<'_>,
        reading: &Reading<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) -> u64 {
        match reading {
            Reading::Answer(answer) => self.land_answer(landing, answer, place, out),
            Reading::Failure(failure) => {
                self.land_failure(landing, failure, place, out);
                0
            }
        }
    }

    fn land_answer(&self, landing: Landing<'_>, answer: &Answer<'_>, place: Place, out: &mut Vec<u8>) -> u64 {
        let Landing { ready, lane, .. } = landing;
        let found = &self.deployments[ready.deployment];
        let model = answer.model.as_deref().unwrap_or(&found.model);
        let receipt = self.receipt(landing, answer);
        match check(&ready.expectation, answer) {
            Ok(checked) => {
                let frame = self.frame(landing, model, receipt.cost, answer.usage.as_ref());
                // A failed attempt is counted by the ladder; this one did not fail.
                let frame = Frame { attempts: frame.attempts + 1, ..frame };
                self.good(landing, &receipt, &checked, answer, frame, place, out);
            }
            Err(Flaw { class, message }) => {
                // An answer that is not good is kept as evidence, and evidence holds no secrets.
                let wire = found.account.api.wire();
                let message = wire.hide(&message);
                let text =
                    if let Body::Text { text, .. } = &answer.body { Some(wire.hide(text)) } else { None };
                let end = End {
                    class: Some(class),
                    message: &message,
                    provider_code: None,
                    answer: text.as_deref(),
                    wait_ms: None,
                };
                self.bad(landing, &receipt, &end, model, answer.usage.as_ref(), place, out);
            }
        }
        debug_assert!(lane != Lane::Batch || landing.sub.is_some(), "a batch outcome names its submission");
        receipt.usage.output
    }

    fn land_failure(&self, landing: Landing<'_>, failure: &Failure, place: Place, out: &mut Vec<u8>) {
        let receipt = Receipt { doubt: failure.maybe_paid, ..Receipt::default() };
        let class = if failure.maybe_paid
            && landing.lane != Lane::Batch
            && self.spec.run.sync_doubt == SyncDoubt::Dead
        {
            FailureClass::MaybePaidUnresolved
        } else {
            failure.class
        };
        let end = End {
            class: Some(class),
            message: &failure.message,
            provider_code: failure.provider_code.as_deref(),
            answer: None,
            wait_ms: failure.wait_ms,
        };
        let model = self.deployments[landing.ready.deployment].model.clone();
        self.bad(landing, &receipt, &end, &model, None, place, out);
    }

    /// What an answer cost: the provider's own word first, then the catalogue; no usage means the bound.
    fn receipt(&self, landing: Landing<'_>, answer: &Answer<'_>) -> Receipt {
        let Landing { ready, lane, .. } = landing;
        let found = &self.deployments[ready.deployment];
        // A flex call that was served at the standard tier is billed so.
        let billed =
            if lane == Lane::Flex && answer.tier.as_deref() == Some("default") { Lane::Sync } else { lane };
        let usage = answer.usage.unwrap_or_default();
        // Numbers that no answer to this request can have cost are nonsense: then the bound is booked, and said so.
        let most = if found.priced { ready.bound.times(CREDIBLE_FACTOR) } else { UNPRICED_MAX };
        let credible = |cost: &UsdNanos| (UsdNanos::ZERO..=most.saturating_add(CREDIBLE_MIN)).contains(cost);
        let told = match (answer.charged, &answer.usage) {
            (Some(charged), _) => Some(charged),
            (None, Some(usage)) if found.priced => found.cost(billed, usage),
            (None, Some(_)) => Some(UsdNanos::ZERO),
            (None, None) if matches!(answer.body, Body::Moderation(_)) => Some(UsdNanos::ZERO),
            (None, None) => None,
        };
        let above = told.filter(|told| !credible(told) || found.priced && *told > ready.bound);
        let told = told.filter(credible);
        let (cost, estimated) = told.map_or((ready.bound, found.priced), |cost| (cost, false));
        let naive =
            answer.usage.as_ref().and_then(|usage| found.naive(usage)).filter(credible).unwrap_or(cost);
        Receipt { cost, naive, usage, estimated, paid: true, above, doubt: false }
    }

    fn frame<'a>(
        &'a self,
        landing: Landing<'_>,
        model: &'a str,
        cost: UsdNanos,
        usage: Option<&'a Usage>,
    ) -> Frame<'a> {
        let ordinal = landing.ready.ordinal;
        let before = self.state.borrow().trouble.get(&ordinal).map_or(0, |trouble| trouble.attempts.total());
        let found = &self.deployments[landing.ready.deployment];
        Frame {
            ordinal,
            attempt: landing.ready.attempt,
            attempts: before,
            provider: &found.row.provider,
            model,
            via: landing.lane.name(),
            cost,
            usage,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; each argument is a part of the line")]
    fn good(
        &self,
        landing: Landing<'_>,
        receipt: &Receipt,
        checked: &Checked<'_>,
        answer: &Answer<'_>,
        frame: Frame<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) {
        let outcome = outcome(landing, receipt, None, Fate::Final, true, place);
        if !self.book(landing, receipt, outcome) {
            return;
        }
        self.watch_cost(landing, receipt);
        write_good(frame, checked, answer.finish, out);
        let mut state = self.state.borrow_mut();
        state.served.note(landing.ready.deployment, frame.model);
        let ordinal = landing.ready.ordinal;
        state.trouble.remove(&ordinal);
        let followers = state.followers.of(ordinal);
        let (own, others) = state.followers.decides(ordinal);
        state.tally.succeeded += own + others;
        state.tally.duplicates += others;
        self.save(&mut state, landing, receipt, followers);
        if let Some(usage) = answer.usage.as_ref().filter(|_| !receipt.estimated) {
            state.ratios[landing.ready.deployment].add(landing.ready.bytes, usage);
        }
        state.meter.ok();
        state.flaws.good();
    }

    /// Books what levers saved on one answer: `naive x (1 + followers) = dedup + lane + cost`, exactly.
    fn save(&self, state: &mut super::job::State, landing: Landing<'_>, receipt: &Receipt, followers: u64) {
        let at = at(landing);
        let of_dedup = receipt.naive.times(followers);
        state.tally.naive += receipt.naive + of_dedup;
        if followers > 0 {
            state.moved.add(
                LedgerKind::Saving,
                Some("dedup"),
                at,
                u32::try_from(followers).unwrap_or(u32::MAX),
                of_dedup,
            );
        }
        let of_lane = receipt.naive - receipt.cost;
        if of_lane != UsdNanos::ZERO {
            let lever = if landing.lane == Lane::Sync { "provider" } else { landing.lane.name() };
            state.moved.add(LedgerKind::Saving, Some(lever), at, 1, of_lane);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; each argument is a part of the line")]
    fn bad(
        &self,
        landing: Landing<'_>,
        receipt: &Receipt,
        end: &End<'_>,
        model: &str,
        usage: Option<&Usage>,
        place: Place,
        out: &mut Vec<u8>,
    ) {
        if !self.is_open(landing.ready) {
            return;
        }
        let class = end.class.unwrap_or(FailureClass::Transient);
        let next = self.next(landing, class, end);
        let (fate, told) = match next {
            Next::Dead(dead) => (Fate::Final, dead),
            Next::Again { .. } | Next::Halt(_) => (Fate::Retry, class),
        };
        let outcome = outcome(landing, receipt, Some(told), fate, class.counts_as_attempt(), place);
        if !self.book(landing, receipt, outcome) {
            return;
        }
        self.watch_cost(landing, receipt);
        let frame = self.frame(landing, model, receipt.cost, usage);
        let message = if told == class {
            end.message.to_owned()
        } else {
            format!("{} after {}: {}", told.name(), class.name(), end.message)
        };
        write_bad(frame, told, &message, end.provider_code, end.answer, out);
        let mut state = self.state.borrow_mut();
        if receipt.paid {
            state.tally.naive += receipt.naive;
            let of_lane = receipt.naive - receipt.cost;
            if of_lane != UsdNanos::ZERO {
                let lever = if landing.lane == Lane::Sync { "provider" } else { landing.lane.name() };
                state.moved.add(LedgerKind::Saving, Some(lever), at(landing), 1, of_lane);
            }
        }
        drop(state);
        self.follow(landing, next, end, told);
    }

    /// Whether the item still waits for an answer.
    pub(crate) fn is_open(&self, ready: &Ready) -> bool {
        self.state.borrow().items.is_leased_for(ready.ordinal, ready.attempt)
    }

    /// Asks the ladder; counts the attempt.
    fn next(&self, landing: Landing<'_>, class: FailureClass, end: &End<'_>) -> Next {
        let now_us = self.clock.us();
        let random = self.random();
        let mut state = self.state.borrow_mut();
        let switch_in_us = if state.switched { Some(0) } else { None };
        let trouble = state.trouble.entry(landing.ready.ordinal).or_default();
        trouble.attempts.record(landing.lane, class);
        let since = *trouble.waiting_since_us.get_or_insert(now_us);
        if class.counts_as_attempt() {
            trouble.waiting_since_us = None;
        }
        let attempts = trouble.attempts;
        let canary = landing.lane != Lane::Batch && attempts.batch == 0 && self.awaits_canary(&state);
        // Nor does an item in a hurry ever join a batch.
        let urgent = state.is_urgent(landing.ready.ordinal);
        let found = &self.deployments[landing.ready.deployment];
        let failure = LadderFailure {
            class,
            lane: landing.lane,
            retry_after_us: end.wait_ms.map(|wait| wait.saturating_mul(1_000)),
            no_capacity: end.provider_code == Some("resource_unavailable"),
            waited_us: now_us.saturating_sub(since),
            switch_in_us,
            max_tokens: landing.ready.max_tokens,
            max_tokens_model: found
                .max_output()
                .map_or(u32::MAX, |most| u32::try_from(most.0).unwrap_or(u32::MAX)),
            random,
        };
        // No batch begins before the canary has ended, so its attempts are calls.
        let ladder = if canary || urgent { Ladder { home: Lane::Sync, ..self.ladder } } else { self.ladder };
        ladder.next(&attempts, &failure)
    }

    /// Whether the batches of this job wait for the first item to end.
    pub(crate) fn awaits_canary(&self, state: &super::job::State) -> bool {
        let wanted = self.home == Lane::Batch
            && self.spec.run.canary
            && self.deployments[0].account.api.calls().is_some();
        let (failed, ended) = state.meter.counts();
        let judged = ended > failed || ended >= CANARIES;
        wanted && !judged && state.ratios.iter().all(|ratios| ratios.items == 0)
    }

    /// Queues the next attempt, buries the item, or stops the job.
    fn follow(&self, landing: Landing<'_>, next: Next, end: &End<'_>, told: FailureClass) {
        let ordinal = landing.ready.ordinal;
        let now_us = self.clock.us();
        let mut state = self.state.borrow_mut();
        match next {
            Next::Again { lane, wait_us, max_tokens } => {
                if told == FailureClass::RateLimited {
                    state.tally.rate_limited += 1;
                } else {
                    state.tally.retries += 1;
                }
                if let Some(trouble) = state.trouble.get_mut(&ordinal) {
                    trouble.max_tokens = max_tokens.or(trouble.max_tokens);
                }
                state.queue(Retry { due_us: now_us.saturating_add(wait_us), ordinal, lane });
            }
            Next::Dead(class) => {
                state.trouble.remove(&ordinal);
                let (own, others) = state.followers.decides(ordinal);
                state.tally.failed += own + others;
                let before = self.awaits_canary(&state);
                let metered = is_metered(via(landing.lane), Some(class));
                let alarm = if metered {
                    state.meter.failed(class, end.provider_code.unwrap_or(""))
                } else {
                    Alarm::Quiet
                };
                if let Some(class) = state.meter.same().filter(|_| before && !self.awaits_canary(&state)) {
                    let message = format!(
                        "each of the {CANARIES} items that went ahead of the batches failed the same way: {}",
                        end.message
                    );
                    state.halted.get_or_insert(Halt { class, message });
                }
                let proved = state.flaws.ended(class);
                drop(state);
                self.sound(alarm, end.message);
                if let Some((flawed, judged)) = proved {
                    self.halt_for_flaws(flawed, judged, end.message);
                }
            }
            Next::Halt(class) => {
                state.queue(Retry { due_us: now_us, ordinal, lane: landing.lane });
                self.halt_or_fall_back(&mut state, landing.ready.deployment, class, end.message);
            }
        }
        self.changed.notify_waiters();
    }

    fn sound(&self, alarm: Alarm, message: &str) {
        match alarm {
            Alarm::Quiet => {}
            Alarm::Alert { failed, total } => {
                self.alert(
                    "failure-threshold",
                    &format!("{failed} of {total} items have failed; the last one: {message}"),
                );
            }
            Alarm::Stop(class) => {
                let message = format!("every item so far failed the same way: {message}");
                self.state.borrow_mut().halted.get_or_insert(Halt { class, message });
            }
        }
    }

    /// A deployment cannot serve: the next one on the list stands in, or the job stops.
    pub(crate) fn halt_or_fall_back(
        &self,
        state: &mut super::job::State,
        deployment: usize,
        class: FailureClass,
        message: &str,
    ) {
        let next = (deployment + 1..self.deployments.len())
            .find(|place| self.spec.request.fallback.iter().any(|name| self.is_named(*place, name)));
        match next {
            Some(next) if class.verdict() == Verdict::HaltJob => {
                for active in state.active.iter_mut().filter(|active| **active == deployment) {
                    *active = next;
                }
                let text = format!(
                    "`{}` failed ({message}); going on with `{}`",
                    self.deployments[deployment].pinned, self.deployments[next].pinned
                );
                self.tell(&crate::event::Event::Alert { code: "failover", message: &text });
            }
            _ => {
                state.halted.get_or_insert(Halt { class, message: message.to_owned() });
            }
        }
    }

    fn is_named(&self, place: usize, name: &str) -> bool {
        let found = &self.deployments[place];
        found.pinned == name || found.model == name || found.row.qualified == name
    }

    /// Applies an outcome to the states, the budget and the ledger. False: it came late and changed nothing.
    fn book(&self, landing: Landing<'_>, receipt: &Receipt, outcome: Outcome) -> bool {
        let mut state = self.state.borrow_mut();
        if state.items.outcome(&outcome) == Applied::Late {
            if planted::has(Bug::DoubleBooking) && receipt.paid {
                state.moved.add(LedgerKind::Settle, None, at(landing), 1, receipt.cost);
            }
            return false;
        }
        if outcome.fate == Fate::Retry {
            let trouble = state.trouble.entry(outcome.ordinal).or_default();
            trouble.ended = trouble.ended.wrapping_add(1);
        }
        let (tags, bound) = (landing.ready.tags, landing.ready.bound);
        let at = at(landing);
        state.unflushed += if receipt.doubt { UsdNanos::ZERO } else { bound - receipt.cost.min(bound) };
        state.moved.add(LedgerKind::Release, None, at, 1, bound);
        if receipt.doubt && planted::has(Bug::DoubtReleased) {
            state.budget.release(tags, bound);
        } else if receipt.doubt {
            state.budget.doubt(tags, bound);
            let at = At { sub: landing.sub.or(landing.group), ..at };
            state.moved.add(LedgerKind::Doubt, None, at, 1, bound);
        } else if receipt.paid {
            state.budget.settle(tags, bound, receipt.cost);
            state.moved.add(LedgerKind::Settle, None, at, 1, receipt.cost);
            let tally = &mut state.tally;
            tally.input_tokens = tally.input_tokens.saturating_add(receipt.usage.prompt());
            tally.output_tokens = tally.output_tokens.saturating_add(receipt.usage.output);
            state.tally.estimated += u64::from(receipt.estimated);
        } else {
            state.budget.release(tags, bound);
        }
        state.outcomes.push(outcome);
        true
    }

    /// A provider that asks for more than the price list allows is told of: what was booked counts against the caps like
    /// all else, so a cap that is passed by it stops the next lease.
    fn watch_cost(&self, landing: Landing<'_>, receipt: &Receipt) {
        let Some(told) = receipt.above else { return };
        let Landing { ready, .. } = landing;
        let mut state = self.state.borrow_mut();
        if !state.overcharged.note(self.clock.us(), ready.bound, receipt.cost) {
            return;
        }
        let over = state.overcharged;
        drop(state);
        let booked = if receipt.cost == told {
            "that is what is booked".to_owned()
        } else {
            format!("that is not believed, and USD {} are booked", receipt.cost)
        };
        let message = format!(
            "the answer to item {} cost USD {told} by the word of `{}`, and USD {} at most were reserved; {booked}; \
             so far {} of this run's answers were above their bounds, by USD {} in all",
            u64::from(ready.ordinal) + 1,
            self.deployments[ready.deployment].pinned,
            ready.bound,
            over.answers,
            over.excess,
        );
        self.alert("cost-above-bound", &message);
    }

    /// A call that never left this host: surely unpaid, no attempt, and tried again when the provider may be back.
    pub(crate) fn land_unsent(
        &self,
        landing: Landing<'_>,
        message: &str,
        wait_us: u64,
        place: Place,
        out: &mut Vec<u8>,
    ) {
        let receipt = Receipt::default();
        let class = FailureClass::Transient;
        if !self.book(landing, &receipt, outcome(landing, &receipt, Some(class), Fate::Retry, false, place)) {
            return;
        }
        let model = &self.deployments[landing.ready.deployment].model;
        write_bad(
            self.frame(landing, model, UsdNanos::ZERO, None),
            class,
            message,
            Some("not_sent"),
            None,
            out,
        );
        let retry =
            Retry { due_us: self.clock.us() + wait_us, ordinal: landing.ready.ordinal, lane: landing.lane };
        self.state.borrow_mut().queue(retry);
    }

    /// A call of an earlier process that was never answered (window W3). It is no attempt of the item: the fault was ours.
    /// Its bound is doubt from now on, which bounds how often this can happen.
    pub(crate) fn land_lost(&self, landing: Landing<'_>, place: Place, out: &mut Vec<u8>) {
        let resend = self.spec.run.sync_doubt == SyncDoubt::Resend;
        let class = if resend { FailureClass::Transient } else { FailureClass::MaybePaidUnresolved };
        let receipt = Receipt { doubt: true, ..Receipt::default() };
        let fate = if resend { Fate::Retry } else { Fate::Final };
        if !self.book(landing, &receipt, outcome(landing, &receipt, Some(class), fate, false, place)) {
            return;
        }
        let model = &self.deployments[landing.ready.deployment].model;
        let frame = self.frame(landing, model, UsdNanos::ZERO, None);
        write_bad(
            frame,
            class,
            "the process ended while the call was under way; it may have been paid",
            None,
            None,
            out,
        );
        let mut state = self.state.borrow_mut();
        if resend {
            let ordinal = landing.ready.ordinal;
            state.queue(Retry { due_us: 0, ordinal, lane: landing.lane });
        } else {
            let (own, others) = state.followers.decides(landing.ready.ordinal);
            state.tally.failed += own + others;
            let alarm = state.meter.failed(class, "");
            drop(state);
            self.sound(alarm, "the process ended while a call was under way");
        }
    }

    /// A leased item whose line the batch did not bring.
    pub(crate) fn land_missing(
        &self,
        landing: Landing<'_>,
        class: FailureClass,
        maybe_paid: bool,
        message: &str,
        place: Place,
        out: &mut Vec<u8>,
    ) {
        let failure =
            Failure { class, message: message.to_owned(), provider_code: None, wait_ms: None, maybe_paid };
        self.land_failure(landing, &failure, place, out);
    }

    /// An item that cannot be sent at all ends without a lease: it is leased and ended in one commit by the caller.
    pub(crate) fn bury(&self, ordinal: Ordinal, lane: Lane, class: FailureClass, why: &str) {
        let mut results = self.results.borrow_mut();
        let place = results.place();
        let attempts =
            self.state.borrow().trouble.get(&ordinal).map_or(0, |trouble| trouble.attempts.total());
        let frame = Frame {
            ordinal,
            attempt: 0,
            attempts,
            provider: "",
            model: "",
            via: lane.name(),
            cost: UsdNanos::ZERO,
            usage: None,
        };
        write_bad(frame, class, why, None, None, results.buffer());
        drop(results);
        let outcome = Outcome {
            ordinal,
            attempt: 0,
            via: Via::Prepare,
            class: Some(class),
            fate: Fate::Final,
            counted: false,
            cost: UsdNanos::ZERO,
            naive: UsdNanos::ZERO,
            usage: Usage::default(),
            estimated: false,
            place,
        };
        let mut state = self.state.borrow_mut();
        if state.items.outcome(&outcome) == Applied::Landed {
            state.outcomes.push(outcome);
            let (own, others) = state.followers.decides(ordinal);
            state.tally.failed += own + others;
            if is_metered(Via::Prepare, Some(class)) {
                let alarm = state.meter.failed(class, "");
                drop(state);
                self.sound(alarm, why);
            }
        }
        self.changed.notify_waiters();
    }
}

fn at(landing: Landing<'_>) -> At {
    At {
        lane: Some(landing.lane),
        deployment: landing.ready.deployment,
        tags: landing.ready.tags,
        sub: landing.sub,
    }
}

fn via(lane: Lane) -> Via {
    match lane {
        Lane::Batch => Via::Batch,
        Lane::Flex => Via::Flex,
        Lane::Sync => Via::Sync,
    }
}

fn outcome(
    landing: Landing<'_>,
    receipt: &Receipt,
    class: Option<FailureClass>,
    fate: Fate,
    counted: bool,
    place: Place,
) -> Outcome {
    Outcome {
        ordinal: landing.ready.ordinal,
        attempt: landing.ready.attempt,
        via: via(landing.lane),
        class,
        fate,
        counted,
        cost: receipt.cost,
        naive: receipt.naive,
        usage: receipt.usage,
        estimated: receipt.estimated,
        place,
    }
}
