//! The state of one running job, owned by the engine's one async thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};

use std::sync::Arc;

use bulkrate_core::budget::{Budget, OverBudget, Overcharges};
use bulkrate_core::collect::Expectation;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_core::price::Ratios;
use bulkrate_core::retry::{FailureMeter, Ladder};
use bulkrate_core::review::FlawMeter;
use bulkrate_provider::BatchFacts;
use bulkrate_store::fold::{ItemStates, State as ItemState};
use bulkrate_store::{LedgerEntry, Outcome, StoreError, Tx, Urgency, View, Writer};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::clock::{Clock, Pulse};
use super::ledger::Moved;
use super::ready::Forms;
use super::requests::Requests;
use super::results::Results;
use super::stream::Stream;
pub(crate) use super::tally::Tally;
pub(crate) use super::trouble::Trouble;
use crate::EngineError;
use crate::deployment::{Deployment, Route};
use crate::event::{BatchLine, Event, Observer};
use crate::paths::JobDir;
use crate::prepare::Shape;
use crate::spec::JobSpec;
use crate::stop::Stop;
use crate::strong::Strong;

/// A commit under way, and the outcomes that have a row once it is durable.
pub(crate) type Landed = (oneshot::Receiver<Result<(), Arc<StoreError>>>, Vec<Outcome>);

/// Batches whose items are held in memory to land their results; the others wait for their turn.
pub(crate) const COLLECTING_MAX: usize = 4;

/// What lanes share. Interior mutability is never held across an await.
#[derive(Debug)]
pub(crate) struct Job {
    pub no: u32,
    /// The job that it works for: who cancels that cancels this.
    pub part_of: Option<u32>,
    /// Nothing new is sent, and what waits goes on waiting: what is out is brought in.
    pub only_collects: bool,
    pub id: String,
    pub inst: String,
    pub epoch: u64,
    pub spec: JobSpec,
    pub shape: Shape,
    /// Milliseconds since the epoch.
    pub deadline_ms: Option<u64>,
    /// What the rows do not know can only have been sent after this; whether there may be any before this run sends.
    pub sweep_from_ms: u64,
    pub sweeps_first: bool,
    pub dir: JobDir,
    pub writer: Writer,
    pub reader: Box<dyn View>,
    pub deployments: Vec<Deployment>,
    /// Those that stand in when another cannot serve, in order.
    pub fallbacks: Vec<Route>,
    /// Which of them can.
    pub may_stand_in: super::standing::StandIns,
    /// Those of them that no request names.
    pub stand_ins: Vec<usize>,
    /// Whom the naive plan asks, where something chose another.
    pub strong: Option<Strong>,
    /// Cheap models that are asked before the first.
    pub cascade: Option<super::cascade::Cascade>,
    /// Answers that similar items may be given; `None`: the job does not.
    pub semantic: Option<RefCell<super::semantic::Semantic>>,
    /// So many items go in one request at most, wherever it goes, where the job bundles them: see [`Job::bundle_at`].
    pub bundle: Option<u32>,
    /// The lane that the job was given or chose.
    pub home: Lane,
    pub ladder: Ladder,
    pub clock: Clock,
    pub pulse: Pulse,
    pub observer: Arc<dyn Observer>,
    pub stop: Stop,
    pub requests: RefCell<Requests>,
    /// Segment 0: what calls bring.
    pub results: RefCell<Results>,
    /// Rows as they land, with `--stream`.
    pub stream: RefCell<Option<Stream>>,
    /// What [`Job::settle_pending`] has sent to the writer.
    pub unstreamed: RefCell<VecDeque<Landed>>,
    pub notify: crate::notify::Notify,
    pub state: RefCell<State>,
    /// Something changed that a waiting lane may want to see.
    pub changed: Notify,
    /// The job is to stop, or its open batches are to be cancelled.
    pub wishes: Notify,
    pub expectations: RefCell<HashMap<String, Arc<Expectation>>>,
    /// What rows share behind a column, where calls mark it.
    pub beginnings: Option<super::beginnings::Beginnings>,
    /// Forms of requests whose bodies need no encoder.
    pub forms: RefCell<Forms>,
    pub next_segment: Cell<u32>,
    /// Items of batches that are held in memory.
    pub kept_items: Cell<usize>,
    pub kept_items_max: usize,
    /// Batches whose results are landed at the same time.
    pub collecting: Semaphore,
}

