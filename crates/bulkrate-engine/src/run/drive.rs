//! Runs the lanes of one job and watches over them: progress, orders, deadline, the end.

use std::rc::Rc;
use std::time::Duration;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::lane::Lane;
use bulkrate_store::fold::State as ItemState;
use bulkrate_store::{Order, Tx, Urgency};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::job::Job;
use crate::EngineError;
use crate::event::{Event, Progress};
use crate::lane::pack::Planned;
use crate::lane::{batch, calls, sweep};

/// Works until every item has an outcome, or the job must stop.
pub(crate) async fn drive(job: &Rc<Job>, mut open: Vec<Planned>) -> Result<(), EngineError> {
    // An order that was left while nothing ran is obeyed before anything is sent.
    take_orders(job)?;
    job.heed_review()?;
    job.look_ahead_at_first();
    let batched = job.home == Lane::Batch && job.state.borrow().open() > 0 || !open.is_empty();
    // The run that it goes before does: two would book one ghost twice.
    let swept =
        !job.only_collects && (batched || !job.state.borrow().twins_open.is_empty() || sweep::is_owed(job)?);
    if swept && job.sweeps_first && (job.state.borrow().open() > 0 || !open.is_empty()) {
        sweep::begin(job, &mut open).await?;
    }
    let sweeps = swept.then(|| spawn_local(sweep::watch(Rc::clone(job))));
    let mut lanes = JoinSet::new();
    lanes.spawn_local(calls::run(Rc::clone(job)));
    if job.home == Lane::Batch || !open.is_empty() {
        lanes.spawn_local(batch::run(Rc::clone(job), open));
    }
    let mut watch = Watch { progress_us: 0, orders_us: job.clock.us() };
    while !lanes.is_empty() {
        watch.tick(job)?;
        tokio::select! {
            biased; // the same world does the same
            () = sleep(job.pulse.tick) => {}
            () = job.stop.changed() => {}
            ended = lanes.join_next() => {
                // A failed assertion stops the process before the next send.
                if let Some(Err(error)) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
    if job.state.borrow().cancelled && !job.stop.is_detaching() && !job.only_collects {
        cancel_rest(job);
    }
    let stopped = job.stop.is_detaching() || {
        let state = job.state.borrow();
        state.has_failed() || state.halted.is_some()
    };
    if let Some(sweeps) = sweeps {
        sweeps.abort();
    }
    if swept && !stopped {
        sweep::end(job).await?;
    }
    finish(job).await
}

struct Watch {
    progress_us: u64,
    orders_us: u64,
}

impl Watch {
    fn tick(&mut self, job: &Rc<Job>) -> Result<(), EngineError> {
        let now_us = job.clock.us();
        if job.stop.is_detaching() {
            job.wishes.notify_waiters(); // a wish that came between two looks of a waiting batch
        }
        if now_us >= self.orders_us + micros(job.pulse.orders) {
            self.orders_us = now_us;
            take_orders(job)?;
            job.heed_review()?;
            super::deadline::watch(job);
        }
        if now_us >= self.progress_us + micros(job.pulse.progress) {
            self.progress_us = now_us;
            job.tell(&Event::Progress { progress: &progress(job) });
        }
        job.stream_settled();
        job.watch_doubt();
        job.unpark();
        end_if_stuck(job);
        Ok(())
    }
}

/// Orders that other commands left for this job.
fn take_orders(job: &Rc<Job>) -> Result<(), EngineError> {
    super::operator::hear(job)?;
    let orders = if job.state.borrow().cancelled { Vec::new() } else { job.reader.orders()? };
    let is_meant = |job_no| job_no == job.no || Some(job_no) == job.part_of;
    if !orders.iter().any(|order| cancels(order, is_meant)) {
        return Ok(());
    }
    // The order stands until the job is over: a run that dies before leaves it to the next one.
    job.state.borrow_mut().cancelled = true;
    let message = &format!("the job is being cancelled; what is finished {}", job.of_cancelled(None));
    job.tell(&Event::Note { message });
    job.changed.notify_waiters();
    job.wishes.notify_waiters();
    Ok(())
}

/// Whether an order is to cancel such a job.
pub(crate) fn cancels(order: &Order, is_meant: impl FnOnce(u32) -> bool) -> bool {
    order.order.verb == "cancel" && is_meant(order.order.job)
}

/// Ends a run that waits for something that cannot come.
fn end_if_stuck(job: &Rc<Job>) {
    let mut state = job.state.borrow_mut();
    let too_much = state.waits_for_doubt(job.spec.run.max_in_doubt);
    if state.over || !state.twins_open.is_empty() || !state.has_nothing_out() {
        return;
    }
    let asked = state.items.asked();
    let waiting = asked.of(ItemState::Queued) + asked.of(ItemState::Retry);
    if waiting > 0 && state.parked.len() >= waiting {
        state.blocked = state.blocked.take().or_else(|| state.parked.why());
    }
    let budget_spent = state.blocked.is_some() && waiting > 0;
    let only_doubt = waiting == 0 && state.unresolved > 0;
    let held = too_much && (waiting > 0 || state.held_batches > 0);
    if budget_spent || only_doubt || held {
        state.over = true;
        drop(state);
        job.changed.notify_waiters();
    }
}

fn cancel_rest(job: &Rc<Job>) {
    let waiting: Vec<u32> = job
        .state
        .borrow()
        .items
        .iter()
        .filter(|(_, item)| item.state.is_waiting())
        .map(|(ordinal, _)| ordinal)
        .collect();
    for ordinal in waiting {
        job.bury(
            ordinal,
            job.home,
            FailureClass::CancelledByUser,
            "the job was cancelled before the item ran",
        );
    }
}

/// The last commit of a run.
async fn finish(job: &Rc<Job>) -> Result<(), EngineError> {
    if let Some(error) = job.state.borrow_mut().failed.take() {
        return Err(error);
    }
    job.settle_pending()?;
    debug_assert!(
        job.stop.is_detaching()
            || job.state.borrow().unwritable.is_some()
            || job.state.borrow().is_queue_even(),
        "what a batch added to the enqueued tokens was taken away again"
    );
    let mut tx = Tx::new(job.no);
    if job.state.borrow().open() == 0 && !job.only_collects {
        // Those to cancel the job that it works for are that one's own.
        let orders = job.reader.orders()?.into_iter();
        tx.orders_done =
            orders.filter(|order| cancels(order, |no| no == job.no)).map(|order| order.no).collect();
    }
    job.commit(tx, Urgency::Now).await?;
    job.keep_measured();
    job.stream_settled(); // commits keep their order: what was pending is durable
    job.tell(&Event::Progress { progress: &progress(job) });
    let unwritable = job.state.borrow_mut().unwritable.take();
    unwritable.map_or(Ok(()), Err)
}

pub(crate) fn progress(job: &Job) -> Progress {
    let state = job.state.borrow();
    let counts = state.items.asked();
    let elapsed_ms = job.clock.us() / 1_000;
    let done = state.tally.succeeded + state.tally.failed - state.tally.duplicates.min(state.tally.succeeded);
    let per_second = if elapsed_ms > 0 { ratio(done, elapsed_ms) * 1_000.0 } else { 0.0 };
    let open = counts.open();
    let away =
        state.pauses.away.iter().map(|place| job.deployments[*place].pinned.clone()).collect::<Vec<_>>();
    let mut batches: Vec<_> = state.batches.values().cloned().collect();
    batches.sort_by(|left, right| left.sub.cmp(&right.sub));
    Progress {
        job: job.id.clone(),
        items: counts.total(),
        succeeded: state.tally.succeeded,
        failed: state.tally.failed,
        duplicates: state.tally.duplicates,
        cached: state.tally.cached,
        filtered: state.tally.filtered,
        similar: state.tally.similar,
        in_flight: state.items.counts().of(ItemState::Leased),
        waiting: counts.of(ItemState::Queued) + counts.of(ItemState::Retry),
        retries: state.tally.retries,
        rate_limited: state.tally.rate_limited,
        no_capacity: state.tally.no_capacity,
        spent: state.budget.settled,
        reserved: state.budget.reserved,
        in_doubt: state.budget.doubt,
        budget: state.budget.caps.first().map(|cap| cap.limit),
        naive: state.tally.naive,
        // A job that has ended expects nothing more.
        forecast: state.forecasting.latest().filter(|_| open > 0),
        items_per_second: per_second,
        eta_ms: (job.home != Lane::Batch && per_second > 0.0 && done > 0 && away.is_empty())
            .then(|| elapsed_ms.saturating_sub(state.pauses.sum_us / 1_000).saturating_mul(open) / done),
        elapsed_ms,
        away,
        lane: Some(job.home),
        batches,
    }
}

fn micros(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn ratio(left: u64, right: u64) -> f64 {
    left as f64 / right as f64
}
