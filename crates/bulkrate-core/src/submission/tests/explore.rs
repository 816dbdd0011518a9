//! L1x: every interleaving of a small world. Two items in one batch, at most two crashes, at most two lost messages, a create
//! that arrives late or never or twice, a list that lags; when a batch is void its items go into a second one.
//!
//! A breadth-first search visits every state that can be reached and checks in each that nothing is paid twice, and that the
//! end can still be reached from it.

use std::collections::HashMap;

use super::*;

const TIMES: DoubtTimes =
    DoubtTimes { t_lag_ms: 120_000, t_q_ms: 900_000, agree_ms: 30_000, deadline_ms: 24 * 3_600_000 };
/// Creates are made by the provider at the latest so long after they left.
const LATE_MS: u64 = TIMES.t_q_ms - TIMES.t_lag_ms;
const BATCHES_MAX: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    known_by: KnownBy,
    now_ms: u64,
    epoch: u64,
    /// Which batch the items are in, from 0.
    no: usize,
    durable: Machine,
    /// What the process that runs holds, and what it has still to do.
    live: Option<(Machine, Vec<Do>)>,
    remote: Remote,
    crashes: u8,
    losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Remote {
    /// Whether the input file of each batch is there.
    inputs: [bool; BATCHES_MAX],
    /// Creates on their way: of which batch, sent when.
    under_way: Vec<(usize, u64)>,
    /// Batches: of which submission, made when, polled how often.
    batches: Vec<(usize, u64, u8)>,
    /// Batches that were created for each submission although it was said to be void.
    void: [bool; BATCHES_MAX],
    creates: [u8; BATCHES_MAX],
}

/// Effects without what does not matter here; a create waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Do {
    Save,
    Void,
    Upload,
    Create,
    Answer,
    List,
    Fence,
    Poll,
    Wait(u64),
    Collect,
    Stop,
    Nothing,
}

fn name(no: usize) -> String {
    format!("s{no}")
}

fn fresh(no: usize, epoch: u64, known_by: KnownBy) -> Machine {
    let ours = Ours { inst: "i".into(), sub: name(no), items: 2, digest: "d".into(), input: None, known_by };
    Machine::new(State::Staging, epoch, ours)
}

fn shown(no: usize, made_ms: u64, phase: Phase) -> RemoteBatch {
    RemoteBatch {
        id: format!("b{no}"),
        input_file: Some(name(no)),
        created_at: Some(made_ms / 1_000),
        marker: Some(Marker { inst: "i".into(), sub: name(no), items: 2, digest: "d".into() }),
        ..remote(phase)
    }
}

/// The same where nothing can be written on a batch: only its results say whose it is.
fn bare(no: usize, made_ms: u64, has_ended: bool) -> RemoteBatch {
    let counts = BatchCounts { total: 2, completed: 0, failed: 0 };
    let owner = if has_ended { Owner::Submission(name(no)) } else { Owner::Unknown };
    RemoteBatch { marker: None, input_file: None, counts, owner, ..shown(no, made_ms, Phase::InProgress) }
}

impl World {
    fn start(known_by: KnownBy) -> Self {
        Self {
            known_by,
            now_ms: 1_000_000,
            epoch: 1,
            no: 0,
            durable: fresh(0, 1, known_by),
            live: None,
            remote: Remote::default(),
            crashes: 0,
            losses: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.live.is_none() && (self.durable.state.is_terminal() || self.is_left()) && !self.may_go_on()
    }

    /// Where absence cannot be proved, the operator is the last resort.
    fn is_left(&self) -> bool {
        self.known_by == KnownBy::Results && self.durable.state == State::Unresolved
    }

    /// A void batch's items are packed again, once.
    fn may_go_on(&self) -> bool {
        matches!(self.durable.state, State::Refused | State::Absent) && self.no + 1 < BATCHES_MAX
    }

    fn step(&self, machine: &Machine, event: Event) -> Self {
        let deadline_ms =
            if self.known_by == KnownBy::Results { 2 * TIMES.t_q_ms } else { TIMES.deadline_ms };
        let times = DoubtTimes { deadline_ms, ..TIMES };
        let env = Env { epoch: self.epoch, times, ..env(self.now_ms) };
        let (machine, effects) = step(machine, event, &env).unwrap();
        let todo = effects.iter().map(of).filter(|todo| *todo != Do::Nothing).collect();
        Self { live: Some((machine, todo)), ..self.clone() }
    }

    /// Everything that can happen next.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        self.network(&mut next);
        let Some((machine, todo)) = &self.live else {
            if self.may_go_on() {
                let durable = fresh(self.no + 1, self.epoch, self.known_by);
                let on = Self { no: self.no + 1, durable, ..self.clone() };
                next.push(on.step(&on.durable, Event::Begin));
            } else if !self.durable.state.is_terminal() && !self.is_left() {
                let mut on = self.clone();
                on.epoch += 1;
                next.push(on.step(&on.durable, Event::Begin));
            }
            return next;
        };
        if self.crashes < 2 {
            next.push(Self { live: None, crashes: self.crashes + 1, ..self.clone() });
        }
        let Some((first, rest)) = todo.split_first() else { panic!("a list of effects has its last one") };
        let mut on = self.clone();
        on.live = Some((machine.clone(), rest.to_vec()));
        self.act(*first, machine, on, &mut next);
        next
    }

