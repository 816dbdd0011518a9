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
fn f75_every_acknowledged_commit_survives_and_none_is_torn() {
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

/// Bytes of a write-ahead log's header, and of a frame's header before its page.
const WAL_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// Power goes at every length that a frame ends at, and in the middle of each frame: half of its page is old.
#[test]
fn f75_a_tail_that_was_not_synced_or_a_torn_page_ends_at_a_whole_commit() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let (mut store, job) = with_items(open(&live), 200);
    let mut lengths = Vec::new();
    for n in 0..12 {
        commit(&mut store, job, n);
        lengths.push(fs::metadata(live.join("state.db-wal")).unwrap().len());
    }
    let (db, wal) = (fs::read(live.join("state.db")).unwrap(), fs::read(live.join("state.db-wal")).unwrap());
    let page = u32::from_be_bytes([wal[8], wal[9], wal[10], wal[11]]) as usize;
    let mut seen = std::collections::BTreeSet::new();
    for (place, start) in (WAL_HEAD..wal.len()).step_by(FRAME_HEAD + page).enumerate() {
        let mut torn = wal[..wal.len().min(start + FRAME_HEAD + page)].to_vec();
        let half = (start + FRAME_HEAD + page / 2).min(torn.len());
        torn[half..].fill(0xA5);
        for (kind, wal) in [("cut", &wal[..start]), ("torn", &torn[..])] {
            let copy = dir.path().join(format!("{kind}-{place}"));
            fs::create_dir(&copy).unwrap();
            fs::write(copy.join("state.db"), &db).unwrap();
            fs::write(copy.join("state.db-wal"), wal).unwrap();
            // The rows of the job may themselves be lost with the tail; what is there is whole.
            let Ok(store) = SqliteStore::open(&copy, "other", 0) else {
                panic!("{kind} {place}: not opened")
            };
            let known = store.jobs().unwrap().iter().any(|row| row.no == job);
            drop(store);
            if known {
                let (commits, money) = reopened(&copy, job);
                assert_eq!(i64::from(commits), money, "{kind} {place}");
                // What was synced when this many commits were acknowledged is there.
                let synced = lengths.iter().filter(|length| **length <= start as u64).count();
                assert!(commits as usize >= synced, "{kind} {place}: {commits} of {synced}");
                seen.insert(commits);
            }
        }
    }
    assert!(seen.len() > 3, "the cuts met {seen:?}");
}
