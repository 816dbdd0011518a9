//! Drives one batch from its staged files to its last ledger entry (reliability section 4, T3 to T7).
//!
//! What happens is decided by `bulkrate_core::submission::step`; this file does what it says and tells it what came of it.
//!
//! Invariants
//! - Effects are done in the order in which they come, each to its end: nothing follows a `Save` before it is durable.
//! - A task dropped anywhere is taken up by `recover`: all that a step needs is in the row.

use std::rc::Rc;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::Verdict;
use bulkrate_core::ids::Sub;
use bulkrate_core::lane::Lane;
use bulkrate_core::submission::refusal::{QUEUE_FULL, enqueued_limit};
use bulkrate_core::submission::{
    Creation, Doubt, DoubtTimes, Effect, EndKind, Env, Event, Machine, Marker, Notice, Ours, Phase, Poll,
    RemoteBatch, State, step,
};
use bulkrate_provider::{BatchApi, Created, Provider};
use bulkrate_store::{Lease, LedgerKind, Submission, SubmissionState, Tx, Urgency};
use tokio::time::{Instant, sleep_until};

use super::collect;
use super::outage::{self, Redirects, halts};
use super::pack::Planned;
use super::twin;
use crate::EngineError;
use crate::decision::Act;
use crate::event;
use crate::run::heaps::{count, heaps_of};
use crate::run::job::{Halt, Job, Retry};
use crate::run::ledger::At;
use crate::run::operator::{self, Acts, Told};
use crate::run::ready::Ready;

/// How a part of the work ended.
pub(super) enum Step {
    Go,
    /// Nothing more to do in this run.
    Done,
}

/// One batch and what it is driven with.
struct Driving<'a> {
    job: &'a Rc<Job>,
    api: &'a dyn BatchApi,
    machine: Machine,
    redirects: Redirects,
    /// The operator's word that is being carried out.
    told: Option<Told>,
    /// Why a batch that the operator named was not taken.
    refused: Option<String>,
    /// Other batches of the same create, which the next commit notes.
    twins: Vec<String>,
}

/// Takes a batch through its states until it is settled, void, or the operator's.
pub(crate) async fn drive(job: Rc<Job>, mut planned: Planned) {
    job.show_batch(&planned.submission);
    if let Err(error) = run(&job, &mut planned).await {
        job.fail(error);
    }
    job.kept_items.set(job.kept_items.get().saturating_sub(planned.items.len()));
    outage::forget(&job, planned.submission.sub);
    job.show_batch(&planned.submission);
    if planned.submission.state == SubmissionState::Unresolved {
        planned.items = Vec::new();
        job.state.borrow_mut().undecided.push(planned);
    }
    job.changed.notify_waiters();
}

async fn run(job: &Rc<Job>, planned: &mut Planned) -> Result<(), EngineError> {
    let provider = api(job, planned)?;
    let Some(machine) = machine(job, &planned.submission) else { return Ok(()) };
    let refused = evidence(&planned.submission).and_then(|kept| kept.refused);
    let api = batches(&*provider, planned)?;
    let redirects = Redirects::default();
    let mut driving = Driving { job, api, machine, redirects, told: None, refused, twins: Vec::new() };
    let mut event = driving.word(planned).await.unwrap_or(Event::Begin);
    loop {
        let Some((machine, effects)) = step(&driving.machine, event, &env(job)) else {
            return Err(EngineError::Internal(format!(
                "batch {} took a step that cannot be",
                planned.submission.sub
            )));
        };
        driving.machine = machine;
        for effect in &effects {
            if let Effect::Tell(Notice::NotAdopted(why)) = effect {
                driving.refused = Some(why.clone());
            }
        }
        driving.note(&mut planned.submission);
        // One that is being sent is in no doubt yet.
        if driving.machine.state != State::Sending {
            job.show_batch(&planned.submission);
        }
        let mut next = None;
        for effect in effects {
            next = driving.act(planned, effect).await?;
        }
        let Some(learned) = next else { return Ok(()) };
        event = learned;
    }
}

