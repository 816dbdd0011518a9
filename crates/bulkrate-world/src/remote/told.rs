//! Files that are told of before their bytes come: by the sum of these, under an id that is given at once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Answer, Remote};
use crate::tongue::{FileStage, Wrong};

/// A file is looked into for so long.
const LOOK_MS: u64 = 10_000;

/// What was announced.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By the sum of the bytes: the file's id.
    by_sum: BTreeMap<String, String>,
    /// By id: since when it is looked into.
    looked_ms: BTreeMap<String, u64>,
}

impl Told {
    fn has(&self, id: &str) -> bool {
        self.by_sum.values().any(|known| known == id)
    }

    /// It is deleted. True: it was there.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        let was_there = self.has(id);
        self.by_sum.retain(|_, known| known != id);
        self.looked_ms.remove(id);
        was_there
    }
}

impl Remote {
    /// Bytes of one sum are known from the moment at which they were told of, whether they came or not.
    pub(super) fn announce(&mut self, body: &[u8]) -> Answer {
        let Some(sum) = self.tongue.announced(body) else { return self.tongue.error(Wrong::NoFile) };
        if let Some(known) = self.told.by_sum.get(&sum) {
            return self.tongue.goes_to(known, true);
        }
        let id = self.id(self.manners.ids[1]);
        self.told.by_sum.insert(sum, id.clone());
        self.tongue.goes_to(&id, false)
    }

    pub(super) fn bring(&mut self, id: &str, body: &[u8]) -> Answer {
        if !self.told.has(id) {
            return self.tongue.error(Wrong::NoFile);
        }
        self.files.insert(id.to_owned(), body.to_vec());
        Answer::bytes(200, Vec::new())
    }

    pub(super) fn look_into(&mut self, id: &str, now_ms: u64) -> Result<Value, Wrong> {
        if !self.files.contains_key(id) {
            return Err(Wrong::NoFile);
        }
        self.told.looked_ms.entry(id.to_owned()).or_insert(now_ms);
        self.show_file(id, now_ms)
    }

    pub(super) fn show_file(&self, id: &str, now_ms: u64) -> Result<Value, Wrong> {
        let stage = match (self.files.contains_key(id), self.told.looked_ms.get(id)) {
            (false, _) if !self.told.has(id) => return Err(Wrong::NoFile),
            (false, _) => FileStage::Told,
            (true, None) => FileStage::Brought,
            (true, Some(since_ms)) if now_ms < since_ms + LOOK_MS => FileStage::LookedInto,
            (true, Some(_)) => FileStage::Ready,
        };
        Ok(self.tongue.file(id, stage))
    }
}
