//! Batches as the account keeps them, their wire view, and the enqueued-token ledger.

use super::Order;
use crate::api::Endpoint;
use crate::clock::{Clock, VirtualMs};
use crate::config::Speaks;
use crate::faults::Fault;
use crate::like::Manners;
use crate::server::State;
use crate::shelf::{Kept, Shelf};
use crate::tokens::Usage;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const WINDOW_SECS: u64 = 86_400;
/// Gemini's.
const LONG_WINDOW_SECS: u64 = 2 * 86_400;
/// Vertex's: three days of waiting, one of running.
const LONGEST_WINDOW_SECS: u64 = 4 * 86_400;
const LATE_POLLS: u32 = 3;

/// Nineteen digits.
fn number(key: u64) -> String {
    (1_000_000_000_000_000_000 + key % 8_000_000_000_000_000_000).to_string()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Validating,
    Failed,
    InProgress,
    Finalizing,
    Completed,
    Expired,
    Cancelling,
    Cancelled,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired | Self::Cancelled)
    }

    /// A status that a batch has before this one.
    fn earlier(self) -> Self {
        match self {
            Self::Validating | Self::InProgress | Self::Failed => Self::Validating,
            Self::Finalizing | Self::Completed | Self::Expired | Self::Cancelling => Self::InProgress,
            Self::Cancelled => Self::Cancelling,
        }
    }
}

/// What changes while a batch lives. Times are Unix seconds.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) status: Status,
    pub(crate) model: Option<String>,
    pub(crate) errors: Option<Value>,
    pub(crate) output_file_id: Option<String>,
    pub(crate) error_file_id: Option<String>,
    pub(crate) in_progress_at: Option<u64>,
    pub(crate) finalizing_at: Option<u64>,
    pub(crate) completed_at: Option<u64>,
    pub(crate) failed_at: Option<u64>,
    pub(crate) expired_at: Option<u64>,
    pub(crate) cancelling_at: Option<u64>,
    pub(crate) cancelled_at: Option<u64>,
    pub(crate) total: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) usage: Option<Usage>,
    /// Virtual start and end of the run, from which progress follows.
    pub(crate) span: Option<(VirtualMs, VirtualMs)>,
    polls_until_output: u32,
    /// How often the batch was shown, as far as a fault counts it.
    looks: u64,
}

/// One batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: String,
    /// Position in the order of creation; faults are drawn by it.
    pub(crate) ordinal: u64,
    pub(crate) endpoint: Endpoint,
    /// The model of all lines, where none names it.
    pub(crate) named: Option<String>,
    /// The endpoint as the create named it.
    pub(crate) url: String,
    pub(crate) input_file_id: String,
    pub(crate) created_ms: VirtualMs,
    pub(crate) metadata: Option<Map<String, Value>>,
    /// Life of the output files in seconds.
    pub(crate) output_secs: Option<u64>,
    /// The folder of a bucket that results go to.
    pub(crate) place: Option<String>,
    /// Its lines hold answers, and nothing around them.
    pub(crate) is_flat: bool,
    pub(crate) cancel: CancellationToken,
    life: Mutex<Life>,
}

impl Batch {
    fn new(state: &State, ordinal: u64, endpoint: Endpoint, input_file_id: String) -> Self {
        Self {
            id: match (state.config.speaks, endpoint) {
                (Speaks::Vertex, _) => number(state.keys.fresh()),
                (_, Endpoint::Generate | Endpoint::Embed) => state.keys.id("", 32, true),
                (_, endpoint) if endpoint.is_amazons() => state.keys.id("", 12, true),
                _ => state.batch_id(),
            },
            ordinal,
            endpoint,
            named: None,
            url: endpoint.path().to_owned(),
            input_file_id,
            created_ms: state.clock.now_ms(),
            metadata: None,
            output_secs: None,
            place: None,
            is_flat: state.manners().is_some_and(Manners::has_flat_lines),
            cancel: CancellationToken::new(),
            life: Mutex::new(Life::new()),
        }
    }

