#![allow(clippy::unwrap_used, reason = "tests")]
use bulkrate_core::failure::FailureClass;
use proptest::prelude::*;

use super::*;
use crate::conformance::{chunk, lease, outcome};

fn one() -> ItemStates {
    let mut states = ItemStates::new();
    states.push(&chunk(0, 1));
    states
}

fn ending(attempt: u8, via: Via, fate: Fate, class: Option<FailureClass>) -> Outcome {
    Outcome { via, fate, class, ..outcome(0, attempt) }
}

#[test]
fn every_end_has_its_state() {
    use FailureClass::{BudgetExhausted, CancelledByUser, Expired, Transient};
    for (leased, attempt, via, fate, class, want) in [
        (true, 1, Via::Batch, Fate::Final, None, State::Done),
        (true, 1, Via::Sync, Fate::Retry, Some(Transient), State::Retry),
        (true, 1, Via::Batch, Fate::Final, Some(Expired), State::Dead),
        (false, 0, Via::Prepare, Fate::Retry, Some(Transient), State::Queued), // no attempt, so nothing to try again
        (true, 1, Via::Flex, Fate::Final, Some(CancelledByUser), State::Cancelled),
        (true, 2, Via::Batch, Fate::Final, None, State::Leased), // another attempt's
        (true, 0, Via::Cache, Fate::Final, None, State::Leased), // leased: only its own attempt ends it
        (false, 1, Via::Batch, Fate::Final, None, State::Queued), // never leased
        (false, 0, Via::Cache, Fate::Final, None, State::Done),
        (false, 0, Via::Prepare, Fate::Final, Some(BudgetExhausted), State::Dead),
        (false, 0, Via::Prepare, Fate::Final, Some(CancelledByUser), State::Cancelled),
        (false, 0, Via::Prepare, Fate::Revive, None, State::Queued), // nothing to revive
    ] {
        let mut states = one();
        if leased {
            states.lease(&[lease(0, 1)]);
        }
        let before = states.get(0).unwrap().state;
        let applied = states.outcome(&ending(attempt, via, fate, class));
        let got = states.get(0).unwrap().state;
        assert_eq!(
            (got, applied == Applied::Landed),
            (want, want != before),
            "{leased} {attempt} {via} {fate} {class:?}"
        );
        assert_eq!(states.recount().of(want), 1);
    }
}

#[test]
fn attempts_count_by_lane_and_only_when_counted() {
    let mut states = one();
    for attempt in 1..=3 {
        states.lease(&[lease(0, attempt)]);
        states.outcome(&ending(attempt, Via::Batch, Fate::Retry, Some(FailureClass::Expired)));
    }
    states.lease(&[lease(0, 4)]);
    states.outcome(&Outcome {
        counted: false,
        ..ending(4, Via::Sync, Fate::Retry, Some(FailureClass::RateLimited))
    });
    for _ in 0..40 {
        states.lease(&[lease(0, 4)]);
        states.outcome(&ending(4, Via::Flex, Fate::Retry, Some(FailureClass::Transient)));
    }
    let item = states.get(0).unwrap();
    assert_eq!((item.state, item.batch_attempts, item.call_attempts), (State::Retry, 3, 15), "saturates");
    assert_eq!(states.misfits(), Misfits::default());
}

#[test]
fn an_item_that_goes_to_another_model_waits_and_counts_anew() {
    let mut states = one();
    states.lease(&[lease(0, 1)]);
    states.outcome(&ending(1, Via::Batch, Fate::Retry, Some(FailureClass::Expired)));
    states.lease(&[lease(0, 2)]);
    let up = ending(2, Via::Sync, Fate::Escalate, Some(FailureClass::NotAccepted));
    assert_eq!(states.outcome(&up), Applied::Landed);
    assert_eq!(states.get(0), Some(ItemState { state: State::Retry, batch_attempts: 0, call_attempts: 0 }));
    assert_eq!(states.outcome(&up), Applied::Late, "the same answer again");
    states.lease(&[lease(0, 3)]);
    states.outcome(&ending(3, Via::Batch, Fate::Final, None));
    assert_eq!(states.get(0), Some(ItemState { state: State::Done, batch_attempts: 1, call_attempts: 0 }));
}