    /// Creates on their way arrive, twice even, or never.
    fn network(&self, next: &mut Vec<Self>) {
        for place in 0..self.remote.under_way.len() {
            let mut on = self.clone();
            let (no, _) = on.remote.under_way.remove(place);
            if self.losses < 2 {
                next.push(Self { losses: self.losses + 1, ..on.clone() });
            }
            // The input is what the create needs: without it the provider refuses.
            if on.remote.inputs[no] {
                on.remote.batches.push((no, self.now_ms, 0));
                assert!(!on.remote.void[no], "made after its items were given back: {self:?}");
            }
            next.push(on);
        }
    }

    fn act(&self, first: Do, machine: &Machine, mut on: Self, next: &mut Vec<Self>) {
        let lossy = self.losses < 2;
        let lost = |mut world: Self| {
            world.losses += 1;
            world
        };
        match first {
            Do::Save => {
                on.durable = machine.clone();
                next.push(on);
            }
            Do::Void => {
                on.durable = machine.clone();
                on.remote.void[self.no] = true;
                // The heart of it: items are given back only if nothing was made of them, and nothing can be.
                assert!(!self.was_made(), "void, and made: {self:?}");
                assert!(!self.may_be_made(), "void, and may still be made: {self:?}");
                next.push(on);
            }
            Do::Upload => {
                on.remote.inputs[self.no] = true;
                if lossy {
                    next.push(
                        lost(on.clone())
                            .step(machine, Event::Uploaded(Err(failure(FailureClass::Transient)))),
                    );
                }
                next.push(on.step(machine, Event::Uploaded(Ok(name(self.no)))));
            }
            Do::Create => {
                assert_eq!(self.durable.state, State::Sending, "I4: the intent is durable before the create");
                assert_eq!(self.durable.ours.sub, name(self.no));
                on.remote.creates[self.no] += 1;
                assert_eq!(on.remote.creates[self.no], 1, "a create is sent once");
                on.remote.under_way.push((self.no, self.now_ms));
                if let Some((_, todo)) = &mut on.live {
                    todo.insert(0, Do::Answer);
                }
                next.push(on);
            }
            Do::Answer => {
                // The answer comes once the create has arrived; or it is lost, or never comes.
                let made = self.remote.batches.iter().find(|(no, _, _)| *no == self.no);
                if let Some((no, made_ms, _)) = made {
                    let answer = Creation::Accepted(Box::new(shown(*no, *made_ms, Phase::Validating)));
                    next.push(on.step(machine, Event::Created(answer)));
                }
                if lossy {
                    let doubt = Creation::InDoubt("no answer".into());
                    next.push(lost(on.clone()).step(machine, Event::Created(doubt)));
                }
                if made.is_none() && self.remote.under_way.is_empty() {
                    next.push(on.step(machine, Event::Created(Creation::InDoubt("reset".into()))));
                }
            }
            Do::List => {
                let started_ms = self.now_ms;
                if lossy {
                    next.push(lost(on.clone()).step(machine, Event::Listed { started_ms, batches: None }));
                }
                let made = self.remote.batches.iter();
                let all: Vec<_> = match self.known_by {
                    KnownBy::Mark => made.map(|(no, at, _)| shown(*no, *at, Phase::InProgress)).collect(),
                    _ => made.clone().map(|(no, at, _)| bare(*no, *at, false)).collect(),
                };
                if self.known_by == KnownBy::Results && !all.is_empty() {
                    let ended = self.remote.batches.iter().map(|(no, at, _)| bare(*no, *at, true)).collect();
                    next.push(on.clone().step(machine, Event::Listed { started_ms, batches: Some(ended) }));
                }
                let old = self.remote.batches.iter().all(|(_, at, _)| self.now_ms >= at + TIMES.t_lag_ms);
                if !old {
                    next.push(
                        on.clone().step(machine, Event::Listed { started_ms, batches: Some(Vec::new()) }),
                    );
                }
                next.push(on.step(machine, Event::Listed { started_ms, batches: Some(all) }));
            }
            Do::Fence => {
                if lossy {
                    next.push(lost(on.clone()).step(machine, Event::Fenced { confirmed: false }));
                }
                on.remote.inputs[self.no] = false;
                if lossy {
                    next.push(lost(on.clone()).step(machine, Event::Fenced { confirmed: false }));
                }
                next.push(on.step(machine, Event::Fenced { confirmed: true }));
            }
            Do::Poll => {
                let place = self.remote.batches.iter().position(|(no, _, _)| *no == self.no);
                let Some(place) = place else { panic!("polled what was never made: {self:?}") };
                let (no, at, polls) = self.remote.batches[place];
                on.remote.batches[place].2 += 1;
                let seen = |phase| Event::Polled(Poll::Seen(Box::new(shown(no, at, phase))));
                if polls == 0 {
                    next.push(on.clone().step(machine, seen(Phase::InProgress)));
                }
                if lossy {
                    let failed = Event::Polled(Poll::Failed(failure(FailureClass::Transient)));
                    next.push(lost(on.clone()).step(machine, failed));
                }
                next.push(on.step(machine, seen(Phase::Completed)));
            }
            Do::Wait(until_ms) => {
                // What is under way arrives, or is lost, before time has gone on so far.
                if self.remote.under_way.iter().all(|(_, sent_ms)| sent_ms + LATE_MS > until_ms) {
                    on.now_ms = on.now_ms.max(until_ms);
                    next.push(on.step(machine, Event::Woke));
                }
            }
            Do::Collect => {
                assert!(self.was_made());
                on.durable = step(
                    machine,
                    Event::Collected { accounted: 2 },
                    &Env { epoch: self.epoch, ..env(self.now_ms) },
                )
                .unwrap()
                .0;
                on.live = None;
                next.push(on);
            }
            Do::Stop => {
                on.live = None;
                next.push(on);
            }
            Do::Nothing => {}
        }
    }

