//! Message batches as the workspace keeps them, and their wire view.

use crate::clock::{VirtualMs, instant};
use crate::faults::Fault;
use crate::server::State;
use crate::shelf::{Kept, Shelf};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

const WINDOW_MS: u64 = 86_400_000;
/// Results are kept so long, counted from the create.
const ARCHIVE_MS: u64 = 29 * 86_400_000;
const LATE_POLLS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Canceling,
    Ended,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) succeeded: u64,
    pub(super) errored: u64,
    pub(super) canceled: u64,
    pub(super) expired: u64,
}

/// What changes while a batch lives.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) status: Status,
    /// Told only once all of it has ended.
    pub(super) counts: Counts,
    pub(super) ended_ms: Option<VirtualMs>,
    cancel_ms: Option<VirtualMs>,
    pub(super) results: Option<Bytes>,
    polls_until_results: u32,
    /// How often the batch was shown, as far as a fault counts it.
    looks: u64,
}

/// One batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: String,
    /// Position in the order of creation; faults are drawn by it.
    pub(super) ordinal: u64,
    pub(super) created_ms: VirtualMs,
    total: u64,
    pub(super) cancel: CancellationToken,
    life: Mutex<Life>,
}

impl Batch {
    fn new(state: &State, ordinal: u64, total: usize) -> Self {
        let life = Life {
            status: Status::InProgress,
            counts: Counts::default(),
            ended_ms: None,
            cancel_ms: None,
            results: None,
            polls_until_results: LATE_POLLS,
            looks: 0,
        };
        Self {
            id: state.keys.id("msgbatch_01", 22, false),
            ordinal,
            created_ms: state.clock.now_ms(),
            total: total as u64,
            cancel: CancellationToken::new(),
            life: Mutex::new(life),
        }
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expires_ms(&self) -> VirtualMs {
        self.created_ms + WINDOW_MS
    }

    pub(super) fn is_archived(&self, now_ms: VirtualMs) -> bool {
        now_ms >= self.created_ms + ARCHIVE_MS
    }

    /// False: it has ended. A second request changes nothing.
    pub(super) fn ask_cancel(&self, now_ms: VirtualMs) -> bool {
        let mut life = self.life();
        if life.status == Status::InProgress {
            life.status = Status::Canceling;
            life.cancel_ms = Some(now_ms);
            self.cancel.cancel();
        }
        life.status != Status::Ended
    }

    /// The batch object. `poll` is a look at this batch alone, which some faults count.
    pub(super) fn view(&self, state: &State, host: &str, poll: bool) -> Value {
        let mut life = self.life();
        let hit = |fault| state.faults.batch(fault, self.ordinal).is_some();
        let archived = self.is_archived(state.clock.now_ms());
        let mut status = life.status;
        if hit(Fault::Regression) {
            life.looks += 1;
            status = if life.looks.is_multiple_of(2) { Status::InProgress } else { status };
        }
        let ended = status == Status::Ended;
        let word = match status {
            Status::InProgress if hit(Fault::UnknownStatus) => "paused",
            Status::InProgress => "in_progress",
            Status::Canceling => "canceling",
            Status::Ended => "ended",
        };
        let late = hit(Fault::OutputLate) && life.polls_until_results > 0;
        life.polls_until_results -= u32::from(ended && late && poll);
        let url = match ended && !archived && !late && !hit(Fault::NoFiles) {
            true if hit(Fault::OutputEmptyId) => Value::from(""),
            true => Value::from(format!("http://{host}/v1/messages/batches/{}/results", self.id)),
            false => Value::Null,
        };
        let counts = if ended { life.counts } else { Counts::default() };
        json!({
            "id": self.id, "type": "message_batch", "processing_status": word,
            "request_counts": {
                "processing": if ended { 0 } else { self.total }, "succeeded": counts.succeeded, "errored": counts.errored,
                "canceled": counts.canceled, "expired": counts.expired,
            },
            "created_at": instant(self.created_ms), "expires_at": instant(self.expires_ms()),
            "ended_at": life.ended_ms.filter(|_| ended).map(instant), "cancel_initiated_at": life.cancel_ms.map(instant),
            "archived_at": archived.then(|| instant(self.created_ms + ARCHIVE_MS)), "results_url": url,
        })
    }
}

impl Kept for Batch {
    fn id(&self) -> &str {
        &self.id
    }
    fn created_ms(&self) -> VirtualMs {
        self.created_ms
    }
}

/// All batches of the workspace.
#[derive(Debug, Default)]
pub(crate) struct MessageBatches {
    shelf: Shelf<Batch>,
}

impl MessageBatches {
    pub(super) fn add(&self, state: &State, total: usize) -> Arc<Batch> {
        self.shelf.add(|ordinal| Batch::new(state, ordinal, total))
    }

    /// A batch of somebody else in the workspace, as large, that has ended already.
    pub(super) fn add_foreign(&self, state: &State, total: usize) {
        let batch = self.shelf.add_foreign(|ordinal| Batch::new(state, ordinal, total));
        let lines = (0..total)
            .map(|row| format!("{{\"custom_id\":\"row-{row}\",\"result\":{{\"type\":\"canceled\"}}}}\n"));
        let mut life = batch.life();
        life.results = Some(Bytes::from(lines.collect::<String>()));
        life.counts.canceled = total as u64;
        (life.cancel_ms, life.ended_ms) = (Some(batch.created_ms), Some(batch.created_ms));
        life.status = Status::Ended;
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Batch>> {
        self.shelf.get(id)
    }

    pub(super) fn remove(&self, id: &str) {
        self.shelf.remove(id);
    }

    /// Newest first; those younger than the lag are left out.
    pub(super) fn visible(&self, now_ms: VirtualMs, lag_ms: u64) -> Vec<Arc<Batch>> {
        let mut seen = self.shelf.visible(now_ms, lag_ms);
        seen.reverse();
        seen
    }

    /// Requests of all batches that have not ended.
    pub(super) fn waiting(&self, now_ms: VirtualMs) -> u64 {
        let open = |batch: &&Arc<Batch>| batch.life().status != Status::Ended;
        self.shelf.visible(now_ms, 0).iter().filter(open).map(|batch| batch.total).sum()
    }
}
