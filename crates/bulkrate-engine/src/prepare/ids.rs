//! Are the user's ids unique? Sorted runs of 128-bit hashes on disk, merged at the end.

use std::io;

use bulkrate_core::ids::Ordinal;
use sha2::{Digest, Sha256};

use super::runs::Runs;

const ENTRY: usize = 20;

/// Collects ids; memory is one run.
#[derive(Debug, Default)]
pub(crate) struct UniqueIds(Runs<ENTRY>);

impl UniqueIds {
    pub(crate) fn add(&mut self, id: &str, ordinal: Ordinal) -> io::Result<()> {
        let mut entry = [0; ENTRY];
        entry[..16].copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        entry[16..].copy_from_slice(&ordinal.to_be_bytes());
        self.0.add(entry)
    }

    /// Two items with the same id, if there are any: the pair whose second comes first in the source is not promised.
    pub(crate) fn duplicate(self) -> io::Result<Option<(Ordinal, Ordinal)>> {
        let mut entries = self.0.merged()?;
        let mut last: Option<[u8; ENTRY]> = None;
        while let Some(entry) = entries.next()? {
            if let Some(before) = last.filter(|before| before[..16] == entry[..16]) {
                return Ok(Some((ordinal(&before), ordinal(&entry))));
            }
            last = Some(entry);
        }
        Ok(None)
    }
}

fn ordinal(entry: &[u8; ENTRY]) -> Ordinal {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&entry[16..]);
    Ordinal::from_be_bytes(bytes)
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
        let across = u32::try_from(Runs::<ENTRY>::RUN_ENTRIES).unwrap() * 2 + 10;
        assert_eq!(find(across, &[]), None);
        assert_eq!(find(across, &[17]), Some((17, across)));
    }
}