    /// With what else was asked for.
    fn of(self, order: &Order) -> Self {
        let (named, url, metadata) = (order.named.clone(), order.url.clone(), order.metadata.clone());
        let (output_secs, place) = (order.output_secs, order.place.clone());
        let id = order.id.clone().unwrap_or(self.id);
        Self { id, named, url, metadata, output_secs, place, ..self }
    }

    /// A text that its create named.
    pub(crate) fn told(&self, name: &str) -> &str {
        self.metadata.as_ref().and_then(|fields| fields.get(name)?.as_str()).unwrap_or_default()
    }

    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn expires_ms(&self) -> VirtualMs {
        let secs = match (self.place.is_some(), self.endpoint) {
            (true, _) => LONGEST_WINDOW_SECS,
            (false, Endpoint::Generate | Endpoint::Embed) => LONG_WINDOW_SECS,
            (false, _) => WINDOW_SECS,
        };
        self.created_ms + secs * 1_000
    }

    /// Starts a cancellation, or gives the status that forbids it. A second request changes nothing.
    pub(crate) fn ask_cancel(&self, clock: &Clock) -> Result<(), Status> {
        let mut life = self.life();
        match life.status {
            Status::Completed | Status::Failed | Status::Expired => return Err(life.status),
            Status::Cancelling | Status::Cancelled => return Ok(()),
            Status::Validating | Status::InProgress | Status::Finalizing => {}
        }
        life.status = Status::Cancelling;
        life.cancelling_at = Some(clock.now());
        drop(life);
        self.cancel.cancel();
        Ok(())
    }

    /// What faults leave of a batch to be seen. `poll` is a look at this batch alone, which some of them count.
    pub(crate) fn shown(&self, life: &mut Life, state: &State, poll: bool) -> Shown {
        let hit = |fault| state.faults.batch(fault, self.ordinal).is_some();
        let ended = matches!(life.status, Status::Completed | Status::Expired | Status::Cancelled);
        let (mut output, mut error) = (life.output_file_id.clone(), life.error_file_id.clone());
        if ended && !state.faults.none() {
            if hit(Fault::OutputLate) && life.polls_until_output > 0 {
                output = None;
                life.polls_until_output -= u32::from(poll);
            }
            if hit(Fault::NoFiles) {
                (output, error) = (None, None);
            }
            if hit(Fault::OutputEmptyId) {
                output = Some(String::new());
            }
            if hit(Fault::ErrorEmptyId) && error.is_none() {
                error = Some(String::new());
            }
        }
        let mut status = life.status;
        if hit(Fault::Regression) {
            life.looks += 1;
            status = if life.looks.is_multiple_of(2) { life.status.earlier() } else { status };
        }
        let unknown = life.status == Status::InProgress && hit(Fault::UnknownStatus);
        Shown { status, unknown, output, error }
    }

    /// The batch object. `poll` is a look at this batch alone, which some faults count.
    pub(crate) fn view(&self, state: &State, poll: bool) -> Map<String, Value> {
        let mut life = self.life();
        let Shown { status, unknown, output, error } = self.shown(&mut life, state, poll);
        let status = if unknown { "paused" } else { status.word() };
        let view = json!({
            "id": self.id, "object": "batch", "endpoint": self.endpoint.path(), "model": life.model, "errors": life.errors,
            "input_file_id": self.input_file_id, "completion_window": "24h", "status": status,
            "output_file_id": output, "error_file_id": error,
            "created_at": self.created_ms / 1_000, "in_progress_at": life.in_progress_at, "expires_at": self.expires_ms() / 1_000,
            "finalizing_at": life.finalizing_at, "completed_at": life.completed_at, "failed_at": life.failed_at,
            "expired_at": life.expired_at, "cancelling_at": life.cancelling_at, "cancelled_at": life.cancelled_at,
            "request_counts": {"total": life.total, "completed": life.done(state.clock.now_ms()), "failed": life.failed},
            "usage": life.usage.map(usage), "metadata": self.metadata,
        });
        if let Value::Object(map) = view { map } else { Map::new() }
    }
}

