//! The sync and flex lanes: paced calls, each with its durable intent.
//!
//! Items are gathered for two milliseconds (twenty while enough calls are ready), their intents committed together, then
//! sent; replies are gathered for fifty milliseconds, written, and committed together. No call leaves before its intent is durable.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::Admit;
use bulkrate_provider::{CallError, Reply};
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{Lease, LedgerKind, Submission, SubmissionState, Tx, Urgency};
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::gate::{Flight, Gate};
use crate::run::job::{Halt, Job, Landed};
use crate::run::land::Landing;
use crate::run::ledger::{At, Moved};
use crate::run::ready::{NotReady, Ready};

const GATHER_US: u64 = 2_000;
const GATHER_MAX_US: u64 = 20_000;
const GROUP_MAX: usize = 256;
const LAND_US: u64 = 50_000;
const LAND_MAX: usize = 1_000;
/// Calls in flight are given so long to end after the first Ctrl-C.
const DRAIN: Duration = Duration::from_secs(30);

enum Message {
    /// The intents of a group are durable.
    Committed(Vec<Flight>, Result<(), crate::EngineError>),
    Replied(Box<Flight>, Result<Reply, CallError>),
}

/// The lane's own state; everything else is the job's.
struct Calls {
    job: Rc<Job>,
    gates: Vec<Gate>,
    inbox: UnboundedReceiver<Message>,
    outbox: UnboundedSender<Message>,
    /// Leased in memory, intents not handed over yet.
    group: Vec<Flight>,
    group_since_us: u64,
    /// An item that may not go yet: waits for its pace, room or budget.
    held: Option<Held>,
    /// Leases that have not ended, their calls sent or not.
    in_flight: u64,
    landed_since_us: Option<u64>,
    wake_us: Option<u64>,
    commits: VecDeque<Landed>,
}

struct Held {
    ready: Ready,
    lane: Lane,
    body: Bytes,
    tokens: u64,
}

/// Runs until the job is over or closing and nothing is in flight. `fresh`: whether this lane takes new items itself.
pub(crate) async fn run(job: Rc<Job>) {
    let (outbox, inbox) = unbounded_channel();
    let gates = job.deployments.iter().map(|_| Gate::new(&job.spec.run)).collect();
    let mut calls = Calls {
        job,
        gates,
        inbox,
        outbox,
        group: Vec::new(),
        group_since_us: 0,
        held: None,
        in_flight: 0,
        landed_since_us: None,
        wake_us: None,
        commits: VecDeque::new(),
    };
    calls.work().await;
}

impl Calls {
    async fn work(&mut self) {
        let mut drain_until: Option<Instant> = None;
        loop {
            self.depart();
            self.fill();
            self.hand_over();
            self.flush(false);
            self.reap();
            self.job.state.borrow_mut().calls_in_flight = self.in_flight;
            if self.job.is_closing() {
                self.held = None;
                if self.in_flight == 0
                    || self.job.stop.is_aborting()
                    || drain_until.is_some_and(|until| Instant::now() >= until)
                {
                    break;
                }
                drain_until.get_or_insert_with(|| Instant::now() + DRAIN);
            } else if self.job.state.borrow().open() == 0 && self.in_flight == 0 {
                break;
            }
            let wake = self.wake_at(drain_until);
            tokio::select! {
                biased;
                message = self.inbox.recv() => {
                    if let Some(message) = message {
                        self.take(message);
                    }
                    // Whatever else is ready is taken before new work is looked for.
                    while let Ok(message) = self.inbox.try_recv() {
                        self.take(message);
                    }
                }
                () = sleep_until(wake) => {}
                () = self.job.changed.notified() => {}
                () = self.job.stop.changed() => {}
            }
        }
        self.flush(true);
        for (commit, rows) in std::mem::take(&mut self.commits) {
            match commit.await {
                Ok(Err(error)) => self.job.fail(crate::error::stored(&error)),
                Ok(Ok(())) | Err(_) => self.job.stream(&rows),
            }
        }
        self.job.state.borrow_mut().calls_in_flight = self.in_flight;
        self.job.changed.notify_waiters();
    }

