//! The one thread that writes: gathers transactions into durable commits, keeps their order, runs queries between them.
//!
//! Invariants
//! - Transactions commit in the order in which they were sent; `done` is called in that order, after the commit.
//! - After the first commit that fails, every later one fails without being tried: a disk that lied once is not asked
//!   again.
//!
//! Wall-clock waits are fine here: they only bound how long a transaction waits for company.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::row::Tx;
use crate::store::Store;

/// How long a transaction may wait for others to share its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Results on the way in: 50 ms, or 1,000 outcomes or 256 leases.
    Landing,
    Now,
}

impl Urgency {
    /// How long a transaction waits for company at most.
    #[must_use]
    pub fn wait(self) -> Duration {
        match self {
            Self::Landing => Duration::from_millis(50),
            Self::Now => Duration::ZERO,
        }
    }
}

const LEASES_MAX: usize = 256;
const OUTCOMES_MAX: usize = 1_000;
/// Leases or outcomes in one commit, whatever else is queued.
const HEAVY: usize = 32_000;
/// Transactions in one commit, so that a flood of tiny ones is not gathered for ever.
const TXS_MAX: usize = 4_096;

/// Told once, on the writer's thread, whether the transaction is durable. Must be short and must not wait for the writer.
pub type Done = Box<dyn FnOnce(Result<(), Arc<StoreError>>) + Send>;
/// A question to the store, asked on the writer's thread.
pub type Query = Box<dyn FnOnce(&mut dyn Store) + Send>;
/// The same, told what the first failed commit failed with.
type Asked = Box<dyn FnOnce(&mut dyn Store, Option<&Arc<StoreError>>) + Send>;

/// Stands in for the thread where commits are simulated. It keeps the invariants above.
pub trait Committer: Send + Sync {
    /// Takes a transaction; it is committed later, or at the next `flush`.
    fn send(&self, tx: Tx, urgency: Urgency, done: Done);
    /// Commits all that was sent.
    fn flush(&self);
    /// Commits all that was sent, then asks.
    fn ask(&self, query: Query);
}

enum Message {
    Commit {
        tx: Box<Tx>,
        due: Instant,
        done: Done,
    },
    Query(Asked),
    /// Commit what is gathered and end.
    Stop,
}

/// A handle on the writer's thread; clones share it. The last one dropped drains and joins it.
#[derive(Clone)]
pub struct Writer {
    inner: Arc<Inner>,
}

enum Inner {
    Thread { queue: Sender<Message>, thread: Mutex<Option<JoinHandle<()>>> },
    Given(Arc<dyn Committer>),
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread, which owns the store from now on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(store: Box<dyn Store>) -> Result<Self, StoreError> {
        let (queue, inbox) = channel();
        let thread = thread::Builder::new()
            .name("bulkrate-writer".to_owned())
            .spawn(move || Gather::new(store, inbox).run())
            .map_err(|source| StoreError::Io {
                doing: "start a thread for",
                path: "writer".into(),
                source,
            })?;
        Ok(Self { inner: Arc::new(Inner::Thread { queue, thread: Mutex::new(Some(thread)) }) })
    }

    /// Without a thread: whoever simulates the disk says when a commit happens.
    #[must_use]
    pub fn over(committer: Arc<dyn Committer>) -> Self {
        Self { inner: Arc::new(Inner::Given(committer)) }
    }

    /// Hands over a transaction; returns at once.
    pub fn send(&self, tx: Tx, urgency: Urgency, done: Done) {
        let queue = match &*self.inner {
            Inner::Thread { queue, .. } => queue,
            Inner::Given(committer) => return committer.send(tx, urgency, done),
        };
        let due = Instant::now() + urgency.wait();
        if let Err(unsent) = queue.send(Message::Commit { tx: Box::new(tx), due, done })
            && let Message::Commit { done, .. } = unsent.0
        {
            done(Err(Arc::new(StoreError::Stopped)));
        }
    }

    /// Commits and waits for it.
    pub fn commit(&self, tx: Tx) -> Result<(), Arc<StoreError>> {
        let (answer, wait) = channel();
        self.send(tx, Urgency::Now, Box::new(move |result| drop(answer.send(result))));
        self.hurry();
        wait.recv().unwrap_or_else(|_| Err(Arc::new(StoreError::Stopped)))
    }

    /// Whoever blocks until something is committed says so: a thread commits by itself, a simulated disk does it now.
    pub fn hurry(&self) {
        if let Inner::Given(committer) = &*self.inner {
            committer.flush();
        }
    }

