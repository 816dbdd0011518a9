//! The sync and flex lanes: paced calls, each with its durable intent.
//!
//! Items are gathered for two milliseconds (twenty while enough calls are ready), their intents committed together, then
//! sent; replies are gathered for fifty milliseconds, written, and committed together. No call leaves before its intent is durable.

mod absent;
mod copies;
mod firsts;
mod hedge;
mod intents;
mod next;
mod replies;
mod waits;
mod bundled;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::pace::Admit;
use bulkrate_core::prompt_cache::Firsts;
use bulkrate_provider::{ApiError, CallError, Health, Reply};
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use self::hedge::{Hedges, Sent};
use self::waits::Waits;
use super::crowd::Crowd;
use super::gate::{Flight, Gate};
use crate::run::bundle::Gathering;
use crate::run::job::{Job, Landed};
use crate::run::ready::Ready;
use crate::run::standing::By;

const GROUP_MAX: usize = 256;
const LAND_US: u64 = 50_000;
const LAND_MAX: usize = 1_000;
/// Calls in flight are given so long to end after the first Ctrl-C.
const DRAIN: Duration = Duration::from_secs(30);

enum Message {
    /// The intents of a group are durable.
    Committed(Vec<Flight>, Result<(), crate::EngineError>),
    Replied(Box<Flight>, Result<Reply, CallError>),
    /// A free call to the account of the deployment at this place, begun at this time.
    Looked(usize, u64, Result<Health, ApiError>),
}

/// The lane's own state; everything else is the job's.
struct Calls {
    job: Rc<Job>,
    gates: Vec<Gate>,
    /// What their limits keep back.
    crowds: Vec<Crowd>,
    inbox: UnboundedReceiver<Message>,
    outbox: UnboundedSender<Message>,
    /// Leased in memory, intents not handed over yet.
    group: Vec<Flight>,
    group_since_us: u64,
    /// Items that may not go yet: they wait for their pace, room or budget.
    waits: Waits,
    /// Items that wait for company, where the job bundles.
    gathering: Gathering,
    /// Items whose prompt begins as that of a call which is out for the first time.
    firsts: Firsts<(Ordinal, Lane)>,
    /// Where slow calls have copies.
    hedges: Option<Box<Hedges>>,
    /// Calls that have not ended, sent or not: one for each lease, and their copies.
    in_flight: u64,
    landed_since_us: Option<u64>,
    wake_us: Option<u64>,
    commits: VecDeque<Landed>,
    /// Moves of items to other deployments that were looked at.
    moves: u64,
}

/// Why an item may not go now.
enum NotYet {
    /// Its deployment: until this time, or until something else changes.
    Gate(Option<u64>),
    Budget,
}

struct Held {
    ready: Ready,
    /// Items of the same request, after the first.
    more: Vec<Ready>,
    lane: Lane,
    /// The lane that it was taken from: what is called for instead of a batch waits as what it is.
    came: Lane,
    body: Bytes,
    tokens: u64,
}

/// Runs until the job is over or closing and nothing is in flight. `fresh`: whether this lane takes new items itself.
pub(crate) async fn run(job: Rc<Job>) {
    let (outbox, inbox) = unbounded_channel();
    let gate = |place| Gate::new(&job.spec.run, job.state.borrow().mark(place).is_some());
    let gates: Vec<Gate> = (0..job.deployments.len()).map(gate).collect();
    let hedges =
        (job.spec.run.hedge && job.bundle.is_none()).then(|| Hedges::new(gates.len(), job.pulse.hedge));
    let mut calls = Calls {
        job,
        hedges,
        waits: Waits::new(gates.len()),
        crowds: vec![Crowd::default(); gates.len()],
        gathering: Gathering::default(),
        firsts: Firsts::default(),
        gates,
        inbox,
        outbox,
        group: Vec::new(),
        group_since_us: 0,
        in_flight: 0,
        landed_since_us: None,
        wake_us: None,
        commits: VecDeque::new(),
        moves: 0,
    };
    calls.work().await;
}

