//! Batch mode with files: a resumable upload, one paid create whose name is our mark, and a file of results.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::{Kind, write_json_text};
use bulkrate_core::submission::{KnownBy, Marker, RemoteBatch};
use bytes::Bytes;
use http::Method;

use super::wire::GeminiWire;
use super::{VERSION, errors, remote};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Reply};
use crate::http::batches::{self, Shape, in_path};
use crate::http::free::{FreeClient, Protocol};
use crate::settings::Settings;

/// The API counts tokens and no requests. A batch that expires has answered nothing: ours are small.
const ITEMS_MAX: u32 = 20_000;
/// Half of what is taken.
const BYTES_MAX: u64 = 1 << 30;
/// The type of a file of requests, as the API calls it.
const JSONL: &str = "application/jsonl";

const SHAPE: Shape = Shape {
    first: "/v1beta/batches?pageSize=100",
    cursor: "pageToken",
    newest_first: false, // nothing says so
    numbered: false,
    page: remote::read_page,
    batch: remote::read_batch,
    is_error: |body| errors::read(body).is_some(),
    is_deleted: remote::says_deleted,
};

/// The batch API of one account.
#[derive(Debug)]
pub struct GeminiBatches {
    wire: Arc<GeminiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    create_timeout: Duration,
}

impl GeminiBatches {
    pub(super) fn new(
        wire: Arc<GeminiWire>,
        paid: Arc<dyn CallApi>,
        free: Arc<FreeClient>,
        settings: &Settings,
    ) -> Self {
        Self { wire, paid, free, create_timeout: settings.create_timeout }
    }

    /// Whether the list of batches answers: a gateway may pass on calls only.
    pub(super) async fn exists(&self) -> bool {
        let path = format!("{VERSION}/batches?pageSize=1");
        let reply = self.free.send("look for a batch API", Method::GET, &path, &[]).await;
        reply.is_ok_and(|reply| remote::read_page(&reply.body).is_ok())
    }

    fn created(&self, reply: &Reply) -> Created {
        let refused = errors::read(&reply.body).map(|said| {
            let failure = self.free.account().redacted_failure(errors::of(reply));
            if !says_gone(reply.status, &said.message) {
                return failure;
            }
            // A wait that is named here is none until a file shows up.
            batches::file_not_found(Failure { wait_ms: None, ..failure })
        });
        batches::created(self.free.account(), reply, remote::read_batch(&reply.body), refused)
    }
}

/// A file that is not there is one that one may not have.
fn says_gone(status: u16, message: &str) -> bool {
    matches!(status, 400 | 403 | 404) && message.contains("may not exist")
}

fn is_gone(error: &ApiError) -> bool {
    error.status.is_some_and(|status| says_gone(status, &error.failure.message))
}

/// The path of a batch or a file, which is named with the kind it is of or without.
fn path_of(kind: &str, name: &str) -> String {
    let id = name.strip_prefix(kind).and_then(|name| name.strip_prefix('/')).unwrap_or(name);
    format!("{VERSION}/{kind}/{}", in_path(id))
}

#[async_trait]
impl BatchApi for GeminiBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        BatchLimits { items_max: ITEMS_MAX, bytes_max: BYTES_MAX, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts { known_by: KnownBy::Mark, one_file: true, ..BatchFacts::default() }
    }

    fn input_line(&self, id: WireId, _: Kind, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"key\":\"{id}\",\"request\":").as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"}\n");
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        const WHAT: &str = "upload a batch file";
        let about = format!("{{\"file\":{{\"displayName\":\"{name}\"}}}}");
        let path = format!("/upload{VERSION}/files");
        let reply = self
            .free
            .upload_resumable(WHAT, (Protocol::Commands, &path), (about.as_bytes(), JSONL), file)
            .await?;
        remote::read_upload(&reply.body)
            .ok_or_else(|| batches::unreadable(&self.free, WHAT, &reply, "the answer names no file"))
    }

    async fn create(&self, input_file: &str, kind: Kind, model: &str, marker: &Marker) -> Created {
        let verb = if kind == Kind::Embedding { "asyncBatchEmbedContent" } else { "batchGenerateContent" };
        let path = format!("{VERSION}/models/{}:{verb}", in_path(model));
        let mut body = b"{\"batch\":{\"displayName\":".to_vec();
        write_json_text(&remote::display_name(marker), &mut body);
        body.extend_from_slice(b",\"inputConfig\":{\"fileName\":");
        write_json_text(input_file, &mut body);
        body.extend_from_slice(b"}}}");
        match self.paid.call(&path, Bytes::from(body), self.create_timeout).await {
            Ok(reply) => self.created(&reply),
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        batches::poll(&self.free, SHAPE, &path_of("batches", id)).await
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.free, SHAPE, created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("{}:cancel", path_of("batches", id));
        // 400 or 409: it has ended already.
        self.free.send("cancel a batch", Method::POST, &path, &[400, 409]).await.map(|_| ())
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let path = format!("{}:download?alt=media", path_of("files", file));
        match self.free.download("download the results of a batch", &path, to, bytes_max).await {
            Err(error) if is_gone(&error) => Ok(None),
            result => result,
        }
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        match batches::delete(&self.free, SHAPE, "delete a batch file", &path_of("files", file)).await {
            Err(error) if is_gone(&error) => Ok(()),
            result => result,
        }
    }
}
