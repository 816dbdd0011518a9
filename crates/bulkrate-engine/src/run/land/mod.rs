//! What one reply means for its item: a receipt, a result line, and what comes next.
//!
//! Invariants
//! - An outcome is booked only if it ends the lease it belongs to; what comes late changes nothing.
//! - Every leased bound leaves the reservation exactly once: settled, released or doubted.

mod next;
mod receipt;
mod without;

use bulkrate_core::answer::{Answer, Body, Failure, Reading};
use bulkrate_core::cascade::{Opinion, Sureness};
use bulkrate_core::collect::{Checked, Flaw, check};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::retry::Next;
use bulkrate_core::usage::Usage;
use bulkrate_store::{Fate, Place};

pub(crate) use self::receipt::Receipt;
use self::receipt::outcome;
use super::cascade::Rejected;
use super::job::{Job, Trouble};
use super::judge::Awaiting;
use super::ready::Ready;
use super::standing;
use crate::result_line::{self, Evidence, Frame, write_failed, write_good};
use crate::spec::SyncDoubt;

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

/// How an attempt ended.
struct End<'a> {
    class: FailureClass,
    message: &'a str,
    provider_code: Option<&'a str>,
    answer: Option<&'a str>,
    /// What the answer said, where another model's may agree with it.
    opinion: Option<Opinion>,
    /// What its tokens say, where they were judged.
    sureness: Option<Sureness>,
    /// A judge is to be asked of it.
    awaits: bool,
    wait_ms: Option<u64>,
}

impl<'a> End<'a> {
    /// Ended so, and nothing else is to be told of it.
    fn of(class: FailureClass, message: &'a str) -> Self {
        Self {
            class,
            message,
            provider_code: None,
            answer: None,
            opinion: None,
            sureness: None,
            awaits: false,
            wait_ms: None,
        }
    }