/// What a step takes into account besides the batch.
fn env(job: &Job) -> Env {
    let run = &job.spec.run;
    Env {
        now_ms: job.clock.unix_ms(),
        epoch: job.epoch,
        times: DoubtTimes {
            t_lag_ms: run.t_lag_ms,
            t_q_ms: run.t_q_ms,
            agree_ms: (run.t_lag_ms / 4).min(30_000),
            ..DoubtTimes::default()
        },
        pace: run.pace(),
        unresolved: run.batch_doubt,
        random: job.random(),
        closing: job.is_closing(),
        held: job.holds_for_doubt(),
        look_ms: u64::try_from(job.pulse.idle.as_millis()).unwrap_or(u64::MAX),
        detaching: job.stop.is_detaching(),
        cancel: job.is_unwanted(),
    }
}

/// What is known of a doubt, as it is kept in the row.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Evidence {
    pub why: String,
    pub doubt: Doubt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

pub(crate) fn evidence(row: &Submission) -> Option<Evidence> {
    serde_json::from_str(row.evidence.as_deref()?).ok()
}

/// The submission as its row tells it; `None` for what is no batch.
fn machine(job: &Job, row: &Submission) -> Option<Machine> {
    let ours = Ours {
        inst: job.inst.clone(),
        sub: row.sub.to_string(),
        items: row.items,
        digest: row.input_digest.clone().unwrap_or_default(),
        input: row.remote_input.clone(),
    };
    let mut machine = Machine::new(row.state.of_batch()?, row.epoch, ours);
    machine.sent_ms = row.sent_at_ms.and_then(|ms| u64::try_from(ms).ok());
    machine.batch.clone_from(&row.remote_batch);
    if let Some(kept) = evidence(row) {
        machine.why = kept.why;
        machine.doubt = Some(kept.doubt);
    }
    Some(machine)
}

