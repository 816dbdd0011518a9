//! The fold of items, leases and submissions.

use bulkrate_core::ids::Ordinal;
use bulkrate_store::{Fate, Lease, Outcome, SubmissionState};

use super::{Books, Item, LeaseEnd, Leased, Row};

impl Books {
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let ordinal = outcome.ordinal;
        let Some(item) = self.items.get(ordinal as usize).copied() else {
            return self.wrong("I1", format!("an outcome of item {ordinal}, which is unknown"));
        };
        self.costs += i128::from(outcome.cost.0);
        let next = match (outcome.fate, outcome.class) {
            (Fate::Final, None) => Item::Done,
            (Fate::Final, Some(_)) => Item::Dead,
            _ => Item::Waiting,
        };
        if !outcome.via.is_attempt() {
            if item != Item::Waiting && item != Item::Invalid {
                self.wrong("I6", format!("item {ordinal} was {item:?} and is ended without a lease"));
            }
            self.items[ordinal as usize] = next;
            return;
        }
        // I7: a result comes from a submission that leases that item for that very attempt.
        match item {
            Item::Leased { attempt, .. } if attempt == outcome.attempt => {}
            Item::Done => self.wrong("I6", format!("item {ordinal} is done and gets another outcome")),
            other => {
                let attempt = outcome.attempt;
                self.wrong("I7", format!("attempt {attempt} of item {ordinal} ends, which is {other:?}"));
            }
        }
        let end = LeaseEnd::Outcome {
            cost: outcome.cost,
            estimated: outcome.estimated,
            good: outcome.class.is_none(),
        };
        self.end(ordinal, end);
        self.items[ordinal as usize] = next;
    }

    /// Ends the newest lease of an item.
    fn end(&mut self, ordinal: Ordinal, end: LeaseEnd) {
        let Some(last) = self.leases.get_mut(&ordinal).and_then(|leases| leases.last_mut()) else { return };
        if last.end == LeaseEnd::Open {
            self.open -= i128::from(last.lease.bound.0);
            last.end = end;
        }
    }

    pub(super) fn submission(&mut self, row: &bulkrate_store::Submission, leases: Option<&[Lease]>) {
        let sub = row.sub;
        if !self.rows.contains_key(&sub) {
            let mut held = Vec::new();
            for lease in leases.unwrap_or_default() {
                let item = self.items.get(lease.ordinal as usize).copied();
                if item != Some(Item::Waiting) {
                    self.wrong("I3", format!("{sub} leases item {}, which is {item:?}", lease.ordinal));
                }
                if self.lost.as_ref().is_some_and(|lost| lost.contains(&lease.ordinal)) {
                    let item = lease.ordinal;
                    self.wrong(
                        "I5",
                        format!("item {item} is leased again, and a call of it may have been paid"),
                    );
                }
                if let Some(item) = self.items.get_mut(lease.ordinal as usize) {
                    *item = Item::Leased { sub, attempt: lease.attempt };
                }
                let of = self.leases.entry(lease.ordinal).or_default();
                held.push((lease.ordinal, of.len()));
                of.push(Leased { lease: *lease, sub, lane: row.lane, end: LeaseEnd::Open, sent: 0 });
                self.open += i128::from(lease.bound.0);
            }
            let fresh = Row {
                state: row.state,
                to: (row.provider.clone(), row.model.clone()),
                digest: row.input_digest.clone(),
                input: row.remote_input.clone(),
                lane: row.lane,
                leases: held,
                held: false,
                doubt: 0,
                batch: None,
            };
            self.rows.insert(sub, fresh);
        }
        let before = self.rows.get(&sub).map(|row| row.state);
        if let Some(known) = self.rows.get_mut(&sub) {
            known.state = row.state;
            known.held |= row.state == SubmissionState::Unresolved;
            known.input.clone_from(&row.remote_input);
            known.batch.clone_from(&row.remote_batch);
        }
        if before.is_some_and(|before| before.is_terminal() && before != row.state) {
            self.wrong("I13", format!("{sub} was {before:?} and is {:?}", row.state));
        }
        let held = self.rows.get(&sub).map(|row| row.leases.clone()).unwrap_or_default();
        for (ordinal, _) in held {
            let Some(Item::Leased { sub: of, .. }) = self.items.get(ordinal as usize).copied() else {
                continue;
            };
            if of != sub {
                continue;
            }
            if row.state.voids_leases() {
                self.end(ordinal, LeaseEnd::Void);
                self.items[ordinal as usize] = Item::Waiting;
            } else if row.state == SubmissionState::Settled {
                self.wrong("I1", format!("{sub} is settled and item {ordinal} still leased"));
            }
        }
    }
}