    fn evidence(&self) -> Evidence<'a> {
        Evidence {
            provider_code: self.provider_code,
            answer: self.answer,
            opinion: self.opinion,
            whole: self.awaits,
            step: None,
            compared: None,
        }
    }
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
        let receipt = self.receipt(landing, answer);
        self.land_judged(landing, answer, &receipt, place, out)
    }

    /// Books an answer whose price is known: a whole one, or an item's part of one.
    pub(super) fn land_judged(
        &self,
        landing: Landing<'_>,
        answer: &Answer<'_>,
        receipt: &Receipt,
        place: Place,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Landing { ready, lane, .. } = landing;
        let found = &self.deployments[ready.deployment];
        let model = answer.model.as_deref().unwrap_or(&found.model);
        let judged = check(&ready.expectation, answer).map_err(|flaw| (flaw, None, None)).and_then(
            |checked| match self.accepts(ready, &checked, answer) {
                Ok(sure) => Ok((checked, sure)),
                Err(Rejected { why: message, opinion, sure }) => {
                    Err((Flaw { class: FailureClass::NotAccepted, message }, opinion, sure))
                }
            },
        );
        match judged {
            Ok((checked, sureness)) => {
                if let Some(accepted) = self.take_accepted(ready) {
                    return self.land_accepted(landing, receipt, &accepted, answer, place, out);
                }
                let frame = self.frame(landing, model, receipt.cost, answer.usage.as_ref());
                // A failed attempt is counted by the ladder; this one did not fail.
                let chances =
                    if let Body::Choice { chances, .. } = &answer.body { &chances[..] } else { &[] };
                let frame = Frame { attempts: frame.attempts + 1, sureness, chances, ..frame };
                self.good(landing, receipt, &checked, answer, frame, place, out);
            }
            Err((flaw, opinion, sureness)) => {
                let Flaw { class, message } = if receipt.alone.is_some() { in_company(flaw) } else { flaw };
                // An answer that is not good is kept as evidence, and evidence holds no secrets.
                let wire = found.account.api.wire();
                let message = wire.hide(&message);
                let text = match &answer.body {
                    Body::Text { text, .. } | Body::Choice { choice: text, .. } => Some(wire.hide(text)),
                    Body::Embedding(_) | Body::Moderation(_) | Body::Image(_) => None,
                };
                let judges = opinion.is_some() && self.judges();
                let awaits = judges && self.is_judged(ready, &answer.body, text.as_deref());
                let message = if judges && !awaits { "no judge can be asked of it".into() } else { message };
                let end = End {
                    answer: text.as_deref(),
                    awaits,
                    opinion: opinion.filter(|_| awaits || !judges),
                    sureness,
                    ..End::of(class, &message)
                };
                self.bad(landing, receipt, &end, model, answer.usage.as_ref(), place, out);
            }
        }
        debug_assert!(lane != Lane::Batch || landing.sub.is_some(), "a batch outcome names its submission");
        receipt.usage.output
    }

    /// A part of the money of an answer in which nothing is surely the item's.
    pub(super) fn land_without_part(
        &self,
        landing: Landing<'_>,
        receipt: &Receipt,
        why: &str,
        (model, usage): (Option<&str>, Option<&Usage>),
        place: Place,
        out: &mut Vec<u8>,
    ) {
        let found = &self.deployments[landing.ready.deployment];
        let message = found.account.api.wire().hide(why);
        let end = End::of(FailureClass::BundleFailed, &message);
        self.bad(landing, receipt, &end, model.unwrap_or(&found.model), usage, place, out);
    }

    /// A judge has accepted what a cheap model answered: that is the item's answer, and the verdict what this attempt cost.
    fn land_accepted(
        &self,
        landing: Landing<'_>,
        receipt: &Receipt,
        accepted: &Awaiting,
        verdict: &Answer<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) -> u64 {
        let own = match self.own_expectation(landing.ready.ordinal) {
            Ok(own) => own,
            Err(error) => {
                self.fail(error);
                return 0;
            }
        };
        let answer = accepted.as_answer();
        match check(&own, &answer) {
            Ok(checked) => {
                let frame = self.frame(landing, &accepted.model, receipt.cost, verdict.usage.as_ref());
                let frame = Frame { attempts: frame.attempts + 1, ..frame };
                self.good(landing, receipt, &checked, verdict, frame, place, out);
            }
            // It was good when it came. What was kept of it is not, so that nobody can be given it.
            Err(flaw) => {
                let message = format!("the answer that the judge accepts is not good: {}", flaw.message);
                let end = End::of(FailureClass::NotAccepted, &message);
                let model =
                    verdict.model.as_deref().unwrap_or(&self.deployments[landing.ready.deployment].model);
                self.bad(landing, receipt, &end, model, verdict.usage.as_ref(), place, out);
            }
        }
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
            provider_code: failure.provider_code.as_deref(),
            wait_ms: failure.wait_ms,
            ..End::of(class, &failure.message)
        };
        let model = self.deployments[landing.ready.deployment].model.clone();
        self.bad(landing, &receipt, &end, &model, None, place, out);
    }

    fn frame<'a>(
        &'a self,
        landing: Landing<'_>,
        model: &'a str,
        cost: UsdNanos,
        usage: Option<&'a Usage>,
    ) -> Frame<'a> {
        let ordinal = landing.ready.ordinal;
        let before = self.state.borrow().trouble.get(&ordinal).map_or(0, Trouble::attempts_made);
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
            sureness: None,
            chances: &[],
            instead: landing.ready.instead.map(|instead| self.told_instead(landing.ready, instead)),
        }
    }

    fn told_instead(&self, ready: &Ready, instead: standing::Instead) -> result_line::Instead<'_> {
        result_line::Instead {
            of: &self.deployments[instead.of as usize].pinned,
            asked: &self.deployments[ready.deployment].pinned,
            why: instead.why.name(),
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
        self.measure(landing.ready, receipt, Fate::Final);
        self.weigh(landing.ready, &receipt.usage, receipt.naive, true, false);
        if receipt.alone.is_some() {
            self.note_part(landing.ready.deployment, true);
        }
        // As if it had been asked by itself, and of the strong model: that is what one costs that is given its answer.
        let alone = receipt.alone.unwrap_or(receipt.naive) + self.routed(landing, receipt);
        let compared = self.learn(landing.ready, checked, frame.model, alone);
        write_good(frame, checked, answer.finish, compared, out);
        let mut state = self.state.borrow_mut();
        let ordinal = landing.ready.ordinal;
        state.hedging.lost_beside.remove(&ordinal);
        // A judge does not give the answer that it accepts.
        if state.climb.awaiting(ordinal).is_none() {
            state.served.note(landing.ready.deployment, frame.model);
        }
        state.trouble.remove(&ordinal);
        let followers = state.followers.of(ordinal);
        let (own, others) = state.followers.decides(ordinal);
        state.tally.succeeded += own + others;
        state.tally.duplicates += others;
        drop(state);
        self.save(landing, receipt, followers, true);
        let mut state = self.state.borrow_mut();
        state.climb.ended(ordinal);
        // A part of an answer says nothing of how many tokens the item has by itself.
        if let Some(usage) = answer.usage.as_ref().filter(|_| !receipt.estimated && receipt.alone.is_none()) {
            state.ratios[landing.ready.deployment].add(landing.ready.bytes, usage);
        }
        state.meter.ok();
        state.flaws.good();
        drop(state);
        self.look_ahead();
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
        // Another call for it was lost, and may have been paid: it is asked no more.
        let lost = self.state.borrow_mut().hedging.lost_beside.remove(&landing.ready.ordinal);
        let class = if lost { FailureClass::MaybePaidUnresolved } else { end.class };
        if class == FailureClass::BundleFailed || receipt.alone.is_some() {
            self.note_part(landing.ready.deployment, class != FailureClass::BundleFailed);
        }
        let next = self.next(landing, class, end);
        let up = self.goes_up(landing.ready, class, next);
        let (fate, told) = match (up, next) {
            (Some(why), _) => (Fate::Escalate, why),
            (None, Next::Dead(dead)) => (Fate::Final, dead),
            (None, Next::Again { .. } | Next::Halt(_)) => (Fate::Retry, class),
        };
        let outcome = outcome(landing, receipt, Some(told), fate, class.counts_as_attempt(), place);
        if !self.book(landing, receipt, outcome) {
            return;
        }
        self.watch_cost(landing, receipt);
        self.measure(landing.ready, receipt, fate);
        let frame = Frame { sureness: end.sureness, ..self.frame(landing, model, receipt.cost, usage) };
        let message = if told == end.class {
            end.message.to_owned()
        } else {
            format!("{} after {}: {}", told.name(), end.class.name(), end.message)
        };
        let step = up.and_then(|_| self.step_beyond(landing.ready.ordinal));
        let compared = if fate == Fate::Final { self.unlearn(landing.ready, class) } else { None };
        write_failed(frame, told, &message, Evidence { step, compared, ..end.evidence() }, out);
        if receipt.paid {
            if up.is_some() {
                self.weigh(landing.ready, &receipt.usage, receipt.naive, false, end.awaits);
            }
            self.save(landing, receipt, 0, false);
        }
        match up {
            Some(why) => {
                if let Some(usage) = usage.filter(|_| !receipt.estimated && receipt.alone.is_none()) {
                    let mut state = self.state.borrow_mut();
                    state.ratios[landing.ready.deployment].add(landing.ready.bytes, usage);
                }
                let awaiting = end.answer.filter(|_| end.awaits).map(|answer| Awaiting {
                    answer: answer.to_owned(),
                    model: model.to_owned(),
                    usage: receipt.usage,
                });
                self.go_up(landing, why, end.opinion, awaiting);
            }
            None => self.follow(landing, next, end, told),
        }
        self.look_ahead();
    }

    /// Whether the item still waits for an answer.
    pub(crate) fn is_open(&self, ready: &Ready) -> bool {
        self.state.borrow().items.is_leased_for(ready.ordinal, ready.attempt)
    }
}

/// What is wrong with an item's part of an answer may be wrong only because others were asked with it. Whether it is accepted is
/// a matter of its own words.
fn in_company(flaw: Flaw) -> Flaw {
    if flaw.class == FailureClass::NotAccepted {
        return flaw;
    }
    let message = format!("asked together with others: {}: {}", flaw.class, flaw.message);
    Flaw { class: FailureClass::BundleFailed, message }
}
