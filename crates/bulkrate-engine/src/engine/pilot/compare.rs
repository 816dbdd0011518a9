//! What the models of a pilot said, and the plans that this makes.

use std::collections::BTreeMap;
use std::path::Path;

use bulkrate_core::cascade::Accept;
use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::plan::{
    Ask, Candidate, Said, Sheet, Way, families, measured_plans, needed, prove, search, unearned,
};
use bulkrate_core::price::Ratios;
use bulkrate_core::prompt_cache::{Marks, compared as compared_marks};
use bulkrate_core::request::CacheMode;
use bulkrate_store::JobRow;

use super::{Entrant, Silent, together};
use crate::EngineError;
use crate::deployment::Deployment;
use crate::engine::{Engine, Prepared};
use crate::pilot::{
    Answered, Answers, Judged, Kept, Look, Manner, Manners, Measured, PilotAsk, Piloted, PlanLine, Promise,
    Reads, Routable, by_mark, by_way, candidates, cut_short, dear_pilot, left_of, missing, pilot_job,
    short_names, unanswered,
};
use crate::plan::Plan;
use crate::run::prompt_cache::marks_taken;
use crate::spec::{JobSpec, Learned, RunSpec, SinkSpec};
use crate::stop::Stop;

impl Engine {
    /// What the models said, and the plans that this makes.
    pub(super) async fn compared(
        &self,
        spec: &JobSpec,
        ask: &PilotAsk,
        promise: Promise,
        entrants: &[Entrant],
        mut failed: BTreeMap<usize, String>,
        kept: &mut Kept,
    ) -> Result<Piloted, EngineError> {
        let dir = self.pilot_dir(spec)?.0;
        let sample = dir.sample(ask.items, ask.limit);
        let reads = match &ask.labels {
            Some(column) => Reads::labelled(&spec.request, &sample, column)?,
            None => Reads::of(&spec.request),
        };
        let found = self.answers(spec, &sample, entrants, &reads, &mut failed)?;
        let strong = found.first().and_then(Option::as_ref).map(|(_, answers)| answers);
        let items = strong.map_or(0, |answers| answers.said.len());
        let sheet = Sheet {
            models: found
                .iter()
                .map(|one| {
                    one.as_ref()
                        .map_or_else(|| vec![Said::default(); items], |(_, answers)| answers.said.clone())
                })
                .collect(),
            labelled: reads.labels.is_some(),
            reached: strong.map(|answers| answers.reached.clone()).unwrap_or_default(),
        };
        let took_part: Vec<bool> = found.iter().map(Option::is_some).collect();
        let manners: Vec<Manner> = entrants.iter().map(|one| one.manner.clone()).collect();
        let families = families(&manners, &took_part, &reads.signs(), own_cascade(spec, entrants));
        let pinned: Vec<Manner> = entrants.iter().map(Entrant::pinned).collect();
        let shown: Vec<String> = pinned.iter().map(ToString::to_string).collect();
        let loss_permille = promise.loss_permille;
        let answered = Answered { manners: &manners, found: &found, sheet: &sheet };
        let routable = Routable::find(&spec.request, &sample, answered, &reads, loss_permille)?;
        let mut plans = measured_plans(&families, &shown);
        let routers: Vec<String> = routable.iter().flat_map(|routable| routable.names(&shown)).collect();
        plans.extend(routers.iter().cloned());
        let doubt = kept.look(Look { items: ask.items, limit: ask.limit, labels: ask.labels.clone(), plans });
        kept.store(&dir)?;
        let tested = prove(&families, &sheet, loss_permille, doubt);
        let mut judged: Vec<Judged> = tested.into_iter().map(Judged::from).collect();
        let names: Vec<String> = manners.iter().map(|one| one.model.clone()).collect();
        let mut told: Vec<String> =
            routable.iter().flat_map(|routable| routable.not_together(&pinned)).collect();
        for routed in
            routable.iter().flat_map(|one| one.judged(&sheet, loss_permille, doubt, &names, &pinned))
        {
            routed.map_or_else(|why| told.push(why), |routed| judged.push(routed));
        }
        let marks = self.marks(spec, entrants, &found);
        let judged = by_mark(judged, &|one| {
            // Where one of several has an hour the plan has one: the others are marked for five minutes then, or not.
            let taken = one.way.models().filter_map(|place| marks[place]);
            let taken = taken.reduce(|one, other| Marks { hour: one.hour || other.hour, ..one });
            compared_marks(spec.run.prompt_cache, taken)
        });
        let known = Learned { models: ratios(entrants, &found), ..Learned::default() };
        let answers = |place: usize| found[place].as_ref().map(|(_, answers)| answers);
        let learned = |one: &Judged| Learned {
            bundles: one
                .way
                .models()
                .flat_map(|place| in_bundles(&entrants[place], answers(place)))
                .collect(),
            ..one.learned(&known, answers(one.way.last))
        };
        let learned: Vec<Learned> = judged.iter().map(learned).collect();
        let both = Manners { named: &manners, pinned: &pinned };
        let plans = self.plans(spec, both, &judged, &learned).await?;
        let all = candidates(&manners, &judged, &plans, &|place| {
            found[place].as_ref().map_or((0, 0), |(_, answers)| (answers.loose, answers.paid))
        });
        let gone = self.gone(kept, [], "")?;
        let asked = asked(&spec.run, promise, gone.total());
        let result = search(&all, &asked);
        let of = |one: &Candidate| {
            judged.iter().zip(&learned).find(|(judged, _)| judged.way == one.way && judged.mark == one.mark)
        };
        let learned = |one: &Candidate| of(one).map_or_else(|| known.clone(), |(_, learned)| learned.clone());
        let router = |one: &Candidate| of(one).and_then(|(judged, _)| judged.router.as_ref());
        let goes_on = |one: &Candidate| match router(one) {
            Some(router) => Some((u64::from(router.strong_permille), 1_000)),
            None => of(one).and_then(|(_, learned)| learned.rejected),
        };
        let lines = (1..).zip(&all).zip(&result.lost);
        let models: Vec<String> = pinned.iter().map(|one| one.model.clone()).collect();
        let short = short_names(&models);
        let specs = all.iter().map(|one| {
            let mut chosen = by_way(spec, both, (&one.way, one.mark), router(one).cloned(), learned(one));
            chosen.run.lane = Some(one.lane);
            chosen.run.budget = asked.budget;
            chosen
        });
        let naive =
            plans.first().and_then(|plan| plan.as_ref().ok()).map_or(UsdNanos::ZERO, |plan| plan.naive);
        let compared = took_part.len() > 1;
        let worth = if compared { worth(gone.settled, naive, &all, result.winner) } else { Vec::new() };
        Ok(Piloted {
            name: spec.name.clone(),
            items: items as u64,
            labels: ask.labels.clone(),
            compared: reads.fields.clone(),
            free_text: reads.free && reads.labels.is_none(),
            models: measured(&pinned, &found, &failed, &sheet),
            spent: gone.settled,
            kept: keeps(&spec.run),
            budget: asked.budget,
            strict: asked.strict,
            quality_loss_permille: loss_permille,
            looked_at: (families.len() - 1 + routers.len()) as u64,
            items_needed: needed(loss_permille, sheet.labelled, doubt),
            plans: lines
                .map(|((number, one), lost)| {
                    PlanLine::new(number, one, goes_on(one), &models, &short, lost.as_ref())
                })
                .collect(),
            winner: result.winner.map(|place| place as u64 + 1),
            naive,
            warnings: [warnings(spec, &sheet, &reads, compared), unusable(&shown, &found), told, worth]
                .concat(),
            specs: specs.collect(),
            shown: kept.shown.clone(),
        })
    }