#[derive(Debug)]
pub(crate) struct State {
    pub items: ItemStates,
    pub budget: Budget,
    pub trouble: HashMap<Ordinal, Trouble>,
    /// How far items have come in the job's cascade.
    pub climb: super::cascade::Climb,
    /// Items that share a leader's outcome.
    pub followers: super::followers::Followers,
    /// Items that wait for another call.
    pub call_retries: BinaryHeap<Reverse<Retry>>,
    /// Items that wait for another batch.
    pub batch_retries: BinaryHeap<Reverse<Retry>>,
    /// Items of batches for which there was no room together: they are taken before all others.
    pub halved: VecDeque<Ordinal>,
    /// The next item that may never have run.
    pub cursor: Ordinal,
    /// The order of sending, where it is not the source's.
    pub order: Option<super::fresh::SendOrder>,
    /// Items at and beyond this are not run (`--limit`).
    pub end: Ordinal,
    pub meter: FailureMeter,
    pub flaws: FlawMeter,
    pub halted: Option<Halt>,
    /// What halted it, where that is no class of failures.
    pub halted_as: Option<&'static str>,
    pub failed: Option<EngineError>,
    /// The streamed output cannot be written: nothing new is sent, what is in flight lands and is committed.
    pub unwritable: Option<EngineError>,
    pub blocked: Option<OverBudget>,
    /// Answers of this run that cost more than was reserved for them.
    pub overcharged: Overcharges,
    pub forecasting: super::forecast::Forecasting,
    pub hedging: Box<super::hedge::Hedging>,
    pub near: super::deadline::Nearness,
    /// Batches are still packed in this run.
    pub may_batch: bool,
    pub cancelled: bool,
    /// How each deployment stands, and who stands in.
    pub standings: super::standing::Standings,
    pub pauses: super::standing::Pauses,
    pub ratios: Vec<Ratios>,
    /// For how long prompts are marked for the provider's prompt cache, by deployment.
    pub prompt_cache: Vec<super::prompt_cache::Marked>,
    pub moved: Moved,
    pub served: crate::cache::Served,
    pub outcomes: Vec<Outcome>,
    /// Money that the budget has back already and the store has not: an intent that needs it goes after the landing.
    pub unflushed: UsdNanos,
    pub rng: SplitMix64,
    /// Items of one request wait alike, so that they go together again.
    pub jitter: Option<u64>,
    pub batches: HashMap<Sub, BatchLine>,
    pub tally: Tally,
    pub calls_in_flight: u64,
    /// Those of them that end a lease, and what they may cost: a call and its copy are one, and the copy is in doubt.
    pub calls_leased: u64,
    pub calls_bound: UsdNanos,
    /// Batches whose doubt only the operator can settle.
    pub unresolved: u64,
    /// What is reserved for each batch that may or may not exist.
    pub doubted: HashMap<Sub, UsdNanos>,
    /// Account and state of each batch whose create is under way or in doubt.
    pub creates: HashMap<Sub, (String, bulkrate_core::submission::State)>,
    /// The largest reservation of one submission so far.
    pub largest_submission: UsdNanos,
    /// Batches that are ready and not created because too much is in doubt, or another create of the account is.
    pub held_batches: u64,
    pub doubt_told: bool,
    /// Batches with our mark that no row knows and of which no operator has spoken, and the jobs that booked them: nothing new
    /// is sent.
    pub ghosts: BTreeMap<Sub, u32>,
    /// Twins that a sweep has found of batches that are driven.
    pub strays: HashMap<Sub, BTreeSet<String>>,
    /// Submissions whose twins are to be taken to their last ledger entry; those of them that are left to another run.
    pub twins_open: BTreeSet<Sub>,
    pub twins_left: BTreeSet<Sub>,
    /// Batches that somebody else made of our input files, which was told.
    pub reruns_told: BTreeSet<String>,
    /// When the last sweep of this run began that every account answered.
    pub swept_ms: Option<u64>,
    /// What an operator says of batches that are undecided; of those, the ones that nothing drives any more.
    pub told: HashMap<Sub, super::operator::Told>,
    pub undecided: Vec<crate::lane::pack::Planned>,
    /// Orders that are carried out, or are about to be.
    pub heard: std::collections::HashSet<u64>,
    /// Result files cannot be had at the moment; that has been told.
    pub downloads_fail: bool,
    /// What the batches have met with at the provider.
    pub outages: crate::lane::outage::Outages,
    /// What has answered in this run, by account.
    pub reach: HashMap<String, crate::lane::reach::Reach>,
    /// Items that go to the sync lane whatever the lane of the job.
    pub urgent: super::urgent::Urgent,
    /// Items that wait for room under a cap of their tag.
    pub parked: super::tags::Parked,
    /// Nothing more can happen in this run: the budget is used up, or only the operator can go on.
    pub over: bool,
    /// What each deployment has of the batches.
    pub batch_queues: Vec<crate::lane::queue::BatchQueue>,
    /// Items a second that the limits allow, by deployment, as the pacer has learned them.
    pub call_rates: Vec<Option<f64>>,
    /// What bundles have brought, by deployment.
    pub brought: Vec<super::bundle::Brought>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retry {
    pub due_us: u64,
    pub ordinal: Ordinal,
    pub lane: Lane,
}

#[derive(Debug, Clone)]
pub(crate) struct Halt {
    pub class: FailureClass,
    pub message: String,
}

/// The lever of whatever chose a model, a router, rules or a plan: what the strong model would have cost more.
pub(crate) const ROUTING: &str = "routing";
/// The lever of a cascade: what the strong model would have cost more, less the cheap answers that were rejected.
pub(crate) const CASCADE: &str = "cascade";
/// The lever of bundles: what items would have cost alone more, less the parts that brought nothing.
pub(crate) const BUNDLE: &str = "bundle";
/// The lever of a provider's prompt cache: what the same tokens would have cost more as plain input, in the same lane.
pub(crate) const PROMPT_CACHE: &str = "prompt_cache";
/// The lever of a filter: what the naive plan would have cost for what it answered, as no model was asked an estimate.
pub(crate) const FILTER: &str = "filter";
/// Levers whose savings are estimates: nobody was asked, or not alone, so that no answer tells the tokens.
pub(crate) const ESTIMATED: [&str; 2] = [FILTER, BUNDLE];
/// Levers whose savings depend on what was not asked, another model or the item alone: no outcome holds them, the ledger alone
/// does.
pub(crate) const BY_MODEL: [&str; 3] = [ROUTING, CASCADE, BUNDLE];

impl Job {
    pub(crate) fn tell(&self, event: &Event<'_>) {
        self.observer.event(event);
    }

