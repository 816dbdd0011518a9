//! What a batch's steps ask of the provider, and what a refusal means for the job.

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::{FailureClass, Verdict};
use bulkrate_core::planted::{self, Bug};
use bulkrate_core::submission::refusal::{QUEUE_FULL, enqueued_limit};
use bulkrate_core::submission::{Creation, Event, Found, Marker, Phase, Poll, RemoteBatch};
use bulkrate_provider::{ApiError, Created, NOT_SENT};

use super::Driving;
use super::row::note_remote;
use crate::EngineError;
use crate::event::Event as Told;
use crate::lane::breaker::{self, Ask};
use crate::lane::fetch::named;
use crate::lane::outage::{self, halts};
use crate::lane::pack::Planned;
use crate::lane::reach;
use crate::run::job::{Halt, Job};
use crate::run::recover;

impl Driving<'_> {
    /// T3: the input file lies at the provider. Free.
    /// `None`: the job stops, and the file waits here for the next run.
    pub(super) async fn upload(&self, planned: &Planned) -> Result<Option<Event>, EngineError> {
        let (job, sub) = (self.job, planned.submission.sub);
        let path = job.dir.batch(sub).input();
        let began_us = job.clock.us();
        let sent = self.api.upload(&path, &format!("bulkrate-{sub}.jsonl")).await;
        match &sent {
            Ok(_) => self.answered(planned, Ask::Upload),
            // With credentials that are refused another deployment may stand in.
            Err(error) if error.is_redirect() && halts(job, error, &self.redirects) => return Ok(None),
            Err(error) => {
                if let Some(error) = outage::local(error, "could not read", &path) {
                    return Err(error);
                }
                if self.unanswered(planned, error, began_us) {
                    return Ok(None);
                }
                if error.failure.class.verdict() == Verdict::RetryLater {
                    outage::begins(job, sub, &error.to_string());
                    breaker::failed(job, self.place(planned), Ask::Upload);
                }
            }
        }
        let sent = sent.map_err(|error| Failure { message: error.to_string(), ..error.failure });
        Ok(Some(Event::Uploaded(sent)))
    }

    /// T4 and T5: the one create; its intent is durable already.
    pub(super) async fn create(&self, planned: &mut Planned) -> Event {
        let input = planned.submission.remote_input.clone().unwrap_or_default();
        let model =
            self.place(planned).map(|place| self.job.deployments[place].model.as_str()).unwrap_or_default();
        let requests = u64::from(self.machine.ours.items);
        // Before it leaves: a task that is dropped meanwhile has sent it all the same.
        self.job.state.borrow_mut().tally.sent_batch(requests);
        let created = self.api.create(&input, planned.kind, model, &self.marker()).await;
        if matches!(&created, Created::Refused(failure) if failure.provider_code.as_deref() == Some(NOT_SENT))
        {
            self.job.state.borrow_mut().tally.unsent_batch(requests);
        }
        let place = self.place(planned);
        match &created {
            Created::Accepted(_) => breaker::answered(self.job, place, Ask::Create),
            Created::Refused(failure) => match failure.class {
                FailureClass::Transient => breaker::failed(self.job, place, Ask::Create),
                // A limit is no outage: the word was heard, and the next one may be taken.
                FailureClass::RateLimited => breaker::answered(self.job, place, Ask::Create),
                _ => {} // for good: judged as that
            },
            Created::InDoubt(_) => breaker::failed(self.job, place, Ask::Create),
        }
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
    pub(super) async fn poll(&self, planned: &mut Planned) -> Option<Event> {
        let (job, sub) = (self.job, planned.submission.sub);
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        let began_us = job.clock.us();
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
                    self.answered(planned, Ask::Look);
                    tell_why(job, &remote);
                }
                Poll::Seen(Box::new(remote))
            }
            Ok(None) => {
                self.answered(planned, Ask::Look);
                Poll::Denied
            }
            Err(error) if halts(job, &error, &self.redirects) => return None,
            Err(error) if self.unanswered(planned, &error, began_us) => return None,
            Err(error) => {
                outage::begins(job, sub, &error.to_string());
                breaker::failed(job, self.place(planned), Ask::Look);
                Poll::Failed(Failure { message: error.to_string(), ..error.failure })
            }
        }))
    }

    /// `None`: the job stops, and the batch is looked for by the next run.
    pub(super) async fn list(
        &mut self,
        planned: &mut Planned,
        since_s: u64,
    ) -> Result<Option<Event>, EngineError> {
        let (job, sub) = (self.job, planned.submission.sub);
        let (started_ms, began_us) = (job.clock.unix_ms(), job.clock.us());
        let listing = self.api.list_since(since_s);
        let mut batches = match outage::patiently(job, sub, "list batches", listing).await {
            Ok(batches) => {
                self.answered(planned, Ask::Look);
                Some(batches)
            }
            Err(error) if halts(job, &error, &self.redirects) => return Ok(None),
            Err(error) if self.unanswered(planned, &error, began_us) => return Ok(None),
            Err(error) => {
                outage::begins(job, sub, &error.to_string());
                breaker::failed(job, self.place(planned), Ask::Look);
                None
            }
        };
        if let Some(listed) = &mut batches {
            self.recognize(&planned.submission, listed).await?;
        }
        if let Some(remote) = self.mine(batches.as_deref()) {
            // Its create was taken after all.
            breaker::answered(job, self.place(planned), Ask::Create);
            note_remote(&mut planned.submission, remote);
        }
        Ok(Some(Event::Listed { started_ms, batches }))
    }

    pub(super) async fn fence(&self, planned: &Planned) -> Event {
        // Without an id nothing is deleted, and so nothing is fenced.
        let Some(input) = named(planned.submission.remote_input.as_deref()) else {
            return Event::Fenced { confirmed: false };
        };
        let deleted = self.api.delete_file(input).await;
        Event::Fenced { confirmed: deleted.is_ok() || planted::has(Bug::FenceUnconfirmed) }
    }

    pub(super) async fn cancel(&self, planned: &Planned) -> Event {
        let id = planned.submission.remote_batch.clone().unwrap_or_default();
        Event::CancelSent(self.api.cancel(&id).await.is_ok())
    }

    /// What a refusal means for the job: wait, turn to another deployment, or stop.
    pub(super) fn judge(&self, planned: &Planned, failure: &Failure) {
        let job = self.job;
        let message = format!("batch {}: {}", planned.submission.sub, failure.message);
        let mut state = job.state.borrow_mut();
        if !self.machine.state.is_terminal() {
            state.halted.get_or_insert(Halt { class: failure.class, message });
            drop(state);
            job.changed.notify_waiters();
            return;
        }
        if failure.provider_code.as_deref() == Some(QUEUE_FULL)
            && let Some(queue) = state.queue_of(job, &planned.submission)
        {
            let all = queue.tokens.saturating_add(planned.tokens);
            queue.tokens_max = Some(enqueued_limit(&failure.message).unwrap_or(all / 2).max(1));
        }
        match failure.class.verdict() {
            Verdict::HaltJob => {
                let own = recover::sender(job, &planned.submission);
                job.halt_or_fall_back(&mut state, own.unwrap_or(0), failure.class, &message);
            }
            Verdict::RetryLater => {
                drop(state);
                outage::refused(job, &planned.submission, failure.wait_ms, &message);
            }
            Verdict::GiveUp => {
                state.halted.get_or_insert(Halt { class: failure.class, message });
            }
        }
    }

    fn mine<'a>(&self, listed: Option<&'a [RemoteBatch]>) -> Option<&'a RemoteBatch> {
        match self.machine.ours.find(listed?, self.machine.sent_ms) {
            Found::Here(remote, _) => Some(remote),
            _ => None,
        }
    }

    fn answered(&self, planned: &Planned, ask: Ask) {
        self.redirects.none();
        reach::answered(self.job, &planned.submission.account);
        outage::ends(self.job, planned.submission.sub);
        breaker::answered(self.job, self.place(planned), ask);
    }

    fn place(&self, planned: &Planned) -> Option<usize> {
        recover::sender(self.job, &planned.submission)
    }

    /// A free call that began at `began_us` failed. True: its account has never answered, and the job stops.
    fn unanswered(&self, planned: &Planned, error: &ApiError, began_us: u64) -> bool {
        reach::heard(self.job, &planned.submission.account, error, began_us)
    }
}

/// A batch that ended before its time and says why. What it finished is collected all the same.
fn tell_why(job: &Job, remote: &RemoteBatch) {
    if let (Phase::Expired, Some(error)) = (remote.phase, remote.errors.first()) {
        let (id, done, total) = (&remote.id, remote.counts.completed, remote.counts.total);
        let why = error.message.escape_default().to_string().replace("\\n", "\n");
        let message = format!("batch {id} ended after {done} of {total} items: {why}");
        job.tell(&Told::Note { message: &message });
    }
}
