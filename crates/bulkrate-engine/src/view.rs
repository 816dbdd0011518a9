//! What other commands see of a state directory: read only, also while an engine works in it.

use std::collections::BTreeMap;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::Forecast;
use bulkrate_core::review::{Interval, Z95, wilson};
use serde::Serialize;

use crate::event::BatchLine;
use crate::made::SourceCost;
use crate::pilot::PilotCost;

/// One job in `bulkrate status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    pub job: String,
    pub name: String,
    /// `preparing running cancelled done`; `running` with no engine at work means: waiting to be resumed.
    pub state: String,
    pub engine_at_work: bool,
    pub created_at_ms: i64,
    pub items: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub open: u64,
    /// Of the open: those that the last run was asked for (`--limit`).
    pub open_asked: u64,
    /// The limit of the last run, where it had one.
    pub limit: Option<u64>,
    pub in_flight: u64,
    pub duplicates: u64,
    pub spent: UsdNanos,
    pub reserved: UsdNanos,
    pub in_doubt: UsdNanos,
    /// What the job was last expected to cost in all; null before 50 answers are measured.
    pub forecast: Option<Forecast>,
    /// Models without a known price have answered: what they cost is not in `spent`.
    pub unpriced: bool,
    /// What is in doubt, batches that may or may not exist included.
    pub doubts: DoubtSum,
    pub batches: Vec<BatchLine>,
    pub source: String,
    pub output: Option<String>,
    pub disk_bytes: u64,
    /// What a reviewer has found so far.
    pub judged: Option<Judged>,
}

/// One batch of a job, as this state folder knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobBatch {
    pub line: BatchLine,
    pub provider: String,
    /// The account that made it, as settings name it.
    pub account: String,
    /// It is at the provider, and what that says of it is newer than the row.
    pub at_work: bool,
    /// The provider's phase when it was last asked.
    pub phase: Option<String>,
    pub created_at_ms: i64,
    pub ended_at_ms: Option<i64>,
}

/// The verdicts on a sample of the answers, and what they say about all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    pub items: u64,
    pub wrong: u64,
    /// Share of wrong answers in the sample, and the interval that holds that of all answers 95 times of 100.
    pub error_rate: f64,
    pub low: f64,
    pub high: f64,
    pub at_ms: i64,
}

impl Judged {
    /// `wrong` of `items` judged.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of items")]
    pub fn new(items: u64, wrong: u64, at_ms: i64) -> Self {
        let Interval { low, high } = wilson(wrong, items, Z95);
        // Six decimals are more than any sample proves, and read well.
        let short = |rate: f64| (rate * 1e6).round() / 1e6;
        let error_rate = short(if items == 0 { 0.0 } else { wrong as f64 / items as f64 });
        Self { items, wrong, error_rate, low: short(low), high: short(high), at_ms }
    }
}

/// Doubt about one submission in `bulkrate doubt list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoubtLine {
    pub job: String,
    pub name: String,
    /// `None`: a doubt that names no submission.
    pub sub: Option<String>,
    pub lane: String,
    /// Of a batch: `sending in_doubt fencing unresolved`. Of what is booked: `booked`, or `kept` on an operator's word. Calls of
    /// a run that died: `unanswered`.
    pub state: String,
    pub batch: Option<String>,
    pub items: u64,
    pub price_at_most: UsdNanos,
    pub since_ms: i64,
    /// What is known and what was tried.
    pub known: Vec<String>,
    /// What happens next without an operator.
    pub next: String,
    pub suggestion: String,
    /// Only an operator can end it.
    pub waits: bool,
    /// An order about it waits for an engine.
    pub ordered: bool,
}

/// All doubt of one job.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DoubtSum {
    pub submissions: u64,
    pub items: u64,
    pub price_at_most: UsdNanos,
    /// The oldest of it.
    pub since_ms: Option<i64>,
    /// What is being done, the most urgent first.
    pub next: Vec<String>,
}

impl DoubtSum {
    #[must_use]
    pub fn of(lines: &[DoubtLine]) -> Self {
        let mut sum = Self { since_ms: lines.iter().map(|line| line.since_ms).min(), ..Self::default() };
        for line in lines {
            sum.submissions += 1;
            sum.items += line.items;
            sum.price_at_most = sum.price_at_most.saturating_add(line.price_at_most);
            if !sum.next.contains(&line.next) {
                sum.next.push(line.next.clone());
            }
        }
        sum
    }
}

/// One failed item in `bulkrate dead`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    pub item: u64,
    pub item_id: String,
    pub class: String,
    pub message: String,
    pub attempts: Vec<AttemptLine>,
    /// Items that share this outcome because their requests are equal.
    pub followers: u64,
    pub replay: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptLine {
    pub attempt: u8,
    pub lane: String,
    pub class: String,
    pub cost: UsdNanos,
    /// The stored result line: what the provider said, at most 4 KiB.
    pub evidence: String,
}

/// What `bulkrate verify` proved or could not prove.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    pub job: String,
    pub checks: Vec<Check>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub detail: String,
}

impl Verification {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// One row of `bulkrate cost`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CostRow {
    pub group: String,
    pub items: u64,
    pub spent: UsdNanos,
    /// Of what all rows spent, 0 to 1; none where that is nothing.
    pub share: Option<f64>,
    pub in_doubt: UsdNanos,
    pub saved: UsdNanos,
    /// Of what was spent: paid twice, or without an answer. What one by one would have cost, less `saved` and with this, is `spent`.
    pub beside: UsdNanos,
    /// `saved` by lever.
    pub saved_by: BTreeMap<String, UsdNanos>,
    /// What was spent in each day, week or month, oldest first, the same ones in all rows; empty where none were asked for.
    pub trend: Vec<PeriodCost>,
    /// Models without a known price have answered: what they cost is not in `spent`.
    pub unpriced: bool,
}

/// What a group spent in a day, week or month, which begins on the day `period`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeriodCost {
    pub period: String,
    pub spent: UsdNanos,
}

/// `bulkrate cost --savings`: `naive` less what every step saved is `spent`, to the nano-dollar.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Savings {
    pub job: String,
    pub name: String,
    /// Items of the job, and up to which it was asked for them, where that is not all.
    pub items: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    pub naive_plan: NaivePlan,
    /// What every answer, equal items and answers of earlier jobs included, would have cost by that plan.
    pub naive: UsdNanos,
    pub steps: Vec<Step>,
    pub spent: UsdNanos,
    /// What may have been paid beside it, and what is set aside for what is in flight.
    pub in_doubt: UsdNanos,
    pub reserved: UsdNanos,
    /// What the pilot has cost whose plan the job is: `spent` leaves it out, as other jobs have paid it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pilot: Option<PilotCost>,
    /// What the embeddings in its source have cost that a filter reads: in the books of the jobs that made them, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_embeddings: Option<SourceCost>,
    /// Models without a known price have answered: neither what they cost nor what they would have cost is known.
    pub unpriced: bool,
}

/// What the savings are compared with: one request for each item, in the sync lane, at the standard price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NaivePlan {
    /// The model that all items would have gone to; `None`: each to the one that answered it.
    pub model: Option<String>,
    /// The models that answers were booked under.
    pub models: Vec<String>,
    pub lane: String,
}

/// One lever, or what was paid beside all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub lever: String,
    /// Items that it worked on; 0 where nobody counted.
    pub items: u64,
    /// Negative where it made the job dearer.
    pub saved: UsdNanos,
    /// No answer's tokens prove it: no model was asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// What is left after it.
    pub cost: UsdNanos,
}
