//! What calls brought: booked, gathered, and committed together.

use std::rc::Rc;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_provider::{CallError, NOT_SENT, Reply};
use bulkrate_store::{Tx, Urgency};

use super::{Calls, LAND_MAX, LAND_US};
use crate::lane::gate::{Flight, News};
use crate::lane::reach;
use crate::run::job::Halt;
use crate::run::land::Landing;
use crate::run::standing::By;

impl Calls {
    pub(super) fn land(&mut self, flight: &Flight, result: Result<Reply, CallError>) {
        self.in_flight -= 1;
        let now_us = self.job.clock.us();
        self.landed_since_us.get_or_insert(now_us);
        let gate = &mut self.gates[flight.ready.deployment];
        match result {
            Ok(reply) => self.land_reply(flight, &reply, now_us),
            Err(CallError::NotSent { origin, why }) => {
                {
                    let mut state = self.job.state.borrow_mut();
                    state.tally.requests_sent -= 1; // it was none
                    state.hedging.sent -= u64::from(flight.copy);
                }
                let (wait_us, first) = gate.not_sent(now_us, flight.sent_us, self.job.random());
                let message = format!("could not reach `{origin}`: {why}");
                if !self.ends_lease(flight, None) {
                    self.book_unsent(flight);
                } else if self.job.is_lost_beside(&flight.ready) {
                    self.land_last(flight, &message);
                } else {
                    self.land_unsent(flight, &message, wait_us);
                }
                let account = &self.job.deployments[flight.ready.deployment].account.id;
                if reach::silent(&self.job, account, flight.sent_us, &message) {
                    return;
                }
                if first {
                    let message = format!("{message}; waiting for it to come back, nothing is lost");
                    self.job.alert("provider-unreachable", &message);
                }
            }
            Err(error) => {
                let failure = unanswered(&error);
                let news = gate.unanswered(now_us, flight.sent_us, self.job.random(), &failure);
                let (why, reading) = (failure.message.clone(), Reading::Failure(failure));
                self.land_reading(flight, &reading);
                let account = &self.job.deployments[flight.ready.deployment].account.id;
                if !reach::silent(&self.job, account, flight.sent_us, &why) {
                    self.take_news(flight, news, &why);
                }
            }
        }
    }

    /// What the end of a call says of its deployment.
    fn take_news(&mut self, flight: &Flight, news: News, why: &str) {
        if let Some(message) = news.halt {
            let halt = Halt { class: FailureClass::Transient, message };
            self.job.state.borrow_mut().halted.get_or_insert(halt);
        } else if news.away {
            let found = &self.job.deployments[flight.ready.deployment];
            let message = format!(
                "{}: {why}; as long as nothing good comes back, free calls look whether it is there again, and few paid ones go out",
                found.pinned
            );
            self.job.alert("provider-away", &message);
        } else if news.back {
            self.job.is_back(flight.ready.deployment, By::Calls);
        }
    }

    pub(super) fn land_unsent(&self, flight: &Flight, why: &str, wait_us: u64) {
        for ready in flight.items() {
            let landing = Landing { ready, ..flight.landing() };
            let mut results = self.job.results.borrow_mut();
            let place = results.place();
            self.job.land_unsent(landing, why, wait_us, place, results.buffer());
        }
    }

    /// A call was not sent, and the one beside it was lost: the item ends.
    fn land_last(&self, flight: &Flight, why: &str) {
        let failure = Failure {
            class: FailureClass::Transient,
            message: why.to_owned(),
            provider_code: Some(NOT_SENT.to_owned()),
            wait_ms: None,
            maybe_paid: false,
        };
        let mut results = self.job.results.borrow_mut();
        let place = results.place();
        self.job.land(flight.landing(), &Reading::Failure(failure), place, results.buffer());
    }

