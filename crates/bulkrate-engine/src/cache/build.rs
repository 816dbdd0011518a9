//! Writes a key file: sorted runs on disk, then one merge. Memory is one run, 4 MB, and a buffer for each run: 5 MB
//! of them for ten million keys.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkrate_core::ids::RequestKey;

use super::file::{BLOCK, ENTRY_BYTES, Entry, HEAD_BYTES, MAGIC, Meta, PRINT_BYTES, VERSION, head_check};
use crate::EngineError;
use crate::paths::{create_dir, io_error, open_file, sync_dir};

/// Fingerprint and packed entry: sorts by the full key.
const RECORD: usize = PRINT_BYTES + ENTRY_BYTES;
const RUN_RECORDS: usize = 1 << 16;
const RUN_BUFFER: usize = 1 << 15;

type Record = [u8; RECORD];

/// Collects entries in any order.
#[derive(Debug)]
pub(super) struct Builder {
    job: String,
    run: Vec<Record>,
    /// All runs, one behind the other, and where each ends.
    file: Option<File>,
    ends: Vec<u64>,
    count: u64,
    run_records: usize,
}

impl Builder {
    pub(super) fn new(job: &str) -> Self {
        Self::with_runs_of(job, RUN_RECORDS)
    }

    fn with_runs_of(job: &str, run_records: usize) -> Self {
        Self { job: job.to_owned(), run: Vec::new(), file: None, ends: Vec::new(), count: 0, run_records }
    }

