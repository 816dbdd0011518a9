//! What a pilot has found, for people and programs.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{Candidate, Loss, Lost, Quality};
use bulkrate_core::prompt_cache::Wish;
use serde::Serialize;

use super::{Manner, plan_name};
use crate::spec::JobSpec;

/// A pilot and the plans that follow from it.
#[derive(Debug, Clone, Serialize)]
pub struct Piloted {
    pub name: String,
    /// Items of the sample.
    pub items: u64,
    /// The column with the right answers; absent where answers are compared with the strong model's.
    pub labels: Option<String>,
    /// What of JSON answers is compared; none: all of an answer.
    pub compared: Vec<String>,
    /// Answers are free text: nothing was compared.
    pub free_text: bool,
    pub models: Vec<Measured>,
    /// What all pilots of this job have cost so far.
    pub spent: UsdNanos,
    /// The run takes the pilot's answers and does not pay for them again.
    pub kept: bool,
    /// What is left of the budget for the job.
    pub budget: Option<UsdNanos>,
    /// The worst case of a plan is compared with it; else its P95.
    pub strict: bool,
    pub quality_loss_permille: u32,
    /// Plans whose quality was measured: the chance of a broken promise is shared among them.
    pub looked_at: u64,
    /// So many items without one loss would prove the promise of each.
    pub items_needed: u64,
    pub plans: Vec<PlanLine>,
    /// The number of the plan that `--plan cheapest` or `fastest` takes.
    pub winner: Option<u64>,
    /// All items one by one at the strong model in the sync lane.
    pub naive: UsdNanos,
    pub warnings: Vec<String>,
    /// The job as each plan would run it.
    #[serde(skip)]
    pub specs: Vec<JobSpec>,
    /// Names of the plans as the last pilot showed them: what their numbers mean.
    #[serde(skip)]
    pub shown: Vec<String>,
}

/// What was paid to find the plan that a job is run by. It stands in the books of the jobs that paid it, and in no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PilotCost {
    /// All that pilots of the job were ever made of; some may have been removed since.
    pub jobs: Vec<String>,
    pub spent: UsdNanos,
}

/// A plan, and the job as it would run it.
pub type Line<'p> = (&'p PlanLine, &'p JobSpec);

impl Piloted {
    /// The plan that wins.
    #[must_use]
    pub fn best(&self) -> Option<Line<'_>> {
        self.at(self.winner?)
    }

    /// The plan of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Line<'_>> {
        self.plans.iter().zip(&self.specs).find(|(plan, _)| plan.name == name)
    }

    /// The plan that the last pilot showed under this number, if it has shown one; `None` within: the list is another by now.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Option<(&str, Option<Line<'_>>)> {
        let shown = self.shown.get(usize::try_from(number.checked_sub(1)?).ok()?)?;
        let same = self.plans.iter().map(|plan| &plan.name).eq(&self.shown);
        Some((shown, self.at(number).filter(|_| same)))
    }

    fn at(&self, number: u64) -> Option<Line<'_>> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.plans.get(place).zip(self.specs.get(place))
    }
}

/// What one model did in the pilot.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub model: String,
    /// Items in one request; absent: each by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<u32>,
    pub job: Option<String>,
    /// Why it took no part.
    pub failed: Option<String>,
    pub unusable: u64,
    /// Items on which it is what the label says, of so many with a label; 0 of 0 without labels.
    pub right: u64,
    pub labelled: u64,
    /// Requests whose tokens are known.
    pub answered: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
    pub cache_read_tokens: u64,
    /// Written to a prompt cache, for five minutes or an hour.
    pub cache_write_tokens: u64,
    pub spent: UsdNanos,
}

impl Measured {
    /// The model, and how many items it was asked at once.
    #[must_use]
    pub fn name(&self) -> String {
        Manner { model: self.model.clone(), bundle: self.bundle }.to_string()
    }
}

/// What the pilot says of a plan's quality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Proved {
    pub loss: f64,
    pub low: f64,
    pub high: f64,
    pub labels: u64,
}

