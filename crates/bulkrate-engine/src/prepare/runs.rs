//! Sorting more than memory holds: sorted runs of entries of one size on disk, merged at the end.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

/// Bytes of a run in memory.
const RUN_BYTES: usize = 5 << 20;

/// Entries as they come.
#[derive(Debug)]
pub(crate) struct Runs<const ENTRY: usize> {
    run: Vec<[u8; ENTRY]>,
    runs: Vec<File>,
}

impl<const ENTRY: usize> Default for Runs<ENTRY> {
    fn default() -> Self {
        Self { run: Vec::new(), runs: Vec::new() }
    }
}

impl<const ENTRY: usize> Runs<ENTRY> {
    /// So many entries are in memory at most.
    pub(crate) const RUN_ENTRIES: usize = RUN_BYTES / ENTRY;

    pub(crate) fn add(&mut self, entry: [u8; ENTRY]) -> io::Result<()> {
        self.run.push(entry);
        if self.run.len() == Self::RUN_ENTRIES {
            self.run.sort_unstable();
            let mut out = BufWriter::new(tempfile::tempfile()?);
            for entry in &self.run {
                out.write_all(entry)?;
            }
            self.runs.push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
            self.run.clear();
        }
        Ok(())
    }

    /// All entries, ascending.
    pub(crate) fn merged(mut self) -> io::Result<Merged<ENTRY>> {
        self.run.sort_unstable();
        let mut readers = Vec::with_capacity(self.runs.len());
        for mut run in self.runs {
            run.rewind()?;
            readers.push(BufReader::with_capacity(1 << 16, run));
        }
        let mut heads: Vec<Option<[u8; ENTRY]>> =
            readers.iter_mut().map(next_entry).collect::<io::Result<_>>()?;
        let mut memory = self.run.into_iter();
        heads.push(memory.next());
        Ok(Merged { readers, memory, heads })
    }
}

/// Entries, ascending.
#[derive(Debug)]
pub(crate) struct Merged<const ENTRY: usize> {
    readers: Vec<BufReader<File>>,
    memory: std::vec::IntoIter<[u8; ENTRY]>,
    /// The next of each reader, and of memory.
    heads: Vec<Option<[u8; ENTRY]>>,
}

impl<const ENTRY: usize> Merged<ENTRY> {
    pub(crate) fn next(&mut self) -> io::Result<Option<[u8; ENTRY]>> {
        let heads = self.heads.iter().enumerate();
        let Some((entry, place)) = heads.filter_map(|(place, head)| head.map(|head| (head, place))).min()
        else {
            return Ok(None);
        };
        self.heads[place] = match self.readers.get_mut(place) {
            Some(reader) => next_entry(reader)?,
            None => self.memory.next(),
        };
        Ok(Some(entry))
    }
}

fn next_entry<const ENTRY: usize>(reader: &mut BufReader<File>) -> io::Result<Option<[u8; ENTRY]>> {
    let mut entry = [0; ENTRY];
    match reader.read_exact(&mut entry) {
        Ok(()) => Ok(Some(entry)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
