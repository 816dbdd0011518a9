//! What an earlier run left: states from the fold, money from the ledger, doubts from leases without an outcome.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::Kind;
use bulkrate_core::retry::FailureMeter;
use bulkrate_core::review::FlawMeter;
use bulkrate_store::fold::{ItemStates, State as ItemState};
use bulkrate_store::{Fate, ItemRec, Lease, LogChunk, Outcome, Submission, SubmissionState, Via, View};

use super::bundle::Brought;
use super::cascade::Climb;
use super::failures::is_metered;
use super::followers::Followers;
use super::job::{Job, Retry, State, Tally, Trouble};
use super::land::Landing;
use super::ready::Ready;
use crate::EngineError;
use crate::deployment::Deployment;
use crate::lane::pack::Planned;
use crate::lane::stood_in;

/// The fold of a job's rows, as far as lanes need it.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub items: ItemStates,
    pub trouble: HashMap<Ordinal, Trouble>,
    pub climb: Climb,
    pub followers: Followers,
    pub tally: Tally,
    pub meter: FailureMeter,
    pub flaws: FlawMeter,
    /// What bundles have brought, if any went out.
    pub brought: Brought,
    /// Start of the last committed line of segment 0.
    pub last_result: Option<u64>,
    /// Some item was answered by a call or a batch.
    pub answered: bool,
}

pub(crate) fn recover(
    reader: &dyn View,
    job: u32,
    with_followers: bool,
    threshold_ppm: u64,
    max_error_permille: Option<u32>,
    end: Ordinal,
) -> Result<Recovered, EngineError> {
    let mut found = Recovered {
        items: ItemStates::new(),
        trouble: HashMap::new(),
        climb: Climb::default(),
        followers: Followers::new(end),
        tally: Tally::default(),
        meter: FailureMeter::new(threshold_ppm),
        flaws: FlawMeter::new(max_error_permille),
        brought: Brought::default(),
        last_result: None,
        answered: false,
    };
    if with_followers {
        reader.scan_items(job, 0, &mut |chunk| {
            for (ordinal, _, item) in chunk.iter() {
                if let ItemRec::Follower { leader } = item {
                    found.followers.add(ordinal, *leader);
                }
            }
            found.items.push(chunk);
            ControlFlow::Continue(())
        })?;
    } else {
        reader.scan_items(job, 0, &mut |chunk| {
            found.items.push(chunk);
            ControlFlow::Continue(())
        })?;
    }
    reader.scan_log(job, &mut |chunk| {
        if let LogChunk::Outcomes(outcomes) = chunk {
            for outcome in outcomes {
                found.note(outcome);
            }
        }
        found.items.feed(chunk);
        ControlFlow::Continue(())
    })?;
    if (end as usize) < found.items.len() {
        found.items.ask_until(end);
    }
    Ok(found)
}

impl Recovered {
    fn note(&mut self, outcome: &Outcome) {
        if outcome.place.segment == 0 {
            self.last_result = self.last_result.max(Some(outcome.place.offset));
        }
        self.tally.input_tokens = self.tally.input_tokens.saturating_add(outcome.usage.prompt());
        self.tally.output_tokens = self.tally.output_tokens.saturating_add(outcome.usage.output);
        let unpriced = outcome.estimated && outcome.cost == UsdNanos::ZERO;
        self.tally.estimated += u64::from(outcome.estimated && !unpriced);
        self.tally.unpriced += u64::from(unpriced);
        self.note_part(outcome);
        let followers = self.followers.of(outcome.ordinal);
        let (own, others) = self.followers.decides(outcome.ordinal);
        match (outcome.fate, outcome.class) {
            (Fate::Final, None) => {
                self.tally.succeeded += own + others;
                self.tally.duplicates += others;
                self.tally.cached += if outcome.via == Via::Cache { own } else { 0 };
                self.tally.filtered += if outcome.via == Via::Filter { own } else { 0 };
                self.tally.similar += if outcome.via == Via::Semantic { own } else { 0 };
                self.tally.naive += outcome.naive.times(others);
                self.tally.beyond.dedup += outcome.naive.times(followers - others);
                // What was paid for counts as spent whoever asks, so it has its naive cost.
                let sum = match outcome.via {
                    Via::Cache if own == 0 => &mut self.tally.beyond.cache,
                    Via::Filter if own == 0 => &mut self.tally.beyond.filter,
                    _ => &mut self.tally.naive,
                };
                *sum += outcome.naive;
                self.trouble.remove(&outcome.ordinal);
                self.climb.ended(outcome.ordinal);
                // The meter and the canary judge requests; what the cache answered proves nothing about them.
                self.answered |= outcome.via.is_attempt();
                if is_metered(outcome.via, None) {
                    self.meter.ok();
                    self.flaws.good();
                }
            }
            (Fate::Final, Some(class)) => {
                self.tally.failed += own + others;
                self.tally.naive += outcome.naive;
                self.trouble.remove(&outcome.ordinal);
                self.climb.ended(outcome.ordinal);
                let never_asked =
                    self.items.get(outcome.ordinal).is_none_or(|item| item.state == ItemState::Invalid);
                if is_metered(outcome.via, Some(class)) && !never_asked {
                    self.meter.failed(class, "");
                    self.flaws.ended(class);
                }
            }
            (Fate::Retry | Fate::Escalate, class) => {
                self.tally.naive += outcome.naive;
                let lane = match outcome.via {
                    Via::Batch => Lane::Batch,
                    Via::Flex => Lane::Flex,
                    _ => Lane::Sync,
                };
                let trouble = self.trouble.entry(outcome.ordinal).or_default();
                if outcome.counted || class.is_some_and(|class| !class.counts_as_attempt()) {
                    trouble.attempts.record(lane, class.unwrap_or(FailureClass::Transient));
                }
                trouble.cut |= class == Some(FailureClass::Truncated);
                trouble.ended = trouble.ended.wrapping_add(1);
                if outcome.fate == Fate::Escalate {
                    trouble.begin_anew();
                    let why = class.unwrap_or(FailureClass::NotAccepted);
                    self.climb.recall(outcome.ordinal, why, (outcome.place, outcome.usage));
                }
            }
            (Fate::Revive, _) => {
                self.flaws.forget();
                self.tally.failed = self.tally.failed.saturating_sub(own + others);
                // It ended alone, or might have: it does not go back among others.
                let alone = Trouble { halved: u8::MAX, ..Trouble::default() };
                self.trouble.insert(outcome.ordinal, alone);
            }
        }
    }

