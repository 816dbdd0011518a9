//! Reads batch objects: states, counts, errors, times and our marker, however a service writes them.

use std::borrow::Cow;

use bulkrate_core::submission::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::http::batches::{Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<Batch<'a>>>,
    /// Azure's older name of it.
    #[serde(borrow, default)]
    value: Option<Vec<Batch<'a>>>,
    #[serde(default)]
    has_more: Option<bool>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    id: LooseText<'a>,
    #[serde(borrow)]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    input_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    output_file_id: LooseText<'a>,
    #[serde(borrow, default)]
    error_file_id: LooseText<'a>,
    /// Azure's, where files lie in a store of the caller's own.
    #[serde(borrow, default)]
    input_blob: LooseText<'a>,
    #[serde(borrow, default)]
    output_blob: LooseText<'a>,
    #[serde(borrow, default)]
    error_blob: LooseText<'a>,
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(borrow, default)]
    errors: Option<Errors<'a>>,
    #[serde(borrow, default)]
    created_at: LooseText<'a>,
    #[serde(borrow, default)]
    completed_at: LooseText<'a>,
    #[serde(borrow, default)]
    failed_at: LooseText<'a>,
    #[serde(borrow, default)]
    expired_at: LooseText<'a>,
    #[serde(borrow, default)]
    cancelled_at: LooseText<'a>,
    #[serde(borrow, default)]
    expires_at: LooseText<'a>,
    #[serde(borrow, default)]
    metadata: Option<Marked<'a>>,
}

#[derive(Default, Deserialize)]
struct Counts {
    #[serde(default)]
    total: Count,
    #[serde(default)]
    completed: Count,
    #[serde(default)]
    failed: Count,
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<OneError<'a>>>,
}

#[derive(Deserialize)]
struct OneError<'a> {
    #[serde(borrow, default)]
    code: LooseText<'a>,
    #[serde(borrow, default)]
    message: LooseText<'a>,
    #[serde(default)]
    line: Count,
}

/// What is written on a batch, as far as it is our mark.
#[derive(Deserialize)]
pub(super) struct Marked<'a> {
    #[serde(borrow, default)]
    br_inst: LooseText<'a>,
    #[serde(borrow, default)]
    br_sub: LooseText<'a>,
    #[serde(borrow, default)]
    br_n: LooseText<'a>,
    #[serde(borrow, default)]
    br_digest: LooseText<'a>,
}

/// One batch; `Err` says what is missing.
pub(super) fn read_batch(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Batch<'_>>(body, "a batch")?.into_remote()
}

/// One page of the list of batches.
pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batches")?;
    let listed = list.data.or(list.value).ok_or("the answer is not a list of batches: it has no `data`")?;
    let batches = listed.into_iter().map(Batch::into_remote).collect::<Result<Vec<_>, _>>()?;
    // Without the field a full page may have a successor.
    let has_more = list.has_more.unwrap_or(batches.len() >= 100);
    Ok(Page::by_last_id(batches, has_more))
}

/// Whether the answer to a delete confirms it.
pub(super) fn says_deleted(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Deleted {
        deleted: bool,
        #[serde(rename = "id")]
        _id: IgnoredAny,
    }
    serde_json::from_slice::<Deleted>(body).is_ok_and(|answer| answer.deleted)
}

impl Batch<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id = self.id.into_owned().ok_or("the batch has no id")?;
        let status = self.status.into_owned().ok_or("the batch has no status")?;
        let counts = self.request_counts.unwrap_or_default();
        let ends = [&self.completed_at, &self.failed_at, &self.expired_at, &self.cancelled_at];
        let ended_at = ends.into_iter().find_map(|at| at.as_deref().and_then(unix_s));
        let errors = self.errors.and_then(|errors| errors.data).into_iter().flatten();
        Ok(RemoteBatch {
            phase: phase(&status),
            id,
            status,
            input_file: self.input_file_id.0.or(self.input_blob.0).map(Cow::into_owned),
            output_file: self.output_file_id.0.or(self.output_blob.0).map(Cow::into_owned),
            error_file: self.error_file_id.0.or(self.error_blob.0).map(Cow::into_owned),
            counts: BatchCounts {
                total: counts.total.or_zero(),
                completed: counts.completed.or_zero(),
                failed: counts.failed.or_zero(),
            },
            errors: errors.map(OneError::into_error).collect(),
            created_at: self.created_at.as_deref().and_then(unix_s),
            ended_at,
            expires_at: self.expires_at.as_deref().and_then(unix_s),
            marker: self.metadata.and_then(Marked::into_marker),
            owner: Owner::Unknown,
        })
    }
}