impl Driving<'_> {
    /// Writes what the machine decided into the row.
    fn note(&self, row: &mut Submission) {
        let machine = &self.machine;
        row.state = SubmissionState::from(machine.state);
        row.epoch = machine.epoch;
        row.remote_input.clone_from(&machine.ours.input);
        row.remote_batch.clone_from(&machine.batch);
        row.sent_at_ms = machine.sent_ms.and_then(|ms| i64::try_from(ms).ok());
        if let Some(doubt) = &machine.doubt {
            let (why, refused) = (machine.why.clone(), self.refused.clone());
            let evidence = Evidence { why, doubt: doubt.clone(), refused };
            let twins = twin::kept(row);
            row.evidence = serde_json::to_string(&evidence).ok();
            twin::keep(row, &twins);
        }
        if machine.state == State::Ended && row.ended_at_ms.is_none() {
            row.ended_at_ms = Some(self.job.clock.row_ms());
        }
    }

    /// Does one effect to its end; the last of a list answers what was learned, `None` where the driving ends.
    async fn act(&mut self, planned: &mut Planned, effect: Effect) -> Result<Option<Event>, EngineError> {
        let job = self.job;
        Ok(Some(match effect {
            Effect::Save => {
                let mut acts = self.acts(planned, &effect);
                let twins = std::mem::take(&mut self.twins);
                for batch in &twins {
                    acts.ledger.extend(twin::note(job, &mut planned.submission, batch)?);
                }
                save_with(job, &planned.submission, acts).await?;
                for batch in &twins {
                    // At once, as each of its answers costs; it is seen to after this batch, and asked again then.
                    drop(self.api.cancel(batch).await);
                }
                return Ok(None);
            }
            Effect::Tell(Notice::Twin(batch)) => {
                self.twins.push(batch);
                return Ok(None);
            }
            Effect::Tell(notice) => {
                tell(job, &mut planned.submission, &notice);
                return Ok(None);
            }
            Effect::Judge(failure) => {
                self.judge(planned, &failure);
                return Ok(None);
            }
            Effect::Void => {
                planned.take_up(job)?;
                let acts = self.acts(planned, &effect);
                void(job, planned, &self.machine.why, acts).await?;
                return Ok(None);
            }
            Effect::WriteOff(class) => {
                planned.take_up(job)?;
                let acts = self.acts(planned, &effect);
                let booked = acts.ledger.clone();
                collect::write_off(job, planned, class, acts).await?;
                count(job, &booked);
                return Ok(None);
            }
            Effect::Stop => {
                let unresolved = self.machine.state == State::Unresolved;
                job.state.borrow_mut().unresolved += u64::from(unresolved);
                return Ok(None);
            }
            Effect::Upload => return self.upload(planned).await,
            Effect::Create => self.create(planned).await,
            Effect::List { since_s } => {
                let started_ms = job.clock.unix_ms();
                let sub = planned.submission.sub;
                let listing = self.api.list_since(since_s);
                let batches = match outage::patiently(job, sub, "list batches", listing).await {
                    Ok(batches) => {
                        self.answered(sub);
                        Some(batches)
                    }
                    Err(error) if halts(job, &error, &self.redirects) => return Ok(None),
                    Err(error) => {
                        outage::begins(job, sub, &error.to_string());
                        None
                    }
                };
                if let Some(remote) = self.mine(batches.as_deref()) {
                    note_remote(&mut planned.submission, remote);
                }
                Event::Listed { started_ms, batches }
            }
            Effect::Fence => {
                let input = planned.submission.remote_input.clone().unwrap_or_default();
                Event::Fenced { confirmed: self.api.delete_file(&input).await.is_ok() }
            }
            Effect::Poll => return Ok(self.poll(planned).await),
            Effect::Cancel => {
                let id = planned.submission.remote_batch.clone().unwrap_or_default();
                Event::CancelSent(self.api.cancel(&id).await.is_ok())
            }
            Effect::WaitUntil(at_ms) => {
                if self.machine.state == State::Accepted {
                    planned.set_aside(job);
                }
                wait(job, at_ms, self.machine.state, planned.submission.sub).await;
                self.word(planned).await.unwrap_or(Event::Woke)
            }
            Effect::Collect => {
                if matches!(collect::collect(job, planned).await?, Step::Done) {
                    return Ok(None);
                }
                let settled = planned.submission.state == SubmissionState::Settled;
                Event::Collected { accounted: if settled { planned.submission.items } else { 0 } }
            }
        }))
    }

    /// What the operator says of a batch that may be decided that way. Which batch it is meant to be is looked up first.
    async fn word(&mut self, planned: &Planned) -> Option<Event> {
        if !planned.submission.state.is_undecided() {
            return None;
        }
        let told = self.job.state.borrow_mut().told.remove(&planned.submission.sub)?;
        self.job.state.borrow_mut().heard.insert(told.order);
        let event = match &told.decision.act {
            Act::Absent => Event::Release,
            Act::Paid { again, .. } => Event::Paid { again: *again },
            Act::Adopt { batch } => match self.api.poll(batch).await {
                Ok(Some(remote)) => Event::Adopt(Box::new(remote)),
                Ok(None) => Event::NotAdopted(format!("the provider knows no batch {batch}")),
                Err(error) => Event::NotAdopted(error.to_string()),
            },
        };
        self.told = Some(told);
        Some(event)
    }

    /// What goes with the commit of an effect on the operator's word.
    fn acts(&mut self, planned: &Planned, effect: &Effect) -> Acts {
        let Some(told) = self.told.take() else { return Acts::default() };
        let (job, sub) = (self.job, planned.submission.sub);
        let heaps = heaps_of(job, &planned.items);
        let ledger = match (&told.decision.act, effect) {
            (Act::Absent, Effect::Void) => operator::released(job, sub, &heaps, &told.decision),
            (Act::Paid { .. }, Effect::WriteOff(_)) => operator::cleared(job, sub, &heaps, &told.decision),
            (Act::Adopt { .. }, _) if self.machine.state == State::Accepted => {
                operator::cleared(job, sub, &heaps, &told.decision)
            }
            _ => Vec::new(),
        };
        Acts { ledger, orders_done: vec![told.order] }
    }

    fn mine<'a>(&self, listed: Option<&'a [RemoteBatch]>) -> Option<&'a RemoteBatch> {
        match self.machine.ours.find(listed?) {
            bulkrate_core::submission::Found::Here(remote, _) => Some(remote),
            _ => None,
        }
    }

    fn answered(&self, sub: Sub) {
        self.redirects.none();
        outage::ends(self.job, sub);
    }

    /// T3: the input file lies at the provider. Free.
    /// `None`: the job stops, and the file waits here for the next run.
    async fn upload(&self, planned: &Planned) -> Result<Option<Event>, EngineError> {
        let (job, sub) = (self.job, planned.submission.sub);
        let path = job.dir.batch(sub).input();
        let sent = self.api.upload(&path, &format!("bulkrate-{sub}.jsonl")).await;
        match &sent {
            Ok(_) => self.answered(sub),
            // With credentials that are refused another deployment may stand in.
            Err(error) if error.is_redirect() && halts(job, error, &self.redirects) => return Ok(None),
            Err(error) => {
                if let Some(error) = outage::local(error, "could not read", &path) {
                    return Err(error);
                }
                if error.failure.class.verdict() == Verdict::RetryLater {
                    outage::begins(job, sub, &error.to_string());
                }
            }
        }
        let sent = sent.map_err(|error| Failure { message: error.to_string(), ..error.failure });
        Ok(Some(Event::Uploaded(sent)))
    }

    /// T4 and T5: the one create; its intent is durable already.
    async fn create(&self, planned: &mut Planned) -> Event {
        let input = planned.submission.remote_input.clone().unwrap_or_default();
        let created = self.api.create(&input, planned.kind, &self.marker()).await;
        Event::Created(match created {
            Created::Accepted(remote) => {
                note_remote(&mut planned.submission, &remote);
                Creation::Accepted(Box::new(remote))
            }
            Created::Refused(failure) => Creation::Refused(failure),
            Created::InDoubt(why) => Creation::InDoubt(why),
        })
    }

    fn marker(&self) -> Marker {
        let ours = &self.machine.ours;
        Marker {
            inst: ours.inst.clone(),
            sub: ours.sub.clone(),
            items: ours.items,
            digest: ours.digest.clone(),
        }
    }

    /// `None`: the job stops, and the batch goes on at the provider.
    async fn poll(&self, planned: &mut Planned) -> Option<Event> {
        let (job, sub) = (self.job, planned.submission.sub);
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        Some(Event::Polled(match outage::patiently(job, sub, "poll a batch", self.api.poll(&id)).await {
            Ok(Some(remote)) => {
                note_remote(&mut planned.submission, &remote);
                if remote.phase == Phase::Unknown {
                    let status = remote.status.escape_debug();
                    outage::begins(
                        job,
                        sub,
                        &format!(
                            "the provider says that {id} is `{status}`, which is no state that is known"
                        ),
                    );
                } else {
                    self.answered(sub);
                }
                Poll::Seen(Box::new(remote))
            }
            Ok(None) => {
                self.answered(sub);
                Poll::Denied
            }
            Err(error) if halts(job, &error, &self.redirects) => return None,
            Err(error) => {
                outage::begins(job, sub, &error.to_string());
                Poll::Failed(Failure { message: error.to_string(), ..error.failure })
            }
        }))
    }

    /// What a refusal means for the job: wait, turn to another deployment, or stop.
    fn judge(&self, planned: &Planned, failure: &Failure) {
        let job = self.job;
        let message = format!("batch {}: {}", planned.submission.sub, failure.message);
        let mut state = job.state.borrow_mut();
        if !self.machine.state.is_terminal() {
            state.halted.get_or_insert(Halt { class: failure.class, message });
            drop(state);
            job.changed.notify_waiters();
            return;
        }
        if failure.provider_code.as_deref() == Some(QUEUE_FULL) {
            let all = state.enqueued_tokens.saturating_add(planned.tokens);
            state.enqueued_max = Some(enqueued_limit(&failure.message).unwrap_or(all / 2).max(1));
        }
        match failure.class.verdict() {
            Verdict::HaltJob => {
                let own = job.deployments.iter().position(|found| found.pinned == planned.submission.model);
                job.halt_or_fall_back(&mut state, own.unwrap_or(0), failure.class, &message);
            }
            Verdict::RetryLater => {
                drop(state);
                outage::refused(job, failure.wait_ms, &message);
            }
            Verdict::GiveUp => {
                state.halted.get_or_insert(Halt { class: failure.class, message });
            }
        }
    }
}

