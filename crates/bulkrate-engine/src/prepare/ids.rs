//! Are the user's ids unique? Sorted runs of 128-bit hashes on disk, merged at the end.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use bulkrate_core::ids::Ordinal;
use sha2::{Digest, Sha256};

const ENTRY: usize = 20;
const RUN_ENTRIES: usize = 1 << 18;

/// Collects ids; memory is one run, about 5 MB.
#[derive(Debug, Default)]
pub(crate) struct UniqueIds {
    run: Vec<[u8; ENTRY]>,
    runs: Vec<File>,
}

impl UniqueIds {
    pub(crate) fn add(&mut self, id: &str, ordinal: Ordinal) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry[..16].copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        entry[16..].copy_from_slice(&ordinal.to_be_bytes());
        self.run.push(entry);
        if self.run.len() == RUN_ENTRIES {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for entry in &self.run {
            out.write_all(entry)?;
        }
        self.runs.push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.run.clear();
        Ok(())
    }

    /// Two items with the same id, if there are any: the pair whose second comes first in the source is not promised.
    pub(crate) fn duplicate(mut self) -> io::Result<Option<(Ordinal, Ordinal)>> {
        self.run.sort_unstable();
        let mut readers = Vec::with_capacity(self.runs.len());
        for mut run in self.runs {
            run.rewind()?;
            readers.push(BufReader::with_capacity(1 << 16, run));
        }
        let mut memory = self.run.into_iter();
        let mut heads: Vec<Option<[u8; ENTRY]>> =
            readers.iter_mut().map(next_entry).collect::<io::Result<_>>()?;
        heads.push(memory.next());
        let mut last: Option<[u8; ENTRY]> = None;
        loop {
            let least =
                heads.iter().enumerate().filter_map(|(place, head)| head.map(|head| (head, place))).min();
            let Some((entry, place)) = least else { return Ok(None) };
            if let Some(before) = last.filter(|before| before[..16] == entry[..16]) {
                return Ok(Some((ordinal(&before), ordinal(&entry))));
            }
            last = Some(entry);
            heads[place] =
                if place == readers.len() { memory.next() } else { next_entry(&mut readers[place])? };
        }
    }
}

fn ordinal(entry: &[u8; ENTRY]) -> Ordinal {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&entry[16..]);
    Ordinal::from_be_bytes(bytes)
}

fn next_entry(reader: &mut BufReader<File>) -> io::Result<Option<[u8; ENTRY]>> {
    let mut entry = [0; ENTRY];
    match reader.read_exact(&mut entry) {
        Ok(()) => Ok(Some(entry)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn find(count: u32, twice: &[u32]) -> Option<(u32, u32)> {
        let mut ids = UniqueIds::default();
        for number in 0..count {
            ids.add(&format!("id-{number}"), number).unwrap();
        }
        for (place, number) in twice.iter().enumerate() {
            ids.add(&format!("id-{number}"), count + u32::try_from(place).unwrap()).unwrap();
        }
        ids.duplicate().unwrap()
    }

    #[test]
    fn a_second_use_is_found_across_runs() {
        assert_eq!(find(1_000, &[]), None);
        assert_eq!(find(1_000, &[5]), Some((5, 1_000)));
        let across = u32::try_from(RUN_ENTRIES).unwrap() * 2 + 10;
        assert_eq!(find(across, &[]), None);
        assert_eq!(find(across, &[17]), Some((17, across)));
    }
}
