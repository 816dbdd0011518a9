//! One vector an item, at the place of its number: read one by one, so that memory does not grow with the job.
//!
//! ```text
//! "brvec002"  numbers of a vector u32  items u32  texts that taught u32  vectors u32  bytes of a name u32
//! sum of the directions that taught f32...  the name of the snapshot that has made them
//! one vector an item, a byte a number; all zero where the item has none
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bulkrate_core::ids::Ordinal;
use bulkrate_core::semantic::{Centre, Dense};

use crate::EngineError;
use crate::paths::{JobDir, io_error, open_file, take_place};

const MAGIC: &[u8; 8] = b"brvec002";
const HEAD_BYTES: usize = 28;
/// More than any model gives.
const NUMBERS_MAX: u32 = 1 << 16;
const NAME_MAX: u32 = 1 << 12;

/// What a file begins with.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Head {
    /// Numbers of a vector; 0: there are no vectors.
    numbers: u32,
    /// Items before this one were looked at.
    pub until: Ordinal,
    /// So many of them have a vector.
    pub count: u32,
    pub centre: Centre,
    /// What the model calls itself that has made them: numbers of two snapshots are never compared.
    pub snapshot: String,
}

impl Head {
    fn read(mut from: impl Read) -> std::io::Result<Self> {
        let broken = || std::io::Error::new(ErrorKind::InvalidData, "it holds no vectors");
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head)?;
        let word = |at: usize| {
            let bytes = head.get(8 + 4 * at..12 + 4 * at).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let (numbers, until, texts, count, name) = (word(0), word(1), word(2), word(3), word(4));
        if !head.starts_with(MAGIC) || numbers > NUMBERS_MAX || name > NAME_MAX {
            return Err(broken());
        }
        let mut sum = vec![0; 4 * numbers as usize];
        from.read_exact(&mut sum)?;
        let sum = sum.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let mut snapshot = vec![0; name as usize];
        from.read_exact(&mut snapshot)?;
        let snapshot = String::from_utf8(snapshot).map_err(|_| broken())?;
        Ok(Self { numbers, until, count, centre: Centre::new(texts, sum), snapshot })
    }

    fn bytes(&self) -> Vec<u8> {
        let words = [self.numbers, self.until, self.centre.texts(), self.count, self.name_bytes()];
        let words = words.into_iter().flat_map(u32::to_le_bytes);
        let sum = self.centre.sum().iter().flat_map(|value| value.to_le_bytes());
        MAGIC.iter().copied().chain(words).chain(sum).chain(self.snapshot.bytes()).collect()
    }

    fn place(&self, ordinal: Ordinal) -> u64 {
        let head = HEAD_BYTES as u64 + 4 * u64::from(self.numbers) + u64::from(self.name_bytes());
        head + u64::from(ordinal) * u64::from(self.numbers)
    }

    /// At most [`NAME_MAX`].
    fn name_bytes(&self) -> u32 {
        u32::try_from(self.snapshot.len()).unwrap_or(NAME_MAX)
    }
}

/// The vectors of one job.
#[derive(Debug)]
pub(crate) struct Vectors {
    file: File,
    path: PathBuf,
    pub head: Head,
}

impl Vectors {
    /// `None`: the job has none yet.
    pub(crate) fn open(dir: &JobDir) -> Result<Option<Self>, EngineError> {
        let path = dir.vectors();
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io_error("could not open", &path))?,
        };
        let head = Head::read(&file).map_err(io_error("could not read", &path))?;
        Ok(Some(Self { file, path, head }))
    }

    /// The vector of an item; `None`: it has none.
    pub(crate) fn get(&self, ordinal: Ordinal) -> Result<Option<Dense>, EngineError> {
        if ordinal >= self.head.until || self.head.numbers == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; self.head.numbers as usize];
        let read = self.file.read_exact_at(&mut bytes, self.head.place(ordinal));
        read.map_err(io_error("could not read", &self.path))?;
        Ok(Dense::from_bytes(&bytes))
    }
}

/// A file in the making: what was there and more. It takes the place of the old one as a whole.
#[derive(Debug)]
pub(crate) struct VectorsWriter {
    file: File,
    draft: PathBuf,
    path: PathBuf,
    pub head: Head,
}

