//! What items share with others behind a column of the prompt, read from the job's file: eight bytes an item, at its number.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::Beginning;

use super::job::Job;
use super::ready::Ready;
use crate::EngineError;
use crate::paths::{JobDir, io_error};
use crate::prepare::Share;

/// The file of a job.
#[derive(Debug)]
pub(crate) struct Beginnings {
    file: File,
    path: PathBuf,
}

impl Beginnings {
    /// `None`: no two rows share what is worth a mark.
    pub(crate) fn open(dir: &JobDir) -> Result<Option<Self>, EngineError> {
        let path = dir.beginnings();
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("could not open", &path)(error)),
        }
    }

    fn share(&self, ordinal: Ordinal) -> Result<Option<Share>, EngineError> {
        let mut bytes = [0; Share::BYTES];
        match self.file.read_exact_at(&mut bytes, u64::from(ordinal) * Share::BYTES as u64) {
            Ok(()) => Ok(Share::from_bytes(bytes)),
            // Nobody behind the last one shares anything.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(io_error("could not read", &self.path)(error)),
        }
    }
}

impl Job {
    /// What a call for an item may mark of its prompt, beside what all rows share.
    pub(super) fn share_of(&self, ordinal: Ordinal, lane: Lane) -> Result<Option<Share>, EngineError> {
        match &self.beginnings {
            Some(beginnings)
                if lane != Lane::Batch
                    && self.state.borrow().prompt_cache.iter().any(|one| one.second.is_set()) =>
            {
                beginnings.share(ordinal)
            }
            _ => Ok(None),
        }
    }
}

impl Ready {
    /// What it shares with others, where that is marked in its body.
    pub(crate) fn beginning(&self) -> Option<Beginning> {
        self.share.map(|id| Beginning { deployment: self.deployment, id })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_item_is_found_at_its_number() {
        let root = tempfile::tempdir().unwrap();
        let dir = JobDir(root.path().to_owned());
        assert!(Beginnings::open(&dir).unwrap().is_none());
        std::fs::write(dir.beginnings(), [[0; 8], [0, 0, 16, 1, 0, 0, 0, 7]].concat()).unwrap();
        let found = Beginnings::open(&dir).unwrap().unwrap();
        let shares = [0, 1, 2, u32::MAX].map(|ordinal| found.share(ordinal).unwrap());
        assert_eq!(shares, [None, Some(Share { at: 4_097, id: 7 }), None, None]);
    }
}
