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
use serde::Deserialize;

use super::azure;
use super::blobs::{self, Blobs, is_blob};
use super::dialect::{Batches, Dialect};
use super::entra;
use super::errors;
use super::form::{Form, Order, Results, Upload};
use super::pages;
use super::wire::OpenAiWire;
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Reply};
use crate::http::batches::{self, Looked};
use crate::http::free::{Elsewhere, FreeClient};
use crate::http::limits;
use crate::json::loose::LooseText;
use crate::settings::Settings;

pub(super) const UPLOAD: &str = "upload a batch file";

/// The batch API of one account.
#[derive(Debug)]
pub struct OpenAiBatches {
    dialect: Dialect,
    pub(super) form: &'static Form,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    pub(super) free: Arc<FreeClient>,
    pub(super) elsewhere: Elsewhere,
    /// Where inputs and results lie, if not with the service.
    blobs: Option<Blobs>,
    create_timeout: Duration,
}

/// Some look into a file before a batch can be made of it.
#[derive(Deserialize)]
struct Uploaded<'a> {
    id: String,
    #[serde(borrow, default, alias = "processing_status")]
    status: LooseText<'a>,
    #[serde(borrow, default)]
    status_details: LooseText<'a>,
    #[serde(borrow, default)]
    validation_report: Option<Report<'a>>,
}

/// Together's, where it has looked into a file.
#[derive(Deserialize)]
struct Report<'a> {
    #[serde(borrow, default)]
    error: LooseText<'a>,
}

/// Of a file that is no batch input.
const BAD: &[&str] = &["error", "failed", "invalid_format"];

impl Uploaded<'_> {
    fn is_awaited(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default().to_ascii_lowercase();
        matches!(status.as_str(), "pending" | "queued" | "running" | "notrunning")
    }

    /// Why no batch can be made of it.
    fn refusal(&self) -> Option<String> {
        let status =
            self.status.as_deref().filter(|status| BAD.iter().any(|bad| status.eq_ignore_ascii_case(bad)))?;
        let told = self.validation_report.as_ref().and_then(|report| report.error.as_deref());
        let why = self.status_details.as_deref().or(told).unwrap_or("no reason is given");
        Some(format!("the provider says that the file is no batch input (`{status}`): {why}"))
    }
}

impl OpenAiBatches {
    pub(super) fn new(
        dialect: Dialect,
        wire: Arc<OpenAiWire>,
        (paid, free): (Arc<dyn CallApi>, Arc<FreeClient>),
        blobs: Option<Blobs>,
        settings: &Settings,
    ) -> Self {
        let elsewhere = Elsewhere::of(&free, settings, errors::classify);
        let create_timeout = settings.create_timeout;
        let form = if blobs.is_some() { &azure::BLOBS } else { dialect.form() };
        Self { dialect, form, wire, paid, free, elsewhere, blobs, create_timeout }
    }

    /// Whether what is to hold files of batches can be looked into.
    pub(super) async fn look(&self) -> Result<(), ApiError> {
        match &self.blobs {
            Some(blobs) => blobs.look().await,
            None => Ok(()),
        }
    }

    /// Where a file lies that is a blob; `None`: the service keeps it. One that nobody says how to reach is not gone.
    fn stored(&self, what: &str, file: &str) -> Result<Option<&Blobs>, ApiError> {
        match &self.blobs {
            _ if !(self.dialect.deploys && is_blob(file)) => Ok(None),
            None => Err(blobs::elsewhere(&self.free, what, file)),
            blobs => Ok(blobs.as_ref()),
        }
    }

    pub(super) fn path_of(&self, id: &str) -> String {
        format!("{}/{}", self.form.path, batches::in_path(id))
    }

    /// Whether the list of batches answers as OpenAI's does.
    pub(super) async fn exists(&self) -> bool {
        match self.free.send("look for a batch API", Method::GET, self.form.look, &[]).await {
            Ok(reply) => (self.form.shape.page)(&reply.body).is_ok(),
            Err(_) => false,
        }
    }

    /// Until the provider has looked into the file.
    async fn processed(&self, what: &str, id: &str) -> Result<(), ApiError> {
        let path = format!("/files/{}", batches::in_path(id));
        batches::until_ready(&self.free, what, &path, |reply| {
            let Some(file) = uploaded(reply) else {
                return Looked::Bad(batches::unreadable(&self.free, what, reply, "the answer names no file"));
            };
            match self.sound(what, reply, &file) {
                _ if file.is_awaited() => Looked::NotYet,
                Ok(()) => Looked::Ready,
                Err(error) => Looked::Bad(error),
            }
        })
        .await
    }

    fn sound(&self, what: &str, reply: &Reply, file: &Uploaded<'_>) -> Result<(), ApiError> {
        file.refusal().map_or(Ok(()), |why| {
            Err(self.free.error(what, Some(reply.status), FailureClass::RefusedByProvider, &why))
        })
    }

    /// The batch whose results a name names, where results are on pages: elsewhere it is a file's.
    fn on_pages<'f>(&self, file: &'f str) -> Option<&'f str> {
        pages::batch_of(file).filter(|_| self.form.results == Results::Pages)
    }

    fn created(&self, reply: &Reply) -> Created {
        let refused = refusal(&self.free, reply, self.form.is_own);
        batches::created(self.free.account(), reply, (self.form.shape.batch)(&reply.body), refused)
    }
}

