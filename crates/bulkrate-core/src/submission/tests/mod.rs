//! The state machine by cases, by random walks, and by every interleaving of a small world.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cases;
mod explore;
mod walks;

use super::*;
use crate::answer::Failure;
use crate::failure::FailureClass;

fn env(now_ms: u64) -> Env {
    Env {
        now_ms,
        epoch: 1,
        times: DoubtTimes::default(),
        pace: PollPace::default(),
        unresolved: Unresolved::Hold,
        random: 0,
        closing: false,
        held: false,
        look_ms: 200,
        detaching: false,
        cancel: false,
        elsewhere: false,
    }
}

fn ours() -> Ours {
    Ours {
        inst: "i".into(),
        sub: "s".into(),
        items: 2,
        digest: "d".into(),
        input: Some("file".into()),
        known_by: KnownBy::Mark,
    }
}

fn machine(state: State) -> Machine {
    let mut machine = Machine::new(state, 1, ours());
    if !state.is_unsent() {
        machine.sent_ms = Some(1_000);
    }
    if matches!(state, State::InDoubt | State::Fencing) {
        machine.doubt = Some(Doubt::new(1_000, 1_000));
    }
    if matches!(state, State::Accepted | State::Cancelling | State::Ended | State::Collecting) {
        machine.batch = Some("b".into());
    }
    machine
}

fn remote(phase: Phase) -> RemoteBatch {
    RemoteBatch {
        id: "b".into(),
        phase,
        status: phase.name().into(),
        input_file: Some("file".into()),
        output_file: None,
        error_file: None,
        counts: BatchCounts::default(),
        errors: Vec::new(),
        created_at: Some(1),
        ended_at: None,
        expires_at: None,
        marker: Some(Marker { inst: "i".into(), sub: "s".into(), items: 2, digest: "d".into() }),
        owner: Owner::Unknown,
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, message: "no".into(), provider_code: None, wait_ms: None, maybe_paid: false }
}
