//! Opening, sharing and refusing a state directory.

use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::thread;

use bulkrate_store::conformance::{self, chunk, job, outcome};
use bulkrate_store::fold::ItemStates;
use bulkrate_store::{
    LedgerKind, MemStore, NewOrder, SCHEMA_VERSION, SqliteStore, Store, StoreError, Tx, View,
};
use rusqlite::Connection;

use crate::{open, with_items};

#[test]
fn memory_conforms() {
    conformance::run(|| Box::new(MemStore::new("inst-1")));
}

#[test]
fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run(|| {
        count.set(count.get() + 1);
        Box::new(open(&dir.path().join(count.get().to_string())))
    });
}

#[test]
fn a_second_engine_is_told_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = SqliteStore::open(dir.path(), "inst-2", 5).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(&error, StoreError::Locked { pid: Some(holder), since_ms: Some(1_700_000_000_000), .. } if *holder == pid),
        "{error:?}"
    );
    assert!(error.to_string().contains(&pid.to_string()), "{error}");
    drop(first);
    let again = SqliteStore::open(dir.path(), "inst-2", 5).unwrap();
    assert_eq!((again.inst(), again.epoch()), ("inst-1", 2), "the id stays, the epoch moves");
}

#[test]
fn only_the_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/state");
    let (store, _) = with_items(open(&state), 10);
    assert_eq!(fs::read_to_string(state.join(".gitignore")).unwrap(), "*\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        for file in ["engine.lock", "state.db", "state.db-wal", "state.db-shm"] {
            assert_eq!(mode(&state.join(file)), 0o600, "{file}");
        }
    }
    drop(store);
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("state.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let before = fs::read(&path).unwrap();
    for error in [
        SqliteStore::open(dir.path(), "x", 0).unwrap_err(),
        SqliteStore::open_reader(dir.path()).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Newer { found, known, .. } if found == known + 1), "{error:?}");
        assert_eq!(error.code(), "state-newer");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_a_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(SqliteStore::open_reader(dir.path()), Err(StoreError::Missing { .. })));
    let path = dir.path().join("state.db");
    fs::write(&path, "these are not the pages you are looking for, however many of them there are").unwrap();
    assert!(matches!(SqliteStore::open(dir.path(), "x", 0), Err(StoreError::Corrupt { .. })));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(SqliteStore::open(dir.path(), "x", 0), Err(StoreError::Corrupt { .. })));
}

#[test]
fn damage_names_its_table_and_row() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, no) = with_items(open(dir.path()), 3);
    store.commit(&[Tx { outcomes: vec![outcome(0, 1)], ..Tx::new(no) }]).unwrap();
    drop(store);
    let conn = Connection::open(dir.path().join("state.db")).unwrap();
    conn.execute_batch("UPDATE outcome SET body = substr(body, 1, 9); UPDATE item_chunk SET items = x'0102'")
        .unwrap();
    let reader = SqliteStore::open_reader(dir.path()).unwrap();
    let read = reader.scan_outcomes(no, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(&read, Err(StoreError::Corrupt { table: "outcome", row: 1, .. })), "{read:?}");
    let read = reader.item_chunk_of(no, 0);
    assert!(matches!(&read, Err(StoreError::Corrupt { table: "item_chunk", row: 1, .. })), "{read:?}");
    assert!(matches!(ItemStates::load(&reader, no), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_reader_sees_whole_commits_while_an_engine_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, no) = with_items(open(dir.path()), 2_000);
    let path = dir.path().to_owned();
    let (stop, stopped) = channel::<()>();
    let reading = thread::spawn(move || {
        let reader = SqliteStore::open_reader(&path).unwrap();
        let mut looks = 0;
        while looks < 5 || stopped.try_recv().is_err() {
            looks += 1;
            let mut landed = 0;
            reader
                .scan_outcomes(no, &mut |outcomes| {
                    assert_eq!(outcomes.len(), 10, "a commit is seen whole");
                    landed += 10;
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert!(reader.spent_since(0).unwrap().settled.0 >= landed, "read later, so at least as much");
            if looks == 3 {
                let order = NewOrder { job: no, verb: "cancel".into(), payload: String::new(), at_ms: 1 };
                reader.put_order(&order).unwrap();
            }
        }
        looks
    });
    for n in 0..100 {
        let outcomes = (n * 10..n * 10 + 10).map(|ordinal| outcome(ordinal, 1)).collect();
        let tx =
            Tx { outcomes, ledger: vec![conformance::ledger(no, LedgerKind::Settle, 1, 10)], ..Tx::new(no) };
        store.commit(&[tx]).unwrap();
    }
    stop.send(()).unwrap();
    assert!(reading.join().unwrap() >= 5);
    assert_eq!(store.orders().unwrap().len(), 1, "left by another connection while this one wrote");
}

#[test]
fn a_reader_cannot_be_mistaken_for_an_engine() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let no = store.create_job(&job("a")).unwrap();
    store.commit(&[Tx { items: vec![chunk(0, 5)], ..Tx::new(no) }]).unwrap();
    // Readers come and go without disturbing the lock or the epoch.
    for _ in 0..3 {
        let reader = SqliteStore::open_reader(dir.path()).unwrap();
        assert_eq!((reader.epoch(), reader.jobs().unwrap()[0].items), (1, 5));
    }
    assert!(matches!(SqliteStore::open(dir.path(), "x", 0), Err(StoreError::Locked { .. })));
}

#[test]
fn everything_survives_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, no) = with_items(open(dir.path()), 2_500);
    let leases: Vec<_> = (0..100).map(|ordinal| conformance::lease(ordinal, 1)).collect();
    store
        .commit(&[Tx { submissions: vec![(conformance::submission(1, no), Some(leases))], ..Tx::new(no) }])
        .unwrap();
    store
        .commit(&[Tx { outcomes: (0..50).map(|ordinal| outcome(ordinal, 1)).collect(), ..Tx::new(no) }])
        .unwrap();
    let before = ItemStates::load(&store, no).unwrap();
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(ItemStates::load(&store, no).unwrap(), before);
    // What is appended now comes after what was there.
    store
        .commit(&[Tx { outcomes: vec![outcome(77, 1)], items: vec![chunk(2_500, 1)], ..Tx::new(no) }])
        .unwrap();
    let after = ItemStates::load(&store, no).unwrap();
    assert_eq!((after.len(), after.counts().of(bulkrate_store::fold::State::Done)), (2_501, 51));
}

#[test]
fn an_edited_page_or_index_is_seen_where_every_row_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let id = "an-id-that-is-nowhere-else";
    store.create_job(&job(id)).unwrap();
    assert_eq!(store.breakage().unwrap(), [""; 0]);
    drop(store);
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let places: Vec<usize> =
        (0..whole.len() - id.len()).filter(|at| whole[*at..].starts_with(id.as_bytes())).collect();
    let mut seen = 0;
    for at in places {
        let mut edited = whole.clone();
        edited[at] ^= 1; // the name begins with the id as well, and no index has it
        fs::write(&path, edited).unwrap();
        let reader = SqliteStore::open_reader(dir.path()).unwrap();
        let jobs = reader.jobs().unwrap();
        let named = jobs[0].name.starts_with(id);
        assert_eq!(reader.breakage().unwrap().is_empty(), !named, "byte {at}");
        seen += u32::from(named);
    }
    assert_eq!(seen, 2, "the row and the index");
}
