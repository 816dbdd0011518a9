//! What a seed stands for: a job, a provider with its faults, and a fate. Most faults are off in most seeds, so that those
//! which are on can go far.

use std::path::Path;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::HedgeRule;
use bulkrate_core::submission::Unresolved;
use bulkrate_engine::spec::{
    AccountSpec, JobSpec, OnBadLine, RequestSpec, RunSpec, SinkSpec, SourceSpec, SyncDoubt,
};

use crate::dice::Dice;
use crate::tongue::{LARGE, OPENAI, OTHERS, Tongue};

const HOUR_MS: u64 = 3_600_000;

/// Chances in a thousand of what may go wrong, by the names of the fault catalogue.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// F04: no connection; nothing leaves.
    pub no_connection: u64,
    /// F01: 429.
    pub limited: u64,
    /// F03: a 5xx in the provider's own words, or a gateway's page; nothing was done.
    pub failing: u64,
    /// F06, F09: a request that is lost on its way.
    pub lost: u64,
    /// F07, F21: done, and the answer is lost.
    pub answer_lost: u64,
    /// F22: done, and a gateway answers 502.
    pub done_but_5xx: u64,
    /// F10, F11, F23: done, and the answer is garbage, or has no id.
    pub garbage: u64,
    /// F17: a create that arrives late.
    pub late: u64,
    /// F18, F28: a create that is delivered twice, the second time up to an hour late.
    pub twice: u64,
    /// Calls that are answered twenty times as late as others.
    pub slow: u64,
    /// Calls that wait twenty times as long as others for their connection, before anything leaves.
    pub unconnected: u64,
    /// F24: the list lags, up to so many milliseconds.
    pub list_lag_ms: u64,
    /// F25: a page repeats what the one before showed.
    pub page_repeats: u64,
    /// F29: batches of others in the list, some made of the very same file.
    pub foreign: u64,
    /// F30, F31: a status that goes back, or that nobody knows.
    pub odd_status: u64,
    /// F37: the batch is denied, for once.
    pub denied: u64,
    /// F34, F39: batches that expire with a part done.
    pub expires: u64,
    /// F36: batches that never come to an end by themselves.
    pub stuck: u64,
    /// F35: batches refused as a whole.
    pub batch_fails: u64,
    /// F50, F58: lines that are errors.
    pub line_errors: u64,
    /// F57: lines that are missing though paid for.
    pub line_missing: u64,
    /// F55: lines that come twice.
    pub line_twice: u64,
    /// F56, F61: lines of nobody, and lines that are none.
    pub line_strange: u64,
    /// F59: answers that are empty.
    pub empty: u64,
    /// Answers to several items of which some are missing, exchanged, shifted or cut, or that are no list.
    pub bundle_wrong: u64,
    /// F65: no usage.
    pub no_usage: u64,
    /// F53: a result file that is not there, for once.
    pub file_missing: u64,
    /// An input that may not be deleted, where that is told from one that is not there.
    pub input_kept: u64,
    /// Results that are named so long after the end.
    pub results_late_ms: u64,
    /// F72, F73: a commit that fails; the disk is not asked again.
    pub disk: u64,
    /// Chance in a thousand at each point between two effects that the process dies there (F70).
    pub crash: u64,
    /// F75: what was written and not synced is lost in part when the process dies.
    pub torn: bool,
    /// F40: the clock stands elsewhere after a restart.
    pub clock: bool,
}

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
}

impl Plan {
    #[must_use]
    pub fn of(seed: u64, dir: &Path) -> Self {
        let plan = Self::at_openai(seed, dir);
        let mut dice = Dice::new(seed, 10);
        if dice.permille(250) {
            plan.elsewhere(dice.pick(OTHERS), &mut dice)
        } else if dice.permille(8) {
            Self::one_by_one(seed, dir).in_large_batches(&mut dice).elsewhere(LARGE, &mut dice)
        } else {
            plan
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

    /// The same job at another provider. Where nothing can be written on a batch, what was sent and is in no row is not to be found: no
    /// backup is restored (W5).
    fn elsewhere(mut self, tongue: &'static dyn Tongue, dice: &mut Dice) -> Self {
        let manners = tongue.manners();
        self.tongue = tongue;
        self.spec.request.model = Some(format!("{}/{}", manners.provider, manners.model));
        self.faults.results_late_ms = dice.pick(&[0, 0, 20_000]);
        self.faults.input_kept = dice.pick(&[0, 500, 1_000]);
        if !manners.marks {
            self.backup_at = None;
            self.alone = dice.permille(500);
            self.faults.foreign = if self.alone { 0 } else { dice.pick(&[300, 900]) };
        }
        self
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
            faults,
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
    /// Whether something may be paid twice through a window that leaves a mark: twins (W1), ghosts (W5).
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.faults.twice > 0 || self.backup_at.is_some()
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

/// Each fault is on in some seeds only.
fn faults(dice: &mut Dice) -> Faults {
    let crash = if dice.permille(700) { dice.pick(&[5, 20, 60]) } else { 0 };
    let clock = dice.permille(250);
    if dice.permille(100) {
        return Faults { crash, clock, ..Faults::default() }; // a well-behaved provider
    }
    let mut on = |chance: u64, strengths: &[u64]| {
        if dice.permille(chance) { dice.pick(strengths) } else { 0 }
    };
    Faults {
        no_connection: on(200, &[20, 200]),
        limited: on(250, &[30, 200]),
        failing: on(250, &[30, 200]),
        lost: on(200, &[20, 100, 300]),
        answer_lost: on(300, &[20, 100, 300]),
        done_but_5xx: on(250, &[50, 300]),
        garbage: on(200, &[20, 200]),
        late: on(200, &[100, 400]),
        twice: 0,
        slow: 0,
        unconnected: 0,
        list_lag_ms: on(300, &[5_000, 119_000]),
        page_repeats: on(150, &[200]),
        foreign: on(300, &[300, 900]),
        odd_status: on(200, &[100]),
        denied: on(150, &[50]),
        expires: on(250, &[200, 600]),
        stuck: 0,
        batch_fails: on(150, &[200]),
        line_errors: on(300, &[50, 300]),
        line_missing: on(200, &[100]),
        line_twice: on(250, &[200]),
        line_strange: on(150, &[200]),
        empty: on(150, &[50]),
        bundle_wrong: 0,
        no_usage: on(100, &[100]),
        file_missing: on(150, &[200]),
        input_kept: 0,
        results_late_ms: 0,
        disk: on(100, &[5]),
        torn: false,
        crash,
        clock,
    }
}
