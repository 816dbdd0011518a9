//! A crash at any moment: the files are copied as they lie, the write-ahead log cut anywhere, and opened again.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bulkrate_store::conformance::{ledger, outcome};
use bulkrate_store::{LedgerKind, LedgerQuery, SqliteStore, Store, Tx, View};

use crate::{open, with_items};

const PER_COMMIT: u32 = 10;

fn commit(store: &mut impl Store, job: u32, n: u32) {
    let outcomes = (n * PER_COMMIT..(n + 1) * PER_COMMIT).map(|ordinal| outcome(ordinal, 1)).collect();
    let ledger = vec![ledger(job, LedgerKind::Settle, 1, 1)];
    store.commit(&[Tx { outcomes, ledger, ..Tx::new(job) }]).unwrap();
}

/// What a reopened copy holds: commits by their outcomes and by their money.
fn reopened(dir: &Path, job: u32) -> (u32, i64) {
    let store = SqliteStore::open(dir, "other", 0).unwrap();
    let mut next = 0;
    store
        .scan_outcomes(job, &mut |outcomes| {
            for of in outcomes {
                assert_eq!(of.ordinal, next, "a prefix, in order");
                next += 1;
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(next % PER_COMMIT, 0, "whole commits only");
    let money: i64 = store
        .ledger_totals(&LedgerQuery::default())
        .unwrap()
        .iter()
        .map(|row| row.sums.usd(LedgerKind::Settle).0)
        .sum();
    (next / PER_COMMIT, money)
}

#[test]
fn every_acknowledged_commit_survives_and_none_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, job) = with_items(open(&dir.path().join("live")), 1_000);
    let live = dir.path().join("live");
    for n in 0..60 {
        commit(&mut store, job, n);
        if n % 20 != 7 {
            continue;
        }
        let wal = fs::read(live.join("state.db-wal")).unwrap();
        // Whole, and cut at places that no frame knows.
        for (place, cut) in
            [wal.len(), wal.len() - 1, wal.len() - 8_000, wal.len() / 2, 4_321, 31, 0].into_iter().enumerate()
        {
            let copy = dir.path().join(format!("copy-{n}-{place}"));
            fs::create_dir(&copy).unwrap();
            fs::copy(live.join("state.db"), copy.join("state.db")).unwrap();
            fs::write(copy.join("state.db-wal"), &wal[..cut]).unwrap();
            let (commits, money) = reopened(&copy, job);
            assert_eq!(i64::from(commits), money, "outcomes and money of a commit live or die together");
            assert!(commits <= n + 1);
            if place == 0 {
                assert_eq!(commits, n + 1, "what was acknowledged is there");
            }
        }
    }
}