    fn was_made(&self) -> bool {
        self.remote.batches.iter().any(|(no, _, _)| *no == self.no)
    }

    fn may_be_made(&self) -> bool {
        self.remote.inputs[self.no] && self.remote.under_way.iter().any(|(no, _)| *no == self.no)
    }
}

fn of(effect: &Effect) -> Do {
    match effect {
        Effect::Save => Do::Save,
        Effect::Void | Effect::WriteOff(_) => Do::Void,
        Effect::Upload => Do::Upload,
        Effect::Create => Do::Create,
        Effect::List { .. } => Do::List,
        Effect::Fence => Do::Fence,
        Effect::Poll | Effect::Cancel => Do::Poll,
        Effect::WaitUntil(at_ms) => Do::Wait(*at_ms),
        Effect::Collect => Do::Collect,
        Effect::Stop => Do::Stop,
        Effect::Tell(_) | Effect::Judge(_) => Do::Nothing,
    }
}

#[test]
fn every_interleaving_of_two_items_two_crashes_and_two_losses() {
    let ends = explore(KnownBy::Mark);
    assert!(ends(State::Settled) > 0 && ends(State::Absent) > 0);
}

#[test]
fn every_interleaving_without_a_mark_in_an_account_of_ones_own() {
    let ends = explore(KnownBy::Looks);
    assert!(ends(State::Settled) > 0 && ends(State::Absent) > 0);
}

#[test]
fn every_interleaving_without_a_mark_in_a_shared_account() {
    let ends = explore(KnownBy::Results);
    assert!(ends(State::Settled) > 0 && ends(State::Unresolved) > 0);
    assert_eq!(ends(State::Absent), 0, "nothing proves it");
}

/// The proof that the search can fail: two ways to break the protocol, each found by it.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_of_the_protocol_are_found() {
    use crate::planted::{Bug, plant};
    for bug in [Bug::SendBeforeIntent, Bug::SendingIsQueued] {
        plant(Some(bug));
        let found = std::panic::catch_unwind(|| explore(KnownBy::Mark)(State::Settled)).is_err();
        plant(None);
        assert!(found, "{bug:?}");
    }
}

/// Visits everything; answers how often an end is reached.
fn explore(known_by: KnownBy) -> impl Fn(State) -> usize {
    let mut known: HashMap<World, usize> = HashMap::new();
    let mut worlds = vec![World::start(known_by)];
    let mut came_from: Vec<Vec<usize>> = vec![Vec::new()];
    known.insert(worlds[0].clone(), 0);
    let mut at = 0;
    while at < worlds.len() {
        for next in worlds[at].clone().next() {
            // Paid at most once: never a batch of the second submission beside one of the first.
            let paid =
                next.remote.batches.iter().map(|(no, _, _)| no).collect::<std::collections::BTreeSet<_>>();
            assert!(paid.len() <= 1, "the same items in two batches: {next:?}");
            let place = *known.entry(next.clone()).or_insert_with(|| {
                worlds.push(next);
                came_from.push(Vec::new());
                worlds.len() - 1
            });
            came_from[place].push(at);
        }
        at += 1;
    }
    // I2: from every state the end can be reached.
    let mut good = vec![false; worlds.len()];
    let mut todo: Vec<usize> = (0..worlds.len()).filter(|place| worlds[*place].is_over()).collect();
    assert!(!todo.is_empty());
    while let Some(place) = todo.pop() {
        if !std::mem::replace(&mut good[place], true) {
            todo.extend(&came_from[place]);
        }
    }
    if let Some(stuck) = good.iter().position(|good| !good) {
        panic!("no way out of {:?}", worlds[stuck]);
    }
    assert!(worlds.len() > 10_000);
    move |state: State| worlds.iter().filter(|world| world.is_over() && world.durable.state == state).count()
}
