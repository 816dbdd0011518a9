//! Jobs, items, orders, and all-or-nothing.

#[cfg(unix)]
use std::fs::File;
use std::ops::ControlFlow;
#[cfg(unix)]
use std::sync::Arc;

use bulkrate_core::money::UsdNanos;

use super::{chunk, job, lease, ledger, outcome, sub, submission};
use crate::error::StoreError;
use crate::row::{ItemChunk, ItemKind, ItemRec, JobState, LedgerKind, NewOrder, Tx};
use crate::store::{Store, View};
use crate::totals::LedgerQuery;

pub(super) fn jobs_are_numbered_and_found(mut store: Box<dyn Store>) {
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    assert_eq!(
        store.jobs().unwrap().iter().map(|row| (row.no, row.id.as_str())).collect::<Vec<_>>(),
        [(a, "a"), (b, "b")]
    );
    let row = store.job(b).unwrap().unwrap();
    assert_eq!(store.job_by_id("b").unwrap().unwrap(), row);
    assert_eq!(
        (row.state, row.items, row.updated_at_ms, row.name.as_str()),
        (JobState::Preparing, 0, 1_000, "b's name")
    );
    assert!(store.job(99).unwrap().is_none() && store.job_by_id("c").unwrap().is_none());
    assert!(matches!(store.create_job(&job("a")), Err(StoreError::Rejected { .. })), "an id is given once");
    assert!(!store.inst().is_empty() && store.epoch() >= 1);
    store.set_meta("k", "1").unwrap();
    store.set_meta("k", "2").unwrap();
    assert_eq!((store.meta("k").unwrap().as_deref(), store.meta("none").unwrap()), (Some("2"), None));
    // A number is not given again, as the ledger outlives its job.
    store.delete_job(b).unwrap();
    assert!(store.create_job(&job("c")).unwrap() > b);
}

