//! What a workload would cost, lever by lever, as text and for programs.

use std::fmt::Write as _;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::price::{Outlook, Workload};
use serde_json::{Value, json};

use super::table::Table;
use super::words::{count, percent, usd};

/// Told beside the table.
pub const NOTE: &str =
    "prices of today's catalogue or your own; each step works on what the one before left over\n";

/// The mix, and the way from the naive cost to the last. `sync` and `paid`: pico-dollars of one item at each model.
#[must_use]
pub fn table(workload: &Workload, outlook: &Outlook, sync: &[u128], paid: &[u128]) -> String {
    let mut out = format!(
        "{} items of {} input and {} output tokens\n\n",
        count(workload.items),
        count(workload.input.0),
        count(workload.output.0)
    );
    let lane = outlook.lane;
    let heading = format!(">{lane} USD an item");
    let mut headings = vec!["model", ">share", ">sync USD an item"];
    headings.extend((lane != Lane::Sync).then_some(heading.as_str()));
    let mut models = Table::new(2, &headings);
    for (part, (sync, paid)) in workload.mix.iter().zip(sync.iter().zip(paid)) {
        let share = percent(u64::from(part.permille), 1_000);
        let mut cells = vec![part.model.clone(), share, picos(*sync)];
        cells.extend((lane != Lane::Sync).then(|| picos(*paid)));
        models.row(cells);
    }
    let mut steps = Table::new(2, &["step", ">saves USD", ">leaves USD"]);
    steps.row(["naive".to_owned(), String::new(), usd(outlook.naive)]);
    for step in &outlook.steps {
        steps.row([step.lever.to_owned(), usd(step.saved), usd(step.cost)]);
    }
    let _ = write!(out, "{}\n{}\n", models.text(), steps.text());
    let _ = writeln!(out, "  naive: every item to {}, one by one in the sync lane", outlook.dearest);
    let whole = u64::try_from(outlook.naive.0).unwrap_or(0);
    let share = percent(u64::try_from(outlook.cost.0).unwrap_or(0), whole);
    let _ = writeln!(out, "  USD {} in the {lane} lane, {share} of naive", usd(outlook.cost));
    out
}

/// The same for programs; an item's cost in pico-dollars, which is exact.
#[must_use]
pub fn document(workload: &Workload, outlook: &Outlook, sync: &[u128], paid: &[u128]) -> Value {
    let mix: Vec<Value> = workload
        .mix
        .iter()
        .zip(sync.iter().zip(paid))
        .map(|(part, (sync, paid))| {
            json!({
                "model": part.model, "share": f64::from(part.permille) / 1_000.0,
                "sync_picousd_per_item": u64::try_from(*sync).ok(), "picousd_per_item": u64::try_from(*paid).ok(),
            })
        })
        .collect();
    let step = |lever: &str, saved: UsdNanos, cost: UsdNanos| json!({ "lever": lever, "saved": saved, "cost": cost });
    let steps: Vec<Value> = outlook.steps.iter().map(|one| step(one.lever, one.saved, one.cost)).collect();
    super::json::document(&json!({
        "items": workload.items, "input_tokens": workload.input.0, "output_tokens": workload.output.0,
        "lane": outlook.lane.name(), "mix": mix, "naive_model": outlook.dearest, "naive": outlook.naive,
        "steps": steps, "cost": outlook.cost,
    }))
}

/// Pico-dollars as dollars, every digit.
fn picos(picos: u128) -> String {
    let fraction = format!("{:012}", picos % 1_000_000_000_000);
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{}.{}", picos / 1_000_000_000_000, &fraction[..kept])
}