    /// Runs `query` on the writer's thread after all that was sent before, and waits for its answer.
    /// Not from an async task: use [`Writer::ask`] there.
    pub fn with<R, Q>(&self, query: Q) -> Result<R, Arc<StoreError>>
    where
        R: Send + 'static,
        Q: FnOnce(&mut dyn Store) -> Result<R, StoreError> + Send + 'static,
    {
        let (answer, wait) = channel();
        let query = move |store: &mut dyn Store, failed: Option<&Arc<StoreError>>| {
            let result = query(store).map_err(|error| match (error, failed) {
                // A store that has stopped does not know why; what went wrong first does.
                (StoreError::Stopped, Some(first)) => StoreError::Halted { first: Arc::clone(first) },
                (error, _) => error,
            });
            drop(answer.send(result));
        };
        self.ask_telling(query);
        match wait.recv() {
            Ok(result) => result.map_err(Arc::new),
            Err(_) => Err(Arc::new(StoreError::Stopped)),
        }
    }

    /// Runs `query` on the writer's thread after all that was sent before; returns at once.
    /// The query is dropped unrun when the writer has stopped.
    pub fn ask(&self, query: impl FnOnce(&mut dyn Store) + Send + 'static) {
        self.ask_telling(move |store, _| query(store));
    }

    fn ask_telling(&self, query: impl FnOnce(&mut dyn Store, Option<&Arc<StoreError>>) + Send + 'static) {
        match &*self.inner {
            Inner::Thread { queue, .. } => drop(queue.send(Message::Query(Box::new(query)))),
            Inner::Given(committer) => committer.ask(Box::new(move |store| query(store, None))),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Self::Thread { queue, thread } = self else { return };
        drop(queue.send(Message::Stop));
        let thread = thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by a callback on the thread itself, which cannot wait for its own end.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            drop(thread.join());
        }
    }
}

/// The thread's side.
struct Gather {
    store: Box<dyn Store>,
    inbox: Receiver<Message>,
    /// What is gathered, in the order of sending, and whom to tell.
    txs: Vec<Tx>,
    dones: Vec<Done>,
    /// When it must be committed.
    due: Option<Instant>,
    leases: usize,
    outcomes: usize,
    failed: Option<Arc<StoreError>>,
}

impl Gather {
    fn new(store: Box<dyn Store>, inbox: Receiver<Message>) -> Self {
        Self {
            store,
            inbox,
            txs: Vec::new(),
            dones: Vec::new(),
            due: None,
            leases: 0,
            outcomes: 0,
            failed: None,
        }
    }

    fn run(mut self) {
        loop {
            match self.next() {
                Ok(Message::Commit { tx, due, done }) => {
                    self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
                    self.leases += tx.leases();
                    self.outcomes += tx.outcomes.len();
                    self.txs.push(*tx);
                    self.dones.push(done);
                    if self.is_heavy() {
                        self.flush();
                    } else if self.is_full() {
                        // What is queued already still joins: a slow disk then takes fewer, larger commits.
                        self.due = Some(Instant::now());
                    }
                }
                Ok(Message::Query(query)) => {
                    self.flush();
                    self.query(query);
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    return;
                }
            }
        }
    }

    /// The next message, or `Timeout` when something gathered is due and nothing more is queued.
    fn next(&self) -> Result<Message, RecvTimeoutError> {
        match self.due {
            Some(due) => self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn is_full(&self) -> bool {
        self.leases >= LEASES_MAX || self.outcomes >= OUTCOMES_MAX
    }

    /// As much as one commit may hold.
    fn is_heavy(&self) -> bool {
        self.leases >= HEAVY || self.outcomes >= HEAVY || self.txs.len() >= TXS_MAX
    }

    /// Commits all that is gathered, as one.
    fn flush(&mut self) {
        if self.txs.is_empty() {
            return;
        }
        let txs = mem::take(&mut self.txs);
        let dones = mem::take(&mut self.dones);
        (self.due, self.leases, self.outcomes) = (None, 0, 0);
        let result = match &self.failed {
            Some(first) => Err(Arc::new(StoreError::Halted { first: Arc::clone(first) })),
            None => match catch_unwind(AssertUnwindSafe(|| self.store.commit(&txs))) {
                Ok(result) => result.map_err(Arc::new),
                Err(_) => Err(Arc::new(StoreError::Stopped)),
            },
        };
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| Arc::clone(error));
        }
        for done in dones {
            done(result.clone());
        }
    }

    /// A query that panics is dropped with its answer channel; nothing is written after it.
    fn query(&mut self, query: Asked) {
        if catch_unwind(AssertUnwindSafe(|| query(&mut *self.store, self.failed.as_ref()))).is_err() {
            self.failed.get_or_insert_with(|| Arc::new(StoreError::Stopped));
        }
    }
}