    fn wake_at(&self, drain_until: Option<Instant>) -> Instant {
        let job = &self.job;
        let mut wake_us = job.clock.us() + u64::try_from(job.pulse.idle.as_micros()).unwrap_or(u64::MAX);
        let state = job.state.borrow();
        let retry = state.call_retries.peek().map(|std::cmp::Reverse(retry)| retry.due_us);
        let group = (!self.group.is_empty()).then_some(self.group_since_us + self.gather_us());
        let landing = self.landed_since_us.map(|since| since + LAND_US);
        for at in [retry, group, landing, self.wake_us].into_iter().flatten() {
            wake_us = wake_us.min(at);
        }
        let wake = job.clock.at(wake_us.max(job.clock.us() + 50));
        drain_until.map_or(wake, |until| until.min(wake))
    }

    /// Leases items as far as pace, room and budget allow.
    fn fill(&mut self) {
        self.wake_us = None;
        if self.job.is_closing() || self.job.holds_for_doubt() {
            return;
        }
        self.job.unpark();
        while self.group.len() < GROUP_MAX {
            let Some(held) = self.held.take().or_else(|| self.next()) else { return };
            if !self.job.state.borrow().items.is_waiting(held.ready.ordinal) {
                continue; // taken by another lane while it waited
            }
            if self.job.spec.run.budget_per_request.is_some_and(|most| held.ready.bound > most) {
                let why = format!(
                    "the request may cost up to USD {}, above the cap for one request",
                    held.ready.bound
                );
                self.job.bury(held.ready.ordinal, held.lane, FailureClass::BudgetExhausted, &why);
                self.landed_since_us.get_or_insert(self.job.clock.us());
                continue;
            }
            if self.job.set_aside(&held.ready, held.lane) {
                self.landed_since_us.get_or_insert(self.job.clock.us());
                if self.job.state.borrow().outcomes.len() >= LAND_MAX {
                    self.wake_us = Some(self.job.clock.us()); // what has ended is written first
                    return;
                }
                continue;
            }
            match self.admit(&held) {
                Ok(()) => self.lease(held),
                Err(wake_us) => {
                    self.wake_us = wake_us;
                    self.held = Some(held);
                    return;
                }
            }
        }
    }

    /// The next item that wants a call, read and encoded.
    fn next(&mut self) -> Option<Held> {
        loop {
            let job = &self.job;
            let now_us = job.clock.us();
            let (ordinal, lane) = {
                let mut state = job.state.borrow_mut();
                // One canary at a time, and none while a batch or another call has an item.
                let alone = state.call_retries.is_empty() && state.items.counts().of(ItemState::Leased) == 0;
                let canary = alone && job.awaits_canary(&state);
                let fresh = job.home != Lane::Batch || state.switched || canary;
                let lane = if job.home == Lane::Flex && !state.switched { Lane::Flex } else { Lane::Sync };
                let next = state.next_call(now_us, fresh, lane);
                // Nothing fresh is left: an item that waits for a batch may lead as well.
                next.or_else(|| {
                    if canary { state.next_batched(now_us).map(|ordinal| (ordinal, lane)) } else { None }
                })?
            };
            let mut body = Vec::with_capacity(1_024);
            match job.ready(ordinal, lane, &mut body) {
                Ok(ready) => {
                    // What a provider may count against its limit: the prompt, and the most it may answer.
                    let tokens = ready.tokens + u64::from(ready.max_tokens);
                    return Some(Held { ready, lane, body: Bytes::from(body), tokens });
                }
                Err(NotReady::Unsupported(why)) => {
                    job.bury(ordinal, lane, FailureClass::InvalidInput, &why);
                    self.landed_since_us.get_or_insert(now_us);
                    if job.is_closing() || job.state.borrow().outcomes.len() >= LAND_MAX {
                        return None;
                    }
                }
                Err(NotReady::Engine(error)) => {
                    job.fail(error);
                    return None;
                }
            }
        }
    }

    /// Whether an item may go now; otherwise when to ask again (`None`: when something else changes).
    fn admit(&mut self, held: &Held) -> Result<(), Option<u64>> {
        let now_us = self.job.clock.us();
        let gate = &mut self.gates[held.ready.deployment];
        if !gate.has_room() {
            return Err(None);
        }
        {
            let mut state = self.job.state.borrow_mut();
            if let Err(over) = state.budget.reserve(held.ready.tags, held.ready.bound) {
                state.blocked = Some(over);
                return Err(None);
            }
            state.blocked = None;
        }
        match gate.admit(now_us, held.tokens) {
            Admit::Go => Ok(()),
            Admit::At(at_us) => {
                self.job.state.borrow_mut().budget.release(held.ready.tags, held.ready.bound);
                Err(Some(at_us))
            }
        }
    }

