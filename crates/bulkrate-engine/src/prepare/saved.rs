//! What a pass saves by the items that it answers itself: from the response cache, or by a filter.
//!
//! What is booked: such a leader saves its naive cost under its lever, each of its followers as much under `dedup`, so that naive cost
//! less savings is what is spent. Where another model was chosen than the naive plan's, what that would have cost more for an earlier job's
//! answer is saved too, under `routing`, of which nothing is in the outcomes. All of it is booked at the end of the pass, in the commit of its
//! checkpoint: a pass that is cut short and made again books it once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{ItemRec, LedgerEntry, LedgerKind, Via, Writer};

use crate::EngineError;
use crate::deployment::Deployment;
use crate::run::job::ROUTING;
use crate::run::ledger::{At, Moved};

/// What one pass has saved so far.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    moved: Moved,
    /// Leaders that items follow, and those of whose answers the naive plan's model would have cost more: 40 bytes each.
    followers: HashMap<Ordinal, Followed>,
    /// Some item was answered.
    any: bool,
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    items: u32,
    deployment: usize,
    naive: Option<UsdNanos>,
    /// What the naive plan's model would have cost more for one.
    more: UsdNanos,
}

impl Saved {
    /// An item follows `leader`, whoever answers that.
    pub(crate) fn follows(&mut self, leader: Ordinal, deployment: usize) {
        self.followed(leader, deployment).items += 1;
    }

    /// A leader was answered, which saved `naive`.
    pub(crate) fn answered(&mut self, lever: &'static str, deployment: usize, tags: u32, naive: UsdNanos) {
        self.any = true;
        self.moved.add(LedgerKind::Saving, Some(lever), at(deployment, tags), 1, naive);
    }

    /// For the answer to `leader` the naive plan's model would have cost so much more.
    pub(crate) fn routed(&mut self, leader: Ordinal, deployment: usize, tags: u32, more: UsdNanos) {
        if more != UsdNanos::ZERO {
            self.moved.add(LedgerKind::Saving, Some(ROUTING), at(deployment, tags), 1, more);
            self.followed(leader, deployment).more = more;
        }
    }

    fn followed(&mut self, leader: Ordinal, deployment: usize) -> &mut Followed {
        let none = Followed { items: 0, deployment, naive: None, more: UsdNanos::ZERO };
        self.followers.entry(leader).or_insert(none)
    }

    /// The savings as ledger rows. Every chunk must be committed.
    pub(crate) fn finish<'d>(
        mut self,
        job: u32,
        writer: &Writer,
        at_ms: i64,
        deployment: impl Fn(usize) -> &'d Deployment,
    ) -> Result<Vec<LedgerEntry>, EngineError> {
        if self.any && !self.followers.is_empty() {
            self.book_followers(job, writer)?;
        }
        let names = |place: usize| {
            let found = deployment(place);
            (found.row.provider.clone(), found.pinned.clone())
        };
        Ok(self.moved.take(job, at_ms, names))
    }

    /// What the cache holds is known only when a leader's chunk is full, and its followers come at any time after it.
    fn book_followers(&mut self, job: u32, writer: &Writer) -> Result<(), EngineError> {
        let mut followers = std::mem::take(&mut self.followers);
        let saved = writer.with(move |store| {
            store.scan_outcomes(job, &mut |outcomes| {
                let here = |via: Via| matches!(via, Via::Cache | Via::Filter);
                for outcome in outcomes.iter().filter(|outcome| here(outcome.via)) {
                    if let Some(followed) = followers.get_mut(&outcome.ordinal) {
                        followed.naive = Some(outcome.naive);
                    }
                }
                ControlFlow::Continue(())
            })?;
            let mut saved = Moved::default();
            store.scan_items(job, 0, &mut |chunk| {
                for (ordinal, _, item) in chunk.iter() {
                    let ItemRec::Leader { tags, .. } = item else { continue };
                    let Some(Followed { items: items @ 1.., deployment, naive: Some(naive), more }) =
                        followers.get(&ordinal).copied()
                    else {
                        continue;
                    };
                    let mut add = |lever, each: UsdNanos| {
                        let usd = each.times(u64::from(items));
                        saved.add(LedgerKind::Saving, Some(lever), at(deployment, *tags), items, usd);
                    };
                    add("dedup", naive);
                    if more != UsdNanos::ZERO {
                        add(ROUTING, more);
                    }
                }
                ControlFlow::Continue(())
            })?;
            Ok(saved)
        });
        self.moved.append(saved.map_err(|error| crate::error::stored(&error))?);
        Ok(())
    }
}

/// Nothing was asked, so that there is no lane.
fn at(deployment: usize, tags: u32) -> At {
    At { lane: None, deployment, tags, sub: None }
}