/// A batch as it is to be seen.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: Status,
    /// Under a word that nobody knows.
    pub(crate) unknown: bool,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
}

impl Life {
    fn new() -> Self {
        Self {
            status: Status::Validating,
            model: None,
            errors: None,
            output_file_id: None,
            error_file_id: None,
            in_progress_at: None,
            finalizing_at: None,
            completed_at: None,
            failed_at: None,
            expired_at: None,
            cancelling_at: None,
            cancelled_at: None,
            total: 0,
            completed: 0,
            failed: 0,
            usage: None,
            span: None,
            polls_until_output: LATE_POLLS,
            looks: 0,
        }
    }

    /// Lines that have run by `now`.
    pub(crate) fn done(&self, now: VirtualMs) -> u64 {
        match (self.status, self.span) {
            (Status::InProgress | Status::Cancelling, Some((start, end))) if end > start => {
                let passed = u128::from(now.clamp(start, end) - start);
                let done = u128::from(self.total) * passed / u128::from(end - start);
                u64::try_from(done).unwrap_or(self.total)
            }
            _ => self.completed,
        }
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt, "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    })
}

impl Kept for Batch {
    fn id(&self) -> &str {
        &self.id
    }
    fn created_ms(&self) -> VirtualMs {
        self.created_ms
    }
}

/// All batches of the account, and what of its limits they take.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    shelf: Shelf<Batch>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    creations: VecDeque<VirtualMs>,
    enqueued: HashMap<usize, u64>,
}

impl Batches {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, state: &State, order: &Order) -> Arc<Batch> {
        let input = || order.input.id.clone();
        self.shelf.add(|ordinal| Batch::new(state, ordinal, order.endpoint, input()).of(order))
    }

    /// A batch of somebody else in the same account: never runs.
    pub(crate) fn add_foreign(&self, state: &State, endpoint: Endpoint) {
        self.shelf.add_foreign(|ordinal| {
            let batch = Batch::new(state, ordinal, endpoint, state.keys.id("file-", 22, false));
            let fields = match endpoint {
                endpoint if endpoint.is_amazons() => crate::bedrock::jobs::foreign(&batch.id),
                _ => json!({"owner": "another tool"}),
            };
            Batch { metadata: fields.as_object().cloned(), ..batch }
        });
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Batch>> {
        self.shelf.get(id)
    }

    pub(crate) fn remove(&self, id: &str) {
        self.shelf.remove(id);
    }

    /// Oldest first; those younger than the lag are left out.
    pub(crate) fn visible(&self, clock: &Clock, lag_ms: u64) -> Vec<Arc<Batch>> {
        self.shelf.visible(clock.now_ms(), lag_ms)
    }

    /// Counts a creation, or says how long (in real time) until one is allowed.
    pub(crate) fn too_many(&self, clock: &Clock, limit: Option<u64>) -> Option<Duration> {
        let limit = usize::try_from(limit?).unwrap_or(usize::MAX);
        let (now, mut taken) = (clock.now_ms(), self.taken());
        while taken.creations.front().is_some_and(|&at| at + 3_600_000 <= now) {
            taken.creations.pop_front();
        }
        if taken.creations.len() >= limit {
            let oldest = taken.creations.front().copied().unwrap_or(now);
            return Some(clock.real((oldest + 3_600_000).saturating_sub(now)).max(Duration::from_millis(1)));
        }
        taken.creations.push_back(now);
        None
    }

    /// Holds a batch's prompt tokens against its model's limit; false when they do not fit.
    pub(crate) fn enqueue(&self, model: usize, tokens: u64, limit: Option<u64>) -> bool {
        let mut taken = self.taken();
        let held = taken.enqueued.entry(model).or_default();
        if limit.is_some_and(|limit| held.saturating_add(tokens) > limit) {
            return false;
        }
        *held += tokens;
        true
    }

    pub(crate) fn release(&self, model: usize, tokens: u64) {
        if let Some(held) = self.taken().enqueued.get_mut(&model) {
            *held = held.saturating_sub(tokens);
        }
    }
}
