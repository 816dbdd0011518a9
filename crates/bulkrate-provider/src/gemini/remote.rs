//! Reads batches: long-running operations, whose metadata says all that matters. Numbers come as texts, zeros not at all.

use bulkrate_core::submission::{BatchCounts, BatchError, Marker, Owner, Phase, RemoteBatch};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::errors::read_status;
use crate::http::batches::{self, Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;

/// A batch that has waited or run for so long is ended without results.
const WINDOW_S: u64 = 48 * 3_600;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(borrow, default)]
    operations: Vec<Operation<'a>>,
    #[serde(borrow, default)]
    next_page_token: LooseText<'a>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    name: LooseText<'a>,
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(default)]
    done: bool,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<Output<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    state: LooseText<'a>,
    #[serde(borrow, default)]
    display_name: LooseText<'a>,
    #[serde(borrow, default)]
    create_time: LooseText<'a>,
    #[serde(borrow, default)]
    end_time: LooseText<'a>,
    #[serde(borrow, default)]
    input_config: Option<Input<'a>>,
    #[serde(borrow, default)]
    output: Option<Output<'a>>,
    #[serde(default)]
    batch_stats: Option<Stats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(borrow, default)]
    file_name: LooseText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    #[serde(borrow, default)]
    responses_file: LooseText<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    #[serde(default)]
    request_count: Count,
    #[serde(default)]
    successful_request_count: Count,
    #[serde(default)]
    failed_request_count: Count,
}

/// The name of a batch that carries our mark: what it is known by in a list. Shorter than any name that is refused elsewhere (128).
pub(crate) fn display_name(marker: &Marker) -> String {
    batches::mark(marker, '.')
}

pub(crate) fn marker(name: &str) -> Option<Marker> {
    batches::marker(name, '.')
}

/// One batch; `Err` says what is missing.
pub(super) fn read_batch(body: &[u8]) -> Result<RemoteBatch, String> {
    read::<Operation<'_>>(body, "a batch")?.into_remote()
}

/// One page of the list of batches.
pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    // Nothing at all is an empty list: but only as an object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("the answer is not a list of batches".to_owned());
    }
    let list: List<'_> = read(body, "a list of batches")?;
    let batches = list.operations.into_iter().map(Operation::into_remote).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { batches, next: list.next_page_token.into_owned() })
}

/// The name of the file that was uploaded.
pub(super) fn read_upload(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Uploaded<'a> {
        #[serde(borrow)]
        file: File<'a>,
    }
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        name: LooseText<'a>,
    }
    serde_json::from_slice::<Uploaded<'_>>(body).ok()?.file.name.into_owned()
}

/// Whether the answer to a delete confirms it: an empty object.
pub(super) fn says_deleted(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok_and(|map| map.is_empty())
}

impl Operation<'_> {
    fn into_remote(self) -> Result<RemoteBatch, String> {
        let id = self.name.into_owned().ok_or("the batch has no name")?;
        let Metadata { state, display_name, create_time, end_time, input_config, output, batch_stats } =
            self.metadata;
        let ended_at = end_time.as_deref().and_then(unix_s);
        let error = self.error.and_then(read_status);
        let stats = batch_stats.unwrap_or_default();
        let counts = BatchCounts {
            total: stats.request_count.or_zero(),
            completed: stats.successful_request_count.or_zero(),
            failed: stats.failed_request_count.or_zero(),
        };
        let output_file =
            [output, self.response].into_iter().flatten().find_map(|output| output.responses_file.0);
        let cancelled = error.as_ref().is_some_and(|said| said.usual_status == 499);
        let ended = self.done.then_some(if cancelled { Phase::Cancelled } else { Phase::Failed });
        // Of what failed as a whole nothing was paid: but for what stands there as answered.
        let answered = output_file.is_some() || counts.completed > 0;
        let phase = match phase(state.as_deref().unwrap_or_default()) {
            Phase::Unknown if error.is_some() => ended.unwrap_or(Phase::Unknown),
            phase => phase,
        };
        let created_at = create_time.as_deref().and_then(unix_s);
        Ok(RemoteBatch {
            phase: if phase == Phase::Failed && answered { Phase::Completed } else { phase },
            id,
            status: state.into_owned().unwrap_or_default(),
            input_file: input_config.and_then(|input| input.file_name.into_owned()),
            output_file: output_file.map(std::borrow::Cow::into_owned),
            error_file: None,
            counts,
            errors: error
                .map(|said| BatchError { code: Some(said.status), message: said.message, line: None })
                .into_iter()
                .collect(),
            created_at,
            ended_at,
            expires_at: created_at.map(|created| created.saturating_add(WINDOW_S)),
            marker: display_name.as_deref().and_then(marker),
            owner: Owner::Unknown,
        })
    }
}

