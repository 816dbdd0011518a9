//! Commands that look at a state folder, or leave an order in it, while an engine may be at work there.

use std::path::PathBuf;

use bulkrate_engine::reader::{CostQuery, Period};
use bulkrate_engine::spec::SinkSpec;
use bulkrate_engine::view::JobStatus;
use serde_json::json;

use super::confirm::ask;
use super::{AppError, engine, state_dir};
use crate::cli::{
    CostArgs, JobName, RemoveArgs, ResultsArgs, ReviewArgs, Shared, ShowArgs, StatusArgs, TrendStep,
    VerifyArgs,
};
use crate::config::Defaults;
use crate::report::{cost, json, out, savings, views, words};

/// Exit code of `verify` when a check fails.
const VERIFY_FAILED: u8 = 7;

pub(super) fn state(shared: &Shared) -> Result<PathBuf, AppError> {
    // Without a flag the folder may be named by `bulkrate.toml`.
    let defaults = if shared.state.is_some() { Defaults::default() } else { Defaults::load()? };
    Ok(state_dir(shared, &defaults))
}

pub(super) fn talk(shared: &Shared, text: &str) {
    if !shared.quiet {
        out::talk(text);
    }
}

pub(super) fn status(shared: &Shared, args: &StatusArgs) -> Result<u8, AppError> {
    let state = state(shared)?;
    let every = std::time::Duration::from_millis(args.every.0.max(100));
    let mut lines_above = 0;
    loop {
        let jobs = engine::status(&state, args.job.as_deref())?;
        let over = !args.watch || jobs.iter().all(ended);
        if shared.json {
            if over {
                out::json(&json::document(&jobs));
            }
        } else {
            let now = jiff::Timestamp::now().as_millisecond();
            let text = match jobs.as_slice() {
                [job] if args.job.is_some() => views::job(job, now),
                jobs => views::jobs(jobs, now),
            };
            lines_above = again(&text, lines_above);
        }
        if over {
            return Ok(0);
        }
        std::thread::sleep(every);
    }
}

/// Prints `text` over what stood there on a terminal, below it elsewhere; answers its lines.
fn again(text: &str, lines_above: usize) -> usize {
    if lines_above > 0 && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        out::orders(&format!("\x1b[{lines_above}A\x1b[J"));
    }
    out::data(text);
    text.lines().count()
}

fn ended(job: &JobStatus) -> bool {
    matches!(job.state.as_str(), "done" | "cancelled")
}

pub(super) fn results(shared: &Shared, args: &ResultsArgs) -> Result<u8, AppError> {
    let sink = args.sink.clone().spec().unwrap_or_else(|| SinkSpec {
        path: Some(PathBuf::from("-")),
        format: Some(args.sink.out_format.map_or("jsonl", crate::config::value::SinkFormat::name).to_owned()),
        answers_only: args.sink.answers_only,
        raw_csv: args.sink.raw_csv,
        ..SinkSpec::default()
    });
    let to_stdout = sink.path.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let rows = engine::results(&state(shared)?, &args.name.job, &sink)?;
    let name = sink.path.map_or_else(String::new, |path| path.display().to_string());
    if shared.json && !to_stdout {
        out::json(&json!({ "job": args.name.job, "rows": rows, "output": name }));
    } else if !to_stdout {
        talk(shared, &format!("{} written to {name}\n", words::counted(rows, "row")));
    }
    Ok(0)
}

pub(super) fn cancel(shared: &Shared, args: &JobName) -> Result<u8, AppError> {
    let at_work = engine::cancel(&state(shared)?, &args.job)?;
    if shared.json {
        out::json(&json!({ "job": args.job, "ordered": "cancel", "engine_at_work": at_work }));
    }
    let when = match at_work {
        true => "the process that works on it obeys within a second".to_owned(),
        false => format!(
            "no process works on it now: `bulkrate resume {}` carries it out",
            words::shell(&args.job)
        ),
    };
    talk(shared, &format!("`{}` is to be cancelled; {when}. Answers that are there are kept\n", args.job));
    Ok(0)
}

