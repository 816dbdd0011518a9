//! The crate as others see it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod crash;
mod sqlite;
mod writer;

use std::path::Path;

use bulkrate_store::{SqliteStore, Store, Tx, conformance};

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, "inst-1", 1_700_000_000_000).unwrap()
}

/// A store with one job of `items` items, and the job's number.
fn with_items(mut store: impl Store, items: u32) -> (impl Store, u32) {
    let job = store.create_job(&conformance::job("a")).unwrap();
    for first in (0..items).step_by(1_000) {
        let chunk = conformance::chunk(first, 1_000.min(items - first));
        store.commit(&[Tx { items: vec![chunk], ..Tx::new(job) }]).unwrap();
    }
    (store, job)
}
