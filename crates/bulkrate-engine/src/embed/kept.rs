//! What is known of the jobs that embed for a job: which they are, and what came of them.

use std::collections::{BTreeMap, BTreeSet};

use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Spent, View};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::engine::start::{spent_by, spent_by_all};
use crate::paths::{JobDir, read_if_there, write_whole};

/// One file, written as a whole before anything is spent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Ids, and whether they are over.
    pub jobs: BTreeMap<String, bool>,
    /// Every number that one of them has had: the ledger outlives a job that is removed.
    pub numbers: BTreeSet<u32>,
    /// Texts that were to be embedded, and those that have a vector.
    pub texts: u64,
    pub vectors: u64,
    /// The model that makes them, by its whole name: where the user's word for it is given to another, this one goes on.
    #[serde(default)]
    pub model: Option<String>,
    /// What it calls itself in its answers: numbers of two snapshots are never compared.
    #[serde(default)]
    pub snapshot: Option<String>,
}

impl Kept {
    /// Nothing, where nothing was embedded.
    pub(crate) fn load(dir: &JobDir) -> Result<Self, EngineError> {
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

    /// Another of them that has spent something and is not over: what it has paid for is only in its own books.
    pub(crate) fn unfinished(&self, view: &dyn View, own: &str) -> Result<bool, EngineError> {
        for (id, _) in self.jobs.iter().filter(|(id, over)| *id != own && !**over) {
            if let Some(row) = view.job_by_id(id)?
                && spent_by(view, row.no)?.total() > UsdNanos::ZERO
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