pub(super) fn dead(shared: &Shared, args: &JobName) -> Result<u8, AppError> {
    let letters = engine::dead(&state(shared)?, &args.job)?;
    if shared.json {
        out::json(&json::document(&letters));
    } else {
        out::data(&views::dead(&letters));
    }
    Ok(0)
}

pub(super) fn verify(shared: &Shared, args: &VerifyArgs) -> Result<u8, AppError> {
    let verification = engine::verify(&state(shared)?, &args.name.job, &args.bill)?;
    if shared.json {
        let mut document = json::document(&verification);
        document["passed"] = json!(verification.passed());
        out::json(&document);
    } else {
        out::data(&views::verification(&verification));
    }
    Ok(if verification.passed() { 0 } else { VERIFY_FAILED })
}

pub(super) fn review(shared: &Shared, args: &ReviewArgs) -> Result<u8, AppError> {
    let (state, job) = (state(shared)?, &args.name.job);
    if let Some(path) = &args.out {
        let items = engine::draw_review(&state, job, path, args.share)?;
        let name = path.display();
        if shared.json {
            out::json(&json!({ "job": job, "items": items, "output": name.to_string() }));
        } else if items == 0 {
            talk(shared, "the sample is empty, so no file was written; `--share` takes a larger one\n");
        } else {
            let text = format!(
                "{} written to {name}; write `yes` or `no` in `_ok`, then: `bulkrate review {job} {file}`\n",
                words::counted(items, "answer"),
                job = words::shell(job),
                file = words::shell(&name.to_string()),
            );
            talk(shared, &text);
        }
        return Ok(0);
    }
    let judged = match &args.file {
        Some(file) => Some(engine::judge(&state, job, file)?),
        None => engine::status(&state, Some(job))?.pop().and_then(|job| job.judged),
    };
    if shared.json {
        out::json(&json::document(&judged));
    } else {
        let text = judged.as_ref().map_or_else(|| "no answer was judged yet".to_owned(), views::judged);
        out::data(&format!("{text}\n"));
    }
    Ok(0)
}

pub(super) fn costs(shared: &Shared, args: &CostArgs) -> Result<u8, AppError> {
    if let Some(job) = &args.savings {
        let found = engine::savings(&state(shared)?, job)?;
        if shared.json {
            out::json(&json::document(&found));
        } else {
            out::data(&savings::text(&found));
        }
        return Ok(0);
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let ask = CostQuery {
        by: args.by.clone(),
        since_ms: args.since.map(|when| when.at_ms(now)),
        until_ms: args.until.map(|when| when.at_ms(now)),
        trend: args.trend.map(|step| match step {
            TrendStep::Day => Period::Day,
            TrendStep::Week => Period::Week,
            TrendStep::Month => Period::Month,
        }),
    };
    let rows = engine::cost(&state(shared)?, &ask, args.job.as_deref())?;
    if shared.json {
        out::json(&json::document(&rows));
    } else if args.csv {
        out::data(&cost::csv(&args.by, &rows));
    } else {
        let shown = cost::Shown { levers: args.levers, plot: args.plot };
        out::data(&cost::text(&args.by, &rows, shown));
    }
    Ok(0)
}

pub(super) fn show(shared: &Shared, args: &ShowArgs) -> Result<u8, AppError> {
    out::json(&engine::show(&state(shared)?, &args.name.job, &args.item)?);
    Ok(0)
}

pub(super) fn remove(shared: &Shared, args: &RemoveArgs) -> Result<u8, AppError> {
    use std::io::IsTerminal as _;
    let (state, job) = (state(shared)?, &args.name.job);
    let can_ask = std::io::stdin().is_terminal() && out::stderr_is_terminal();
    engine::stored(&state, job)?; // one that nobody knows is told before anybody is asked
    let agreed = args.yes || (can_ask && ask(&format!("Delete `{job}` with all its results?")));
    if !agreed {
        return Err(AppError::Declined("deleted"));
    }
    engine::remove(&state, job)?;
    if shared.json {
        out::json(&json!({ "job": job, "removed": true }));
    }
    talk(shared, &format!("`{job}` is deleted\n"));
    Ok(0)
}