/// Commits the submission's row as it is now.
pub(crate) async fn save(job: &Rc<Job>, submission: &Submission) -> Result<(), EngineError> {
    save_with(job, submission, Acts::default()).await
}

async fn save_with(job: &Rc<Job>, submission: &Submission, acts: Acts) -> Result<(), EngineError> {
    let mut tx = Tx::new(job.no);
    (tx.ledger, tx.orders_done) = (acts.ledger, acts.orders_done);
    tx.submissions.push((submission.clone(), None));
    job.commit(tx, Urgency::Now).await
}

fn api(job: &Job, planned: &Planned) -> Result<std::sync::Arc<dyn Provider>, EngineError> {
    let found = job.deployments.iter().find(|found| {
        found.pinned == planned.submission.model && found.account.id == planned.submission.account
    });
    found.map(|found| found.account.api.clone()).ok_or_else(|| EngineError::BadSpec {
        code: "account-changed",
        what: format!("batch {} belongs to another account", planned.submission.sub),
        why: "it was sent with other credentials or another base URL; a submission stays with its account"
            .to_owned(),
    })
}

fn batches<'a>(provider: &'a dyn Provider, planned: &Planned) -> Result<&'a dyn BatchApi, EngineError> {
    provider.batches().ok_or_else(|| {
        EngineError::Provider(format!(
            "`{}` has no batch API for batch {}",
            provider.name(),
            planned.submission.sub
        ))
    })
}