impl From<Loss> for Proved {
    fn from(loss: Loss) -> Self {
        Self { loss: loss.share(), low: loss.low, high: loss.high, labels: loss.judged }
    }
}

/// One plan of the comparison.
#[derive(Debug, Clone, Serialize)]
pub struct PlanLine {
    pub number: u64,
    /// What it is called, whatever else it is compared with: `gpt-6-luna+gpt-6.1-sol@0.9/batch`.
    pub name: String,
    /// In the order in which they are asked.
    pub models: Vec<String>,
    /// By what a cascade accepts an answer, or `router`.
    pub accept: Option<String>,
    /// Of a cascade: the share of the pilot's items that goes on to the strong model, of those that are asked. Of a router: the share that it
    /// sends there, of those that proved it.
    pub rejected_permille: Option<u64>,
    pub lane: Lane,
    /// Items in one request, at most.
    pub bundle: u32,
    /// The same of each model, where they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<u32>,
    /// How prompts are marked for the prompt cache, where that is compared: `auto` (five minutes, while it pays), `off` or `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<&'static str>,
    pub priced: bool,
    pub expected: UsdNanos,
    pub p95: UsdNanos,
    pub worst: UsdNanos,
    /// The P95 rests on enough measured answers to be a promise; else it counts each at its maximum.
    pub learned: bool,
    pub seconds: u64,
    pub seconds_at_most: u64,
    /// Absent where it is the strong model alone, or nothing could be compared.
    pub quality: Option<Proved>,
    /// Absent: it won.
    pub lost: Option<Losing>,
}

/// Why a plan was not taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Losing {
    /// `unavailable`, `other_lane`, `quality_unknown`, `quality_unproved`, `too_slow`, `unpriced`, `over_budget`, `dearer`, `slower`.
    pub reason: &'static str,
    /// What the reason leaves open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// By how much, in money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsdNanos>,
}

impl From<&Lost> for Losing {
    fn from(lost: &Lost) -> Self {
        let plain = |reason| Self { reason, why: None, cost: None };
        match lost {
            Lost::Barred(why) => Self { why: Some(why.clone()), ..plain("unavailable") },
            Lost::OtherLane => plain("other_lane"),
            Lost::QualityUnknown => plain("quality_unknown"),
            Lost::QualityUnproved { .. } => plain("quality_unproved"),
            Lost::TooSlow { .. } => plain("too_slow"),
            Lost::Unpriced => plain("unpriced"),
            Lost::OverBudget { by } => Self { cost: Some(*by), ..plain("over_budget") },
            Lost::Dearer { by } => Self { cost: Some(*by), ..plain("dearer") },
            Lost::Slower { .. } => plain("slower"),
        }
    }
}

impl PlanLine {
    pub(crate) fn new(
        number: u64,
        one: &Candidate,
        rejected: Option<(u64, u64)>,
        models: &[String],
        short: &[String],
        lost: Option<&Lost>,
    ) -> Self {
        let accept = match &one.way.cascade {
            Some((_, accept)) => Some(accept.to_string()),
            None => (!one.way.router.is_empty()).then(|| "router".to_owned()),
        };
        let cost = one.cost.map(|cost| (cost.expected, cost.p95, cost.worst)).unwrap_or_default();
        Self {
            number,
            name: plan_name(one, short),
            models: one.way.models().map(|place| models[place].clone()).collect(),
            accept,
            rejected_permille: rejected.map(|(part, of)| part.saturating_mul(1_000) / of.max(1)),
            lane: one.lane,
            bundle: one.bundle,
            bundles: one.bundles.clone(),
            prompt_cache: one.mark.map(Wish::name),
            priced: one.cost.is_some(),
            expected: cost.0,
            p95: cost.1,
            worst: cost.2,
            learned: one.cost.is_some_and(|cost| cost.learned),
            seconds: one.time_s,
            seconds_at_most: one.latest_s,
            quality: if let Quality::Measured(loss) = one.quality { Some(loss.into()) } else { None },
            lost: lost.map(Losing::from),
        }
    }
}
