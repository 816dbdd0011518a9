//! Decides what becomes of one batch submission after each thing learned about it (T3 to T7 of ARCHITECTURE.md, section 6).
//!
//! Invariants
//! - Pure: time, answers and wishes come in; the new state and what to do come out.
//! - `Create` comes out once, in the same list as the `Save` of `Sending` before it; no event brings a submission back there.
//! - A list of effects holds one change of state at most: what its `Save`, `Void` or `WriteOff` makes durable.
//! - Items are free again only by `Void`: refused, or proved absent. UNKNOWN never frees anything.
//! - A step of an older epoch than the one that moved the submission last is no step.
//!
//! Acted on by `bulkrate_engine::lane::submission`.

use super::doubt::{Doubt, DoubtStep};
use super::find::{Found, Ours};
use super::known::KnownBy;
use super::message::{Creation, Effect, Env, Event, Notice, Poll};
use super::remote::{Phase, RemoteBatch};
use super::state::{EndKind, State, Unresolved};
use crate::answer::Failure;
use crate::failure::{FailureClass, Verdict};
use crate::planted::{self, Bug};

/// A batch counts as lost when the provider denies it so often in a row.
pub const DENIALS_MAX: u32 = 4;
/// Our clock and the provider's may differ by so much (F40: an hour either way), and a minute.
const SKEW_S: u64 = 2 * 3_600;
/// A batch that ended with fewer requests than were sent is looked at so often again: its file may not be read to its end.
const SHORT_MAX: u32 = 5;
/// A provider that asks for a longer pause is asked again all the same.
pub const ASKED_MAX_MS: u64 = 3_600_000;
/// The completion window of a day, and an hour's grace.
const OVERDUE_MS: u64 = 25 * 3_600_000;

/// One submission, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    pub state: State,
    /// The process that moved it last.
    pub epoch: u64,
    pub ours: Ours,
    pub sent_ms: Option<u64>,
    /// The batch at the provider.
    pub batch: Option<String>,
    /// How far it was when last seen; never goes back (I13).
    pub phase: Option<Phase>,
    /// Why it is in doubt, or why it was given up.
    pub why: String,
    pub doubt: Option<Doubt>,
    /// Looks at the batch, or before it is there, uploads that failed.
    polls: u32,
    denials: u32,
    /// Looks that showed it ended, and short.
    short: u32,
    overdue_told: bool,
}

/// The earliest moment, by the provider's clock, at which a create that was sent at `sent_ms` can have made a batch.
#[must_use]
pub fn created_since_s(sent_ms: u64) -> u64 {
    (sent_ms / 1_000).saturating_sub(SKEW_S)
}

type Stepped = Option<(Machine, Vec<Effect>)>;

/// `None`: the event cannot happen here; the caller counts it and drops it.
#[must_use]
pub fn step(machine: &Machine, event: Event, env: &Env) -> Stepped {
    // A newer process has it: whatever an old one still learns is not acted on.
    if machine.epoch > env.epoch || machine.state.is_terminal() {
        return None;
    }
    let mut next = machine.clone();
    let mut effects = Vec::new();
    next.take(event, env, &mut effects)?;
    next.epoch = env.epoch;
    Some((next, effects))
}

impl Machine {
    /// A submission that is staged here and of which nothing was sent.
    #[must_use]
    pub fn new(state: State, epoch: u64, ours: Ours) -> Self {
        Self {
            state,
            epoch,
            ours,
            sent_ms: None,
            batch: None,
            phase: None,
            why: String::new(),
            doubt: None,
            polls: 0,
            denials: 0,
            short: 0,
            overdue_told: false,
        }
    }

    fn take(&mut self, event: Event, env: &Env, out: &mut Vec<Effect>) -> Option<()> {
        use State as S;
        match (self.state, event) {
            (_, Event::Begin) => self.begin(env, out),
            (S::Staging, Event::Uploaded(Ok(file))) => {
                self.ours.input = Some(file);
                self.polls = 0;
                self.state = S::Staged;
                out.extend([Effect::Save, Effect::WaitUntil(env.now_ms)]);
            }
            (S::Staging, Event::Uploaded(Err(failure))) => self.upload_failed(failure, env, out),
            (S::Staging | S::Staged, Event::Woke) => self.begin(env, out),
            (S::Sending, Event::Created(creation)) => self.created(creation, env, out),
            (S::InDoubt | S::Fencing, Event::Woke) => self.resolve(env, out),
            (S::Unresolved, Event::Woke) => self.give_in(env, out),
            (S::InDoubt | S::Fencing | S::Unresolved, Event::Listed { started_ms, batches }) => {
                self.listed(started_ms, batches.as_deref(), env, out);
            }
            (S::Fencing, Event::Fenced { confirmed }) => {
                self.doubt.as_mut()?.fenced(env.now_ms, confirmed);
                self.resolve(env, out);
            }
            (_, event @ (Event::Adopt(_) | Event::NotAdopted(_) | Event::Release | Event::Paid { .. }))
                if self.is_the_operators(env) =>
            {
                self.told(event, env, out);
            }
            (S::Accepted | S::Cancelling, Event::Woke) => self.woke(env, out),
            (S::Accepted | S::Cancelling, Event::Polled(poll)) => self.polled(poll, env, out),
            (S::Accepted, Event::CancelSent(taken)) => {
                if taken {
                    self.state = S::Cancelling;
                    // It ends soon, and what it has not done is waited for.
                    self.polls = 0;
                    out.push(Effect::Save);
                } else {
                    out.push(Effect::Tell(Notice::CancelFailed));
                }
                out.push(Effect::Poll);
            }
            (S::Ended | S::Collecting, Event::Collected { accounted }) => {
                if accounted == self.ours.items {
                    self.state = S::Settled;
                }
                out.push(Effect::Stop);
            }
            _ => return None,
        }
        Some(())
    }

