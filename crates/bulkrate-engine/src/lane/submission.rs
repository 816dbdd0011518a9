//! Drives one batch from its staged files to its last ledger entry (reliability section 4, T3 to T7).
//!
//! Invariants
//! - Every arrow is one durable commit before the next step begins; a task dropped anywhere is taken up by `recover`.
//! - The create is sent once. What happens to it is decided by evidence, never by a timer.

use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::lane::Lane;
use bulkrate_core::submission::{Doubt, DoubtStep, DoubtTimes, Marker, Phase, PollPace, RemoteBatch};
use bulkrate_provider::{ApiError, BatchApi, Created};
use bulkrate_store::{Lease, LedgerKind, Submission, SubmissionState, Tx, Urgency};
use tokio::time::sleep;

use super::collect;
use super::pack::Planned;
use crate::EngineError;
use crate::event::{BatchLine, Event};
use crate::run::job::{Halt, Job, Retry};
use crate::run::ledger::At;

/// A batch counts as lost when the provider denies it so often in a row.
const UNKNOWN_POLLS: u32 = 4;

/// The completion window of a day, and an hour's grace.
const OVERDUE_MS: i64 = 25 * 3_600_000;

/// How often a batch that is held back looks whether it may go.
const HELD_LOOK_MS: u64 = 200;

/// What the next step is.
pub(super) enum Step {
    Go,
    /// Nothing more to do in this run.
    Done,
}

/// Takes a batch through its states until it is settled, void, or the operator's.
pub(crate) async fn drive(job: Rc<Job>, mut planned: Planned) {
    loop {
        job.show_batch(&planned.submission);
        match step(&job, &mut planned).await {
            Ok(Step::Go) => {}
            Ok(Step::Done) => break,
            Err(error) => {
                job.fail(error);
                break;
            }
        }
    }
    job.show_batch(&planned.submission);
    job.changed.notify_waiters();
}

async fn step(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    use SubmissionState as S;
    if job.state.borrow().cancelled && matches!(planned.submission.state, S::Planned | S::Staging | S::Staged)
    {
        void(job, planned, S::Refused, "the job was cancelled before the batch was created").await?;
        return Ok(Step::Done);
    }
    match planned.submission.state {
        // An unsent batch whose input file is spoilt: nothing is lost but the work of writing it.
        S::Planned => void(job, planned, S::Refused, "the input file was changed or lost before it was sent")
            .await
            .map(|()| Step::Done),
        S::Staging => upload(job, planned).await,
        S::Staged => create(job, planned).await,
        S::Sending | S::InDoubt | S::Fencing => resolve(job, planned).await,
        S::Accepted | S::Cancelling => follow(job, planned).await,
        S::Ended | S::Collecting => collect::collect(job, planned).await,
        S::Settled | S::Refused | S::Absent | S::Unresolved | S::Call => Ok(Step::Done),
    }
}

/// Commits the submission's row as it is now.
pub(crate) async fn save(
    job: &Rc<Job>,
    submission: &mut Submission,
    state: SubmissionState,
) -> Result<(), EngineError> {
    submission.state = state;
    submission.epoch = job.epoch;
    let mut tx = Tx::new(job.no);
    tx.submissions.push((submission.clone(), None));
    job.commit(tx, Urgency::Now).await
}

fn api(job: &Job, planned: &Planned) -> Result<std::sync::Arc<dyn bulkrate_provider::Provider>, EngineError> {
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

fn batches<'a>(
    provider: &'a dyn bulkrate_provider::Provider,
    planned: &Planned,
) -> Result<&'a dyn BatchApi, EngineError> {
    provider.batches().ok_or_else(|| {
        EngineError::Provider(format!(
            "`{}` has no batch API for batch {}",
            provider.name(),
            planned.submission.sub
        ))
    })
}

