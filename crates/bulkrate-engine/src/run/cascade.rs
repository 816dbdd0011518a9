//! Which model of a cascade an item is asked next, and what becomes of a cheap model's answer.
//!
//! Invariants
//! - How far an item has come is the number of its `escalate` outcomes, so a start finds it again in the log; where it was not
//!   asked of one at all, the line of the last such outcome says how far.
//! - Whether an answer is judged depends on the deployment that gave it, which its lease names: not on what would be asked now.
//! - A rejected answer is paid for and lands like any other; only what comes next differs.

use std::collections::{BTreeMap, HashMap};

use bulkrate_core::answer::{Answer, Body};
use bulkrate_core::cascade::{Accept, Goes, Measure, Opinion, Sureness, Worth, goes, judge as judged};
use bulkrate_core::collect::Checked;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Ordinal;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::Reasoning;
use bulkrate_core::retry::Next;
use bulkrate_core::usage::Usage;
use bulkrate_store::{By, Lease, LedgerKind, LedgerQuery, Place, View};

use super::job::{CASCADE, Job, Retry, State};
use super::judge::{self, Awaiting};
use super::land::Landing;
use super::ready::Ready;
use crate::EngineError;
use crate::deliver::Lines;
use crate::deployment::{Deployment, Route};
use crate::report::Cascaded;
use crate::result_line::ResultLine;
use crate::settings::Settings;
use crate::spec::JobSpec;

/// A job's cascade: the strong model is the job's own, the first of its deployments.
#[derive(Debug)]
pub(crate) struct Cascade {
    /// The cheap deployments, in the order in which they are asked.
    cheap: Vec<usize>,
    accept: Accept,
    /// Who says whether the cheap one's answer is right.
    judge: Option<usize>,
}

/// How far items have come, and what that has brought in this run.
#[derive(Debug, Default)]
pub(crate) struct Climb {
    /// Cheap models that an item has behind itself; items beyond the end have none.
    steps: Vec<u8>,
    /// What was said of open items before, where the rule is agreement.
    opinions: HashMap<Ordinal, Vec<Opinion>>,
    /// Answers that a judge is to be asked of.
    awaiting: HashMap<Ordinal, Awaiting>,
    /// Where an earlier run wrote what was not accepted, and what it used.
    places: HashMap<Ordinal, Vec<(Place, Usage)>>,
    worth: Worth,
    /// By class, and whether the item had no model behind itself: what sent items on.
    sent_on: HashMap<(FailureClass, bool), u64>,
}

impl Climb {
    fn step(&self, ordinal: Ordinal) -> usize {
        self.steps.get(ordinal as usize).copied().map_or(0, usize::from)
    }

    /// The answer of an item that a judge is to be asked of.
    pub(crate) fn awaiting(&self, ordinal: Ordinal) -> Option<&Awaiting> {
        self.awaiting.get(&ordinal)
    }

    fn sent_on(&mut self, ordinal: Ordinal, class: FailureClass) {
        let first = self.step(ordinal) == 0;
        *self.sent_on.entry((class, first)).or_default() += 1;
    }

    /// The item goes to the next model.
    fn up(&mut self, ordinal: Ordinal) {
        let step = u8::try_from(self.step(ordinal)).unwrap_or(u8::MAX);
        self.climb_to(ordinal, step.saturating_add(1));
    }

    fn climb_to(&mut self, ordinal: Ordinal, step: u8) {
        let place = ordinal as usize;
        if self.steps.len() <= place {
            self.steps.resize(place + 1, 0);
        }
        self.steps[place] = step;
    }

    /// An earlier run rejected an answer.
    pub(crate) fn recall(&mut self, ordinal: Ordinal, class: FailureClass, place: (Place, Usage)) {
        self.sent_on(ordinal, class);
        self.up(ordinal);
        self.places.entry(ordinal).or_default().push(place);
    }

    /// The item has ended: what was said of it is nobody's business any more.
    pub(crate) fn ended(&mut self, ordinal: Ordinal) {
        if !self.places.is_empty() {
            self.places.remove(&ordinal);
        }
        if !self.opinions.is_empty() {
            self.opinions.remove(&ordinal);
        }
        if !self.awaiting.is_empty() {
            self.awaiting.remove(&ordinal);
        }
    }

    /// Reads what an earlier run's rejected answers said of items that are open.
    pub(crate) fn reread(&mut self, cascade: &Cascade, lines: &mut Lines) -> Result<(), EngineError> {
        let places = std::mem::take(&mut self.places);
        if cascade.cheap.len() < 2 && !cascade.judges() {
            return Ok(()); // it cannot have passed any over
        }
        for (ordinal, places) in places {
            // An item that a judge has sent on waits for no verdict.
            if cascade.judges() && self.step(ordinal) != 1 {
                continue;
            }
            for (place, usage) in places {
                self.reread_one(cascade, ordinal, &lines.parse(place)?, usage);
            }
        }
        Ok(())
    }

