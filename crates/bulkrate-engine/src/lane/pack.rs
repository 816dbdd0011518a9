//! Fills one batch file: leases items, writes their lines, and makes the plan durable (T1 and T2 in one commit: the files
//! are on disk before the row that leases their items).

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Ordinal, Sub, WireId};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::rng::mix;
use bulkrate_core::pack::{Fit, Pack, PackLimits, Weight};
use bulkrate_core::request::Kind;
use bulkrate_io::Digest;
use bulkrate_store::{Lease, LedgerKind, Submission, SubmissionState, Tx, Urgency};

use super::fetch::{longest, unreadable};
use super::queue::ASIDE_MAX;
use super::stood_in;
use super::submission::batches;
use crate::EngineError;
use crate::event::Event;
use crate::paths::{BatchDir, create_dir, io_error, open_file, sync_dir};
use crate::run::bundle::{Draft, Gathered, Gathering, Parcel, bound};
use crate::run::job::{Job, Retry};
use crate::run::ledger::{At, Moved};
use crate::run::ready::{NotReady, Ready};

/// Items that ended while a file was filled are written when they are so many.
const LAND_MAX: usize = 1_000;

/// A batch that is planned: its files are durable, its items leased.
#[derive(Debug)]
pub(crate) struct Planned {
    pub submission: Submission,
    pub kind: Kind,
    /// Prompt tokens that it was planned with: what is added to those enqueued is taken off again.
    pub tokens: u64,
    /// The longest that a result file of it can be.
    pub result_bytes_max: u64,
    /// Empty while they are set aside: the store has their leases.
    pub items: Vec<Ready>,
}

impl Planned {
    pub(crate) fn new(job: &Job, submission: Submission, kind: Kind, mut items: Vec<Ready>) -> Self {
        items.shrink_to_fit(); // they may be held for hours
        job.kept_items.set(job.kept_items.get() + items.len());
        let tokens = items.iter().map(|ready| ready.tokens).sum();
        let result_bytes_max = longest(&items);
        Self { submission, kind, tokens, result_bytes_max, items }
    }

    /// Drops the items of a batch that has long to wait, if many are held for others.
    pub(crate) fn set_aside(&mut self, job: &Job) {
        let kept = job.kept_items.get();
        if kept > job.kept_items_max {
            job.kept_items.set(kept.saturating_sub(self.items.len()));
            self.items = Vec::new();
        }
    }

    /// Has the items in memory again.
    pub(crate) fn take_up(&mut self, job: &Rc<Job>) -> Result<(), EngineError> {
        if self.items.is_empty() {
            self.items = crate::run::recover::items(job, &self.submission)?;
            job.kept_items.set(job.kept_items.get() + self.items.len());
        }
        Ok(())
    }
}

/// Bytes gathered before they are digested and written: digests want long input.
const GATHER_BYTES: usize = 256 << 10;

/// A file being written, and the digest of what went in where one is wanted.
struct Writing {
    file: File,
    path: PathBuf,
    gathered: Vec<u8>,
    digest: Option<Digest>,
    bytes: u64,
}

impl Writing {
    fn create(path: PathBuf, digest: Option<Digest>) -> Result<Self, EngineError> {
        let file = open_file(&path, true)?;
        Ok(Self { file, path, gathered: Vec::with_capacity(GATHER_BYTES), digest, bytes: 0 })
    }

