//! How fast the SQLite store appends and scans: `cargo run --release -p bulkrate-store --example store_speed [items] [dir]`.

use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use bulkrate_store::conformance::{chunk, job, lease, outcome, submission};
use bulkrate_store::fold::ItemStates;
use bulkrate_store::pack::{pack_outcomes, unpack_outcomes_into};
use bulkrate_store::{Outcome, SqliteStore, Store, Tx, View};

const PER_COMMIT: u32 = 1_000;

fn rate(what: &str, count: u32, since: Instant) {
    let took = since.elapsed();
    let per_second = f64::from(count) / took.as_secs_f64();
    println!("{what:<44} {:>8.2} M/s  {took:>10.3?}", per_second / 1e6);
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let items: u32 = args.next().map_or(Ok(2_000_000), |text| text.parse())?;
    let temp = tempfile::tempdir()?;
    let dir = args.next().map_or_else(|| temp.path().to_owned(), Into::into);
    let mut store = SqliteStore::open(&dir, "speed", 0)?;
    let no = store.create_job(&job("speed"))?;

    let since = Instant::now();
    for first in (0..items).step_by(4_096) {
        store.commit(&[Tx { items: vec![chunk(first, 4_096.min(items - first))], ..Tx::new(no) }])?;
    }
    rate("append items, 4,096 a commit", items, since);

    let since = Instant::now();
    for first in (0..items).step_by(20_000) {
        let leases = (first..items.min(first + 20_000)).map(|ordinal| lease(ordinal, 1)).collect();
        store.commit(&[Tx {
            submissions: vec![(submission(u64::from(first), no), Some(leases))],
            ..Tx::new(no)
        }])?;
    }
    rate("append leases, 20,000 a submission", items, since);

    let ready: Vec<Vec<Outcome>> = (0..items)
        .step_by(PER_COMMIT as usize)
        .map(|first| (first..items.min(first + PER_COMMIT)).map(|ordinal| outcome(ordinal, 1)).collect())
        .collect();
    pure(&ready, items)?;
    let since = Instant::now();
    for outcomes in ready {
        store.commit(&[Tx { outcomes, ..Tx::new(no) }])?;
    }
    rate("append outcomes, 1,000 a commit, durable", items, since);

    let mut seen = 0;
    let since = Instant::now();
    store.scan_outcomes(no, &mut |outcomes| {
        seen += outcomes.len();
        ControlFlow::Continue(())
    })?;
    rate("scan outcomes", items, since);
    let since = Instant::now();
    store.scan_items(no, 0, &mut |chunk| {
        seen += chunk.items.len();
        ControlFlow::Continue(())
    })?;
    rate("scan items with keys", items, since);
    let since = Instant::now();
    let states = ItemStates::load(&store, no)?;
    rate("load: fold of kinds, leases and outcomes", items, since);
    println!("{seen} seen; {} items, {:?}", states.len(), states.misfits());
    let size = std::fs::metadata(dir.join("state.db"))?.len();
    println!("{} bytes of database, {} an item", size, size / u64::from(items));
    Ok(())
}

/// Packing, unpacking and folding alone.
fn pure(ready: &[Vec<Outcome>], items: u32) -> Result<(), Box<dyn Error>> {
    let since = Instant::now();
    let blobs: Vec<Vec<u8>> = ready.iter().map(|outcomes| pack_outcomes(outcomes)).collect();
    rate("pack outcomes", items, since);
    let mut buffer = Vec::new();
    let since = Instant::now();
    for blob in &blobs {
        unpack_outcomes_into(blob, &mut buffer)?;
    }
    rate("unpack outcomes", items, since);
    let mut states = ItemStates::new();
    for first in (0..items).step_by(4_096) {
        states.push(&chunk(first, 4_096.min(items - first)));
    }
    let leases: Vec<_> = (0..items).map(|ordinal| lease(ordinal, 1)).collect();
    let since = Instant::now();
    states.lease(&leases);
    rate("fold leases", items, since);
    let since = Instant::now();
    for of in ready.iter().flatten() {
        states.outcome(of);
    }
    rate("fold outcomes", items, since);
    Ok(())
}
