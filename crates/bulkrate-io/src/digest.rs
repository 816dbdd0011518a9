//! Content digests of files: BLAKE3 of the bytes as they lie on disk, which costs a quarter of SHA-256 on long input.
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::source::SourceError;

const CHUNK_BYTES: usize = 256 << 10;

/// Digests what is written to it; equal to [`digest_file`] of the same bytes.
#[derive(Debug, Default)]
pub struct Digest(blake3::Hasher);

impl Digest {
    /// Lower-case hexadecimal text.
    #[must_use]
    pub fn finish(&self) -> String {
        hex(self.0.finalize().as_bytes())
    }
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The digest of the raw bytes of the file at `path` (compressed files as they are), as lower-case hexadecimal text.
///
/// # Errors
/// [`SourceError::Missing`] or [`SourceError::Io`] when the file cannot be opened or read.
pub fn digest_file(path: impl AsRef<Path>) -> Result<String, SourceError> {
    digest_file_while(path, || Ok(()))
}

/// The same, of a large file that somebody waits for: `go_on` is asked now and then, and its error ends it.
///
/// # Errors
/// Those of [`digest_file`], and that of `go_on`.
pub fn digest_file_while<E: From<SourceError>>(
    path: impl AsRef<Path>,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<String, E> {
    let path = path.as_ref();
    let (mut file, _) = crate::source::open_file(path)?;
    let mut digest = Digest::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        go_on()?;
        match file.read(&mut chunk) {
            Ok(0) => return Ok(digest.finish()),
            Ok(read) => drop(digest.0.update(&chunk[..read])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SourceError::reading(path, error).into()),
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
        let want = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"; // published with BLAKE3
        assert_eq!(digest_file(&path).unwrap(), want);
        let mut digest = Digest::default();
        digest.write_all(b"a").unwrap();
        digest.write_all(b"bc").unwrap();
        assert_eq!(digest.finish(), want);
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
