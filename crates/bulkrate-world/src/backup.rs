//! F85: the state folder is copied at some commit, and that copy restored when more was sent already.

use std::path::Path;

use bulkrate_store::MemStore;

use crate::check::Books;
use crate::hub::Hub;

/// All that a state folder holds, and what the world knew of it.
#[derive(Debug)]
pub(crate) struct Backup {
    store: MemStore,
    books: Books,
    /// Requests that had been sent.
    calls: usize,
}

/// After a commit: whether this is the moment of the copy.
pub(crate) fn keep(hub: &mut Hub) {
    let due = hub.plan.backup_at.is_some_and(|at| hub.books.commits >= at);
    if !due || hub.restored || hub.backup.is_some() || hub.books.items.is_empty() {
        return;
    }
    let dir = hub.plan.dir.clone();
    if let Err(error) = copy(&Path::new(&dir).join("state"), &Path::new(&dir).join("backup")) {
        return hub.books.wrong("I19", format!("the state folder could not be copied: {error}"));
    }
    hub.note(format_args!("the state folder is copied"));
    hub.backup = Some(Backup { store: hub.store.clone(), books: hub.books.clone(), calls: hub.calls.len() });
}

/// Between two processes: the copy takes the place of the state folder.
pub(crate) fn restore(hub: &mut Hub) {
    let Some(backup) = hub.backup.take() else { return };
    hub.note(format_args!("an old backup is restored"));
    hub.restored = true;
    hub.unseen = backup.calls..hub.calls.len();
    hub.store = backup.store;
    let now = std::mem::replace(&mut hub.books, backup.books);
    (hub.books.found, hub.books.cap) = (now.found, now.cap);
    let dir = hub.plan.dir.clone();
    let (state, old) = (Path::new(&dir).join("state"), Path::new(&dir).join("backup"));
    let moved = std::fs::remove_dir_all(&state).and_then(|()| std::fs::rename(&old, &state));
    if let Err(error) = moved {
        hub.books.wrong("I19", format!("the copy could not be restored: {error}"));
    }
    // An output that the restored folder knows nothing of would be a foreign one.
    drop(std::fs::remove_file(Path::new(&dir).join("out.jsonl")));
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