    pub(crate) fn alert(&self, code: &str, message: &str) {
        self.tell(&Event::Alert { code, message });
        if matches!(code, "failure-threshold" | "cost-above-bound" | "semantic-cache-errors") {
            self.notify.alert(&self.id, code, message);
        }
    }

    /// Commits and waits until it is durable.
    pub(crate) async fn commit(&self, tx: Tx, urgency: Urgency) -> Result<(), EngineError> {
        let (done, wait) = oneshot::channel();
        self.writer.send(
            tx,
            urgency,
            Box::new(move |result: Result<(), Arc<StoreError>>| drop(done.send(result))),
        );
        match wait.await {
            Ok(result) => result.map_err(|error| crate::error::stored(&error)),
            Err(_) => Err(EngineError::Internal("the writer has stopped".to_owned())),
        }
    }

    /// Everything moved since the last call, as ledger rows.
    pub(crate) fn take_ledger(&self) -> Vec<LedgerEntry> {
        self.state.borrow_mut().moved.take(self.no, self.clock.row_ms(), |place| self.names(place))
    }

    /// Provider and pinned model of a deployment, as the ledger names them.
    pub(crate) fn names(&self, deployment: usize) -> (String, String) {
        let found = &self.deployments[deployment];
        (found.row.provider.clone(), found.pinned.clone())
    }

