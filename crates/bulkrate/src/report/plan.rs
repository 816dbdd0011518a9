//! A plan as a person reads it: what is asked, the lanes side by side, which one and why, what it may cost.

use std::fmt::Write as _;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::plan::{
    BundlePlan, EmbeddingPlan, LanePlan, ModelPlan, OrderPlan, Plan, PromptCachePlan,
};

use super::table::Table;
use super::words::{count, counted, duration, usd};

/// The plan as text, several lines.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "plan for `{}` (job {})", plan.name, plan.job);
    let mut records = counted(plan.records, "record");
    if plan.beyond_limit > 0 {
        let _ = write!(records, " of {} (limited)", count(plan.records + plan.beyond_limit));
    }
    let _ = writeln!(out, "  {records} read as {}: {}", plan.shape, what_becomes(plan));
    if plan.requests == 0 {
        let _ = writeln!(out, "  nothing to send; already spent by this job: USD {}", usd(plan.spent));
        return out;
    }
    out.push_str(&models(plan));
    out.push_str(&lanes(plan));
    let _ = writeln!(out, "\n  lane: {}, {}", plan.lane, plan.why);
    out.push_str(&money(plan));
    out.push_str(&plan.embedding.as_ref().map_or_else(String::new, embedding));
    out.push_str(&plan.bundle.as_ref().map_or_else(String::new, bundle));
    out.push_str(&plan.order.as_ref().map_or_else(String::new, order));
    plan.prompt_cache.iter().for_each(|one| out.push_str(&prompt_cache(one, plan.prompt_cache.len() > 1)));
    for warning in &plan.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn what_becomes(plan: &Plan) -> String {
    let mut parts = vec![format!("{} to send", counted(plan.requests, "request"))];
    let others = [
        (plan.duplicates, "equal to another"),
        (plan.cached, "answered before"),
        (plan.filtered, "answered by the filter"),
        (plan.invalid, "invalid"),
        (plan.skipped_lines, "unreadable and left out"),
    ];
    parts.extend(
        others
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number))),
    );
    parts.join(", ")
}

fn models(plan: &Plan) -> String {
    if plan.models.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(4, &["model", ">requests", ">input tokens", ">output tokens", ">output at most"]);
    for model in &plan.models {
        table.row([
            model.model.clone(),
            count(model.requests),
            input_tokens(model),
            count(model.output_tokens),
            count(u64::from(model.max_output_tokens)),
        ]);
    }
    let mut out = format!("\n{}", table.text());
    for model in &plan.models {
        if let Some(why) = model.input_count.as_ref().and_then(|input| input.why.as_ref()) {
            let _ = writeln!(out, "    input tokens of {}: {why}", model.model);
        }
    }
    out
}

/// The number, and how good it is if exact counts were asked for.
fn input_tokens(model: &ModelPlan) -> String {
    let tokens = count(model.input_tokens);
    match &model.input_count {
        None => tokens,
        Some(input) if input.exact => format!("{tokens} exact"),
        Some(input) if input.encoding.is_some() => format!("{tokens} counted"),
        Some(_) => format!("{tokens} estimated"),
    }
}

fn lanes(plan: &Plan) -> String {
    let mut table =
        Table::new(2, &["", "lane", ">expected USD", ">P95 USD", ">worst USD", ">time", ">batches"]);
    for lane in &plan.lanes {
        let mark = if lane.lane == plan.lane { "*" } else { "" };
        let mut row = vec![mark.to_owned(), lane.lane.to_string()];
        row.extend(figures(lane, plan.priced));
        table.row(row);
    }
    let mut out = format!("\n{}", table.text());
    for lane in &plan.lanes {
        if let Some(why) = &lane.unavailable {
            let _ = writeln!(out, "     {} cannot be used: {why}", lane.lane);
        }
    }
    out
}

fn figures(lane: &LanePlan, priced: bool) -> [String; 5] {
    if lane.unavailable.is_some() {
        return ["-", "-", "-", "-", "-"].map(str::to_owned);
    }
    let of = |seconds: u64| duration(seconds.saturating_mul(1_000));
    let money = |amount| if priced { usd(amount) } else { "unknown".to_owned() };
    [
        money(lane.expected),
        money(lane.p95),
        money(lane.worst),
        lane.seconds.map_or_else(
            || "unknown".to_owned(),
            |seconds| {
                let most = lane.seconds_p95.map_or_else(String::new, |most| format!(", P95 {}", of(most)));
                format!("~ {}{most}", of(seconds))
            },
        ),
        lane.batches.map_or_else(|| "-".to_owned(), count),
    ]
}

/// Which model the naive plan asks, and that it leaves no item out that is equal to another.
pub(super) fn at(naive_model: Option<&str>) -> String {
    let whom = naive_model
        .map_or_else(|| "each item at its own model".to_owned(), |model| format!("all at {model}"));
    format!(", {whom} and equal ones too,")
}

