//! The way from the naive cost of a job to what was paid, as text.

use std::fmt::Write as _;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::view::{NaivePlan, Savings};

use super::table::Table;
use super::words::{count, counted, percent, usd};

/// Every digit: the steps add up as they stand.
#[must_use]
pub fn text(of: &Savings) -> String {
    let mut table = Table::new(2, &["step", ">items", ">saves USD", ">leaves USD"]);
    table.row(["naive".to_owned(), String::new(), String::new(), of.naive.to_string()]);
    for step in &of.steps {
        let items = if step.items == 0 { String::new() } else { count(step.items) };
        let lever = format!("{}{}", step.lever, if step.estimated { " (estimated)" } else { "" });
        table.row([lever, items, step.saved.to_string(), step.cost.to_string()]);
    }
    table.row(["spent".to_owned(), String::new(), String::new(), of.spent.to_string()]);
    let mut out = format!("`{}` (job {})\n\n{}\n", of.name, of.job, table.text());
    let _ = writeln!(out, "  naive: {}", naive(&of.naive_plan));
    if of.naive > UsdNanos::ZERO {
        let whole = u64::try_from(of.naive.0).unwrap_or(0);
        let share = percent(u64::try_from(of.spent.0).unwrap_or(0), whole);
        let _ = writeln!(out, "  USD {} were paid, {share} of naive", usd(of.spent));
        if of.steps.iter().any(|step| step.lever.starts_with("paid ")) {
            out.push_str("  what was paid twice or without an answer saves less than nothing: naive less every step is what was paid\n");
        }
        if let Some(pilot) = &of.pilot {
            let both = of.spent.saturating_add(pilot.spent);
            let share = percent(u64::try_from(both.0).unwrap_or(0), whole);
            let _ = writeln!(
                out,
                "  its pilot cost USD {} beside that, which stands in the books of {}: together {share} of naive",
                usd(pilot.spent),
                pilot.jobs.join(", ")
            );
        }
        out.push_str(&embeddings(of));
    }
    if let Some(limit) = of.limit {
        let _ = writeln!(
            out,
            "  all {} are counted, answered ones beyond `--limit {limit}` too; the report counts those within it",
            counted(of.items, "item")
        );
    }
    for (sum, what) in [
        (of.in_doubt, "in doubt: up to so much more, for calls that were sent and never answered"),
        (of.reserved, "set aside for what is in flight"),
    ] {
        if sum > UsdNanos::ZERO {
            let _ = writeln!(out, "  USD {} {what}", usd(sum));
        }
    }
    if of.unpriced {
        out.push_str("  models without a known price have answered: they are on neither side\n");
    }
    out
}

/// What the embeddings cost that the filter reads, and what that leaves of its saving. No step has it: it is in other books.
fn embeddings(of: &Savings) -> String {
    let Some(made) = &of.source_embeddings else { return String::new() };
    let saved: UsdNanos = of.steps.iter().filter(|step| step.lever == "filter").map(|step| step.saved).sum();
    let left = saved - made.spent;
    let said = if left < UsdNanos::ZERO {
        format!("USD {} more than the filter saves", usd(UsdNanos(-left.0)))
    } else {
        format!("of what the filter saves USD {} are left", usd(left))
    };
    format!(
        "  the embeddings in its source cost USD {} beside that, which stands in the books of {}: {said}\n",
        usd(made.spent),
        made.jobs.join(", ")
    )
}

/// The plan that was not followed, in words.
fn naive(plan: &NaivePlan) -> String {
    let whom = match (&plan.model, plan.models.as_slice()) {
        (Some(model), _) => model.clone(),
        (None, []) => "its model".to_owned(),
        (None, models) => format!("the model that answered it ({})", models.join(", ")),
    };
    format!(
        "every item to {whom}, one by one in the {} lane, equal items and answers of earlier jobs too",
        plan.lane
    )
}
