//! Costs by group: as a table with a plot, and as CSV.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bulkrate_core::money::UsdNanos;
use bulkrate_engine::view::{CostRow, PeriodCost};
use bulkrate_io::csv_line;

use super::table::Table;
use super::views::known;
use super::words::{count, counted, share};

/// Cells of a bar that stands for all that was spent.
const BAR: usize = 24;
/// Steps of a trend that fit beside a table: the last ones.
const STEPS: usize = 31;
/// Eighths of a cell, from the left and from below.
const LEFT: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const BELOW: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a table of costs shows beside its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shown {
    /// A column for each lever instead of what was spent.
    pub levers: bool,
    /// A bar for each row.
    pub plot: bool,
}

/// The table for people. `by`: the name of the groups.
#[must_use]
pub fn text(by: &str, rows: &[CostRow], shown: Shown) -> String {
    if rows.is_empty() {
        return "nothing was spent here\n".to_owned();
    }
    let mut out = if shown.levers { levers(by, rows) } else { spent(by, rows, shown.plot) };
    if rows.iter().any(|row| row.unpriced) {
        out.push_str(
            "unknown: what a model without a known price has cost; `--price-in` and `--price-out` name one\n",
        );
    }
    if rows.iter().any(|row| row.beside != UsdNanos::ZERO) {
        out.push_str(
            "beside: of what was spent, paid twice or without an answer; one by one would have cost spent and saved, less beside\n",
        );
    }
    if let Some((first, last)) = rows[0].trend.first().zip(rows[0].trend.last()) {
        let steps = rows[0].trend.len();
        let shown =
            if steps > STEPS { format!(", of which the last {STEPS} are drawn") } else { String::new() };
        let _ = writeln!(
            out,
            "trend: from {} to {} in {}{shown}; change: of the last to the one before",
            first.period,
            last.period,
            counted(steps as u64, "step")
        );
    }
    out
}

fn spent(by: &str, rows: &[CostRow], plot: bool) -> String {
    let trend = rows.iter().any(|row| !row.trend.is_empty());
    let mut headings = vec![by, ">items", ">spent USD", ">share", ">in doubt USD", ">saved USD"];
    let beside = rows.iter().any(|row| row.beside != UsdNanos::ZERO);
    headings.extend(beside.then_some(">beside USD"));
    headings.extend(trend.then_some(["trend", ">change"]).into_iter().flatten());
    headings.extend(plot.then_some(""));
    let mut table = Table::new(0, &headings);
    let sum = sum(rows);
    for (at, row) in rows.iter().chain((rows.len() > 1).then_some(&sum)).enumerate() {
        let mut cells = vec![
            row.group.clone(),
            count(row.items),
            known(row.spent.to_string(), row.spent, row.unpriced),
            row.share.map_or_else(String::new, share),
            row.in_doubt.to_string(),
            row.saved.to_string(),
        ];
        cells.extend(beside.then(|| row.beside.to_string()));
        if trend {
            cells.extend([sparkline(&row.trend), change(&row.trend)]);
        }
        // A bar of the sum says nothing.
        if plot && at < rows.len() {
            cells.push(bar(row.share.unwrap_or_default()));
        }
        table.row(cells);
    }
    table.text()
}

/// All rows as one.
fn sum(rows: &[CostRow]) -> CostRow {
    let mut sum = CostRow { group: "sum".to_owned(), ..CostRow::default() };
    for row in rows {
        sum.items += row.items;
        sum.spent += row.spent;
        sum.in_doubt += row.in_doubt;
        sum.saved += row.saved;
        sum.beside += row.beside;
        sum.unpriced |= row.unpriced;
        for (lever, saved) in &row.saved_by {
            *sum.saved_by.entry(lever.clone()).or_default() += *saved;
        }
        for (at, step) in row.trend.iter().enumerate() {
            match sum.trend.get_mut(at) {
                Some(all) => all.spent += step.spent,
                None => sum.trend.push(step.clone()),
            }
        }
    }
    sum.share = rows.iter().any(|row| row.share.is_some()).then_some(1.0);
    sum
}

