//! A deployment that is away for long: the next on the list of fallbacks takes its items until it is back.

use std::rc::Rc;

use bulkrate_provider::{ApiError, Health};

use super::{Calls, Message};
use crate::lane::away::is_there;
use crate::lane::gate::Gate;
use crate::lane::reach;
use crate::run::job::Retry;
use crate::run::standing::By;

impl Calls {
    /// Looks for deployments that have been away too long, and takes back what waits to be sent there.
    pub(super) fn stand_in(&mut self) {
        let job = Rc::clone(&self.job);
        let (now_us, patience_us) = (job.clock.us(), job.pulse.absent_us());
        if self.gates.iter().any(Gate::is_away) || !job.state.borrow().pauses.away.is_empty() {
            job.note_away((0..self.gates.len()).filter(|place| self.gates[*place].is_away()));
        }
        for place in 0..self.gates.len() {
            if self.gates[place].is_shut(now_us) {
                // It is not under way: whoever kills the process now has paid for none of it.
                self.withdraw(place, "its provider is away; nothing was sent");
            }
            if self.gates[place].away_us(now_us) < patience_us
                || job.is_closing()
                || !job.replace_absent(place, By::Calls)
            {
                continue;
            }
            self.gates[place].leave(now_us);
        }
        self.note_room(now_us, patience_us);
        self.recall();
    }

    /// Looks whether the limits of deployments keep calls back, where others may have what does not fit.
    fn note_room(&mut self, now_us: u64, patience_us: u64) {
        let job = Rc::clone(&self.job);
        if !job.may_stand_in.when_full {
            return;
        }
        for (place, crowd) in self.crowds.iter_mut().enumerate() {
            let (gate, known) = (&self.gates[place], job.is_small(place, By::Calls));
            let shut = gate.is_crowded(now_us);
            if !shut && now_us >= crowd.until_us && self.waits.is_empty_at(place) {
                crowd.cleared();
            }
            job.note_room(place, By::Calls, crowd.is_full(now_us, shut, known, patience_us));
        }
    }

    /// A gate keeps the next call back; `until_us`: a rate limit does, until then.
    pub(super) fn note_refusal(&mut self, place: usize, until_us: Option<u64>) {
        let (now_us, crowd) = (self.job.clock.us(), &mut self.crowds[place]);
        if until_us.is_some() || self.gates[place].is_crowded(now_us) {
            crowd.refused(now_us, until_us);
            // One that is known to be too small is full again: another may have room now.
            if self.job.is_newly_full(place, By::Calls) {
                self.wake_us = Some(now_us);
            }
        } else if now_us >= crowd.until_us {
            crowd.cleared();
        }
    }

    /// What waits at this deployment is read again, and goes to whoever has its items now.
    fn scatter(&mut self, place: usize) {
        let due_us = self.job.clock.us();
        for (ordinal, lane) in self.waits.take(place) {
            self.job.state.borrow_mut().queue(Retry { due_us, ordinal, lane });
        }
    }

    /// Items go elsewhere than they did: what waits where nobody's items go any more is read again.
    fn recall(&mut self) {
        let moves = self.job.state.borrow().standings.moves;
        if std::mem::replace(&mut self.moves, moves) == moves {
            return;
        }
        let in_use: Vec<usize> = self.job.places_in_use(&self.job.state.borrow(), By::Calls).collect();
        for place in (0..self.gates.len()).filter(|place| !in_use.contains(place)) {
            self.scatter(place);
        }
    }

    /// Asks deployments whose calls were lost, by calls that cost nothing, whether they are back.
    pub(super) fn look(&mut self) {
        if self.job.is_closing() {
            return;
        }
        let now_us = self.job.clock.us();
        for (place, gate) in self.gates.iter_mut().enumerate() {
            if gate.takes_look(now_us) {
                let api = self.job.deployments[place].account.api.clone();
                let outbox = self.outbox.clone();
                tokio::task::spawn_local(async move {
                    drop(outbox.send(Message::Looked(place, now_us, api.probe().await)));
                });
            }
        }
    }

    /// A free look at the deployment at this place, begun at this time, has ended.
    pub(super) fn looked(&mut self, place: usize, began_us: u64, result: &Result<Health, ApiError>) {
        if self.gates[place].looked(self.job.clock.us(), is_there(result), self.job.random()) {
            self.job.try_again(place, By::Calls);
        }
        // Where others take its items nothing depends on whether it has ever answered.
        if let (Err(error), false) = (result, self.gates[place].is_left()) {
            reach::heard(&self.job, &self.job.deployments[place].account.id, error, began_us);
        }
    }

    /// Takes back what was leased for a deployment and has not left.
    pub(super) fn withdraw(&mut self, place: usize, why: &str) {
        let failed = self.job.state.borrow().failed.is_some();
        while let Some(flight) = self.gates[place].give_up() {
            self.in_flight -= 1;
            if flight.copy {
                self.take_back(&flight);
                continue;
            }
            self.lease_over(&flight, false);
            if !failed {
                // After a failed write nothing is booked here: the next run books it as doubt.
                self.landed_since_us.get_or_insert(self.job.clock.us());
                self.land_unsent(&flight, why, 0);
            }
        }
    }
}