    fn lease(&mut self, held: Held) {
        let Held { ready, lane, body, tokens } = held;
        let lease = Lease { ordinal: ready.ordinal, attempt: ready.attempt, bound: ready.bound };
        assert!(
            self.job.state.borrow().items.is_waiting(ready.ordinal),
            "an item has one open submission (I3)"
        );
        self.job.state.borrow_mut().items.lease(&[lease]);
        if self.group.is_empty() {
            self.group_since_us = self.job.clock.us();
        }
        self.in_flight += 1;
        self.job.state.borrow_mut().calls_bound += ready.bound;
        self.group.push(Flight { ready, lane, body, tokens, sent_us: 0, group: None });
    }

    /// How long intents wait for company: while calls are ready to take every place that comes free, longer.
    fn gather_us(&self) -> u64 {
        if self.gates.iter().any(Gate::is_short) { GATHER_US } else { GATHER_MAX_US }
    }

    /// Hands the gathered intents to the writer once they are many or old enough.
    fn hand_over(&mut self) {
        let due =
            self.group.len() >= GROUP_MAX || self.job.clock.us() >= self.group_since_us + self.gather_us();
        if self.group.is_empty() || !due {
            return;
        }
        let mut rest = std::mem::take(&mut self.group);
        while let Some(first) = rest.first() {
            let (lane, deployment) = (first.lane, first.ready.deployment);
            let (same, others): (Vec<Flight>, Vec<Flight>) = rest
                .into_iter()
                .partition(|flight| flight.lane == lane && flight.ready.deployment == deployment);
            rest = others;
            self.commit_intents(same, lane, deployment);
        }
    }

