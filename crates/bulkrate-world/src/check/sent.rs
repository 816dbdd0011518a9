//! What leaves: its intent is durable, and says what is sent (I3, I4).

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_store::SubmissionState;

use super::{Books, LeaseEnd, Leased, Row, Whom};

impl Row {
    fn is_to(&self, (provider, model): Whom) -> bool {
        // Models may have slashes in their names, and what stands before one as well.
        let before = self.to.1.strip_suffix(model);
        self.to.0 == provider && before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    }
}

impl Books {
    /// I4, for a batch: the intent is durable, and says what is sent, and to whom. Of the digest nothing is known where the file is gone
    /// and nothing is written on the create. `input`: the file that it names, if it names one.
    pub fn create_sent(&mut self, sub: Option<Sub>, to: Whom, (digest, input): (Option<&str>, Option<&str>)) {
        let row = sub.and_then(|sub| self.rows.get(&sub)).cloned();
        let fits = row.as_ref().is_some_and(|row| {
            row.state == SubmissionState::Sending
                && row.is_to(to)
                && digest.is_none_or(|digest| row.digest.as_deref() == Some(digest))
                && input.is_none_or(|input| row.input.as_deref() == Some(input))
        });
        if !fits {
            let what = format!("a create of {sub:?} is sent to {to:?}, and its row is {row:?}");
            self.wrong("I4", what);
        }
        for (ordinal, at) in row.map(|row| row.leases).unwrap_or_default() {
            self.sent(ordinal, at, 1);
        }
    }

    /// I4, for a call by its number: the item is leased by a group that is durable, and says to whom it goes.
    pub fn call_sent(&mut self, ordinal: Ordinal, call: usize, to: Whom) -> Option<usize> {
        let last = self.leases.get(&ordinal).map_or(0, Vec::len).checked_sub(1);
        let open = last.and_then(|at| self.leases.get(&ordinal)?.get(at));
        let fits = |leased: &Leased| {
            leased.end == LeaseEnd::Open
                && leased.lane != Lane::Batch
                && self.rows.get(&leased.sub).is_some_and(|row| row.is_to(to))
        };
        if !open.is_some_and(fits) {
            self.wrong(
                "I4",
                format!("a call for item {ordinal} is sent to {to:?}, and its lease is {open:?}"),
            );
        }
        if let Some(at) = last {
            self.leg_sent((ordinal, at), call);
            self.sent(ordinal, at, if self.hedges { 2 } else { 1 });
        }
        last
    }

    /// A call ended, and nobody knows whether it was paid.
    pub fn call_lost(&mut self, items: &[(Ordinal, usize)]) {
        if let Some(lost) = &mut self.lost {
            lost.extend(items.iter().map(|(item, _)| *item));
        }
    }

    /// `most`: a call may have a copy.
    fn sent(&mut self, ordinal: Ordinal, at: usize, most: u32) {
        let Some(leased) = self.leases.get_mut(&ordinal).and_then(|leases| leases.get_mut(at)) else {
            return;
        };
        leased.sent += 1;
        if leased.sent > most {
            let times = leased.sent;
            self.wrong("I3", format!("lease {at} of item {ordinal} is sent {times} times"));
        }
    }
}
