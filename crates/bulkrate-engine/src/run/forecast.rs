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
use bulkrate_core::price::{Forecast, Left, Measured, OfModel, of_models};
use bulkrate_store::Fate;
use bulkrate_store::fold::State as ItemState;
use serde::{Deserialize, Serialize};

use super::job::{Job, State};
use super::land::Receipt;
use super::ready::Ready;
use crate::event::Event;
use crate::paths::{JobDir, open_file};
use crate::plan::{LanePlan, Plan};
use crate::planning::part_of;
use crate::prepare::Checkpoint;
use crate::spec::JobSpec;

/// Looks are so many items apart, or one of a hundred of them if that is more.
const STEP_MIN: u64 = 10;

/// What an earlier look found, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    measured: Measured,
    /// Of what was paid: by the lane that the rest was to go to then.
    #[serde(default)]
    paid: BTreeMap<Lane, u64>,
    /// Of each model that requests name: items that have ended, and what was paid for them.
    #[serde(default)]
    models: BTreeMap<String, (u64, u64)>,
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
        if open_file(&beside, true).is_ok_and(|mut file| file.write_all(&text).is_ok()) {
            drop(std::fs::rename(&beside, path));
        }
    }
}

/// What a run has measured, and what it makes of it.
#[derive(Debug)]
pub(crate) struct Forecasting {
    kept: Kept,
    /// What the source holds of items that are asked for, and bytes of their requests: zero where nobody has counted them.
    items: u64,
    bytes: u64,
    /// The same items by the model that they name, where there are several.
    models: BTreeMap<String, u64>,
    /// Of these: answered by earlier jobs.
    cached: BTreeMap<String, u64>,
    /// The items that were open when the run began, and what the plan says of them by lane.
    begun: u64,
    prices: BTreeMap<Lane, Priced>,
    home: Lane,
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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Priced {
    expected: UsdNanos,
    worst: UsdNanos,
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
            kept: Kept::read(dir),
            items,
            bytes,
            cached: stats.cached_of.clone(),
            models,
            begun: plan.requests,
            prices: plan.lanes.iter().map(priced).collect(),
            home,
            planned: p95.saturating_add(plan.spent),
            off: !plan.priced,
            step: (plan.requests / 100).max(STEP_MIN),
            next: 0,
            above: false,
            paused: None,
        }
    }

    pub(crate) fn latest(&self) -> Option<Forecast> {
        self.kept.forecast
    }

    /// An item of so many bytes has ended for nothing: so may others.
    pub(super) fn ended_free(&mut self, bytes: u64) {
        self.kept.measured.ended(bytes, UsdNanos::ZERO);
    }

    /// The same of an item that nobody has read for it: it is taken to be as long as the others.
    pub(super) fn ended_unsent(&mut self) {
        self.ended_free(self.bytes.checked_div(self.items).unwrap_or(0));
    }

    /// `model`: the one that the item names.
    fn take(&mut self, model: &str, bytes: u64, cost: UsdNanos, fate: Fate, lane: Lane) {
        let before = self.kept.measured.paid();
        if fate == Fate::Final {
            self.kept.measured.ended(bytes, cost);
        } else {
            self.kept.measured.tried(cost);
        }
        let paid = self.kept.measured.paid() - before;
        *self.kept.paid.entry(lane).or_default() += paid;
        if self.models.contains_key(model) {
            let of = match self.kept.models.get_mut(model) {
                Some(known) => known,
                None => self.kept.models.entry(model.to_owned()).or_default(),
            };
            *of = (of.0 + u64::from(fate == Fate::Final), of.1 + paid);
        }
    }

    /// The open items, which go to a lane. Those that have ended and that nobody has measured, as a run died before it had written
    /// them down, are taken to be as long as the open ones. `None`: too little is known of what they cost.
    fn left(&self, items: u64, lane: Lane) -> Option<Left> {
        let Measured { items: ended, bytes: ended_bytes, .. } = self.kept.measured;
        let bytes = match self.bytes {
            0 => part_of(ended_bytes, items, ended),
            all => {
                part_of(all.saturating_sub(ended_bytes), items, self.items.saturating_sub(ended).max(items))
            }
        };
        let worst = |lane| self.prices.get(&lane).map_or(UsdNanos::ZERO, |priced| priced.worst);
        let worst = if lane == self.home { worst(lane) } else { worst(lane).max(worst(self.home)) };
        let worst = worst.share_up(items.min(self.begun), self.begun);
        Some(Left { items, bytes, worst, dearer: self.dearer(lane) * self.of_models(items)? })
    }

    /// What the rest costs for the models that it names, as a multiple of what the measured ones did.
    fn of_models(&self, left: u64) -> Option<f64> {
        let one = |(model, items): (&String, &u64)| {
            let (ended, paid) = self.kept.models.get(model).copied().unwrap_or_default();
            OfModel { items: items - self.cached.get(model).copied().unwrap_or(0).min(*items), ended, paid }
        };
        of_models(&self.models.iter().map(one).collect::<Vec<_>>(), left)
    }

    /// What an item costs in a lane, as a multiple of what the measured ones would have cost where they went: the plan knows both
    /// lanes' prices. Nothing is made of a lane without one.
    #[allow(clippy::cast_precision_loss, reason = "a ratio of prices")]
    fn dearer(&self, lane: Lane) -> f64 {
        let price = |lane: &Lane| self.prices.get(lane).map_or(0, |priced| priced.expected.0) as f64;
        let here = price(&lane);
        let more = |(there, paid): (&Lane, &u64)| match price(there) {
            there if there > 0.0 && here > 0.0 => *paid as f64 * (here / there - 1.0),
            _ => 0.0,
        };
        let paid = self.kept.measured.paid().max(1) as f64;
        (1.0 + self.kept.paid.iter().map(more).sum::<f64>() / paid).max(0.0)
    }
}