/// What the provider says of the batch, as far as it goes on from what is known: an end is an end (I13).
fn note_remote(submission: &mut Submission, remote: &RemoteBatch) {
    submission.remote_phase = Some(remote.phase.name().to_owned());
    submission.counts = remote.counts;
    submission.remote_output.clone_from(&remote.output_file);
    submission.remote_errors.clone_from(&remote.error_file);
}

/// Ends a submission that was surely not paid; its items are queued again.
async fn void(job: &Rc<Job>, planned: &mut Planned, why: &str, acts: Acts) -> Result<(), EngineError> {
    job.settle_pending()?;
    let leases: Vec<Lease> = planned.items.iter().map(Ready::lease).collect();
    let tokens = planned.tokens;
    {
        let mut shared = job.state.borrow_mut();
        shared.items.release(&leases);
        shared.enqueued_tokens = shared.enqueued_tokens.saturating_sub(tokens);
        for ready in &planned.items {
            shared.budget.release(ready.tags, ready.bound);
            let at = At {
                lane: Some(Lane::Batch),
                deployment: ready.deployment,
                tags: ready.tags,
                sub: Some(planned.submission.sub),
            };
            shared.moved.add(LedgerKind::Release, None, at, 1, ready.bound);
            let due_us = shared.batch_not_before_us;
            shared.queue(Retry { due_us, ordinal: ready.ordinal, lane: Lane::Batch });
        }
    }
    planned.submission.ended_at_ms = Some(job.clock.row_ms());
    let twins = twin::kept(&planned.submission);
    planned.submission.evidence = Some(serde_json::json!({ "why": why }).to_string());
    twin::keep(&mut planned.submission, &twins);
    let mut tx = Tx::new(job.no);
    tx.submissions.push((planned.submission.clone(), None));
    // A doubt that was cleared stands beside what is released, so that no sum is ever above the cap in between.
    tx.ledger = job.take_ledger();
    tx.ledger.extend(acts.ledger);
    tx.orders_done = acts.orders_done;
    job.commit(tx, Urgency::Now).await
}

/// Sleeps, but not through a wish to stop or to cancel what was not cancelled yet.
async fn wait(job: &Rc<Job>, at_ms: u64, state: State, sub: Sub) {
    let until = job.clock.at_unix_ms(at_ms);
    // Held back because too much is in doubt: it goes as soon as less is.
    let held = state == State::Staged && job.clock.unix_ms() < at_ms;
    job.state.borrow_mut().held_batches += u64::from(held);
    sleep_or_wish(job, at_ms, until, state, sub).await;
    job.state.borrow_mut().held_batches -= u64::from(held);
}

