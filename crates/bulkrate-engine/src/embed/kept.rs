//! What is known of the jobs that embed for a job: which they are, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};

use bulkrate_core::money::UsdNanos;
use bulkrate_store::{Spent, View};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::engine::start::spent_by;
use crate::paths::{JobDir, io_error, open_file, sync_dir};

/// One file, written as a whole before anything is spent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Ids, and the numbers under which the ledger knows them once they are over.
    pub jobs: BTreeMap<String, Option<u32>>,
    /// Every number that one of them has had: the ledger outlives a job that is removed.
    #[serde(default)]
    pub numbers: BTreeSet<u32>,
    /// Texts that were to be embedded, and those that have a vector.
    pub texts: u64,
    pub vectors: u64,
}

impl Kept {
    /// Nothing, where nothing was embedded.
    pub(crate) fn load(dir: &JobDir) -> Result<Self, EngineError> {
        let path = dir.embeds();
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                EngineError::Internal(format!("what was kept of the embeddings cannot be read: {error}"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(io_error("could not read", &path)(error)),
        }
    }

    /// All or nothing.
    pub(crate) fn store(&self, dir: &JobDir) -> Result<(), EngineError> {
        let (path, text) = (dir.embeds(), crate::engine::intake::to_json(self)?);
        let draft = path.with_extension("part");
        let mut out = open_file(&draft, true)?;
        let wrote = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
        wrote.map_err(io_error("could not write", &draft))?;
        std::fs::rename(&draft, &path).map_err(io_error("could not move", &draft))?;
        sync_dir(&dir.0)
    }

    /// What they have spent, may have spent and have set aside.
    pub(crate) fn spent(&self, view: &dyn View) -> Result<Spent, EngineError> {
        self.spent_beside(view, "")
    }

    /// The same of all but one, as it is now.
    pub(crate) fn spent_beside(&self, view: &dyn View, own: &str) -> Result<Spent, EngineError> {
        let own = view.job_by_id(own)?.map(|row| row.no);
        let mut sum = Spent::default();
        for number in self.numbers(view)?.into_iter().filter(|number| Some(*number) != own) {
            let more = spent_by(view, number)?;
            sum.settled = sum.settled.saturating_add(more.settled);
            sum.doubt = sum.doubt.saturating_add(more.doubt);
            sum.reserved = sum.reserved.saturating_add(more.reserved);
        }
        Ok(sum)
    }

    fn numbers(&self, view: &dyn View) -> Result<BTreeSet<u32>, EngineError> {
        let mut numbers: BTreeSet<u32> = self.jobs.values().flatten().chain(&self.numbers).copied().collect();
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
        for (id, _) in self.jobs.iter().filter(|(id, number)| *id != own && number.is_none()) {
            if let Some(row) = view.job_by_id(id)?
                && spent_by(view, row.no)?.total() > UsdNanos::ZERO
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
