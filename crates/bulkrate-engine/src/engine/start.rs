//! Prepared job -> plan -> running job: what it would cost, and the state its lanes share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::pace::rng::SplitMix64;
use bulkrate_core::price::Ratios;
use bulkrate_core::retry::Ladder;
use bulkrate_store::{By, LedgerKind, LedgerQuery, View};
use jiff::civil::Date;
use tokio::sync::{Notify, Semaphore};

use super::Engine;
use super::Prepared;
use super::advice;
use crate::EngineError;
use crate::deliver::Lines;
use crate::deployment::{Deployment, warnings};
use crate::event::Observer;
use crate::exact::ModelCount;
use crate::lane::{ghost, twin};
use crate::paths::JobDir;
use crate::plan::Plan;
use crate::planning::{Facts, budget, plan};
use crate::run::beginnings::Beginnings;
use crate::run::cascade::Cascade;
use crate::run::forecast::{self, Forecasting};
use crate::run::fresh::SendOrder;
use crate::run::hedge::{Hedging, is_of_copies};
use crate::run::job::{BY_MODEL, COLLECTING_MAX, Halt, Job, State};
use crate::run::prompt_cache;
use crate::run::recover::{other_account, recover, sender_of};
use crate::run::requests::Requests;
use crate::run::results::Results;
use crate::run::semantic::Semantic;
use crate::run::standing::StandIns;
use crate::spec::JobSpec;
use crate::stop::Stop;
use crate::strong::Strong;

impl Engine {
    /// The plan, once it is known whether custom base URLs have a batch API. One that cannot be asked is a warning.
    pub(super) async fn probed_plan(
        &self,
        prepared: &Prepared,
        counts: Option<&[ModelCount]>,
    ) -> Result<Plan, EngineError> {
        let mut warnings = Vec::new();
        let may_batch = prepared.resumed || matches!(prepared.spec.run.lane, None | Some(Lane::Batch));
        let mut asked: Vec<&str> = Vec::new();
        for found in &prepared.deployments {
            let account = &found.account;
            let batches_unknown = may_batch && account.api.batches().is_none();
            let wants_advice = !prepared.resumed && advice::is_wanted(found, &prepared.spec.account);
            if !account.custom || !(batches_unknown || wants_advice) || asked.contains(&account.id.as_str()) {
                continue;
            }
            asked.push(&account.id);
            let health = if batches_unknown {
                account.api.probe().await.map_err(|error| {
                    format!("whether `{}` has a batch API is not known: {error}", account.provider)
                })
            } else {
                advice::asked(found).await
            };
            match health {
                Err(warning) => warnings.push(warning),
                Ok(health) => {
                    let own = prepared.deployments.iter().filter(|one| one.account.id == account.id);
                    warnings
                        .extend(own.filter_map(|one| advice::warning(one, &prepared.spec.account, &health)));
                    warnings.dedup();
                }
            }
        }
        let mut plan = self.plan_of(prepared, counts)?;
        plan.warnings.append(&mut warnings);
        Ok(plan)
    }

    pub(super) fn plan_of(
        &self,
        prepared: &Prepared,
        counts: Option<&[ModelCount]>,
    ) -> Result<Plan, EngineError> {
        let Prepared { row, spec, checkpoint, deployments, resumed, .. } = prepared;
        let reader = self.reader()?;
        let open = if *resumed {
            let mut states = bulkrate_store::fold::ItemStates::load(&*reader, row.no)?;
            states.ask_until(end_of(spec));
            Some(states.asked().open())
        } else {
            None
        };
        let fallbacks = Deployment::fallbacks(&self.settings, spec, self.today(), deployments)?;
        let cascade = Cascade::of(&self.settings, spec, deployments, self.today())?;
        let strong = Strong::of(&self.settings, spec, self.today(), deployments)?;
        // What only stands in says nothing of how long the job's own batches take.
        let named =
            |found: &Deployment| checkpoint.stats.models.iter().any(|stats| stats.model == found.pinned);
        let asked = deployments.iter().enumerate();
        let asked = asked
            .filter(|(place, found)| fallbacks.iter().all(|route| route.place != *place) || named(found))
            .map(|(_, found)| found);
        let facts = Facts {
            job: &row.id,
            spec,
            checkpoint,
            deployments,
            fallbacks: &fallbacks,
            cheap: &cascade.iter().flat_map(Cascade::before).collect::<Vec<_>>(),
            strong: strong.as_ref(),
            spent: spent_by(&*reader, row.no)?,
            forecast: resumed
                .then(|| forecast::kept(&JobDir::of(&self.settings.state_dir, &row.id)).forecast)
                .flatten(),
            open,
            curve: crate::planning::curve_of(&*reader, asked, self.clock.unix_ms())?,
            batches_out: reader.open_submissions(row.no)?.iter().any(|open| open.lane == Lane::Batch),
            now_us: self.clock.unix_ms().saturating_mul(1_000),
            created_ms: u64::try_from(row.created_at_ms).unwrap_or(0),
            warnings: warnings(&self.settings.catalogue, deployments, self.today()),
            counts,
        };
        plan(&facts)
    }