/// T3: the input file lies at the provider. Free, so it is repeated until it works.
async fn upload(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    let provider = api(job, planned)?;
    let api = batches(&*provider, planned)?;
    let sub = planned.submission.sub;
    let path = job.dir.batch(sub).input();
    match api.upload(&path, &format!("bulkrate-{sub}.jsonl")).await {
        Ok(file) => {
            planned.submission.remote_input = Some(file);
            save(job, &mut planned.submission, SubmissionState::Staged).await?;
            Ok(Step::Go)
        }
        // The file stays staged here, however long the provider is away: packing it anew would only fill the disk.
        Err(error) if error.failure.class.verdict() == Verdict::RetryLater && !job.is_closing() => {
            job.tell(&Event::Note {
                message: &format!("uploading the input of batch {sub}: {error}; trying again"),
            });
            let pause_ms = error.failure.wait_ms.unwrap_or(0).max(job.spec.run.poll_min_ms.min(60_000));
            wait(job, pause_ms + job.random() % (pause_ms / 10 + 1)).await;
            Ok(if job.stop.is_detaching() { Step::Done } else { Step::Go })
        }
        Err(error) => {
            refused(job, planned, &error.failure, &format!("uploading the input of batch {sub}: {error}"))
                .await
        }
    }
}

/// T4 and T5: the intent is durable, then the one create.
async fn create(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    if job.is_closing() {
        return Ok(Step::Done); // nothing was sent; the next run goes on from here
    }
    if job.holds_for_doubt() {
        job.state.borrow_mut().held_batches += 1;
        wait(job, HELD_LOOK_MS).await;
        job.state.borrow_mut().held_batches -= 1;
        return Ok(Step::Go);
    }
    let provider = api(job, planned)?;
    let api = batches(&*provider, planned)?;
    planned.submission.sent_at_ms = Some(job.clock.row_ms());
    save(job, &mut planned.submission, SubmissionState::Sending).await?;
    let marker = marker(job, &planned.submission);
    let input = planned.submission.remote_input.clone().unwrap_or_default();
    match api.create(&input, planned.kind, &marker).await {
        Created::Accepted(remote) => {
            adopt(job, planned, &remote).await?;
            Ok(Step::Go)
        }
        Created::Refused(failure) => {
            let message = format!("creating batch {}: {}", planned.submission.sub, failure.message);
            refused(job, planned, &failure, &message).await
        }
        Created::InDoubt(why) => {
            let sent = planned.submission.sent_at_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
            put_doubt(
                &mut planned.submission,
                &Doubt::new(sent.max(job.clock.unix_ms()), job.clock.unix_ms()),
                &why,
            );
            save(job, &mut planned.submission, SubmissionState::InDoubt).await?;
            job.alert("batch-in-doubt", &format!("batch {} may or may not have been created ({why}); looking for it, nothing is sent again", planned.submission.sub));
            Ok(Step::Go)
        }
    }
}

fn marker(job: &Job, submission: &Submission) -> Marker {
    Marker {
        inst: job.inst.clone(),
        sub: submission.sub.to_string(),
        items: submission.items,
        digest: submission.input_digest.clone().unwrap_or_default(),
    }
}

async fn adopt(job: &Rc<Job>, planned: &mut Planned, remote: &RemoteBatch) -> Result<(), EngineError> {
    planned.submission.remote_batch = Some(remote.id.clone());
    note_remote(&mut planned.submission, remote);
    save(job, &mut planned.submission, SubmissionState::Accepted).await
}

fn note_remote(submission: &mut Submission, remote: &RemoteBatch) {
    submission.remote_phase = Some(remote.phase.name().to_owned());
    submission.counts = remote.counts;
    submission.remote_output.clone_from(&remote.output_file);
    submission.remote_errors.clone_from(&remote.error_file);
}

/// Proved unpaid: the leases are void, the reservation free, and the failure says what comes next.
async fn refused(
    job: &Rc<Job>,
    planned: &mut Planned,
    failure: &Failure,
    message: &str,
) -> Result<Step, EngineError> {
    void(job, planned, SubmissionState::Refused, message).await?;
    let now_us = job.clock.us();
    let mut state = job.state.borrow_mut();
    let deployment =
        job.deployments.iter().position(|found| found.pinned == planned.submission.model).unwrap_or(0);
    match failure.class.verdict() {
        Verdict::HaltJob => job.halt_or_fall_back(&mut state, deployment, failure.class, message),
        Verdict::RetryLater => {
            let wait_us = failure
                .wait_ms
                .map_or(job.spec.run.poll_min_ms.min(60_000) * 1_000, |wait| wait.saturating_mul(1_000));
            state.batch_not_before_us = state.batch_not_before_us.max(now_us.saturating_add(wait_us));
            drop(state);
            job.tell(&Event::Note { message });
        }
        Verdict::GiveUp => {
            state.halted.get_or_insert(Halt { class: failure.class, message: message.to_owned() });
        }
    }
    Ok(Step::Done)
}