    /// Counts what may have been a part of a bundle: where none goes out none fails either, and nothing is concluded.
    fn note_part(&mut self, outcome: &Outcome) {
        let failed = outcome.class == Some(FailureClass::BundleFailed);
        let first = self.trouble.get(&outcome.ordinal).is_none_or(|trouble| trouble.attempts.bundles == 0);
        let good = outcome.class.is_none() && outcome.fate == Fate::Final && outcome.via.is_attempt();
        if failed || good && first {
            self.brought.note(!failed);
        }
    }
}

impl State {
    /// Items that an earlier run left waiting for another attempt go into the queue of the lane that is next.
    pub(crate) fn queue_left_over(&mut self, home: Lane, batch_max: u8) {
        let off = self.brought.iter().all(Brought::is_off);
        let waiting: Vec<(Ordinal, u8)> = self
            .items
            .iter()
            .filter(|(_, item)| item.state == ItemState::Retry)
            .map(|(ordinal, item)| {
                let bundles = self.trouble.get(&ordinal).map_or(0, |trouble| trouble.attempts.bundles);
                (ordinal, if off { item.batch_attempts } else { item.batch_attempts.max(bundles) })
            })
            .collect();
        for (ordinal, batch_attempts) in waiting {
            let lane = match home {
                _ if self.is_urgent(ordinal) => Lane::Sync,
                Lane::Batch if batch_attempts < batch_max => Lane::Batch,
                Lane::Batch => Lane::Sync,
                lane => lane,
            };
            self.queue(Retry { due_us: 0, ordinal, lane });
        }
    }

    /// An empty queue pair, for construction.
    pub(crate) fn queues() -> (BinaryHeap<std::cmp::Reverse<Retry>>, BinaryHeap<std::cmp::Reverse<Retry>>) {
        (BinaryHeap::new(), BinaryHeap::new())
    }
}

