//! Items that have never run, one after the other: as the source has them, or in the order that was made of their prompts; and how those go
//! back that were taken and not sent.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_store::fold::State as ItemState;

use super::job::{Retry, State, Trouble};
use crate::EngineError;
use crate::paths::{JobDir, io_error};
use crate::prepare::Spot;

/// Spots read at once: 96 KiB.
const BLOCK: usize = 4_096;

/// The order file, read from its beginning.
#[derive(Debug)]
pub(crate) struct SendOrder {
    file: File,
    path: PathBuf,
    block: Vec<Spot>,
    /// The next of `block`, and where the file goes on after it.
    next: usize,
    offset: u64,
}

impl SendOrder {
    /// `None`: items go as the source has them.
    pub(crate) fn open(dir: &JobDir) -> Result<Option<Self>, EngineError> {
        let path = dir.order();
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path, block: Vec::new(), next: 0, offset: 0 })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("could not open", &path)(error)),
        }
    }

    fn take(&mut self) -> Result<Option<Ordinal>, EngineError> {
        if self.next == self.block.len() {
            self.load()?;
        }
        let spot = self.block.get(self.next).map(|spot| spot.ordinal);
        self.next += usize::from(spot.is_some());
        Ok(spot)
    }

    fn load(&mut self) -> Result<(), EngineError> {
        let mut bytes = vec![0; BLOCK * Spot::BYTES];
        let mut filled = 0;
        loop {
            let read = self.file.read_at(&mut bytes[filled..], self.offset + filled as u64);
            match read.map_err(io_error("could not read", &self.path))? {
                0 => break,
                more => filled += more,
            }
        }
        self.offset += filled as u64;
        self.block = bytes[..filled].as_chunks().0.iter().map(Spot::from_bytes).collect();
        self.next = 0;
        Ok(())
    }

    /// Where the line of the item lies, if it was the last that was taken.
    pub(crate) fn spot(&self, ordinal: Ordinal) -> Option<Spot> {
        let last = self.next.checked_sub(1).and_then(|last| self.block.get(last));
        last.copied().filter(|spot| spot.ordinal == ordinal)
    }

    /// Takes back the last that was taken; false: it is another.
    fn put_back(&mut self, ordinal: Ordinal) -> bool {
        let last = self.spot(ordinal).is_some();
        self.next -= usize::from(last);
        last
    }
}

impl State {
    /// The next item that has never run.
    pub(crate) fn next_fresh(&mut self) -> Option<Ordinal> {
        loop {
            let next = match &mut self.order {
                None => {
                    let next = self.items.next_queued(self.cursor).filter(|next| *next < self.end)?;
                    self.cursor = next + 1;
                    next
                }
                Some(order) => match order.take() {
                    Ok(next) => next?,
                    Err(error) => {
                        self.failed.get_or_insert(error);
                        return None;
                    }
                },
            };
            let queued = || self.items.get(next).is_some_and(|item| item.state == ItemState::Queued);
            if next < self.end && !self.is_urgent(next) && (self.order.is_none() || queued()) {
                return Some(next);
            }
        }
    }

    /// An item that was taken for a batch and does not go with it. The cursor finds only what has never run: a retry goes
    /// back to its queue, also where it is the last item that the cursor has passed.
    pub(crate) fn put_back(&mut self, ordinal: Ordinal) {
        if self.goes_before_all(ordinal) {
            self.halved.push_front(ordinal);
        } else if !self.untake(ordinal) {
            self.queue(Retry { due_us: 0, ordinal, lane: Lane::Batch });
        }
    }

    /// Several that were taken together. They go back in the order of taking, however their bundle has shuffled them: else the next file
    /// would hold others in every run.
    pub(crate) fn put_all_back(&mut self, mut ordinals: Vec<Ordinal>) {
        ordinals.sort_unstable();
        let last = |state: &mut Self, ordinals: &[Ordinal]| {
            ordinals.iter().rposition(|ordinal| !state.goes_before_all(*ordinal) && state.untake(*ordinal))
        };
        while let Some(at) = last(self, &ordinals) {
            ordinals.remove(at);
        }
        ordinals.into_iter().rev().for_each(|ordinal| self.put_back(ordinal));
    }

    /// Whether there was no room for an item with as many others as it came with: it is not made to wait for more.
    fn goes_before_all(&self, ordinal: Ordinal) -> bool {
        self.may_batch && self.trouble.get(&ordinal).is_some_and(Trouble::had_no_room)
    }

    /// Whether a fresh item could go back to where it was taken from.
    fn untake(&mut self, ordinal: Ordinal) -> bool {
        let fresh = self.items.get(ordinal).is_some_and(|item| item.state == ItemState::Queued);
        let last = match &mut self.order {
            _ if !fresh => false,
            Some(order) => order.put_back(ordinal),
            None => self.cursor == ordinal + 1,
        };
        if last && self.order.is_none() {
            self.cursor = ordinal;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_order_is_read_block_by_block_and_the_last_can_go_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = JobDir(root.path().to_owned());
        assert!(SendOrder::open(&dir).unwrap().is_none());
        let count = u32::try_from(BLOCK).unwrap() + 3;
        let bytes: Vec<u8> = (0..count)
            .flat_map(|at| Spot { ordinal: count - at, header_len: 1, len: 2, tags: 3, offset: 4 }.to_bytes())
            .collect();
        std::fs::write(dir.order(), bytes).unwrap();
        let mut order = SendOrder::open(&dir).unwrap().unwrap();
        for at in 0..count {
            assert_eq!(order.take().unwrap(), Some(count - at));
            assert!(order.spot(count - at).is_some() && order.spot(0).is_none());
            assert!(!order.put_back(0));
            if at % 1_000 == 0 || at >= count - 4 {
                assert!(order.put_back(count - at));
                assert_eq!(order.take().unwrap(), Some(count - at));
            }
        }
        assert_eq!((order.take().unwrap(), order.take().unwrap()), (None, None));
    }
}