impl OneError<'_> {
    fn into_error(self) -> BatchError {
        BatchError {
            code: self.code.into_owned(),
            message: self.message.into_owned().unwrap_or_default(),
            line: self.line.or(None),
        }
    }
}

impl Marked<'_> {
    /// `None` unless all four keys are there: half a marker proves nothing.
    pub(super) fn into_marker(self) -> Option<Marker> {
        Some(Marker {
            inst: self.br_inst.into_owned()?,
            sub: self.br_sub.into_owned()?,
            items: self.br_n.as_deref()?.parse().ok()?,
            digest: self.br_digest.into_owned()?,
        })
    }
}

/// The state of a batch in any capitalisation; a word we do not know is not an end.
pub(super) fn phase(status: &str) -> Phase {
    match status.to_ascii_lowercase().as_str() {
        "validating" | "queued" | "pending" => Phase::Validating,
        "in_progress" | "running" => Phase::InProgress,
        "finalizing" => Phase::Finalizing,
        "cancelling" | "canceling" => Phase::Cancelling,
        "completed" => Phase::Completed,
        "failed" => Phase::Failed,
        "expired" => Phase::Expired,
        "cancelled" | "canceled" => Phase::Cancelled,
        _ => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_batch() {
        let batch = read_batch(include_bytes!("../../fixtures/openai/batch_completed.json")).unwrap();
        assert_eq!(batch.phase, Phase::Completed);
        assert_eq!(batch.counts, BatchCounts { total: 1_000, completed: 996, failed: 4 });
        assert_eq!(batch.created_at, Some(1_795_046_400));
        let marker = batch.marker.unwrap();
        assert_eq!((marker.inst.as_str(), marker.items), ("inst-1", 1_000));
        assert_eq!(batch.error_file.as_deref(), Some("file-err"));
    }

    #[test]
    fn a_failed_batch_says_why() {
        let batch = read_batch(include_bytes!("../../fixtures/openai/batch_failed.json")).unwrap();
        assert_eq!(batch.phase, Phase::Failed);
        let lines: Vec<_> = batch.errors.iter().map(|error| (error.code.as_deref(), error.line)).collect();
        assert_eq!(lines, [(Some("duplicate_custom_id"), Some(3)), (Some("token_limit_exceeded"), None)]);
    }

    #[test]
    fn a_batch_of_azures_older_versions() {
        let one = include_bytes!("../../fixtures/openai/batch_azure.json");
        let batch = read_batch(one).unwrap();
        assert_eq!((batch.phase, batch.created_at), (Phase::Completed, Some(1_795_168_800)));
        assert_eq!(batch.counts, BatchCounts { total: 1_000, completed: 0, failed: 0 });
        let listed = format!(r#"{{"value":[{}],"has_more":false}}"#, std::str::from_utf8(one).unwrap());
        assert_eq!(read_page(listed.as_bytes()).unwrap().batches[0].id, batch.id);
    }

    #[test]
    fn absent_null_and_empty_are_the_same() {
        for extra in [
            "",
            r#","error_file_id":null,"errors":null,"metadata":null,"request_counts":null"#,
            r#","error_file_id":"","metadata":{}"#,
        ] {
            let batch =
                read_batch(format!(r#"{{"id":"b","status":"In_Progress"{extra}}}"#).as_bytes()).unwrap();
            assert_eq!(
                (batch.phase, batch.error_file, batch.marker, batch.counts.total),
                (Phase::InProgress, None, None, 0),
                "{extra}"
            );
        }
    }

    #[test]
    fn times_in_every_spelling() {
        for (text, want) in [
            ("1795046400", Some(1_795_046_400)),
            ("1795046400.5", Some(1_795_046_400)),
            ("2026-11-19T00:00:00Z", Some(1_795_046_400)),
            ("soon", None),
            ("0", None),
            ("-1", None),
        ] {
            assert_eq!(unix_s(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_batch() {
        for body in [
            "",
            "{}",
            r#"{"id":"b"}"#,
            r#"{"status":"completed"}"#,
            r#"{"id":"","status":"x"}"#,
            "<html>",
            "[]",
        ] {
            assert!(read_batch(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_page(br#"{"object":"list"}"#).is_err());
        assert!(
            !says_deleted(b"{}")
                && !says_deleted(br#"{"id":"f","deleted":false}"#)
                && says_deleted(br#"{"id":"f","deleted":true}"#)
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_batch(&bytes), read_page(&bytes), says_deleted(&bytes));
        }
    }
}
