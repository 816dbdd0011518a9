//! The batch lane: packs items into batches and keeps as many of them going as allowed.

use std::rc::Rc;

use bulkrate_core::lane::Lane;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::breaker;
use super::pack::{Planned, pack};
use super::submission::drive;
use crate::run::job::Job;
use crate::run::recover::sender;
use crate::run::standing::By;

/// Runs until nothing is left for a batch. `open`: batches that an earlier run left.
pub(crate) async fn run(job: Rc<Job>, open: Vec<Planned>) {
    let (mut driving, mut looks) = (JoinSet::new(), JoinSet::new());
    for planned in open {
        begin(&job, &mut driving, planned);
    }
    loop {
        while let Some(ended) = driving.try_join_next() {
            rethrow(ended);
        }
        if job.stop.is_detaching() || job.state.borrow().has_failed() {
            break;
        }
        breaker::stand_in(&job, &mut looks);
        for planned in decided(&job) {
            begin(&job, &mut driving, planned);
        }
        if may_pack(&job, driving.len()) {
            match Box::pin(pack(&job)).await {
                Ok(Some(planned)) => {
                    begin(&job, &mut driving, planned);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    job.fail(error);
                    break;
                }
            }
        }
        if driving.is_empty() && (job.is_closing() || job.state.borrow().open() == 0) {
            break;
        }
        tokio::select! {
            biased; // the same world does the same
            Some(ended) = driving.join_next(), if !driving.is_empty() => rethrow(ended),
            Some(Ok(looked)) = looks.join_next(), if !looks.is_empty() => breaker::looked(&job, &looked),
            () = job.changed.notified() => {}
            () = job.stop.changed() => {}
            () = sleep_until(wake_at(&job)) => {}
        }
    }
    // Detached batches go on at the provider; their tasks are dropped between two durable steps.
    driving.abort_all();
    job.changed.notify_waiters();
}

/// Drives a batch, which counts among those of its deployment from now on.
fn begin(job: &Rc<Job>, driving: &mut JoinSet<()>, planned: Planned) {
    let (job, place, sub) = (Rc::clone(job), sender(job, &planned.submission), planned.submission.sub);
    // One whose create was sent shows nothing of whether the next is taken.
    let is_unsent = planned.submission.state.is_unsent();
    let count = move |job: &Job, by: i32| {
        if let Some(place) = place {
            let queue = &mut job.state.borrow_mut().batch_queues[place];
            queue.batches = queue.batches.saturating_add_signed(by);
            if by > 0 {
                return is_unsent && queue.breaker.begins(sub);
            }
            queue.breaker.ends(sub, job.clock.us());
        }
        false
    };
    if count(&job, 1)
        && let Some(place) = place
    {
        // The others go on elsewhere until it is taken.
        job.replace_absent(place, By::Batches);
    }
    driving.spawn_local(async move {
        drive(Rc::clone(&job), planned).await;
        count(&job, -1);
    });
}

/// Batches that were left to the operator, of which the operator has spoken now.
fn decided(job: &Job) -> Vec<Planned> {
    let mut state = job.state.borrow_mut();
    let left = std::mem::take(&mut state.undecided);
    let (now, later): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|planned| state.told.contains_key(&planned.submission.sub));
    state.undecided = later;
    state.unresolved -= now.len() as u64;
    now
}

/// When the next item may be packed, at the latest after an idle pulse.
fn wake_at(job: &Job) -> Instant {
    let now_us = job.clock.us();
    let state = job.state.borrow();
    let idle_us = u64::try_from(job.pulse.idle.as_micros()).unwrap_or(u64::MAX);
    let due = state.batch_retries.peek().map(|std::cmp::Reverse(retry)| retry.due_us);
    let due = due.filter(|due_us| *due_us > now_us).into_iter().chain(state.pause_over_us(now_us)).min();
    job.clock.at(due.unwrap_or(u64::MAX).min(now_us.saturating_add(idle_us)))
}

/// A failed assertion in one batch stops the process before the next send.
fn rethrow(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Whether another batch may be begun now.
fn may_pack(job: &Job, driving: usize) -> bool {
    if job.home != Lane::Batch || job.is_closing() {
        return false;
    }
    let now_us = job.clock.us();
    let state = job.state.borrow();
    // Those that nobody can be asked of take no place from those that go elsewhere.
    let stuck = state.batch_queues.iter().filter(|queue| queue.breaker.is_left()).map(|queue| queue.batches);
    if driving.saturating_sub(stuck.sum::<u32>() as usize) >= job.spec.run.batches_max as usize {
        return false;
    }
    if state.near.switched || !job.has_takers(&state, now_us) {
        return false;
    }
    if state.waits_for_doubt(job.spec.run.max_in_doubt) {
        return false;
    }
    // A budget that frees bit by bit would make many small batches: wait for a good part of it, or for all there is.
    let roomy = |cap: &bulkrate_core::budget::Cap| cap.left().times(4) >= cap.limit;
    let mut whole = state.budget.caps.iter().filter(|cap| cap.sets.is_none());
    if state.blocked.is_some() && driving > 0 && !whole.all(roomy) {
        return false;
    }
    // The canary's answer comes first: one bad template must not cost a whole file.
    !job.awaits_canary(&state)
}
