//! What is known of the jobs that embed for a job: which they are, and what came of them.

use std::collections::{BTreeMap, BTreeSet};

use bulkrate_core::ids::Ordinal;
use bulkrate_core::money::UsdNanos;
use bulkrate_store::{JobState, Spent, View};
use serde::{Deserialize, Serialize};

use super::texts::Texts;
use super::vectors::Vectors;
use crate::EngineError;
use crate::engine::start::{spent_by, spent_by_all};
use crate::paths::{JobDir, read_if_there, write_whole};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    /// Its texts are so many, and those of the items before this one.
    pub until: Ordinal,
    pub texts: u64,
    from: Ordinal,
    /// Its vectors were made: a file of them that is lost is made anew without it as well.
    pub over: bool,
}

/// One file, written as a whole before anything is spent. What there is of vectors, their own file says: no crash sets the two apart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// By their ids.
    pub jobs: BTreeMap<String, Maker>,
    /// Every number that one of them has had: the ledger outlives a job that is removed.
    pub numbers: BTreeSet<u32>,
    /// Texts that have a vector.
    #[serde(skip)]
    pub vectors: u64,
    /// The model that makes them, by its whole name: where the user's word for it is given to another, this one goes on.
    #[serde(default)]
    pub model: Option<String>,
    /// What it calls itself in its answers: numbers of two snapshots are never compared.
    #[serde(skip)]
    pub snapshot: String,
}

impl Kept {
    /// Nothing, where nothing was embedded.
    pub(crate) fn load(dir: &JobDir) -> Result<Self, EngineError> {
        let mut kept = Self::without_vectors(dir)?;
        if let Some(Vectors { head, .. }) = Vectors::open(dir)? {
            (kept.vectors, kept.snapshot) = (u64::from(head.count), head.snapshot);
            kept.jobs.values_mut().for_each(|maker| maker.over |= maker.until <= head.until);
        }
        Ok(kept)
    }

    /// The same, where it does not matter which vectors there are.
    pub(crate) fn without_vectors(dir: &JobDir) -> Result<Self, EngineError> {
        let Some(text) = read_if_there(&dir.embeds())? else { return Ok(Self::default()) };
        serde_json::from_slice(&text).map_err(|error| {
            EngineError::Internal(format!("what was kept of the embeddings cannot be read: {error}"))
        })
    }

    /// All or nothing.
    pub(crate) fn store(&self, dir: &JobDir) -> Result<(), EngineError> {
        write_whole(&dir.embeds(), &crate::engine::intake::to_json(self)?)
    }

    /// What they have spent, may have spent and have set aside.
    pub(crate) fn spent(&self, view: &dyn View) -> Result<Spent, EngineError> {
        self.spent_beside(view, "")
    }

    /// The same of all but one, as it is now.
    pub(crate) fn spent_beside(&self, view: &dyn View, own: &str) -> Result<Spent, EngineError> {
        let own = view.job_by_id(own)?.map(|row| row.no);
        spent_by_all(view, self.numbers(view)?.into_iter().filter(|number| Some(*number) != own))
    }

    fn numbers(&self, view: &dyn View) -> Result<BTreeSet<u32>, EngineError> {
        let mut numbers = self.numbers.clone();
        for id in self.jobs.keys() {
            numbers.extend(view.job_by_id(id)?.map(|row| row.no));
        }
        Ok(numbers)
    }

    /// Notes under which numbers they stand now.
    pub(crate) fn note(&mut self, view: &dyn View) -> Result<(), EngineError> {
        self.numbers = self.numbers(view)?;
        Ok(())
    }

    /// Notes a job that is to embed these texts. Where others were to embed them too, nothing came of it.
    pub(crate) fn begin(&mut self, id: &str, texts: &Texts) {
        let (until, from) = (texts.until, texts.from);
        self.jobs.values_mut().filter(|other| other.from >= from).for_each(|other| other.texts = 0);
        let over = self.jobs.get(id).is_some_and(|known| known.over);
        self.jobs.insert(id.to_owned(), Maker { until, texts: texts.count, from, over });
    }

    /// Those that are not over.
    pub(crate) fn left(&self) -> impl Iterator<Item = (&String, &Maker)> {
        self.jobs.iter().filter(|(_, maker)| !maker.over)
    }

    /// Texts that were to be embedded.
    pub(crate) fn texts(&self) -> u64 {
        self.jobs.values().map(|maker| maker.texts).sum()
    }

    /// The model that more vectors are made by, if any was asked yet.
    pub(crate) fn model(&self, view: &dyn View) -> Result<Option<&str>, EngineError> {
        let asked = self.vectors > 0 || self.spent(view)?.total() > UsdNanos::ZERO;
        Ok(self.model.as_deref().filter(|_| asked))
    }

    /// Another of them that has spent something and is not over: what it has paid for is only in its own books. What somebody has
    /// cancelled is not waited for.
    pub(crate) fn unfinished(
        &self,
        view: &dyn View,
        own: &str,
    ) -> Result<Option<(&str, &Maker)>, EngineError> {
        for (id, maker) in self.left().filter(|(id, _)| *id != own) {
            if let Some(row) = view.job_by_id(id)?.filter(|row| row.state != JobState::Cancelled)
                && spent_by(view, row.no)?.total() > UsdNanos::ZERO
            {
                return Ok(Some((id.as_str(), maker)));
            }
        }
        Ok(None)
    }
}