    /// Goes on from wherever an earlier process, or an earlier wait, left it.
    fn begin(&mut self, env: &Env, out: &mut Vec<Effect>) {
        use State as S;
        if matches!(self.state, S::Staging | S::Staged) && self.unsent(env, out) {
            return;
        }
        match self.state {
            S::Planned => self.void(S::Refused, "the input file was changed or lost before it was sent", out),
            _ if env.detaching && !matches!(self.state, S::Ended | S::Collecting) => out.push(Effect::Stop),
            S::Staging => out.push(Effect::Upload),
            S::Staged => self.send(env, out),
            S::Sending if planted::has(Bug::SendingIsQueued) => self.void(S::Refused, "it was not sent", out),
            S::Sending => self.interrupted(env, out),
            S::InDoubt | S::Fencing => {
                if self.epoch != env.epoch
                    && let Some(doubt) = &mut self.doubt
                {
                    doubt.taken_up(env.now_ms);
                }
                self.resolve(env, out);
            }
            S::Accepted | S::Cancelling => out.push(self.next_poll(env)),
            S::Ended | S::Collecting => out.push(Effect::Collect),
            // Once more: the list may show now what it did not show then.
            S::Unresolved => out.push(self.list()),
            S::Settled | S::Refused | S::Absent => out.push(Effect::Stop),
        }
    }

    /// What was not created yet is given up where nobody wants it any longer. True: so it is.
    fn unsent(&mut self, env: &Env, out: &mut Vec<Effect>) -> bool {
        let why = match (env.cancel, env.elsewhere) {
            (true, _) => "the job was cancelled before the batch was created",
            (false, true) => "nothing gets through to its deployment: the items go to another one",
            (false, false) => return false,
        };
        self.void(State::Refused, why, out);
        true
    }

    /// T4: the intent is durable, then the one create.
    fn send(&mut self, env: &Env, out: &mut Vec<Effect>) {
        if env.closing || env.detaching {
            return out.push(Effect::Stop); // the next run goes on from here
        }
        if env.held {
            return out.push(Effect::WaitUntil(env.now_ms + env.look_ms.max(1)));
        }
        self.state = State::Sending;
        self.sent_ms = Some(env.now_ms);
        out.extend([Effect::Save, Effect::Create]);
        if planted::has(Bug::SendBeforeIntent) {
            let at = out.len() - 2;
            out.remove(at);
        }
    }

    /// Uploads are free: repeated while the provider is away, given up where it refuses.
    fn upload_failed(&mut self, failure: Failure, env: &Env, out: &mut Vec<Effect>) {
        if self.unsent(env, out) {
            return;
        }
        if failure.class.verdict() == Verdict::RetryLater {
            // The file stays staged here, however long the provider is away: packing it anew would only fill the disk.
            if env.closing {
                return out.push(Effect::Stop);
            }
            let asked_ms = failure.wait_ms.unwrap_or(0).min(ASKED_MAX_MS);
            let pause_ms = env.pace.soon().wait_ms(self.polls, env.random).max(asked_ms);
            self.polls = self.polls.saturating_add(1);
            out.push(Effect::Tell(Notice::UploadFailed(failure.message)));
            out.push(Effect::WaitUntil(env.now_ms + pause_ms));
            return;
        }
        self.void(State::Refused, &format!("uploading the input: {}", failure.message), out);
        out.insert(out.len() - 1, Effect::Judge(failure));
    }

