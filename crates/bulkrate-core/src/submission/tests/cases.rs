//! Every arrow of the design, as a table.

use super::*;

use Effect as E;
use State as S;

fn after(state: State, event: Event, env: &Env) -> (State, Vec<Effect>) {
    let (next, effects) = step(&machine(state), event, env).unwrap();
    (next.state, effects)
}

#[test]
fn the_way_of_a_batch_without_trouble() {
    let env = env(5_000);
    let accepted = Creation::Accepted(Box::new(remote(Phase::Validating)));
    let done = remote(Phase::Completed);
    for (from, event, to, effects) in [
        (S::Staging, Event::Begin, S::Staging, vec![E::Upload]),
        (S::Staging, Event::Uploaded(Ok("f".into())), S::Staged, vec![E::Save, E::WaitUntil(5_000)]),
        (S::Staged, Event::Woke, S::Sending, vec![E::Save, E::Create]),
        (S::Staged, Event::Begin, S::Sending, vec![E::Save, E::Create]),
        (S::Sending, Event::Created(accepted), S::Accepted, vec![E::Save, E::WaitUntil(65_000)]),
        (S::Accepted, Event::Begin, S::Accepted, vec![E::WaitUntil(65_000)]),
        (S::Accepted, Event::Woke, S::Accepted, vec![E::Poll]),
        (
            S::Accepted,
            Event::Polled(Poll::Seen(Box::new(remote(Phase::InProgress)))),
            S::Accepted,
            vec![E::WaitUntil(95_000 + 1)],
        ),
        (S::Accepted, Event::Polled(Poll::Seen(Box::new(done))), S::Ended, vec![E::Save, E::Collect]),
        (S::Ended, Event::Begin, S::Ended, vec![E::Collect]),
        (S::Collecting, Event::Collected { accounted: 2 }, S::Settled, vec![E::Stop]),
    ] {
        assert_eq!(after(from, event.clone(), &env), (to, effects), "{from:?} {event:?}");
    }
}

#[test]
fn a_create_that_was_refused_frees_its_items_and_a_doubt_does_not() {
    let refused = failure(FailureClass::Auth);
    let (state, effects) = after(S::Sending, Event::Created(Creation::Refused(refused.clone())), &env(5_000));
    assert_eq!((state, effects), (S::Refused, vec![E::Void, E::Judge(refused), E::Stop]));
    let (state, effects) = after(S::Sending, Event::Created(Creation::InDoubt("reset".into())), &env(5_000));
    assert_eq!(state, S::InDoubt);
    let told = E::Tell(Notice::InDoubt("reset".into()));
    assert_eq!(effects, [told, E::Save, E::List { since_s: 0 }]);
}

#[test]
fn what_was_being_sent_when_the_process_died_is_in_doubt() {
    let (next, effects) = step(&machine(S::Sending), Event::Begin, &Env { epoch: 2, ..env(9_000) }).unwrap();
    assert_eq!((next.state, next.epoch), (S::InDoubt, 2));
    assert_eq!(effects, [E::Save, E::List { since_s: 0 }]);
    assert_eq!(next.doubt.unwrap().sent_ms, 9_000, "the quarantine counts from the death that was noticed");
}

#[test]
fn a_batch_that_is_found_is_adopted_and_its_twin_named() {
    let listed = vec![RemoteBatch { id: "c".into(), ..remote(Phase::InProgress) }, remote(Phase::InProgress)];
    let (next, effects) =
        step(&machine(S::InDoubt), Event::Listed { started_ms: 9, batches: Some(listed) }, &env(5_000))
            .unwrap();
    assert_eq!((next.state, next.batch.as_deref()), (S::Accepted, Some("b")));
    assert_eq!(
        effects[..3],
        [E::Tell(Notice::Adopted("b".into())), E::Tell(Notice::Twin("c".into())), E::Save]
    );
}

