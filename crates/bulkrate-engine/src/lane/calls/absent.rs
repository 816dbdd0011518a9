//! A deployment that is away for long: the next on the list of fallbacks takes its items until it is back.

use std::rc::Rc;

use super::Calls;
use crate::run::job::Retry;

impl Calls {
    /// Looks for deployments that have been away too long, and takes back what waits to be sent there.
    pub(super) fn stand_in(&mut self) {
        let job = Rc::clone(&self.job);
        let (now_us, patience_us) =
            (job.clock.us(), u64::try_from(job.pulse.absent.as_micros()).unwrap_or(u64::MAX));
        for place in 0..self.gates.len() {
            if self.gates[place].is_shut(now_us) {
                self.withdraw(place);
            }
            if self.gates[place].away_us(now_us) < patience_us
                || job.is_closing()
                || !job.replace_absent(place)
            {
                continue;
            }
            self.gates[place].leave(now_us);
            if let Some(held) = self.held.take_if(|held| held.ready.deployment == place) {
                let retry = Retry { due_us: now_us, ordinal: held.ready.ordinal, lane: held.lane };
                job.state.borrow_mut().queue(retry);
            }
            self.withdraw(place);
        }
    }

    /// What was leased for a deployment that is away is not under way: whoever kills the process now has paid for none of it.
    fn withdraw(&mut self, place: usize) {
        while let Some(flight) = self.gates[place].give_up() {
            self.in_flight -= 1;
            self.job.state.borrow_mut().calls_bound -= flight.ready.bound;
            self.landed_since_us.get_or_insert(self.job.clock.us());
            self.land_unsent(&flight, "its provider is away; nothing was sent", 0);
        }
    }
}