    /// T5.
    fn created(&mut self, creation: Creation, env: &Env, out: &mut Vec<Effect>) {
        match creation {
            Creation::Accepted(remote) => {
                self.see(&remote, out);
                self.batch = Some(remote.id);
                self.state = State::Accepted;
                out.extend([Effect::Save, self.next_poll(env)]);
            }
            Creation::Refused(failure) => {
                self.void(State::Refused, &format!("creating the batch: {}", failure.message), out);
                out.insert(out.len() - 1, Effect::Judge(failure));
            }
            Creation::InDoubt(why) => {
                self.put_doubt(&why, env);
                out.push(Effect::Tell(Notice::InDoubt(why)));
                self.resolve(env, out);
            }
        }
    }

    /// Whoever was sending is gone, and with it the last moment at which a byte could leave.
    fn interrupted(&mut self, env: &Env, out: &mut Vec<Effect>) {
        self.put_doubt("the process ended while the create was under way", env);
        self.resolve(env, out);
    }

    fn put_doubt(&mut self, why: &str, env: &Env) {
        self.state = State::InDoubt;
        why.clone_into(&mut self.why);
        self.doubt = Some(Doubt::new(self.sent_ms.unwrap_or(0).max(env.now_ms), env.now_ms));
    }

    /// IN_DOUBT: probe, fence, wait; only a proof frees the items.
    fn resolve(&mut self, env: &Env, out: &mut Vec<Effect>) {
        if env.detaching {
            return out.extend([Effect::Save, Effect::Stop]);
        }
        if env.elsewhere && planted::has(Bug::DoubtMoves) {
            return self.void(State::Absent, "its deployment was left", out);
        }
        let doubt = self.doubt.get_or_insert_with(|| Doubt::new(env.now_ms, env.now_ms));
        match doubt.step(&env.times, self.ours.known_by.has_fence(), env.now_ms) {
            DoubtStep::Probe => out.extend([Effect::Save, self.list()]),
            DoubtStep::Fence => {
                self.state = State::Fencing;
                out.extend([Effect::Save, Effect::Fence]);
            }
            DoubtStep::WaitUntil(at) => out.extend([Effect::Save, Effect::WaitUntil(at)]),
            DoubtStep::Absent => {
                out.push(Effect::Tell(Notice::Absent));
                let why = self.why.clone();
                self.void(State::Absent, &why, out);
            }
            DoubtStep::Unresolved => {
                self.state = State::Unresolved;
                let now = Effect::WaitUntil(env.now_ms);
                out.extend([Effect::Save, Effect::Tell(Notice::Unresolved), now]);
            }
        }
    }

    fn since_s(&self) -> u64 {
        created_since_s(self.sent_ms.unwrap_or(0))
    }

    fn list(&self) -> Effect {
        Effect::List { since_s: self.since_s() }
    }

    fn listed(&mut self, started_ms: u64, listed: Option<&[RemoteBatch]>, env: &Env, out: &mut Vec<Effect>) {
        let complete = match listed.map(|listed| self.ours.find(listed, self.sent_ms)) {
            Some(Found::Here(remote, twins)) => {
                out.push(Effect::Tell(Notice::Adopted(remote.id.clone())));
                out.extend(twins.into_iter().map(|twin| Effect::Tell(Notice::Twin(twin.to_owned()))));
                self.see(remote, out);
                return self.adopt(remote.id.clone(), env, out);
            }
            Some(Found::Strange(why)) => {
                out.push(Effect::Tell(Notice::Strange(why)));
                false
            }
            Some(Found::NotThere) => self.ours.known_by.shows_absence(),
            None => false,
        };
        if self.state == State::Unresolved {
            return self.give_in(env, out);
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.listed(&env.times, started_ms, complete);
        }
        self.resolve(env, out);
    }

    /// Whether the operator's word may decide: in doubt, or sent by a process that is gone.
    fn is_the_operators(&self, env: &Env) -> bool {
        match self.state {
            State::InDoubt | State::Fencing | State::Unresolved => true,
            State::Sending => self.epoch < env.epoch,
            _ => false,
        }
    }

    /// The operator decides what evidence has not. A batch that is not ours is not taken, whoever says so (I14).
    fn told(&mut self, event: Event, env: &Env, out: &mut Vec<Effect>) {
        match event {
            Event::Adopt(remote) if self.ours.is_too_late(&remote, self.sent_ms) => {
                let id = &remote.id;
                let why = format!(
                    "batch {id} was made of the input file long after this one was sent: it is somebody else's"
                );
                self.told(Event::NotAdopted(why), env, out);
            }
            Event::Adopt(remote) => match self.ours.judge(&remote, self.since_s()) {
                Ok(()) => {
                    out.push(Effect::Tell(Notice::Adopted(remote.id.clone())));
                    self.see(&remote, out);
                    self.adopt(remote.id, env, out);
                }
                Err(why) => self.told(Event::NotAdopted(why), env, out),
            },
            Event::Release => self.void(State::Absent, "the operator says that it was not run", out),
            Event::Paid { again } => {
                let class = if again { FailureClass::Transient } else { FailureClass::MaybePaidUnresolved };
                self.state = State::Settled;
                out.extend([Effect::WriteOff(class), Effect::Stop]);
            }
            Event::NotAdopted(why) => {
                out.push(Effect::Tell(Notice::NotAdopted(why)));
                match self.state {
                    State::Unresolved => out.extend([Effect::Save, Effect::Stop]),
                    State::Sending => self.interrupted(env, out),
                    _ => self.resolve(env, out),
                }
            }
            _ => {}
        }
    }