    /// One row carries the whole group: plan, stage and intent are one commit here (decision 10).
    fn commit_intents(&mut self, mut flights: Vec<Flight>, lane: Lane, deployment: usize) {
        let job = &self.job;
        let found = &job.deployments[deployment];
        let leases: Vec<Lease> = flights
            .iter()
            .map(|flight| Lease {
                ordinal: flight.ready.ordinal,
                attempt: flight.ready.attempt,
                bound: flight.ready.bound,
            })
            .collect();
        let reserved: UsdNanos = leases.iter().map(|lease| lease.bound).sum();
        let mut submission =
            Submission::new(job.new_sub(), job.no, lane, SubmissionState::Call, job.clock.row_ms());
        flights.iter_mut().for_each(|flight| flight.group = Some(submission.sub));
        submission.provider.clone_from(&found.row.provider);
        submission.account.clone_from(&found.account.id);
        submission.model.clone_from(&found.pinned);
        submission.reserved = reserved;
        submission.items = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        submission.epoch = job.epoch;
        let mut reserved = Moved::default();
        for flight in &flights {
            reserved.add(
                LedgerKind::Reserve,
                None,
                At { lane: Some(lane), deployment, tags: flight.ready.tags, sub: None },
                1,
                flight.ready.bound,
            );
        }
        {
            let mut state = job.state.borrow_mut();
            state.note_size(submission.reserved);
            state.calls_in_flight = self.in_flight;
        }
        let mut tx = Tx::new(job.no);
        tx.submissions.push((submission, Some(leases)));
        tx.ledger = reserved.take(job.no, job.clock.row_ms(), |place| job.names(place));
        // An item is leased again only after the outcome that freed it: commits keep the order in which they are sent.
        // The same for money: what landed replies gave back is lent again only after they are on disk (I8 at every commit).
        let again = flights.iter().any(|flight| flight.ready.attempt > 1);
        let lent = {
            let state = self.job.state.borrow();
            state.budget.caps.iter().any(|cap| cap.committed().saturating_add(state.unflushed) > cap.limit)
        };
        if again || lent {
            self.flush(true);
        }
        let outbox = self.outbox.clone();
        self.job.writer.send(
            tx,
            Urgency::Now,
            Box::new(move |result| {
                let result = result.map_err(|error| crate::error::stored(&error));
                drop(outbox.send(Message::Committed(flights, result)));
            }),
        );
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Committed(flights, Ok(())) => {
                for flight in flights {
                    self.gates[flight.ready.deployment].arm(flight);
                }
            }
            Message::Committed(flights, Err(error)) => {
                for flight in &flights {
                    self.gates[flight.ready.deployment].forget();
                }
                self.in_flight -= flights.len() as u64;
                self.job.fail(error);
            }
            Message::Replied(flight, result) => self.land(&flight, result),
        }
    }

    /// Sends what is armed, as far as there is room. Nothing new leaves once the run is closing: what waits was surely not
    /// paid, and is booked so.
    fn depart(&mut self) {
        let job = Rc::clone(&self.job);
        let (failed, closing) = (job.state.borrow().failed.is_some(), job.is_closing());
        for place in 0..self.gates.len() {
            while closing && let Some(flight) = self.gates[place].give_up() {
                self.in_flight -= 1;
                job.state.borrow_mut().calls_bound -= flight.ready.bound;
                if !failed {
                    // After a failed write nothing is booked here: the next run books it as doubt.
                    self.landed_since_us.get_or_insert(job.clock.us());
                    self.land_unsent(&flight, "the run ended before the call was sent", 0);
                }
            }
            while !closing && let Some(flight) = self.gates[place].next(job.clock.us()) {
                self.send(flight);
            }
        }
    }

    fn land_unsent(&self, flight: &Flight, why: &str, wait_us: u64) {
        let landing = Landing { ready: &flight.ready, lane: flight.lane, sub: None, group: flight.group };
        let mut results = self.job.results.borrow_mut();
        let place = results.place();
        self.job.land_unsent(landing, why, wait_us, place, results.buffer());
    }

    fn send(&self, flight: Flight) {
        self.job.state.borrow_mut().tally.requests_sent += 1;
        let api = self.job.deployments[flight.ready.deployment].account.api.clone();
        let timeout = self.job.spec.run.timeout(flight.lane);
        let outbox = self.outbox.clone();
        tokio::task::spawn_local(async move {
            let path = api.wire().path(flight.ready.kind);
            let result = match api.calls() {
                Some(calls) => calls.call(path, flight.body.clone(), timeout).await,
                None => Err(CallError::NotSent {
                    origin: api.name().to_owned(),
                    why: "the provider has no calls".to_owned(),
                }),
            };
            drop(outbox.send(Message::Replied(Box::new(flight), result)));
        });
    }

    fn land(&mut self, flight: &Flight, result: Result<Reply, CallError>) {
        self.in_flight -= 1;
        self.job.state.borrow_mut().calls_bound -= flight.ready.bound;
        let now_us = self.job.clock.us();
        self.landed_since_us.get_or_insert(now_us);
        let gate = &mut self.gates[flight.ready.deployment];
        match result {
            Ok(reply) => self.land_reply(flight, &reply, now_us),
            Err(CallError::NotSent { origin, why }) => {
                let (most_us, first) = gate.not_sent(now_us, flight.sent_us);
                let message = format!("could not reach `{origin}`: {why}");
                self.land_unsent(flight, &message, most_us / 2 + self.job.random() % (most_us / 2));
                if first {
                    let message = format!("{message}; waiting for it to come back, nothing is lost");
                    self.job.alert("provider-unreachable", &message);
                }
            }
            Err(error) => {
                let failure = unanswered(&error);
                gate.unanswered(now_us, flight.sent_us, failure.class);
                self.land_reading(flight, &Reading::Failure(failure));
            }
        }
    }

    fn land_reply(&mut self, flight: &Flight, reply: &Reply, now_us: u64) {
        let job = Rc::clone(&self.job);
        let reading =
            job.deployments[flight.ready.deployment].account.api.wire().read(flight.ready.kind, reply);
        let output_tokens = self.land_reading(flight, &reading);
        let gate = &mut self.gates[flight.ready.deployment];
        if let Some(message) = gate.know_foreign(&reading, reply.status) {
            let halt = Halt { class: FailureClass::Transient, message };
            job.state.borrow_mut().halted.get_or_insert(halt);
        }
        gate.learn(flight, &reading, reply, now_us, output_tokens);
        job.state.borrow_mut().call_rates[flight.ready.deployment] = gate.rate(flight.tokens);
    }

    /// Books what a call brought. Answers its output tokens.
    fn land_reading(&self, flight: &Flight, reading: &Reading<'_>) -> u64 {
        let landing = Landing { ready: &flight.ready, lane: flight.lane, sub: None, group: flight.group };
        let mut results = self.job.results.borrow_mut();
        let place = results.place();
        self.job.land(landing, reading, place, results.buffer())
    }

    /// Commits what has landed once it is much or old enough.
    fn flush(&mut self, now: bool) {
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
    fn reap(&mut self) {
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

/// A call that may have arrived and was not answered: window W3.
fn unanswered(error: &CallError) -> Failure {
    let class = if matches!(error, CallError::NoAnswer { timeout: true, .. }) {
        FailureClass::Timeout
    } else {
        FailureClass::Transient
    };
    Failure { class, message: error.to_string(), provider_code: None, wait_ms: None, maybe_paid: true }
}