    /// What becomes of that which a cancelled batch had finished: of this account's, or of all that the job may use.
    pub(crate) fn of_cancelled(&self, account: Option<&str>) -> String {
        let named = |has: fn(BatchFacts) -> bool| {
            let own = self.deployments.iter().map(|found| &found.account);
            let own = own.filter(|found| account.is_none_or(|id| id == found.id));
            let have = own.filter(|found| found.api.batches().is_some_and(|api| has(api.facts())));
            let names: BTreeSet<&str> = have.map(|found| found.provider.as_str()).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let (deletes, holds) = (named(|facts| facts.cancel_deletes), named(|facts| facts.cannot_cancel));
        let mut words = "is collected".to_owned();
        if !deletes.is_empty() {
            words.push_str(&format!(", but at {deletes} deleted with its batch: there it stays in doubt"));
        }
        if !holds.is_empty() {
            words.push_str(&format!("; batches at {holds} cannot be cancelled and are waited for"));
        }
        words
    }

    /// Whether batches of an account run to their end, whatever is wished.
    pub(crate) fn cannot_cancel(&self, account: &str) -> bool {
        let sender = self.deployments.iter().find(|found| found.account.id == account);
        sender.and_then(|found| found.account.api.batches()).is_some_and(|api| api.facts().cannot_cancel)
    }

    /// Takes the landed outcomes for a commit.
    pub(crate) fn take_outcomes(&self) -> Vec<Outcome> {
        let mut state = self.state.borrow_mut();
        state.unflushed = UsdNanos::ZERO;
        std::mem::take(&mut state.outcomes)
    }

    /// Sends what has landed to the writer, so that a later commit finds it before itself.
    pub(crate) fn settle_pending(&self) -> Result<(), EngineError> {
        if self.state.borrow().failed.is_some() {
            return Ok(()); // what could not be written is not committed either
        }
        let mut tx = Tx::new(self.no);
        tx.sync_first.extend(self.results.borrow_mut().flush()?);
        tx.ledger = self.take_ledger();
        tx.outcomes = self.take_outcomes();
        let rows = self.to_stream(&tx.outcomes);
        if !tx.outcomes.is_empty() || !tx.ledger.is_empty() {
            let (done, wait) = oneshot::channel();
            // A failure here fails every later commit too.
            self.writer.send(tx, Urgency::Landing, Box::new(move |result| drop(done.send(result))));
            self.unstreamed.borrow_mut().push_back((wait, rows));
        }
        Ok(())
    }

    /// Streams the rows of pending outcomes that have become durable.
    pub(crate) fn stream_settled(&self) {
        loop {
            let first = self.unstreamed.borrow_mut().pop_front();
            let Some((mut wait, rows)) = first else { return };
            match wait.try_recv() {
                Ok(Ok(())) => self.stream(&rows),
                // Not durable and never will be: the next run writes the rows that are.
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.unstreamed.borrow_mut().push_front((wait, rows));
                    return;
                }
            }
        }
    }

    /// Prompt tokens of so many bytes: by what this job has learned, else a quarter of its bytes.
    pub(crate) fn estimated_tokens(&self, deployment: usize, bytes: u64) -> u64 {
        let state = self.state.borrow();
        let ratios = &state.ratios[deployment];
        if ratios.items >= 20 && ratios.bytes > 0 {
            let tokens = u128::from(bytes) * u128::from(ratios.input) / u128::from(ratios.bytes);
            u64::try_from(tokens).unwrap_or(u64::MAX >> 8).min(u64::MAX >> 8)
        } else {
            bytes / 4
        }
    }

