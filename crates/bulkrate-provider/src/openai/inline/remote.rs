//! Reads OpenRouter's batches, and what stands for a result that is none.

use bulkrate_core::answer::Failure;
use bulkrate_core::submission::{BatchCounts, BatchError, Owner, Phase, RemoteBatch};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::http::batches::{Page, read};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;
use crate::openai::{errors, pages, remote};

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
    status: LooseText<'a>,
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(borrow, default)]
    created_at: LooseText<'a>,
    #[serde(borrow, default)]
    finalized_at: LooseText<'a>,
    /// Up to 96 hours after the create, and nothing where the provider behind it has no such time.
    #[serde(borrow, default)]
    expires_at: LooseText<'a>,
    #[serde(borrow, default)]
    error: Option<Why<'a>>,
    /// Not in lists.
    #[serde(default)]
    results: Option<IgnoredAny>,
    #[serde(default)]
    usage: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    total: Count,
    completed: Count,
    failed: Count,
}

#[derive(Deserialize)]
struct Why<'a> {
    #[serde(borrow, default)]
    message: LooseText<'a>,
}

/// `locked`: the results are there, and withheld until what they cost is paid.
pub(super) fn read_batch(body: &[u8], locked: bool) -> Result<RemoteBatch, String> {
    read::<Batch<'_>>(body, "a batch")?.into_remote(locked)
}

pub(super) fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batches")?;
    let batches =
        list.data.into_iter().map(|batch| batch.into_remote(false)).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::by_last_id(batches, list.has_more))
}

pub(super) fn says_deleted(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Deleted<'a> {
        #[serde(borrow)]
        deletion: Deletion<'a>,
    }
    #[derive(Deserialize)]
    struct Deletion<'a> {
        #[serde(borrow)]
        openrouter: LooseText<'a>,
    }
    serde_json::from_slice::<Deleted<'_>>(body)
        .is_ok_and(|answer| answer.deletion.openrouter.as_deref() == Some("deleted"))
}

impl Batch<'_> {
    fn into_remote(self, locked: bool) -> Result<RemoteBatch, String> {
        let id = self.id.into_owned().ok_or("the batch has no id")?;
        let status = self.status.into_owned().ok_or("the batch has no status")?;
        let counts = self.request_counts.unwrap_or_default();
        let (completed, failed) = (counts.completed.or_zero(), counts.failed.or_zero());
        let there = self.results.is_some() || locked;
        let phase = match remote::phase(&status) {
            // What has failed as a whole was not paid: but for what had run.
            Phase::Failed if there || self.usage.is_some() || completed > 0 => Phase::Completed,
            phase => phase,
        };
        let message = self.error.and_then(|why| why.message.into_owned());
        Ok(RemoteBatch {
            output_file: (there && phase.is_terminal()).then(|| pages::of(&id)),
            id,
            status,
            phase,
            input_file: None,
            error_file: None,
            counts: BatchCounts { total: counts.total.or_zero(), completed, failed },
            errors: message
                .map(|message| BatchError { code: None, message, line: None })
                .into_iter()
                .collect(),
            created_at: self.created_at.as_deref().and_then(unix_s),
            ended_at: self.finalized_at.as_deref().and_then(unix_s),
            expires_at: self.expires_at.as_deref().and_then(unix_s),
            marker: None,
            owner: Owner::Unknown,
        })
    }
}

/// The status that stands for an error whose type is the same in all of the service's APIs; `None`: it may pass.
fn status(kind: &str) -> Option<u16> {
    Some(match kind {
        "rate_limit_exceeded" | "provider_overloaded" => 429,
        "context_length_exceeded" | "max_tokens_exceeded" | "string_too_long" | "invalid_request" => 400,
        "invalid_prompt" | "content_policy_violation" | "refusal" | "precondition_failed" => 400,
        "payload_too_large" | "unprocessable" | "invalid_image" | "unsupported_image_format" => 400,
        _ => return None,
    })
}

