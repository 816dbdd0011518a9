//! Commands that read a job and may spend money: `plan`, `run`, `resume`, `retry`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_engine::EngineError;
use bulkrate_engine::event::Observer;
use bulkrate_engine::report::Report;
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::JobSpec;
use bulkrate_provider::RetryPolicy;

use super::accounts::{self, Reached, process_env};
use super::confirm::Consent;
use super::engine::{self, Overrides, Stop};
use super::{AppError, pilot, signals, state_dir, whose};
use crate::cli::job_args::{JobArgs, ProviderArgs};
use crate::cli::{EventFormat, PlanArgs, ResumeArgs, RunArgs, Shared};
use crate::config::job_file::{Pilot, Provider};
use crate::config::{self, ConfigError, Defaults, Layer};
use crate::report::teller::{EventsTo, Talk, Teller};
use crate::report::{end, json, out, plan as plan_text};

/// A job and everything it runs with.
pub(super) struct Prepared {
    pub(super) spec: JobSpec,
    pub(super) settings: Settings,
    /// What the job file says of pilots.
    pub(super) pilot: Pilot,
}

/// What comes back to a job that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Resume,
    Retry,
}

pub(super) fn plan(shared: &Shared, args: PlanArgs) -> Result<u8, AppError> {
    let job = prepare(shared, args.job)?;
    if args.pilot.pilot.is_some() {
        return pilot::pilot(shared, job, args.pilot);
    }
    let teller = teller(shared, None, true);
    let plan = engine::plan(job.settings, &job.spec, args.exact, &teller);
    teller.end();
    let plan = plan?;
    if shared.json {
        out::json(&json::document(&plan));
    } else {
        out::data(&plan_text::text(&plan));
    }
    Ok(0)
}

pub(super) fn run(shared: &Shared, args: RunArgs) -> Result<u8, AppError> {
    let mut job = prepare(shared, args.job)?;
    if let Some(pick) = &args.plan {
        job.spec = pilot::picked(shared, &job, pick, args.quality_loss)?;
    }
    let (teller, report) = sent_as(shared, job, args.yes, |teller, _| teller)?;
    finish(shared, &teller, Ok(report))
}

/// Runs a job to its end, or until `ear` has stopped it.
pub(super) fn sent<E: Observer + 'static>(
    shared: &Shared,
    args: JobArgs,
    yes: bool,
    ear: impl FnOnce(Arc<Teller>, Stop) -> Arc<E>,
) -> Result<(Arc<Teller>, Report), AppError> {
    sent_as(shared, prepare(shared, args)?, yes, ear)
}

fn sent_as<E: Observer + 'static>(
    shared: &Shared,
    job: Prepared,
    yes: bool,
    ear: impl FnOnce(Arc<Teller>, Stop) -> Arc<E>,
) -> Result<(Arc<Teller>, Report), AppError> {
    check_stdout(shared, job.spec.sink.path.as_deref())?;
    let consent = Consent::new(yes, job.spec.run.budget.is_some(), job.spec.source.path.is_none());
    let teller = Arc::new(teller(shared, job.spec.sink.path.as_deref(), false));
    let (stop, declined) = (Stop::new(), AtomicBool::new(false));
    signals::listen(stop.clone(), Arc::clone(&teller))?;
    let observer: Arc<dyn Observer> = ear(Arc::clone(&teller), stop.clone());
    let confirm = |plan: &_| consent.confirm(plan, &teller, &stop, &declined);
    let report = engine::run(job.settings, &job.spec, &confirm, observer, stop.clone());
    match report {
        Ok(report) => Ok((teller, report)),
        Err(error) => {
            teller.end();
            let declined = declined.load(Ordering::Relaxed);
            match error {
                AppError::Engine(EngineError::NotConfirmed { .. }) if stop.is_detaching() => {
                    Err(EngineError::Stopped.into())
                }
                AppError::Engine(EngineError::NotConfirmed { .. }) if declined => {
                    Err(AppError::Declined("sent"))
                }
                error => Err(error),
            }
        }
    }
}

pub(super) fn resume(shared: &Shared, args: ResumeArgs, again: Again) -> Result<u8, AppError> {
    let limit = if args.no_limit { Some(None) } else { args.limit.map(Some) };
    let run = args.changes.layer();
    config::resolve::check_run(&run)?;
    let force = args.sink.force;
    let changes = Overrides::new(run, args.sink.spec(), limit).forcing(force);
    come_back(shared, &args.name.job, args.provider, &changes, again)
}

