//! What a seed stands for: a job, a provider with its faults, and a fate. Most faults are off in most seeds, so that those
//! which are on can go far.

mod faults;
mod inputs;
mod stand_ins;

use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::HedgeRule;
use bulkrate_core::submission::Unresolved;
use bulkrate_engine::spec::{
    AccountSpec, JobSpec, OnBadLine, RequestSpec, RunSpec, SinkSpec, SourceSpec, SyncDoubt,
};

pub use faults::Faults;
use faults::faults;
pub use inputs::Inputs;
pub use stand_ins::StandIns;

use crate::dice::Dice;
use crate::tongue::{BY_INPUT, Known, LARGE, OPENAI, OTHERS, Tongue};

const HOUR_MS: u64 = 3_600_000;
/// Seeds in a thousand that have stand-ins.
const STAND_INS: u64 = 150;
/// Those that are lived where batches are known by their input, of a thousand that were lived at OpenAI in the batch lane.
const BY_INPUTS: u64 = 90;

/// One seed, unfolded.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// Where its files are.
    pub dir: String,
    pub items: u64,
    /// Every so many items one repeats the first; 0: none.
    pub repeats: u64,
    pub spec: JobSpec,
    pub faults: Faults,
    pub inputs: Inputs,
    pub crashes_max: u64,
    /// F85: the state folder is copied after so many commits, and the copy restored later, once.
    pub backup_at: Option<u64>,
    /// After so long nothing goes wrong any more.
    pub calm_after_ms: u64,
    /// When the operator cancels the job, if ever.
    pub cancel_at_ms: Option<u64>,
    /// How often the operator detaches.
    pub detaches: u64,
    /// How long a batch takes, at least and at most.
    pub batch_ms: (u64, u64),
    pub page: u64,
    pub latency_ms: u64,
    pub disk_ms: u64,
    /// The engine looks up so often: seldom in a job of weeks.
    pub tick_s: u64,
    /// When copies of slow calls go out.
    pub hedge: HedgeRule,
    /// Who is spoken to.
    pub(crate) tongue: &'static dyn Tongue,
    /// Nobody else makes batches in the account, and that is said.
    pub alone: bool,
    /// Who stands in for whom is spoken to, in some seeds.
    pub stand_ins: Option<StandIns>,
}

impl Plan {
    #[must_use]
    pub fn of(seed: u64, dir: &Path) -> Self {
        let plan = Self::with_one(seed, dir);
        let mut others = Dice::new(seed, 11);
        if others.permille(STAND_INS) { plan.with_stand_ins(&mut others) } else { plan }
    }

    /// The same without stand-ins.
    fn with_one(seed: u64, dir: &Path) -> Self {
        let plan = Self::at_openai(seed, dir);
        let mut dice = Dice::new(seed, 10);
        if dice.permille(250) {
            plan.elsewhere(dice.pick(OTHERS), &mut dice)
        } else if dice.permille(8) {
            Self::one_by_one(seed, dir).in_large_batches(&mut dice).elsewhere(LARGE, &mut dice)
        } else {
            let mut inputs = Dice::new(seed, 12);
            let chosen = plan.spec.run.lane == Some(Lane::Batch) && inputs.permille(BY_INPUTS);
            if chosen { plan.elsewhere(BY_INPUT, &mut inputs).by_inputs(&mut inputs) } else { plan }
        }
    }

    /// The same at OpenAI.
    #[must_use]
    pub fn at_openai(seed: u64, dir: &Path) -> Self {
        let plan = Self::one_by_one(seed, dir);
        let mut bundles = Dice::new(seed, 8);
        let mut copies = Dice::new(seed, 9);
        if bundles.permille(250) {
            plan.in_bundles(&mut bundles)
        } else if plan.spec.run.lane == Some(Lane::Sync) && copies.permille(600) {
            plan.with_copies(&mut copies)
        } else {
            plan
        }
    }

    /// The same job at another provider.
    fn elsewhere(mut self, tongue: &'static dyn Tongue, dice: &mut Dice) -> Self {
        let manners = tongue.manners();
        self.tongue = tongue;
        self.spec.request.model = Some(format!("{}/{}", manners.provider, manners.model));
        self.faults.results_late_ms = dice.pick(&[0, 0, 20_000]);
        self.faults.input_kept = dice.pick(&[0, 500, 1_000]);
        if self.faults.input_kept > 0 && dice.permille(500) {
            // A file that stays matters to a create that arrives after it was to be gone.
            self.faults.late = self.faults.late.max(400);
        }
        if manners.known_by == Known::Looks {
            self.unmarked(dice);
        }
        self
    }

    /// Where nothing can be written on a batch, what was sent and is in no row is not to be found: no backup is restored (W5).
    fn unmarked(&mut self, dice: &mut Dice) {
        self.backup_at = None;
        // The second batch of a create looks like the next one of ours, and may be taken for it.
        self.faults.twice = 0;
        self.alone = dice.permille(500);
        self.faults.foreign = if self.alone { 0 } else { dice.pick(&[300, 900]) };
    }