    pub(super) fn add(&mut self, key: &RequestKey, entry: &Entry) -> io::Result<()> {
        let mut record = [0; RECORD];
        record[..PRINT_BYTES].copy_from_slice(&key.0[..PRINT_BYTES]);
        record[PRINT_BYTES..].copy_from_slice(&entry.pack(key));
        self.run.push(record);
        self.count += 1;
        if self.run.len() >= self.run_records {
            self.spill()?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let mut out = BufWriter::with_capacity(RUN_BUFFER, file);
        for record in &self.run {
            out.write_all(record)?;
        }
        self.file = Some(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        let start = self.ends.last().copied().unwrap_or(0);
        self.ends.push(start + (self.run.len() * RECORD) as u64);
        self.run.clear();
        Ok(())
    }

    /// Writes the file, whole and durable or not at all; answers how many entries it has.
    pub(super) fn finish(self, path: &Path, models: &[String]) -> Result<u64, EngineError> {
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        create_dir(dir)?;
        let temporary = path.with_extension("keys.part");
        let file = open_file(&temporary, true)?;
        let count = self.count;
        let written = self.write(&file, models).and_then(|()| file.sync_all());
        let done = written.and_then(|()| fs::rename(&temporary, path));
        if done.is_err() {
            drop(fs::remove_file(&temporary)); // what matters is the error below
        }
        done.map_err(io_error("could not write", path))?;
        sync_dir(dir)?;
        Ok(count)
    }

    fn write(self, file: &File, models: &[String]) -> io::Result<()> {
        let meta =
            Meta { version: VERSION, job: self.job.clone(), count: self.count, models: models.to_vec() };
        let meta = serde_json::to_vec(&meta)?;
        let count = usize::try_from(self.count).map_err(io::Error::other)?;
        let blocks = count.div_ceil(BLOCK);
        let fences_at = (HEAD_BYTES + meta.len()) as u64;
        let prints_at = fences_at + (blocks * PRINT_BYTES) as u64;
        let mut prints = Column { file, at: prints_at, buffer: Vec::with_capacity(2 * RUN_BUFFER) };
        let mut entries = Column {
            file,
            at: prints_at + (count * PRINT_BYTES) as u64,
            buffer: Vec::with_capacity(2 * RUN_BUFFER),
        };
        let mut fences = Vec::with_capacity(blocks * PRINT_BYTES);
        let mut place = 0;
        self.merge(|record| {
            let (print, entry) = record.split_at(PRINT_BYTES);
            if place % BLOCK == 0 {
                fences.extend_from_slice(print);
            }
            place += 1;
            prints.push(print)?;
            entries.push(entry)
        })?;
        prints.flush()?;
        entries.flush()?;
        file.write_all_at(&fences, fences_at)?;
        let mut head = Vec::with_capacity(HEAD_BYTES + meta.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&u32::try_from(meta.len()).map_err(io::Error::other)?.to_be_bytes());
        head.extend_from_slice(&head_check(&meta, &fences));
        head.extend_from_slice(&meta);
        file.write_all_at(&head, 0)
    }

    fn merge(mut self, mut each: impl FnMut(&Record) -> io::Result<()>) -> io::Result<()> {
        self.run.sort_unstable();
        let mut readers = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (file, end) in self.ends.iter().filter_map(|end| Some((self.file.as_ref()?, *end))) {
            readers.push(BufReader::with_capacity(RUN_BUFFER, Part { file, at: start, end }));
            start = end;
        }
        let mut memory = self.run.into_iter();
        let mut heads = std::collections::BinaryHeap::with_capacity(readers.len() + 1);
        for (place, reader) in readers.iter_mut().enumerate() {
            heads.extend(next(reader)?.map(|record| std::cmp::Reverse((record, place))));
        }
        let own = readers.len();
        heads.extend(memory.next().map(|record| std::cmp::Reverse((record, own))));
        while let Some(std::cmp::Reverse((record, place))) = heads.pop() {
            each(&record)?;
            let following = if place == own { memory.next() } else { next(&mut readers[place])? };
            heads.extend(following.map(|record| std::cmp::Reverse((record, place))));
        }
        Ok(())
    }
}

/// A stretch of a file, read by place: many of them share one handle.
struct Part<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn next(reader: &mut BufReader<Part<'_>>) -> io::Result<Option<Record>> {
    let mut record = [0; RECORD];
    match reader.read_exact(&mut record) {
        Ok(()) => Ok(Some(record)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A part of the file that is written from its start on.
struct Column<'f> {
    file: &'f File,
    at: u64,
    buffer: Vec<u8>,
}

impl Column<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= RUN_BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bulkrate_core::money::UsdNanos;
    use bulkrate_store::Place;
    use sha2::{Digest, Sha256};

    use super::super::file::KeysFile;
    use super::*;

    fn key(number: u64) -> RequestKey {
        RequestKey(Sha256::digest(number.to_be_bytes()).into())
    }

    fn entry(number: u64) -> Entry {
        Entry {
            place: Place { segment: u32::try_from(number % 3).unwrap(), offset: number * 100 },
            naive: UsdNanos(i64::try_from(number).unwrap()),
            model: 0,
        }
    }

    fn keys(numbers: impl Iterator<Item = u64>) -> Vec<(RequestKey, u64)> {
        let mut keys: Vec<_> = numbers.map(|number| (key(number), number)).collect();
        keys.sort_unstable();
        keys
    }

    fn found(file: &mut KeysFile, keys: &[(RequestKey, u64)]) -> Vec<(u64, Entry)> {
        let mut found = Vec::new();
        file.find(keys, |_| true, |place, entry| found.push((keys[place].1, entry))).unwrap();
        found.sort_by_key(|(number, _)| *number);
        found
    }

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/a.keys");
        for count in [0, 1, 255, 256, 257, 5_000] {
            let mut builder = Builder::with_runs_of("a", 1_000);
            for number in 0..count {
                builder.add(&key(number), &entry(number)).unwrap();
            }
            assert_eq!(builder.finish(&path, &["m".to_owned()]).unwrap(), count);
            let mut file = KeysFile::open(&path).unwrap();
            assert_eq!((file.meta.count, file.meta.job.as_str()), (count, "a"));
            let want: Vec<_> = (0..count).map(|number| (number, entry(number))).collect();
            assert_eq!(found(&mut file, &keys(0..count + 3_000)), want, "{count}: many keys");
            for number in (0..count).step_by(97) {
                assert_eq!(
                    found(&mut file, &keys(number..=number)),
                    [(number, entry(number))],
                    "{count}: one key"
                );
            }
            assert_eq!(found(&mut file, &keys(1_000_000..1_000_300)), []);
        }
    }

    #[test]
    fn equal_fingerprints_are_told_apart_across_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.keys");
        let twin = |number: u64| {
            let mut key = RequestKey([7; 32]);
            key.0[24..].copy_from_slice(&number.to_be_bytes());
            key
        };
        let mut builder = Builder::new("a");
        for number in 0..600 {
            builder.add(&twin(number), &entry(number)).unwrap();
        }
        builder.finish(&path, &[]).unwrap();
        let mut file = KeysFile::open(&path).unwrap();
        for number in [0, 255, 256, 599] {
            assert_eq!(found(&mut file, &[(twin(number), number)]), [(number, entry(number))]);
        }
        assert_eq!(found(&mut file, &[(twin(600), 600)]), []);
    }

    #[test]
    fn a_damaged_file_is_refused_or_misses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.keys");
        let mut builder = Builder::new("a");
        for number in 0..1_000 {
            builder.add(&key(number), &entry(number)).unwrap();
        }
        builder.finish(&path, &["m".to_owned()]).unwrap();
        let whole = fs::read(&path).unwrap();
        for (what, bytes) in [
            ("empty", Vec::new()),
            ("cut", whole[..whole.len() - 1].to_vec()),
            ("longer", [whole.clone(), vec![0]].concat()),
            ("magic", [b"X".to_vec(), whole[1..].to_vec()].concat()),
            (
                "meta",
                whole.iter().enumerate().map(|(at, byte)| if at == 45 { byte ^ 1 } else { *byte }).collect(),
            ),
            (
                "fence",
                whole
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at == HEAD_BYTES + 70 { byte ^ 1 } else { *byte })
                    .collect(),
            ),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(KeysFile::open(&path).is_err(), "{what}");
        }
        let mut damaged = whole;
        let length = damaged.len();
        damaged[length - 20] ^= 1; // in the last entry
        fs::write(&path, damaged).unwrap();
        assert_eq!(found(&mut KeysFile::open(&path).unwrap(), &keys(0..1_000)).len(), 999);
    }
}