fn all_items(store: &dyn View, job: u32, from: u32) -> Vec<ItemChunk> {
    let mut chunks = Vec::new();
    store
        .scan_items(job, from, &mut |chunk| {
            chunks.push(chunk.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    chunks
}

pub(super) fn items_come_back_in_order(mut store: Box<dyn Store>) {
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    let mut second = chunk(3, 4);
    second.items[1] = ItemRec::Follower { leader: 0 };
    second.items[2] = ItemRec::Invalid;
    let txs = [
        Tx { items: vec![chunk(0, 3)], ..Tx::new(a) },
        Tx { items: vec![chunk(0, 2)], ..Tx::new(b) },
        Tx {
            items: vec![second.clone(), chunk(7, 1)],
            tag_sets: vec![(2, "{}".into()), (1, r#"{"k":"v"}"#.into())],
            ..Tx::new(a)
        },
    ];
    store.commit(&txs).unwrap();
    assert_eq!(all_items(&*store, a, 0), [chunk(0, 3), second.clone(), chunk(7, 1)]);
    assert_eq!(all_items(&*store, a, 6), [second.clone(), chunk(7, 1)], "from the chunk that holds the item");
    assert_eq!(all_items(&*store, a, 8), [], "after the last");
    assert_eq!(store.item_chunk_of(a, 5).unwrap(), Some(second.clone()));
    assert_eq!(store.item_chunk_of(a, 8).unwrap(), None);
    assert_eq!(second.get(6).unwrap().0, 300 + 100, "two items of the chunk have no bytes");
    assert_eq!((store.job(a).unwrap().unwrap().items, store.job(b).unwrap().unwrap().items), (8, 2));
    assert_eq!(store.tag_sets(a).unwrap(), [(1, r#"{"k":"v"}"#.to_owned()), (2, "{}".to_owned())]);
    let mut kinds = Vec::new();
    store
        .scan_kinds(a, &mut |first, chunk| {
            kinds.push((first, chunk.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    let leader = ItemKind::Leader;
    assert_eq!(
        kinds,
        [
            (0, vec![leader; 3]),
            (3, vec![leader, ItemKind::Follower, ItemKind::Invalid, leader]),
            (7, vec![leader])
        ]
    );
    let mut seen = 0;
    store
        .scan_items(a, 0, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1, "a break ends the scan");
}

pub(super) fn items_follow_on_the_last_chunk(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    store.commit(&[Tx { items: vec![chunk(0, 3)], ..Tx::new(no) }]).unwrap();
    let mut forward = chunk(3, 2);
    forward.items[0] = ItemRec::Follower { leader: 3 };
    for (why, items) in [
        ("again", vec![chunk(0, 3)]),
        ("a gap", vec![chunk(4, 1)]),
        ("a gap inside", vec![chunk(3, 1), chunk(5, 1)]),
        ("empty", vec![chunk(3, 0)]),
        ("too many", vec![chunk(3, 4_097)]),
        ("follows itself", vec![forward]),
    ] {
        let refused = store.commit(&[Tx { items, ..Tx::new(no) }]);
        assert!(matches!(refused, Err(StoreError::Rejected { .. })), "{why}: {refused:?}");
        assert_eq!(store.job(no).unwrap().unwrap().items, 3, "{why}");
    }
    store.commit(&[Tx { items: vec![chunk(3, 4_096)], ..Tx::new(no) }]).unwrap();
}

pub(super) fn a_failing_tx_leaves_nothing(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    store.commit(&[Tx { items: vec![chunk(0, 3)], ..Tx::new(no) }]).unwrap();
    let good = Tx {
        items: vec![chunk(3, 2)],
        tag_sets: vec![(1, "{}".into())],
        outcomes: vec![outcome(0, 1)],
        submissions: vec![(submission(1, no), Some(vec![lease(1, 1)]))],
        ledger: vec![ledger(no, LedgerKind::Settle, 5, 5)],
        job_state: Some(JobState::Running),
        ..Tx::new(no)
    };
    for (why, bad) in [
        ("no such job", Tx::new(no + 7)),
        ("an outcome beyond the items", Tx { outcomes: vec![outcome(5, 1)], ..Tx::new(no) }),
        (
            "a lease beyond the items",
            Tx { submissions: vec![(submission(2, no), Some(vec![lease(5, 1)]))], ..Tx::new(no) },
        ),
        (
            "a submission of another job",
            Tx { submissions: vec![(submission(2, no + 1), None)], ..Tx::new(no) },
        ),
        (
            "other leases for a known submission",
            Tx { submissions: vec![(submission(1, no), Some(vec![lease(2, 1)]))], ..Tx::new(no) },
        ),
        (
            "money of another job",
            Tx { ledger: vec![ledger(no + 1, LedgerKind::Settle, 5, 5)], ..Tx::new(no) },
        ),
    ] {
        let refused = store.commit(&[good.clone(), bad]);
        assert!(
            matches!(refused, Err(StoreError::Rejected { .. } | StoreError::NoSuchJob { .. })),
            "{why}: {refused:?}"
        );
        let row = store.job(no).unwrap().unwrap();
        assert_eq!((row.items, row.state), (3, JobState::Preparing), "{why}");
        assert_eq!(all_items(&*store, no, 0), [chunk(0, 3)], "{why}");
        assert!(
            store.submission(sub(1)).unwrap().is_none() && store.leases(sub(1)).unwrap().is_empty(),
            "{why}"
        );
        store.scan_log(no, &mut |chunk| panic!("{why}: {chunk:?}")).unwrap();
        assert_eq!(
            (store.ledger_totals(&LedgerQuery::default()).unwrap(), store.tag_sets(no).unwrap()),
            (vec![], vec![]),
            "{why}"
        );
    }
    store.commit(&[good]).unwrap();
    assert_eq!(store.spent_since(0).unwrap().settled, UsdNanos(5), "the same transaction alone is taken");
}

pub(super) fn job_fields_change_only_when_given(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let tx = Tx {
        job_state: Some(JobState::Done),
        spec: Some("s2".into()),
        checkpoint: Some("c".into()),
        report: Some("r".into()),
        at_ms: Some(9),
        ..Tx::new(no)
    };
    store.commit(&[tx, Tx::new(no), Tx { items: vec![chunk(0, 1)], ..Tx::new(no) }]).unwrap();
    let row = store.job(no).unwrap().unwrap();
    assert_eq!((row.state, row.spec.as_str(), row.updated_at_ms, row.items), (JobState::Done, "s2", 9, 1));
    assert_eq!((row.checkpoint.as_deref(), row.report.as_deref()), (Some("c"), Some("r")));
}

pub(super) fn orders_wait_until_done(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let order = |verb: &str| NewOrder { job: no, verb: verb.to_owned(), payload: "{}".to_owned(), at_ms: 3 };
    assert!(matches!(
        store.put_order(&NewOrder { job: no + 1, ..order("cancel") }),
        Err(StoreError::NoSuchJob { .. })
    ));
    let first = store.put_order(&order("cancel")).unwrap();
    let second = store.put_order(&order("retry")).unwrap();
    let waiting = |store: &dyn Store| {
        store.orders().unwrap().into_iter().map(|order| (order.no, order.order.verb)).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&*store), [(first, "cancel".to_owned()), (second, "retry".to_owned())]);
    store.commit(&[Tx { orders_done: vec![first], ..Tx::new(no) }]).unwrap();
    assert_eq!(
        waiting(&*store),
        [(second, "retry".to_owned())],
        "removed with the commit that carries it out"
    );
    assert_eq!(store.orders().unwrap()[0].order, order("retry"));
    store.commit(&[Tx { orders_done: vec![second], ..Tx::new(no) }]).unwrap();
    assert!(store.orders().unwrap().is_empty());
    assert!(store.put_order(&order("cancel")).unwrap() > second, "a number is given once");
}

pub(super) fn a_removed_job_leaves_only_its_ledger(mut store: Box<dyn Store>) {
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    for (no, n) in [(a, 1), (b, 2)] {
        store
            .put_order(&NewOrder { job: no, verb: "cancel".into(), payload: String::new(), at_ms: 1 })
            .unwrap();
        let tx = Tx {
            items: vec![chunk(0, 3)],
            tag_sets: vec![(1, "{}".into())],
            submissions: vec![(submission(n, no), Some(vec![lease(0, 1)]))],
            ledger: vec![ledger(no, LedgerKind::Reserve, 5, 500), ledger(no, LedgerKind::Settle, 5, 70)],
            ..Tx::new(no)
        };
        store.commit(&[tx, Tx { outcomes: vec![outcome(0, 1)], ..Tx::new(no) }]).unwrap();
    }
    store.delete_job(a).unwrap();
    assert!(matches!(store.delete_job(a), Err(StoreError::NoSuchJob { .. })));
    assert!(store.job(a).unwrap().is_none() && store.submission(sub(1)).unwrap().is_none());
    assert!(all_items(&*store, a, 0).is_empty() && store.tag_sets(a).unwrap().is_empty());
    store.scan_log(a, &mut |chunk| panic!("left over: {chunk:?}")).unwrap();
    assert_eq!(store.orders().unwrap().len(), 1);
    let spent = store.spent_since(0).unwrap();
    assert_eq!(
        (spent.settled, spent.reserved),
        (UsdNanos(140), UsdNanos(500)),
        "what was paid still counts, what was set aside does not"
    );
    assert_eq!(
        (all_items(&*store, b, 0).len(), store.leases(sub(2)).unwrap().len()),
        (1, 1),
        "the other job is whole"
    );
    assert!(matches!(store.commit(&[Tx::new(a)]), Err(StoreError::NoSuchJob { .. })));
}

/// A socket cannot be synced; so `fdatasync` fails without a broken disk.
#[cfg(unix)]
pub(super) fn a_file_that_cannot_be_synced_stops_the_commit(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = Arc::new(File::from(std::os::fd::OwnedFd::from(socket)));
    let tx = Tx { sync_first: vec![Arc::clone(&file), file], items: vec![chunk(0, 1)], ..Tx::new(no) };
    assert!(matches!(store.commit(&[tx]), Err(StoreError::Sync { .. })));
    assert_eq!(store.job(no).unwrap().unwrap().items, 0);
}

#[cfg(not(unix))]
pub(super) fn a_file_that_cannot_be_synced_stops_the_commit(_: Box<dyn Store>) {}