    pub(super) fn job(
        &self,
        prepared: &Prepared,
        plan: &Plan,
        home: Lane,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Job, EngineError> {
        let Prepared { row, spec, checkpoint, deployments, resumed, .. } = prepared;
        let reader = self.reader()?;
        let no = row.no;
        let dir = JobDir::of(&self.settings.state_dir, &row.id);
        let mut found = recover(
            &*reader,
            no,
            checkpoint.stats.duplicates > 0,
            u64::from(spec.run.fail_above_permille) * 1_000,
            spec.run.max_error_permille,
            end_of(spec),
        )?;
        // Outcomes know what they would have cost at their own model; what another would have is in the ledger.
        found.tally.naive += by_model(&saved_by(&*reader, no)?);
        let cascade = Cascade::of(&self.settings, spec, deployments, self.today())?;
        let job_spent = spent_by(&*reader, no)?;
        let (day_ms, month_ms) = period_starts(self.today());
        let tags = crate::run::tags::caps(&*reader, spec, no)?;
        let (day, month) = (reader.spent_since(day_ms)?, reader.spent_since(month_ms)?);
        let budget = budget(spec, plan, job_spent, day, month, tags);
        let ladder = Ladder { batch_wait_us: spec.run.poll_min_ms.min(60_000) * 1_000, ..Ladder::new(home) };
        let submissions = reader.submissions(no)?;
        if let Some(cascade) = &cascade {
            found.climb.reread(cascade, &mut Lines::new(&dir, &submissions))?;
        }
        let semantic =
            Semantic::of(spec, &*reader, no, &dir, &mut Lines::new(&dir, &submissions), &*observer)?;
        let next_segment = submissions.iter().map(|submission| submission.segment).max().unwrap_or(0) + 1;
        let largest_submission = crate::run::doubt::largest(&*reader, no, &submissions)?;
        let twins_open = submissions.iter().filter(|row| twin::is_open(row)).map(|row| row.sub).collect();
        let hedging = if spec.run.hedge || submissions.iter().any(is_of_copies) {
            Hedging::of(&*reader, no)?
        } else {
            Box::default()
        };
        drop(submissions);
        let bundle = plan.bundle.as_ref().filter(|bundle| bundle.size.is_some()).map(|bundle| bundle.asked);
        // Of batches too little is told to be found again, and what bundles say begins otherwise.
        let alone = home != Lane::Batch && bundle.is_none();
        let beginnings = if alone { Beginnings::open(&dir)? } else { None };
        let mut prompt_cache =
            prompt_cache::meters(spec, checkpoint, deployments, home, beginnings.is_some());
        prompt_cache::replay(&*reader, no, deployments, &mut prompt_cache)?;
        let (call_retries, batch_retries) = State::queues();
        let source_halt = if prepared.resumed { source_halt(prepared, &dir) } else { None };
        let mut state = State {
            items: found.items,
            budget,
            trouble: found.trouble,
            climb: found.climb,
            followers: found.followers,
            call_retries,
            batch_retries,
            halved: std::collections::VecDeque::new(),
            cursor: 0,
            order: SendOrder::open(&dir)?,
            end: end_of(spec),
            meter: found.meter,
            flaws: found.flaws,
            halted_as: source_halt.as_ref().map(|_| crate::report::SOURCE_CHANGED),
            halted: source_halt,
            reach: HashMap::new(),
            failed: None,
            unwritable: None,
            blocked: None,
            overcharged: bulkrate_core::budget::Overcharges::default(),
            hedging,
            forecasting: Forecasting::new(&dir, plan, home, spec, checkpoint),
            near: crate::run::deadline::Nearness::default(),
            may_batch: home == Lane::Batch,
            cancelled: false,
            standings: crate::run::standing::Standings::new(deployments.len()),
            pauses: crate::run::standing::Pauses::default(),
            ratios: vec![Ratios::default(); deployments.len()],
            prompt_cache,
            moved: crate::run::ledger::Moved::default(),
            served: crate::cache::Served::new(!found.answered),
            outcomes: Vec::new(),
            unflushed: UsdNanos::ZERO,
            rng: SplitMix64::new(self.settings.seed ^ self.epoch ^ self.clock.us()),
            jitter: None,
            batches: HashMap::new(),
            tally: found.tally,
            calls_in_flight: 0,
            calls_leased: 0,
            calls_bound: UsdNanos::ZERO,
            unresolved: 0,
            doubted: HashMap::new(),
            creates: HashMap::new(),
            largest_submission,
            held_batches: 0,
            urgent: crate::run::urgent::Urgent::load(&dir, home)?,
            parked: crate::run::tags::Parked::default(),
            doubt_told: false,
            ghosts: ghost::standing(&*reader)?,
            strays: HashMap::new(),
            twins_open,
            twins_left: BTreeSet::new(),
            reruns_told: BTreeSet::new(),
            swept_ms: None,
            told: HashMap::new(),
            undecided: Vec::new(),
            heard: std::collections::HashSet::new(),
            downloads_fail: false,
            outages: crate::lane::outage::Outages::default(),
            over: false,
            batch_queues: deployments
                .iter()
                .map(|_| crate::lane::queue::BatchQueue::new(spec.run.enqueued_tokens_max))
                .collect(),
            call_rates: vec![None; deployments.len()],
            // Outcomes do not say who was asked, so that of several each is learned of anew.
            brought: match deployments.len() {
                1 => vec![found.brought],
                several => vec![crate::run::bundle::Brought::default(); several],
            },
        };
        state.queue_left_over(home, ladder.batch_max);
        let created_ms = u64::try_from(row.created_at_ms).unwrap_or(0);
        let before = if *resumed { Some(created_ms) } else { last_work(&*reader, no)?.or(self.born_ms) };
        let fallbacks = Deployment::fallbacks(&self.settings, spec, self.today(), deployments)?;
        let may_stand_in = StandIns::new(spec, checkpoint, deployments, (&fallbacks, home));
        Ok(Job {
            no,
            part_of: prepared.part_of,
            only_collects: false,
            id: row.id.clone(),
            inst: self.inst.clone(),
            epoch: self.epoch,
            spec: spec.clone(),
            shape: checkpoint.shape,
            deadline_ms: spec.run.deadline_ms.map(|after| created_ms.saturating_add(after)),
            sweep_from_ms: before.map_or(created_ms, |before_ms| before_ms.min(created_ms)),
            sweeps_first: before.is_some(),
            requests: RefCell::new(Requests::open(&dir, no)?),
            results: RefCell::new(Results::open(&dir.results(), 0, found.last_result)?),
            stream: RefCell::default(),
            unstreamed: RefCell::default(),
            notify: crate::notify::Notify::new(spec),
            dir,
            writer: self.writer.clone(),
            reader,
            deployments: deployments.clone(),
            stand_ins: Deployment::stand_ins(&self.settings, spec, self.today(), deployments, &fallbacks)?,
            fallbacks,
            may_stand_in,
            strong: Strong::of(&self.settings, spec, self.today(), deployments)?,
            cascade,
            semantic,
            // What limits the size was estimated for the mean item; each one is looked at when it comes.
            bundle,
            home,
            ladder,
            clock: self.clock,
            pulse: self.ground.pulse,
            observer,
            stop,
            state: RefCell::new(state),
            changed: Notify::new(),
            wishes: Notify::new(),
            expectations: RefCell::default(),
            beginnings,
            forms: RefCell::default(),
            next_segment: Cell::new(next_segment),
            kept_items: Cell::new(0),
            kept_items_max: self.settings.batch_items_kept,
            collecting: Semaphore::new(COLLECTING_MAX),
        })
    }
}

/// When another job of this state folder was last at work: a folder that was restored knows nothing of what came after.
fn last_work(reader: &dyn View, no: u32) -> Result<Option<u64>, EngineError> {
    let jobs = reader.jobs()?;
    let others = jobs.iter().filter(|job| job.no != no).map(|job| job.updated_at_ms.max(job.created_at_ms));
    Ok(others.max().and_then(|ms| u64::try_from(ms).ok()))
}

/// The first item that is not asked for (`--limit`).
pub(crate) fn end_of(spec: &JobSpec) -> Ordinal {
    spec.source.limit.map_or(Ordinal::MAX, |limit| Ordinal::try_from(limit).unwrap_or(Ordinal::MAX))
}

/// Before anything is sent: every deployment that may be asked has the key that it needs, those that only stand in included,
/// and the batches that an earlier run left can be asked after.
pub(super) fn check_keys(reader: &dyn View, prepared: &Prepared, plan: &Plan) -> Result<(), EngineError> {
    let deployments = &prepared.deployments;
    if plan.requests > 0 {
        if let Some(found) = deployments.iter().find(|found| found.account.lacks_key()) {
            return Err(found.account.no_key());
        }
        deployments.iter().try_for_each(|found| check_ready(&found.account))?;
    }
    for batch in reader.open_submissions(prepared.row.no)? {
        match sender_of(deployments, &batch).and_then(|place| deployments.get(place)) {
            Some(found) if found.account.api.place().is_some() => check_ready(&found.account)?,
            Some(_) => {}
            None => {
                // One whose place is not said is another to us, and the same to the user.
                let same = deployments.iter().filter(|found| found.pinned == batch.model);
                same.map(|found| &found.account).try_for_each(check_ready)?;
                return Err(other_account(deployments, &batch));
            }
        }
    }
    Ok(())
}

pub(super) fn check_ready(account: &crate::settings::Account) -> Result<(), EngineError> {
    account.api.ready().map_err(|why| EngineError::BadSpec {
        code: "provider-not-ready",
        what: format!("`{}` cannot run anything", account.provider),
        why,
    })
}

pub(crate) fn spent_by(reader: &dyn View, job: u32) -> Result<bulkrate_store::Spent, EngineError> {
    let totals = reader.ledger_totals(&LedgerQuery::of_job(job))?;
    Ok(totals.first().map(|total| total.sums.spent()).unwrap_or_default())
}

pub(crate) fn spent_by_all(
    reader: &dyn View,
    jobs: impl IntoIterator<Item = u32>,
) -> Result<bulkrate_store::Spent, EngineError> {
    jobs.into_iter()
        .try_fold(bulkrate_store::Spent::default(), |sum, job| Ok(sum.and(spent_by(reader, job)?)))
}

/// Of that, what models that did not answer would have cost more.
pub(crate) fn by_model(saved: &BTreeMap<String, UsdNanos>) -> UsdNanos {
    BY_MODEL.iter().filter_map(|lever| saved.get(*lever)).copied().sum()
}

/// What each lever has saved a job.
pub(crate) fn saved_by(reader: &dyn View, job: u32) -> Result<BTreeMap<String, UsdNanos>, EngineError> {
    let query = LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job) }.by(&[By::Lever]);
    let totals = reader.ledger_totals(&query)?.into_iter();
    Ok(totals.map(|total| (total.group.concat(), total.sums.usd(LedgerKind::Saving))).collect())
}

/// Midnight UTC, and that of the first of the month, in milliseconds since the epoch.
pub(super) fn period_starts(today: Date) -> (i64, i64) {
    let start = |date: Date| {
        date.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_millisecond())
    };
    (start(today), start(today.first_of_month()))
}

/// A source that is gone or changed stops a job before more is paid for rows that could not be written; what is paid for is
/// collected.
pub(super) fn source_halt(prepared: &Prepared, dir: &JobDir) -> Option<Halt> {
    let error = crate::deliver::check_source(&prepared.spec, &prepared.row, dir).err()?;
    let message =
        format!("{error}; nothing new is sent. Restore it, or go on without its columns: `--answers-only`");
    Some(Halt { class: FailureClass::InvalidInput, message })
}
