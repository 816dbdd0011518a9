//! Jobs, dead letters, proofs and costs as text.

use std::fmt::Write as _;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::view::{DeadLetter, DoubtLine, DoubtSum, JobStatus, Judged, Verification};

use super::progress;
use super::table::Table;
use super::words::{bytes, count, counted, duration, percent, shell, usd};

/// All jobs, one a line; with the batches of those that run.
#[must_use]
pub fn jobs(jobs: &[JobStatus], now_ms: i64) -> String {
    if jobs.is_empty() {
        return "no jobs here yet; `bulkrate run FILE ...` starts one\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            "job",
            "name",
            "state",
            ">items",
            ">done",
            ">failed",
            ">in flight",
            ">spent USD",
            ">disk",
            "created",
        ],
    );
    for job in jobs {
        let done = job.succeeded + job.failed + job.cancelled;
        table.row([
            job.job.clone(),
            job.name.clone(),
            state(job),
            count(job.items),
            percent(done, job.items),
            count(job.failed),
            count(job.in_flight),
            known(usd(job.spent), job.spent, job.unpriced),
            bytes(job.disk_bytes),
            created(job.created_at_ms),
        ]);
    }
    let mut out = table.text();
    let disk: u64 = jobs.iter().map(|job| job.disk_bytes).sum();
    if jobs.len() > 1 {
        let _ = writeln!(
            out,
            "{}, {} on disk; `bulkrate rm JOB` deletes one with its results",
            counted(jobs.len() as u64, "job"),
            bytes(disk)
        );
    }
    for job in jobs.iter().filter(|job| job.doubts.submissions > 0) {
        let _ = writeln!(out, "  {}: in doubt: {}", job.name, doubt(&job.doubts, now_ms));
    }
    for job in jobs {
        for batch in &job.batches {
            let _ = writeln!(out, "  {}: {}", job.name, progress::batch(batch, now_ms));
        }
    }
    out
}

/// What a reviewer has found.
#[must_use]
pub fn judged(of: &Judged) -> String {
    let percent = |rate: f64| format!("{:.2} %", rate * 100.0);
    format!(
        "{} of {} wrong: error rate {}, with 95 % certainty {} to {}",
        count(of.wrong),
        counted(of.items, "judged answer"),
        percent(of.error_rate),
        percent(of.low),
        percent(of.high)
    )
}

/// One job, all that is known.
#[must_use]
pub fn job(job: &JobStatus, now_ms: i64) -> String {
    let mut out = format!("`{}` (job {}): {}\n", job.name, job.job, state(job));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<9} {value}");
    };
    line("created", created(job.created_at_ms));
    line("source", job.source.clone());
    line("output", job.output.clone().unwrap_or_else(|| "kept in the state folder".to_owned()));
    line(
        "items",
        format!(
            "{}: {} answered ({} by an equal item), {} failed, {} cancelled, {} open, {} in flight",
            count(job.items),
            count(job.succeeded),
            count(job.duplicates),
            count(job.failed),
            count(job.cancelled),
            count(job.open),
            count(job.in_flight)
        ),
    );
    if let Some(limit) = job.limit {
        line(
            "limit",
            format!("the first {} are asked for; the counts here are of all", counted(limit, "item")),
        );
    }
    line(
        "money",
        format!(
            "spent {}, reserved {}, in doubt {}",
            if job.unpriced {
                known(usd(job.spent), job.spent, true)
            } else {
                format!("USD {}", usd(job.spent))
            },
            usd(job.reserved),
            usd(job.in_doubt)
        ),
    );
    if let Some(forecast) = &job.forecast {
        let of = counted(forecast.measured, "answer");
        line("expected", format!("{}, measured by {of}", progress::expected(forecast)));
    }
    if job.doubts.submissions > 0 {
        line("doubt", doubt(&job.doubts, now_ms));
        for next in &job.doubts.next {
            line("", next.clone());
        }
    }
    line("disk", bytes(job.disk_bytes));
    if let Some(found) = &job.judged {
        line("review", judged(found));
    }
    for batch in &job.batches {
        line("", progress::batch(batch, now_ms));
    }
    if !job.engine_at_work && (job.state == "running" || job.state == "preparing") {
        line("next", next(job));
    }
    out
}