#[test]
fn a_failed_or_strange_listing_is_no_proof() {
    let odd = RemoteBatch { input_file: Some("other".into()), ..remote(Phase::InProgress) };
    let times = DoubtTimes::default();
    let mut doubt = Doubt::new(0, 0);
    doubt.fenced(0, true);
    for batches in [None, Some(vec![odd])] {
        let mut machine = machine(S::InDoubt);
        machine.doubt = Some(doubt.clone());
        for now_ms in [times.t_lag_ms + 1, 2 * times.t_lag_ms, 3 * times.t_lag_ms] {
            let event = Event::Listed { started_ms: now_ms, batches: batches.clone() };
            let (next, _) = step(&machine, event, &env(now_ms)).unwrap();
            assert_eq!(next.state, S::InDoubt, "{batches:?}");
            machine = next;
        }
    }
}

#[test]
fn a_doubt_that_nothing_settles_follows_the_policy() {
    let late = DoubtTimes::default().deadline_ms + 2_000;
    for (unresolved, state, last) in [
        (Unresolved::Hold, S::Unresolved, vec![E::Stop]),
        (Unresolved::Dead, S::Settled, vec![E::WriteOff(FailureClass::MaybePaidUnresolved), E::Stop]),
        (Unresolved::Repay, S::Settled, vec![E::WriteOff(FailureClass::Transient), E::Stop]),
    ] {
        let env = Env { unresolved, ..env(late) };
        let (given_up, effects) = step(&machine(S::InDoubt), Event::Woke, &env).unwrap();
        assert_eq!((given_up.state, &effects[0]), (S::Unresolved, &E::Save), "{unresolved:?}");
        let (next, effects) = step(&given_up, Event::Woke, &env).unwrap();
        assert_eq!((next.state, effects), (state, last), "{unresolved:?}");
        // The operator comes back: the list is asked once more, and may show it now.
        let (held, effects) = step(&machine(S::Unresolved), Event::Begin, &env).unwrap();
        assert_eq!(effects, [E::List { since_s: 0 }]);
        let found = Event::Listed { started_ms: late, batches: Some(vec![remote(Phase::Completed)]) };
        assert_eq!(step(&held, found, &env).unwrap().0.state, S::Accepted);
        let nothing = Event::Listed { started_ms: late, batches: Some(Vec::new()) };
        assert_eq!(step(&held, nothing, &env).unwrap().0.state, state);
    }
}

#[test]
fn the_operator_may_decide_what_is_in_doubt_and_nothing_else() {
    let batch = || Box::new(remote(Phase::InProgress));
    for state in State::ALL {
        let open = matches!(state, S::InDoubt | S::Fencing | S::Unresolved);
        // A create is under way as long as its own process lives.
        for (epoch, may) in [(1, open), (2, open || state == S::Sending)] {
            let env = Env { epoch, ..env(5_000) };
            let now = |event| step(&machine(state), event, &env);
            let words = [
                now(Event::Adopt(batch())),
                now(Event::Release),
                now(Event::Paid { again: false }),
                now(Event::Paid { again: true }),
                now(Event::NotAdopted("unknown".into())),
            ];
            assert!(words.iter().all(|word| word.is_some() == may), "{state:?} {epoch} {words:?}");
            let [Some(adopted), Some(absent), Some(dead), Some(again), Some(refused)] = words else {
                continue;
            };
            assert_eq!((adopted.0.state, adopted.0.batch.as_deref()), (S::Accepted, Some("b")));
            assert_eq!(adopted.1[..2], [E::Tell(Notice::Adopted("b".into())), E::Save]);
            assert_eq!((absent.0.state, absent.1), (S::Absent, vec![E::Void, E::Stop]));
            let gone = E::WriteOff(FailureClass::MaybePaidUnresolved);
            assert_eq!((dead.0.state, dead.1), (S::Settled, vec![gone, E::Stop]));
            assert_eq!(
                (again.0.state, again.1),
                (S::Settled, vec![E::WriteOff(FailureClass::Transient), E::Stop])
            );
            assert!(refused.0.batch.is_none() && refused.1.contains(&E::Save), "{refused:?}");
        }
    }
}