/// Goes on with a job, by the accounts that it was run with.
pub(super) fn come_back(
    shared: &Shared,
    job: &str,
    provider: ProviderArgs,
    changes: &Overrides,
    again: Again,
) -> Result<u8, AppError> {
    let defaults = Defaults::load()?;
    let reached = whose::stored(&state_dir(shared, &defaults), job, provider.layer())?.reached;
    let settings = settings(shared, &defaults, &reached, changes.connections())?;
    check_stdout(shared, changes.out())?;
    let teller = Arc::new(teller(shared, changes.out(), false));
    let stop = Stop::new();
    signals::listen(stop.clone(), Arc::clone(&teller))?;
    let observer: Arc<dyn Observer> = Arc::<Teller>::clone(&teller);
    let report = match again {
        Again::Resume => engine::resume(settings, job, changes, observer, stop),
        Again::Retry => engine::retry(settings, job, changes, observer, stop),
    };
    finish(shared, &teller, report)
}

/// The end report, to whom it concerns, and the exit code.
pub(super) fn finish(
    shared: &Shared,
    teller: &Teller,
    report: Result<Report, AppError>,
) -> Result<u8, AppError> {
    teller.end();
    let report = report?;
    teller.say(&end::text(&report));
    if shared.json {
        out::json(&json::report(&report));
    }
    Ok(report.exit_code())
}

fn prepare(shared: &Shared, args: JobArgs) -> Result<Prepared, AppError> {
    let defaults = Defaults::load()?;
    let file = if args.is_job_file() { Layer::load(&args.input)? } else { Layer::default() };
    let at = args.at.clone();
    let mut layer = layered(args, file, &defaults, &process_env);
    if let Some(name) = at {
        layer.move_to(&name).ok_or(AppError::NotSetUp { provider: name })?;
    }
    let state = state_dir(shared, &defaults);
    let reached = Reached { state, provider: layer.provider.clone(), accounts: layer.accounts.clone() };
    let pilot = layer.pilot.clone();
    let spec = config::job(layer)?;
    let settings = settings(shared, &defaults, &reached, spec.run.concurrency_max)?;
    Ok(Prepared { spec, settings, pilot })
}

/// Flags over variables over the job file over `bulkrate.toml`.
fn layered(args: JobArgs, file: Layer, defaults: &Defaults, env: accounts::Env<'_>) -> Layer {
    let mut flags = args.layer();
    flags.provider = accounts::with_env(flags.provider, Provider::default(), env);
    let shared = Layer { tags: defaults.tags.clone(), run: defaults.run.clone(), ..Layer::default() };
    flags.over(file).over(shared)
}

pub(super) fn settings(
    shared: &Shared,
    defaults: &Defaults,
    reached: &Reached,
    connections: u32,
) -> Result<Settings, AppError> {
    let prices: Option<PathBuf> = shared.prices.clone().or_else(|| defaults.prices.clone());
    let catalogue = accounts::catalogue(prices.as_deref())?;
    let accounts = accounts::open(reached, connections, RetryPolicy::default(), &process_env)?;
    Ok(accounts::engine_settings(state_dir(shared, defaults), catalogue, accounts))
}

/// Standard output holds one thing: the results, or one JSON document.
fn check_stdout(shared: &Shared, out: Option<&Path>) -> Result<(), AppError> {
    if shared.json && out.is_some_and(|path| path.as_os_str() == "-") {
        let hint = Some("write the results to a file, or leave `--json` out");
        return Err(
            ConfigError::option("--json", "needs standard output, which `--out -` takes", hint).into()
        );
    }
    Ok(())
}