    /// A job whose batches hold a hundred items and more. What is left of them is called for.
    fn in_large_batches(mut self, dice: &mut Dice) -> Self {
        let items = dice.between(100, 220);
        let run = &mut self.spec.run;
        run.budget = run.budget.map(|_| UsdNanos::dollars(1_000));
        run.lane = Some(Lane::Batch);
        (run.batch_items_max, run.batches_max) = (dice.pick(&[100, 110, 1_000]), 50);
        run.concurrency_max = 50;
        (self.items, self.repeats, self.tick_s) = (items, 0, 60);
        self
    }

    /// A job of calls some of which are slow, and have copies, of more calls and sooner than is usual.
    fn with_copies(mut self, dice: &mut Dice) -> Self {
        let items = dice.between(30, 90);
        let run = &mut self.spec.run;
        run.budget = run.budget.map(|budget| {
            let each = budget.0 / i64::try_from(self.items.max(3)).unwrap_or(1);
            UsdNanos(each.saturating_mul(i64::try_from(items).unwrap_or(1)))
        });
        run.hedge = true;
        run.concurrency_max = u32::try_from(dice.pick(&[5, 20, 50])).unwrap_or(5);
        self.hedge = HedgeRule {
            answers_min: u32::try_from(dice.between(2, 15)).unwrap_or(2),
            share_permille: dice.pick(&[20, 300, 1_000]),
        };
        self.faults.slow = dice.pick(&[50, 200]);
        self.faults.unconnected = dice.pick(&[0, 100]);
        self.items = items;
        self.repeats = 0;
        self.backup_at = None; // calls that a restored folder has not seen leave no mark
        self
    }

    /// A job whose items are asked several at a time, under words that pay for it.
    fn in_bundles(mut self, dice: &mut Dice) -> Self {
        let request = &mut self.spec.request;
        request.bundle = Some(u32::try_from(dice.pick(&[2, 3, 5, 8])).unwrap_or(2));
        request.system = Some("Say in few words what stands behind the question. ".repeat(40));
        self.faults.bundle_wrong = dice.pick(&[0, 100, 400]);
        self
    }

    fn one_by_one(seed: u64, dir: &Path) -> Self {
        let mut dice = Dice::new(seed, 1);
        let lane = dice.pick(&[Lane::Batch, Lane::Batch, Lane::Batch, Lane::Sync]);
        let items = dice.between(3, 24);
        let mut faults = faults(&mut dice);
        // Streams of their own: what came later leaves the seeds of before as they were.
        faults.torn = faults.crash > 0 && Dice::new(seed, 5).permille(500);
        let mut strays = Dice::new(seed, 6);
        faults.twice = if strays.permille(250) { strays.pick(&[100, 400]) } else { 0 };
        let backup_at = strays.permille(60).then(|| strays.between(2, 50));
        faults.torn &= backup_at.is_none(); // a copy is whole
        let mut run = RunSpec {
            lane: Some(lane),
            concurrency_max: u32::try_from(dice.pick(&[1, 2, 8, 50])).unwrap_or(1),
            poll_min_ms: 60_000,
            poll_max_ms: dice.pick(&[300_000, 1_800_000, 3_600_000]),
            cache: bulkrate_core::request::CacheMode::Off,
            canary: dice.permille(300),
            sync_doubt: if dice.permille(250) { SyncDoubt::Dead } else { SyncDoubt::Resend },
            batch_doubt: dice.pick(&[
                Unresolved::Hold,
                Unresolved::Hold,
                Unresolved::Dead,
                Unresolved::Repay,
            ]),
            keep_remote: dice.permille(300),
            batch_items_max: u32::try_from(dice.pick(&[2, 5, 100])).unwrap_or(1),
            batches_max: u32::try_from(dice.pick(&[1, 3, 50])).unwrap_or(1),
            timeout_ms: Some(dice.pick(&[60_000, 600_000])),
            deadline_ms: dice.permille(150).then(|| dice.between(1, 30) * HOUR_MS),
            ..RunSpec::default()
        };
        // The worst case of one item is about 160,000 nano-dollars in the sync lane.
        let each = if dice.permille(400) { dice.between(170_000, 600_000) } else { 40_000_000 };
        run.budget = Some(UsdNanos(i64::try_from(each * items.max(3)).unwrap_or(i64::MAX)));
        let plan = Self {
            seed,
            dir: dir.display().to_string(),
            items,
            repeats: dice.pick(&[0, 0, 5]),
            spec: spec(dir, run),
            crashes_max: if faults.crash == 0 { 0 } else { dice.between(1, 6) },
            backup_at,
            calm_after_ms: dice.between(10, 120) * HOUR_MS,
            cancel_at_ms: dice.permille(80).then(|| dice.between(1, 40) * HOUR_MS / 4),
            detaches: dice.pick(&[0, 0, 0, 1, 2]),
            batch_ms: dice.pick(&[
                (1_000, 60_000),
                (10 * 60_000, 4 * HOUR_MS),
                (HOUR_MS, 23 * HOUR_MS),
                (20 * HOUR_MS, 30 * HOUR_MS),
            ]),
            page: dice.pick(&[1, 2, 3, 100]),
            latency_ms: dice.pick(&[20, 200, 5_000]),
            disk_ms: dice.pick(&[0, 5, 40, 400]),
            tick_s: 60,
            hedge: HedgeRule::default(),
            tongue: OPENAI,
            alone: false,
            stand_ins: None,
            faults,
            inputs: Inputs::default(),
        };
        let mut weeks = Dice::new(seed, 4);
        if weeks.permille(180) { plan.for_weeks(&mut weeks) } else { plan }
    }