    /// Where the last committed line of a segment starts; `None` if the segment is new.
    pub(crate) fn last_place(&self, segment: u32) -> Result<Option<u64>, EngineError> {
        let mut last = None;
        self.reader.scan_outcomes(self.no, &mut |outcomes| {
            let offsets = outcomes
                .iter()
                .filter(|outcome| outcome.place.segment == segment)
                .map(|outcome| outcome.place.offset);
            last = last.max(offsets.max());
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(last)
    }

    /// Stops the job with an error of its own; nothing is sent after this.
    pub(crate) fn fail(&self, error: EngineError) {
        self.state.borrow_mut().failed.get_or_insert(error);
        self.changed.notify_waiters();
    }

    /// Whether nothing new may be leased.
    pub(crate) fn is_closing(&self) -> bool {
        let state = self.state.borrow();
        self.only_collects
            || self.stop.is_detaching()
            || state.halted.is_some()
            || state.has_failed()
            || state.cancelled
            || state.over
            || state.forecasting.paused.is_some()
    }

    pub(crate) fn random(&self) -> u64 {
        self.state.borrow_mut().rng.next_u64()
    }

    pub(crate) fn new_sub(&self) -> Sub {
        let random = (u128::from(self.random()) << 64) | u128::from(self.random());
        Sub::new(self.clock.unix_ms(), random)
    }
}

impl State {
    /// Whether something of ours, not of the provider's, ends the run.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some() || self.unwritable.is_some()
    }

    /// The next item for a call: a retry that is due, or a fresh one if `fresh`.
    pub(crate) fn next_call(&mut self, now_us: u64, fresh: bool, home: Lane) -> Option<(Ordinal, Lane)> {
        if let Some(due) = Self::due(&mut self.call_retries, &self.items, now_us) {
            return Some(due);
        }
        if let Some(ordinal) = self.next_urgent() {
            return Some((ordinal, Lane::Sync));
        }
        if fresh { self.next_fresh().map(|ordinal| (ordinal, home)) } else { None }
    }

    /// The next item for a batch: one that had no room among others, a fresh one, or a retry that is due.
    pub(crate) fn next_batched(&mut self, now_us: u64) -> Option<Ordinal> {
        let halved = std::iter::from_fn(|| self.halved.pop_front()).find(|next| self.items.is_waiting(*next));
        halved
            .or_else(|| self.next_fresh())
            .or_else(|| Self::due(&mut self.batch_retries, &self.items, now_us).map(|(ordinal, _)| ordinal))
    }

    fn due(
        retries: &mut BinaryHeap<Reverse<Retry>>,
        items: &ItemStates,
        now_us: u64,
    ) -> Option<(Ordinal, Lane)> {
        while let Some(Reverse(retry)) =
            retries.peek().copied().filter(|Reverse(retry)| retry.due_us <= now_us)
        {
            retries.pop();
            if items.is_waiting(retry.ordinal) {
                return Some((retry.ordinal, retry.lane));
            }
        }
        None
    }

    /// Puts an item into the queue of its lane.
    pub(crate) fn queue(&mut self, mut retry: Retry) {
        if retry.ordinal >= self.end {
            return; // not asked for: a run without the limit takes it up
        }
        if !self.may_batch && retry.lane == Lane::Batch {
            retry.lane = Lane::Sync; // no batch will be packed again: nobody would take it from there
        }
        match retry.lane {
            Lane::Batch => self.batch_retries.push(Reverse(retry)),
            Lane::Flex | Lane::Sync => self.call_retries.push(Reverse(retry)),
        }
    }

    /// An item of a batch that is called for. It waits as what it is: when batches are taken again it goes back.
    pub(crate) fn call_for(&mut self, ordinal: Ordinal) {
        self.call_retries.push(Reverse(Retry { due_us: 0, ordinal, lane: Lane::Batch }));
    }

    /// From now on what waits for a batch goes to the sync lane.
    pub(crate) fn leave_batches(&mut self) {
        self.may_batch = false;
        (0..self.batch_queues.len()).for_each(|place| self.wait_no_more(place));
        for ordinal in std::mem::take(&mut self.halved) {
            self.queue(Retry { due_us: 0, ordinal, lane: Lane::Batch });
        }
        for Reverse(retry) in std::mem::take(&mut self.batch_retries) {
            self.queue(retry);
        }
    }

    /// Whether no tokens are counted as enqueued once no batch has an item.
    pub(crate) fn is_queue_even(&self) -> bool {
        self.batch_queues.iter().all(|queue| queue.tokens == 0)
            || self.items.counts().of(ItemState::Leased) > 0
    }

    /// The leases of a call have ended.
    pub(crate) fn call_over(&mut self, bound: UsdNanos) {
        self.calls_leased -= 1;
        self.calls_bound -= bound;
    }

    /// Items that have no outcome yet and will get one in this run.
    pub(crate) fn open(&self) -> u64 {
        self.items.asked().open()
    }
}