/// What each lever saved in each group, and what all of them did, of what would have been paid without them.
fn levers(by: &str, rows: &[CostRow]) -> String {
    let names = lever_names(rows);
    let headings: Vec<String> = names.iter().map(|name| format!(">{name}")).collect();
    let mut all = vec![by];
    all.extend(headings.iter().map(String::as_str));
    all.extend([">saved USD", ">of naive", ">spent USD"]);
    let mut table = Table::new(0, &all);
    let sum = sum(rows);
    for row in rows.iter().chain((rows.len() > 1).then_some(&sum)) {
        let of = |name: &&str| row.saved_by.get(*name).map_or_else(String::new, ToString::to_string);
        let mut cells = vec![row.group.clone()];
        cells.extend(names.iter().map(of));
        cells.extend([
            row.saved.to_string(),
            saved_share(row).map_or_else(String::new, share),
            known(row.spent.to_string(), row.spent, row.unpriced),
        ]);
        table.row(cells);
    }
    table.text()
}

fn lever_names(rows: &[CostRow]) -> Vec<&str> {
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.saved_by.keys()).map(String::as_str).collect();
    names.into_iter().collect()
}

/// What was saved of the naive cost, which is spent and saved together less what was paid beside; none where a price is not known.
#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn saved_share(row: &CostRow) -> Option<f64> {
    let naive = row.spent + row.saved - row.beside;
    (naive > UsdNanos::ZERO && !row.unpriced).then(|| row.saved.0 as f64 / naive.0 as f64)
}

/// A bar of `BAR` cells for all, in eighths of a cell; what is not nothing is seen.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few cells")]
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mut out = "█".repeat(eighths / 8);
    out.extend((eighths % 8).checked_sub(1).map(|at| LEFT[at]));
    out
}

/// One letter a step, as high as its share of the highest; a step without costs is a dot.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "eight heights"
)]
fn sparkline(trend: &[PeriodCost]) -> String {
    let trend = &trend[trend.len().saturating_sub(STEPS)..];
    let most = trend.iter().map(|step| step.spent).max().unwrap_or_default();
    let height = |step: &PeriodCost| match step.spent {
        UsdNanos(..=0) => '·',
        UsdNanos(spent) => BELOW[((spent as f64 / most.0 as f64 * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    trend.iter().map(height).collect()
}

/// Of the last step against the one before it.
#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn change(trend: &[PeriodCost]) -> String {
    match trend {
        [.., before, last] if before.spent > UsdNanos::ZERO => {
            format!("{:+.1} %", (last.spent.0 as f64 / before.spent.0 as f64 - 1.0) * 100.0)
        }
        [.., before, last] if before.spent == last.spent => String::new(),
        [.., _, _] => "new".to_owned(),
        _ => String::new(),
    }
}

/// One line a group; levers and steps of the trend are columns. What is not known is empty.
#[must_use]
pub fn csv(by: &str, rows: &[CostRow]) -> String {
    let levers = lever_names(rows);
    let fixed = [by, "items", "spent_usd", "share", "in_doubt_usd", "saved_usd", "beside_usd", "unpriced"];
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(levers.iter().map(|lever| format!("saved_{lever}_usd")));
    header.extend(
        rows.first().into_iter().flat_map(|row| &row.trend).map(|step| format!("spent_usd_{}", step.period)),
    );
    let mut out = csv_line(&header);
    for row in rows {
        let unknown = row.unpriced && row.spent == UsdNanos::ZERO;
        let mut cells = vec![
            row.group.clone(),
            row.items.to_string(),
            if unknown { String::new() } else { row.spent.to_string() },
            row.share.map_or_else(String::new, |share| format!("{share:.6}")),
            row.in_doubt.to_string(),
            row.saved.to_string(),
            row.beside.to_string(),
            row.unpriced.to_string(),
        ];
        cells.extend(
            levers.iter().map(|lever| row.saved_by.get(*lever).copied().unwrap_or_default().to_string()),
        );
        cells.extend(row.trend.iter().map(|step| step.spent.to_string()));
        out.push_str(&csv_line(&cells));
    }
    out
}
