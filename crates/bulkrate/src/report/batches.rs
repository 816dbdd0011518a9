//! Batches as a provider tells of them.

use std::fmt::Write as _;

use super::table::Table;
use super::views::created;
use super::words::{count, counted};
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
            "completed",
            "expires",
            "job",
        ],
    );
    for batch in batches {
        table.row([
            batch.batch.clone().unwrap_or_else(|| "-".to_owned()),
            batch.provider.clone(),
            batch.status.clone(),
            count(batch.counts.total),
            count(batch.counts.succeeded),
            count(batch.counts.errored),
            count(batch.counts.processing),
            time(batch.times.created),
            time(batch.times.completed),
            time(batch.times.expires),
            batch.job.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut out = table.text();
    for batch in batches {
        let id = batch.batch.as_deref();
        let ended = [(batch.counts.expired, "expired"), (batch.counts.cancelled, "cancelled")];
        for (requests, how) in ended.into_iter().filter(|(requests, _)| *requests > 0) {
            let _ = writeln!(
                out,
                "  {}: {} {how} without an answer",
                id.unwrap_or("-"),
                counted(requests, "request")
            );
        }
        let Some(why) = &batch.not_asked else { continue };
        let _ = match id {
            Some(id) => writeln!(out, "  {id}: as last known: {why}"),
            None if batch.job.is_none() => writeln!(out, "  {}: not asked: {why}", batch.provider),
            None => Ok(()),
        };
    }
    out
}

fn time(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| "-".to_owned(), created)
}
