//! Full keys by ordinal while a source is prepared: what a dedup hit is confirmed on. A file, not memory.

use std::fs::File;
use std::io::{self, Write};

use bulkrate_core::ids::{Ordinal, RequestKey};

const KEY: usize = 32;
const TAIL_MAX: usize = KEY << 12;

/// Keys in ordinal order; the newest are still in memory.
#[derive(Debug)]
pub(crate) struct KeyFile {
    file: File,
    written: u64,
    tail: Vec<u8>,
}

impl KeyFile {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, written: 0, tail: Vec::with_capacity(TAIL_MAX) })
    }

    /// The key of the next ordinal; items without a key take a zero one.
    pub(crate) fn push(&mut self, key: &RequestKey) -> io::Result<()> {
        self.tail.extend_from_slice(&key.0);
        if self.tail.len() >= TAIL_MAX {
            self.file.write_all(&self.tail)?;
            self.written += self.tail.len() as u64;
            self.tail.clear();
        }
        Ok(())
    }

    pub(crate) fn is(&self, ordinal: Ordinal, key: &RequestKey) -> io::Result<bool> {
        let at = u64::from(ordinal) * KEY as u64;
        if at >= self.written {
            let start = usize::try_from(at - self.written).unwrap_or(usize::MAX);
            return Ok(self.tail.get(start..start + KEY) == Some(&key.0));
        }
        let mut found = [0; KEY];
        std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut found, at)?;
        Ok(found == key.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_are_found_in_memory_and_on_disk() {
        let key = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            RequestKey(key)
        };
        let mut keys = KeyFile::new().unwrap();
        for number in 0..10_000 {
            keys.push(&key(number)).unwrap();
        }
        for number in [0, 1, 4_095, 4_096, 8_191, 8_192, 9_999] {
            assert!(keys.is(number, &key(number)).unwrap(), "{number}");
            assert!(!keys.is(number, &key(number + 1)).unwrap(), "{number}");
        }
        assert!(!keys.is(10_000, &key(10_000)).unwrap());
    }
}
