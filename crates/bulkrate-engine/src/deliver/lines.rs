//! Reads stored lines by their place, through a small cache of blocks: neighbours cost no system call of their own.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkrate_core::lane::Lane;
use bulkrate_core::request::Text;
use bulkrate_store::{Place, Submission};
use serde::Deserialize;

use super::damaged;
use crate::EngineError;
use crate::paths::{JobDir, io_error};
use crate::result_line::ResultLine;

const BLOCK_BYTES: usize = 16 << 10;
/// 4 MiB: the lines of a batch come back in any order, and those of one batch are wanted together.
const BLOCKS: usize = 256;
const FILES_MAX: usize = 64;
const LINE_BYTES_MAX: usize = 256 << 20;
/// The job's own segment.
const OWN: u32 = 0;
/// Stands for `requests.jsonl`; no result file has this number.
const REQUESTS: u32 = u32::MAX - 1;

/// The files of one job that lines are read from.
#[derive(Debug)]
pub(crate) struct Lines {
    paths: HashMap<u32, PathBuf>,
    files: HashMap<u32, File>,
    blocks: Vec<Block>,
    /// A line that crosses blocks.
    joined: Vec<u8>,
}

#[derive(Debug, Default)]
struct Block {
    segment: u32,
    number: u64,
    bytes: Vec<u8>,
    filled: bool,
}

/// Where a line was found.
enum Found {
    Block(usize, usize, usize),
    Joined,
}

impl Lines {
    pub(crate) fn new(dir: &JobDir, submissions: &[Submission]) -> Self {
        let batches = submissions
            .iter()
            .filter(|submission| submission.lane == Lane::Batch && submission.segment != OWN);
        let mut paths: HashMap<u32, PathBuf> =
            batches.map(|submission| (submission.segment, dir.batch(submission.sub).results())).collect();
        paths.insert(OWN, dir.results());
        paths.insert(REQUESTS, dir.requests());
        Self { paths, files: HashMap::new(), blocks: Vec::new(), joined: Vec::new() }
    }

    /// The line at a place, without its newline.
    pub(crate) fn line(&mut self, place: Place) -> Result<&[u8], EngineError> {
        match self.find(place)? {
            Found::Block(slot, start, end) => Ok(&self.blocks[slot].bytes[start..end]),
            Found::Joined => Ok(&self.joined),
        }
    }