    /// Where the next line goes.
    fn line(&mut self) -> Result<&mut Vec<u8>, EngineError> {
        if self.gathered.len() >= GATHER_BYTES {
            self.flush()?;
        }
        Ok(&mut self.gathered)
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let failed = io_error("could not write", &self.path);
        self.file.write_all(&self.gathered).map_err(failed)?;
        if let Some(digest) = &mut self.digest {
            digest.write_all(&self.gathered).map_err(io_error("could not digest", &self.path))?;
        }
        self.bytes += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Makes the file durable. Answers its digest and its bytes.
    fn finish(mut self) -> Result<(Option<String>, u64), EngineError> {
        self.flush()?;
        self.file.sync_data().map_err(io_error("could not sync", &self.path))?;
        Ok((self.digest.map(|digest| digest.finish()), self.bytes))
    }
}

/// Takes the next items into one batch. `None`: no item wants one now.
pub(crate) async fn pack(job: &Rc<Job>) -> Result<Option<Planned>, EngineError> {
    let sub = job.new_sub();
    let dir = job.dir.batch(sub);
    let mut draft: Option<Drafting> = None;
    let mut body = Vec::new();
    let mut aside = Vec::new();
    let mut gathering = Gathering::default();
    let mut steps = 0_u32;
    loop {
        steps += 1;
        if steps.is_multiple_of(2_000) {
            tokio::task::yield_now().await; // other batches are polled while a large one is written
        }
        if job.is_closing() {
            break;
        }
        body.clear();
        let (of, items) =
            draft.as_ref().map_or((None, 0), |draft| (Some(draft.deployment), draft.items.len()));
        let seed = seed(sub, items);
        let Some(next) = next(job, &mut gathering, of, seed, &mut body)? else { break };
        let Some(parcel) = next else { continue };
        if of.is_none() && waits(job, &parcel) {
            if !job.has_takers(&job.state.borrow(), job.clock.us()) {
                break;
            }
            continue;
        }
        match take(job, &mut draft, sub, &dir, parcel, &body)? {
            Took::Added => {}
            Took::Closed => break,
            Took::Aside(ordinals) => aside.extend(ordinals),
        }
        if aside.len() >= ASIDE_MAX {
            break;
        }
    }
    {
        let mut state = job.state.borrow_mut();
        // What waited for company and the file closed before: the next file has it.
        gathering.ordinals().into_iter().rev().for_each(|ordinal| state.put_back(ordinal));
        for ordinal in aside {
            state.queue(Retry { due_us: 0, ordinal, lane: Lane::Batch });
        }
    }
    let Some(draft) = draft.filter(|draft| !draft.items.is_empty()) else {
        // Opened for an item that did not fit the budget: packing is tried again and again, so nothing may be left.
        drop(std::fs::remove_dir_all(&dir.0));
        // What was served on the way is durable before the next batch, which may be hours away.
        job.settle_pending()?;
        return Ok(None);
    };
    if draft.is_too_small(job, sub)? {
        call_instead(job, &draft);
        drop(std::fs::remove_dir_all(&dir.0));
        // What was served on the way is durable before the next batch, which may be hours away.
        job.settle_pending()?;
        return Ok(None);
    }
    draft.finish(job, sub, &dir).await.map(Some)
}

/// Sets aside what cannot begin a batch now, as its deployment takes none. False: it does.
fn waits(job: &Job, parcel: &Parcel) -> bool {
    let (place, mut state) = (parcel.ready.deployment, job.state.borrow_mut());
    let waits = !job.takes_batch(&state, place, job.clock.us());
    if waits {
        let items = std::iter::once(&parcel.ready).chain(&parcel.more);
        state.wait_for(place, items.map(|ready| ready.ordinal));
    }
    waits
}

/// What is too little for a batch goes one by one. Nothing of it is durable yet.
fn call_instead(job: &Rc<Job>, draft: &Drafting) {
    let items = draft.items.len();
    {
        let mut state = job.state.borrow_mut();
        for ready in &draft.items {
            state.items.release(&[ready.lease()]);
            state.budget.release(ready.tags, ready.bound);
            state.queue(Retry { due_us: 0, ordinal: ready.ordinal, lane: Lane::Sync });
            if job.may_stand_in.mixed {
                // It stays a call: a fresh item would be sent back to the batches, and come here again without end.
                state.trouble.entry(ready.ordinal).or_default();
            }
        }
    }
    let name = job.deployments[draft.deployment].account.api.name();
    let message =
        format!("{items} items are too few for a batch of `{name}`: they go one by one, in the sync lane");
    job.tell(&Event::Note { message: &message });
    job.changed.notify_waiters();
}

/// The next request. `Some(None)`: an item was taken, and no request goes yet; `None`: no item wants a batch.
fn next(
    job: &Rc<Job>,
    gathering: &mut Gathering,
    of: Option<usize>,
    seed: u64,
    body: &mut Vec<u8>,
) -> Result<Option<Option<Parcel>>, EngineError> {
    let Some(ordinal) = job.next_batched(of) else {
        let Some(left) = gathering.pop(false) else { return Ok(None) };
        return sealed(job, left, seed, body).map(Some);
    };
    if job.serve(ordinal)? {
        let many = job.state.borrow().outcomes.len() >= LAND_MAX;
        return if many { job.settle_pending().map(|()| Some(None)) } else { Ok(Some(None)) };
    }
    let ready = match job.ready(ordinal, Lane::Batch, body) {
        Ok(ready) => ready,
        Err(NotReady::Unsupported(why)) => {
            job.bury(ordinal, Lane::Batch, FailureClass::InvalidInput, &why);
            return Ok(Some(None));
        }
        Err(NotReady::Lane(_)) => {
            let mut state = job.state.borrow_mut();
            state.call_for(ordinal);
            job.changed.notify_waiters();
            let goes_on = job.has_takers(&state, job.clock.us());
            return Ok(goes_on.then_some(None));
        }
        Err(NotReady::Engine(error)) => return Err(error),
    };
    if job.bundle.is_none() {
        return Ok(Some(Some(Parcel::alone(ready))));
    }
    match job.gather(gathering, ready, Lane::Batch)? {
        Gathered::Alone(ready) => Ok(Some(Some(Parcel::alone(ready)))),
        Gathered::Kept(None) => Ok(Some(None)),
        Gathered::Kept(Some(full)) => sealed(job, full, seed, body).map(Some),
    }
}

/// The request of a bundle. `None`: its items go alone, or some have ended meanwhile and the others are taken anew.
fn sealed(
    job: &Rc<Job>,
    bundle: Draft,
    seed: u64,
    body: &mut Vec<u8>,
) -> Result<Option<Parcel>, EngineError> {
    body.clear();
    let mut ordinals = bundle.ordinals();
    {
        let (n, mut state) = (ordinals.len(), job.state.borrow_mut());
        ordinals.retain(|ordinal| state.items.is_waiting(*ordinal));
        if ordinals.len() < n {
            ordinals.into_iter().rev().for_each(|ordinal| state.put_back(ordinal));
            return Ok(None);
        }
    }
    match job.seal(bundle, seed, body) {
        Ok(parcel) => Ok(Some(parcel)),
        Err(NotReady::Engine(error)) => Err(error),
        Err(NotReady::Lane(_)) => {
            let mut state = job.state.borrow_mut();
            ordinals.into_iter().rev().for_each(|ordinal| state.put_back(ordinal));
            Ok(None)
        }
        Err(NotReady::Unsupported(why)) => {
            job.come_apart(&ordinals, Lane::Batch, Some(&why));
            Ok(None)
        }
    }
}

/// Draws the order of a bundle: by its submission and its place there.
fn seed(sub: Sub, items: usize) -> u64 {
    let [high, low] =
        [sub.0 >> 64, sub.0 & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    mix(high ^ mix(low ^ items as u64))
}

enum Took {
    Added,
    /// The items went back; the file is complete without them.
    Closed,
    /// The items are for another model or endpoint, and so for another file.
    Aside(Vec<Ordinal>),
}

struct Drafting {
    deployment: usize,
    kind: Kind,
    /// Items are held in memory until they land, however few requests they are in.
    items_max: u64,
    pack: Pack,
    items: Vec<Ready>,
    input: Writing,
    unified: Writing,
}

fn take(
    job: &Rc<Job>,
    draft: &mut Option<Drafting>,
    sub: Sub,
    dir: &BatchDir,
    parcel: Parcel,
    body: &[u8],
) -> Result<Took, EngineError> {
    let Parcel { ready, more, tokens, .. } = parcel;
    let ordinals = || std::iter::once(&ready).chain(&more).map(|ready| ready.ordinal).collect::<Vec<_>>();
    let back = || job.state.borrow_mut().put_all_back(ordinals());
    let bound = bound(&ready, &more);
    if draft.is_none() {
        *draft = Some(Drafting::open(job, sub, dir, &ready)?);
    }
    let Some(open) = draft.as_mut() else { return Ok(Took::Closed) };
    if open.deployment != ready.deployment || open.kind != ready.kind {
        return Ok(Took::Aside(ordinals()));
    }
    if job.spec.run.budget_per_request.is_some_and(|most| bound > most) {
        if !more.is_empty() {
            job.come_apart(&ordinals(), Lane::Batch, None);
            return Ok(Took::Added);
        }
        let why = format!("the request may cost up to USD {}, above the cap for one request", ready.bound);
        job.bury(ready.ordinal, Lane::Batch, FailureClass::BudgetExhausted, &why);
        return Ok(Took::Added);
    }
    if job.set_aside(&ready, &more, Lane::Batch) {
        return Ok(Took::Added);
    }
    let n = more.len() + 1;
    if !open.items.is_empty() && (open.items.len() + n) as u64 > open.items_max {
        back();
        return Ok(Took::Closed);
    }
    let api = batches(&*job.deployments[ready.deployment].account.api, sub)?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let id = WireId { sub, seq: count(open.items.len()), n: count(n) };
    // Written in its place, and taken back if the item does not go.
    let lines = open.input.line()?;
    let start = lines.len();
    api.input_line(id, ready.kind, body, lines);
    let weight = Weight { bytes: (lines.len() - start) as u64, tokens, inputs: 1 };
    let unreadable = unreadable(api.facts(), weight.bytes, u64::from(ready.max_tokens));
    match unreadable.map_or_else(|| open.pack.add(weight), |_| Fit::TooLarge) {
        Fit::Added => {}
        Fit::Full => {
            lines.truncate(start);
            back();
            return Ok(Took::Closed);
        }
        Fit::TooLarge => {
            lines.truncate(start);
            if !more.is_empty() {
                job.come_apart(&ordinals(), Lane::Batch, None);
                return Ok(Took::Added);
            }
            let why = unreadable.unwrap_or("the request is larger than a batch file may be");
            job.bury(ready.ordinal, Lane::Batch, FailureClass::InvalidInput, why);
            return Ok(Took::Added);
        }
    }
    let reserved = job.state.borrow_mut().budget.reserve(ready.tags, bound);
    if let Err(over) = reserved {
        lines.truncate(start);
        if !more.is_empty() && open.items.is_empty() && job.state.borrow().has_nothing_out() {
            // Nothing is out that could give money back. What there is may do for half as many, and they go before anything else.
            let (ordinals, mut state) = (ordinals(), job.state.borrow_mut());
            state.halve(&ordinals, false);
            state.halved.extend(ordinals);
            return Ok(Took::Added);
        }
        job.state.borrow_mut().blocked = Some(over);
        back();
        return Ok(Took::Closed);
    }
    job.state.borrow_mut().blocked = None;
    for ready in std::iter::once(ready).chain(more) {
        let mut requests = job.requests.borrow_mut();
        let sealed = requests.get(&*job.reader, ready.ordinal)?;
        let lines = open.unified.line()?;
        lines.extend_from_slice(sealed.line);
        lines.push(b'\n');
        drop(requests);
        assert!(job.state.borrow().items.is_waiting(ready.ordinal), "an item has one open submission (I3)");
        job.state.borrow_mut().items.lease(&[ready.lease()]);
        open.items.push(ready);
    }
    Ok(Took::Added)
}

impl Drafting {
    fn open(job: &Rc<Job>, sub: Sub, dir: &BatchDir, first: &Ready) -> Result<Self, EngineError> {
        let api = batches(&*job.deployments[first.deployment].account.api, sub)?;
        create_dir(&dir.0)?;
        let (run, limits) = (&job.spec.run, api.limits(first.kind));
        let state = job.state.borrow();
        let tokens_max = state.batch_queues[first.deployment].room();
        let facts = api.facts();
        // Where batches share a machine each would only load the model once more.
        let items_max = match facts.at_once {
            Some(_) => u64::from(run.batch_items_max),
            None => run.shard(state.items.asked().total(), u64::from(facts.items_min)),
        };
        let requests_max = u32::try_from(items_max).unwrap_or(u32::MAX).min(limits.items_max);
        let bytes_max = limits.bytes_max.min(run.batch_bytes_max);
        let inputs_max = limits.embedding_inputs_max;
        Ok(Self {
            deployment: first.deployment,
            kind: first.kind,
            items_max,
            pack: Pack::new(PackLimits { items_max: requests_max, bytes_max, tokens_max, inputs_max }),
            items: Vec::new(),
            input: Writing::create(dir.input(), Some(Digest::default()))?,
            unified: Writing::create(dir.unified(), None)?,
        })
    }

    /// Whether the provider would not take it, and the items can be called for.
    fn is_too_small(&self, job: &Rc<Job>, sub: Sub) -> Result<bool, EngineError> {
        let api = &*job.deployments[self.deployment].account.api;
        let least = batches(api, sub)?.facts().items_min;
        Ok(self.pack.items < least && api.calls().is_some())
    }

    async fn finish(self, job: &Rc<Job>, sub: Sub, dir: &BatchDir) -> Result<Planned, EngineError> {
        let (digest, bytes) = self.input.finish()?;
        self.unified.finish()?;
        for path in [Some(dir.0.as_path()), dir.0.parent()].into_iter().flatten() {
            sync_dir(path)?;
        }
        let found = &job.deployments[self.deployment];
        let leases: Vec<Lease> = self.items.iter().map(Ready::lease).collect();
        let mut submission =
            Submission::new(sub, job.no, Lane::Batch, SubmissionState::Staging, job.clock.row_ms());
        submission.provider.clone_from(&found.row.provider);
        submission.account.clone_from(&found.account.id);
        submission.model.clone_from(&found.pinned);
        self.kind.name().clone_into(&mut submission.kind);
        submission.reserved = leases.iter().map(|lease| lease.bound).sum::<UsdNanos>();
        submission.segment = job.next_segment.replace(job.next_segment.get() + 1);
        submission.items = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        submission.input_digest = digest;
        submission.input_bytes = bytes;
        submission.epoch = job.epoch;
        stood_in::note(job, &mut submission, &self.items);
        let mut reserved = Moved::default();
        let mut by_tags: HashMap<u32, (u32, UsdNanos)> = HashMap::new();
        for ready in &self.items {
            let entry = by_tags.entry(ready.tags).or_default();
            entry.0 += 1;
            entry.1 += ready.bound;
        }
        for (tags, (items, bound)) in by_tags {
            reserved.add(
                LedgerKind::Reserve,
                None,
                At { lane: Some(Lane::Batch), deployment: self.deployment, tags, sub: Some(sub) },
                items,
                bound,
            );
        }
        job.settle_pending()?;
        let mut tx = Tx::new(job.no);
        tx.submissions.push((submission.clone(), Some(leases)));
        tx.ledger = reserved.take(job.no, job.clock.row_ms(), |place| job.names(place));
        job.commit(tx, Urgency::Now).await?;
        let planned = Planned::new(job, submission, self.kind, self.items);
        let mut state = job.state.borrow_mut();
        state.note_size(planned.submission.reserved);
        if let Some(marked) = state.prompt_cache.get_mut(self.deployment) {
            marked.meter.batch(u64::from(planned.submission.items));
        }
        // Not what the pack counted: an item that met the budget's end is in that and not in the batch.
        state.batch_queues[self.deployment].tokens += planned.tokens;
        drop(state);
        Ok(planned)
    }
}
