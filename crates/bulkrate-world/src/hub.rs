//! What a world shares: its time, its store, its provider, its books, and the fate of the process that runs in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulkrate_core::ids::{Ordinal, Sub};
use bulkrate_engine::spec::SyncDoubt;
use bulkrate_store::{Done, MemStore, Tx};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::check::Books;
use crate::dice::Dice;
use crate::plan::Plan;
use crate::remote::{CANCEL_MS, Charge, Remote};
use crate::trace::Trace;

/// A process dies where it stands: raised where nothing can wait, caught where the process was started.
#[derive(Debug)]
pub(crate) struct Died;

/// One world.
#[derive(Debug)]
pub struct Hub {
    started: Instant,
    pub plan: Plan,
    pub dice: Dice,
    pub trace: Trace,
    pub store: MemStore,
    /// Who is spoken to: the first, and one that may stand in for it.
    pub remotes: Vec<Remote>,
    pub books: Books,
    /// The process that runs is dead: nothing it does has an effect any more.
    pub dead: bool,
    pub crashes: u64,
    /// A commit has failed: the disk is not asked again by this process.
    pub disk_failed: bool,
    pub calm: bool,
    /// Bytes of each file that a commit has made durable, by inode.
    pub(crate) synced: std::collections::HashMap<u64, u64>,
    /// Requests that were sent: which leases of which items each is for.
    pub calls: Vec<Vec<(Ordinal, usize)>>,
    /// Requests of several items that were sent.
    pub bundles: u64,
    /// Requests on their way to the provider.
    pub(crate) under_way: Vec<crate::line::Sent>,
    pub(crate) answers: std::collections::HashMap<u64, crate::remote::Answer>,
    pub prompts: std::collections::HashMap<String, Ordinal>,
    pub died: Arc<Notify>,
    pub(crate) buried: Buried,
    /// Tokens of the creates that the process has sent, and what these said.
    pub(crate) tokens: std::collections::HashMap<String, Vec<u8>>,
    /// Submissions whose create was delivered twice where nothing can be written on a batch: the bill alone tells of the second (W2).
    pub(crate) doubled: BTreeSet<Sub>,
    /// Creates that were delivered twice.
    pub twins: u64,
    pub(crate) backup: Option<crate::backup::Backup>,
    /// Calls that the restored state folder knows nothing of: they leave no mark, the bill alone tells of them (W5).
    pub(crate) unseen: std::ops::Range<usize>,
    pub restored: bool,
    /// The engine has told that the deadline has passed.
    pub late: bool,
    /// How often one was left for another, and how often it took its items back.
    pub moved: u64,
    pub back: u64,
}

/// Whom a dead process would have told of a commit.
#[derive(Default)]
pub(crate) struct Buried(pub Vec<Done>);

impl std::fmt::Debug for Buried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buried").field(&self.0.len()).finish()
    }
}

/// A handle on the world.
pub type Shared = Arc<Mutex<Hub>>;

pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Hub> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world's first moment, milliseconds since the epoch: 2026-11-20, 00:00 UTC.
pub const FIRST_MS: u64 = 1_795_132_800_000;

impl Hub {
    pub(crate) fn new(plan: Plan, keep_trace: bool) -> Self {
        let seed = plan.seed;
        let other = plan.stand_ins.as_ref().and_then(|others| others.tongue);
        let tongues = std::iter::once(plan.tongue).chain(other);
        let remotes = tongues.enumerate().map(|one| Remote::new(&plan, one)).collect();
        let books = Books {
            cap: plan.spec.run.budget,
            hedges: plan.spec.run.hedge,
            lost: (plan.spec.run.sync_doubt == SyncDoubt::Dead).then(BTreeSet::new),
            ..Books::default()
        };
        Self {
            started: Instant::now(),
            dice: Dice::new(seed, 3),
            trace: Trace::new(keep_trace),
            store: MemStore::new(&format!("world{seed}")),
            remotes,
            books,
            dead: false,
            crashes: 0,
            disk_failed: false,
            calm: false,
            synced: std::collections::HashMap::new(),
            calls: Vec::new(),
            bundles: 0,
            under_way: Vec::new(),
            answers: std::collections::HashMap::new(),
            prompts: std::collections::HashMap::new(),
            died: Arc::new(Notify::new()),
            buried: Buried::default(),
            tokens: std::collections::HashMap::new(),
            doubled: BTreeSet::new(),
            twins: 0,
            backup: None,
            unseen: 0..0,
            restored: false,
            late: false,
            moved: 0,
            back: 0,
            plan,
        }
    }

