//! Several items in one request: gathered when they are taken to be sent, told apart when their answer lands.
//!
//! Invariants
//! - What is gathered is not leased: a run that ends meanwhile has lost nothing.
//! - Bounds of a bundle's items add up to that of its request; costs and usage to those of its answer.
//! - Nothing of a bundle is stored but its items' own leases and outcomes.

mod gather;
mod land;
mod seal;
mod worth;

use bulkrate_core::bundle::shares;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

pub(crate) use self::gather::{Draft, Gathered, Gathering};
pub(crate) use self::seal::Parcel;
pub(crate) use self::worth::Brought;
use super::job::{Job, Retry, State};
use super::ready::Ready;
use crate::event::Event;

impl Job {
    /// So many items go in one request to this deployment at most; `None`: each by itself.
    pub(crate) fn bundle_at(&self, deployment: usize) -> Option<u32> {
        self.bundle?;
        self.spec.request.bundle_at(&self.deployments[deployment].pinned)
    }

    /// How often the bundle of an item is halved now; `None`: it is asked alone.
    fn halvings(&self, state: &State, ready: &Ready) -> Option<u8> {
        if state.brought[ready.deployment].is_off() {
            return None;
        }
        let Some(trouble) = state.trouble.get(&ready.ordinal) else { return Some(0) };
        // One that was cut asks for a longer answer than the others.
        let cut = trouble.cut || trouble.max_tokens.is_some();
        (!cut).then(|| trouble.attempts.bundles.saturating_add(trouble.halved))
    }

    /// Items that cannot be asked together after all: one by one, and `why`, or, where there is no room for all, half as many at
    /// once. That has cost nothing.
    pub(crate) fn come_apart(&self, ordinals: &[Ordinal], lane: Lane, why: Option<&str>) {
        if let Some(why) = why {
            let message = format!("{} items are asked alone, not in a bundle: {why}", ordinals.len());
            self.tell(&Event::Note { message: &message });
        }
        let mut state = self.state.borrow_mut();
        state.blocked = None; // what held the whole up need not hold its items up
        state.halve(ordinals, why.is_some());
        for &ordinal in ordinals {
            state.queue(Retry { due_us: 0, ordinal, lane });
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// From now on these go with half as many others, or `alone`.
    pub(crate) fn halve(&mut self, ordinals: &[Ordinal], alone: bool) {
        for &ordinal in ordinals {
            let halved = &mut self.trouble.entry(ordinal).or_default().halved;
            *halved = if alone { u8::MAX } else { halved.saturating_add(1) };
        }
    }
}

/// An amount, cut by weights.
fn cut(usd: UsdNanos, weights: &[u64]) -> Vec<UsdNanos> {
    let parts = shares(u64::try_from(usd.0).unwrap_or(0), weights);
    parts.into_iter().map(|part| UsdNanos(i64::try_from(part).unwrap_or(i64::MAX))).collect()
}

/// The most that a request can cost: what is reserved for all of its items.
pub(crate) fn bound(first: &Ready, more: &[Ready]) -> UsdNanos {
    more.iter().fold(first.bound, |sum, ready| sum.saturating_add(ready.bound))
}
