//! OpenRouter's batches: requests in the create, results in the answer to a look, and no file in between.
//!
//! Nothing can be written on such a batch and it cannot be cancelled. Of its results only an entry is held at a time, however long the
//! answer is that they stand in.
//!
//! Sources: the types of OpenRouter's own SDK (PyPI `openrouter` 1.3.84, `components/batch*.py`, read in December 2026), and its pages
//! [Batch API quickstart](https://openrouter.ai/docs/batch-quickstart) and
//! [Batch API](https://openrouter.ai/docs/guides/features/batch-api) as of September 2026. A newer page tells of results in pages
//! (`GET /batches/{id}/results`), which that SDK does not have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{BatchCounts, BatchError, KnownBy, Marker, Owner, Phase, RemoteBatch};
use http::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::batch::{none_of, refusal};
use super::form::{bare_line, without};
use super::wire::OpenAiWire;
use super::{errors, pages, remote};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Lines, Reply};
use crate::http::batches::{self, Page, Shape, read};
use crate::http::free::{FreeClient, Keep, Skimmed};
use crate::json::loose::{Count, LooseText};
use crate::json::unix_s;
use crate::settings::Settings;

const PATH: &str = "/batches";
/// The field of a batch that its results are in.
const RESULTS: &str = "results";
const TAIL: &str = "]}";
/// The longest beginning of a create.
const HEAD_BYTES_MAX: u64 = 1_000;
/// The longest answer to a look, of which next to nothing is kept.
const LOOK_BYTES_MAX: u64 = 16 << 30;
const READ: &str = "read the results of a batch";

const SHAPE: Shape = Shape {
    page: read_page,
    batch: |body| read_batch(body, false),
    is_deleted: says_deleted,
    ..super::Form::OPENAI.shape
};

/// What stands before the requests of a create. The service reads it while it comes: all else stands before `requests`.
#[derive(Serialize)]
struct Head<'a> {
    endpoint: &'a str,
    model: &'a str,
    completion_window: &'static str,
}

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
fn read_batch(body: &[u8], locked: bool) -> Result<RemoteBatch, String> {
    read::<Batch<'_>>(body, "a batch")?.into_remote(locked)
}

fn read_page(body: &[u8]) -> Result<Page, String> {
    let list: List<'_> = read(body, "a list of batches")?;
    let batches =
        list.data.into_iter().map(|batch| batch.into_remote(false)).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::by_last_id(batches, list.has_more))
}

