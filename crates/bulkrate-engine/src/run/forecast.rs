//! What a run measures of its own price, and the pause before a budget that the rest would pass.
//!
//! What is measured lies in a file beside the results, so that `status` shows it and another run goes on with it. It is advice: the
//! ledger does not depend on it, and a file that is lost or spoilt is measured anew.

use std::path::Path;

use bulkrate_core::budget::{Budget, Scope};
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{Forecast, Left, Measured};
use bulkrate_store::Fate;
use bulkrate_store::fold::State as ItemState;
use serde::{Deserialize, Serialize};

use super::job::{Job, State};
use super::land::Receipt;
use super::ready::Ready;
use crate::event::Event;
use crate::paths::JobDir;
use crate::plan::Plan;
use crate::planning::part_of;
use crate::prepare::Checkpoint;
use crate::spec::JobSpec;

/// Looks are so many items apart, or one of a hundred of them if that is more.
const STEP_MIN: u64 = 10;

/// What an earlier look found, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    measured: Measured,
    pub forecast: Option<Forecast>,
}

impl Kept {
    pub(crate) fn read(dir: &JobDir) -> Self {
        let text = std::fs::read(dir.forecast()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Replaces the file as a whole. Whoever cannot write it has no forecast, and sends as before.
    fn write(&self, path: &Path) {
        let beside = path.with_extension("new");
        let Ok(text) = serde_json::to_vec(self) else { return };
        if std::fs::write(&beside, text).is_ok() {
            drop(std::fs::rename(&beside, path));
        }
    }
}

/// What a run has measured, and what it makes of it.
#[derive(Debug, Default)]
pub(crate) struct Forecasting {
    kept: Kept,
    /// The items that were open when the run began; their bytes are zero where nobody has counted them.
    begun: Left,
    /// What they cost at most in the sync lane.
    worst_in_calls: UsdNanos,
    /// Of them, bytes of those that have ended since.
    ended_bytes: u64,
    /// What the plan said, P95.
    planned: UsdNanos,
    /// Some model has no price.
    off: bool,
    step: u64,
    next: u64,
    /// The last look was above the cap: another one pauses the job.
    above: bool,
    /// Nothing new is sent, and why.
    pub paused: Option<String>,
}

impl Forecasting {
    pub(crate) fn new(dir: &JobDir, plan: &Plan, spec: &JobSpec, checkpoint: &Checkpoint) -> Self {
        let stats = crate::planning::asked(spec.source.limit, checkpoint).stats;
        let (items, bytes) =
            stats.models.iter().fold((0, 0), |sum, model| (sum.0 + model.items, sum.1 + model.sealed_bytes));
        let of = |lane: Lane| plan.lanes.iter().find(|found| found.lane == lane);
        let lane = of(plan.lane);
        let begun = Left {
            items: plan.requests,
            // Which of them have ended in earlier runs matters little: they are taken to be as long as all others.
            bytes: part_of(bytes, plan.requests.min(items), items),
            worst: lane.map_or(UsdNanos::ZERO, |lane| lane.worst),
            one_by_one: false,
        };
        let kept = Kept::read(dir);
        let worst_in_calls = of(Lane::Sync).map_or(begun.worst, |lane| lane.worst.max(begun.worst));
        let planned = lane.map_or(UsdNanos::ZERO, |lane| lane.p95).saturating_add(plan.spent);
        let step = (plan.requests / 100).max(STEP_MIN);
        Self { kept, begun, worst_in_calls, planned, off: !plan.priced, step, ..Self::default() }
    }

    pub(crate) fn latest(&self) -> Option<Forecast> {
        self.kept.forecast
    }

    /// An item of so many bytes has ended for nothing: it tells what is left, and nothing of what that costs.
    pub(super) fn ended_free(&mut self, bytes: u64) {
        self.ended_bytes = self.ended_bytes.saturating_add(bytes);
    }

    fn left(&self, items: u64, one_by_one: bool) -> Left {
        let Measured { items: ended, bytes: ended_bytes, .. } = self.kept.measured;
        let bytes = match self.begun.bytes {
            0 => part_of(ended_bytes, items, ended),
            begun => begun.saturating_sub(self.ended_bytes),
        };
        let worst = if one_by_one { self.worst_in_calls } else { self.begun.worst };
        let worst = worst.share_up(items.min(self.begun.items), self.begun.items);
        Left { items, bytes, worst, one_by_one }
    }
}

impl Job {
    /// Takes in what an attempt cost.
    pub(super) fn measure(&self, ready: &Ready, receipt: &Receipt, fate: Fate) {
        let state = &mut *self.state.borrow_mut();
        let measured = &mut state.forecasting.kept.measured;
        if fate == Fate::Final {
            measured.ended(ready.bytes, receipt.cost, receipt.naive);
            state.forecasting.ended_bytes = state.forecasting.ended_bytes.saturating_add(ready.bytes);
        } else if receipt.paid {
            measured.tried(receipt.cost, receipt.naive);
        }
    }

    /// Looks at what the job will have cost, once enough has ended since the last look.
    pub(super) fn look_ahead(&self) {
        let due = {
            let forecasting = &self.state.borrow().forecasting;
            !forecasting.off && forecasting.kept.measured.items >= forecasting.next
        };
        if due {
            self.forecast();
        }
    }

    /// What earlier runs have measured may be enough to send nothing.
    pub(crate) fn look_ahead_at_first(&self) {
        let known = {
            let own = &mut self.state.borrow_mut().forecasting;
            own.above = own.latest().is_some();
            own.above && !own.off
        };
        if known {
            self.forecast();
        }
    }

    fn forecast(&self) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let spent = state.budget.settled.saturating_add(state.budget.doubt);
        let left = state.forecasting.left(state.open(), state.switched);
        let own = &mut state.forecasting;
        own.next = own.kept.measured.items + own.step;
        let Some(forecast) = Forecast::of(&own.kept.measured, spent, &left) else { return };
        own.kept.forecast = Some(forecast);
        own.kept.write(&self.dir.forecast());
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
    /// Pauses the job if two looks in a row say that it will pass its cap and something is left to send. Answers why.
    fn judge(&mut self, forecast: &Forecast, spend_all: bool) -> Option<String> {
        let asked = self.items.asked();
        let waiting = asked.of(ItemState::Queued) + asked.of(ItemState::Retry);
        let spent = self.budget.settled.saturating_add(self.budget.doubt);
        let cap = cap(&self.budget)?;
        let own = &mut self.forecasting;
        let before = std::mem::replace(&mut own.above, forecast.p95 > cap);
        if !own.above || !before || waiting == 0 || spend_all || own.paused.is_some() {
            return None;
        }
        let why = format!(
            "after {} answers the job is expected to cost USD {} and at P95 USD {} in all, the plan said USD {} at P95, and its budget is USD \
             {cap}; some {} of {} open items would be left over. Nothing new is sent",
            forecast.measured,
            forecast.expected,
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