    fn reread_one(&mut self, cascade: &Cascade, ordinal: Ordinal, line: &ResultLine<'_>, usage: Usage) {
        let Some(error) = &line.error else { return };
        if let Some(step) = error.step {
            self.climb_to(ordinal, step);
        }
        // Without an opinion the answer was not kept whole.
        let Some(opinion) = error.opinion.as_ref().and_then(|said| said.parse::<Opinion>().ok()) else {
            return;
        };
        match &error.answer {
            Some(answer) if cascade.judges() => {
                let (answer, model) = (answer.to_string(), line.model.to_string());
                self.awaiting.insert(ordinal, Awaiting { answer, model, usage });
            }
            _ => self.opinions.entry(ordinal).or_default().push(opinion),
        }
    }
}

/// A valid answer that is not accepted: all that it was judged by stands in its line.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub why: String,
    /// What it said, where a later one may agree with it.
    pub opinion: Option<Opinion>,
    pub sure: Option<Sureness>,
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
            let pinned = Deployment::resolve(settings, spec.asks(), name, today)?.pinned;
            let place =
                deployments.iter().position(|found| found.pinned == pinned).filter(|place| *place > 0);
            cheap.push(place.ok_or_else(|| EngineError::BadSpec {
                code: "option-invalid",
                what: format!("`--cascade {name}`"),
                why: "it is the job's own model, which the cascade ends with".to_owned(),
            })?);
        }
        let accept = cascade.accept.clone();
        if accept.measure().is_some() {
            for place in &cheap {
                tells_logprobs(&deployments[*place], &accept, spec)?;
            }
        }
        let judge = match &accept {
            Accept::Judge { model } => {
                let pinned = Deployment::resolve(settings, spec.asks(), model, today)?.pinned;
                deployments.iter().position(|found| found.pinned == pinned)
            }
            _ => None,
        };
        Ok(Some(Self { cheap, accept, judge }))
    }

    /// All that are asked before the job's own model.
    pub(crate) fn before(&self) -> impl Iterator<Item = usize> {
        self.cheap.iter().copied().chain(self.judge)
    }

    /// Whether a judge decides.
    pub(crate) fn judges(&self) -> bool {
        self.judge.is_some()
    }
}

/// Refuses a model that would be paid for an answer by which the rule cannot decide.
fn tells_logprobs(found: &Deployment, accept: &Accept, spec: &JobSpec) -> Result<(), EngineError> {
    let wire = found.account.api.wire();
    let reasoning = spec.request.reasoning.as_deref().and_then(Reasoning::parse);
    let Some(why) = wire.tells_no_logprobs(&found.model, reasoning) else { return Ok(()) };
    Err(EngineError::BadSpec {
        code: "option-invalid",
        what: format!("`--accept {accept}`"),
        why: format!("`{}` cannot be asked for log-probabilities: {why}", found.pinned),
    })
}

impl Cascaded {
    /// What has come of it in all runs of the job.
    pub(crate) fn of(view: &dyn View, job: &Job, state: &State) -> Result<Self, EngineError> {
        let query = LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job.no) };
        let totals = view.ledger_totals(&query.by(&[By::Lever]))?;
        let booked = totals.iter().find(|total| total.group.concat() == CASCADE);
        // What was handed to the judge is not rejected yet.
        let judges = job.cascade.as_ref().is_some_and(Cascade::judges);
        let handed = |(class, first)| judges && first && class == FailureClass::NotAccepted;
        let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
        for (key, count) in state.climb.sent_on.iter().filter(|(key, _)| !handed(**key)) {
            *rejected.entry(key.0.name().to_owned()).or_default() += count;
        }
        Ok(Self {
            accepted: booked.map_or(0, |total| total.sums.items(LedgerKind::Saving)),
            rejected,
            off: state.climb.worth.is_off(),
        })
    }
}

impl Job {
    /// Who is asked of an item in this lane now, of what its request names.
    pub(crate) fn asked(&self, state: &State, ordinal: Ordinal, named: usize, lane: Lane) -> Route {
        let active = |model| state.standings.asked(model, lane);
        let Some(cascade) = self.cascade.as_ref().filter(|_| named == 0) else { return active(named) };
        if let Some(judge) = cascade.judge.filter(|_| state.climb.awaiting(ordinal).is_some()) {
            return active(judge);
        }
        let step = state.climb.step(ordinal);
        let skipped = step == 0 && state.climb.worth.is_off();
        let model = cascade.cheap.get(step).filter(|_| !skipped).copied().unwrap_or(0);
        active(model)
    }