/// The leases of calls that have no outcome, with the submission that leased them.
pub(crate) fn open_calls(
    view: &dyn View,
    job: u32,
    items: &ItemStates,
) -> Result<BTreeMap<Ordinal, (Sub, Lane, Lease)>, EngineError> {
    let leased = |ordinal| items.get(ordinal).is_some_and(|item| item.state == ItemState::Leased);
    let mut open = BTreeMap::new();
    view.scan_log(job, &mut |chunk| {
        if let LogChunk::Leases { sub, lane, state, leases } = chunk {
            // Only the newest lease of an item can be open: an older entry is replaced, or forgotten if a batch has the item.
            for lease in leases.iter().filter(|lease| leased(lease.ordinal)) {
                if state == SubmissionState::Call {
                    open.insert(lease.ordinal, (sub, lane, *lease));
                } else {
                    open.remove(&lease.ordinal);
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(open)
}

/// Calls that were leased and never answered are window W3: the bound is booked as doubt, and policy decides the rest.
/// Returns how many there were.
pub(crate) fn doubt_lost_calls(job: &Rc<Job>) -> Result<u64, EngineError> {
    if job.state.borrow().items.counts().of(ItemState::Leased) == 0 {
        return Ok(0);
    }
    let lost = open_calls(&*job.reader, job.no, &job.state.borrow().items)?;
    let mut count = 0;
    job.state.borrow_mut().note_size(lost.values().map(|(.., lease)| lease.bound).sum());
    let mut senders: HashMap<Sub, Option<usize>> = HashMap::new();
    let mut body = Vec::new();
    for (call, lane, lease) in lost.into_values() {
        // Reserved for the deployment that was called, so doubted there: another may stand in by now.
        if let Entry::Vacant(unknown) = senders.entry(call) {
            let submission = job.reader.submission(call)?;
            unknown.insert(submission.and_then(|submission| sender(job, &submission)));
        }
        let ready = job.leased(&lease, lane, senders.get(&call).copied().flatten(), &mut body)?;
        let mut results = job.results.borrow_mut();
        let place = results.place();
        job.land_lost(Landing { ready: &ready, lane, sub: None, group: Some(call) }, place, results.buffer());
        count += 1;
    }
    job.settle_pending()?;
    Ok(count)
}

/// Batches that are not settled yet, with what their items need to land.
pub(crate) fn open_batches(job: &Rc<Job>) -> Result<Vec<Planned>, EngineError> {
    let mut open = Vec::new();
    for submission in job.reader.submissions(job.no)? {
        if submission.state == SubmissionState::Call || submission.state.is_terminal() {
            continue;
        }
        // What was not sent is the run's that it goes before, which looks first whether it was sent after all (W5).
        if job.only_collects && submission.state.is_unsent() {
            continue;
        }
        let mut planned = planned(job, submission)?;
        let mut state = job.state.borrow_mut();
        state.note_doubt(&planned.submission);
        state.note_create(&planned.submission);
        if let Some(queue) = state.queue_of(job, &planned.submission) {
            queue.tokens += planned.tokens;
        }
        drop(state);
        planned.set_aside(job);
        open.push(planned);
    }
    Ok(open)
}

/// The deployment that a submission was sent by, if it is still one of the job's.
pub(crate) fn sender(job: &Job, submission: &Submission) -> Option<usize> {
    sender_of(&job.deployments, submission)
}

/// A submission stays with the deployment that it was sent by, whichever stands in for new ones.
pub(crate) fn sender_of(deployments: &[Deployment], submission: &Submission) -> Option<usize> {
    deployments
        .iter()
        .position(|found| found.pinned == submission.model && found.account.id == submission.account)
}

/// Why none of the deployments is the one that sent a batch. An account is known by its key, so one whose key is not set is
/// another to us and the same to the user.
pub(crate) fn other_account(deployments: &[Deployment], batch: &Submission) -> EngineError {
    let keyless = |found: &&Deployment| found.pinned == batch.model && found.account.lacks_key();
    if let Some(found) = deployments.iter().find(keyless) {
        return found.account.no_key();
    }
    EngineError::BadSpec {
        code: "account-changed",
        what: format!("batch {} belongs to another account", batch.sub),
        why: "it was sent with other credentials, to another project or region, or to another base URL; a submission \
              stays with its account"
            .to_owned(),
    }
}

pub(crate) fn kind_of(submission: &Submission) -> Kind {
    Kind::ALL.into_iter().find(|kind| kind.name() == submission.kind).unwrap_or_default()
}

fn planned(job: &Rc<Job>, mut submission: Submission) -> Result<Planned, EngineError> {
    let kind = kind_of(&submission);
    let items = items(job, &submission)?;
    // Before the create everything can be made again: a spoilt spool file only costs a new batch.
    if submission.state.is_unsent() && !digest_matches(job, &submission) {
        submission.evidence = Some("{\"why\":\"the input file was changed or lost\"}".to_owned());
        submission.state = SubmissionState::Planned;
        submission.input_digest = None;
    }
    Ok(Planned::new(job, submission, kind, items))
}

/// The items of a batch, as it leased them.
pub(crate) fn items(job: &Rc<Job>, submission: &Submission) -> Result<Vec<Ready>, EngineError> {
    let leases = job.reader.leases(submission.sub)?;
    let place = sender(job, submission);
    let mut items = Vec::with_capacity(leases.len());
    let mut body = Vec::new();
    let instead = stood_in::recall(job, submission);
    for lease in &leases {
        let ready = job.leased(lease, Lane::Batch, place, &mut body)?;
        items.push(Ready { instead: instead(&ready), ..ready });
    }
    Ok(items)
}

fn digest_matches(job: &Rc<Job>, submission: &Submission) -> bool {
    let digest = bulkrate_io::digest_file(job.dir.batch(submission.sub).input()).ok();
    digest.is_some() && digest == submission.input_digest
}