impl VectorsWriter {
    /// `head`: where there is no file with numbers yet.
    pub(crate) fn create(
        dir: &JobDir,
        head: impl FnOnce() -> Result<Head, EngineError>,
    ) -> Result<Self, EngineError> {
        let path = dir.vectors();
        let draft = path.with_extension("part");
        let file = open_file(&draft, true)?;
        let head = match Vectors::open(dir)? {
            // Without numbers there is nothing behind the head.
            Some(old) if old.head.numbers > 0 => {
                let mut from = File::open(&path).map_err(io_error("could not open", &path))?;
                std::io::copy(&mut from, &mut &file).map_err(io_error("could not write", &draft))?;
                old.head
            }
            _ => head()?,
        };
        Ok(Self { file, draft, path, head })
    }

    /// A vector as its model gave it. False: it is none that can be compared with the others.
    pub(crate) fn put(&mut self, ordinal: Ordinal, values: &[f32]) -> Result<bool, EngineError> {
        let Some(dense) = self.head.centre.direction(values) else { return Ok(false) };
        let bytes: Vec<u8> = dense.bytes().collect();
        let wrote = self.file.write_all_at(&bytes, self.head.place(ordinal));
        wrote.map_err(io_error("could not write", &self.draft))?;
        self.head.count += 1;
        Ok(true)
    }

    /// All items before `until` have theirs.
    pub(crate) fn finish(mut self, until: Ordinal) -> Result<(), EngineError> {
        self.head.until = until;
        let failed = || io_error("could not write", &self.draft);
        self.file.write_all_at(&self.head.bytes(), 0).map_err(failed())?;
        // What has no vector behind the last one that has is zero as well.
        self.file.set_len(self.head.place(until)).map_err(failed())?;
        self.file.sync_all().map_err(failed())?;
        take_place(&self.draft, &self.path)
    }
}

impl Head {
    /// Of a file that begins with these texts' centre, made by this snapshot.
    pub(crate) fn new(centre: Centre, snapshot: String) -> Result<Self, EngineError> {
        let numbers = u32::try_from(centre.sum().len()).ok().filter(|numbers| *numbers <= NUMBERS_MAX);
        let numbers =
            numbers.ok_or_else(|| EngineError::Internal("a vector has too many numbers".to_owned()))?;
        if snapshot.len() > NAME_MAX as usize {
            return Err(EngineError::Internal("a model has too long a name for itself".to_owned()));
        }
        Ok(Self { numbers, until: 0, count: 0, centre, snapshot })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn vectors_are_read_by_their_items_and_a_file_grows_with_its_job() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobDir(folder.path().to_owned());
        assert!(Vectors::open(&dir).unwrap().is_none());
        let unit = |at: usize| {
            let mut values = [0.0_f32; 8];
            values[at] = 2.0;
            values
        };
        let mut centre = Centre::default();
        centre.learn(&unit(0));
        let mut writer = VectorsWriter::create(&dir, || Head::new(centre, "m-2".to_owned())).unwrap();
        assert!(writer.put(1, &unit(3)).unwrap());
        assert!(!writer.put(2, &[1.0; 7]).unwrap() && !writer.put(2, &[0.0; 8]).unwrap());
        writer.finish(4).unwrap();
        let mut writer = VectorsWriter::create(&dir, || Ok(Head::default())).unwrap();
        assert!(writer.put(6, &unit(5)).unwrap());
        drop(writer);
        let has = |vectors: &Vectors| -> Vec<bool> {
            (0..9).map(|item| vectors.get(item).unwrap().is_some()).collect()
        };
        let vectors = Vectors::open(&dir).unwrap().unwrap();
        assert_eq!(has(&vectors), [false, true, false, false, false, false, false, false, false]);
        let mut writer = VectorsWriter::create(&dir, || Ok(Head::default())).unwrap();
        assert!(writer.put(6, &unit(5)).unwrap());
        writer.finish(8).unwrap();
        let vectors = Vectors::open(&dir).unwrap().unwrap();
        assert_eq!(has(&vectors), [false, true, false, false, false, false, true, false, false]);
        assert_eq!((vectors.head.until, vectors.head.count, vectors.head.centre.texts()), (8, 2, 1));
        assert_eq!(vectors.head.snapshot, "m-2");
        assert_eq!(vectors.get(1).unwrap(), Dense::of(&unit(3)));
        std::fs::write(dir.vectors(), b"brvec001 and so on, and so on, and so on").unwrap();
        assert!(Vectors::open(&dir).unwrap_err().to_string().contains("it holds no vectors"));
    }

    #[test]
    fn a_job_without_any_vector_is_done_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let dir = JobDir(folder.path().to_owned());
        VectorsWriter::create(&dir, || Ok(Head::default())).unwrap().finish(9).unwrap();
        let vectors = Vectors::open(&dir).unwrap().unwrap();
        assert_eq!((vectors.head.until, vectors.get(3).unwrap()), (9, None));
    }
}
