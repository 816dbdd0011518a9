//! The end of a pass: all of it durable, no id given twice, and the checkpoint.

use bulkrate_core::ids::Ordinal;
use bulkrate_io::Source;
use bulkrate_store::ItemRec;
use serde::Deserialize;

use super::Pass;
use crate::EngineError;
use crate::paths::io_error;
use crate::prepare::Stats;
use crate::prepare::fetch::Ahead;
use crate::prepare::reuse::Reuse;
use crate::prepare::stats::Checkpoint;
use bulkrate_store::LedgerEntry;

/// What a pass leaves to its caller: savings to be booked with the checkpoint, and what is to be told.
#[derive(Debug)]
pub(crate) struct Left {
    pub ledger: Vec<LedgerEntry>,
    pub notes: Vec<String>,
}

impl Pass<'_> {
    /// Ends the pass; what it left is durable when this returns.
    pub(crate) fn finish(
        mut self,
        source: &Source,
        exhausted: bool,
        at_ms: i64,
    ) -> Result<(Checkpoint, Left), EngineError> {
        self.reuse()?;
        if !self.chunk.items.is_empty() || !self.tag_sets.fresh.is_empty() || !self.outcomes.is_empty() {
            self.flush()?;
        }
        while self.pending > 0 {
            self.wait()?;
        }
        crate::prepare::lists::write(&self.dir.urgent(), &mut self.urgent)?;
        crate::prepare::lists::write(&self.dir.uncached(), &mut self.uncached)?;
        for out in [&self.requests, &self.results] {
            out.file.sync_data().map_err(io_error("could not sync", &out.path))?;
        }
        if let Some(unique) = self.unique.take() {
            let temporary = |source| EngineError::Io {
                what: "could not read",
                path: "a temporary file".to_owned(),
                source,
            };
            if let Some((first, second)) = unique.duplicate().map_err(temporary)? {
                return Err(EngineError::DuplicateId {
                    place: format!("{}, records {} and {}", self.source_name, first + 1, second + 1),
                    id: self.id_of(first),
                });
            }
        }
        self.stats.skipped = source.skipped();
        let cached = std::mem::take(&mut self.cached);
        let told = |stats: &mut Stats, of: fn(&(u64, u64)) -> u64| {
            let named = |place: usize| self.draftsman.deployments[place].pinned.clone();
            stats.cached_of = cached.iter().map(|(place, found)| (named(*place), of(found))).collect();
            stats.cached = stats.cached_of.values().sum();
        };
        told(&mut self.stats, |found| found.0);
        if let Some(limited) = &mut self.limited {
            told(&mut limited.stats, |found| found.1);
        }
        let ordered = match self.orderer.take() {
            Some(orderer) => {
                Some(orderer.finish(&self.dir, &self.draftsman.deployments, &mut self.stats.models)?)
            }
            None => None,
        };
        let ledger = match self.saved.take() {
            Some(saved) => {
                saved.finish(self.job, &self.writer, at_ms, |place| &self.draftsman.deployments[place])?
            }
            None => Vec::new(),
        };
        let mut notes = self.reuse.take().map(Reuse::notes).unwrap_or_default();
        notes.extend(self.ahead.as_ref().and_then(Ahead::note));
        notes.extend(self.draftsman.note());
        let left = Left { ledger, notes };
        let checkpoint = Checkpoint {
            shape: self.shape,
            position: source.position(),
            exhausted,
            columns: self.columns,
            request_bytes: self.requests.offset,
            results_bytes: self.results.offset,
            stamp: None,
            ordered,
            stats: self.stats,
            limited: self.limited,
            refusals: self.draftsman.into_refusals(),
            chosen_told: true,
        };
        Ok((checkpoint, left))
    }

    /// The id of a leader, from its sealed line; followers and others are named by their number.
    fn id_of(&self, ordinal: Ordinal) -> String {
        let job = self.job;
        let found = self.writer.with(move |store| store.item_chunk_of(job, ordinal)).ok().flatten();
        let place = found.and_then(|chunk| chunk.get(ordinal));
        if let Some((offset, ItemRec::Leader { len, .. })) = place {
            let mut line = vec![0; len as usize];
            if std::os::unix::fs::FileExt::read_exact_at(&*self.requests.file, &mut line, offset).is_ok()
                && let Ok(line) = serde_json::from_slice::<SealedId<'_>>(&line)
            {
                return line.custom_id.to_string();
            }
        }
        format!("of record {}", ordinal + 1)
    }
}

#[derive(Deserialize)]
struct SealedId<'a> {
    #[serde(borrow)]
    custom_id: bulkrate_core::request::Text<'a>,
}
