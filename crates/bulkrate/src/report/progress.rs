//! Where a job stands, as lines of text.

use bulkrate_core::price::Forecast;
use bulkrate_engine::event::{BatchLine, Progress};

use super::words::{count, counted, duration, percent, rate, usd};

/// Batches shown in the live display; the others are counted.
const BATCHES_SHOWN: usize = 6;

/// Everything in one line.
#[must_use]
pub fn line(progress: &Progress) -> String {
    let done = progress.succeeded + progress.failed;
    let mut parts = vec![format!(
        "{} of {} ({})",
        count(done),
        counted(progress.items, "item"),
        percent(done, progress.items)
    )];
    parts.extend(details(progress));
    parts.join(", ")
}

/// What stands behind the bar.
#[must_use]
pub fn head(progress: &Progress) -> String {
    let done = progress.succeeded + progress.failed;
    let mut parts =
        vec![format!("{}/{} {}", count(done), count(progress.items), percent(done, progress.items))];
    if progress.items_per_second > 0.0 {
        parts.push(rate(progress.items_per_second));
    }
    parts.extend(left(progress));
    parts.join("  ")
}

/// How long it may take, or for whom it waits.
fn left(progress: &Progress) -> Option<String> {
    if !progress.away.is_empty() {
        return Some(format!("waiting for {} to come back", progress.away.join(", ")));
    }
    progress.eta_ms.map(|left| format!("about {} left", duration(left)))
}

/// The lines under the bar: money, troubles, batches.
#[must_use]
pub fn body(progress: &Progress, now_ms: i64) -> Vec<String> {
    let mut lines = vec![format!("  {}", money(progress).join(", "))];
    let troubles = troubles(progress);
    if !troubles.is_empty() {
        lines.push(format!("  {}", troubles.join(", ")));
    }
    lines.extend(
        progress.batches.iter().take(BATCHES_SHOWN).map(|batch| format!("  {}", self::batch(batch, now_ms))),
    );
    if progress.batches.len() > BATCHES_SHOWN {
        let more = u64::try_from(progress.batches.len() - BATCHES_SHOWN).unwrap_or(0);
        lines.push(format!("  and {} more batches", count(more)));
    }
    lines
}

/// `batch 7zk3: in_progress for 12 s, 40 of 60 items`.
#[must_use]
pub fn batch(batch: &BatchLine, now_ms: i64) -> String {
    let since = u64::try_from(now_ms.saturating_sub(batch.since_ms)).unwrap_or(0);
    let name = batch.batch.as_deref().unwrap_or(&batch.sub);
    let mut text = format!("batch {name}: {}", batch.state);
    if batch.since_ms > 0 && since >= 1_000 {
        text.push_str(&format!(" for {}", duration(since)));
    }
    text.push_str(&format!(", {} of {}", count(batch.completed), counted(batch.items, "item")));
    if batch.failed > 0 {
        text.push_str(&format!(", {} failed", count(batch.failed)));
    }
    text
}

fn details(progress: &Progress) -> Vec<String> {
    let mut parts = Vec::new();
    if progress.items_per_second > 0.0 {
        parts.push(rate(progress.items_per_second));
    }
    parts.extend(money(progress));
    parts.extend(troubles(progress));
    parts.extend(left(progress));
    parts
}

fn money(progress: &Progress) -> Vec<String> {
    let budget = progress.budget.map_or(String::new(), |budget| format!(" of {}", usd(budget)));
    let mut parts = vec![format!("spent USD {}{budget}", usd(progress.spent))];
    if let Some(forecast) = &progress.forecast {
        parts.push(expected(forecast));
    }
    if progress.naive.0 > 0 {
        parts.push(format!("one by one USD {}", usd(progress.naive)));
    }
    if progress.in_doubt.0 > 0 {
        parts.push(format!("in doubt USD {}", usd(progress.in_doubt)));
    }
    parts
}

/// What a job will have cost in the end.
pub(super) fn expected(forecast: &Forecast) -> String {
    format!("about USD {} in all, P95 {}", usd(forecast.expected), usd(forecast.p95))
}

fn troubles(progress: &Progress) -> Vec<String> {
    let counts = [
        (progress.in_flight, "in flight"),
        (
            progress.duplicates + progress.cached + progress.filtered + progress.similar,
            "answered without a request",
        ),
        (progress.failed, "failed"),
        (progress.retries, "tried again"),
        (progress.rate_limited, "rate limited"),
        (progress.no_capacity, "found no flex capacity"),
    ];
    counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", count(*number)))
        .collect()
}