    /// The item cannot be sent to a cheap model at all, which costs nothing: the next one is tried. False: it is at the last.
    pub(crate) fn pass_over(&self, ordinal: Ordinal, named: usize) -> bool {
        let Some(cascade) = self.cascade.as_ref().filter(|_| named == 0) else { return false };
        let mut state = self.state.borrow_mut();
        if state.climb.awaiting.remove(&ordinal).is_some() {
            return true; // no judge can be asked: the strong model is
        }
        let below = state.climb.step(ordinal) < cascade.cheap.len() && !state.climb.worth.is_off();
        if below {
            state.climb.up(ordinal);
        }
        below
    }

    /// Whether a cascade is asked of the item: it books what that saves.
    pub(crate) fn is_climbed(&self, ready: &Ready) -> bool {
        self.cascade.is_some() && ready.named == 0
    }

    /// The cascade, if the attempt was one at a cheap model of it, or at its judge.
    fn cascade_of(&self, ready: &Ready) -> Option<&Cascade> {
        let cascade = self.cascade.as_ref().filter(|_| self.is_climbed(ready))?;
        if self.awaits_verdict(ready) {
            return Some(cascade);
        }
        let below = || self.state.borrow().climb.step(ready.ordinal) < cascade.cheap.len();
        (cascade.cheap.contains(&ready.deployment) && below()).then_some(cascade)
    }

    /// Whether the attempt was one at the judge: an item whose answer waits is asked of nobody else.
    fn awaits_verdict(&self, ready: &Ready) -> bool {
        self.state.borrow().climb.awaiting(ready.ordinal).is_some()
    }

    /// An earlier run asked somebody else than the judge of an item whose answer waits for a verdict: then no judge could be
    /// asked, and what comes is no verdict.
    pub(crate) fn recall_asked(&self, lease: &Lease, sender: usize) {
        let Some(judge) = self.cascade.as_ref().and_then(|cascade| cascade.judge) else { return };
        let mut state = self.state.borrow_mut();
        // A lease that has ended says nothing of what came after it.
        let is_open = state.items.is_leased_for(lease.ordinal, lease.attempt);
        if is_open && sender != judge && self.fallbacks.iter().all(|route| route.place != sender) {
            state.climb.awaiting.remove(&lease.ordinal);
        }
    }

    /// With how many alternatives the log-probabilities of an answer are asked for, of what a request names and who is asked of it:
    /// where the rule of a cascade reads them, of its cheap models alone. `None`: they are not.
    pub(super) fn alternatives(&self, named: usize, deployment: usize) -> Option<u8> {
        let of_pilot = self.spec.request.logprobs;
        let is_cheap = |cascade: &&Cascade| named == 0 && cascade.cheap.contains(&deployment);
        let of_rule = || self.cascade.as_ref().filter(is_cheap)?.accept.measure();
        of_pilot.or_else(of_rule).map(Measure::alternatives)
    }

    /// Whether the job's cascade has a judge.
    pub(crate) fn judges(&self) -> bool {
        self.cascade.as_ref().is_some_and(Cascade::judges)
    }

    /// The answer that a judge has accepted, which is the item's from now on.
    pub(crate) fn take_accepted(&self, ready: &Ready) -> Option<Awaiting> {
        self.cascade.as_ref()?.judge?;
        self.state.borrow().climb.awaiting(ready.ordinal).cloned()
    }

    /// Judges a valid answer, of which its tokens may say how sure it is.
    pub(crate) fn accepts(
        &self,
        ready: &Ready,
        checked: &Checked<'_>,
        answer: &Answer<'_>,
    ) -> Result<Option<Sureness>, Rejected> {
        let sure = match &answer.body {
            Body::Choice { choice, chances } => Sureness::of_choice(choice, chances),
            _ if answer.tokens.is_empty() => None,
            _ => Sureness::of(&answer.tokens, checked, &ready.expectation),
        };
        let Some(cascade) = self.cascade_of(ready) else { return Ok(sure) };
        if self.awaits_verdict(ready) {
            let no =
                || Rejected { why: "the judge says that it is wrong".to_owned(), opinion: None, sure: None };
            return if judge::accepts(checked) { Ok(None) } else { Err(no()) };
        }
        let state = self.state.borrow();
        let earlier = state.climb.opinions.get(&ready.ordinal).map_or(&[][..], Vec::as_slice);
        judged(&cascade.accept, checked, sure, earlier).map(|()| sure).map_err(|why| {
            let is_kept = matches!(cascade.accept, Accept::Agreement { .. } | Accept::Judge { .. });
            Rejected { why, opinion: is_kept.then(|| Opinion::of(checked, cascade.accept.fields())), sure }
        })
    }

