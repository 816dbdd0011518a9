//! Reads batch objects. There is no failed state: a batch ends, and its counts say how.

use bulkrate_core::submission::{BatchCounts, Owner, Phase, RemoteBatch};
use serde::Deserialize;

use crate::http::batches::{Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<Batch<'a>>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    id: LooseText<'a>,
    #[serde(borrow)]
    processing_status: LooseText<'a>,
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(borrow, default)]
    created_at: LooseText<'a>,
    #[serde(borrow, default)]
    ended_at: LooseText<'a>,
    #[serde(borrow, default)]
    expires_at: LooseText<'a>,
    #[serde(borrow, default)]
    results_url: LooseText<'a>,
}

/// All of them stand in `processing` until the whole batch has ended.
#[derive(Default, Deserialize)]
struct Counts {
    #[serde(default)]
    processing: Count,
    #[serde(default)]
    succeeded: Count,
    #[serde(default)]
    errored: Count,
    #[serde(default)]
    canceled: Count,
    #[serde(default)]
    expired: Count,
}

/// One batch; `Err` says what is missing.
pub(super) fn read_batch(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Batch<'_>>(body, "a batch")?.into_remote()
}

/// One page of the list of batches.
pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batches")?;
    let batches = list.data.into_iter().map(Batch::into_remote).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::by_last_id(batches, list.has_more))
}

/// Whether the answer to a delete confirms it.
pub(super) fn says_deleted(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Deleted<'a> {
        #[serde(borrow, rename = "type")]
        kind: LooseText<'a>,
    }
    serde_json::from_slice::<Deleted<'_>>(body)
        .is_ok_and(|answer| answer.kind.as_deref() == Some("message_batch_deleted"))
}

impl Batch<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id = self.id.into_owned().ok_or("the batch has no id")?;
        let status = self.processing_status.into_owned().ok_or("the batch has no status")?;
        let counts = self.request_counts.unwrap_or_default();
        let (completed, failed) = (counts.succeeded.or_zero(), counts.errored.or_zero());
        let (cancelled, expired) = (counts.canceled.or_zero(), counts.expired.or_zero());
        let all = [counts.processing.or_zero(), completed, failed, cancelled, expired];
        Ok(RemoteBatch {
            phase: phase(&status, cancelled, expired),
            id,
            status,
            input_file: None,
            output_file: self.results_url.into_owned(),
            error_file: None,
            counts: BatchCounts { total: all.into_iter().fold(0, u64::saturating_add), completed, failed },
            errors: Vec::new(),
            created_at: self.created_at.as_deref().and_then(unix_s),
            ended_at: self.ended_at.as_deref().and_then(unix_s),
            expires_at: self.expires_at.as_deref().and_then(unix_s),
            marker: None,
            owner: Owner::Unknown,
        })
    }
}

/// A word that we do not know is not an end.
fn phase(status: &str, cancelled: u64, expired: u64) -> Phase {
    match status {
        "in_progress" => Phase::InProgress,
        "canceling" => Phase::Cancelling,
        "ended" if cancelled > 0 => Phase::Cancelled,
        "ended" if expired > 0 => Phase::Expired,
        "ended" => Phase::Completed,
        _ => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const ENDED: &[u8] = include_bytes!("../../fixtures/anthropic/batch_ended.json");

    #[test]
    fn a_full_batch() {
        let batch = read_batch(ENDED).unwrap();
        assert_eq!(batch.id, "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF");
        assert_eq!(batch.counts, BatchCounts { total: 100, completed: 95, failed: 2 });
        assert_eq!((batch.created_at, batch.expires_at), (Some(1_795_168_800), Some(1_795_255_200)));
        assert!(batch.ended_at > batch.created_at, "{:?}", batch.ended_at);
        assert!(batch.output_file.unwrap().ends_with("/msgbatch_013Zva2CMHLNnXjNJJKqJ2EF/results"));
        assert_eq!((batch.marker, batch.input_file, batch.error_file), (None, None, None));
    }

    #[test]
    fn how_a_batch_ended_is_in_its_counts() {
        let counts = |processing, succeeded, errored, canceled, expired| {
            format!(
                r#"{{"processing":{processing},"succeeded":{succeeded},"errored":{errored},"canceled":{canceled},"expired":{expired}}}"#
            )
        };
        for (status, counts, phase, total) in [
            ("in_progress", counts(7, 0, 0, 0, 0), Phase::InProgress, 7),
            ("canceling", counts(7, 0, 0, 0, 0), Phase::Cancelling, 7),
            ("ended", counts(0, 7, 0, 0, 0), Phase::Completed, 7),
            ("ended", counts(0, 3, 4, 0, 0), Phase::Completed, 7),
            // Each line says what was wrong with it: the batch as a whole was not refused.
            ("ended", counts(0, 0, 7, 0, 0), Phase::Completed, 7),
            ("ended", counts(0, 3, 0, 0, 4), Phase::Expired, 7),
            ("ended", counts(0, 3, 0, 2, 2), Phase::Cancelled, 7),
            ("paused", counts(7, 0, 0, 0, 0), Phase::Unknown, 7),
            ("in_progress", "null".to_owned(), Phase::InProgress, 0),
        ] {
            let body = format!(
                r#"{{"id":"b","processing_status":"{status}","request_counts":{counts},"results_url":null,"of_tomorrow":[1]}}"#
            );
            let batch = read_batch(body.as_bytes()).unwrap();
            assert_eq!((batch.phase, batch.counts.total), (phase, total), "{status} {counts}");
            assert_eq!((batch.output_file, batch.created_at), (None, None));
        }
        for body in ["{}", r#"{"id":"b"}"#, r#"{"processing_status":"ended"}"#, "[]", ""] {
            assert!(read_batch(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn pages_and_deletions() {
        let one = String::from_utf8_lossy(ENDED).into_owned();
        let page = read_page(format!(r#"{{"data":[{one}],"has_more":true}}"#).as_bytes()).unwrap();
        assert_eq!(
            (page.batches.len(), page.next.as_deref()),
            (1, Some("msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"))
        );
        assert!(read_page(br#"{"data":[{"id":"b"}]}"#).is_err() && read_page(b"{}").is_err());
        assert!(says_deleted(br#"{"id":"b","type":"message_batch_deleted"}"#));
        assert!(!says_deleted(ENDED) && !says_deleted(b"<html>"));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (read_batch(&bytes), read_page(&bytes), says_deleted(&bytes));
        }
    }
}
