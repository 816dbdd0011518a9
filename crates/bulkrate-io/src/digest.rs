//! The content digest of a file: SHA-256 of its bytes as they lie on disk.
use std::fs::File;
use std::io::Read;
use std::path::Path;

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
}
