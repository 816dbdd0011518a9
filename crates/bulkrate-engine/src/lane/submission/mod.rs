//! Drives one batch from its staged files to its last ledger entry (T3 to T7 of ARCHITECTURE.md, section 6).
//!
//! What happens is decided by `bulkrate_core::submission::step`; this folder does what it says and tells it what came of it.
//!
//! Invariants
//! - Effects are done in the order in which they come, each to its end: nothing follows a `Save` before it is durable.
//! - A task dropped anywhere is taken up by `recover`: all that a step needs is in the row.

mod row;
mod remote;
mod owner;
mod commit;
mod wait;
mod tell;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bulkrate_core::ids::Sub;
use bulkrate_core::submission::{DoubtTimes, Effect, Env, Event, Machine, Notice, Owner, State, step};
use bulkrate_provider::{BatchApi, Provider};
use bulkrate_store::{Submission, SubmissionState};

use self::row::machine;
use self::tell::tell;
use self::wait::wait;
use super::collect;
use super::outage::{self, Redirects};
use super::pack::Planned;
use super::stood_in;
use crate::EngineError;
use crate::decision::Act;
use crate::run::heaps::heaps_of;
use crate::run::job::Job;
use crate::run::operator::{self, Acts, Told};
use crate::run::recover;

pub(super) use self::commit::{save, save_with};
pub(crate) use self::row::{Evidence, evidence};

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
    /// Whose batches are that were looked into, by their ids.
    owners: HashMap<String, Owner>,
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
    let api = batches(&*provider, planned.submission.sub)?;
    let Some(machine) = machine(job, api.facts(), &planned.submission) else { return Ok(()) };
    let refused = evidence(&planned.submission).and_then(|kept| kept.refused);
    let (redirects, twins, owners) = (Redirects::default(), Vec::new(), HashMap::new());
    let mut driving = Driving { job, api, machine, redirects, told: None, refused, twins, owners };
    let mut event = driving.word(planned).await?.unwrap_or(Event::Begin);
    loop {
        let Some((machine, effects)) = step(&driving.machine, event, &driving.env(&planned.submission))
        else {
            return Err(EngineError::Internal(format!(
                "batch {} took a step that cannot be",
                planned.submission.sub
            )));
        };
        driving.machine = machine;
        driving.heed(&effects);
        driving.note(&mut planned.submission);
        job.state.borrow_mut().note_create(&planned.submission);
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

/// Whether a batch runs to its end, whatever becomes of the job.
fn must_run(job: &Job, state: State, row: &Submission) -> bool {
    state == State::Accepted && job.cannot_cancel(&row.account)
}

impl Driving<'_> {
    /// What a step takes into account besides the batch.
    fn env(&self, row: &Submission) -> Env {
        let job = self.job;
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
            pace: job.poll_pace(),
            unresolved: run.batch_doubt,
            random: job.random(),
            closing: job.is_closing(),
            held: job.holds_for_doubt() || job.state.borrow().awaits_create(row, self.api.facts().known_by),
            look_ms: u64::try_from(job.pulse.idle.as_millis()).unwrap_or(u64::MAX),
            detaching: job.stop.is_detaching(),
            cancel: job.is_unwanted() && !must_run(job, self.machine.state, row),
            elsewhere: is_left(job, row),
        }
    }

    /// Takes in what the next commit of the row notes.
    fn heed(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Tell(Notice::NotAdopted(why)) => self.refused = Some(why.clone()),
                Effect::Tell(Notice::Twin(batch)) => self.twins.push(batch.clone()),
                _ => {}
            }
        }
    }

    /// Does one effect to its end; the last of a list answers what was learned, `None` where the driving ends.
    async fn act(&mut self, planned: &mut Planned, effect: Effect) -> Result<Option<Event>, EngineError> {
        match effect {
            Effect::Save => self.save(planned).await?,
            Effect::Tell(notice) => tell(self.job, &mut planned.submission, &notice),
            Effect::Judge(failure) => self.judge(planned, &failure),
            Effect::Void => self.void(planned).await?,
            Effect::WriteOff(class) => self.write_off(planned, class).await?,
            Effect::Stop => {
                let unresolved = self.machine.state == State::Unresolved;
                self.job.state.borrow_mut().unresolved += u64::from(unresolved);
            }
            Effect::Upload => return self.upload(planned).await,
            Effect::Create => return Ok(Some(self.create(planned).await)),
            Effect::List { since_s } => return self.list(planned, since_s).await,
            Effect::Fence => return Ok(Some(self.fence(planned).await)),
            Effect::Poll => return Ok(self.poll(planned).await),
            Effect::Cancel => return Ok(Some(self.cancel(planned).await)),
            Effect::WaitUntil(at_ms) => return self.wait(planned, at_ms).await.map(Some),
            Effect::Collect => return self.collect(planned).await,
        }
        Ok(None)
    }

    async fn wait(&mut self, planned: &mut Planned, at_ms: u64) -> Result<Event, EngineError> {
        if self.machine.state == State::Accepted {
            planned.set_aside(self.job);
        }
        wait(self.job, at_ms, self.machine.state, &planned.submission).await;
        let strays = self.job.state.borrow_mut().strays.remove(&planned.submission.sub);
        if let Some(strays) = strays {
            self.twins.extend(strays);
            self.save(planned).await?;
        }
        Ok(self.word(planned).await?.unwrap_or(Event::Woke))
    }

    async fn collect(&self, planned: &mut Planned) -> Result<Option<Event>, EngineError> {
        if matches!(collect::collect(self.job, self.api, planned).await?, Step::Done) {
            return Ok(None);
        }
        let settled = planned.submission.state == SubmissionState::Settled;
        Ok(Some(Event::Collected { accounted: if settled { self.machine.ours.items } else { 0 } }))
    }

    /// What the operator says of a batch that may be decided that way. Which batch it is meant to be is looked up first.
    async fn word(&mut self, planned: &Planned) -> Result<Option<Event>, EngineError> {
        if !planned.submission.state.is_undecided() {
            return Ok(None);
        }
        let told = self.job.state.borrow_mut().told.remove(&planned.submission.sub);
        let Some(told) = told else { return Ok(None) };
        self.job.state.borrow_mut().heard.insert(told.order);
        let event = match &told.decision.act {
            Act::Absent => Event::Release,
            Act::Paid { again, .. } => Event::Paid { again: *again },
            Act::Adopt { batch } => match self.api.poll(batch).await {
                Ok(Some(mut remote)) => {
                    self.recognize(&planned.submission, std::slice::from_mut(&mut remote)).await?;
                    Event::Adopt(Box::new(remote))
                }
                Ok(None) => Event::NotAdopted(format!("the provider knows no batch {batch}")),
                Err(error) => Event::NotAdopted(error.to_string()),
            },
        };
        self.told = Some(told);
        Ok(Some(event))
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
}

/// Whether its items go to another deployment, and it is not the one that tries whether this one is back.
pub(super) fn is_left(job: &Job, row: &Submission) -> bool {
    let Some(place) = recover::sender(job, row) else { return false };
    let left = job.is_left(place) || stood_in::is_outdated(job, row, place);
    left && !job.state.borrow().batch_queues[place].breaker.is_trial(row.sub)
}

fn api(job: &Job, planned: &Planned) -> Result<Arc<dyn Provider>, EngineError> {
    let found = recover::sender(job, &planned.submission);
    found
        .map(|place| job.deployments[place].account.api.clone())
        .ok_or_else(|| recover::other_account(&job.deployments, &planned.submission))
}

pub(super) fn batches(provider: &dyn Provider, sub: Sub) -> Result<&dyn BatchApi, EngineError> {
    let missing = || EngineError::Provider(format!("`{}` has no batch API for batch {sub}", provider.name()));
    provider.batches().ok_or_else(missing)
}
