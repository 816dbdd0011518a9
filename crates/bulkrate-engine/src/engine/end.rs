//! Running job -> report: says how the run ended, and writes the results if the job is complete.

use std::collections::BTreeMap;
use std::rc::Rc;

use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::CacheMode;
use bulkrate_store::{JobRow, JobState, LedgerQuery, Tx, View};

use super::Engine;
use super::Prepared;
use super::delivered::{DeliveredFile, FIELD, delivered_file};
use super::start::saved_by;
use crate::EngineError;
use crate::deliver::{Outputs, ReviewSpec, deliver_to};
use crate::embed::EMBEDDING;
use crate::event::Event;
use crate::reader::savings::beside;
use crate::reader::status::sums;
use crate::report::{Cascaded, Ending, Report, ReviewFile};
use crate::run::cascade::Cascade;
use crate::run::hedge::{HEDGE, paid_twice};
use crate::run::job::{ESTIMATED, Job, State};
use crate::strong::naive_model;

impl Engine {
    /// Says how the run ended, and writes the results if the job is complete.
    pub(super) fn end(
        &self,
        job: &Rc<Job>,
        prepared: &Prepared,
        left: Option<&Report>,
        started_us: u64,
    ) -> Result<Report, EngineError> {
        let mut report = self.report(job, prepared, started_us)?;
        if let Some(left) = left {
            count_in(&mut report, left);
        }
        let complete = matches!(report.ending, Ending::Finished | Ending::Cancelled);
        let streamed = job.stream.borrow_mut().take();
        if let Some(stream) = streamed {
            stream.finish()?;
            report.output = prepared.spec.sink.path.as_ref().map(|path| path.display().to_string());
            if complete {
                self.review_streamed(job, prepared, &mut report)?;
            }
        } else if complete && prepared.spec.sink.path.is_some() {
            self.forget_delivered(job.no)?;
            let (reader, row) = self.row(job)?;
            let owned = crate::run::stream::claim(&prepared.spec, &job.dir)?;
            let mut told = 0;
            let review = ReviewSpec::beside(&prepared.spec);
            let outputs = Outputs { sink: Some((&prepared.spec.sink, owned)), review };
            let done = deliver_to(&*reader, &row, &job.dir, &outputs, &mut |rows, rows_total| {
                if rows >= told + 50_000 {
                    told = rows;
                    job.tell(&Event::Delivering { rows, rows_total });
                }
            })?;
            report.review = review_file(outputs.review, done.review_items);
            report.output = prepared.spec.sink.path.as_ref().map(|path| path.display().to_string());
        }
        if let Err(error) = self.remember(job, complete) {
            job.tell(&Event::Note {
                message: &format!("the answers could not be kept for later jobs: {error}"),
            });
        }
        let mut tx = Tx::new(job.no);
        // What a limit left out waits for a run that asks for it.
        if complete && job.state.borrow().items.counts().open() == 0 {
            tx.job_state =
                Some(if report.ending == Ending::Cancelled { JobState::Cancelled } else { JobState::Done });
        }
        let mut stored =
            serde_json::to_value(&report).map_err(|error| EngineError::Internal(error.to_string()))?;
        stored["delivered"] = report.output.is_some().into();
        // A run that has written nothing leaves what an earlier one wrote.
        let file = match &prepared.spec.sink.path {
            Some(path) if report.output.is_some() => DeliveredFile::of(path),
            _ => delivered_file(&self.row(job)?.1),
        };
        if let Some(file) = file {
            stored[FIELD] = serde_json::json!(file);
        }
        tx.report = Some(stored.to_string());
        tx.at_ms = Some(self.clock.row_ms());
        self.writer.commit(tx).map_err(|error| crate::error::stored(&error))?;
        job.tell(&Event::Finished { report: &report });
        Ok(report)
    }

    /// The sample of a job whose rows were written as they landed. The rows are there: a source that is gone by now costs
    /// the sample alone.
    fn review_streamed(
        &self,
        job: &Job,
        prepared: &Prepared,
        report: &mut Report,
    ) -> Result<(), EngineError> {
        let Some(review) = ReviewSpec::beside(&prepared.spec) else { return Ok(()) };
        let (reader, row) = self.row(job)?;
        let outputs = Outputs { sink: None, review: Some(review) };
        match deliver_to(&*reader, &row, &job.dir, &outputs, &mut |_, _| ()) {
            Ok(done) => report.review = review_file(outputs.review, done.review_items),
            Err(error) => {
                let message = format!("no sample for a reviewer could be written: {error}");
                job.tell(&Event::Note { message: &message });
            }
        }
        Ok(())
    }

    fn row(&self, job: &Job) -> Result<(Box<dyn View>, JobRow), EngineError> {
        let reader = self.reader()?;
        let row = reader.job(job.no)?.ok_or_else(|| EngineError::Internal("the job is gone".to_owned()))?;
        Ok((reader, row))
    }

