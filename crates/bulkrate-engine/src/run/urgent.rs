//! Items with `priority: high`: they are called for in the sync lane, whatever the lane of their job.

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_store::fold::State as ItemState;

use super::job::State;
use crate::EngineError;
use crate::paths::JobDir;

/// Their ordinals, ascending, and which is next.
#[derive(Debug, Default)]
pub(crate) struct Urgent {
    list: Vec<Ordinal>,
    next: usize,
}

impl Urgent {
    /// In the sync lane every item is as urgent as these.
    pub(crate) fn load(dir: &JobDir, home: Lane) -> Result<Self, EngineError> {
        let list = if home == Lane::Sync { Vec::new() } else { crate::prepare::lists::read(&dir.urgent())? };
        Ok(Self { list, next: 0 })
    }
}

impl State {
    pub(crate) fn is_urgent(&self, ordinal: Ordinal) -> bool {
        self.urgent.list.binary_search(&ordinal).is_ok()
    }

    /// The next of them that has never run; those that failed wait among the retries.
    pub(crate) fn next_urgent(&mut self) -> Option<Ordinal> {
        while let Some(ordinal) = self.urgent.list.get(self.urgent.next).copied() {
            if ordinal >= self.end {
                return None;
            }
            self.urgent.next += 1;
            if self.items.get(ordinal).is_some_and(|item| item.state == ItemState::Queued) {
                return Some(ordinal);
            }
        }
        None
    }
}
