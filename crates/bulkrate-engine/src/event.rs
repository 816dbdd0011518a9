//! What the engine tells while it works. The same events feed the live display, plain lines and `--events json`.

use std::fmt::Debug;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Forecast;
use bulkrate_store::SubmissionState;
use serde::Serialize;

use crate::plan::Plan;
use crate::report::Report;

/// Listens to a job. Called from the engine's thread: quick, and never blocking.
pub trait Observer: Send + Sync + Debug {
    fn event(&self, event: &Event<'_>);
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The source is read and every item checked; nothing is spent yet.
    Preparing {
        records: u64,
        bytes: u64,
        bytes_total: Option<u64>,
        /// Addresses of images and documents that were fetched.
        fetched: u64,
    },
    Planned {
        plan: &'a Plan,
    },
    /// The job was there already and goes on where it stood.
    Resumed {
        job: &'a str,
        done: u64,
        left: u64,
        spent: UsdNanos,
    },
    Progress {
        progress: &'a Progress,
    },
    /// What the job will have cost in the end, from what its answers have cost: each time that a hundredth more has ended.
    Forecast {
        forecast: &'a Forecast,
    },
    /// A batch changed its phase.
    Batch {
        batch: &'a BatchLine,
    },
    /// Something a person should know now: a threshold passed, a create in doubt, a deadline missed.
    Alert {
        code: &'a str,
        message: &'a str,
    },
    Note {
        message: &'a str,
    },
    Delivering {
        rows: u64,
        rows_total: u64,
    },
    Finished {
        report: &'a Report,
    },
}

/// Where a job stands, a few times a second at most.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    pub job: String,
    pub items: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Answered by an equal item or an earlier job.
    pub duplicates: u64,
    pub cached: u64,
    pub filtered: u64,
    pub similar: u64,
    pub in_flight: u64,
    pub waiting: u64,
    pub retries: u64,
    pub rate_limited: u64,
    /// Flex calls for which the provider had no room.
    pub no_capacity: u64,
    pub spent: UsdNanos,
    pub reserved: UsdNanos,
    pub in_doubt: UsdNanos,
    pub budget: Option<UsdNanos>,
    /// What the items done so far would have cost one by one, in the sync lane, without dedup or cache.
    pub naive: UsdNanos,
    /// What the job is expected to cost in all; null before 50 answers are measured.
    pub forecast: Option<Forecast>,
    pub items_per_second: f64,
    pub eta_ms: Option<u64>,
    pub elapsed_ms: u64,
    /// Models whose provider is away: their items wait for it, and nobody knows how long.
    pub away: Vec<String>,
    pub lane: Option<Lane>,
    pub batches: Vec<BatchLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchLine {
    pub sub: String,
    /// The provider's id, once it has one.
    pub batch: Option<String>,
    pub state: String,
    pub items: u64,
    pub completed: u64,
    pub failed: u64,
    /// Since when it is in this state, milliseconds since the epoch.
    pub since_ms: i64,
}

impl BatchLine {
    /// Whether the provider works on it, with or without us: it is known there and was not heard to have ended.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        let over = [SubmissionState::Ended, SubmissionState::Collecting, SubmissionState::Settled];
        self.batch.is_some() && over.iter().all(|over| self.state != over.name())
    }
}