/// What the refusal of a create means, where it is one in the service's own words.
pub(super) fn refusal(
    free: &FreeClient,
    reply: &Reply,
    is_own: impl Fn(&errors::Said) -> bool,
) -> Option<Failure> {
    let said = errors::read(&reply.body).filter(is_own)?;
    let wait_ms = limits::wait_ms(&reply.headers, &said.message, limits::now_unix_s());
    let account = free.account();
    let failure = account.redacted_failure(said.failure(reply.status, wait_ms));
    let failure = entra::renewing(account, reply.status, failure);
    let about_file = matches!(said.param.as_deref(), Some("file_id" | "input_file_id"));
    let is_missing = about_file
        && matches!(reply.status, 400 | 404)
        && said.code.as_deref() != Some("missing_required_parameter");
    Some(if is_missing { batches::file_not_found(failure) } else { failure })
}

/// Why no batches are made of such items, of an API that takes these.
pub(super) fn none_of(kinds: &[Kind], kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Decision => Some("decisions are calls, of which no batch is known"),
        kind => (!kinds.contains(&kind)).then_some("its batch API takes chats only"),
    }
}

fn uploaded(reply: &Reply) -> Option<Uploaded<'_>> {
    serde_json::from_slice::<Uploaded<'_>>(&reply.body).ok().filter(|file| !file.id.is_empty())
}

#[async_trait]
impl BatchApi for OpenAiBatches {
    fn facts(&self) -> BatchFacts {
        // What lies on pages may be seen a moment after the counters tell of it.
        let on_pages = self.form.results == Results::Pages;
        BatchFacts {
            known_by: self.form.known_by,
            one_file: on_pages,
            seen_late: on_pages,
            cancels_late: self.form.cancels_late,
            cut_shows: self.form.cut_shows,
            uncounted: !self.form.counts,
            ..BatchFacts::default()
        }
    }

    fn refuses(&self, kind: Kind, _: &str) -> Option<&'static str> {
        none_of(self.form.kinds, kind)
    }

    fn limits(&self, kind: Kind) -> BatchLimits {
        let _ = kind; // the same for all kinds
        let (items_max, bytes_max) = match self.dialect.batches {
            Batches::Yes { items_max, bytes_max, .. } => (items_max, bytes_max),
            Batches::No | Batches::Ask | Batches::Inline { .. } | Batches::Sets { .. } => {
                (50_000, 200_000_000)
            }
        };
        BatchLimits { items_max, bytes_max, embedding_inputs_max: 50_000 }
    }

    fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        (self.form.line)(&self.wire, id, kind, body, out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        if let Some(blobs) = &self.blobs {
            return blobs.upload(UPLOAD, file, name).await;
        }
        let name = if name.ends_with(".jsonl") { name.to_owned() } else { format!("{name}.jsonl") };
        let reply = match self.form.upload {
            Upload::Form => self.free.upload(UPLOAD, "/files", &[("purpose", "batch")], file, &name).await?,
            Upload::Named(purpose) => self.upload_there(file, &name, purpose).await?,
        };
        let Some(file) = uploaded(&reply) else {
            return Err(batches::unreadable(&self.free, UPLOAD, &reply, "the answer names no file"));
        };
        let ready = match file.is_awaited() {
            true => self.processed(UPLOAD, &file.id).await,
            false => self.sound(UPLOAD, &reply, &file),
        };
        if ready.is_err() {
            // It would only take room there; the error that is told is the first.
            let _ = self.delete_file(&file.id).await;
        }
        ready.map(|()| file.id)
    }

    async fn create(&self, input_file: &str, kind: Kind, model: &str, marker: &Marker) -> Created {
        let endpoint = self.wire.endpoint_of_batch(kind);
        let folder = self.blobs.as_ref().map(Blobs::folder).unwrap_or_default();
        let order = Order { input_file, endpoint: &endpoint, model, marker, folder: &folder };
        let body = match (self.form.create)(&order) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                return Created::Refused(batches::not_sent(format!(
                    "the create could not be written: {error}"
                )));
            }
        };
        match self.paid.call(self.form.path, body, self.create_timeout).await {
            Ok(reply) => self.created(&reply),
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        let mut found = batches::poll(&self.free, self.form.shape, &self.path_of(id)).await?;
        if let (Some(blobs), Some(batch)) = (&self.blobs, &mut found)
            && batch.phase.is_terminal()
        {
            blobs.ended(batch).await?;
        }
        Ok(found)
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        batches::list_since(&self.free, self.form.shape, created_at_min).await
    }

    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        let (verb, ended) = self.form.cancel;
        let path = format!("{}{verb}", self.path_of(id));
        self.free.send("cancel a batch", Method::POST, &path, ended).await.map(|_| ())
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        if let Some(batch) = self.on_pages(file) {
            return self.write_results(batch, to, bytes_max).await;
        }
        const WHAT: &str = "download a batch file";
        if let Some(blobs) = self.stored(WHAT, file)? {
            return blobs.download(WHAT, file, to, bytes_max).await;
        }
        let path = format!("/files/{}/content", batches::in_path(file));
        self.free.download(WHAT, &path, to, bytes_max).await
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        if self.on_pages(file).is_some() {
            return Ok(()); // they go with their batch, when its time is over
        }
        const WHAT: &str = "delete a batch file";
        if let Some(blobs) = self.stored(WHAT, file)? {
            return blobs.delete(WHAT, file).await;
        }
        let path = format!("/files/{}", batches::in_path(file));
        batches::delete(&self.free, self.form.shape, WHAT, &path).await
    }
}
