//! What a pass writes: its files, the tags of its items, and the commits that make both known.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bulkrate_store::{ItemChunk, StoreError, Tx, Urgency};

use super::Pass;
use crate::EngineError;
use crate::paths::{io_error, open_file};
use crate::prepare::reuse::Reuse;

/// Bytes of requests gathered before they are written and their items committed.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Commits under way at once: bounds the memory when the disk is slower than the source.
const COMMITS_MAX: usize = 4;
/// Outcomes of one commit.
const OUTCOMES_MAX: usize = 8_192;

pub(super) type Committed = Result<(), Arc<StoreError>>;

/// An append-only file with its buffer.
#[derive(Debug)]
pub(super) struct Out {
    pub file: Arc<File>,
    pub path: std::path::PathBuf,
    pub buffer: Vec<u8>,
    pub offset: u64,
}

impl Out {
    pub(super) fn create(path: &Path) -> Result<Self, EngineError> {
        Ok(Self {
            file: Arc::new(open_file(path, true)?),
            path: path.to_owned(),
            buffer: Vec::with_capacity(CHUNK_BYTES * 2),
            offset: 0,
        })
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        (&*self.file).write_all(&self.buffer).map_err(io_error("could not write", &self.path))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Tags of items, by number; 0 is the job's own.
#[derive(Debug, Default)]
pub(super) struct TagSets {
    known: std::collections::HashMap<Vec<u8>, u32>,
    pub fresh: Vec<(u32, String)>,
}

impl TagSets {
    pub(super) fn number(&mut self, tags: &[u8]) -> u32 {
        if let Some(number) = self.known.get(tags) {
            return *number;
        }
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.insert(tags.to_vec(), number);
        self.fresh.push((number, String::from_utf8_lossy(tags).into_owned()));
        number
    }
}

impl Pass<'_> {
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        if self.reuse.as_ref().is_some_and(Reuse::is_full) {
            self.reuse()?;
        }
        self.requests.flush()?;
        self.results.flush()?;
        let next = ItemChunk {
            first: self.chunk.first + u32::try_from(self.chunk.items.len()).unwrap_or(u32::MAX),
            offset: self.requests.offset,
            items: Vec::with_capacity(self.chunk.items.len()),
        };
        let chunk = std::mem::replace(&mut self.chunk, next);
        let mut tx = Tx::new(self.job);
        if !chunk.items.is_empty() {
            tx.items.push(chunk);
        }
        tx.tag_sets = std::mem::take(&mut self.tag_sets.fresh);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        while outcomes.len() > OUTCOMES_MAX {
            let rest = outcomes.split_off(OUTCOMES_MAX);
            tx.outcomes = std::mem::replace(&mut outcomes, rest);
            self.send(std::mem::replace(&mut tx, Tx::new(self.job)))?;
        }
        tx.outcomes = outcomes;
        self.send(tx)
    }

    fn send(&mut self, tx: Tx) -> Result<(), EngineError> {
        let done = self.done.0.clone();
        self.writer.send(tx, Urgency::Now, Box::new(move |result| drop(done.send(result))));
        self.pending += 1;
        while self.pending >= COMMITS_MAX {
            self.wait()?;
        }
        Ok(())
    }

    pub(super) fn wait(&mut self) -> Result<(), EngineError> {
        self.pending -= 1;
        self.writer.hurry();
        self.done
            .1
            .recv()
            .map_err(|_| EngineError::Internal("the writer has stopped".to_owned()))?
            .map_err(|error| crate::error::stored(&error))
    }
}