#[test]
fn only_the_dead_are_revived_and_start_anew() {
    let revive = ending(0, Via::Prepare, Fate::Revive, None);
    let mut states = one();
    states.lease(&[lease(0, 1)]);
    states.outcome(&ending(1, Via::Batch, Fate::Final, Some(FailureClass::Truncated)));
    assert_eq!(states.outcome(&revive), Applied::Landed);
    assert_eq!(states.get(0), Some(ItemState { state: State::Queued, batch_attempts: 0, call_attempts: 0 }));
    states.lease(&[lease(0, 1)]);
    states.outcome(&ending(1, Via::Batch, Fate::Final, None));
    assert_eq!(states.outcome(&revive), Applied::Late);
    assert_eq!(states.get(0).unwrap().state, State::Done);
}

#[test]
fn a_late_answer_to_a_void_lease_fills_the_item_until_it_is_taken() {
    let mut states = one();
    states.lease(&[lease(0, 1)]);
    states.release(&[lease(0, 1)]);
    let mut taken = states.clone();
    assert_eq!(states.outcome(&outcome(0, 1)), Applied::Landed);
    taken.lease(&[lease(0, 2)]);
    assert_eq!(taken.outcome(&outcome(0, 1)), Applied::Late);
    taken.release(&[lease(0, 1)]);
    assert_eq!(taken.get(0).unwrap().state, State::Leased, "the void lease is not this one");
}

#[test]
fn what_does_not_fit_is_counted_and_changes_nothing() {
    let mut states = one();
    states.lease(&[lease(0, 1), lease(0, 2), lease(9, 1)]);
    states.outcome(&outcome(9, 1));
    states.outcome(&outcome(0, 2));
    states.release(&[lease(9, 1)]);
    assert_eq!(states.misfits(), Misfits { late: 1, leases: 1, unknown: 3 });
    assert_eq!(states.outcome(&outcome(0, 1)), Applied::Landed);
}

#[test]
fn queued_items_are_found_in_order_and_retries_are_not_taken_for_fresh() {
    let mut states = ItemStates::new();
    states.push(&chunk(0, 5));
    states.lease(&[lease(0, 1), lease(2, 1), lease(3, 1)]);
    states.outcome(&Outcome { fate: Fate::Retry, ..outcome(3, 1) });
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(ordinal) = states.next_queued(from) {
        found.push(ordinal);
        from = ordinal + 1;
    }
    assert_eq!((found, states.next_queued(99)), (vec![1, 4], None));
    assert!(states.is_waiting(3), "a retry waits, in a queue of its own");
    assert!(states.is_leased_for(0, 1) && !states.is_leased_for(0, 2) && !states.is_leased_for(3, 1));
    assert_eq!((states.counts().open(), states.counts().total()), (5, 5));
}

/// Something that may be fed.
fn step() -> impl Strategy<Value = (u8, u32, u8, usize, usize, bool)> {
    (0_u8..4, 0_u32..6, 0_u8..4, 0..Via::ALL.len(), 0..Fate::ALL.len(), any::<bool>())
}

fn feed(
    states: &mut ItemStates,
    (what, ordinal, attempt, via, fate, good): (u8, u32, u8, usize, usize, bool),
) {
    match what {
        0 => states.lease(&[lease(ordinal, attempt)]),
        1 => states.release(&[lease(ordinal, attempt)]),
        _ => {
            let class = (!good).then_some(FailureClass::Transient);
            states.outcome(&Outcome {
                via: Via::ALL[via],
                fate: Fate::ALL[fate],
                class,
                ..outcome(ordinal, attempt)
            });
        }
    }
}

proptest! {
    #[test]
    fn done_stays_done_and_counts_add_up(steps in prop::collection::vec(step(), 0..60)) {
        let mut states = ItemStates::new();
        states.push(&chunk(0, 5));
        let mut done = [false; 5];
        for step in steps {
            feed(&mut states, step);
            for (ordinal, item) in states.iter() {
                let was = &mut done[ordinal as usize];
                *was |= item.state == State::Done;
                prop_assert_eq!(*was, item.state == State::Done, "I6");
            }
            prop_assert_eq!(states.recount().total(), 5, "I1");
        }
    }

    #[test]
    fn an_outcome_applied_again_changes_nothing(steps in prop::collection::vec(step(), 0..40), last in step()) {
        let mut states = ItemStates::new();
        states.push(&chunk(0, 5));
        steps.into_iter().for_each(|step| feed(&mut states, step));
        let last = (2, last.1, last.2, last.3, last.4, last.5);
        feed(&mut states, last);
        let once = states.items.clone();
        feed(&mut states, last);
        prop_assert_eq!(once, states.items, "I11");
    }
}
