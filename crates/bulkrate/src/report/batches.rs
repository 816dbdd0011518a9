//! Batches as a provider tells of them.

use std::fmt::Write as _;

use super::table::Table;
use super::views::created;
use super::words::count;
use crate::app::BatchView;

/// One a line, and below them what could not be asked.
#[must_use]
pub fn table(batches: &[BatchView]) -> String {
    if batches.is_empty() {
        return "no batches\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            "batch",
            "provider",
            "status",
            ">total",
            ">succeeded",
            ">errored",
            ">processing",
            "created",
            "expires",
            "job",
        ],
    );
    for batch in batches {
        table.row([
            batch.batch.clone().unwrap_or_else(|| "-".to_owned()),
            batch.provider.clone(),
            batch.status.clone(),
            count(batch.total),
            count(batch.succeeded),
            count(batch.errored),
            count(batch.processing),
            time(batch.created_at_ms),
            time(batch.expires_at_ms),
            batch.job.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut out = table.text();
    for batch in batches {
        if let (Some(id), Some(why)) = (&batch.batch, &batch.not_asked) {
            let _ = writeln!(out, "  {id}: as last known: {why}");
        }
    }
    out
}

fn time(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| "-".to_owned(), created)
}
