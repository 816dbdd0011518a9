//! OpenRouter's batches: requests in the create, results in the answer to a look, and no file in between.
//!
//! Nothing can be written on such a batch and it cannot be cancelled. Of its results only an entry is held at a time, however long the
//! answer is that they stand in.
//!
//! Sources, read in December 2026: the types of OpenRouter's own SDK (PyPI `openrouter` 1.3.84, `components/batch*.py`), its
//! [quickstart](https://openrouter.ai/docs/batch-quickstart) in the version of August 2026, and its
//! [guide](https://openrouter.ai/docs/guides/features/batch-api) for the number of requests. A newer page tells of results in pages as well
//! (`GET /batches/{id}/results`), which that SDK does not have.

mod remote;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::answer::Reading;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, RemoteBatch};
use http::Method;
use serde::Serialize;

use super::batch::{none_of, refusal};
use super::form::{bare_line, without};
use super::wire::OpenAiWire;
use super::{errors, pages};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Lines, Reply};
use crate::http::batches::{self, Shape};
use crate::http::free::{FreeClient, Keep, Skimmed};
use crate::settings::Settings;
use remote::{read_batch, read_page, refused, says_deleted};

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

    /// Where results are asked for, those that are withheld are an error.
    fn unlocked(&self, what: &str, seen: Option<Skimmed>) -> Result<Option<Skimmed>, ApiError> {
        match seen {
            Some(seen) if seen.reply.status == 402 => Err(self.locked(what, &seen.reply)),
            seen => Ok(seen),
        }
    }

    fn created(&self, reply: &Reply) -> Created {
        let refused = refusal(&self.free, reply, |said| said.is_nested);
        batches::created(self.free.account(), reply, read_batch(&reply.body, false), refused)
    }
}

fn path_of(id: &str) -> String {
    format!("{PATH}/{}", batches::in_path(id))
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
        let seen = self.look(READ, id, Keep::All(to), bytes_max).await?;
        let Some(seen) = self.unlocked(READ, seen)? else { return Ok(None) };
        let batch = read_batch(&seen.reply.body, false)
            .map_err(|why| batches::unreadable(&self.free, READ, &seen.reply, &why))?;
        Ok(batch.output_file.map(|_| seen.bytes))
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
        let Some(seen) = self.unlocked(WHAT, seen)? else { return Ok(None) };
        let line = seen.first.unwrap_or_default();
        Ok(self.wire.read_line(Kind::Chat, &line).ok().map(|line| line.custom_id.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bulkrate_core::ids::Sub;

    const BATCH: &str = include_str!("../../../fixtures/openrouter/batch.json");

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
    fn a_result_is_a_line_of_openais() {
        let wire = crate::openai::tests::wire("openrouter");
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
