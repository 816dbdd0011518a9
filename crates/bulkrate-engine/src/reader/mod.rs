//! What other commands see of a state directory, also while an engine works in it: read only, but for orders.
//!
//! Invariants
//! - Everything shown is folded from the rows and files at the moment of the call; nothing is kept between calls.
//! - Memory is a few bytes an item, never the items themselves.

mod batches;
mod find;
pub(crate) mod status;
mod dead;
mod verify;
mod cost;
mod periods;
pub(crate) mod savings;
mod show;
mod chosen;
mod remove;
mod doubt;
mod review;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod review_tests;

use std::fs::{File, TryLockError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bulkrate_core::submission::Marker;
use bulkrate_io::SinkReport;
use bulkrate_store::{JobRow, JobState, NewOrder, SqliteReader, SqliteStore, View};
use jiff::Timestamp;

pub use self::cost::CostQuery;
pub(crate) use self::cost::tag_values;
pub(crate) use self::doubt::{order, unknown_doubt};
pub(crate) use self::find::find;
pub use self::periods::Period;
pub(crate) use self::review::judged;
use crate::EngineError;
use crate::decision::Decision;
use crate::deliver::{deliver, keep_apart, spec_of};
use crate::paths::{JobDir, lock_file};
use crate::pilot::{Examples, Lesson};
use crate::spec::SinkSpec;
use crate::view::{CostRow, DeadLetter, DoubtLine, JobBatch, JobStatus, Judged, Savings, Verification};

/// A state directory, opened for reading.
#[derive(Debug)]
pub struct Reader {
    state_dir: PathBuf,
    store: SqliteReader,
}

impl Reader {
    /// Opens the state in `state_dir`; works beside a running engine.
    ///
    /// # Errors
    /// There is no state, it is of a newer version, or it is damaged.
    pub fn open(state_dir: &Path) -> Result<Self, EngineError> {
        Ok(Self { state_dir: state_dir.to_owned(), store: SqliteStore::open_reader(state_dir)? })
    }

    /// The job with this id, this name or the one id that begins so.
    ///
    /// # Errors
    /// `UnknownJob`, with the nearest names; `AmbiguousJob`.
    pub fn find(&self, job: &str) -> Result<JobRow, EngineError> {
        find(&self.store, job)
    }

    /// What the last pilot of a job teaches a router: see [`crate::pilot::Lesson`].
    ///
    /// # Errors
    /// There was no pilot (`pilot-missing`), or nothing of it can be compared (`pilot-unfit`).
    pub fn lesson(&self, job: &str, models: &[String], column: &str) -> Result<Lesson, EngineError> {
        crate::pilot::lesson(&self.store, &self.state_dir, job, models, column)
    }

    /// The answers of a job's last pilot, which teach a filter: see [`crate::pilot::Examples`].
    ///
    /// # Errors
    /// There was no pilot (`pilot-missing`), or its answers are no choices (`pilot-unfit`).
    pub fn examples(&self, job: &str, column: &str) -> Result<Examples, EngineError> {
        crate::pilot::examples(&self.store, &self.state_dir, job, column)
    }

    /// One job, or all of them, oldest first.
    pub fn status(&self, job: Option<&str>) -> Result<Vec<JobStatus>, EngineError> {
        let jobs = match job {
            Some(job) => vec![self.find(job)?],
            None => self.store.jobs()?,
        };
        let at_work = engine_at_work(&self.state_dir);
        jobs.iter().map(|job| status::status(&self.store, &self.dir(job), job, at_work)).collect()
    }

    /// The batches of a job, oldest first, those that are over included.
    pub fn batches(&self, job: &str) -> Result<Vec<JobBatch>, EngineError> {
        batches::of(&self.store, &self.find(job)?)
    }

    /// The name of the job that a mark on a batch speaks of; `None`: another state folder's, or a job that was deleted.
    pub fn owner(&self, marker: &Marker) -> Result<Option<String>, EngineError> {
        if marker.inst == self.store.inst() { batches::owner(&self.store, &marker.sub) } else { Ok(None) }
    }

    /// The name of the job that made a batch at an account, where nothing is written on the batch; `None`: none of this folder's.
    pub fn maker(&self, account: &str, batch: &str) -> Result<Option<String>, EngineError> {
        batches::maker(&self.store, account, batch)
    }

    /// Every item that failed for good, in item order.
    pub fn dead(&self, job: &str) -> Result<Vec<DeadLetter>, EngineError> {
        let mut letters = Vec::new();
        self.dead_each(job, &mut |letter| {
            letters.push(letter);
            ControlFlow::Continue(())
        })?;
        Ok(letters)
    }

    /// As [`Self::dead`], one at a time.
    pub fn dead_each(
        &self,
        job: &str,
        each: &mut dyn FnMut(DeadLetter) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let job = self.find(job)?;
        dead::dead_each(&self.store, &self.dir(&job), &job, each)
    }

    /// Proves what can be proved of a job. `bills`: files with a provider's `total_usd_nanos` each, of all providers of the job.
    pub fn verify(&self, job: &str, bills: &[PathBuf]) -> Result<Verification, EngineError> {
        let job = self.find(job)?;
        verify::verify(&self.store, &self.dir(&job), &job, bills)
    }

    /// What was spent, from the ledger; of all jobs, or of one.
    pub fn cost(&self, ask: &CostQuery, job: Option<&str>) -> Result<Vec<CostRow>, EngineError> {
        let job = job.map(|job| self.find(job)).transpose()?;
        cost::cost(&self.store, ask, job.as_ref())
    }

    /// The way from a job's naive cost to what was paid, lever by lever.
    pub fn savings(&self, job: &str) -> Result<Savings, EngineError> {
        let job = self.find(job)?;
        savings::savings(&self.store, &self.state_dir, &job)
    }

    /// All that is known of one item, JSON: its sealed request, every attempt and its result line, where it stands.
    /// `item`: the user's id, or the item's number from 1.
    pub fn show(&self, job: &str, item: &str) -> Result<serde_json::Value, EngineError> {
        let job = self.find(job)?;
        show::show(&self.store, &self.dir(&job), &job, item)
    }

    /// Leaves an order to cancel the job. True: an engine is at work and takes it within a second; false: it is taken
    /// when the job is next run.
    ///
    /// # Errors
    /// The job is over already (code `job-finished`).
    pub fn cancel(&self, job: &str) -> Result<bool, EngineError> {
        let job = self.find(job)?;
        if matches!(job.state, JobState::Done | JobState::Cancelled) {
            return Err(EngineError::BadSpec {
                code: "job-finished",
                what: format!("job `{}` cannot be cancelled", job.id),
                why: format!("it is {} already", job.state),
            });
        }
        let order =
            NewOrder { job: job.no, verb: "cancel".to_owned(), payload: String::new(), at_ms: now_ms() };
        self.store.put_order(&order)?;
        Ok(engine_at_work(&self.state_dir))
    }

    /// Everything that is in doubt, in one job or in all of them, oldest first.
    pub fn doubts(&self, job: Option<&str>) -> Result<Vec<DoubtLine>, EngineError> {
        let jobs = match job {
            Some(job) => vec![self.find(job)?],
            None => self.store.jobs()?,
        };
        let at_work = engine_at_work(&self.state_dir);
        let mut lines = Vec::new();
        for job in &jobs {
            lines.extend(doubt::lines(&self.store, job, at_work)?);
        }
        Ok(lines)
    }

    /// The doubt about the submission with this id, or the one id that begins so.
    ///
    /// # Errors
    /// Nothing is in doubt about it (code `doubt-unknown`).
    pub fn doubt(&self, sub: &str) -> Result<DoubtLine, EngineError> {
        doubt::find(self.doubts(None)?, sub)
    }

    /// Leaves an order about a doubt for the engine at work. True: it was taken within `wait_ms`.
    pub fn order_doubt(&self, decision: &Decision, wait_ms: u64) -> Result<bool, EngineError> {
        let job = self.find(&self.doubt(&decision.sub)?.job)?;
        let no = self.store.put_order(&order(job.no, decision, now_ms()))?;
        for _ in 0..=wait_ms / 100 {
            if self.store.orders()?.iter().all(|order| order.no != no) {
                return Ok(true);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(false)
    }

    /// Writes the results of a job as they are now; items without an outcome have the status `open`. A file that the
    /// job itself wrote is replaced. `progress`: rows written, rows in all.
    pub fn results(
        &self,
        job: &str,
        sink: &SinkSpec,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<SinkReport, EngineError> {
        let job = self.find(job)?;
        if let Some(path) = &sink.path {
            keep_apart(&spec_of(&job)?, &self.state_dir, path)?;
        }
        let owned = sink.path.as_ref().is_some_and(|path| written_by(&job, path));
        deliver(&self.store, &job, &self.dir(&job), sink, owned, progress)
    }

    /// Writes a sample of a job's answers to `path` as CSV, for a reviewer; answers the items in it. `permille`: another
    /// share than the job's own. A file with verdicts is never replaced.
    ///
    /// # Errors
    /// The file holds something else, or verdicts (code `review-kept`); as [`Self::results`].
    pub fn draw_review(&self, job: &str, path: &Path, permille: Option<u32>) -> Result<u64, EngineError> {
        let job = self.find(job)?;
        review::draw(&self.store, &job, &self.dir(&job), path, permille)
    }

    /// Takes the verdicts on a sample of a job's answers. They replace earlier ones; an engine at work heeds them within
    /// a second.
    ///
    /// # Errors
    /// The file holds no verdicts, or some that cannot be read (code `review-invalid`).
    pub fn judge(&self, job: &str, path: &Path) -> Result<Judged, EngineError> {
        let job = self.find(job)?;
        let found = review::read(path, job.items, now_ms())?;
        review::keep(&self.store, &job, &found)?;
        Ok(found)
    }

    /// Removes a job and all of its rows, files and cached answers; its ledger entries stay, as caps count them.
    /// Takes the engine's lock.
    ///
    /// # Errors
    /// An engine is at work; the job has batches at the provider, or such stand in its ledger as no row knows (code
    /// `job-in-flight`).
    pub fn remove(state_dir: &Path, job: &str) -> Result<(), EngineError> {
        remove::remove(state_dir, job, now_ms())
    }

    /// Whether an engine works in this state directory now.
    #[must_use]
    pub fn engine_at_work(&self) -> bool {
        engine_at_work(&self.state_dir)
    }

    fn dir(&self, job: &JobRow) -> JobDir {
        JobDir::of(&self.state_dir, &job.id)
    }
}

/// Whether the job's final report names the file as its output.
fn written_by(job: &JobRow, path: &Path) -> bool {
    let report =
        job.report.as_deref().and_then(|report| serde_json::from_str::<serde_json::Value>(report).ok());
    report.is_some_and(|report| {
        report
            .get("output")
            .and_then(|output| output.as_str())
            .is_some_and(|output| Path::new(output) == path)
    })
}

/// Whether an engine holds the lock of a state directory.
pub fn engine_at_work(state_dir: &Path) -> bool {
    // Opened for reading and locked shared for an instant: two readers do not see each other.
    let Ok(file) = File::open(lock_file(state_dir)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}
