//! A results file being appended to: lines first, then the rows that point at them.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkrate_store::Place;

use crate::EngineError;
use crate::paths::{io_error, open_file};

/// One segment.
#[derive(Debug)]
pub(crate) struct Results {
    file: Arc<File>,
    path: PathBuf,
    segment: u32,
    offset: u64,
    buffer: Vec<u8>,
}

impl Results {
    /// Opens a segment for appending. `last`: where its last committed line starts; what follows that line is a torn tail
    /// and is cut off.
    pub(crate) fn open(path: &Path, segment: u32, last: Option<u64>) -> Result<Self, EngineError> {
        let mut file = open_file(path, false)?;
        let end = match last {
            None => 0,
            Some(start) => end_of_line(&file, start).map_err(io_error("could not read", path))?,
        };
        file.set_len(end).map_err(io_error("could not cut", path))?;
        file.seek(SeekFrom::Start(end)).map_err(io_error("could not seek in", path))?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), segment, offset: end, buffer: Vec::new() })
    }

    /// Where the next line will start.
    pub(crate) fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset + self.buffer.len() as u64 }
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes what is gathered; the file goes into `Tx::sync_first`. `None` if nothing was gathered.
    pub(crate) fn flush(&mut self) -> Result<Option<Arc<File>>, EngineError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        // At its own place: after a write that failed half-way the next one does not shift what follows.
        self.file.write_all_at(&self.buffer, self.offset).map_err(io_error("could not write", &self.path))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(Some(Arc::clone(&self.file)))
    }
}

/// The offset after the newline that ends the line at `start`.
fn end_of_line(file: &File, start: u64) -> std::io::Result<u64> {
    let mut at = start;
    let mut window = [0; 8_192];
    loop {
        let read = file.read_at(&mut window, at)?;
        if read == 0 {
            return Ok(at);
        }
        match memchr::memchr(b'\n', &window[..read]) {
            Some(place) => return Ok(at + place as u64 + 1),
            None => at += read as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_and_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.jsonl");
        std::fs::write(&path, b"{\"a\":1}\n{\"b\":2}\n{\"torn").unwrap();
        let mut results = Results::open(&path, 3, Some(8)).unwrap();
        assert_eq!(results.place(), Place { segment: 3, offset: 16 });
        results.buffer().extend_from_slice(b"{\"c\":3}\n");
        assert!(results.flush().unwrap().is_some() && results.flush().unwrap().is_none());
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
        assert_eq!(
            Results::open(&path, 3, None).unwrap().place().offset,
            0,
            "nothing committed: nothing kept"
        );
    }
}