/// Ends a submission that was surely not paid; its items are queued again.
async fn void(
    job: &Rc<Job>,
    planned: &mut Planned,
    state: SubmissionState,
    why: &str,
) -> Result<(), EngineError> {
    job.settle_pending()?;
    let leases: Vec<Lease> = planned
        .items
        .iter()
        .map(|ready| Lease { ordinal: ready.ordinal, attempt: ready.attempt, bound: ready.bound })
        .collect();
    let tokens: u64 = planned.items.iter().map(|ready| job.prompt_tokens(ready)).sum();
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
    planned.submission.state = state;
    planned.submission.epoch = job.epoch;
    planned.submission.ended_at_ms = Some(job.clock.row_ms());
    planned.submission.evidence = Some(serde_json::json!({ "why": why }).to_string());
    let mut tx = Tx::new(job.no);
    tx.submissions.push((planned.submission.clone(), None));
    tx.ledger = job.take_ledger();
    job.commit(tx, Urgency::Now).await
}

/// Polls until the batch has ended at the provider.
async fn follow(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    let provider = api(job, planned)?;
    let api = batches(&*provider, planned)?;
    let pace = PollPace { min_ms: job.spec.run.poll_min_ms, max_ms: job.spec.run.poll_max_ms };
    let (mut polls, mut unknown) = (0, 0);
    let mut overdue_told = false;
    loop {
        let age_ms = job.clock.row_ms().saturating_sub(planned.submission.sent_at_ms.unwrap_or_default());
        if !overdue_told && age_ms > OVERDUE_MS {
            overdue_told = true;
            let id = planned.submission.remote_batch.as_deref().unwrap_or("?");
            job.alert(
                "batch-overdue",
                &format!("batch {id} was sent over 25 hours ago and has not ended; `bulkrate cancel` collects what it has finished"),
            );
        }
        wait(job, pace.wait_ms(polls, job.random())).await;
        if job.stop.is_detaching() {
            return Ok(Step::Done);
        }
        polls += 1;
        cancel_if_wanted(job, planned, api).await?;
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        let remote = match api.poll(&id).await {
            Ok(Some(remote)) => remote,
            Ok(None) if unknown + 1 < UNKNOWN_POLLS => {
                unknown += 1;
                job.tell(&Event::Note {
                    message: &format!(
                        "batch {id} is unknown to the provider; asking again before it counts as lost"
                    ),
                });
                continue;
            }
            Ok(None) => return vanished(job, planned).await,
            Err(error) if halts(job, &error) => return Ok(Step::Done),
            Err(error) => {
                job.tell(&Event::Note {
                    message: &format!("{error}; the batch goes on, asking again later"),
                });
                continue;
            }
        };
        unknown = 0;
        note_remote(&mut planned.submission, &remote);
        job.show_batch(&planned.submission);
        match remote.phase {
            Phase::Failed => return failed(job, planned, &remote).await,
            phase if phase.is_terminal() => {
                planned.submission.ended_at_ms = Some(job.clock.row_ms());
                save(job, &mut planned.submission, SubmissionState::Ended).await?;
                return Ok(Step::Go);
            }
            _ => {}
        }
    }
}

/// Whether an error of a free call means that every further call would fail like it, as with credentials that are refused:
/// then the job stops. Its batches stay at the provider, and the next run goes on with them.
pub(super) fn halts(job: &Job, error: &ApiError) -> bool {
    let class = error.failure.class;
    if class.verdict() != Verdict::HaltJob {
        return false;
    }
    job.state.borrow_mut().halted.get_or_insert(Halt { class, message: error.to_string() });
    job.changed.notify_waiters();
    true
}

