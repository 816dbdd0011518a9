//! `batch submit|status|results|cancel|list`: the batch API by hand, over the same journal as jobs. What is submitted is a job:
//! it survives a crash, is paid once, and every other command takes it.

mod hand_over;
mod look;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_core::submission::created_since_s;
use bulkrate_engine::Reader;
use bulkrate_engine::report::Ending;
use serde_json::json;

pub use self::view::BatchView;
use super::accounts::{self, IMPATIENT, process_env};
use super::engine::{self, Overrides};
use super::{AppError, reads, run, runtime, whose};
use crate::cli::Shared;
use crate::cli::batch_args::{BatchCancelArgs, BatchCommand, BatchListArgs, BatchStatusArgs, SubmitArgs};
use crate::config::ConfigError;
use crate::config::value::LaneChoice;
use crate::report::{batches, json, out, words};

pub(super) fn batch(shared: &Shared, command: BatchCommand) -> Result<u8, AppError> {
    match command {
        BatchCommand::Submit(args) => submit(shared, *args),
        BatchCommand::Status(args) => status(shared, args),
        BatchCommand::Results(args) => run::resume(shared, *args, run::Again::Resume),
        BatchCommand::Cancel(args) => cancel(shared, *args),
        BatchCommand::List(args) => list(shared, args),
    }
}

/// Runs the job until all of it is at the provider.
fn submit(shared: &Shared, mut args: SubmitArgs) -> Result<u8, AppError> {
    if matches!(args.job.run.changes.lane, Some(LaneChoice::Sync | LaneChoice::Flex)) {
        let hint = "leave it out, or use `bulkrate run`";
        return Err(ConfigError::option("--lane", "a submit makes batches", Some(hint)).into());
    }
    args.job.run.changes.lane = Some(LaneChoice::Batch);
    // Who asks for batches by hand asks for no call beside them.
    args.job.run.no_canary = true;
    if let (Some(provider), Some(model)) = (&args.at, &mut args.job.request.model)
        && !model.contains('/')
    {
        *model = format!("{provider}/{model}");
    }
    args.job.at = args.account;
    let handed_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&handed_over);
    let (teller, report) = run::sent(shared, args.job, args.yes, move |teller, stop| {
        Arc::new(hand_over::HandOver::new(teller, stop, told))
    })?;
    if report.ending != Ending::Detached || !handed_over.load(Ordering::Relaxed) {
        return run::finish(shared, &teller, Ok(report));
    }
    teller.end();
    let reader = Reader::open(&reads::state(shared)?)?;
    let views = look::last_known(&reader, &report.job)?;
    if shared.json {
        out::json(&json::document(&json!({ "job": report.job, "name": report.name, "batches": views })));
    } else {
        out::data(&batches::table(&views));
    }
    let name = words::shell(&report.handle);
    teller.say(&format!(
        "handed over; `bulkrate batch status {name}` asks where they stand, `bulkrate batch results {name} --out FILE` collects them\n"
    ));
    Ok(0)
}

fn status(shared: &Shared, args: BatchStatusArgs) -> Result<u8, AppError> {
    let (state, job) = (reads::state(shared)?, args.name.job);
    let meant = whose::stored(&state, &job, args.provider.layer())?;
    let accounts = accounts::open(&meant.reached, 1, IMPATIENT, &process_env)?;
    let reader = Reader::open(&state)?;
    let views = runtime::single()?.block_on(look::of_job(&reader, &job, &accounts))?;
    show(shared, &views);
    Ok(0)
}

/// Leaves the order, and carries it out where nobody else is at work.
fn cancel(shared: &Shared, args: BatchCancelArgs) -> Result<u8, AppError> {
    let state = reads::state(shared)?;
    let meant = whose::stored(&state, &args.name.job, args.provider.clone().layer())?;
    let accounts = accounts::open(&meant.reached, 1, IMPATIENT, &process_env)?;
    if let Some(provider) = look::held(&Reader::open(&state)?, &args.name.job, &accounts)? {
        return Err(AppError::RunsToItsEnd { provider });
    }
    if !engine::cancel(&state, &args.name.job)? {
        let none = Overrides::default();
        return run::come_back(shared, &args.name.job, args.provider, &none, run::Again::Resume);
    }
    if shared.json {
        out::json(&json!({ "job": args.name.job, "ordered": "cancel", "engine_at_work": true }));
    }
    reads::talk(shared, "the process that works on it cancels its batches within a second\n");
    Ok(0)
}

fn list(shared: &Shared, args: BatchListArgs) -> Result<u8, AppError> {
    let state = reads::state(shared)?;
    let meant = whose::meant(&state, args.job.as_deref(), args.provider.layer())?;
    let mut accounts = accounts::open(&meant.reached, 1, IMPATIENT, &process_env)?;
    match args.of {
        None => accounts = whose::with_batches(&accounts, &state),
        Some(name) => {
            accounts.retain(|account| account.provider == name);
            if accounts.is_empty() {
                return Err(AppError::NotSetUp { provider: name });
            }
        }
    }
    let reader = Reader::open(&state).ok();
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let since_s = created_since_s(now_ms.saturating_sub(args.since.0));
    let listed = look::listed(reader.as_ref(), &accounts, since_s, args.limit);
    let (views, code) = runtime::single()?.block_on(listed)?;
    show(shared, &views);
    Ok(code)
}

fn show(shared: &Shared, views: &[BatchView]) {
    if shared.json {
        out::json(&json::document(&views));
    } else {
        out::data(&batches::table(views));
    }
}
