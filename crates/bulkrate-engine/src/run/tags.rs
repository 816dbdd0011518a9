//! Caps on tags: what every job has spent under a tag counts, and an item whose tag has nothing left does not hold the
//! others up.
//!
//! An item that a cap of its tag forbids for now is parked until what is in flight under the tag gives room back; one
//! that can never fit ends as `budget_exhausted`. A cap that covers every item of the job stops the job instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bulkrate_core::budget::{Cap, OverBudget, Scope};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{By, LedgerQuery, LedgerTotal, View};

use super::bundle::bound;
use super::job::{Job, Retry};
use super::ready::Ready;
use crate::EngineError;
use crate::reader::tag_values;
use crate::spec::JobSpec;

/// Items that wait for room under a cap of their tag, by the cap's place.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    queues: BTreeMap<usize, VecDeque<Waiting>>,
    /// The last refusal, for the report.
    over: Option<OverBudget>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    ordinal: Ordinal,
    lane: Lane,
    bound: UsdNanos,
}

/// The caps of `budget_tags` that cover items of the job, with what all jobs hold against each.
pub(crate) fn caps(view: &dyn View, spec: &JobSpec, job: u32) -> Result<Vec<Cap>, EngineError> {
    let mut caps = Vec::new();
    if spec.run.budget_tags.is_empty() {
        return Ok(caps);
    }
    let totals = view.ledger_totals(&LedgerQuery::default().by(&[By::TagSet]))?;
    let own: BTreeSet<u32> = view.tag_sets(job)?.into_iter().map(|(number, _)| number).collect();
    for (tag, limit) in &spec.run.budget_tags {
        let Some((key, value)) = tag.split_once('=') else { continue };
        let carries = tag_values(view, Some(key))?;
        let carries = |group: &str| carries.get(group).is_some_and(|found| found == value);
        let sets: BTreeSet<u32> =
            own.iter().copied().filter(|number| carries(&format!("{job}/{number}"))).collect();
        if !sets.is_empty() {
            let sets = (sets.len() < own.len()).then_some(sets);
            caps.push(spent_under(
                &totals,
                carries,
                Cap { sets, ..Cap::new(Scope::Tag(tag.clone()), *limit) },
            ));
        }
    }
    Ok(caps)
}

fn spent_under(totals: &[LedgerTotal], carries: impl Fn(&str) -> bool, mut cap: Cap) -> Cap {
    for total in totals.iter().filter(|total| carries(&total.group.concat())) {
        let spent = total.sums.spent();
        cap.settled = cap.settled.saturating_add(spent.settled);
        cap.reserved = cap.reserved.saturating_add(spent.reserved);
        cap.doubt = cap.doubt.saturating_add(spent.doubt);
    }
    cap
}

impl Parked {
    pub(crate) fn len(&self) -> u64 {
        self.queues.values().map(|queue| queue.len() as u64).sum()
    }

    /// Why they wait.
    pub(crate) fn why(&self) -> Option<OverBudget> {
        self.over.clone()
    }
}

impl Job {
    /// Sets what goes in one request aside that a cap of its tag forbids; a bundle that could never fit is asked item by item: each may.
    /// False: no such cap does.
    pub(crate) fn set_aside(&self, first: &Ready, more: &[Ready], lane: Lane) -> bool {
        let mut state = self.state.borrow_mut();
        let whole = bound(first, more);
        let Some((cap, over)) = state.budget.forbidden_by_part(first.tags, whole) else { return false };
        let items = || std::iter::once(first).chain(more);
        if over.may_free {
            let queue = state.parked.queues.entry(cap).or_default();
            queue.extend(items().map(|ready| Waiting { ordinal: ready.ordinal, lane, bound: ready.bound }));
            state.parked.over = Some(over);
        } else {
            drop(state);
            if more.is_empty() {
                self.bury(first.ordinal, lane, FailureClass::BudgetExhausted, &over.to_string());
            } else {
                let ordinals: Vec<Ordinal> = items().map(|ready| ready.ordinal).collect();
                self.come_apart(&ordinals, lane, None);
            }
        }
        true
    }

    /// Queues parked items again for which there is room now, or never will be.
    pub(crate) fn unpark(&self) {
        let mut state = self.state.borrow_mut();
        if state.parked.len() == 0 {
            return;
        }
        let mut free = Vec::new();
        let super::job::State { parked, budget, .. } = &mut *state;
        for (place, queue) in &mut parked.queues {
            let cap = &budget.caps[*place];
            let mut taken = UsdNanos::ZERO;
            while let Some(next) = queue.front().copied() {
                let fits = cap.fits(taken.saturating_add(next.bound));
                if !fits && cap.may_fit(next.bound) {
                    break;
                }
                if fits {
                    taken = taken.saturating_add(next.bound);
                }
                queue.pop_front();
                free.push(next);
            }
        }
        let any = !free.is_empty();
        for Waiting { ordinal, lane, .. } in free {
            state.queue(Retry { due_us: 0, ordinal, lane });
        }
        drop(state);
        if any {
            self.changed.notify_waiters();
        }
    }
}