    /// Whether a failed attempt sends its item to the next model, and for what reason.
    pub(crate) fn goes_up(&self, ready: &Ready, class: FailureClass, next: Next) -> Option<FailureClass> {
        self.cascade_of(ready)?;
        // A verdict needs no room that it does not have: a judge that was cut would be cut again.
        if class == FailureClass::Truncated && self.awaits_verdict(ready) {
            return Some(class);
        }
        match goes(class, next) {
            Goes::On => None,
            Goes::Up(why) => Some(why),
        }
    }

    /// How many models an item that goes up now has behind itself, where several could have been passed over.
    pub(crate) fn step_beyond(&self, ordinal: Ordinal) -> Option<u8> {
        self.cascade.as_ref().filter(|cascade| cascade.cheap.len() > 1)?;
        u8::try_from(self.state.borrow().climb.step(ordinal) + 1).ok()
    }

    /// The item waits for the next model; its attempts begin anew.
    pub(crate) fn go_up(
        &self,
        landing: Landing<'_>,
        why: FailureClass,
        opinion: Option<Opinion>,
        awaiting: Option<Awaiting>,
    ) {
        let ordinal = landing.ready.ordinal;
        let now_us = self.clock.us();
        let mut state = self.state.borrow_mut();
        state.climb.sent_on(ordinal, why);
        state.climb.up(ordinal);
        state.climb.awaiting.remove(&ordinal);
        if let Some(awaiting) = awaiting {
            state.climb.awaiting.insert(ordinal, awaiting);
        } else if let Some(opinion) = opinion {
            state.climb.opinions.entry(ordinal).or_default().push(opinion);
        }
        state.trouble.entry(ordinal).or_default().begin_anew();
        let lane = self.lane_up(&state, ordinal);
        // What came in one file goes on in one.
        let wait_us =
            if lane == Lane::Batch && landing.lane == Lane::Batch { self.ladder.batch_wait_us } else { 0 };
        state.queue(Retry { due_us: now_us.saturating_add(wait_us), ordinal, lane });
        drop(state);
        self.changed.notify_waiters();
    }

    /// The lane in which an item is asked of the next model.
    fn lane_up(&self, state: &State, ordinal: Ordinal) -> Lane {
        let late = state.near.switched || state.is_urgent(ordinal);
        if late { Lane::Sync } else { self.home }
    }

    /// Who would judge an answer of the item, and in which lane.
    pub(super) fn judge_of(&self, ordinal: Ordinal) -> Option<(usize, Lane)> {
        let judge = self.cascade.as_ref()?.judge?;
        let state = self.state.borrow();
        let lane = self.lane_up(&state, ordinal);
        let route = state.standings.asked(judge, lane);
        Some((route.place, self.lane_at(route, lane)))
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
        // A verdict's own tokens are not those of the answer.
        let waits = self.state.borrow().climb.awaiting(ready.ordinal).map(|waits| waits.usage);
        Some(self.at_strong(&waits.unwrap_or(*usage)).unwrap_or(naive) - naive)
    }

    /// What the strong model would have cost for this usage at the standard price; `None` where nobody knows.
    fn at_strong(&self, usage: &Usage) -> Option<UsdNanos> {
        // Without usage nothing is known of what the other would have cost.
        if *usage == Usage::default() { None } else { self.deployments.first()?.naive(usage) }
    }

    /// A paid answer of a cheap model was judged: the cascade is off once it is proved to lose. Call before the item goes up.
    /// `awaits`: a judge is to be asked of it.
    pub(crate) fn weigh(&self, ready: &Ready, usage: &Usage, naive: UsdNanos, kept: bool, awaits: bool) {
        let Some(cascade) = self.cascade_of(ready) else { return };
        let mut state = self.state.borrow_mut();
        let waits = state.climb.awaiting(ready.ordinal).map(|waits| waits.usage);
        let last = waits.is_some() || !awaits && state.climb.step(ready.ordinal) + 1 == cascade.cheap.len();
        let usage = &waits.unwrap_or(*usage);
        let before = state.climb.step(ready.ordinal) as u64;
        let strong = self.at_strong(usage).unwrap_or(UsdNanos::ZERO);
        if !kept && !last {
            state.climb.worth.asked(naive);
            return;
        }
        if !state.climb.worth.judged(kept, naive, strong, before) {
            return;
        }
        let ((accepted, judged), from) = (state.climb.worth.counts(), state.climb.worth.pays_from());
        drop(state);
        let strong = self.deployments.first().map_or("", |found| found.pinned.as_str());
        let pays = if from < 1.0 {
            format!("pays from {:.1} % on", from * 100.0)
        } else {
            format!(
                "can never pay, as its cheap answers cost {:.1} % of what `{strong}` would have",
                from * 100.0
            )
        };
        self.alert(
            "cascade-off",
            &format!(
                "{accepted} of {judged} answers were accepted, and the cascade {pays}: what was not asked yet goes to `{strong}` at once"
            ),
        );
    }
}