    /// Each model's answers; `None` where it took no part, and why not.
    fn answers(
        &self,
        spec: &JobSpec,
        sample: &Path,
        entrants: &[Entrant],
        reads: &Reads,
        failed: &mut BTreeMap<usize, String>,
    ) -> Result<Vec<Option<(String, Answers)>>, EngineError> {
        let mut all = Vec::new();
        for (place, one) in entrants.iter().enumerate() {
            let (pinned, lane) = match (&one.found, failed.contains_key(&place)) {
                (Ok((pinned, lane)), false) => (pinned, lane),
                (Err(why), _) => {
                    failed.insert(place, why.clone());
                    all.push(None);
                    continue;
                }
                (Ok(_), true) => {
                    all.push(None);
                    continue;
                }
            };
            let own = pilot_job(spec, &one.manner, sample, *lane);
            let row = self.row_of(&own)?;
            let known = row.as_ref().map(|row| row.id.clone());
            let read = |row: JobRow| {
                let answers = Answers::read(&*self.reader()?, &self.settings.state_dir, &row, reads, pinned)?;
                Ok::<_, EngineError>((row.id, answers))
            };
            match row.map(read).transpose()?.filter(|(_, answers)| answers.open == 0) {
                Some((id, answers)) if place == 0 && !answers.is_usable() => {
                    return Err(unanswered(&own.name, &id));
                }
                Some((_, answers)) if answers.bundles_off => {
                    failed.insert(place, "most of its bundles brought nothing, and bundles ended".to_owned());
                    all.push(None);
                }
                Some(found) => all.push(Some(found)),
                None if place == 0 => {
                    return Err(known.map_or_else(|| missing(&spec.name), |id| cut_short(&own.name, &id)));
                }
                None => {
                    failed.insert(place, "its pilot did not finish".to_owned());
                    all.push(None);
                }
            }
        }
        Ok(all)
    }

