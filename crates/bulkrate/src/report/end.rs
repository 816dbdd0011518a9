//! What became of a job: outcomes, money, what each lever saved, and what to do next.

use std::fmt::Write as _;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{ERROR_RATE, Ending, Report};

use super::table::Table;
use super::words::{count, counted, duration, percent, shell, usd};

/// The end report as text, several lines.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = format!("\n{}\n", headline(report));
    out.push_str(&outcomes(report));
    out.push_str(&money(report));
    for line in next(report) {
        let _ = writeln!(out, "  {line}");
    }
    out
}

fn headline(report: &Report) -> String {
    let name = format!("`{}` (job {})", report.name, report.job);
    let reason = report.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let after = millis(report.seconds);
    let is_left = report.embedding.as_ref().is_some_and(|of| of.left);
    let embedding = if is_left { ", while its texts were embedded" } else { "" };
    match report.ending {
        Ending::Finished => format!("{name} finished in {after}"),
        Ending::Detached if report.batches_open > 0 => {
            format!("{name} was left after {after}{embedding}; batches go on at the provider")
        }
        Ending::Detached => format!("{name} was left after {after}{embedding}"),
        Ending::Aborted => format!("{name} was stopped at once after {after}{embedding}"),
        Ending::Cancelled => format!("{name} was cancelled after {after}"),
        Ending::Halted => format!("{name} was halted{reason}"),
        Ending::BudgetExhausted => format!("{name} stopped at its budget{reason}"),
        Ending::BudgetForecast => format!("{name} was paused before its budget{reason}"),
        Ending::InDoubt => format!("{name} waits for you{reason}"),
    }
}

fn millis(seconds: f64) -> String {
    duration(
        u64::try_from(
            std::time::Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_millis(),
        )
        .unwrap_or(u64::MAX),
    )
}

fn outcomes(report: &Report) -> String {
    let mut out = String::new();
    let mut parts = vec![format!("{} answered", count(report.succeeded))];
    let others = [(report.failed, "failed"), (report.cancelled, "cancelled"), (report.open, "still open")];
    parts.extend(
        others
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number))),
    );
    let _ = writeln!(out, "  {}: {}", counted(report.items, "item"), parts.join(", "));
    let mut sent = vec![counted(report.requests_sent, "request") + " sent"];
    if report.hedged > 0 {
        let (copies, won) = (count(report.hedged), count(report.hedges_won));
        sent.push(format!("{copies} of them copies of slow calls ({won} answered first)"));
    }
    if report.batches > 0 {
        sent.push(format!("{} batch{}", count(report.batches), if report.batches == 1 { "" } else { "es" }));
    }
    let free = [
        (report.duplicates, "answered by an equal item"),
        (report.cached, "answered from earlier jobs"),
        (report.filtered, "answered by the filter"),
        (report.similar, "answered like a similar item"),
        (report.rate_limited, "refused by rate limits"),
        (report.no_capacity, "refused for want of flex capacity"),
    ];
    sent.extend(
        free.iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number))),
    );
    let _ = writeln!(out, "  {}", sent.join(", "));
    if !report.failures.is_empty() {
        let mut table = Table::new(4, &["failure", ">items", ">share"]);
        for (class, number) in &report.failures {
            table.row([class.clone(), count(*number), percent(*number, report.items)]);
        }
        let _ = write!(out, "\n{}\n", table.text());
    }
    out
}

/// What became of the cheap models' answers.
fn cascade(report: &Report) -> String {
    let Some(found) = &report.cascade else { return String::new() };
    let rejected: u64 = found.rejected.values().sum();
    let mut out = format!(
        "  cascade: {} with a cheap answer; {} led to another model",
        counted(found.accepted, "item"),
        counted(rejected, "answer")
    );
    if rejected > 0 {
        let why: Vec<String> =
            found.rejected.iter().map(|(class, number)| format!("{class} {}", count(*number))).collect();
        let _ = write!(out, " ({})", why.join(", "));
    }
    if found.off {
        out.push_str("; it did not pay and was off for the rest");
    }
    out.push('\n');
    out
}

