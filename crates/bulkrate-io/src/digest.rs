//! The content digest of a file: SHA-256 of its bytes as they lie on disk.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::source::SourceError;

const CHUNK_BYTES: usize = 1 << 20;

/// SHA-256 of the raw bytes of the file at `path` (compressed files are hashed as they are).
///
/// # Errors
/// [`SourceError::Missing`] or [`SourceError::Io`] when the file cannot be opened or read.
pub fn digest_file(path: impl AsRef<Path>) -> Result<[u8; 32], SourceError> {
    let path = path.as_ref();
    let mut file = File::open(path).map_err(|error| SourceError::opening(path, error))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SourceError::reading(path, error)),
        }
    }
}

/// What the file system says of a file; as long as it says the same, the bytes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    bytes: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// # Errors
    /// When the file cannot be asked.
    pub fn of(path: impl AsRef<Path>) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(path)?;
        let ns = |secs: i64, ns: i64| i128::from(secs) * 1_000_000_000 + i128::from(ns);
        Ok(Self {
            bytes: meta.len(),
            inode: meta.ino(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether the next change will show: not where the last one is so short a time before `now_ms` (since the epoch) that
    /// another may bear the same time.
    #[must_use]
    pub fn is_settled(&self, now_ms: u64) -> bool {
        const SETTLED_NS: i128 = 1_000_000_000;
        self.changed_ns.max(self.modified_ns) + SETTLED_NS < i128::from(now_ms) * 1_000_000
    }
}

/// A digest as lower-case hexadecimal text.
pub fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_a_known_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&digest_file(&path).unwrap()), want);
        assert_eq!(digest_file(dir.path().join("none")).unwrap_err().code(), "source-missing");
    }

    #[test]
    fn a_stamp_shows_a_change_or_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        let stamp = Stamp::of(&path).unwrap();
        assert_eq!(stamp, Stamp::of(&path).unwrap());
        let written_ms = u64::try_from(stamp.changed_ns / 1_000_000).unwrap();
        assert!(!stamp.is_settled(written_ms + 900), "it may still be being written");
        assert!(stamp.is_settled(written_ms + 1_100) && !stamp.is_settled(0));
        std::fs::write(&path, b"abcd").unwrap();
        assert_ne!(stamp, Stamp::of(&path).unwrap());
        let other = dir.path().join("other");
        std::fs::write(&other, b"abc").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(stamp, Stamp::of(&path).unwrap());
    }
}
