//! The Files and Batch APIs. Everything is free and repeated, but for the create, which goes out once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{Marker, RemoteBatch};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use super::dialect::{Batches, Dialect};
use super::errors;
use super::remote;
use super::wire::OpenAiWire;
use crate::api::{ApiError, BatchApi, BatchLimits, BatchLine, CallApi, Created, Reply};
use crate::http::batches::{self, Shape};
use crate::http::free::FreeClient;
use crate::http::limits;
use crate::settings::Settings;

pub(super) const CREATE: &str = "/batches";
/// The wait before a file that was just uploaded is looked for again.
const FILE_VISIBLE_MS: u64 = 2_000;

const SHAPE: Shape = Shape {
    first: "/batches?limit=100",
    cursor: "after",
    newest_first: true,
    page: remote::read_page,
    batch: remote::read_batch,
    is_error: |body| errors::read(body).is_some(),
    is_deleted: remote::says_deleted,
};

/// The batch API of one account.
#[derive(Debug)]
pub struct OpenAiBatches {
    dialect: Dialect,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    create_timeout: Duration,
}

#[derive(Serialize)]
struct Create<'a> {
    input_file_id: &'a str,
    endpoint: &'a str,
    completion_window: &'static str,
    metadata: Metadata<'a>,
}

/// Our marker: the only thing by which a batch is known again when its create brought no answer.
#[derive(Serialize)]
struct Metadata<'a> {
    br_inst: &'a str,
    br_sub: &'a str,
    br_n: String,
    br_digest: &'a str,
}

#[derive(Deserialize)]
struct Uploaded {
    id: String,
}

impl OpenAiBatches {
    pub(super) fn new(
        dialect: Dialect,
        wire: Arc<OpenAiWire>,
        paid: Arc<dyn CallApi>,
        free: Arc<FreeClient>,
        settings: &Settings,
    ) -> Self {
        Self { dialect, wire, paid, free, create_timeout: settings.create_timeout }
    }

    /// Whether the list of batches answers as OpenAI's does.
    pub(super) async fn exists(&self) -> bool {
        match self.free.send("look for a batch API", Method::GET, "/batches?limit=1", &[]).await {
            Ok(reply) => remote::read_page(&reply.body).is_ok(),
            Err(_) => false,
        }
    }

    fn created(&self, reply: &Reply) -> Created {
        let refused = errors::read(&reply.body).filter(|said| said.is_nested);
        let refused = refused.map(|said| self.refused(reply, &said));
        batches::created(self.free.account(), reply, remote::read_batch(&reply.body), refused)
    }

    fn refused(&self, reply: &Reply, said: &errors::Said) -> Failure {
        let wait_ms = limits::wait_ms(&reply.headers, &said.message, limits::now_unix_s());
        let mut failure = self.free.account().redacted_failure(said.failure(reply.status, wait_ms));
        let about_file = matches!(said.param.as_deref(), Some("file_id" | "input_file_id"));
        if about_file
            && matches!(reply.status, 400 | 404)
            && said.code.as_deref() != Some("missing_required_parameter")
        {
            // A file shows up a moment after its upload: the same create may pass later.
            failure.class = FailureClass::Transient;
            failure.provider_code = Some("file_not_found".to_owned());
            failure.wait_ms = failure.wait_ms.or(Some(FILE_VISIBLE_MS));
        }
        failure
    }
}

#[async_trait]
impl BatchApi for OpenAiBatches {
    fn limits(&self, kind: Kind) -> BatchLimits {
        let _ = kind; // the same for all kinds
        let (items_max, bytes_max) = match self.dialect.batches {
            Batches::Yes { items_max, bytes_max } => (items_max, bytes_max),
            Batches::No | Batches::Ask => (50_000, 200_000_000),
        };
        BatchLimits { items_max, bytes_max, embedding_inputs_max: 50_000 }
    }

    fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        self.wire.input_line(id, kind, body, out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        const WHAT: &str = "upload a batch file";
        let name = if name.ends_with(".jsonl") { name.to_owned() } else { format!("{name}.jsonl") };
        let reply = self.free.upload(WHAT, "/files", &[("purpose", "batch")], file, &name).await?;
        match serde_json::from_slice::<Uploaded>(&reply.body) {
            Ok(uploaded) if !uploaded.id.is_empty() => Ok(uploaded.id),
            _ => Err(batches::unreadable(&self.free, WHAT, &reply, "the answer names no file")),
        }
    }

    async fn create(&self, input_file: &str, kind: Kind, _: &str, marker: &Marker) -> Created {
        let endpoint = format!("/v1{}", self.wire.endpoint(kind));
        let metadata = Metadata {
            br_inst: &marker.inst,
            br_sub: &marker.sub,
            br_n: marker.items.to_string(),
            br_digest: &marker.digest,
        };
        let create =
            Create { input_file_id: input_file, endpoint: &endpoint, completion_window: "24h", metadata };
        let body = match serde_json::to_vec(&create) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                return Created::Refused(batches::not_sent(format!(
                    "the create could not be written: {error}"
                )));
            }
        };
        match self.paid.call(CREATE, body, self.create_timeout).await {
            Ok(reply) => self.created(&reply),
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        batches::poll(&self.free, SHAPE, &format!("/batches/{}", batches::in_path(id))).await
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.free, SHAPE, created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("/batches/{}/cancel", batches::in_path(id));
        // 409: it has ended already.
        self.free.send("cancel a batch", Method::POST, &path, &[409]).await.map(|_| ())
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let path = format!("/files/{}/content", batches::in_path(file));
        self.free.download("download a batch file", &path, to, bytes_max).await
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        let path = format!("/files/{}", batches::in_path(file));
        batches::delete(&self.free, SHAPE, "delete a batch file", &path).await
    }
}