    /// The plan of each way. The source is read once a model; a cascade asks what the strong model is asked.
    async fn plans(
        &self,
        spec: &JobSpec,
        manners: Manners<'_>,
        judged: &[Judged],
        learned: &[Learned],
    ) -> Result<Vec<Result<Plan, String>>, EngineError> {
        let mut plans: Vec<Option<Result<Plan, String>>> = vec![None; judged.len()];
        let own = |place: usize, one: &Judged| {
            by_way(spec, manners, (&one.way, one.mark), one.router.clone(), learned[place].clone())
        };
        for model in 0..manners.named.len() {
            if !judged.iter().any(|one| asks_all(one, model)) {
                continue;
            }
            let alone = by_way(spec, manners, (&Way::alone(model), None), None, Learned::default());
            let prepared = match self.looked_at(&alone) {
                Ok(prepared) => prepared,
                Err(error) if model == 0 => return Err(error),
                Err(error) => {
                    let of = (0..judged.len()).filter(|place| asks_all(&judged[*place], model));
                    of.for_each(|place| plans[place] = Some(Err(error.to_string())));
                    continue;
                }
            };
            for (place, one) in judged.iter().enumerate().filter(|(_, one)| asks_all(one, model)) {
                let plan = self.plan_by(&prepared, own(place, one)).await;
                let plan = plan.and_then(|plan| together(manners.named[model].bundle, plan));
                plans[place] = Some(plan.map_err(|error| error.to_string()));
            }
            self.forget_new(&prepared)?;
        }
        // A router decides while the source is read: once for all marks of it.
        for (first, one) in (0..).zip(judged).filter(|(_, one)| one.router.is_some()) {
            if plans[first].is_some() {
                continue;
            }
            let same: Vec<usize> = (first..judged.len()).filter(|at| judged[*at].way == one.way).collect();
            match self.looked_at(&own(first, one)) {
                Ok(prepared) => {
                    for place in same {
                        let own = own(place, &judged[place]);
                        let asked = own.request.bundle;
                        let plan = self.plan_by(&prepared, own).await;
                        let plan = plan.and_then(|plan| together(asked, plan));
                        plans[place] = Some(plan.map_err(|error| error.to_string()));
                    }
                    self.forget_new(&prepared)?;
                }
                Err(error) => same.into_iter().for_each(|place| plans[place] = Some(Err(error.to_string()))),
            }
        }
        let unplanned = || Err("it was not planned".to_owned());
        Ok(plans.into_iter().map(|plan| plan.unwrap_or_else(unplanned)).collect())
    }

