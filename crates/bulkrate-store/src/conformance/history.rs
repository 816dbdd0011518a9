//! Submissions, leases, outcomes: what happened, in order.

use std::ops::ControlFlow;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;

use super::{chunk, job, lease, outcome, sub, submission};
use crate::fold::{ItemStates, State};
use crate::row::{Fate, ItemRec, Lease, Outcome, Submission, SubmissionState, Tx, Via};
use crate::store::{LogChunk, Store, View};

/// The log, one line an event.
fn log(store: &dyn View, job: u32) -> Vec<String> {
    let mut lines = Vec::new();
    store
        .scan_log(job, &mut |chunk| {
            match chunk {
                LogChunk::Leases { sub, leases, .. } => {
                    lines.extend(
                        leases.iter().map(|lease| format!("{sub} {}.{}", lease.ordinal, lease.attempt)),
                    );
                }
                LogChunk::Outcomes(outcomes) => {
                    lines.extend(outcomes.iter().map(|of| format!("{}.{}", of.ordinal, of.attempt)));
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    lines
}

pub(super) fn the_log_keeps_the_order_of_commits(mut store: Box<dyn Store>) {
    let (a, b) = (store.create_job(&job("a")).unwrap(), store.create_job(&job("b")).unwrap());
    store
        .commit(&[
            Tx { items: vec![chunk(0, 4)], ..Tx::new(a) },
            Tx { items: vec![chunk(0, 4)], ..Tx::new(b) },
        ])
        .unwrap();
    let leased = |job, n, leases: Vec<Lease>| Tx {
        submissions: vec![(submission(n, job), Some(leases))],
        ..Tx::new(job)
    };
    let landed = |job, outcomes: Vec<Outcome>| Tx { outcomes, ..Tx::new(job) };
    // All in one commit: an outcome, its item leased again, the next outcome.
    let txs = [
        leased(a, 1, vec![lease(2, 1), lease(0, 1)]),
        landed(a, vec![outcome(0, 1)]),
        landed(b, vec![outcome(3, 0)]),
        landed(a, vec![outcome(2, 1)]),
        leased(b, 9, vec![lease(1, 1)]),
        leased(a, 2, vec![lease(2, 2)]),
        landed(a, vec![outcome(2, 2)]),
    ];
    store.commit(&txs).unwrap();
    store.commit(&[leased(a, 3, vec![lease(3, 1)])]).unwrap();
    let (one, two, three) = (sub(1), sub(2), sub(3));
    let want = [
        format!("{one} 2.1"),
        format!("{one} 0.1"),
        "0.1".into(),
        "2.1".into(),
        format!("{two} 2.2"),
        "2.2".into(),
        format!("{three} 3.1"),
    ];
    assert_eq!(log(&*store, a), want);
    assert_eq!(log(&*store, b), ["3.0".to_owned(), format!("{} 1.1", sub(9))]);
    let mut outcomes = Vec::new();
    store
        .scan_outcomes(a, &mut |chunk| {
            outcomes.extend_from_slice(chunk);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(outcomes, [outcome(0, 1), outcome(2, 1), outcome(2, 2)]);
    let mut pairs = Vec::new();
    store
        .scan_leases(a, &mut |submission, leases| {
            pairs.push((submission.sub, leases.len()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(pairs, [(one, 2), (two, 1), (three, 1)]);
}

pub(super) fn a_submission_is_replaced_not_doubled(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let leases = vec![lease(1, 1), lease(0, 3)];
    let first = submission(5, no);
    let bare = Submission::new(sub(4), no, Lane::Sync, SubmissionState::Call, 8);
    let tx = Tx {
        items: vec![chunk(0, 2)],
        submissions: vec![(first.clone(), Some(leases.clone())), (bare.clone(), None)],
        ..Tx::new(no)
    };
    store.commit(&[tx]).unwrap();
    assert_eq!(
        store.submissions(no).unwrap(),
        [first.clone(), bare.clone()],
        "by creation, every field kept"
    );
    // The same again, with the same leases or none.
    store.commit(&[Tx { submissions: vec![(first.clone(), Some(leases.clone()))], ..Tx::new(no) }]).unwrap();
    let later =
        Submission { state: SubmissionState::InDoubt, remote_batch: None, output_cursor: 77, ..first };
    store.commit(&[Tx { submissions: vec![(later.clone(), None)], ..Tx::new(no) }]).unwrap();
    assert_eq!(store.submissions(no).unwrap(), [later.clone(), bare]);
    let other = store.create_job(&job("b")).unwrap();
    let theirs = submission(6, other);
    store.commit(&[Tx { submissions: vec![(theirs.clone(), None)], ..Tx::new(other) }]).unwrap();
    assert_eq!(store.batches().unwrap(), [later.clone(), theirs], "of all jobs, and no calls");
    assert_eq!((store.submission(sub(5)).unwrap(), store.leases(sub(5)).unwrap()), (Some(later), leases));
    assert_eq!(
        (store.leases(sub(4)).unwrap(), store.leases(sub(6)).unwrap(), log(&*store, no).len()),
        (vec![], vec![], 2)
    );
    for state in SubmissionState::ALL {
        let row = Submission { state: *state, ..submission(5, no) };
        store.commit(&[Tx { submissions: vec![(row.clone(), None)], ..Tx::new(no) }]).unwrap();
        assert_eq!(store.submission(sub(5)).unwrap(), Some(row));
        let open = store.open_submissions(no).unwrap().len();
        assert_eq!(open == 1, *state != SubmissionState::Call && !state.is_terminal(), "{state}");
    }
}

pub(super) fn void_leases_are_queued_again(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let refused = Submission { state: SubmissionState::Refused, ..submission(1, no) };
    let txs = [
        Tx {
            items: vec![chunk(0, 3)],
            submissions: vec![(submission(1, no), Some(vec![lease(0, 1), lease(1, 1)]))],
            ..Tx::new(no)
        },
        Tx {
            submissions: vec![(refused, None), (submission(2, no), Some(vec![lease(1, 1)]))],
            ..Tx::new(no)
        },
    ];
    store.commit(&txs).unwrap();
    let states = ItemStates::load(&*store, no).unwrap();
    assert_eq!(
        states.iter().map(|(_, item)| item.state).collect::<Vec<_>>(),
        [State::Queued, State::Leased, State::Queued]
    );
    assert_eq!(states.misfits(), crate::fold::Misfits::default());
}

pub(super) fn the_fold_is_the_same_live_and_loaded(mut store: Box<dyn Store>) {
    let no = store.create_job(&job("a")).unwrap();
    let mut items = chunk(0, 6);
    items.items[4] = ItemRec::Follower { leader: 0 };
    items.items[5] = ItemRec::Invalid;
    let fail = |class, fate, of: Outcome| Outcome { class: Some(class), fate, ..of };
    let leases = vec![lease(0, 1), lease(1, 1), lease(2, 1)];
    let landed = vec![
        outcome(0, 1),
        fail(FailureClass::Expired, Fate::Retry, outcome(1, 1)),
        fail(FailureClass::ContentPolicy, Fate::Final, outcome(2, 1)),
        Outcome { via: Via::Cache, ..outcome(3, 0) },
        Outcome { via: Via::Prepare, ..fail(FailureClass::InvalidInput, Fate::Final, outcome(5, 0)) },
        outcome(0, 1),                                             // a line twice
        fail(FailureClass::Transient, Fate::Final, outcome(0, 2)), // a late twin
    ];
    let again = vec![lease(1, 2)];
    let mut live = ItemStates::new();
    live.push(&items);
    live.lease(&leases);
    for of in &landed {
        live.outcome(of);
    }
    live.lease(&again);
    let txs = [
        Tx { items: vec![items], submissions: vec![(submission(1, no), Some(leases))], ..Tx::new(no) },
        Tx { outcomes: landed, ..Tx::new(no) },
        Tx { submissions: vec![(submission(2, no), Some(again))], ..Tx::new(no) },
    ];
    store.commit(&txs).unwrap();
    let loaded = ItemStates::load(&*store, no).unwrap();
    assert_eq!(loaded, live);
    let states: Vec<State> = loaded.iter().map(|(_, item)| item.state).collect();
    assert_eq!(
        states,
        [State::Done, State::Leased, State::Dead, State::Done, State::Follower, State::Invalid]
    );
    let resolved = loaded.resolved(&*store, no).unwrap();
    assert_eq!(
        (resolved.of(State::Follower), resolved.of(State::Done), resolved.total()),
        (0, 3, 6),
        "a follower counts as its leader"
    );
    assert_eq!(
        (loaded.misfits().late, loaded.get(1).unwrap().batch_attempts, loaded.recount().total()),
        (2, 1, 6)
    );
}