    /// Adds what a job was answered to the response cache, once it is complete; notes the newest snapshots in any case.
    pub(super) fn remember(&self, job: &Job, complete: bool) -> Result<(), EngineError> {
        let state = job.state.borrow();
        let served = state.served.newest();
        let snapshots: Vec<(String, String)> = served
            .iter()
            .map(|(place, model)| {
                (crate::cache::snapshot_key(&job.deployments[*place].pinned), model.clone())
            })
            .collect();
        for (key, model) in snapshots {
            self.with(move |store| store.set_meta(&key, &model))?;
        }
        let path = crate::paths::cache_dir(&self.settings.state_dir).join(format!("{}.keys", job.id));
        let nothing_new = served.is_empty() && path.exists();
        // Answers of bundles are answers to another prompt than the key's.
        let bundled = job.spec.request.bundle.is_some();
        if complete && !nothing_new && !bundled && job.spec.run.cache != CacheMode::Off {
            crate::cache::keep(
                &*job.reader,
                job.no,
                &job.id,
                &job.dir,
                crate::cache::Answers {
                    items: state.items.len(),
                    served: &state.served,
                    cheap: job.cascade.as_ref().map_or(0, |cascade| cascade.before().count()),
                    judged: job.cascade.as_ref().is_some_and(Cascade::judges),
                },
                &path,
            )?;
        }
        Ok(())
    }

    fn handle(&self, job: &Job, name: &str) -> Result<String, EngineError> {
        let found = crate::reader::find(&*self.reader()?, name);
        let own = found.is_ok_and(|row| row.no == job.no);
        Ok(if own { name.to_owned() } else { job.id.clone() })
    }

    pub(super) fn report(
        &self,
        job: &Rc<Job>,
        prepared: &Prepared,
        started_us: u64,
    ) -> Result<Report, EngineError> {
        let state = job.state.borrow();
        let counts = state.items.asked();
        let open = counts.open();
        let failures = crate::run::failures::failures(&*job.reader, job.no, &state.followers)?;
        let (ending, reason) = ending(job, &state, open);
        let mut saved = state.tally.beyond.without(saved_by(&*self.reader()?, job.no)?);
        let beside = self.paid_beside(
            job.no,
            state.tally.naive - saved.values().copied().sum::<UsdNanos>() - state.budget.settled,
        )?;
        if state.hedging.any {
            let (copies, twice) = paid_twice(&*self.reader()?, job.no)?;
            if copies > 0 {
                saved.insert(HEDGE.to_owned(), UsdNanos(-twice.0));
            }
        }
        let embedding = self.embedded(prepared)?;
        let (embedded, embeds_in_doubt) =
            embedding.as_ref().map_or_else(Default::default, |of| (of.spent, of.in_doubt));
        if embedded > UsdNanos::ZERO {
            saved.insert(EMBEDDING.to_owned(), UsdNanos(-embedded.0));
        }
        let ended = state.tally.succeeded + state.tally.failed;
        let cancelled = failures.get("cancelled_by_user").copied().unwrap_or(0);
        // What the user cancelled has not failed.
        let failed = state.tally.failed.saturating_sub(cancelled);
        let items = counts.total();
        let above = u128::from(failed) * 1_000
            > u128::from(items) * u128::from(prepared.spec.run.fail_above_permille);
        Ok(Report {
            job: job.id.clone(),
            name: prepared.spec.name.clone(),
            handle: self.handle(job, &prepared.spec.name)?,
            ending,
            reason,
            halted_by: state
                .halted
                .as_ref()
                .map(|halt| state.halted_as.unwrap_or(halt.class.name()).to_owned()),
            key_env: job
                .in_use(&state)
                .find(|found| found.account.has_key || found.account.custom && found.account.serves.is_none())
                .map(|found| found.account.key_env.clone()),
            capped_by: state
                .blocked
                .as_ref()
                .filter(|_| ending == Ending::BudgetExhausted)
                .map(|over| over.scope.to_string()),
            items,
            items_beyond_limit: state.items.counts().total() - items,
            succeeded: state.tally.succeeded,
            failed,
            cancelled,
            // Followers of an open item are open as well.
            open: if open == 0 { 0 } else { items.saturating_sub(ended) },
            duplicates: state.tally.duplicates,
            cached: state.tally.cached,
            filtered: state.tally.filtered,
            similar: state.tally.similar,
            failures,
            cascade: job.cascade.as_ref().map(|_| Cascaded::of(&*job.reader, job, &state)).transpose()?,
            embedding,
            spent: state.budget.settled.saturating_add(embedded),
            in_doubt: state.budget.doubt.saturating_add(embeds_in_doubt),
            reserved: state.budget.reserved,
            naive: state.tally.naive,
            forecast: state.forecasting.latest(),
            naive_model: naive_model(job.strong.as_ref(), &job.deployments),
            saved_estimated: ESTIMATED.into_iter().filter(|lever| saved.contains_key(*lever)).collect(),
            pilot: crate::pilot::cost_of(&self.settings.state_dir, &job.id, &*job.reader)?,
            source_embeddings: crate::made::embeddings_of(&*job.reader, &prepared.row)?,
            saved,
            beside,
            input_tokens: state.tally.input_tokens,
            output_tokens: state.tally.output_tokens,
            requests_sent: state.tally.requests_sent,
            hedged: state.hedging.sent,
            hedges_won: state.hedging.won,
            hedges_lost: state.hedging.lost,
            rate_limited: state.tally.rate_limited,
            no_capacity: state.tally.no_capacity,
            batches: state.tally.batches,
            batches_open: at_provider(&state),
            seconds: seconds(job.clock.us() - started_us),
            output: None,
            state_dir: self.settings.state_dir.display().to_string(),
            in_flight: state.calls_leased,
            in_flight_bound: state.calls_bound,
            above_threshold: above,
            estimated_usage: state.tally.estimated,
            unpriced: state.tally.unpriced,
            unpriced_models: job
                .deployments
                .iter()
                .filter(|found| !found.priced && state.tally.unpriced > 0)
                .map(|found| found.pinned.clone())
                .collect(),
            review: None,
            judged: crate::reader::judged(&*job.reader, job.no)?,
            above_bound: state.overcharged.answers,
            excess: state.overcharged.excess,
        })
    }
}

