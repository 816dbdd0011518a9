//! Items that end, or go on, without an answer to book.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_provider::NOT_SENT;
use bulkrate_store::fold::Applied;
use bulkrate_store::{Fate, Outcome, Place, Via};

use super::Landing;
use super::receipt::{Receipt, outcome, via};
use crate::result_line::{Frame, write_bad};
use crate::run::job::{Job, Retry, Trouble};
use crate::spec::SyncDoubt;

impl Job {
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
            Some(NOT_SENT),
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
            state.climb.ended(landing.ready.ordinal);
            let alarm = state.count_dead(landing.ready.ordinal, via(landing.lane), class, "");
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
        let attempts = self.state.borrow().trouble.get(&ordinal).map_or(0, Trouble::attempts_made);
        let frame = Frame {
            ordinal,
            attempt: 0,
            attempts,
            provider: "",
            model: "",
            via: lane.name(),
            cost: UsdNanos::ZERO,
            usage: None,
            sureness: None,
            chances: &[],
            instead: None,
        };
        write_bad(frame, class, why, None, None, results.buffer());
        drop(results);
        let outcome = Outcome::without_call(ordinal, Some(class), Fate::Final, place);
        let mut state = self.state.borrow_mut();
        if state.items.outcome(&outcome) == Applied::Landed {
            state.outcomes.push(outcome);
            state.forecasting.ended_unsent();
            let alarm = state.count_dead(ordinal, Via::Prepare, class, "");
            drop(state);
            self.forget_chance(ordinal);
            self.sound(alarm, why);
        }
        self.changed.notify_waiters();
    }
}
