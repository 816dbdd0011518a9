//! Batch prediction jobs: an input in a bucket or a table, one paid create whose name is our mark, and results beside the input.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, Phase, RemoteBatch};
use bytes::Bytes;
use http::Method;

use super::remote::{self, place_of};
use super::shelf::Shelf;
use super::wire::{VertexWire, is_nobodys, resource};
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created};
use crate::gemini::errors;
use crate::http::batches::{self, Shape, in_path};
use crate::http::free::FreeClient;
use crate::settings::Settings;

const JOBS: &str = "/batchPredictionJobs";
/// Of 200,000 that are taken, and of a million texts for vectors: a job that ends before its time loses what it holds.
const ITEMS_MAX: u32 = 100_000;
/// Half of what is taken.
const BYTES_MAX: u64 = 512 << 20;

/// A job may be so much older by Google's clock than by ours.
const CLOCKS_DIFFER_S: u64 = 86_400;

pub(super) const SHAPE: Shape = Shape {
    first: "/batchPredictionJobs?pageSize=100",
    cursor: "pageToken",
    newest_first: false, // nothing says so
    numbered: false,
    page: remote::read_page,
    batch: remote::read_batch,
    is_error: |body| errors::read(body).is_some(),
    is_deleted: |_| false, // objects are deleted, and no jobs
};

/// The batch API of one account.
#[derive(Debug)]
pub struct VertexBatches {
    wire: Arc<VertexWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    shelf: Arc<dyn Shelf>,
    location: String,
    create_timeout: Duration,
}

impl VertexBatches {
    pub(super) fn new(
        wire: Arc<VertexWire>,
        paid: Arc<dyn CallApi>,
        free: Arc<FreeClient>,
        (shelf, location): (Arc<dyn Shelf>, String),
        settings: &Settings,
    ) -> Self {
        Self { wire, paid, free, shelf, location, create_timeout: settings.create_timeout }
    }

    /// Whether the bucket or the dataset can be looked into.
    pub(super) async fn look(&self) -> Result<(), ApiError> {
        self.shelf.look().await
    }
}

/// The list of jobs without what is far too old: it is in no order, and would be read to its end.
fn recent(created_at_min: u64) -> String {
    let from = created_at_min.checked_sub(CLOCKS_DIFFER_S).and_then(|from| i64::try_from(from).ok());
    match from.and_then(|from| jiff::Timestamp::from_second(from).ok()) {
        Some(from) => {
            format!("{}&filter={}", SHAPE.first, in_path(&format!("create_time>\"{from}\"")))
        }
        None => SHAPE.first.to_owned(),
    }
}

/// A job by its full name or its number.
fn path_of(id: &str) -> String {
    format!("{JOBS}/{}", in_path(id.rsplit('/').next().unwrap_or(id)))
}

/// The location of a job, as its full name says.
fn location_of(id: &str) -> Option<&str> {
    id.split_once("/locations/")?.1.split('/').next()
}

#[async_trait]
impl BatchApi for VertexBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        BatchLimits { items_max: ITEMS_MAX, bytes_max: BYTES_MAX, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts {
            known_by: KnownBy::Mark,
            one_file: true,
            seen_late: self.shelf.is_seen_late(),
            repeats_requests: true,
            ..BatchFacts::default()
        }
    }

    fn refuses(&self, kind: Kind, model: &str) -> Option<&'static str> {
        self.wire.no_batches(kind, model)
    }

    fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        self.wire.write_line(id, kind, body, out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        self.shelf.upload(file, name.strip_suffix(".jsonl").unwrap_or(name)).await
    }

    async fn create(&self, input_file: &str, _: Kind, model: &str, marker: &Marker) -> Created {
        let body = remote::create(input_file, &place_of(input_file), &resource(model), marker);
        match self.paid.call(JOBS, Bytes::from(body), self.create_timeout).await {
            Ok(reply) => {
                let account = self.free.account();
                let is_refused = errors::read(&reply.body).is_some() || is_nobodys(&reply);
                let refused = is_refused.then(|| account.redacted_failure(self.wire.refused(&reply)));
                batches::created(account, &reply, remote::read_batch(&reply.body), refused)
            }
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        const WHAT: &str = "poll a batch";
        let mut found = batches::poll(&self.free, SHAPE, &path_of(id)).await?;
        let elsewhere = location_of(id).filter(|location| *location != self.location);
        if let (None, Some(elsewhere)) = (&found, elsewhere) {
            // That a job is not known here says nothing of where it runs.
            let why = format!("the job runs at `{elsewhere}`, and `{}` was asked", self.location);
            return Err(self.free.error(WHAT, None, FailureClass::Auth, &why));
        }
        if let Some(batch) = found.as_mut().filter(|batch| batch.phase == Phase::Failed)
            && let Some(place) = batch.input_file.as_deref().map(place_of)
            && self.shelf.has_results(&place).await?
        {
            // What a job that failed has written is paid, and may be read.
            (batch.phase, batch.output_file) = (Phase::Completed, Some(place));
        }
        Ok(found)
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_from(&self.free, SHAPE, &recent(created_at_min), created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let path = format!("{}:cancel", path_of(id));
        // 400 or 409: it has ended already.
        self.free.send("cancel a batch", Method::POST, &path, &[400, 409]).await.map(|_| ())
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        self.shelf.download(file, to, bytes_max).await
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        self.shelf.delete(file).await
    }
}