fn says_deleted(body: &[u8]) -> bool {
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

/// The batch API of one account.
#[derive(Debug)]
pub(super) struct InlineBatches {
    limits: BatchLimits,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    known_by: KnownBy,
    create_timeout: Duration,
}

impl InlineBatches {
    pub(super) fn new(
        limits: BatchLimits,
        wire: Arc<OpenAiWire>,
        (paid, free): (Arc<dyn CallApi>, Arc<FreeClient>),
        settings: &Settings,
    ) -> Self {
        // Its lists are those of a workspace, whichever key asks.
        let known_by = if settings.exclusive_workspace { KnownBy::Looks } else { KnownBy::Results };
        let limits = BatchLimits { bytes_max: limits.bytes_max - HEAD_BYTES_MAX, ..limits };
        Self { limits, wire, paid, free, known_by, create_timeout: settings.create_timeout }
    }

    pub(super) async fn exists(&self) -> bool {
        let list = self.free.send("look for a batch API", Method::GET, "/batches?limit=1", &[]).await;
        list.is_ok_and(|reply| read_page(&reply.body).is_ok())
    }

    /// A batch as it is, and what is kept of its results. `None`: the service knows none, or has purged it.
    async fn look(
        &self,
        what: &str,
        id: &str,
        keep: Keep<'_>,
        bytes_max: u64,
    ) -> Result<Option<Skimmed>, ApiError> {
        let path = path_of(id);
        let seen = self.free.skim(what, (&path, RESULTS), &[402, 404, 410], keep, bytes_max).await?;
        match seen.reply.status {
            404 | 410 if errors::read(&seen.reply.body).is_some() => Ok(None),
            404 | 410 => {
                Err(batches::unreadable(&self.free, what, &seen.reply, "a page that is not the provider's"))
            }
            _ => Ok(Some(seen)),
        }
    }

    /// Results that are withheld wait for a payment: that is no reason to stop.
    fn locked(&self, what: &str, reply: &Reply) -> ApiError {
        let said = errors::read(&reply.body).map(|said| said.message).unwrap_or_default();
        let why = format!("the account's balance does not cover the batch, add credits to unlock it: {said}");
        self.free.error(what, Some(reply.status), FailureClass::Transient, &why)
    }

    fn created(&self, reply: &Reply) -> Created {
        let refused = refusal(&self.free, reply, |said| said.is_nested);
        batches::created(self.free.account(), reply, read_batch(&reply.body, false), refused)
    }
}

fn path_of(id: &str) -> String {
    format!("{PATH}/{}", batches::in_path(id))
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
fn refused(line: &[u8]) -> Option<Failure> {
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

/// What stands before the requests.
fn head(endpoint: &str, model: &str) -> serde_json::Result<String> {
    let mut head = serde_json::to_string(&Head { endpoint, model, completion_window: "24h" })?;
    head.pop();
    head.push_str(",\"requests\":[");
    Ok(head)
}

#[async_trait]
impl BatchApi for InlineBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        self.limits
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts {
            known_by: self.known_by,
            one_file: true,
            cannot_cancel: true,
            takes_no_media: true,
            needs_price: true,
            ..BatchFacts::default()
        }
    }

    fn refuses(&self, kind: Kind, _: &str) -> Option<&'static str> {
        none_of(&[Kind::Chat], kind)
    }

    /// The batch says the model for all, and no answer of it says what it cost.
    fn input_line(&self, id: WireId, _: Kind, body: &[u8], out: &mut Vec<u8>) {
        bare_line(id, &without(&["model", "usage"], body), out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        let mut read = self.wire.read_line(kind, line)?;
        if let Reading::Failure(failure) = &mut read.reading
            && let Some(said) = refused(line)
        {
            *failure = said;
        }
        Ok(read)
    }

    async fn upload(&self, file: &Path, _: &str) -> Result<String, ApiError> {
        batches::staged(&self.free, file)
    }

    async fn create(&self, input_file: &str, kind: Kind, model: &str, _: &Marker) -> Created {
        let head = match head(&self.wire.endpoint_of_batch(kind), model) {
            Ok(head) => head,
            Err(error) => {
                let why = format!("the create could not be written: {error}");
                return Created::Refused(batches::not_sent(why));
            }
        };
        let lines = Lines { file: Path::new(input_file), head: &head, tail: TAIL };
        match self.paid.call_lines(PATH, lines, self.create_timeout).await {
            Ok(reply) => self.created(&reply),
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        const WHAT: &str = "poll a batch";
        let Some(seen) = self.look(WHAT, id, Keep::Nothing, LOOK_BYTES_MAX).await? else { return Ok(None) };
        let locked = seen.reply.status == 402;
        match batches::plain(self.free.account(), read_batch(&seen.reply.body, locked)) {
            Ok(batch) => Ok(Some(batch)),
            Err(_) if locked => Err(self.locked(WHAT, &seen.reply)),
            Err(why) => Err(batches::unreadable(&self.free, WHAT, &seen.reply, &why)),
        }
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.free, SHAPE, created_at_min).await
    }

    /// There is no such call.
    async fn cancel(&self, _: &str) -> Result<(), ApiError> {
        let why = "the service has no call for it: the batch runs to its end";
        Err(self.free.error("cancel a batch", None, FailureClass::RefusedByProvider, why))
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let Some(id) = pages::batch_of(file) else { return Ok(None) };
        let Some(seen) = self.look(READ, id, Keep::All(to), bytes_max).await? else { return Ok(None) };
        if seen.reply.status == 402 {
            return Err(self.locked(READ, &seen.reply));
        }
        let batch: Batch<'_> = read(&seen.reply.body, "a batch")
            .map_err(|why| batches::unreadable(&self.free, READ, &seen.reply, &why))?;
        Ok(batch.results.map(|_| seen.bytes))
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        // What was staged here never lay at the provider.
        let Some(id) = pages::batch_of(file) else { return Ok(()) };
        let path = path_of(id);
        let reply = self.free.send("delete a batch", Method::DELETE, &path, &[404, 410]).await?;
        let is_gone = matches!(reply.status, 404 | 410) && errors::read(&reply.body).is_some();
        if is_gone || says_deleted(&reply.body) {
            return Ok(());
        }
        let why = "the answer does not say that it is deleted";
        Err(batches::unreadable(&self.free, "delete a batch", &reply, why))
    }

    async fn first_item(&self, batch: &RemoteBatch) -> Result<Option<String>, ApiError> {
        const WHAT: &str = "look at the results of a batch";
        let seen = self.look(WHAT, &batch.id, Keep::First, LOOK_BYTES_MAX).await?;
        let Some(seen) = seen else { return Ok(None) };
        if seen.reply.status == 402 {
            return Err(self.locked(WHAT, &seen.reply));
        }
        let line = seen.first.unwrap_or_default();
        Ok(self.wire.read_line(Kind::Chat, &line).ok().map(|line| line.custom_id.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::Sub;

    const BATCH: &str = include_str!("../../fixtures/openrouter/batch.json");

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
            ("usage", none.clone()),
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
        let locked = include_bytes!("../../fixtures/openrouter/locked.json");
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

    /// The service answers 400 where `requests` comes before what is said of all of them.
    #[test]
    fn requests_come_last_and_say_what_is_asked_and_nothing_else() {
        let head = head("/v1/chat/completions", "openai/\"gpt\"").unwrap();
        assert_eq!(
            head,
            r#"{"endpoint":"/v1/chat/completions","model":"openai/\"gpt\"","completion_window":"24h","requests":["#
        );
        let mut line = Vec::new();
        let id = WireId::one(Sub::new(1, 2), 3);
        let body = br#"{"model":"m","messages":[],"usage":{"include":true}}"#;
        bare_line(id, &without(&["model", "usage"], body), &mut line);
        let want = format!("{{\"custom_id\":\"{id}\",\"body\":{{\"messages\":[]}}}}\n");
        assert_eq!(String::from_utf8(line).unwrap(), want);
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

    #[test]
    fn a_result_is_a_line_of_openais() {
        let wire = super::super::tests::wire("openrouter");
        let batch: serde_json::Value = serde_json::from_str(BATCH).unwrap();
        let rows: Vec<String> =
            batch["results"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let read = |at: usize| wire.read_line(Kind::Chat, rows[at].as_bytes()).unwrap().reading;
        let Reading::Answer(answer) = read(0) else { panic!("{}", rows[0]) };
        assert_eq!(answer.usage.unwrap().output, 9);
        for at in [1, 2] {
            let Reading::Failure(failure) = read(at) else { panic!("{}", rows[at]) };
            assert!(!failure.maybe_paid && !failure.message.is_empty(), "{failure:?}");
        }
    }
}