pub(super) fn teller(shared: &Shared, out: Option<&Path>, plan_is_data: bool) -> Teller {
    let stdout_taken = shared.json || out.is_some_and(|path| path.as_os_str() == "-") || plan_is_data;
    let events =
        shared.events.map(|EventFormat::Json| if stdout_taken { EventsTo::Stderr } else { EventsTo::Stdout });
    let talk = match (shared.quiet || events == Some(EventsTo::Stderr), out::stderr_is_terminal()) {
        (true, _) => Talk::Quiet,
        (false, true) => Talk::Live,
        (false, false) => Talk::Lines,
    };
    let teller = Teller::new(talk, events);
    if plan_is_data { teller.without_plan() } else { teller }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cli::{Cli, Command};
    use bulkrate_core::lane::Lane;
    use bulkrate_core::money::UsdNanos;
    use clap::Parser as _;

    fn job_of(line: &[&str]) -> JobArgs {
        match Cli::try_parse_from([&["bulkrate", "plan"], line].concat()).unwrap().command {
            Command::Plan(args) => args.job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_file_and_that_over_the_defaults() {
        let file = "name = \"file\"\n[source]\npath = \"a.csv\"\n[request]\nmodel = \"fast\"\n[run]\nlane = \"batch\"\nbudget = 5\nrpm = 10\n[tags]\na = \"file\"\nb = \"file\"\n";
        let file = Layer::parse("job.toml", file).unwrap();
        let defaults =
            Defaults::parse("bulkrate.toml", "[run]\nrpm = 1\ntpm = 2\n[tags]\nc = \"defaults\"\n").unwrap();
        let args = job_of(&["job.toml", "--lane", "sync", "--tag", "a=flag", "--no-canary"]);
        let spec = config::job(layered(args, file, &defaults, &|_| None)).unwrap();
        assert_eq!((spec.name.as_str(), spec.run.lane, spec.run.canary), ("file", Some(Lane::Sync), false));
        assert_eq!(
            (spec.run.budget, spec.run.rpm, spec.run.tpm),
            (Some(UsdNanos::dollars(5)), Some(10), Some(2))
        );
        let tags: Vec<_> = spec.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["a=flag", "b=file", "c=defaults"]);
    }

    #[test]
    fn flags_become_a_job() {
        let line = "data/reviews.csv.gz --id id --model openai/gpt-6-luna --deadline 6h --budget 5 --choices a,b --rpm 600 --poll-min 1s \
                    --fail-above 2.5% --review-sample 2 --max-error-rate 1.5% --sync-doubt dead --batch-doubt repay --cache off --distinct --limit 7 --on-bad-line skip --out l.csv --raw-csv \
                    --reasoning low --price-in 0.15 --price-out 0.6 --keep-remote --strict --budget-daily 9 --budget-tag f=x=2 --fallback m2 --kind chat";
        let mut args: Vec<&str> = line.split_whitespace().collect();
        args.extend([
            "--user",
            "Say: {{ text }}",
            "--example",
            "hi=>hello",
            "--rule",
            "tokens < 9 => fast",
            "--tag",
            "k=v=w",
        ]);
        let spec =
            config::job(layered(job_of(&args), Layer::default(), &Defaults::default(), &|_| None)).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&spec).unwrap(), @r#"
        {
          "name": "reviews",
          "source": {
            "path": "data/reviews.csv.gz",
            "format": null,
            "id": "id",
            "on_bad_line": "skip",
            "limit": 7
          },
          "request": {
            "model": "openai/gpt-6-luna",
            "kind": "chat",
            "system": null,
            "turns": [
              {
                "role": "user",
                "content": "hi"
              },
              {
                "role": "assistant",
                "content": "hello"
              }
            ],
            "user": "Say: {{ text }}",
            "image": null,
            "choices": [
              "a",
              "b"
            ],
            "schema": null,
            "temperature": null,
            "top_p": null,
            "seed": null,
            "reasoning": "low",
            "max_output_tokens": null,
            "dimensions": null,
            "stop": [],
            "provider_kwargs": null,
            "sample": 0,
            "rules": [
              {
                "when": "tokens < 9",
                "model": "fast"
              }
            ],
            "fallback": [
              "m2"
            ]
          },
          "tags": {
            "k": "v=w"
          },
          "run": {
            "lane": null,
            "high_priority": false,
            "deadline_ms": 21600000,
            "budget": 5000000000,
            "budget_per_request": null,
            "budget_daily": 9000000000,
            "budget_monthly": null,
            "max_in_doubt": null,
            "budget_tags": {
              "f=x": 2000000000
            },
            "strict": true,
            "spend_all": false,
            "rpm": 600,
            "tpm": null,
            "concurrency_max": 2000,
            "poll_min_ms": 1000,
            "poll_max_ms": 300000,
            "timeout_ms": null,
            "cache": "off",
            "distinct": true,
            "canary": true,
            "fail_above_permille": 25,
            "review_permille": 20,
            "max_error_permille": 15,
            "sync_doubt": "dead",
            "batch_doubt": "repay",
            "t_lag_ms": 120000,
            "t_q_ms": 900000,
            "keep_remote": true,
            "batch_items_max": 20000,
            "batch_bytes_max": 190000000,
            "batches_max": 50,
            "enqueued_tokens_max": null,
            "webhook": null,
            "price_in": "0.15",
            "price_out": "0.6"
          },
          "sink": {
            "path": "l.csv",
            "format": null,
            "stream": false,
            "raw_csv": true,
            "force": false,
            "answers_only": false
          },
          "account": {
            "provider": null,
            "base_url": null,
            "key_env": null
          }
        }
        "#);
    }
}
