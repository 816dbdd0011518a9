//! The writer's thread: order, company, and stopping for good.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use bulkrate_store::conformance::{job, lease, outcome, submission};
use bulkrate_store::{MemStore, SqliteStore, Store, StoreError, Tx, Urgency, View, Writer};

use crate::{open, with_items};

fn landing(job: u32, ordinal: u32) -> Tx {
    Tx { outcomes: vec![outcome(ordinal, 1)], ..Tx::new(job) }
}

fn landed(store: &dyn View, job: u32) -> Vec<u32> {
    let mut ordinals = Vec::new();
    store
        .scan_outcomes(job, &mut |outcomes| {
            ordinals.extend(outcomes.iter().map(|of| of.ordinal));
            ControlFlow::Continue(())
        })
        .unwrap();
    ordinals
}

#[test]
fn transactions_commit_and_answer_in_the_order_of_sending() {
    let (store, no) = with_items(MemStore::new("i"), 5_000);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    for ordinal in 0..3_000 {
        let urgency = [Urgency::Landing, Urgency::Now][ordinal as usize % 2];
        let answers = Arc::clone(&answers);
        writer.send(
            landing(no, ordinal),
            urgency,
            Box::new(move |result| {
                result.unwrap();
                answers.lock().unwrap().push(ordinal);
            }),
        );
    }
    let stored = writer.with(move |store| Ok(landed(store, no))).unwrap();
    assert_eq!(stored, (0..3_000).collect::<Vec<_>>(), "a query runs after all that was sent before it");
    assert_eq!(*answers.lock().unwrap(), stored);
}

#[test]
fn transactions_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, no) = with_items(open(dir.path()), 1_000);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    for ordinal in 0..500 {
        writer.send(landing(no, ordinal), Urgency::Landing, Box::new(|result| result.unwrap()));
    }
    let rows = writer
        .with(move |store| {
            let mut rows = 0;
            store.scan_outcomes(no, &mut |_| {
                rows += 1;
                ControlFlow::Continue(())
            })?;
            Ok(rows)
        })
        .unwrap();
    assert!(rows < 250, "{rows} rows for 500 transactions");
}

#[test]
fn a_full_gathering_does_not_wait() {
    let (store, no) = with_items(MemStore::new("i"), 1_000);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    let (answer, wait) = channel();
    // No later message and no query: only the count of leases can end the gathering before its time is up.
    let leases = (0..256).map(|ordinal| lease(ordinal, 1)).collect();
    let tx = Tx { submissions: vec![(submission(1, no), Some(leases))], ..Tx::new(no) };
    writer.send(tx, Urgency::Landing, Box::new(move |result| answer.send(result.is_ok()).unwrap()));
    assert_eq!(wait.recv(), Ok(true));
    let alone = writer.clone();
    drop(writer);
    alone.commit(landing(no, 0)).unwrap();
}

#[test]
fn after_one_failure_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, no) = with_items(open(dir.path()), 10);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    writer.commit(landing(no, 1)).unwrap();
    let first = writer.commit(landing(no, 99)).unwrap_err();
    assert!(matches!(*first, StoreError::Rejected { .. }), "{first:?}");
    for _ in 0..2 {
        let later = writer.commit(landing(no, 2)).unwrap_err();
        assert!(
            matches!(&*later, StoreError::Halted { first } if matches!(**first, StoreError::Rejected { .. })),
            "{later:?}"
        );
        assert_eq!(later.code(), "state-halted");
    }
    assert_eq!(writer.with(move |store| Ok(landed(store, no))).unwrap(), [1], "reading still works");
    drop(writer);
    assert_eq!(landed(&SqliteStore::open_reader(dir.path()).unwrap(), no), [1]);
}

#[cfg(unix)]
#[test]
fn a_query_on_a_halted_store_says_what_went_wrong_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, no) = with_items(open(dir.path()), 1_000);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    // A pipe cannot be synced.
    let (_reader, pipe) = std::io::pipe().unwrap();
    let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(pipe));
    let tx = Tx { sync_first: vec![Arc::new(pipe)], ..landing(no, 1) };
    let first = writer.commit(tx).unwrap_err();
    assert_eq!(first.code(), "state-io");
    let later = writer.with(move |store| store.delete_job(no)).unwrap_err();
    assert!(matches!(&*later, StoreError::Halted { first: told } if told.code() == "state-io"), "{later:?}");
    assert!(later.to_string().contains(&first.to_string()), "{later}");
}

#[test]
fn the_last_handle_drains_and_joins() {
    let dir = tempfile::tempdir().unwrap();
    let (store, no) = with_items(open(dir.path()), 1_000);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    let other = writer.clone();
    for ordinal in 0..300 {
        other.send(landing(no, ordinal), Urgency::Landing, Box::new(|_| ()));
    }
    drop(writer);
    drop(other);
    // Joined: the lock is free, and everything is there.
    let store = open(dir.path());
    assert_eq!(landed(&store, no).len(), 300);
}

#[test]
fn a_panic_in_a_query_stops_writing_and_hangs_nobody() {
    let (store, no) = with_items(MemStore::new("i"), 10);
    let writer = Writer::spawn(Box::new(store)).unwrap();
    let answer: Result<(), _> = writer.with(|_| panic!("planted"));
    assert!(matches!(*answer.unwrap_err(), StoreError::Stopped));
    assert_eq!(writer.commit(landing(no, 1)).unwrap_err().code(), "state-halted");
    assert_eq!(writer.with(move |store| Ok(store.jobs()?.len())).unwrap(), 1);
}

#[test]
fn a_job_can_be_made_through_the_writer() {
    let writer = Writer::spawn(Box::new(MemStore::new("i"))).unwrap();
    let no = writer.with(|store: &mut dyn Store| store.create_job(&job("a"))).unwrap();
    assert_eq!(no, 1);
    let twice = writer.with(|store: &mut dyn Store| store.create_job(&job("a")));
    assert!(matches!(*twice.unwrap_err(), StoreError::Rejected { .. }));
}
