//! The ledger and its sums.

use std::ops::ControlFlow;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;

use super::{job, ledger, sub};
use crate::error::StoreError;
use crate::row::{LedgerEntry, LedgerKind, Tx};
use crate::store::Store;
use crate::totals::{By, LedgerQuery, Totals, value};

const DAY: i64 = 86_400_000;

/// Entries that differ in every field.
fn entries(job: u32) -> Vec<LedgerEntry> {
    (0_u32..200)
        .map(|n| {
            let kind = LedgerKind::ALL[n as usize % LedgerKind::ALL.len()];
            LedgerEntry {
                lane: [None, Some(Lane::Batch), Some(Lane::Sync)][n as usize % 3],
                model: format!("model-{}", n % 4),
                tags: n % 5,
                lever: (kind == LedgerKind::Saving).then(|| ["dedup", "cache"][n as usize % 2].to_owned()),
                sub: (n % 2 == 0).then(|| sub(u64::from(n))),
                note: (n % 7 == 0).then(|| format!("W{n}")),
                items: n,
                ..ledger(job, kind, i64::from(n) * DAY / 50, 1 << (n % 40))
            }
        })
        .collect()
}

pub(super) fn totals_are_the_sums_of_rows(mut store: Box<dyn Store>) {
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    let all: Vec<LedgerEntry> = entries(a).into_iter().chain(entries(b)).collect();
    let of = |no| Tx { ledger: entries(no), ..Tx::new(no) };
    store.commit(&[of(a), of(b)]).unwrap();
    let whole = LedgerQuery::default();
    let queries = [
        whole.clone(),
        LedgerQuery::of_job(b),
        LedgerQuery { kind: Some(LedgerKind::Saving), ..whole.clone() },
        LedgerQuery { lane: Some(Lane::Sync), model: Some("model-2".into()), ..whole.clone() },
        LedgerQuery { from_ms: Some(DAY), until_ms: Some(2 * DAY), ..whole.clone() },
        LedgerQuery { job: Some(99), ..whole },
    ];
    let by = [By::Job, By::Day, By::Lane, By::Provider, By::Model, By::TagSet, By::Lever, By::Kind];
    let groups: Vec<Vec<By>> =
        by.iter().map(|by| vec![*by]).chain([vec![], by.to_vec(), vec![By::Model, By::Lane]]).collect();
    for query in queries {
        let matching: Vec<&LedgerEntry> = all.iter().filter(|entry| query.matches(entry)).collect();
        let mut scanned = Vec::new();
        store
            .ledger_scan(&query, &mut |entry| {
                scanned.push(entry.clone());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(scanned.iter().collect::<Vec<_>>(), matching, "{query:?}");
        for by in &groups {
            let mut want = Totals::default();
            for entry in &matching {
                let group = by.iter().map(|by| value(*by, entry)).collect();
                want.add(group, entry.kind, entry.usd, u64::from(entry.items)).unwrap();
            }
            assert_eq!(
                store.ledger_totals(&query.clone().by(by)).unwrap(),
                want.into_rows(),
                "{query:?} by {by:?}"
            );
        }
    }
    let huge = ledger(a, LedgerKind::Settle, 0, i64::MAX);
    store.commit(&[Tx { ledger: vec![huge.clone(), huge], ..Tx::new(a) }]).unwrap();
    let overflow = store.ledger_totals(&LedgerQuery::default());
    assert!(matches!(overflow, Err(StoreError::Overflow)), "an error, never a wrong sum: {overflow:?}");
}

pub(super) fn caps_count_what_is_open(mut store: Box<dyn Store>) {
    use LedgerKind::{Doubt, DoubtCleared, Duplicate, Release, Reserve, Saving, Settle};
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    let yesterday = vec![
        ledger(a, Reserve, 1, 1_000),
        ledger(a, Settle, 2, 300),
        ledger(a, Release, 2, 400),
        ledger(a, Doubt, 3, 50),
    ];
    let today = vec![
        ledger(b, Reserve, DAY, 80),
        ledger(b, Settle, DAY + 1, 7),
        ledger(b, Duplicate, DAY + 1, 2),
        ledger(b, Saving, DAY + 1, 9_999),
        ledger(b, Release, DAY + 1, 20),
    ];
    store.commit(&[Tx { ledger: yesterday, ..Tx::new(a) }, Tx { ledger: today, ..Tx::new(b) }]).unwrap();
    let spent = |store: &dyn Store, from| {
        let spent = store.spent_since(from).unwrap();
        (spent.settled.0, spent.doubt.0, spent.reserved.0)
    };
    assert_eq!(spent(&*store, 0), (309, 50, 660));
    assert_eq!(spent(&*store, DAY), (9, 0, 660), "what is reserved now counts today");
    store.commit(&[Tx { ledger: vec![ledger(a, DoubtCleared, DAY + 5, 50)], ..Tx::new(a) }]).unwrap();
    assert_eq!(spent(&*store, 0), (309, 0, 660));
    assert_eq!(spent(&*store, DAY), (9, 0, 660), "clearing yesterday's doubt gives nothing back today");
    assert_eq!(store.spent_since(DAY).unwrap().total(), UsdNanos(669));
}
