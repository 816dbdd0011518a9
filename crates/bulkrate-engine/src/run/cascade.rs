//! Which model of a cascade an item is asked next, and what becomes of a cheap model's answer.
//!
//! Invariants
//! - How far an item has come is the number of its `escalate` outcomes, so a start finds it again in the log.
//! - Whether an answer is judged depends on the deployment that gave it, which its lease names: not on what would be asked now.
//! - A rejected answer is paid for and lands like any other; only what comes next differs.

use std::collections::HashMap;

use bulkrate_core::cascade::{Accept, Goes, Opinion, Worth, goes, judge};
use bulkrate_core::collect::Checked;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::retry::Next;
use bulkrate_core::usage::Usage;
use bulkrate_store::{By, LedgerKind, LedgerQuery, Place, View};

use super::job::{CASCADE, Job, Retry, State};
use super::land::Landing;
use super::ready::Ready;
use crate::EngineError;
use crate::deliver::Lines;
use crate::deployment::Deployment;
use crate::report::Cascaded;
use crate::settings::Settings;
use crate::spec::JobSpec;

/// A job's cascade: the strong model is the job's own, the first of its deployments.
#[derive(Debug)]
pub(crate) struct Cascade {
    /// The cheap deployments, in the order in which they are asked.
    cheap: Vec<usize>,
    accept: Accept,
}

/// How far items have come, and what that has brought in this run.
#[derive(Debug, Default)]
pub(crate) struct Climb {
    /// Cheap models that an item has behind itself; items beyond the end have none.
    steps: Vec<u8>,
    /// What was said of open items before, where the rule is agreement.
    opinions: HashMap<Ordinal, Vec<Opinion>>,
    /// Where an earlier run wrote that.
    places: HashMap<Ordinal, Vec<Place>>,
    worth: Worth,
    /// Rejected, by class.
    rejected: HashMap<FailureClass, u64>,
}

impl Climb {
    fn step(&self, ordinal: Ordinal) -> usize {
        self.steps.get(ordinal as usize).copied().map_or(0, usize::from)
    }

    /// The item goes to the next model.
    fn up(&mut self, ordinal: Ordinal) {
        let place = ordinal as usize;
        if self.steps.len() <= place {
            self.steps.resize(place + 1, 0);
        }
        self.steps[place] = self.steps[place].saturating_add(1);
    }

    /// An earlier run rejected an answer.
    pub(crate) fn recall(&mut self, ordinal: Ordinal, class: FailureClass, place: Place) {
        self.up(ordinal);
        *self.rejected.entry(class).or_default() += 1;
        if class == FailureClass::NotAccepted {
            self.places.entry(ordinal).or_default().push(place);
        }
    }

    /// The item has ended: what was said of it is nobody's business any more.
    pub(crate) fn ended(&mut self, ordinal: Ordinal) {
        if !self.places.is_empty() {
            self.places.remove(&ordinal);
        }
        if !self.opinions.is_empty() {
            self.opinions.remove(&ordinal);
        }
    }

    /// Reads what an earlier run's rejected answers said of items that are open.
    pub(crate) fn reread(&mut self, cascade: &Cascade, lines: &mut Lines) -> Result<(), EngineError> {
        let places = std::mem::take(&mut self.places);
        if !matches!(cascade.accept, Accept::Agreement { .. }) {
            return Ok(());
        }
        for (ordinal, places) in places {
            for place in places {
                let line = lines.parse(place)?;
                let said = line.error.and_then(|error| error.opinion);
                let opinion: Option<Opinion> = said.and_then(|said| said.parse().ok());
                self.opinions.entry(ordinal).or_default().extend(opinion);
            }
        }
        Ok(())
    }
}

impl Cascade {
    /// `None`: the job has none.
    pub(crate) fn of(
        settings: &Settings,
        spec: &JobSpec,
        deployments: &[Deployment],
        today: jiff::civil::Date,
    ) -> Result<Option<Self>, EngineError> {
        let Some(cascade) = &spec.request.cascade else { return Ok(None) };
        let mut cheap = Vec::new();
        for name in &cascade.models {
            let pinned = Deployment::resolve(settings, &spec.run, name, today)?.pinned;
            let place =
                deployments.iter().position(|found| found.pinned == pinned).filter(|place| *place > 0);
            cheap.push(place.ok_or_else(|| EngineError::BadSpec {
                code: "option-invalid",
                what: format!("`--cascade {name}`"),
                why: "it is the job's own model, which the cascade ends with".to_owned(),
            })?);
        }
        Ok(Some(Self { cheap, accept: cascade.accept.clone() }))
    }

    /// The cheap deployments.
    pub(crate) fn cheap(&self) -> &[usize] {
        &self.cheap
    }
}

impl Cascaded {
    /// What has come of it in all runs of the job.
    pub(crate) fn of(view: &dyn View, job: u32, state: &State) -> Result<Self, EngineError> {
        let query = LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job) };
        let totals = view.ledger_totals(&query.by(&[By::Lever]))?;
        let booked = totals.iter().find(|total| total.group.concat() == CASCADE);
        let rejected = &state.climb.rejected;
        Ok(Self {
            accepted: booked.map_or(0, |total| total.sums.items(LedgerKind::Saving)),
            rejected: rejected.iter().map(|(class, count)| (class.name().to_owned(), *count)).collect(),
            off: state.climb.worth.is_off(),
        })
    }
}