impl Engine {
    /// What was paid that no lever is about and `saved` does not hold; only looked for where the sum is open by that.
    fn paid_beside(&self, job: u32, open: UsdNanos) -> Result<BTreeMap<String, UsdNanos>, EngineError> {
        if open == UsdNanos::ZERO {
            return Ok(BTreeMap::new());
        }
        let reader = self.reader()?;
        let found = beside(&*reader, job, &sums(&*reader, &LedgerQuery::of_job(job))?)?;
        let told = found.iter().filter(|(name, _, usd)| *name != HEDGE && *usd != UsdNanos::ZERO);
        Ok(told.map(|(name, _, usd)| ((*name).to_owned(), *usd)).collect())
    }
}

/// What was out when the job that embeds was left.
fn count_in(report: &mut Report, left: &Report) {
    report.batches_open += left.batches_open;
    report.in_flight += left.in_flight;
    report.in_flight_bound += left.in_flight_bound;
    report.reason.clone_from(&left.reason);
    if let Some(embedding) = &mut report.embedding {
        embedding.left = true;
    }
}

fn review_file(of: Option<ReviewSpec>, items: u64) -> Option<ReviewFile> {
    of.filter(|_| items > 0).map(|of| ReviewFile { path: of.path.display().to_string(), items })
}

pub(super) fn ending(job: &Job, state: &State, open: u64) -> (Ending, Option<String>) {
    if job.stop.is_aborting() {
        return (Ending::Aborted, Some("stopped at once by the user".to_owned()));
    }
    if let Some(halt) = state.halted.as_ref().filter(|_| open > 0) {
        return (Ending::Halted, Some(halt.message.clone()));
    }
    if state.cancelled && open == 0 {
        return (Ending::Cancelled, Some("cancelled by the user".to_owned()));
    }
    if open == 0 {
        return (Ending::Finished, None);
    }
    if job.stop.is_detaching() {
        let more = if at_provider(state) > 0 { "; batches go on at the provider" } else { "" };
        return (Ending::Detached, Some(format!("detached by the user{more}")));
    }
    if !state.ghosts.is_empty() {
        let why =
            "a batch that this state folder knows nothing of waits for the operator (`bulkrate doubt list`)";
        return (Ending::InDoubt, Some(why.to_owned()));
    }
    if let Some(over) = state.too_much_doubt(job.spec.run.max_in_doubt) {
        return (Ending::InDoubt, Some(format!("{over}; `--max-in-doubt` lets more be sent")));
    }
    if let Some(why) = &state.forecasting.paused {
        return (Ending::BudgetForecast, Some(why.clone()));
    }
    match &state.blocked {
        Some(over) => (Ending::BudgetExhausted, Some(over.to_string())),
        None if state.unresolved > 0 => {
            (Ending::InDoubt, Some("batches in doubt wait for the operator".to_owned()))
        }
        None => (Ending::Finished, None),
    }
}

/// Batches that go on at the provider without us.
fn at_provider(state: &State) -> u64 {
    state.batches.values().filter(|batch| batch.goes_on()).count() as u64
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people")]
pub(super) fn seconds(us: u64) -> f64 {
    (us / 1_000) as f64 / 1_000.0
}
