//! Answers of earlier jobs, taken over while a source is prepared.
//!
//! What is booked: a cached leader saves its naive cost under `cache`, each of its followers as much under `dedup`, so that
//! naive cost less savings is what is spent. Where another model was chosen than the naive plan's, what that would have cost more is
//! saved too, under `routing`, of which nothing is in the outcomes. Savings are booked at the end of the pass, in the commit of its checkpoint: a
//! pass that is cut short and made again books them once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use bulkrate_core::ids::{Ordinal, RequestKey};
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::CacheMode;
use bulkrate_core::usage::Usage;
use bulkrate_store::{Fate, ItemRec, LedgerEntry, LedgerKind, Outcome, Place, Via, Writer};

use crate::EngineError;
use crate::cache::{Asked, Cache, Hit};
use crate::deployment::Deployment;
use crate::engine::start::end_of;
use crate::result_line::usage_of;
use crate::run::job::ROUTING;
use crate::run::ledger::{At, Moved};
use crate::settings::Settings;
use crate::spec::JobSpec;
use crate::strong::Strong;

/// Leaders that are looked up together, 3 MB: the more, the fewer reads of the key files.
const ASKED_MAX: usize = 1 << 16;

/// What one pass takes from the response cache.
#[derive(Debug)]
pub(crate) struct Reuse {
    job: u32,
    cache: Cache,
    /// Leaders that were not looked up yet.
    asked: Vec<(RequestKey, Asked)>,
    moved: Moved,
    /// Items that follow a leader, and its deployment; and leaders of whose answers the naive plan's model would have cost more: 40 bytes each.
    followers: HashMap<Ordinal, Followed>,
    /// Whom the naive plan asks, where something chose another.
    strong: Option<Strong>,
    /// What lies beyond the limit is no saving of this run by its choice of a model.
    end: Ordinal,
    hits: u64,
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    items: u32,
    deployment: usize,
    naive: Option<UsdNanos>,
    /// What the naive plan's model would have cost more for one.
    more: UsdNanos,
}

/// What the pass leaves to be booked and told.
#[derive(Debug, Default)]
pub(crate) struct Reused {
    pub ledger: Vec<LedgerEntry>,
    pub notes: Vec<String>,
}

impl Reuse {
    /// `None` where nothing may or can be read. A job that asks for distinct answers takes none that is there.
    /// `strong`: see [`Strong::of`].
    pub(crate) fn open(
        settings: &Settings,
        spec: &JobSpec,
        job: u32,
        strong: Option<Strong>,
    ) -> Result<Option<Self>, EngineError> {
        if spec.run.cache != CacheMode::Default || spec.run.distinct {
            return Ok(None);
        }
        let cache = Cache::open(&settings.state_dir, job)?;
        Ok(cache.map(|cache| Self {
            job,
            cache,
            asked: Vec::new(),
            moved: Moved::default(),
            followers: HashMap::new(),
            strong,
            end: end_of(spec),
            hits: 0,
        }))
    }

    pub(crate) fn ask(&mut self, key: RequestKey, asked: Asked) {
        self.asked.push((key, asked));
    }

    pub(crate) fn follows(&mut self, leader: Ordinal, deployment: usize) {
        self.followed(leader, deployment).items += 1;
    }

    fn followed(&mut self, leader: Ordinal, deployment: usize) -> &mut Followed {
        let none = Followed { items: 0, deployment, naive: None, more: UsdNanos::ZERO };
        self.followers.entry(leader).or_insert(none)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.asked.len() >= ASKED_MAX
    }

    /// Answers to the leaders gathered since the last call.
    pub(crate) fn find(&mut self, pinned: impl Fn(usize) -> String) -> Result<Vec<Hit>, EngineError> {
        let hits = self.cache.find(&mut self.asked, pinned);
        self.asked.clear();
        hits
    }

    /// Appends the line of a hit to `out`, which starts at `place`; `None` if it cannot be read.
    pub(crate) fn answer(
        &mut self,
        hit: &Hit,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<Option<Outcome>, EngineError> {
        let start = out.len();
        if !self.cache.copy(hit, out)? {
            return Ok(None);
        }
        let Asked { ordinal, deployment, tags } = hit.asked;
        let at = At { lane: None, deployment, tags, sub: None };
        self.moved.add(LedgerKind::Saving, Some("cache"), at, 1, hit.naive);
        if let Some(strong) =
            self.strong.as_ref().filter(|strong| ordinal < self.end && strong.is_spared(deployment))
        {
            let more = strong.more(deployment, &usage_of(&out[start..]), hit.naive);
            if more != UsdNanos::ZERO {
                self.moved.add(LedgerKind::Saving, Some(ROUTING), at, 1, more);
                self.followed(ordinal, deployment).more = more;
            }
        }
        self.hits += 1;
        Ok(Some(Outcome {
            ordinal,
            attempt: 0,
            via: Via::Cache,
            class: None,
            fate: Fate::Final,
            counted: false,
            cost: UsdNanos::ZERO,
            naive: hit.naive,
            prompt_cache: UsdNanos::ZERO,
            usage: Usage::default(),
            estimated: false,
            place,
        }))
    }

    /// The savings as ledger rows. Every chunk must be committed.
    pub(crate) fn finish<'d>(
        mut self,
        writer: &Writer,
        at_ms: i64,
        deployment: impl Fn(usize) -> &'d Deployment,
    ) -> Result<Reused, EngineError> {
        if self.hits > 0 && !self.followers.is_empty() {
            self.book_followers(writer)?;
        }
        let names = |place: usize| {
            let found = deployment(place);
            (found.row.provider.clone(), found.pinned.clone())
        };
        Ok(Reused { ledger: self.moved.take(self.job, at_ms, names), notes: self.cache.take_notes() })
    }

    /// A leader's answer is known only when its chunk is full, and its followers come at any time after it.
    fn book_followers(&mut self, writer: &Writer) -> Result<(), EngineError> {
        let job = self.job;
        let mut followers = std::mem::take(&mut self.followers);
        let saved = writer.with(move |store| {
            store.scan_outcomes(job, &mut |outcomes| {
                for outcome in outcomes.iter().filter(|outcome| outcome.via == Via::Cache) {
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
                    let at = At { lane: None, deployment, tags: *tags, sub: None };
                    saved.add(LedgerKind::Saving, Some("dedup"), at, items, naive.times(u64::from(items)));
                    if more != UsdNanos::ZERO {
                        let more = more.times(u64::from(items));
                        saved.add(LedgerKind::Saving, Some(ROUTING), at, items, more);
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
