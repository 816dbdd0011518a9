//! What a run measures of its own price, and the pause before a budget that the rest would pass.
//!
//! What is measured lies in a file beside the results, so that `status` shows it and another run goes on with it. It is advice: the
//! ledger does not depend on it, and a file that is lost or spoilt is measured anew.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use bulkrate_core::budget::{Budget, Scope};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{Asked, Attempt, Forecast, Looks, Priced, Tally};
use bulkrate_store::Fate;
use bulkrate_store::fold::State as ItemState;

use super::job::{Job, State};
use super::land::Receipt;
use super::ready::Ready;
use crate::event::Event;
use crate::paths::{JobDir, open_file};
use crate::plan::{LanePlan, Plan};
use crate::prepare::Checkpoint;
use crate::spec::JobSpec;

/// Looks are so many items apart, or one of a hundred of them if that is more.
const STEP_MIN: u64 = 10;

/// What earlier looks found; nothing where there is no file or it says something else.
pub(crate) fn kept(dir: &JobDir) -> Tally {
    let text = std::fs::read(dir.forecast()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces the file as a whole. Whoever cannot write it has no forecast, and sends as before.
fn keep(tally: &Tally, path: &Path) {
    let beside = path.with_extension("new");
    let Ok(text) = serde_json::to_vec(tally) else { return };
    if open_file(&beside, true).is_ok_and(|mut file| file.write_all(&text).is_ok()) {
        drop(std::fs::rename(&beside, path));
    }
}

/// What a run has measured, and what it makes of it.
#[derive(Debug)]
pub(crate) struct Forecasting {
    tally: Tally,
    asked: Asked,
    /// What the plan said, P95.
    planned: UsdNanos,
    /// Some model has no price.
    off: bool,
    step: u64,
    next: u64,
    looks: Looks,
    /// Nothing new is sent, and why.
    pub paused: Option<String>,
}

impl Forecasting {
    pub(crate) fn new(
        dir: &JobDir,
        plan: &Plan,
        home: Lane,
        spec: &JobSpec,
        checkpoint: &Checkpoint,
    ) -> Self {
        let stats = crate::planning::asked(spec.source.limit, checkpoint).stats;
        let (items, bytes) =
            stats.models.iter().fold((0, 0), |sum, model| (sum.0 + model.items, sum.1 + model.sealed_bytes));
        let mut models: BTreeMap<String, u64> = BTreeMap::new();
        stats.models.iter().for_each(|model| *models.entry(model.model.clone()).or_default() += model.items);
        if models.len() < 2 {
            models.clear();
        }
        let p95 = plan.lanes.iter().find(|found| found.lane == home).map_or(UsdNanos::ZERO, |lane| lane.p95);
        let priced = |plan: &LanePlan| (plan.lane, Priced { expected: plan.expected, worst: plan.worst });
        Self {
            tally: kept(dir),
            asked: Asked {
                items,
                bytes,
                cached: stats.cached_of.clone(),
                models,
                begun: plan.requests,
                prices: plan.lanes.iter().map(priced).collect(),
                home,
            },
            planned: p95.saturating_add(plan.spent),
            off: !plan.priced,
            step: (plan.requests / 100).max(STEP_MIN),
            next: 0,
            looks: Looks::default(),
            paused: None,
        }
    }

    pub(crate) fn latest(&self) -> Option<Forecast> {
        self.tally.forecast
    }

    /// An item of so many bytes has ended for nothing.
    pub(super) fn ended_free(&mut self, bytes: u64) {
        self.tally.ended_free(bytes);
    }

    /// The same of an item that nobody has read for it: it is taken to be as long as the others.
    pub(super) fn ended_unsent(&mut self) {
        self.tally.ended_free(self.asked.bytes.checked_div(self.asked.items).unwrap_or(0));
    }
}

impl Job {
    /// Takes in what an attempt cost.
    pub(super) fn measure(&self, ready: &Ready, receipt: &Receipt, fate: Fate) {
        if fate == Fate::Final || receipt.paid {
            let state = &mut *self.state.borrow_mut();
            let lane = state.goes_to();
            let (bytes, cost) = (ready.bytes, receipt.cost);
            let model = &self.deployments[ready.named].pinned;
            let own = &mut state.forecasting;
            own.tally.take(&Attempt { model, bytes, cost, ends: fate == Fate::Final, lane }, &own.asked);
        }
    }

    /// What the run has measured since its last look is not lost with it.
    pub(super) fn keep_measured(&self) {
        let own = &self.state.borrow().forecasting;
        if !own.off && own.tally.ended() > 0 {
            keep(&own.tally, &self.dir.forecast());
        }
    }

    /// Looks at what the job will have cost, once enough has ended since the last look.
    pub(super) fn look_ahead(&self) {
        let due = {
            let forecasting = &self.state.borrow().forecasting;
            !forecasting.off && forecasting.tally.ended() >= forecasting.next
        };
        if due {
            self.forecast();
        }
    }

    /// What earlier runs have measured may be enough to send nothing: their last look counts as it would under today's cap.
    pub(crate) fn look_ahead_at_first(&self) {
        let known = {
            let state = &mut *self.state.borrow_mut();
            let latest = state.forecasting.latest();
            if let Some((latest, cap)) = latest.zip(cap(&state.budget)) {
                state.forecasting.looks.passes(&latest, cap);
            }
            latest.is_some() && !state.forecasting.off
        };
        if known {
            self.forecast();
        }
    }

    fn forecast(&self) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let spent = state.budget.settled.saturating_add(state.budget.doubt);
        let (open, lane) = (state.open(), state.goes_to());
        let own = &mut state.forecasting;
        own.next = own.tally.ended() + own.step;
        let Some(forecast) = own.tally.forecast(&own.asked, spent, open, lane) else { return };
        own.tally.forecast = Some(forecast);
        keep(&own.tally, &self.dir.forecast());
        let paused = state.judge(&forecast, self.spec.run.spend_all);
        drop(guard);
        self.tell(&Event::Forecast { forecast: &forecast });
        if let Some(why) = paused {
            self.alert("budget-forecast", &why);
            self.changed.notify_waiters();
        }
    }

    /// Whether the run ends as soon as what is out has landed, however long that takes.
    pub(crate) fn is_paused(&self) -> bool {
        let state = self.state.borrow();
        state.forecasting.paused.is_some()
            && state.failed.is_none()
            && state.halted.is_none()
            && !state.cancelled
            && !self.stop.is_detaching()
    }
}

impl State {
    /// The lane that the rest goes to.
    fn goes_to(&self) -> Lane {
        if self.near.switched { Lane::Sync } else { self.forecasting.asked.home }
    }

    /// Pauses the job if its forecasts pass its cap and something is left to send. Answers why.
    fn judge(&mut self, forecast: &Forecast, spend_all: bool) -> Option<String> {
        let asked = self.items.asked();
        let waiting = asked.of(ItemState::Queued) + asked.of(ItemState::Retry);
        let spent = self.budget.settled.saturating_add(self.budget.doubt);
        let cap = cap(&self.budget)?;
        let own = &mut self.forecasting;
        if !own.looks.passes(forecast, cap) || waiting == 0 || spend_all || own.paused.is_some() {
            return None;
        }
        let why = format!(
            "after {} answers the job is expected to cost USD {} in all, hardly less than USD {} and at P95 USD {}; the plan said USD {} at P95, \
             and its budget is USD {cap}; some {} of {} open items would be left over. Nothing new is sent",
            forecast.measured,
            forecast.expected,
            forecast.low,
            forecast.p95,
            own.planned,
            forecast.left_over(spent, cap),
            forecast.left,
        );
        own.paused = Some(why.clone());
        Some(why)
    }
}

/// The job's own cap. Those of a day or a month are no promise about one job.
fn cap(budget: &Budget) -> Option<UsdNanos> {
    budget.caps.iter().find(|cap| cap.scope == Scope::Job).map(|cap| cap.limit)
}