    /// Whether somebody else has made a batch.
    pub(crate) fn is_foreign(&self, batch: &str) -> bool {
        self.remotes.iter().any(|remote| remote.is_foreign(batch))
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calms(&mut self) {
        self.calm = true;
        self.remotes.iter_mut().for_each(Remote::calm);
    }

    /// All that was paid.
    pub(crate) fn charges(&self) -> impl Iterator<Item = &Charge> {
        self.remotes.iter().flat_map(|remote| &remote.bill)
    }

    /// Milliseconds since the world began.
    pub fn age_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// True time.
    pub fn now_ms(&self) -> u64 {
        FIRST_MS + self.age_ms()
    }

    /// So many items a run must call for that leaves its batches at the last moment at which what is open can still be called for.
    pub(crate) fn called_least(&self) -> u64 {
        self.open_at_first(|at_ms, deadline_ms| {
            at_ms + CANCEL_MS + self.needed_ms(self.open_by(at_ms)) >= deadline_ms
        })
    }

    /// Items that are open at the first moment of which `leaves` is true; none where it never is before the deadline.
    fn open_at_first(&self, leaves: impl Fn(u64, u64) -> bool) -> u64 {
        let Some(deadline_ms) = self.plan.spec.run.deadline_ms else { return 0 };
        let deadline_ms = FIRST_MS + deadline_ms;
        let mut moments = (FIRST_MS..deadline_ms).step_by(20_000);
        moments.find(|at_ms| leaves(*at_ms, deadline_ms)).map_or(0, |at_ms| self.open_by(at_ms))
    }

    fn open_by(&self, at_ms: u64) -> u64 {
        self.plan.items.saturating_sub(self.remotes[0].done_by(at_ms) as u64)
    }

    /// How long calls for so many items take, where their rate is known.
    fn needed_ms(&self, items: u64) -> u64 {
        self.plan.spec.run.rpm.map_or(0, |rpm| items * 60_000 / rpm.max(1))
    }

    pub fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let at_ms = self.age_ms();
        self.trace.note(at_ms, line);
    }

    /// Between two effects: whether the process dies here.
    pub(crate) fn dies(&mut self, at: &str) -> bool {
        if self.dead {
            return true;
        }
        let chance =
            if self.calm || self.crashes >= self.plan.crashes_max { 0 } else { self.plan.faults.crash };
        if chance == 0 || !self.dice.permille(chance) {
            return false;
        }
        self.dead = true;
        self.crashes += 1;
        self.note(format_args!("the process dies {at}"));
        self.died.notify_one();
        true
    }

    /// I14: no batch of somebody else is taken for ours.
    pub(crate) fn takes_its_own(&mut self, txs: &[Tx]) {
        for (row, _) in txs.iter().flat_map(|tx| &tx.submissions) {
            let batch = row.remote_batch.as_deref().filter(|batch| self.is_foreign(batch));
            if let Some(batch) = batch {
                self.books
                    .wrong("I14", format!("{} has taken {batch}, which somebody else has made", row.sub));
            }
        }
    }

    /// The submission that a wire id or a marker names.
    #[must_use]
    pub fn sub(text: &str) -> Option<Sub> {
        Sub::parse(text)
    }
}