/// What was embedded, and what of the sum that was for.
fn embedding(report: &Report) -> String {
    let Some(of) = &report.embedding else { return String::new() };
    let without = match of.texts.saturating_sub(of.vectors) {
        0 => String::new(),
        without if of.left => format!("; {} on the way", counted(without, "text")),
        without if report.ending == Ending::Cancelled => {
            format!("; {} without one", counted(without, "text"))
        }
        without => format!("; {} without one, whose rows were asked", counted(without, "text")),
    };
    format!(
        "  embeddings: {} by {}, USD {} of the sum{without}\n",
        counted(of.vectors, "vector"),
        of.model,
        usd(of.spent)
    )
}

fn money(report: &Report) -> String {
    let mut out = spent(report);
    let tokens = report.input_tokens + report.output_tokens;
    if tokens > 0 {
        let _ = write!(
            out,
            " for {} input and {} output tokens",
            count(report.input_tokens),
            count(report.output_tokens)
        );
    }
    if report.naive.0 > 0 {
        let at = super::plan::at(report.naive_model.as_deref());
        let _ = write!(out, "; one by one in the sync lane{at} it would have been USD {}", usd(report.naive));
    }
    out.push('\n');
    let saved: UsdNanos = report.saved.values().copied().sum();
    if saved.0 != 0 {
        let parts: Vec<String> = report
            .saved
            .iter()
            .filter(|(_, sum)| sum.0 != 0)
            .map(|(lever, sum)| {
                let estimated = report.saved_estimated.contains(&lever.as_str());
                format!("{lever} {}{}", usd(*sum), if estimated { " (estimated)" } else { "" })
            })
            .collect();
        let _ = writeln!(
            out,
            "  saved USD {} ({}): {}",
            usd(saved),
            share(saved, report.naive),
            parts.join(", ")
        );
    }
    for (why, sum) in &report.beside {
        let _ = writeln!(
            out,
            "  {why}: USD {} of the sum; one by one less saved, and with this, is what was spent",
            usd(*sum)
        );
    }
    if let Some(pilot) = &report.pilot {
        let _ = writeln!(out, "  its pilot cost USD {} beside that", usd(pilot.spent));
    }
    if let Some(made) = &report.source_embeddings {
        let _ = writeln!(out, "  the embeddings in its source cost USD {} beside that", usd(made.spent));
    }
    out.push_str(&cascade(report));
    out.push_str(&embedding(report));
    if report.in_doubt.0 > 0 {
        let _ = writeln!(
            out,
            "  in doubt: up to USD {} more, for calls that were sent and never answered",
            usd(report.in_doubt)
        );
    }
    if report.estimated_usage > 0 {
        let _ = writeln!(
            out,
            "  {} reported no usage; their cost is the bound that was reserved",
            counted(report.estimated_usage, "answer")
        );
    }
    if report.above_bound > 0 {
        let _ = writeln!(
            out,
            "  {} cost more than the most that was reserved, by USD {} in all; `bulkrate verify` names them",
            counted(report.above_bound, "answer"),
            usd(report.excess)
        );
    }
    out
}

/// A sum that is not known is not called zero.
fn spent(report: &Report) -> String {
    let sum = usd(report.spent);
    if report.unpriced == 0 {
        return format!("  spent USD {sum}");
    }
    let (answers, models) = (counted(report.unpriced, "answer"), report.unpriced_models.join("`, `"));
    let known = if report.spent.0 == 0 { "an unknown sum".to_owned() } else { format!("USD {sum} and more") };
    format!("  spent {known} (no price is known for {answers} of `{models}`)")
}

fn share(part: UsdNanos, whole: UsdNanos) -> String {
    percent(u64::try_from(part.0).unwrap_or(0), u64::try_from(whole.0).unwrap_or(0))
}