async fn sleep_or_wish(job: &Rc<Job>, at_ms: u64, until: Instant, state: State, sub: Sub) {
    while !job.stop.is_detaching() && job.clock.unix_ms() < at_ms {
        if job.is_unwanted()
            && state != State::Cancelling
            && state != State::InDoubt
            && state != State::Fencing
        {
            return;
        }
        if matches!(state, State::InDoubt | State::Fencing) && job.state.borrow().told.contains_key(&sub) {
            return;
        }
        tokio::select! {
            biased; // the same world does the same
            () = sleep_until(until) => {}
            () = job.stop.changed() => {}
            () = job.wishes.notified() => {}
            () = job.changed.notified(), if state == State::Staged => return,
        }
    }
}

fn tell(job: &Job, row: &mut Submission, notice: &Notice) {
    let sub = row.sub;
    let id = row.remote_batch.as_deref().unwrap_or("?").to_owned();
    let note = |message: String| job.tell(&event::Event::Note { message: &message });
    match notice {
        Notice::UploadFailed(why) => note(format!("uploading the input of batch {sub}: {why}; trying again")),
        Notice::InDoubt(why) => job.alert("batch-in-doubt", &format!("batch {sub} may or may not have been created ({why}); looking for it, nothing is sent again")),
        Notice::Adopted(found) => note(format!("batch {sub} was found as {found} and adopted: nothing is paid twice")),
        Notice::NotAdopted(why) => job.alert("batch-not-adopted", &format!("submission {sub}: {why}; nothing is changed")),
        Notice::Twin(_) => {} // told where it is noted
        Notice::Strange(why) => job.alert("batch-anomaly", &format!("{why}; nothing is concluded from it")),
        Notice::Absent => note(format!("batch {sub} was proved not to exist; its items are sent again")),
        Notice::Unresolved => job.alert("batch-unresolved", &format!("batch {sub} could not be proved to exist or not; its items and money stay reserved")),
        Notice::PollFailed(why) => note(format!("{why}; the batch goes on, asking again later")),
        Notice::Denied => note(format!("batch {id} is unknown to the provider; asking again before it counts as lost")),
        Notice::Vanished => {
            row.remote_output = None;
            row.remote_errors = None;
            row.remote_phase = Some(EndKind::Vanished.name().to_owned());
            job.alert("batch-vanished", &format!("batch {id} is unknown to the provider; its items stay reserved as doubt"));
        }
        Notice::Overdue => job.alert("batch-overdue", &format!("batch {id} was sent over 25 hours ago and has not ended; `bulkrate cancel` collects what it has finished")),
        Notice::Regressed { from, to } => note(format!("batch {id} was {} and is now said to be {}", from.name(), to.name())),
        Notice::CancelFailed => note(format!("batch {id} could not be cancelled; asking again")),
    }
}

impl Job {
    /// Whether open batches are to be cancelled: the job was, or its deadline is near.
    pub(crate) fn is_unwanted(&self) -> bool {
        let state = self.state.borrow();
        state.cancelled || state.switched
    }

    /// Shows a batch in the display and tells when its state changed.
    pub(crate) fn show_batch(&self, submission: &Submission) {
        let phase = match submission.state {
            SubmissionState::Accepted | SubmissionState::Cancelling => {
                submission.remote_phase.clone().unwrap_or_else(|| "accepted".to_owned())
            }
            state => state.name().to_owned(),
        };
        let mut state = self.state.borrow_mut();
        state.note_doubt(submission);
        let before = state.batches.get(&submission.sub);
        let since_ms = before
            .filter(|before| before.state == phase)
            .map_or_else(|| self.clock.row_ms(), |before| before.since_ms);
        let line = event::BatchLine {
            sub: submission.sub.to_string(),
            batch: submission.remote_batch.clone(),
            state: phase,
            items: u64::from(submission.items),
            completed: submission.counts.completed,
            failed: submission.counts.failed,
            since_ms,
        };
        let changed = before.is_none_or(|before| before.state != line.state);
        if submission.state.is_terminal() {
            state.batches.remove(&submission.sub);
        } else {
            state.batches.insert(submission.sub, line.clone());
        }
        drop(state);
        if changed {
            self.tell(&event::Event::Batch { batch: &line });
        }
    }
}
