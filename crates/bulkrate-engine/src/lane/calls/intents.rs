//! The intents of calls: gathered, and durable before any of their calls leaves.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Lease, LedgerKind, Submission, SubmissionState, Tx, Urgency};

use super::{Calls, Held, Message};
use crate::lane::gate::{Flight, Gate};
use crate::run::ledger::{At, Moved};
use crate::run::ready::Ready;

const GATHER_US: u64 = 2_000;
const GATHER_MAX_US: u64 = 20_000;

impl Calls {
    pub(super) fn lease(&mut self, held: Held) {
        let bound = held.bound();
        let Held { ready, more, lane, body, tokens, .. } = held;
        for ready in std::iter::once(&ready).chain(&more) {
            assert!(
                self.job.state.borrow().items.is_waiting(ready.ordinal),
                "an item has one open submission (I3)"
            );
            self.job.state.borrow_mut().items.lease(&[ready.lease()]);
        }
        if self.group.is_empty() {
            self.group_since_us = self.job.clock.us();
        }
        self.in_flight += 1;
        {
            let mut state = self.job.state.borrow_mut();
            state.calls_leased += 1;
            state.calls_bound += bound;
        }
        let flight = Flight { ready, more, lane, body, tokens, sent_us: 0, group: None, copy: false };
        self.note_first(&flight);
        self.group.push(flight);
    }

    /// How long intents wait for company: while calls are ready to take every place that comes free, longer.
    pub(super) fn gather_us(&self) -> u64 {
        if self.gates.iter().any(Gate::is_short) { GATHER_US } else { GATHER_MAX_US }
    }

    /// Whether money is lent again that landed replies gave back and that is not on disk yet.
    fn lends(&self) -> bool {
        let state = self.job.state.borrow();
        state.budget.caps.iter().any(|cap| cap.committed().saturating_add(state.unflushed) > cap.limit)
    }

    /// Hands the gathered intents to the writer once they are many or old enough.
    pub(super) fn hand_over(&mut self) {
        let due = self.is_full() || self.job.clock.us() >= self.group_since_us + self.gather_us();
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

    /// One row carries the whole group: plan, stage and intent are one commit here.
    fn commit_intents(&mut self, mut flights: Vec<Flight>, lane: Lane, deployment: usize) {
        let job = &self.job;
        let found = &job.deployments[deployment];
        let leases: Vec<Lease> = flights.iter().flat_map(Flight::items).map(Ready::lease).collect();
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
        for ready in flights.iter().flat_map(Flight::items) {
            reserved.add(
                LedgerKind::Reserve,
                None,
                At { lane: Some(lane), deployment, tags: ready.tags, sub: None },
                1,
                ready.bound,
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
        let again = flights.iter().flat_map(Flight::items).any(|ready| ready.attempt > 1);
        self.commit(tx, flights, again);
    }

    /// Hands a commit to the writer; its calls leave once it is durable. `again`: an item of them was leased before.
    ///
    /// An item is leased again only after the outcome that freed it: commits keep the order in which they are sent. The same for
    /// money: what landed replies gave back is lent again only after they are on disk (I8 at every commit).
    pub(super) fn commit(&mut self, tx: Tx, flights: Vec<Flight>, again: bool) {
        if again || self.lends() {
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
}