/// For how long prompts are marked and what that makes of the input's price, or why they are not.
fn prompt_cache(of: &PromptCachePlan, several: bool) -> String {
    let model = if several { format!(" of {}", of.model) } else { String::new() };
    let Some(mark) = of.mark else {
        let why = of.why.as_deref().unwrap_or("not marked");
        return format!("  prompt cache{model}: {why}\n");
    };
    let ttl = if mark == "1h" { "1 h" } else { "5 min" };
    let joined = |numbers: &[f64], digits: usize| {
        let texts = numbers.iter().map(|number| match digits {
            0 => format!("{number}"),
            _ => format!("{number:.digits$}"),
        });
        texts.collect::<Vec<_>>().join(" / ")
    };
    let worth = of.factors.map_or_else(String::new, |factors| {
        format!(", f {} at hit rates {}", joined(&factors, 2), joined(&of.hit_rates, 0))
    });
    format!("  prompt cache{model}: marked for {ttl}{worth}\n")
}

/// What is embedded before the run, at which price, and how much must be served for that to pay.
fn embedding(of: &EmbeddingPlan) -> String {
    let spent = if of.spent > UsdNanos::ZERO {
        format!("; USD {} spent so far", usd(of.spent))
    } else {
        String::new()
    };
    if of.requests == 0 {
        return format!("  embeddings: nothing to be made by {}{spent}\n", of.model);
    }
    let (texts, lane) = (counted(of.requests, "text"), of.lane);
    let price = if of.priced {
        format!("USD {} more, P95 {}", usd(of.expected), usd(of.p95))
    } else {
        "at a price that is not known".to_owned()
    };
    let pays = of.pays_from_permille.map_or_else(String::new, |permille| {
        let share = format!("{}.{}", permille / 10, permille % 10);
        format!("; they pay where more than {share} % of the requests are served")
    });
    format!(
        "  embeddings: {texts} by {}, before the run in the {lane} lane: {price}{pays}{spent}\n",
        of.model
    )
}

/// How many items share a request and what that saves, or why none do.
fn bundle(of: &BundlePlan) -> String {
    let why = of.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    match of.size {
        None => format!("  bundles of {} are off{why}\n", of.asked),
        Some(size) if of.saved > UsdNanos::ZERO => format!(
            "  bundles of up to {size}: about {} requests, USD {} less than one by one\n",
            count(of.requests),
            usd(of.saved)
        ),
        Some(size) => format!("  bundles of up to {size}{why}\n"),
    }
}

/// The order of sending: why it is what it is, and what the input costs for so many of the shared beginnings found again.
fn order(of: &OrderPlan) -> String {
    let mut out = match (&of.why, of.by_prefix) {
        (_, true) => "  order: prompts that begin alike go one after the other\n".to_owned(),
        (why, false) => {
            format!(
                "  order: as in the source: {}\n",
                why.as_deref().unwrap_or("nothing is gained by another")
            )
        }
    };
    for share in of.models.iter().filter(|_| of.by_prefix) {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let _ = write!(
            out,
            "    {}: {} of the prompts' bytes begin the one sent before too, {} in the source's order",
            share.model,
            percent(share.ordered),
            percent(share.as_is)
        );
        if let Some(costs) = share.costs {
            let cost = |(cost, hits): (&f64, &f64)| format!("{cost:.2} at {:.0} % found", hits * 100.0);
            let costs: Vec<String> = costs.iter().zip(&share.hit_rates).map(cost).collect();
            let _ = write!(out, "; input costs {} of its price", costs.join(", "));
        }
        if let Some(marked) = &share.marked {
            let _ = write!(out, "; {} beginnings of {} rows are marked", marked.beginnings, marked.rows);
        }
        out.push('\n');
    }
    out
}

fn money(plan: &Plan) -> String {
    let mut out = String::new();
    if plan.priced {
        let at = at(plan.naive_model.as_deref());
        let _ = writeln!(out, "  one by one in the sync lane{at} it would be USD {}", usd(plan.naive));
    } else {
        let models = plan.unpriced_models.join("`, `");
        let _ = writeln!(
            out,
            "  no price is known for `{models}`: `--price-in` and `--price-out` name one; a `--budget` could not be kept"
        );
    }
    if plan.spent.0 > 0 {
        let _ = writeln!(out, "  already spent by this job: USD {}", usd(plan.spent));
    }
    if let Some(cap) = plan.cap {
        let whose = if plan.cap_is_default {
            "1.5 x P95, at least twice the worst case of up to 100 requests, as there is no `--budget`"
        } else {
            "your budget"
        };
        let _ = writeln!(out, "  hard cap: USD {} ({whose})", usd(cap));
    }
    out
}