    fn adopt(&mut self, batch: String, env: &Env, out: &mut Vec<Effect>) {
        self.batch = Some(batch);
        self.state = State::Accepted;
        self.doubt = None;
        out.extend([Effect::Save, self.next_poll(env)]);
    }

    /// A doubt that evidence has not settled in time.
    fn give_in(&mut self, env: &Env, out: &mut Vec<Effect>) {
        let class = match env.unresolved {
            Unresolved::Hold => return out.push(Effect::Stop),
            Unresolved::Dead => FailureClass::MaybePaidUnresolved,
            Unresolved::Repay => FailureClass::Transient,
        };
        self.state = State::Settled;
        out.extend([Effect::WriteOff(class), Effect::Stop]);
    }

    fn void(&mut self, to: State, why: &str, out: &mut Vec<Effect>) {
        self.state = to;
        why.clone_into(&mut self.why);
        out.extend([Effect::Void, Effect::Stop]);
    }

    fn next_poll(&self, env: &Env) -> Effect {
        Effect::WaitUntil(env.now_ms + env.pace.wait_ms(self.polls, env.random))
    }

    fn woke(&mut self, env: &Env, out: &mut Vec<Effect>) {
        if env.detaching {
            return out.push(Effect::Stop);
        }
        let age_ms = env.now_ms.saturating_sub(self.sent_ms.unwrap_or(env.now_ms));
        if age_ms > OVERDUE_MS && !std::mem::replace(&mut self.overdue_told, true) {
            out.push(Effect::Tell(Notice::Overdue));
        }
        let cancels = env.cancel && self.state == State::Accepted;
        out.push(if cancels { Effect::Cancel } else { Effect::Poll });
    }

    fn polled(&mut self, poll: Poll, env: &Env, out: &mut Vec<Effect>) {
        self.polls = self.polls.saturating_add(1);
        let remote = match poll {
            Poll::Seen(remote) => remote,
            Poll::Denied => {
                self.denials += 1;
                if self.denials < DENIALS_MAX {
                    return out.extend([Effect::Tell(Notice::Denied), self.next_poll(env)]);
                }
                // Where a cancel deletes a batch, that it is gone is its end, and no loss.
                let is_deleted = self.state == State::Cancelling;
                out.push(Effect::Tell(if is_deleted { Notice::Deleted } else { Notice::Vanished }));
                return self.ended(out);
            }
            Poll::Failed(failure) if failure.class.verdict() == Verdict::HaltJob => {
                return out.extend([Effect::Judge(failure), Effect::Stop]);
            }
            Poll::Failed(failure) => {
                return out.extend([Effect::Tell(Notice::PollFailed(failure.message)), self.next_poll(env)]);
            }
        };
        self.denials = 0;
        if self.is_short(&remote) && self.short < SHORT_MAX {
            self.short += 1;
            return out.push(self.next_poll(env));
        }
        self.see(&remote, out);
        match EndKind::of(remote.phase) {
            // Refused as a whole after the create: nothing ran, nothing is billed.
            Some(EndKind::Failed) if remote.counts.completed == 0 && remote.output_file.is_none() => {
                let failure = super::refusal::of_batch(&remote);
                self.void(State::Refused, &failure.message, out);
                out.insert(out.len() - 1, Effect::Judge(failure));
            }
            Some(_) => self.ended(out),
            None => out.push(self.next_poll(env)),
        }
    }

    /// Whether a batch ran out of work before its input was read, as its counts have it.
    fn is_short(&self, remote: &RemoteBatch) -> bool {
        let all = remote.counts.total;
        self.ours.known_by == KnownBy::Input
            && remote.phase == Phase::Completed
            && (1..u64::from(self.ours.items)).contains(&all)
    }

    fn ended(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Ended;
        out.extend([Effect::Save, Effect::Collect]);
    }

    /// Notes how far the batch is; a step back is told and not believed.
    fn see(&mut self, remote: &RemoteBatch, out: &mut Vec<Effect>) {
        let before = self.phase.map_or(0, Phase::rank);
        if remote.phase.rank() >= before || remote.phase == Phase::Unknown {
            self.phase = Some(remote.phase).filter(|phase| *phase != Phase::Unknown).or(self.phase);
        } else if let Some(from) = self.phase {
            out.push(Effect::Tell(Notice::Regressed { from, to: remote.phase }));
        }
    }
}