fn next(job: &JobStatus) -> String {
    let command = format!("bulkrate resume {}", shell(&job.name));
    match job.limit {
        Some(limit) if job.open_asked == 0 => {
            format!("the first {} are done; the rest: `{command} --no-limit`", counted(limit, "item"))
        }
        Some(limit) => {
            format!("no process works on it: `{command}` for the first {}", counted(limit, "item"))
        }
        None => format!("no process works on it: `{command}`"),
    }
}

fn state(job: &JobStatus) -> String {
    if job.state == "running" && job.limit.is_some() && job.open_asked == 0 {
        return "limited".to_owned();
    }
    if job.state == "running" && !job.engine_at_work { "waiting".to_owned() } else { job.state.clone() }
}

pub(super) fn created(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// How much is in doubt, and since when.
fn doubt(of: &DoubtSum, now_ms: i64) -> String {
    let age_ms = of.since_ms.map_or(0, |since| u64::try_from(now_ms - since).unwrap_or(0));
    format!(
        "{}, {}, USD {} at most, for {}; `bulkrate doubt list`",
        counted(of.submissions, "submission"),
        counted(of.items, "item"),
        usd(of.price_at_most),
        duration(age_ms)
    )
}

/// Everything in doubt, with what was tried and what can be done.
#[must_use]
pub fn doubts(lines: &[DoubtLine]) -> String {
    if lines.is_empty() {
        return "nothing is in doubt\n".to_owned();
    }
    let mut out = String::new();
    for line in lines {
        let _ = writeln!(
            out,
            "{} ({}, {} lane): {}, {}, USD {} at most, since {}",
            line.sub.as_deref().unwrap_or("(no submission)"),
            line.name,
            line.lane,
            line.state,
            counted(line.items, "item"),
            usd(line.price_at_most),
            created(line.since_ms)
        );
        for known in &line.known {
            let _ = writeln!(out, "  known: {}", shortened(known));
        }
        let _ = writeln!(out, "  next:  {}", line.next);
        if line.ordered {
            let _ = writeln!(out, "  an order about it waits for the job to be at work");
        }
        let _ = writeln!(out, "  you:   {}", line.suggestion);
    }
    let sum = DoubtSum::of(lines);
    let _ = writeln!(
        out,
        "{} in doubt, USD {} at most",
        counted(sum.submissions, "submission"),
        usd(sum.price_at_most)
    );
    out
}

/// Every dead letter with its attempts.
#[must_use]
pub fn dead(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut out = String::new();
    for letter in letters {
        let _ =
            writeln!(out, "{} (item {}): {}: {}", letter.item_id, letter.item, letter.class, letter.message);
        if letter.followers > 0 {
            let _ = writeln!(out, "  and {} with the same request", counted(letter.followers, "item"));
        }
        for attempt in &letter.attempts {
            let _ = writeln!(
                out,
                "  attempt {} ({} lane): {}, USD {}",
                attempt.attempt,
                attempt.lane,
                attempt.class,
                usd(attempt.cost)
            );
            if !attempt.evidence.is_empty() {
                let _ = writeln!(out, "    {}", shortened(&attempt.evidence));
            }
        }
        let _ = writeln!(out, "  replay: {}", letter.replay);
    }
    out
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    let line = text.trim().replace(['\n', '\r'], " ");
    if line.chars().count() <= LONGEST {
        line
    } else {
        format!("{}...", line.chars().take(LONGEST).collect::<String>())
    }
}

/// The proofs, one a line.
#[must_use]
pub fn verification(of: &Verification) -> String {
    let mut out = format!("job {}\n", of.job);
    for check in &of.checks {
        let _ = writeln!(
            out,
            "  {:<6} {}: {}",
            if check.passed { "ok" } else { "FAILED" },
            check.name,
            check.detail
        );
    }
    let failed = of.checks.iter().filter(|check| !check.passed).count();
    let _ = match failed {
        0 => writeln!(out, "all {} hold", counted(of.checks.len() as u64, "check")),
        _ => writeln!(out, "{} of {} failed", failed, counted(of.checks.len() as u64, "check")),
    };
    out
}

/// What is known of a sum, which may hold answers without a price.
pub(super) fn known(sum: String, amount: UsdNanos, unpriced: bool) -> String {
    match (unpriced, amount) {
        (false, _) => sum,
        (true, UsdNanos::ZERO) => "unknown".to_owned(),
        (true, _) => format!("{sum} + unknown"),
    }
}