    /// A job with a deadline, under a known limit of calls, whose batches may be late, stuck or expire; nothing else goes wrong.
    #[must_use]
    pub fn hurried(seed: u64, dir: &Path) -> Self {
        let mut plan = Self::one_by_one(seed, dir);
        let mut dice = Dice::new(seed, 7);
        // More than an hour of calls: what would be done sooner takes the flex lane, which costs the same.
        plan.items = dice.between(64, 150);
        let rpm = 1;
        // What can be met at all: all of it in the sync lane.
        let called_ms = plan.items * 60_000 / rpm;
        let run = &mut plan.spec.run;
        *run = RunSpec {
            rpm: Some(rpm),
            deadline_ms: Some(called_ms * 13 / 10 + dice.between(10 * 60_000, 29 * HOUR_MS)),
            poll_min_ms: 60_000,
            poll_max_ms: dice.pick(&[300_000, 1_800_000]),
            cache: bulkrate_core::request::CacheMode::Off,
            canary: dice.permille(500),
            batch_items_max: u32::try_from(dice.pick(&[4, 15, 200])).unwrap_or(1),
            budget: run.budget.map(|_| UsdNanos::dollars(1_000)),
            timeout_ms: Some(60_000),
            ..RunSpec::default()
        };
        plan.faults = Faults {
            stuck: dice.pick(&[0, 100, 500, 1_000]),
            expires: dice.pick(&[0, 0, 300]),
            ..Faults::default()
        };
        plan.batch_ms = dice.pick(&[(60_000, 600_000), (600_000, 8 * HOUR_MS), (4 * HOUR_MS, 23 * HOUR_MS)]);
        (plan.repeats, plan.crashes_max, plan.backup_at, plan.cancel_at_ms) = (0, 0, None, None);
        (plan.detaches, plan.calm_after_ms, plan.latency_ms) = (0, 100 * HOUR_MS, 2_000);
        plan.tick_s = 5;
        plan
    }

    /// A job of some weeks: one item a batch, one batch a day.
    fn for_weeks(mut self, dice: &mut Dice) -> Self {
        let items = dice.between(22, 32);
        let run = &mut self.spec.run;
        run.budget = run.budget.map(|budget| {
            let each = budget.0 / i64::try_from(self.items.max(3)).unwrap_or(1);
            UsdNanos(each.saturating_mul(i64::try_from(items).unwrap_or(1)))
        });
        run.lane = Some(Lane::Batch);
        run.batch_items_max = 1;
        run.batches_max = 1;
        run.poll_max_ms = 3 * HOUR_MS;
        run.deadline_ms = None;
        self.items = items;
        self.repeats = 0;
        self.batch_ms = (21 * HOUR_MS, 24 * HOUR_MS);
        self.calm_after_ms = dice.between(100, 700) * HOUR_MS;
        self.cancel_at_ms = self.cancel_at_ms.map(|_| dice.between(100, 700) * HOUR_MS);
        self.tick_s = 1_800;
        self
    }
}

impl Plan {
    /// Who is spoken to.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.tongue.manners().provider
    }

    /// Whether something may be paid twice through a window that leaves a mark: twins (W1), and what somebody makes of our input as soon, ghosts
    /// (W5).
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.faults.twice > 0 || self.backup_at.is_some() || self.inputs.reruns()
    }

    /// Once nothing goes wrong any more the job must end within so long (I2): every item in two batches of a day, as few at a
    /// time as the plan allows, and some days of doubt.
    #[must_use]
    pub fn patience_ms(&self) -> u64 {
        let run = &self.spec.run;
        let at_once = u64::from(run.batch_items_max.min(100)) * u64::from(run.batches_max);
        (self.items.div_ceil(at_once.max(1)) * 2 + 6) * 26 * HOUR_MS
    }
}

fn spec(dir: &Path, run: RunSpec) -> JobSpec {
    JobSpec {
        name: "world".into(),
        source: SourceSpec {
            path: Some(dir.join("items.csv")),
            format: None,
            id: Some("id".into()),
            on_bad_line: OnBadLine::Fail,
            limit: None,
        },
        request: RequestSpec {
            model: Some(format!("{}/{}", OPENAI.manners().provider, OPENAI.manners().model)),
            user: Some("{{ text }}".into()),
            max_output_tokens: Some(64),
            ..RequestSpec::default()
        },
        tags: std::collections::BTreeMap::new(),
        run,
        sink: SinkSpec { path: Some(dir.join("out.jsonl")), ..SinkSpec::default() },
        account: AccountSpec::default(),
    }
}