    /// What each one's provider takes of marks for its prompt cache, where the pilot has seen what they bring.
    fn marks(
        &self,
        spec: &JobSpec,
        entrants: &[Entrant],
        found: &[Option<(String, Answers)>],
    ) -> Vec<Option<Marks>> {
        let of = |(one, found): (&Entrant, &Option<(String, Answers)>)| {
            let (_, answers) = found.as_ref()?;
            let resolve =
                || Deployment::resolve(&self.settings, spec.asks(), &one.manner.model, self.today()).ok();
            let own = answers.ratios.touches_cache().then(resolve)??;
            marks_taken(&spec.request, &own, Lane::Sync)
        };
        entrants.iter().zip(found).map(of).collect()
    }

    /// The job as it is there, or as it would be; neither is changed.
    pub(super) fn looked_at(&self, spec: &JobSpec) -> Result<Prepared, EngineError> {
        self.looked_at_until(spec, &Stop::new())
    }

    /// The same, as long as nobody wishes to stop.
    pub(super) fn looked_at_until(&self, spec: &JobSpec, stop: &Stop) -> Result<Prepared, EngineError> {
        match self.row_of(spec)? {
            Some(row) => self.known(row, spec.clone()),
            None => self.prepare(&JobSpec { sink: SinkSpec::default(), ..spec.clone() }, &Silent, stop),
        }
    }

    /// The plan of the same items with another way of answering them, whatever lane the job asks for.
    pub(super) async fn plan_by(&self, prepared: &Prepared, mut spec: JobSpec) -> Result<Plan, EngineError> {
        spec.run.lane = None;
        let deployments = self.deployments_of(&spec, &prepared.checkpoint)?;
        let (row, checkpoint) = (prepared.row.clone(), prepared.checkpoint.clone());
        let (resumed, unbooked, part_of) = (prepared.resumed, Vec::new(), None);
        let own = Prepared { row, spec, checkpoint, deployments, resumed, unbooked, part_of };
        self.probed_plan(&own, None).await
    }
}

impl Entrant {
    /// The model by its whole name, as far as it is known.
    fn pinned(&self) -> Manner {
        let model =
            self.found.as_ref().map_or_else(|_| self.manner.model.clone(), |(pinned, _)| pinned.clone());
        Manner { model, bundle: self.manner.bundle }
    }
}

/// Whether all items of a plan are made for this model, whoever answers them first.
fn asks_all(one: &Judged, model: usize) -> bool {
    one.way.last == model && one.router.is_none()
}

fn asked(run: &RunSpec, promise: Promise, spent: UsdNanos) -> Ask {
    Ask {
        aim: promise.aim,
        loss_permille: promise.loss_permille,
        // Without one a job takes as long as it takes: a missed deadline kills nothing.
        deadline_s: run.deadline_ms.map(|ms| ms / 1_000),
        budget: left_of(run.budget, spent),
        strict: run.strict,
        lane: run.lane.or(run.high_priority.then_some(Lane::Sync)),
    }
}

/// The rule of the job's cascade, and the places of its models among the entrants, where each of them is one.
fn own_cascade<'s>(spec: &'s JobSpec, entrants: &[Entrant]) -> Option<(&'s Accept, Vec<usize>)> {
    let cascade = spec.request.cascade.as_ref()?;
    let place = |name: &String| entrants.iter().position(|one| one.manner.model == *name);
    Some((&cascade.accept, cascade.models.iter().map(place).collect::<Option<_>>()?))
}

fn ratios(entrants: &[Entrant], found: &[Option<(String, Answers)>]) -> BTreeMap<String, Ratios> {
    let each = entrants.iter().zip(found).filter(|(one, _)| one.manner.bundle.is_none());
    each.filter_map(|(one, found)| Some((one.found.as_ref().ok()?.0.clone(), found.as_ref()?.1.ratios)))
        .collect()
}

/// What answers in bundles used, where this one was asked so.
fn in_bundles(one: &Entrant, found: Option<&Answers>) -> Option<(String, Ratios)> {
    let (pinned, _) = one.found.as_ref().ok()?;
    one.manner.bundle.and(Some((pinned.clone(), found?.ratios)))
}

