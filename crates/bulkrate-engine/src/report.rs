//! What became of a job.

use std::collections::BTreeMap;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Forecast;
use serde::Serialize;

use crate::made::SourceCost;
use crate::pilot::PilotCost;
use crate::view::Judged;

/// `halted_by` of a job with too many wrong answers.
pub const ERROR_RATE: &str = "error_rate";
/// `halted_by` of a job whose provider has never answered.
pub const NEVER_ANSWERED: &str = "never_answered";
/// `halted_by` of a job whose source is gone or changed.
pub const SOURCE_CHANGED: &str = "source_changed";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every item has an outcome and the results are written.
    Finished,
    /// Left by the user; batches go on at the provider.
    Detached,
    /// Stopped at once by the user.
    Aborted,
    Cancelled,
    /// Every further item would have failed the same way.
    Halted,
    /// The budget does not cover what is left.
    BudgetExhausted,
    /// What is left would pass the budget: it was paused before.
    BudgetForecast,
    /// Only submissions in doubt are left, and the operator must decide.
    InDoubt,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub job: String,
    pub name: String,
    /// What finds the job again: its name, or its id where others have that name too.
    #[serde(skip)]
    pub handle: String,
    pub ending: Ending,
    /// Why, when it is not `Finished`.
    pub reason: Option<String>,
    pub halted_by: Option<String>,
    /// The variable that holds the key of what is asked; `None`: the key is no variable's.
    #[serde(skip)]
    pub key_env: Option<String>,
    /// The cap that a job with an exhausted budget has met: `job`, `day`, `month`, `tag ...`.
    pub capped_by: Option<String>,
    /// Items that the run was asked for: all of the job's, or as many as `--limit` names.
    pub items: u64,
    /// Items of the job that were not asked for.
    pub items_beyond_limit: u64,
    pub succeeded: u64,
    /// The cancelled are not among them.
    pub failed: u64,
    pub cancelled: u64,
    /// Items without an outcome yet.
    pub open: u64,
    /// Of the succeeded: how they were answered.
    pub duplicates: u64,
    pub cached: u64,
    /// By a filter, for nothing. What a model would have cost for them is an estimate in `naive` and in `saved`.
    pub filtered: u64,
    /// Like a similar item, by the semantic cache.
    pub similar: u64,
    pub failures: BTreeMap<String, u64>,
    /// Where the job has a cascade: what became of the cheap models' answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascaded>,
    /// Where prompts were compared by embeddings: the job that made them and what it has cost, which `spent` and `in_doubt` hold too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedded>,
    pub spent: UsdNanos,
    pub in_doubt: UsdNanos,
    pub reserved: UsdNanos,
    /// What all answered items that were asked for would have cost one by one in the sync lane; beside them whatever else was paid
    /// for.
    pub naive: UsdNanos,
    /// What the job was last expected to cost in all; null before 50 answers are measured.
    pub forecast: Option<Forecast>,
    /// The model that all of them would have gone to: the strong one where a router, a cascade, rules or a pilot's plan chose, or the only one;
    /// absent where each goes to its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naive_model: Option<String>,
    /// USD saved by lever: `dedup`, `cache`, `batch`, `flex`, `routing`; `naive` less these and with `beside` is `spent`.
    pub saved: BTreeMap<String, UsdNanos>,
    /// Of `spent`: what no lever is about, by why: `paid without an answer` (an operator said so), `paid twice`.
    pub beside: BTreeMap<String, UsdNanos>,
    /// Levers of `saved` whose sums are estimates, as no answer's tokens prove them: a filter's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub saved_estimated: Vec<&'static str>,
    /// What the pilot has cost whose plan the job is; `spent` leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<PilotCost>,
    /// What the embeddings in its source have cost that a filter reads; `spent` leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_embeddings: Option<SourceCost>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub requests_sent: u64,
    /// Of them copies of slow calls (`--hedge`); of these the ones that gave the item its answer, and those whose first call did.
    pub hedged: u64,
    pub hedges_won: u64,
    pub hedges_lost: u64,
    pub rate_limited: u64,
    /// Flex calls for which the provider had no room at the time; each was sent again.
    pub no_capacity: u64,
    pub batches: u64,
    /// Of them: those that had not ended when the run did.
    pub batches_open: u64,
    pub seconds: f64,
    pub output: Option<String>,
    pub state_dir: String,
    /// In flight when the run was stopped at once, and their price at most.
    pub in_flight: u64,
    pub in_flight_bound: UsdNanos,
    /// Share of failed items is above the threshold.
    pub above_threshold: bool,
    pub estimated_usage: u64,
    /// Answers whose cost is not known, and which `spent` leaves out: their models have no price.
    pub unpriced: u64,
    pub unpriced_models: Vec<String>,
    /// Answers of this run that the provider priced above what was reserved for them, and by how much their sum is above it.
    pub above_bound: u64,
    pub excess: UsdNanos,
    /// Answers for a reviewer, written beside the output.
    pub review: Option<ReviewFile>,
    /// What a reviewer has found so far.
    pub judged: Option<Judged>,
}

/// What was embedded before the job ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Embedded {
    pub model: String,
    /// Texts that were to be embedded, and those that have a vector; rows of the others were asked.
    pub texts: u64,
    pub vectors: u64,
    pub spent: UsdNanos,
    pub in_doubt: UsdNanos,
    /// The run was left while they were made; the same command goes on with them.
    pub left: bool,
}

/// What a cascade has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cascaded {
    /// Items that end with a cheap model's answer, equal ones included.
    pub accepted: u64,
    /// Attempts and answers of cheap models after which a better one was asked, by the reason.
    pub rejected: BTreeMap<String, u64>,
    /// Too little was accepted: what was not asked yet went to the strong model at once.
    pub off: bool,
}

/// A sample of the answers, to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviewFile {
    pub path: String,
    pub items: u64,
}

impl Report {
    /// Whether more answers are wrong than `--max-error-rate` allows.
    #[must_use]
    pub fn above_error_rate(&self) -> bool {
        self.halted_by.as_deref() == Some(ERROR_RATE)
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.ending {
            Ending::Detached | Ending::Aborted => 130,
            Ending::BudgetExhausted | Ending::BudgetForecast => 3,
            Ending::InDoubt => 6,
            Ending::Halted => self
                .halted_by
                .as_deref()
                .and_then(|class| class.parse::<FailureClass>().ok())
                .map(FailureClass::exit_code)
                // 5 is for a job that has finished.
                .filter(|code| *code != 5)
                .unwrap_or(1),
            Ending::Cancelled if self.cancelled > 0 => 5,
            // What was asked to stop had ended by itself: as if nobody had asked.
            Ending::Cancelled | Ending::Finished if self.above_threshold || self.above_error_rate() => 1,
            Ending::Cancelled | Ending::Finished if self.failed + self.cancelled > 0 => 5,
            Ending::Cancelled | Ending::Finished => 0,
        }
    }
}
