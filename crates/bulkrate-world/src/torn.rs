//! F75: power goes, and what was written and not synced is lost, in part, or is no longer what was written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bulkrate_store::Tx;

use crate::hub::Hub;

/// A commit is durable, and with it the files that its rows point into.
pub(crate) fn keep(hub: &mut Hub, txs: &[Tx]) {
    if !hub.plan.faults.torn {
        return;
    }
    for file in txs.iter().flat_map(|tx| &tx.sync_first) {
        if let Ok(meta) = file.metadata() {
            hub.synced.insert(meta.ino(), meta.len());
        }
    }
}

/// Cuts and spoils the tails of result files: no row points there.
pub(crate) fn tear(hub: &mut Hub, state: &Path) {
    let mut files = Vec::new();
    results(state, &mut files);
    files.sort();
    for path in files {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        if let Err(error) = tear_one(hub, &file) {
            hub.books.wrong("I19", format!("a file could not be torn: {error}"));
        }
    }
}

fn tear_one(hub: &mut Hub, file: &File) -> std::io::Result<()> {
    let meta = file.metadata()?;
    let synced = hub.synced.get(&meta.ino()).copied().unwrap_or(0).min(meta.len());
    let tail = meta.len() - synced;
    if tail == 0 {
        // A line that was being written when the power went.
        if hub.dice.permille(500) {
            let half = hub.dice.between(1, 200);
            hub.note(format_args!("tears a file: {half} bytes of a line are there that nobody finished"));
            file.write_all_at(&b"{\"item\":0,".repeat(20)[..usize::try_from(half).unwrap_or(1)], synced)?;
        }
        return Ok(());
    }
    let left = hub.dice.below(tail + 1);
    hub.note(format_args!("tears a file: {left} of {tail} bytes beyond what was synced are left"));
    file.set_len(synced + left)?;
    if left > 0 && hub.dice.permille(500) {
        // A page that never came: zeros where lines were.
        file.write_all_at(&vec![0; usize::try_from(left).unwrap_or(0)], synced)?;
    }
    Ok(())
}

fn results(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            results(&path, found);
        } else if path.file_name().is_some_and(|name| name == "results.jsonl") {
            found.push(path);
        }
    }
}