impl Calls {
    async fn work(&mut self) {
        let mut drain_until: Option<Instant> = None;
        loop {
            self.stand_in();
            self.depart();
            self.look();
            self.let_slow_go();
            self.fill();
            self.hedge();
            self.hand_over();
            self.flush(false);
            self.reap();
            self.job.state.borrow_mut().calls_in_flight = self.in_flight;
            if self.job.is_closing() {
                self.waits.clear();
                self.gathering.clear();
                self.firsts.clear();
                if self.in_flight == 0
                    || self.job.stop.is_aborting()
                    || drain_until.is_some_and(|until| Instant::now() >= until)
                {
                    break;
                }
                // A budget is no reason to leave calls that are paid for.
                if !self.job.is_paused() {
                    drain_until.get_or_insert_with(|| Instant::now() + DRAIN);
                }
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
        // Where doubt or each gate keeps it back none is looked for.
        let looks = !job.holds_for_doubt() && self.waits.looks_on(job.places_in_use(&state, By::Calls));
        let retry = state.call_retries.peek().filter(|_| looks);
        let retry = retry.map(|std::cmp::Reverse(retry)| retry.due_us);
        let group = (!self.group.is_empty()).then_some(self.group_since_us + self.gather_us());
        let landing = self.landed_since_us.map(|since| since + LAND_US);
        let now_us = job.clock.us();
        let opens = self.gates.iter().filter_map(|gate| gate.opens_at(now_us)).min();
        let slow = self.hedges.as_ref().and_then(|hedges| hedges.wake_us);
        let room = self.crowds.iter().map(|crowd| crowd.until_us).filter(|until_us| *until_us > now_us).min();
        let first = self.firsts.due_us();
        for at in [retry, group, landing, opens, room, slow, first, self.wake_us].into_iter().flatten() {
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
        self.waits.begin();
        while !self.is_full() {
            let Some(held) = self.pick() else { return };
            if !self.is_waiting(&held) {
                continue; // taken by another lane while it waited
            }
            if self.waits_for_first(&held) {
                continue;
            }
            if self.hedges.is_some() {
                self.job.state.borrow_mut().hedging.note(&held.ready);
            }
            if self.job.spec.run.budget_per_request.is_some_and(|most| held.bound() > most) {
                if !held.more.is_empty() {
                    self.come_apart(&held);
                    continue;
                }
                let why = format!(
                    "the request may cost up to USD {}, above the cap for one request",
                    held.ready.bound
                );
                self.job.bury(held.ready.ordinal, held.lane, FailureClass::BudgetExhausted, &why);
                self.landed_since_us.get_or_insert(self.job.clock.us());
                continue;
            }
            if self.job.set_aside(&held.ready, &held.more, held.lane) {
                self.landed_since_us.get_or_insert(self.job.clock.us());
                if self.job.state.borrow().outcomes.len() >= LAND_MAX {
                    self.wake_us = Some(self.job.clock.us()); // what has ended is written first
                    return;
                }
                continue;
            }
            match self.admit(&held) {
                Ok(()) => self.lease(held),
                Err(NotYet::Gate(wake_us)) => {
                    self.wake_us = self.wake_us.into_iter().chain(wake_us).min();
                    self.note_refusal(held.ready.deployment, wake_us);
                    self.waits.refused(held);
                }
                // Nothing is out that could give money back: what there is may do for single items.
                Err(NotYet::Budget) if !held.more.is_empty() && self.in_flight == 0 => self.come_apart(&held),
                Err(NotYet::Budget) => return self.waits.stall(held),
            }
        }
    }

    /// Whether an item may go now.
    fn admit(&mut self, held: &Held) -> Result<(), NotYet> {
        let now_us = self.job.clock.us();
        let gate = &mut self.gates[held.ready.deployment];
        if !gate.has_room(now_us) {
            return Err(NotYet::Gate(None));
        }
        {
            let mut state = self.job.state.borrow_mut();
            if let Err(over) = state.budget.reserve(held.ready.tags, held.bound()) {
                state.blocked = Some(over);
                return Err(NotYet::Budget);
            }
            state.blocked = None;
        }
        match gate.admit(now_us, held.tokens) {
            Admit::Go => Ok(()),
            Admit::At(at_us) => {
                self.job.state.borrow_mut().budget.release(held.ready.tags, held.bound());
                Err(NotYet::Gate(Some(at_us)))
            }
        }
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
            Message::Looked(place, began_us, result) => self.looked(place, began_us, &result),
        }
    }

    /// Sends what is armed, as far as there is room. Nothing new leaves once the run is closing: what waits was surely not
    /// paid, and is booked so.
    fn depart(&mut self) {
        let closing = self.job.is_closing();
        for place in 0..self.gates.len() {
            if closing {
                self.withdraw(place, "the run ended before the call was sent");
                continue;
            }
            while let Some(flight) = self.gates[place].next(self.job.clock.us()) {
                if self.is_needless(&flight) {
                    self.gates[place].dropped();
                    self.in_flight -= 1;
                    self.take_back(&flight);
                } else {
                    self.send(flight);
                }
            }
        }
    }

    fn send(&mut self, flight: Flight) {
        {
            let mut state = self.job.state.borrow_mut();
            state.tally.requests_sent += 1;
            state.hedging.sent += u64::from(flight.copy);
        }
        let watched = self.watched(&flight);
        let found = &self.job.deployments[flight.ready.deployment];
        let api = found.account.api.clone();
        let path = api.wire().path_in(flight.lane, flight.ready.kind, &found.model);
        let timeout = self.job.spec.run.timeout(flight.lane);
        let outbox = self.outbox.clone();
        let left: Option<Arc<AtomicBool>> = watched.as_ref().map(|_| Arc::default());
        let leaves = left.clone();
        let task = tokio::task::spawn_local(async move {
            let result = match (api.calls(), &leaves) {
                (Some(calls), None) => calls.call(&path, flight.body.clone(), timeout).await,
                (Some(calls), Some(left)) => {
                    calls.call_watched(&path, flight.body.clone(), timeout, left).await
                }
                (None, _) => Err(CallError::NotSent {
                    origin: api.name().to_owned(),
                    why: "the provider has no calls".to_owned(),
                }),
            };
            drop(outbox.send(Message::Replied(Box::new(flight), result)));
        });
        if let (Some(hedges), Some(watched), Some(left)) = (&mut self.hedges, watched, left) {
            hedges.sent(watched, Sent { task: task.abort_handle(), left });
        }
    }
}