impl Job {
    /// The deployment that an item is asked of now, of what its request names.
    pub(crate) fn asked(&self, state: &State, ordinal: Ordinal, named: usize) -> usize {
        let Some(cascade) = self.cascade.as_ref().filter(|_| named == 0) else { return state.active[named] };
        let step = state.climb.step(ordinal);
        let skipped = step == 0 && state.climb.worth.is_off();
        let model = cascade.cheap.get(step).filter(|_| !skipped).copied().unwrap_or(0);
        state.active[model]
    }

    /// The item cannot be sent to a cheap model at all, which costs nothing: the next one is tried. False: it is at the last.
    pub(crate) fn pass_over(&self, ordinal: Ordinal, named: usize) -> bool {
        let Some(cascade) = self.cascade.as_ref().filter(|_| named == 0) else { return false };
        let mut state = self.state.borrow_mut();
        let below = state.climb.step(ordinal) < cascade.cheap.len() && !state.climb.worth.is_off();
        if below {
            state.climb.up(ordinal);
        }
        below
    }

    /// The cascade, if the attempt was one at a cheap model of it.
    fn cascade_of(&self, ready: &Ready) -> Option<&Cascade> {
        let cascade = self.cascade.as_ref().filter(|_| ready.named == 0)?;
        let below = || self.state.borrow().climb.step(ready.ordinal) < cascade.cheap.len();
        (cascade.cheap.contains(&ready.deployment) && below()).then_some(cascade)
    }

    /// Judges a valid answer. The error says why it is not accepted, and what it said, where a later one may agree with it.
    pub(crate) fn accepts(
        &self,
        ready: &Ready,
        checked: &Checked<'_>,
    ) -> Result<(), (String, Option<Opinion>)> {
        let Some(cascade) = self.cascade_of(ready) else { return Ok(()) };
        let state = self.state.borrow();
        let earlier = state.climb.opinions.get(&ready.ordinal).map_or(&[][..], Vec::as_slice);
        judge(&cascade.accept, checked, earlier).map_err(|why| {
            let agrees = matches!(cascade.accept, Accept::Agreement { .. });
            (why, agrees.then(|| Opinion::of(checked, cascade.accept.fields())))
        })
    }

    /// Whether a failed attempt sends its item to the next model, and for what reason.
    pub(crate) fn goes_up(&self, ready: &Ready, class: FailureClass, next: Next) -> Option<FailureClass> {
        self.cascade_of(ready)?;
        match goes(class, next) {
            Goes::On => None,
            Goes::Up(why) => Some(why),
        }
    }

    /// The item waits for the next model; its attempts begin anew.
    pub(crate) fn go_up(&self, landing: Landing<'_>, why: FailureClass, opinion: Option<Opinion>) {
        let ordinal = landing.ready.ordinal;
        let now_us = self.clock.us();
        let mut state = self.state.borrow_mut();
        state.climb.up(ordinal);
        *state.climb.rejected.entry(why).or_default() += 1;
        if let Some(opinion) = opinion {
            state.climb.opinions.entry(ordinal).or_default().push(opinion);
        }
        state.trouble.entry(ordinal).or_default().begin_anew();
        let late = state.switched || state.is_urgent(ordinal);
        let lane = if late { Lane::Sync } else { self.home };
        // What came in one file goes on in one.
        let wait_us =
            if lane == Lane::Batch && landing.lane == Lane::Batch { self.ladder.batch_wait_us } else { 0 };
        state.queue(Retry { due_us: now_us.saturating_add(wait_us), ordinal, lane });
        drop(state);
        self.changed.notify_waiters();
    }

    /// What one answer of a cheap model saved against the strong one: nothing where it was rejected, and its own cost is lost.
    /// `None`: no cheap model gave it. Call before the item goes up.
    pub(crate) fn cascade_saved(
        &self,
        ready: &Ready,
        usage: &Usage,
        naive: UsdNanos,
        kept: bool,
    ) -> Option<UsdNanos> {
        self.cascade_of(ready)?;
        if !kept {
            return Some(UsdNanos(-naive.0));
        }
        Some(self.at_strong(usage).unwrap_or(naive) - naive)
    }

    /// What the strong model would have cost for this usage at the standard price; `None` where nobody knows.
    fn at_strong(&self, usage: &Usage) -> Option<UsdNanos> {
        // Without usage nothing is known of what the other would have cost.
        if *usage == Usage::default() { None } else { self.deployments.first()?.naive(usage) }
    }

    /// A paid answer of a cheap model was judged: the cascade is off once it is proved to lose. Call before the item goes up.
    pub(crate) fn weigh(&self, ready: &Ready, usage: &Usage, naive: UsdNanos, kept: bool) {
        let Some(cascade) = self.cascade_of(ready) else { return };
        let mut state = self.state.borrow_mut();
        let last = state.climb.step(ready.ordinal) + 1 == cascade.cheap.len();
        if !kept && !last {
            state.climb.worth.asked(naive);
            return;
        }
        if !state.climb.worth.judged(kept, naive, self.at_strong(usage).unwrap_or(UsdNanos::ZERO)) {
            return;
        }
        let ((accepted, judged), from) = (state.climb.worth.counts(), state.climb.worth.pays_from());
        drop(state);
        let strong = self.deployments.first().map_or("", |found| found.pinned.as_str());
        self.alert(
            "cascade-off",
            &format!(
                "{accepted} of {judged} answers were accepted, and the cascade pays from {:.1} % on: what was not asked yet goes to `{strong}` at once",
                from * 100.0
            ),
        );
    }
}
