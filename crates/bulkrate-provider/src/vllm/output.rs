//! The results of a run, counted while they are written: each look reads on from where the last one stopped.

use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const BLOCK_BYTES: usize = 1 << 16;

/// What was read of one file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    /// Device and number of the file: another one is read from its beginning.
    file: Option<(u64, u64)>,
    read: u64,
    /// Lines that have come to their end, and the bytes of them.
    pub(super) lines: u64,
    pub(super) whole: u64,
}

impl Output {
    /// Reads on, at most `bytes_max` and no further than the file reaches now. Whether all of that has been read; of a file
    /// that is not there nothing is left to read.
    pub(super) fn read_on(&mut self, path: &Path, bytes_max: u64) -> std::io::Result<bool> {
        let meta = match only_a_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(true);
            }
            meta => meta?,
        };
        let file = (meta.dev(), meta.ino());
        if self.file != Some(file) || meta.len() < self.read {
            *self = Self { file: Some(file), ..Self::default() };
        }
        let most = (meta.len() - self.read).min(bytes_max);
        let mut open = File::open(path)?;
        open.seek(SeekFrom::Start(self.read))?;
        self.count(open.take(most))?;
        Ok(self.read >= meta.len())
    }

    fn count(&mut self, mut from: impl std::io::Read) -> std::io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = from.read(&mut block)?;
            if read == 0 {
                return Ok(());
            }
            self.lines += memchr::memchr_iter(b'\n', &block[..read]).count() as u64;
            if let Some(last) = memchr::memrchr(b'\n', &block[..read]) {
                self.whole = self.read + last as u64 + 1;
            }
            self.read += read as u64;
        }
    }
}

/// What a file is. To open a pipe waits for its writer, and a device may have no end: neither is read.
pub(super) fn only_a_file(path: &Path) -> std::io::Result<Metadata> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() {
        return Ok(meta);
    }
    Err(Error::new(ErrorKind::InvalidData, format!("`{}` is not a file", path.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let counted = || {
            let mut output = Output::default();
            assert!(output.read_on(&file, u64::MAX).unwrap());
            (output.lines, output.whole)
        };
        assert_eq!(counted(), (0, 0));
        let long = "y".repeat(BLOCK_BYTES * 2);
        for (text, want) in [
            (String::new(), (0, 0)),
            ("a".to_owned(), (0, 0)),
            ("a\nbc\nd".to_owned(), (2, 5)),
            (format!("a\n{long}"), (1, 2)),
            (format!("{long}\n{long}\n"), (2, 2 * (BLOCK_BYTES as u64 * 2 + 1))),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(counted(), want);
        }
    }

    #[test]
    fn a_look_reads_on_from_the_last_and_no_more_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = File::create(&path).unwrap();
        let mut output = Output::default();
        file.write_all(b"one\ntw").unwrap();
        assert!(output.read_on(&path, 100).unwrap());
        assert_eq!((output.lines, output.whole, output.read), (1, 4, 6));
        file.write_all(b"o\nthree\n").unwrap();
        assert!(!output.read_on(&path, 2).unwrap(), "there is more");
        assert_eq!((output.lines, output.whole, output.read), (2, 8, 8));
        assert!(output.read_on(&path, 100).unwrap());
        assert_eq!((output.lines, output.whole), (3, 14));
        // What has become shorter, or is another file, is read anew.
        std::fs::write(&path, "a\n").unwrap();
        assert!(output.read_on(&path, 100).unwrap());
        assert_eq!((output.lines, output.whole), (1, 2));
        let other = folder.path().join("g");
        std::fs::write(&other, "\n\n\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(output.read_on(&path, 100).unwrap());
        assert_eq!((output.lines, output.whole), (3, 3));
        // A file of a size that no disk has: a look ends all the same.
        File::create(&path).unwrap().set_len(1 << 43).unwrap();
        assert!(!output.read_on(&path, 1 << 20).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(output.read_on(&path, 100).unwrap() && output == Output::default());
    }

    #[test]
    fn a_pipe_and_a_device_are_no_output() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let endless = folder.path().join("endless");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        for path in [pipe, endless] {
            let error = Output::default().read_on(&path, u64::MAX).unwrap_err();
            assert!(error.to_string().contains("is not a file"), "{error}");
        }
    }
}