/// The same words stand after two beginnings, `BATCH_STATE_` and `JOB_STATE_`. One that we do not know is not an end.
pub(crate) fn phase(state: &str) -> Phase {
    match state.rsplit_once("STATE_").map_or(state, |(_, word)| word) {
        "PENDING" | "QUEUED" => Phase::Validating,
        "RUNNING" => Phase::InProgress,
        "CANCELLING" => Phase::Cancelling,
        "SUCCEEDED" | "PARTIALLY_SUCCEEDED" => Phase::Completed,
        "FAILED" => Phase::Failed,
        "CANCELLED" => Phase::Cancelled,
        "EXPIRED" => Phase::Expired,
        _ => Phase::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const ENDED: &str = include_str!("../../fixtures/gemini/batch_ended.json");

    #[test]
    fn a_full_batch() {
        let batch = read_batch(ENDED.as_bytes()).unwrap();
        assert_eq!(batch.id, "batches/o08hk76gv328ihxcssjsgwt3g6omtfysxi46");
        assert_eq!((batch.phase, batch.status.as_str()), (Phase::Completed, "BATCH_STATE_SUCCEEDED"));
        assert_eq!(batch.counts, BatchCounts { total: 2, completed: 1, failed: 1 });
        assert_eq!((batch.created_at, batch.expires_at), (Some(1_795_168_800), Some(1_795_341_600)));
        assert_eq!(batch.input_file.as_deref(), Some("files/t5snrshrqff1"));
        assert_eq!(batch.output_file.as_deref(), Some("files/batch-o08hk76gv328ihxcssjsgwt3g6omtfysxi46"));
        let mark = batch.marker.unwrap();
        assert_eq!((mark.inst.as_str(), mark.items, mark.digest.len()), ("k3v9q1x7m2c5n8d4", 2, 64));
    }

    #[test]
    fn states_in_both_spellings_and_what_an_error_makes_of_them() {
        let operation = |state: &str, stats: &str, rest: &str| {
            format!(
                r#"{{"name":"batches/b","metadata":{{"state":"{state}","batchStats":{{{stats}}}}}{rest}}}"#
            )
        };
        let failed = r#","done":true,"error":{"code":3,"message":"Error on line 1: invalid JSON"}"#;
        for (state, stats, rest, phase) in [
            ("BATCH_STATE_PENDING", "", "", Phase::Validating),
            ("JOB_STATE_RUNNING", r#""requestCount":"7""#, "", Phase::InProgress),
            ("BATCH_STATE_SUCCEEDED", "", r#","done":true"#, Phase::Completed),
            ("BATCH_STATE_FAILED", r#""requestCount":"7""#, failed, Phase::Failed),
            // What was answered is paid, and may be read.
            ("BATCH_STATE_FAILED", r#""successfulRequestCount":"7""#, failed, Phase::Completed),
            (
                "BATCH_STATE_CANCELLED",
                "",
                r#","done":true,"error":{"code":1,"message":"x"}"#,
                Phase::Cancelled,
            ),
            ("BATCH_STATE_EXPIRED", "", "", Phase::Expired),
            ("BATCH_STATE_OF_TOMORROW", "", "", Phase::Unknown),
            ("", "", "", Phase::Unknown),
            ("", "", failed, Phase::Failed),
            ("", "", r#","done":true,"error":{"code":1,"message":"x"}"#, Phase::Cancelled),
        ] {
            let body = operation(state, stats, rest);
            assert_eq!(read_batch(body.as_bytes()).unwrap().phase, phase, "{body}");
        }
        let failed = read_batch(operation("BATCH_STATE_FAILED", "", failed).as_bytes()).unwrap();
        assert_eq!(failed.errors[0].message, "Error on line 1: invalid JSON");
        for body in ["{}", r#"{"name":"batches/b"}"#, r#"{"metadata":{}}"#, "[]", "", "null"] {
            assert!(read_batch(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_name_is_our_mark_or_none() {
        let ours = Marker {
            inst: "k3v9q1x7m2c5n8d4".into(),
            sub: "01kaxvhz0000000000000000aa".into(),
            items: 50_000,
            digest: "0".repeat(64),
        };
        let name = display_name(&ours);
        assert!(name.len() <= 128 && marker(&name) == Some(ours), "{name}");
        for name in ["", "job-1", "br1", "br1.a.b.3", "br1.a.b.3.c.d", "br2.a.b.3.c", "br1..b.3.c"] {
            assert_eq!(marker(name), None, "{name}");
        }
    }

    #[test]
    fn pages_uploads_and_deletions() {
        let page =
            read_page(format!(r#"{{"operations":[{ENDED}],"nextPageToken":"t"}}"#).as_bytes()).unwrap();
        assert_eq!((page.batches.len(), page.next.as_deref()), (1, Some("t")));
        let empty = read_page(b"{}").unwrap();
        assert_eq!((empty.batches.len(), empty.next), (0, None));
        assert!(read_page(br#"{"operations":[{"name":"b"}]}"#).is_err() && read_page(b"[]").is_err());
        assert_eq!(
            read_upload(br#"{"file":{"name":"files/a","state":"ACTIVE"}}"#).as_deref(),
            Some("files/a")
        );
        assert!(read_upload(b"{}").is_none());
        assert!(
            says_deleted(b"{}\n")
                && !says_deleted(ENDED.as_bytes())
                && !says_deleted(b"<html>")
                && !says_deleted(b"")
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (read_batch(&bytes), read_page(&bytes), read_upload(&bytes), says_deleted(&bytes));
        }
    }
}