/// Sleeps, but not through a wish to stop.
async fn wait(job: &Rc<Job>, wait_ms: u64) {
    let until = job.clock.us() + wait_ms * 1_000;
    while job.clock.us() < until && !job.stop.is_detaching() {
        let step = (until - job.clock.us()).min(500_000);
        tokio::select! {
            () = sleep(Duration::from_micros(step.max(100))) => {}
            () = job.stop.changed() => {}
        }
        let state = job.state.borrow();
        if state.cancelled || state.switched {
            break;
        }
    }
}

async fn cancel_if_wanted(
    job: &Rc<Job>,
    planned: &mut Planned,
    api: &dyn BatchApi,
) -> Result<(), EngineError> {
    let wanted = {
        let state = job.state.borrow();
        state.cancelled || state.switched
    };
    if !wanted || planned.submission.state == SubmissionState::Cancelling {
        return Ok(());
    }
    let id = planned.submission.remote_batch.clone().unwrap_or_default();
    match api.cancel(&id).await {
        Ok(()) => save(job, &mut planned.submission, SubmissionState::Cancelling).await,
        Err(error) => {
            job.tell(&Event::Note { message: &format!("{error}; asking again") });
            Ok(())
        }
    }
}

/// Refused as a whole after the create: nothing ran, nothing is billed.
async fn failed(job: &Rc<Job>, planned: &mut Planned, remote: &RemoteBatch) -> Result<Step, EngineError> {
    let told = remote.errors.first();
    let code = told.and_then(|error| error.code.as_deref()).unwrap_or("");
    let text = told.map_or("the provider gave no reason", |error| error.message.as_str());
    let message = format!("batch {} was refused: {text}", remote.id);
    if code == "token_limit_exceeded" {
        {
            let mut state = job.state.borrow_mut();
            let others = state.enqueued_tokens;
            state.enqueued_max = Some(learned_limit(text).unwrap_or(others / 2).max(1));
        }
        let failure = Failure {
            class: FailureClass::RateLimited,
            message: message.clone(),
            provider_code: Some(code.to_owned()),
            wait_ms: None,
            maybe_paid: false,
        };
        return refused(job, planned, &failure, &message).await;
    }
    let class = match code {
        "billing_hard_limit_reached" => FailureClass::Billing,
        "model_not_found" => FailureClass::ModelUnavailable,
        "too_many_requests" => FailureClass::RateLimited,
        _ => FailureClass::RefusedByProvider,
    };
    let failure = Failure {
        class,
        message: message.clone(),
        provider_code: Some(code.to_owned()),
        wait_ms: None,
        maybe_paid: false,
    };
    refused(job, planned, &failure, &message).await
}