/// Where the output is, and the commands that make sense now.
fn next(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(output) = &report.output {
        lines.push(format!("results: {output}"));
    }
    if let Some(judged) = &report.judged {
        lines.push(format!("review: {}", super::views::judged(judged)));
    }
    let job = shell(&report.handle);
    let state = if report.state_dir == ".bulkrate" {
        String::new()
    } else {
        format!(" --state {}", shell(&report.state_dir))
    };
    let command = |verb: &str, flags: &str| format!("`bulkrate {verb} {job}{flags}{state}`");
    match report.ending {
        Ending::Detached => lines.push(format!("come back with {}", command("resume", ""))),
        Ending::Aborted => {
            lines.push(format!(
                "{} in flight, USD {} at most; each is asked for or booked as doubt when you come back",
                counted(report.in_flight, "call"),
                usd(report.in_flight_bound)
            ));
            lines.push(format!("come back with {}", command("resume", "")));
        }
        Ending::Halted if report.halted_by.as_deref() == Some(FailureClass::Auth.name()) => {
            let check = match &report.key_env {
                Some(variable) => {
                    format!("check the key in `{variable}`, or in the variable that `--key-env` names")
                }
                None => {
                    "check the credentials, which `bulkrate doctor --model MODEL` tries for free".to_owned()
                }
            };
            lines.push(format!("{check}, then {}", command("resume", "")));
        }
        Ending::Halted if report.halted_by.as_deref() == Some(ERROR_RATE) => lines.push(format!(
            "look at the answers, mend the prompt or the model in a new job, or go on with {}",
            command("resume", " --max-error-rate PERCENT")
        )),
        Ending::Halted => lines.push(format!("mend the cause, then {}", command("resume", ""))),
        Ending::BudgetExhausted => lines.push(beyond_cap(report.capped_by.as_deref(), &command)),
        Ending::BudgetForecast => {
            let enough =
                report.forecast.map_or_else(|| "USD".to_owned(), |forecast| forecast.p95.to_string());
            lines.push(format!(
                "go on with {}, or until the cap stops it with {}",
                command("resume", &format!(" --budget {enough}")),
                command("resume", " --spend-all")
            ));
        }
        Ending::InDoubt => {
            lines.push(format!("see {}, then {}", command("status", ""), command("resume", "")));
        }
        Ending::Finished | Ending::Cancelled => {}
    }
    if let Some(review) = report.review.as_ref().filter(|_| report.judged.is_none()) {
        let read = command("review", &format!(" {}", shell(&review.path)));
        let sample = counted(review.items, "answer");
        lines.push(format!("{sample} to be judged: {}; then {read}", review.path));
    }
    if report.items_beyond_limit > 0 {
        let rest = counted(report.items_beyond_limit, "item");
        lines.push(format!("{rest} beyond the limit: {}", command("resume", " --no-limit")));
    }
    if report.output.is_none() && report.succeeded > 0 {
        lines.push(format!("results are kept: {}", command("results", " --out FILE")));
    }
    let invalid = report.failures.get(FailureClass::InvalidInput.name()).copied().unwrap_or(0);
    let lost = report.failed + report.cancelled;
    if lost > 0 && invalid == lost {
        let see = command("dead", "");
        lines.push(format!("see why with {see}; mend those items in the source, then run the job again"));
    } else if lost > 0 {
        lines.push(format!("see why with {}, try again with {}", command("dead", ""), command("retry", "")));
    }
    if report.ending != Ending::Halted && report.above_error_rate() {
        lines.push("more answers are wrong than `--max-error-rate` allows: exit code 1".to_owned());
    }
    if report.above_threshold {
        lines.push("more items failed than `--fail-above` allows: exit code 1".to_owned());
    }
    lines
}

/// How a job goes on that has met a cap.
fn beyond_cap(cap: Option<&str>, command: &dyn Fn(&str, &str) -> String) -> String {
    match cap {
        Some("day") => format!(
            "go on after midnight UTC with {}, or now with {}",
            command("resume", ""),
            command("resume", " --budget-daily USD")
        ),
        Some("month") => format!(
            "go on next month with {}, or now with {}",
            command("resume", ""),
            command("resume", " --budget-monthly USD")
        ),
        Some(tag) if tag.starts_with("tag ") => {
            "run the same job again with a higher `--budget-tag` to go on".to_owned()
        }
        _ => format!("go on with {}", command("resume", " --budget USD")),
    }
}