fn measured(
    manners: &[Manner],
    found: &[Option<(String, Answers)>],
    failed: &BTreeMap<usize, String>,
    sheet: &Sheet,
) -> Vec<Measured> {
    let one = |place: usize| {
        let (job, answers) = match &found[place] {
            Some((job, answers)) => (Some(job.clone()), answers.clone()),
            None => (None, Answers::default()),
        };
        let Answers { ratios, reasoning, unusable, spent, .. } = answers;
        let (right, labelled) = sheet.right(place);
        Measured {
            right,
            labelled,
            model: manners[place].model.clone(),
            bundle: manners[place].bundle,
            job,
            failed: failed.get(&place).cloned(),
            unusable,
            answered: ratios.items,
            input_tokens: ratios.input,
            output_tokens: ratios.output,
            reasoning_tokens: reasoning,
            cache_read_tokens: ratios.cache_read,
            cache_write_tokens: ratios.cache_write_5m.saturating_add(ratios.cache_write_1h),
            spent,
        }
    };
    (0..manners.len()).map(one).collect()
}

/// What of each model's answers nobody can use, and where to see why.
fn unusable(shown: &[String], found: &[Option<(String, Answers)>]) -> Vec<String> {
    let bad = shown.iter().zip(found).filter_map(|(model, found)| Some((model, found.as_ref()?)));
    bad.filter(|(_, (_, answers))| answers.unusable > 0)
        .map(|(model, (job, answers))| {
            let (bad, of) = (answers.unusable, answers.said.len());
            format!("{bad} of {of} items have no usable answer of {model}: `bulkrate dead {job}` shows why")
        })
        .collect()
}

/// Whether the job takes answers of earlier jobs.
fn keeps(run: &RunSpec) -> bool {
    run.cache == CacheMode::Default && !run.distinct
}

/// What a reader of the comparison should know.
fn warnings(spec: &JobSpec, sheet: &Sheet, reads: &Reads, compared: bool) -> Vec<String> {
    const PROMISE_MIN: usize = 50;
    let items = sheet.items();
    let mut told = Vec::new();
    if items < PROMISE_MIN {
        told.push(format!(
            "{items} items are too few for a promise: the P95 counts every answer at its maximum"
        ));
    }
    if compared && reads.labels.is_none() {
        if reads.free {
            told.push("answers are free text and cannot be compared: name a column of right answers with `--labels`, or only the strong model is eligible".to_owned());
        } else if spec.request.temperature != Some(0.0) {
            told.push("the strong model may disagree with itself at this temperature; that is not measured and counts as a loss of the others".to_owned());
        }
    }
    if sheet.labelled && sheet.right(0).0 == 0 {
        told.push(format!(
            "the strong model is right on none of {} labels, so nothing is proved by them: is it the right column, spelled as the answers are?",
            sheet.right(0).1
        ));
    }
    if !keeps(&spec.run) {
        told.push(
            "answers are not taken from earlier jobs here, so the run pays for the pilot's items again"
                .to_owned(),
        );
    }
    told
}

/// What a pilot has cost beside what it brings.
fn worth(spent: UsdNanos, naive: UsdNanos, all: &[Candidate], winner: Option<usize>) -> Vec<String> {
    let unearned = winner.and_then(|place| unearned(spent, naive, all, place));
    let unearned = unearned.map(|saved| {
        format!("the pilot has cost USD {spent}, and the plan that wins saves USD {saved} against the strong model alone: this job does not earn it back")
    });
    dear_pilot(spent, naive).into_iter().chain(unearned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkrate_core::plan::Aim;

    #[test]
    fn a_job_without_a_deadline_has_none_that_a_plan_could_miss() {
        let promise = Promise { aim: Aim::Cheapest, loss_permille: 20 };
        for deadline_ms in [None, Some(7_200_000)] {
            let run = RunSpec { deadline_ms, ..RunSpec::default() };
            assert_eq!(asked(&run, promise, UsdNanos::ZERO).deadline_s, deadline_ms.map(|ms| ms / 1_000));
        }
    }
}
