//! Money that moved since the last commit, summed by what it is reported by.

use std::collections::BTreeMap;

use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{LedgerEntry, LedgerKind};

/// What entries are grouped by: kind, word, lane, deployment, tag set, submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    kind: u8,
    word: Option<&'static str>,
    lane: Option<Lane>,
    deployment: usize,
    tags: u32,
    sub: Option<Sub>,
}

/// One group of a commit is one ledger row; the receipts are the outcomes of the same commit.
#[derive(Debug, Default)]
pub(crate) struct Moved(BTreeMap<Group, (LedgerKind, u32, UsdNanos)>);

/// Where money moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub lane: Option<Lane>,
    pub deployment: usize,
    pub tags: u32,
    pub sub: Option<Sub>,
}

impl Moved {
    /// `word`: the lever of a saving, the note of anything else.
    pub(crate) fn add(
        &mut self,
        kind: LedgerKind,
        word: Option<&'static str>,
        at: At,
        items: u32,
        usd: UsdNanos,
    ) {
        let At { lane, deployment, tags, sub } = at;
        let group = Group { kind: kind as u8, word, lane, deployment, tags, sub };
        let entry = self.0.entry(group).or_insert((kind, 0, UsdNanos::ZERO));
        entry.1 += items;
        entry.2 += usd;
    }

    pub(crate) fn append(&mut self, other: Self) {
        for (group, (kind, items, usd)) in other.0 {
            let entry = self.0.entry(group).or_insert((kind, 0, UsdNanos::ZERO));
            entry.1 += items;
            entry.2 += usd;
        }
    }

    /// `names` gives provider and model of a deployment.
    pub(crate) fn take(
        &mut self,
        job: u32,
        at_ms: i64,
        names: impl Fn(usize) -> (String, String),
    ) -> Vec<LedgerEntry> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|(group, (kind, items, usd))| {
                let (provider, model) = names(group.deployment);
                let word = group.word.map(str::to_owned);
                let (lever, note) = if kind == LedgerKind::Saving { (word, None) } else { (None, word) };
                LedgerEntry {
                    job,
                    at_ms,
                    kind,
                    lane: group.lane,
                    provider,
                    model,
                    tags: group.tags,
                    lever,
                    sub: group.sub,
                    items,
                    usd,
                    note,
                }
            })
            .collect()
    }
}
