//! Random events in any order: what must hold however confused the world is.

use super::*;
use proptest::prelude::*;

fn events() -> impl Strategy<Value = Event> {
    let phase = proptest::sample::select(vec![
        Phase::Validating,
        Phase::InProgress,
        Phase::Finalizing,
        Phase::Cancelling,
        Phase::Completed,
        Phase::Failed,
        Phase::Expired,
        Phase::Cancelled,
        Phase::Unknown,
    ]);
    let class = proptest::sample::select(vec![
        FailureClass::Transient,
        FailureClass::Auth,
        FailureClass::RefusedByProvider,
    ]);
    prop_oneof![
        Just(Event::Begin),
        Just(Event::Woke),
        Just(Event::Uploaded(Ok("f".into()))),
        class.clone().prop_map(|class| Event::Uploaded(Err(failure(class)))),
        phase.clone().prop_map(|phase| Event::Created(Creation::Accepted(Box::new(remote(phase))))),
        class.clone().prop_map(|class| Event::Created(Creation::Refused(failure(class)))),
        Just(Event::Created(Creation::InDoubt("reset".into()))),
        (
            0_u64..400_000,
            prop_oneof![Just(None), Just(Some(Vec::new())), Just(Some(vec![remote(Phase::InProgress)]))]
        )
            .prop_map(|(started_ms, batches)| Event::Listed { started_ms, batches }),
        any::<bool>().prop_map(|confirmed| Event::Fenced { confirmed }),
        phase.prop_map(|phase| Event::Polled(Poll::Seen(Box::new(remote(phase))))),
        Just(Event::Polled(Poll::Denied)),
        class.prop_map(|class| Event::Polled(Poll::Failed(failure(class)))),
        any::<bool>().prop_map(Event::CancelSent),
        (0_u32..4).prop_map(|accounted| Event::Collected { accounted }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(
        events in proptest::collection::vec((events(), 0_u64..200_000, any::<(bool, bool, bool)>()), 1..60),
    ) {
        let mut machine = machine(State::Staging);
        let (mut creates, mut now_ms) = (0, 1_000);
        for (event, later, (closing, detaching, cancel)) in events {
            now_ms += later;
            let env = Env { closing, detaching, cancel, ..env(now_ms) };
            let Some((next, effects)) = step(&machine, event.clone(), &env) else { continue };
            // One thing is waited for, and it comes last.
            prop_assert!(effects.last().is_some_and(Effect::is_last), "{event:?} {effects:?}");
            prop_assert_eq!(effects.iter().filter(|effect| effect.is_last()).count(), 1);
            if effects.contains(&Effect::Create) {
                creates += 1;
                // I4: the intent is durable before the create, and says so.
                let at = effects.iter().position(|effect| *effect == Effect::Create).unwrap();
                prop_assert_eq!(&effects[at - 1], &Effect::Save);
                prop_assert_eq!(next.state, State::Sending);
            }
            // What is made durable is one state: a crash between two effects finds it whole.
            let durable = |effect: &&Effect| matches!(effect, Effect::Save | Effect::Void | Effect::WriteOff(_));
            prop_assert!(effects.iter().filter(durable).count() <= 1, "{effects:?}");
            // Only a refusal or a proof of absence frees the items.
            if effects.contains(&Effect::Void) {
                let by_evidence = matches!(&event, Event::Created(Creation::Refused(_)) | Event::Polled(Poll::Seen(_)));
                let unsent = machine.state.is_unsent();
                prop_assert!(by_evidence || unsent || next.state == State::Absent, "{event:?} from {:?}", machine.state);
            }
            if next.state == State::Absent {
                let doubt = next.doubt.clone().unwrap();
                let from = doubt.fenced_ms.map_or(doubt.sent_ms + env.times.t_q_ms, |at| at + env.times.t_lag_ms);
                prop_assert!(doubt.clean_first_ms.unwrap() >= from);
                prop_assert!(doubt.clean_last_ms.unwrap() - doubt.clean_first_ms.unwrap() >= env.times.agree_ms);
            }
            // A state that can only follow the create never goes back to one before it.
            prop_assert!(machine.state.is_unsent() || !next.state.is_unsent());
            prop_assert!(machine.phase.map_or(0, Phase::rank) <= next.phase.map_or(0, Phase::rank));
            machine = next;
        }
        prop_assert!(creates <= 1, "a create is sent once");
    }
}