    fn land_reply(&mut self, flight: &Flight, reply: &Reply, now_us: u64) {
        let job = Rc::clone(&self.job);
        let reading =
            job.deployments[flight.ready.deployment].account.api.wire().read(flight.ready.kind, reply);
        reach::answered(&job, &job.deployments[flight.ready.deployment].account.id);
        let output_tokens = self.land_reading(flight, &reading);
        let gate = &mut self.gates[flight.ready.deployment];
        let news = gate.replied(now_us, flight.sent_us, job.random(), &reading, reply);
        gate.learn(flight, &reading, reply, now_us, output_tokens);
        let company = job.bundled_at(flight.ready.deployment);
        let items = u32::try_from(flight.items().count()).unwrap_or(u32::MAX);
        let rate = gate.items_per_s(flight.tokens, items, company);
        job.state.borrow_mut().call_rates[flight.ready.deployment] = rate;
        let why = if let Reading::Failure(failure) = &reading { failure.message.as_str() } else { "" };
        self.take_news(flight, news, why);
    }

    /// Books what a call brought. Answers its output tokens.
    fn land_reading(&mut self, flight: &Flight, reading: &Reading<'_>) -> u64 {
        if !self.ends_lease(flight, Some(reading)) {
            self.book_beside(flight, reading);
            return output_tokens(reading);
        }
        let mut results = self.job.results.borrow_mut();
        self.job.land_parcel(flight.landing(), &flight.more, reading, &mut results)
    }

    /// Commits what has landed once it is much or old enough.
    pub(super) fn flush(&mut self, now: bool) {
        let many = self.job.state.borrow().outcomes.len() >= LAND_MAX;
        let old = self.landed_since_us.is_some_and(|since| self.job.clock.us() >= since + LAND_US);
        if !(now || many || old) {
            return;
        }
        let mut tx = Tx::new(self.job.no);
        if self.job.state.borrow().failed.is_some() || !self.gather(&mut tx) {
            return;
        }
        tx.ledger = self.job.take_ledger();
        if tx.outcomes.is_empty() && tx.ledger.is_empty() {
            return;
        }
        let (done, wait) = tokio::sync::oneshot::channel();
        let rows = self.job.to_stream(&tx.outcomes);
        self.job.writer.send(tx, Urgency::Now, Box::new(move |result| drop(done.send(result))));
        self.commits.push_back((wait, rows));
        self.reap();
        self.job.changed.notify_waiters();
    }

    /// Takes note of commits that are durable.
    pub(super) fn reap(&mut self) {
        while let Some((first, rows)) = self.commits.front_mut() {
            match first.try_recv() {
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => break,
                Ok(Err(error)) => self.job.fail(crate::error::stored(&error)),
                Ok(Ok(())) | Err(tokio::sync::oneshot::error::TryRecvError::Closed) => self.job.stream(rows),
            }
            self.commits.pop_front();
        }
    }

    /// Puts landed outcomes into a transaction, their lines made durable first.
    /// False: they could not be written, and are not committed.
    fn gather(&mut self, tx: &mut Tx) -> bool {
        self.landed_since_us = None;
        match self.job.results.borrow_mut().flush() {
            Ok(file) => tx.sync_first.extend(file),
            Err(error) => {
                self.job.fail(error);
                return false;
            }
        }
        tx.outcomes = self.job.take_outcomes();
        true
    }
}

fn output_tokens(reading: &Reading<'_>) -> u64 {
    match reading {
        Reading::Answer(answer) => answer.usage.map_or(0, |usage| usage.output),
        Reading::Failure(_) => 0,
    }
}

/// A call that may have arrived and was not answered: window W3.
fn unanswered(error: &CallError) -> Failure {
    let class = if matches!(error, CallError::NoAnswer { timeout: true, .. }) {
        FailureClass::Timeout
    } else {
        FailureClass::Transient
    };
    Failure { class, message: error.to_string(), provider_code: None, wait_ms: None, maybe_paid: true }
}