/// What an error that stands for a result means: it has a type, and no status.
pub(super) fn refused(line: &[u8]) -> Option<Failure> {
    #[derive(Deserialize)]
    struct Row<'a> {
        #[serde(borrow)]
        error: Told<'a>,
    }
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        error_type: LooseText<'a>,
        #[serde(borrow, default)]
        message: LooseText<'a>,
    }
    let told = serde_json::from_slice::<Row<'_>>(line).ok()?.error;
    let kind = told.error_type.into_owned()?;
    let status = status(&kind)?;
    let message = told.message.into_owned().unwrap_or_default();
    Some(errors::Said { message, code: Some(kind), ..errors::Said::default() }.failure(status, None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::failure::FailureClass;

    const BATCH: &str = include_str!("../../../fixtures/openrouter/batch.json");

    fn changed(changes: &[(&str, serde_json::Value)]) -> RemoteBatch {
        let mut batch: serde_json::Value = serde_json::from_str(BATCH).unwrap();
        changes.iter().for_each(|(name, value)| batch[*name] = value.clone());
        read_batch(batch.to_string().as_bytes(), false).unwrap()
    }

    #[test]
    fn a_batch_names_its_results_where_they_are_there() {
        use serde_json::json;
        let batch = read_batch(BATCH.as_bytes(), false).unwrap();
        assert_eq!(
            (batch.phase, batch.counts),
            (Phase::Completed, BatchCounts { total: 3, completed: 2, failed: 1 })
        );
        assert_eq!((batch.created_at, batch.ended_at), (Some(1_795_046_400), Some(1_795_050_000)));
        assert_eq!((batch.expires_at, batch.marker.clone()), (Some(1_795_392_000), None));
        assert_eq!(batch.output_file.as_deref(), Some("batch_abc123/results"));
        let of = |changes: &[(&str, serde_json::Value)]| {
            let batch = changed(changes);
            (batch.phase, batch.output_file.is_some())
        };
        let (none, used) = (json!(null), json!({"cost": 0.1}));
        assert_eq!(of(&[("results", none.clone())]), (Phase::Completed, false));
        for (status, phase) in [
            ("validating", Phase::Validating),
            ("in_progress", Phase::InProgress),
            ("finalizing", Phase::Finalizing),
            ("paused", Phase::Unknown),
        ] {
            assert_eq!(of(&[("status", json!(status)), ("results", none.clone())]), (phase, false));
        }
        assert_eq!(of(&[("status", json!("expired"))]), (Phase::Expired, true));
        // Refused after it was taken: nothing ran. Or something did.
        let failed = [
            ("status", json!("failed")),
            ("results", none.clone()),
            ("usage", none),
            ("request_counts", json!({"total": 3, "completed": 0, "failed": 0})),
            ("error", json!({"message": "request 2: bad"})),
        ];
        let refused = changed(&failed);
        assert_eq!((refused.phase, refused.errors[0].message.as_str()), (Phase::Failed, "request 2: bad"));
        assert_eq!(of(&[failed.as_slice(), &[("usage", used)]].concat()), (Phase::Completed, false));
        for body in ["{}", "[]", "", "null", r#"{"id":"b"}"#] {
            assert!(read_batch(body.as_bytes(), false).is_err(), "{body}");
        }
    }

    #[test]
    fn locked_results_are_there() {
        let locked = include_bytes!("../../../fixtures/openrouter/locked.json");
        let batch = read_batch(locked, true).unwrap();
        assert_eq!(
            (batch.phase, batch.output_file.as_deref()),
            (Phase::Completed, Some("batch_abc123/results"))
        );
        assert!(errors::read(locked).unwrap().message.contains("Insufficient credits"));
    }

    #[test]
    fn pages_and_deletions() {
        let page = format!(
            r#"{{"object":"list","data":[{BATCH}],"first_id":"x","last_id":"batch_abc123","has_more":true}}"#
        );
        let page = read_page(page.as_bytes()).unwrap();
        assert_eq!((page.batches.len(), page.next.as_deref()), (1, Some("batch_abc123")));
        assert!(read_page(b"{}").is_err() && read_page(br#"{"data":[{"id":"b"}]}"#).is_err());
        assert!(says_deleted(br#"{"id":"b","object":"batch","deletion":{"openrouter":"deleted","upstream":{"provider":"Anthropic","status":"unsupported"}}}"#));
        assert!(!says_deleted(BATCH.as_bytes()) && !says_deleted(b"<html>"));
    }

    #[test]
    fn an_error_means_what_its_type_says() {
        use FailureClass::{ContentPolicy, RateLimited, RefusedByProvider};
        let of = |kind: &str| {
            refused(
                format!(r#"{{"response":null,"error":{{"type":"x","message":"no","error_type":"{kind}"}}}}"#)
                    .as_bytes(),
            )
        };
        for (kind, class) in [
            ("rate_limit_exceeded", RateLimited),
            ("invalid_request", RefusedByProvider),
            ("context_length_exceeded", RefusedByProvider),
            ("content_policy_violation", ContentPolicy),
        ] {
            let failure = of(kind).unwrap();
            assert!(
                failure.class == class && !failure.maybe_paid && failure.message == "no",
                "{kind} {failure:?}"
            );
        }
        // What may pass is read as any other line without a status.
        assert!(of("server").is_none() && of("of_tomorrow").is_none());
        assert!(refused(br#"{"response":{"status_code":200},"error":null}"#).is_none());
    }
}