/// `Limit: 2,000,000 enqueued tokens` in the provider's message.
fn learned_limit(text: &str) -> Option<u64> {
    let digits: String = text
        .split_once("Limit: ")?
        .1
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// The provider no longer knows a batch it had accepted: its results are lost, its price is in doubt.
async fn vanished(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    job.alert(
        "batch-vanished",
        &format!(
            "batch {} is unknown to the provider; its items stay reserved as doubt",
            planned.submission.remote_batch.as_deref().unwrap_or("?")
        ),
    );
    planned.submission.remote_output = None;
    planned.submission.remote_errors = None;
    planned.submission.ended_at_ms = Some(job.clock.row_ms());
    planned.submission.remote_phase = Some("vanished".to_owned());
    save(job, &mut planned.submission, SubmissionState::Ended).await?;
    Ok(Step::Go)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Evidence {
    why: String,
    doubt: Doubt,
}

fn put_doubt(submission: &mut Submission, doubt: &Doubt, why: &str) {
    submission.evidence = serde_json::to_string(&Evidence { why: why.to_owned(), doubt: doubt.clone() }).ok();
}

/// IN_DOUBT: look for our marker, fence by deleting the input file, and only a proof frees the items.
async fn resolve(job: &Rc<Job>, planned: &mut Planned) -> Result<Step, EngineError> {
    let provider = api(job, planned)?;
    let api = batches(&*provider, planned)?;
    let run = &job.spec.run;
    let times = DoubtTimes {
        t_lag_ms: run.t_lag_ms,
        t_q_ms: run.t_q_ms,
        agree_ms: (run.t_lag_ms / 4).min(30_000),
        ..DoubtTimes::default()
    };
    let kept =
        planned.submission.evidence.as_deref().and_then(|text| serde_json::from_str::<Evidence>(text).ok());
    let sent = planned.submission.sent_at_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    let (why, mut doubt) = kept.map_or_else(
        || {
            (
                "the process ended while the create was under way".to_owned(),
                // The process that was sending is gone, and with it the last moment at which a byte could leave.
                Doubt::new(job.clock.unix_ms(), job.clock.unix_ms()),
            )
        },
        |kept| (kept.why, kept.doubt),
    );
    if planned.submission.state == SubmissionState::Sending {
        put_doubt(&mut planned.submission, &doubt, &why);
        save(job, &mut planned.submission, SubmissionState::InDoubt).await?;
    }
    loop {
        if job.stop.is_detaching() {
            return Ok(Step::Done);
        }
        let now_ms = job.clock.unix_ms();
        match doubt.step(&times, now_ms) {
            DoubtStep::Probe => match probe(job, planned, api, sent).await {
                Ok(Some(remote)) => {
                    job.tell(&Event::Note {
                        message: &format!(
                            "batch {} was found as {} and adopted: nothing is paid twice",
                            planned.submission.sub, remote.id
                        ),
                    });
                    adopt(job, planned, &remote).await?;
                    return Ok(Step::Go);
                }
                Ok(None) => doubt.listed(&times, now_ms, true),
                Err(error) if halts(job, &error) => return Ok(Step::Done),
                Err(_) => doubt.listed(&times, now_ms, false),
            },
            DoubtStep::Fence => {
                save(job, &mut planned.submission, SubmissionState::Fencing).await?;
                let input = planned.submission.remote_input.clone().unwrap_or_default();
                let confirmed = api.delete_file(&input).await.is_ok();
                doubt.fenced(job.clock.unix_ms(), confirmed);
            }
            DoubtStep::WaitUntil(at) => {
                put_doubt(&mut planned.submission, &doubt, &why);
                let state = planned.submission.state;
                save(job, &mut planned.submission, state).await?;
                wait(job, at.saturating_sub(job.clock.unix_ms())).await;
            }
            DoubtStep::Absent => {
                job.tell(&Event::Note {
                    message: &format!(
                        "batch {} was proved not to exist; its items are sent again",
                        planned.submission.sub
                    ),
                });
                void(job, planned, SubmissionState::Absent, &why).await?;
                return Ok(Step::Done);
            }
            DoubtStep::Unresolved => {
                put_doubt(&mut planned.submission, &doubt, &why);
                save(job, &mut planned.submission, SubmissionState::Unresolved).await?;
                job.state.borrow_mut().unresolved += 1;
                job.alert(
                    "batch-unresolved",
                    &format!(
                        "batch {} could not be proved to exist or not; its items and money stay reserved",
                        planned.submission.sub
                    ),
                );
                return Ok(Step::Done);
            }
        }
    }
}

/// One complete listing; `None`: the marker is not in it.
async fn probe(
    job: &Rc<Job>,
    planned: &Planned,
    api: &dyn BatchApi,
    sent_ms: u64,
) -> Result<Option<RemoteBatch>, ApiError> {
    let since_s = (sent_ms / 1_000).saturating_sub(600);
    let listed = api.list_since(since_s).await?;
    let input = planned.submission.remote_input.as_deref();
    Ok(listed.into_iter().find(|remote| {
        let marked =
            remote.marker.as_ref().is_some_and(|marker| marker.is_for(&job.inst, planned.submission.sub));
        marked && (remote.input_file.is_none() || remote.input_file.as_deref() == input)
    }))
}

impl Job {
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
        let line = BatchLine {
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
            self.tell(&Event::Batch { batch: &line });
        }
    }
}
