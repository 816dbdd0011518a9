//! The writer's place taken: transactions gather, a commit happens when the disk is done, and a process may die on either
//! side of it.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_store::{Committer, Done, Query, Store, StoreError, Tx, Urgency};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::hub::{Died, Shared, lock};

/// What one process hands over.
#[derive(Clone)]
pub(crate) struct Disk {
    world: Shared,
    queue: Arc<std::sync::Mutex<Vec<(Tx, Urgency, Done)>>>,
    filled: Arc<Notify>,
}

impl Disk {
    pub(crate) fn new(world: &Shared) -> Self {
        Self { world: Arc::clone(world), queue: Arc::default(), filled: Arc::new(Notify::new()) }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<(Tx, Urgency, Done)>> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Commits what gathers, for as long as the process lives.
    pub(crate) async fn work(self) {
        loop {
            let waits = self.queue().iter().map(|(_, urgency, _)| urgency.wait()).min();
            let Some(wait) = waits else {
                self.filled.notified().await;
                continue;
            };
            let slow_ms = {
                let mut hub = lock(&self.world);
                let most = hub.plan.disk_ms;
                hub.dice.below(most + 1)
            };
            sleep(wait + Duration::from_millis(slow_ms)).await;
            if self.commit() {
                return; // dead
            }
        }
    }

    /// All that was handed over, in one commit. True: the process died of it.
    fn commit(&self) -> bool {
        let gathered = std::mem::take(&mut *self.queue());
        if gathered.is_empty() {
            return lock(&self.world).dead;
        }
        let (txs, dones): (Vec<Tx>, Vec<Done>) = gathered.into_iter().map(|(tx, _, done)| (tx, done)).unzip();
        let mut hub = lock(&self.world);
        if hub.dies("before a commit") {
            hub.buried.0.extend(dones);
            return true;
        }
        let faulty = !hub.calm && hub.plan.faults.disk > 0;
        if hub.disk_failed
            || faulty && {
                let chance = hub.plan.faults.disk;
                hub.dice.permille(chance)
            }
        {
            hub.disk_failed = true;
            hub.note(format_args!("the disk is full"));
            drop(hub);
            let error = Arc::new(StoreError::Full { source: "no space".into() });
            dones.into_iter().for_each(|done| done(Err(Arc::clone(&error))));
            return false;
        }
        let result = hub.store.commit(&txs);
        match &result {
            Ok(()) => {
                hub.books.commit(&txs);
                hub.takes_its_own(&txs);
                crate::torn::keep(&mut hub, &txs);
                crate::backup::keep(&mut hub);
                let (subs, outcomes) = (
                    txs.iter().map(|tx| tx.submissions.len()).sum::<usize>(),
                    txs.iter().map(|tx| tx.outcomes.len()).sum::<usize>(),
                );
                let states: Vec<String> = txs
                    .iter()
                    .flat_map(|tx| &tx.submissions)
                    .map(|(row, _)| format!("{} {}", row.sub, row.state.name()))
                    .collect();
                hub.note(format_args!(
                    "commit of {} txs, {subs} rows, {outcomes} outcomes: {}",
                    txs.len(),
                    states.join(", ")
                ));
            }
            Err(error) => hub.books.wrong("I1", format!("a commit was refused: {error}")),
        }
        if hub.dies("after a commit") {
            hub.buried.0.extend(dones);
            return true;
        }
        drop(hub);
        let result = result.map_err(Arc::new);
        dones.into_iter().for_each(|done| done(result.clone()));
        false
    }
}

impl Committer for Disk {
    fn send(&self, tx: Tx, urgency: Urgency, done: Done) {
        self.queue().push((tx, urgency, done));
        self.filled.notify_one();
    }

    fn flush(&self) {
        if self.commit() {
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    fn ask(&self, query: Query) {
        self.flush();
        query(&mut lock(&self.world).store);
    }
}