#[test]
fn a_foreign_batch_is_not_adopted_whoever_says_so() {
    let mark = |inst: &str, sub: &str, digest: &str, items| {
        Some(Marker { inst: inst.into(), sub: sub.into(), items, digest: digest.into() })
    };
    for (marker, input, why) in [
        (None, "file", "has no mark of ours"),
        (mark("j", "s", "d", 2), "file", "another state folder"),
        (mark("i", "t", "d", 2), "file", "belongs to submission t"),
        (mark("i", "s", "x", 2), "file", "another digest"),
        (mark("i", "s", "d", 2), "other", "another input file"),
    ] {
        let named = RemoteBatch { marker, input_file: Some(input.into()), ..remote(Phase::InProgress) };
        let (after, effects) =
            step(&machine(S::Unresolved), Event::Adopt(Box::new(named)), &env(5_000)).unwrap();
        assert_eq!((after.state, after.batch), (S::Unresolved, None), "{why}");
        let E::Tell(Notice::NotAdopted(told)) = &effects[0] else { panic!("{effects:?}") };
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_batch_ends_in_five_ways() {
    let output = |phase| RemoteBatch { output_file: Some("o".into()), ..remote(phase) };
    for (seen, state) in [
        (output(Phase::Completed), S::Ended),
        (output(Phase::Expired), S::Ended),
        (remote(Phase::Cancelled), S::Ended),
        (remote(Phase::Failed), S::Refused), // nothing ran
        (output(Phase::Failed), S::Ended),   // something did
    ] {
        let event = Event::Polled(Poll::Seen(Box::new(seen.clone())));
        assert_eq!(after(S::Accepted, event, &env(5_000)).0, state, "{seen:?}");
    }
    // That one which is cancelled is gone is no loss: a cancel may delete it, whoever remembers that.
    for (state, end) in [(S::Accepted, Notice::Vanished), (S::Cancelling, Notice::Deleted)] {
        let mut denied = machine(state);
        for denial in 1..=DENIALS_MAX {
            let (next, effects) = step(&denied, Event::Polled(Poll::Denied), &env(5_000)).unwrap();
            let is_last = denial == DENIALS_MAX;
            assert_eq!(next.state, if is_last { S::Ended } else { state }, "{effects:?}");
            let told = if is_last { &end } else { &Notice::Denied };
            assert_eq!(effects[0], E::Tell(told.clone()), "{effects:?}");
            denied = next;
        }
    }
    let lost = EndKind::Vanished.missing();
    assert_eq!(lost.0, FailureClass::ResultLostAtProvider);
}

/// A batch whose file is still read may have nothing to do for a moment: that is no end, though not for ever.
#[test]
fn an_end_with_fewer_requests_than_were_sent_is_looked_at_again() {
    let counts = BatchCounts { total: 1, completed: 1, failed: 0 };
    let seen = |phase| Event::Polled(Poll::Seen(Box::new(RemoteBatch { counts, ..remote(phase) })));
    let mut machine = machine(S::Accepted);
    machine.ours.known_by = KnownBy::Input;
    assert_eq!(step(&machine, seen(Phase::Cancelled), &env(5_000)).unwrap().0.state, S::Ended);
    for _ in 0..5 {
        let (next, effects) = step(&machine, seen(Phase::Completed), &env(5_000)).unwrap();
        assert!(next.state == S::Accepted && matches!(effects[..], [E::WaitUntil(_)]), "{effects:?}");
        machine = next;
    }
    assert_eq!(step(&machine, seen(Phase::Completed), &env(5_000)).unwrap().0.state, S::Ended);
    assert_eq!(after(S::Accepted, seen(Phase::Completed), &env(5_000)).0, S::Ended);
}

#[test]
fn a_cancel_asks_once_and_collects_what_is_finished() {
    let env = Env { cancel: true, ..env(5_000) };
    assert_eq!(after(S::Accepted, Event::Woke, &env).1, [E::Cancel]);
    assert_eq!(after(S::Accepted, Event::CancelSent(true), &env), (S::Cancelling, vec![E::Save, E::Poll]));
    let failed = vec![E::Tell(Notice::CancelFailed), E::Poll];
    assert_eq!(after(S::Accepted, Event::CancelSent(false), &env), (S::Accepted, failed));
    assert_eq!(after(S::Cancelling, Event::Woke, &env).1, [E::Poll]);
    let ended = Event::Polled(Poll::Seen(Box::new(remote(Phase::Cancelled))));
    assert_eq!(after(S::Cancelling, ended, &env), (S::Ended, vec![E::Save, E::Collect]));
    // What was not sent yet is simply given up.
    for state in [S::Staging, S::Staged] {
        assert_eq!(after(state, Event::Begin, &env), (S::Refused, vec![E::Void, E::Stop]), "{state:?}");
    }
}

/// It was asked for every five minutes by then; what it did not finish may be wanted before a deadline.
#[test]
fn a_cancelled_batch_is_soon_asked_for_again_however_long_it_ran() {
    let env = Env { cancel: true, ..env(5_000) };
    let running = || Event::Polled(Poll::Seen(Box::new(remote(Phase::InProgress))));
    let wait = |effects: &[E]| match effects.last() {
        Some(E::WaitUntil(at_ms)) => *at_ms - env.now_ms,
        other => panic!("{other:?}"),
    };
    let (mut machine, mut waited) = (machine(S::Accepted), 0);
    for _ in 0..8 {
        let (next, effects) = step(&machine, running(), &env).unwrap();
        (machine, waited) = (next, wait(&effects));
    }
    assert!(waited >= env.pace.max_ms, "{waited}");
    let (cancelling, _) = step(&machine, Event::CancelSent(true), &env).unwrap();
    let (_, effects) = step(&cancelling, running(), &env).unwrap();
    assert!(wait(&effects) < 2 * env.pace.min_ms, "{effects:?}");
}

#[test]
fn a_step_back_of_the_provider_is_told_and_not_believed() {
    let mut machine = machine(S::Accepted);
    machine.phase = Some(Phase::Finalizing);
    let back = Event::Polled(Poll::Seen(Box::new(remote(Phase::Validating))));
    let (next, effects) = step(&machine, back, &env(5_000)).unwrap();
    assert_eq!(next.phase, Some(Phase::Finalizing));
    let told = Notice::Regressed { from: Phase::Finalizing, to: Phase::Validating };
    assert_eq!(effects[0], E::Tell(told));
}

#[test]
fn a_process_that_was_replaced_takes_no_step() {
    for state in State::ALL {
        let mut newer = machine(state);
        newer.epoch = 7;
        assert_eq!(step(&newer, Event::Begin, &env(5_000)), None, "{state:?}");
    }
}

#[test]
fn while_too_much_is_in_doubt_nothing_new_is_sent() {
    let held = Env { held: true, ..env(5_000) };
    assert_eq!(after(S::Staged, Event::Begin, &held), (S::Staged, vec![E::WaitUntil(5_200)]));
    assert_eq!(after(S::Staged, Event::Woke, &env(5_200)).0, S::Sending);
}

#[test]
fn what_was_not_created_goes_elsewhere_and_what_was_stays() {
    let elsewhere = Env { elsewhere: true, ..env(5_000) };
    for (state, event) in [(S::Staging, Event::Begin), (S::Staging, Event::Woke), (S::Staged, Event::Woke)] {
        assert_eq!(after(state, event, &elsewhere), (S::Refused, vec![E::Void, E::Stop]), "{state:?}");
    }
    assert_eq!(after(S::Accepted, Event::Woke, &elsewhere), (S::Accepted, vec![E::Poll]));
    assert_ne!(after(S::InDoubt, Event::Woke, &elsewhere).0, S::Refused, "it may have been created");
}

#[test]
fn a_settle_needs_every_item() {
    assert_eq!(after(S::Ended, Event::Collected { accounted: 1 }, &env(1)).0, S::Ended);
    assert_eq!(after(S::Ended, Event::Collected { accounted: 2 }, &env(1)).0, S::Settled);
}

#[test]
fn a_wish_to_stop_leaves_everything_for_the_next_run() {
    let env = Env { detaching: true, closing: true, ..env(5_000) };
    for (state, event) in [
        (S::Staging, Event::Begin),
        (S::Staged, Event::Begin),
        (S::Accepted, Event::Woke),
        (S::InDoubt, Event::Woke),
        (S::Unresolved, Event::Begin),
    ] {
        let (next, effects) = after(state, event, &env);
        assert_eq!((next, effects.last()), (state, Some(&E::Stop)), "{state:?}");
    }
}
