//! Item numbers in a file of their own, for what few items ask for: four bytes each, ascending.

use std::io::Write;
use std::path::Path;

use bulkrate_core::ids::Ordinal;

use crate::EngineError;
use crate::paths::{io_error, open_file};

/// Writes the list, durably; no file where it is empty.
pub(crate) fn write(path: &Path, list: &mut Vec<Ordinal>) -> Result<(), EngineError> {
    list.sort_unstable();
    list.dedup();
    if list.is_empty() {
        return Ok(());
    }
    let bytes: Vec<u8> = list.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect();
    let mut file = open_file(path, true)?;
    file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(io_error("could not write", path))
}

/// Reads a list; empty where there is none.
pub(crate) fn read(path: &Path) -> Result<Vec<Ordinal>, EngineError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.as_chunks().0.iter().map(|four| Ordinal::from_le_bytes(*four)).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error("could not read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_list_is_read_as_written_each_item_once() {
        let dir = tempfile::tempdir().unwrap();
        for (mut list, want) in
            [(vec![], vec![]), (vec![7, 0, 7, Ordinal::MAX - 1], vec![0, 7, Ordinal::MAX - 1])]
        {
            let path = dir.path().join("list");
            write(&path, &mut list).unwrap();
            assert_eq!(read(&path).unwrap(), want);
        }
    }
}
