//! The commits of a batch that is not being landed: its row as it is, what is void, what is written off.

use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_core::submission::Effect;
use bulkrate_store::{Lease, LedgerKind, Submission, Tx, Urgency};

use super::Driving;
use crate::EngineError;
use crate::lane::pack::Planned;
use crate::lane::{collect, twin};
use crate::run::heaps::count;
use crate::run::job::{Job, Retry};
use crate::run::ledger::At;
use crate::run::operator::Acts;
use crate::run::ready::Ready;

impl Driving<'_> {
    pub(super) async fn save(&mut self, planned: &mut Planned) -> Result<(), EngineError> {
        let job = self.job;
        let mut acts = self.acts(planned, &Effect::Save);
        let twins = std::mem::take(&mut self.twins);
        for batch in &twins {
            acts.ledger.extend(twin::note(job, &mut planned.submission, batch)?);
        }
        save_with(job, &planned.submission, acts).await?;
        for batch in &twins {
            // At once, as each of its answers costs; it is seen to after this batch, and asked again then.
            drop(self.api.cancel(batch).await);
        }
        Ok(())
    }

    pub(super) async fn void(&mut self, planned: &mut Planned) -> Result<(), EngineError> {
        planned.take_up(self.job)?;
        let acts = self.acts(planned, &Effect::Void);
        void(self.job, planned, &self.machine.why, acts).await
    }

    pub(super) async fn write_off(
        &mut self,
        planned: &mut Planned,
        class: FailureClass,
    ) -> Result<(), EngineError> {
        planned.take_up(self.job)?;
        let acts = self.acts(planned, &Effect::WriteOff(class));
        let booked = acts.ledger.clone();
        collect::write_off(self.job, planned, class, acts).await?;
        count(self.job, &booked);
        Ok(())
    }
}

/// Commits the submission's row as it is now.
pub(in crate::lane) async fn save(job: &Rc<Job>, submission: &Submission) -> Result<(), EngineError> {
    save_with(job, submission, Acts::default()).await
}

/// The same, with what an operator's word or a twin moves.
pub(in crate::lane) async fn save_with(
    job: &Rc<Job>,
    submission: &Submission,
    acts: Acts,
) -> Result<(), EngineError> {
    let mut tx = Tx::new(job.no);
    (tx.ledger, tx.orders_done) = (acts.ledger, acts.orders_done);
    tx.submissions.push((submission.clone(), None));
    job.commit(tx, Urgency::Now).await
}

/// Ends a submission that was surely not paid; its items are queued again.
async fn void(job: &Rc<Job>, planned: &mut Planned, why: &str, acts: Acts) -> Result<(), EngineError> {
    job.settle_pending()?;
    let leases: Vec<Lease> = planned.items.iter().map(Ready::lease).collect();
    {
        let mut shared = job.state.borrow_mut();
        let queue = shared.queue_of(job, &planned.submission);
        let due_us = queue.map_or(0, |queue| {
            queue.tokens = queue.tokens.saturating_sub(planned.tokens);
            // Who may go to another deployment does not wait for this one.
            if job.may_stand_in.is_empty() { queue.not_before_us } else { 0 }
        });
        shared.items.release(&leases);
        for ready in &planned.items {
            shared.budget.release(ready.tags, ready.bound);
            let at = At {
                lane: Some(Lane::Batch),
                deployment: ready.deployment,
                tags: ready.tags,
                sub: Some(planned.submission.sub),
            };
            shared.moved.add(LedgerKind::Release, None, at, 1, ready.bound);
            shared.queue(Retry { due_us, ordinal: ready.ordinal, lane: Lane::Batch });
        }
    }
    planned.submission.ended_at_ms = Some(job.clock.row_ms());
    twin::rewrite(&mut planned.submission, &serde_json::json!({ "why": why }));
    let mut tx = Tx::new(job.no);
    tx.submissions.push((planned.submission.clone(), None));
    // A doubt that was cleared stands beside what is released, so that no sum is ever above the cap in between.
    tx.ledger = job.take_ledger();
    tx.ledger.extend(acts.ledger);
    tx.orders_done = acts.orders_done;
    job.commit(tx, Urgency::Now).await
}