    /// The result line at a place.
    pub(crate) fn parse(&mut self, place: Place) -> Result<ResultLine<'_>, EngineError> {
        let path = self.paths.get(&place.segment).cloned().unwrap_or_default();
        let line = self.line(place)?;
        ResultLine::parse(line).map_err(|error| damaged(&path, format!("offset {}: {error}", place.offset)))
    }

    /// The sealed line of a leader, from its offset in `requests.jsonl`.
    pub(crate) fn request(&mut self, offset: u64) -> Result<&[u8], EngineError> {
        self.line(Place { segment: REQUESTS, offset })
    }

    fn find(&mut self, place: Place) -> Result<Found, EngineError> {
        self.joined.clear();
        let mut at = place.offset;
        loop {
            let number = at / BLOCK_BYTES as u64;
            // Less than a block.
            let start = usize::try_from(at % BLOCK_BYTES as u64).unwrap_or(0);
            let mut slot = self.block(place.segment, number, false)?;
            let mut end = memchr::memchr(b'\n', self.blocks[slot].bytes.get(start..).unwrap_or_default());
            if end.is_none() && self.blocks[slot].bytes.len() < BLOCK_BYTES {
                // The end of the file when the block was read; it may have grown since.
                slot = self.block(place.segment, number, true)?;
                end = memchr::memchr(b'\n', self.blocks[slot].bytes.get(start..).unwrap_or_default());
            }
            let bytes = &self.blocks[slot].bytes;
            match end {
                Some(length) if self.joined.is_empty() => {
                    return Ok(Found::Block(slot, start, start + length));
                }
                Some(length) => {
                    self.joined.extend_from_slice(&bytes[start..start + length]);
                    return Ok(Found::Joined);
                }
                None if bytes.len() == BLOCK_BYTES && self.joined.len() < LINE_BYTES_MAX => {
                    self.joined.extend_from_slice(&bytes[start..]);
                }
                None => {
                    return Err(damaged(
                        self.path(place.segment)?,
                        format!("no line begins and ends at offset {}", place.offset),
                    ));
                }
            }
            at = (number + 1) * BLOCK_BYTES as u64;
        }
    }

    /// The slot that holds a block, read if it is not there or if `again`.
    fn block(&mut self, segment: u32, number: u64, again: bool) -> Result<usize, EngineError> {
        if self.blocks.is_empty() {
            self.blocks.resize_with(BLOCKS, Block::default);
        }
        let slot =
            usize::try_from((u64::from(segment).wrapping_mul(61) + number) % BLOCKS as u64).unwrap_or(0);
        let known = &self.blocks[slot];
        if known.filled && known.segment == segment && known.number == number && !again {
            return Ok(slot);
        }
        let path = self.path(segment)?.to_owned();
        if !self.files.contains_key(&segment) {
            if self.files.len() >= FILES_MAX {
                self.files.clear();
            }
            let file = File::open(&path).map_err(io_error("could not open", &path))?;
            self.files.insert(segment, file);
        }
        let (file, block) = (&self.files[&segment], &mut self.blocks[slot]);
        block.filled = false;
        read_block(file, number, &mut block.bytes).map_err(io_error("could not read", &path))?;
        (block.segment, block.number, block.filled) = (segment, number, true);
        Ok(slot)
    }

    fn path(&self, segment: u32) -> Result<&Path, EngineError> {
        let path = self.paths.get(&segment).map(PathBuf::as_path);
        path.ok_or_else(|| {
            EngineError::Internal(format!(
                "an outcome points into result file {segment}, which no submission has"
            ))
        })
    }
}

fn read_block(file: &File, number: u64, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    bytes.resize(BLOCK_BYTES, 0);
    let mut filled = 0;
    while filled < BLOCK_BYTES {
        match file.read_at(&mut bytes[filled..], number * BLOCK_BYTES as u64 + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}

/// What is wanted of a sealed line besides its request.
#[derive(Debug, Deserialize)]
pub(crate) struct SealedHead<'a> {
    #[serde(borrow)]
    pub(crate) custom_id: Text<'a>,
}

impl<'a> SealedHead<'a> {
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, EngineError> {
        serde_json::from_slice(line)
            .map_err(|error| EngineError::Internal(format!("a sealed request cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_found_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let job = JobDir(dir.path().to_owned());
        let mut file = File::create(job.results()).unwrap();
        let mut places = Vec::new();
        let mut offset = 0;
        for n in 0..3_000_usize {
            // Some lines are longer than two blocks.
            let line = format!("{n}:{}", "x".repeat(if n % 500 == 7 { 3 * BLOCK_BYTES } else { n % 90 }));
            places.push((offset, line.clone()));
            offset += line.len() as u64 + 1;
            file.write_all(line.as_bytes()).unwrap();
            file.write_all(b"\n").unwrap();
        }
        let mut lines = Lines::new(&job, &[]);
        for (offset, want) in places.iter().chain(places.iter().rev().step_by(7)) {
            let got = lines.line(Place { segment: 0, offset: *offset }).unwrap();
            assert!(got == want.as_bytes(), "at {offset}: {}", String::from_utf8_lossy(got));
        }
        // A line that is appended after its block was read.
        assert!(lines.line(Place { segment: 0, offset }).is_err());
        file.write_all(b"late\n").unwrap();
        assert_eq!(lines.line(Place { segment: 0, offset }).unwrap(), b"late");
        file.write_all(b"cut").unwrap();
        assert!(
            lines
                .line(Place { segment: 0, offset: offset + 5 })
                .unwrap_err()
                .to_string()
                .contains("results.jsonl")
        );
        assert!(lines.line(Place { segment: 9, offset: 0 }).is_err(), "no such file");
    }
}
