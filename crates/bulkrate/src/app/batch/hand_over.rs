//! Lets a run go once every item is in a batch that the provider has accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_engine::Stop;
use bulkrate_engine::event::{Event, Observer, Progress};

use crate::report::teller::Teller;

#[derive(Debug)]
pub(super) struct HandOver {
    teller: Arc<Teller>,
    stop: Stop,
    done: Arc<AtomicBool>,
}

impl HandOver {
    /// `done` says at the end whether it was this that let the run go.
    pub(super) fn new(teller: Arc<Teller>, stop: Stop, done: Arc<AtomicBool>) -> Self {
        Self { teller, stop, done }
    }
}

impl Observer for HandOver {
    fn event(&self, event: &Event<'_>) {
        self.teller.event(event);
        if let Event::Progress { progress } = event
            && is_handed_over(progress)
            && !self.stop.is_detaching()
        {
            self.done.store(true, Ordering::Relaxed);
            self.stop.detach();
        }
    }
}

/// Nothing waits here, and each batch that holds an item has the provider's id.
fn is_handed_over(now: &Progress) -> bool {
    let held: u64 = now.batches.iter().filter(|batch| batch.goes_on()).map(|batch| batch.items).sum();
    let all = now.batches.iter().all(|batch| batch.batch.is_some());
    now.waiting == 0 && now.in_flight > 0 && all && held >= now.in_flight
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_engine::event::BatchLine;

    #[test]
    fn a_job_is_handed_over_when_every_item_is_in_an_accepted_batch() {
        let batch = |id: Option<&str>, items| BatchLine {
            sub: "s".into(),
            batch: id.map(str::to_owned),
            state: "accepted".into(),
            items,
            completed: 0,
            failed: 0,
            since_ms: 0,
        };
        for (waiting, in_flight, batches, want) in [
            (0, 5, vec![batch(Some("b"), 5)], true),
            (1, 5, vec![batch(Some("b"), 5)], false),
            (0, 9, vec![batch(Some("b"), 5), batch(None, 4)], false),
            (0, 9, vec![batch(Some("b"), 5), batch(Some("c"), 4)], true),
            (0, 9, vec![batch(Some("b"), 10), batch(None, 4)], false),
            (0, 0, vec![], false),
        ] {
            let now = Progress { waiting, in_flight, batches, ..Progress::default() };
            assert_eq!(is_handed_over(&now), want, "{now:?}");
        }
    }
}
