//! Message Batches: no files and no marks. The create carries its requests, read from the staged file while it is sent; results
//! lie at the batch, and go with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, RemoteBatch};
use http::Method;

use super::wire::AnthropicWire;
use super::{errors, remote};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Lines, Reply};
use crate::http::batches::{self, Shape};
use crate::http::free::FreeClient;
use crate::http::limits;
use crate::settings::Settings;

pub(super) const BATCHES: &str = "/v1/messages/batches";
/// The API takes 100,000 requests and 256 MB. A create that is lost and cannot be told from none is in doubt as a whole, and a long
/// body is long on its way: ours are small.
const ITEMS_MAX: u32 = 10_000;
const BODY_BYTES_MAX: u64 = 32 << 20;
const HEAD: &str = "{\"requests\":[";
const TAIL: &str = "]}";
/// The longest line of results that is looked at for its id.
const LINE_BYTES_MAX: u64 = 32 << 20;

const SHAPE: Shape = Shape {
    first: "/v1/messages/batches?limit=1000",
    cursor: "after_id",
    newest_first: true,
    numbered: false,
    page: remote::read_page,
    batch: remote::read_batch,
    is_error: |body| errors::read(body).is_some(),
    is_deleted: remote::says_deleted,
};

/// The batch API of one account.
#[derive(Debug)]
pub struct AnthropicBatches {
    wire: Arc<AnthropicWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    known_by: KnownBy,
    create_timeout: Duration,
}

impl AnthropicBatches {
    pub(super) fn new(
        wire: Arc<AnthropicWire>,
        paid: Arc<dyn CallApi>,
        free: Arc<FreeClient>,
        settings: &Settings,
    ) -> Self {
        let known_by = if settings.exclusive_workspace { KnownBy::Looks } else { KnownBy::Results };
        Self { wire, paid, free, known_by, create_timeout: settings.create_timeout }
    }

    /// Whether the list of batches answers: a gateway may pass on messages only.
    pub(super) async fn exists(&self) -> bool {
        let path = format!("{BATCHES}?limit=1");
        let reply = self.free.send("look for a batch API", Method::GET, &path, &[]).await;
        reply.is_ok_and(|reply| remote::read_page(&reply.body).is_ok())
    }

    fn created(&self, reply: &Reply) -> Created {
        let wait_ms = || limits::wait_ms(&reply.headers, "", limits::now_unix_s());
        let refused = errors::read(&reply.body).map(|said| said.failure(reply.status, wait_ms()));
        let refused = refused.map(|failure| self.free.account().redacted_failure(failure));
        batches::created(self.free.account(), reply, remote::read_batch(&reply.body), refused)
    }
}

fn path_of(id: &str) -> String {
    format!("{BATCHES}/{}", batches::in_path(id))
}

/// The batch whose results a URL names. Only its id is used: the key goes to no origin that an answer names. `None`: a file of
/// this machine.
fn batch_of(file: &str) -> Option<&str> {
    match file.strip_suffix("/results") {
        Some(batch) if file.contains("://") => batch.rsplit('/').next().filter(|id| !id.is_empty()),
        _ => (!file.contains(['/', '\\'])).then_some(file),
    }
}

#[async_trait]
impl BatchApi for AnthropicBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        let bytes_max = BODY_BYTES_MAX - (HEAD.len() + TAIL.len()) as u64;
        BatchLimits { items_max: ITEMS_MAX, bytes_max, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts { known_by: self.known_by, one_file: true, ..BatchFacts::default() }
    }

    fn input_line(&self, id: WireId, _: Kind, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"custom_id\":\"{id}\",\"params\":").as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"}\n");
    }

    fn read_line<'a>(&self, _: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(line)
    }

    async fn upload(&self, file: &Path, _: &str) -> Result<String, ApiError> {
        batches::staged(&self.free, file)
    }

    async fn create(&self, input_file: &str, _: Kind, _: &str, _: &Marker) -> Created {
        let lines = Lines { file: Path::new(input_file), head: HEAD, tail: TAIL };
        match self.paid.call_lines(BATCHES, lines, self.create_timeout).await {
            Ok(reply) => self.created(&reply),
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        batches::poll(&self.free, SHAPE, &path_of(id)).await
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.free, SHAPE, created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("{}/cancel", path_of(id));
        // 400 or 409: it has ended already.
        self.free.send("cancel a batch", Method::POST, &path, &[400, 409]).await.map(|_| ())
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let Some(id) = batch_of(file) else { return Ok(None) };
        let path = format!("{}/results", path_of(id));
        self.free.download("download the results of a batch", &path, to, bytes_max).await
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        // What was staged here never lay at the provider.
        let Some(id) = batch_of(file) else { return Ok(()) };
        batches::delete(&self.free, SHAPE, "delete a batch", &path_of(id)).await
    }

    async fn first_item(&self, batch: &RemoteBatch) -> Result<Option<String>, ApiError> {
        let path = format!("{}/results", path_of(&batch.id));
        let what = "look at the results of a batch";
        let line = self.free.first_line(what, &path, LINE_BYTES_MAX).await?;
        Ok(line.and_then(|line| Some(self.wire.read_line(&line).ok()?.custom_id.into_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_had_by_the_id_in_their_url_and_nothing_else_of_it() {
        for (file, id) in [
            ("https://api.anthropic.com/v1/messages/batches/msgbatch_1/results", Some("msgbatch_1")),
            ("http://elsewhere.invalid/msgbatch_1/results", Some("msgbatch_1")),
            ("msgbatch_1", Some("msgbatch_1")),
            ("https:///results", None),
            ("/state/jobs/1/batches/s/input.jsonl", None),
            ("state/results", None),
            ("C:\\state\\input.jsonl", None),
        ] {
            assert_eq!(batch_of(file), id, "{file}");
        }
    }
}