impl Job {
    /// Takes in what an attempt cost.
    pub(super) fn measure(&self, ready: &Ready, receipt: &Receipt, fate: Fate) {
        if fate == Fate::Final || receipt.paid {
            let state = &mut *self.state.borrow_mut();
            let lane = state.goes_to();
            let model = &self.deployments[ready.named].pinned;
            state.forecasting.take(model, ready.bytes, receipt.cost, fate, lane);
        }
    }

    /// What the run has measured since its last look is not lost with it.
    pub(super) fn keep_measured(&self) {
        let own = &self.state.borrow().forecasting;
        if !own.off && own.kept.measured.items > 0 {
            own.kept.write(&self.dir.forecast());
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

    /// What earlier runs have measured may be enough to send nothing: their last look counts as it would under today's cap.
    pub(crate) fn look_ahead_at_first(&self) {
        let known = {
            let state = &mut *self.state.borrow_mut();
            let latest = state.forecasting.latest();
            state.forecasting.above =
                latest.zip(cap(&state.budget)).is_some_and(|(latest, cap)| latest.passes(cap));
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
        let left = state.forecasting.left(state.open(), state.goes_to());
        let own = &mut state.forecasting;
        own.next = own.kept.measured.items + own.step;
        let forecast = left.and_then(|left| Forecast::of(&own.kept.measured, spent, &left));
        let Some(forecast) = forecast else { return };
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
    /// The lane that the rest goes to.
    fn goes_to(&self) -> Lane {
        if self.near.switched { Lane::Sync } else { self.forecasting.home }
    }

    /// Pauses the job if two looks in a row are all but sure that it will pass its cap and something is left to send. Answers why.
    fn judge(&mut self, forecast: &Forecast, spend_all: bool) -> Option<String> {
        let asked = self.items.asked();
        let waiting = asked.of(ItemState::Queued) + asked.of(ItemState::Retry);
        let spent = self.budget.settled.saturating_add(self.budget.doubt);
        let cap = cap(&self.budget)?;
        let own = &mut self.forecasting;
        let before = std::mem::replace(&mut own.above, forecast.passes(cap));
        if !own.above || !before || waiting == 0 || spend_all || own.paused.is_some() {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A job of a thousand items of 2,000 down to 200 bytes, of which so many have ended and were measured.
    fn sorted(ended: u64, measured: u64) -> (Forecasting, u64) {
        let bytes = |at: u64| 2_000 - at * 1_800 / 1_000;
        let plan = |expected, worst| Priced { expected: UsdNanos(expected), worst: UsdNanos(worst) };
        let mut own = Forecasting {
            kept: Kept::default(),
            items: 1_000,
            bytes: (0..1_000).map(bytes).sum(),
            models: BTreeMap::new(),
            cached: BTreeMap::new(),
            begun: 1_000 - ended,
            prices: [(Lane::Batch, plan(50, 5_000)), (Lane::Sync, plan(100, 10_000))].into(),
            home: Lane::Batch,
            planned: UsdNanos::ZERO,
            off: false,
            step: STEP_MIN,
            next: 0,
            above: false,
            paused: None,
        };
        (0..measured).for_each(|at| own.take("m", bytes(at), UsdNanos(10), Fate::Final, Lane::Batch));
        (own, (ended..1_000).map(bytes).sum())
    }

    #[test]
    fn on_resume_the_rest_is_as_long_as_what_has_not_ended() {
        for ended in [0, 100, 500, 999] {
            let (own, rest) = sorted(ended, ended);
            assert_eq!(own.left(1_000 - ended, Lane::Batch).unwrap().bytes, rest, "{ended} ended");
        }
        // What a run that died had not written down is taken to be as long as the rest.
        let (own, rest) = sorted(500, 490);
        let got = own.left(500, Lane::Batch).unwrap().bytes;
        assert!(got > rest && got < rest + rest / 25, "{got} for {rest}");
        // Measured twice, as a crash came between the file and the commit.
        let (own, rest) = sorted(500, 510);
        let got = own.left(500, Lane::Batch).unwrap().bytes;
        assert!(got < rest && got > rest - rest / 25, "{got} for {rest}");
    }

    #[test]
    fn items_that_end_without_a_call_do_not_make_the_others_longer() {
        let (mut own, _) = sorted(0, 0);
        let mean = own.bytes / own.items;
        (0..500).for_each(|_| own.ended_unsent());
        assert_eq!(own.left(500, Lane::Batch).unwrap().bytes, own.bytes - 500 * mean);
        // Half of them cost nothing, so half of the rest is expected to.
        (0..500).for_each(|_| own.take("m", mean, UsdNanos(1_000), Fate::Final, Lane::Batch));
        let rest = Left { worst: UsdNanos(i64::MAX), ..own.left(100, Lane::Batch).unwrap() };
        let got = Forecast::of(&own.kept.measured, UsdNanos::ZERO, &rest).map(|got| got.expected);
        assert_eq!(got, Some(UsdNanos(50_000)));
    }

    #[test]
    fn what_another_lane_has_measured_is_priced_in_that_of_the_rest() {
        let (mut own, _) = sorted(200, 200);
        for (lane, want, worst) in [(Lane::Batch, 1.0, 5_000), (Lane::Sync, 2.0, 10_000)] {
            let left = own.left(800, lane).unwrap();
            assert!((left.dearer - want).abs() < 1e-9 && left.worst.0 == worst, "{lane}: {left:?}");
        }
        // A run died after its switch to calls, and the next one calls from the start.
        own.home = Lane::Sync;
        assert!((own.left(800, Lane::Sync).unwrap().dearer - 2.0).abs() < 1e-9);
        (0..100).for_each(|_| own.take("m", 500, UsdNanos(20), Fate::Retry, Lane::Sync));
        assert!(
            (own.left(800, Lane::Sync).unwrap().dearer - 1.5).abs() < 1e-9,
            "half of what was paid was for calls"
        );
        assert!((own.left(800, Lane::Batch).unwrap().dearer - 0.75).abs() < 1e-9);
        // A lane without a price says nothing.
        assert!((own.left(800, Lane::Flex).unwrap().dearer - 1.0).abs() < 1e-9);
    }

    #[test]
    fn rows_of_several_models_are_priced_by_what_is_left_of_each() {
        let (mut own, _) = sorted(0, 0);
        own.models = [("dear".to_owned(), 300), ("cheap".to_owned(), 700)].into();
        let mean = own.bytes / own.items;
        (0..200).for_each(|_| own.take("dear", mean, UsdNanos(20), Fate::Final, Lane::Batch));
        (0..100).for_each(|_| own.take("cheap", mean, UsdNanos(1), Fate::Final, Lane::Batch));
        let rest = Left { worst: UsdNanos(i64::MAX), ..own.left(700, Lane::Batch).unwrap() };
        let got = Forecast::of(&own.kept.measured, UsdNanos(4_100), &rest).map(|got| got.expected);
        assert_eq!(got, Some(UsdNanos(4_100 + 100 * 20 + 600)));
        // An earlier job had answered all but fifty of the dear ones, and of those all but ten are done.
        own.kept = Kept::default();
        own.cached = [("dear".to_owned(), 250)].into();
        (0..40).for_each(|_| own.take("dear", mean, UsdNanos(20), Fate::Final, Lane::Batch));
        (0..100).for_each(|_| own.take("cheap", mean, UsdNanos(1), Fate::Final, Lane::Batch));
        let rest = Left { worst: UsdNanos(i64::MAX), ..own.left(610, Lane::Batch).unwrap() };
        let got = Forecast::of(&own.kept.measured, UsdNanos(900), &rest).map(|got| got.expected);
        assert_eq!(got, Some(UsdNanos(900 + 10 * 20 + 600)));
    }
}
