//! Fireworks' batches: jobs under a name of the caller's, from one data set to another. Their API stands beside that of the calls, under the
//! account's id, and its data sets are read at addresses that it names.

mod remote;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::WireId;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, Phase, RemoteBatch};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;

use super::batch::{self, UPLOAD};
use super::dialect::{Batches, Dialect};
use super::errors;
use super::form::{bare_line, without_model};
use super::wire::OpenAiWire;
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Reply};
use crate::http::batches::{self, Looked, Shape, in_path};
use crate::http::free::{Elsewhere, FreeClient, Sheet};
use crate::settings::Settings;

const READ: &str = "read the results of a batch";
/// Where the calls stand; the rest of the API stands beside it.
const CALLS: &str = "/inference/v1";

const SHAPE: Shape = Shape {
    cursor: "pageToken",
    newest_first: false, // nothing says so
    page: remote::read_page,
    batch: remote::read_job,
    is_error: |body| errors::read(body).is_some(),
    is_deleted: remote::says_deleted,
    ..super::Form::OPENAI.shape
};

/// The settings of the API beside that of the calls.
pub(super) fn beside(dialect: Dialect, settings: &Settings) -> Settings {
    let base = settings.base_url.as_deref().or(dialect.base_url).unwrap_or_default();
    let base = base.trim().trim_end_matches('/');
    let base_url = Some(base.strip_suffix(CALLS).unwrap_or(base).to_owned());
    Settings { base_url, project: None, ..settings.clone() } // an account's id is no header
}

/// The batch API of one account.
#[derive(Debug)]
pub(super) struct SetBatches {
    dialect: Dialect,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    free: Arc<FreeClient>,
    elsewhere: Elsewhere,
    /// The account's id: named in the settings, or the only one of the key.
    account: OnceCell<String>,
    /// Jobs that were deleted from here: that they are unknown is their end, and no loss.
    deleted: Mutex<BTreeSet<String>>,
    create_timeout: Duration,
}

impl SetBatches {
    pub(super) fn new(
        dialect: Dialect,
        wire: Arc<OpenAiWire>,
        paid: Arc<dyn CallApi>,
        free: Arc<FreeClient>,
        settings: &Settings,
    ) -> Self {
        let elsewhere = Elsewhere::of(free.account(), settings, errors::classify);
        let account = OnceCell::new_with(settings.project.clone());
        let (deleted, create_timeout) = (Mutex::default(), settings.create_timeout);
        Self { dialect, wire, paid, free, elsewhere, account, deleted, create_timeout }
    }

    /// Whether the list of jobs answers: a gateway may pass on calls only.
    pub(super) async fn exists(&self) -> bool {
        let Ok(path) = self.path("batchInferenceJobs?pageSize=1").await else { return false };
        let reply = self.free.send("look for a batch API", Method::GET, &path, &[]).await;
        reply.is_ok_and(|reply| remote::read_page(&reply.body).is_ok())
    }

    /// What is under the account's id.
    async fn path(&self, rest: &str) -> Result<String, ApiError> {
        let account = self.account.get_or_try_init(|| self.only_account()).await?;
        Ok(format!("/v1/accounts/{}/{rest}", in_path(account)))
    }

    async fn set(&self, id: &str) -> Result<String, ApiError> {
        self.path(&format!("datasets/{}", in_path(id))).await
    }

    async fn only_account(&self) -> Result<String, ApiError> {
        const WHAT: &str = "look for the account of the key";
        let reply = self.free.send(WHAT, Method::GET, "/v1/accounts?pageSize=2", &[]).await?;
        let ids = remote::read_accounts(&reply.body)
            .map_err(|why| batches::unreadable(&self.free, WHAT, &reply, &why))?;
        match <[String; 1]>::try_from(ids) {
            Ok([id]) => Ok(id),
            Err(ids) => {
                let why = format!(
                    "the key is that of {} accounts: name the one that pays as `project`",
                    if ids.is_empty() { "no" } else { "several" }
                );
                Err(self.free.error(WHAT, Some(reply.status), FailureClass::RefusedByProvider, &why))
            }
        }
    }

    /// A data set, empty yet. One that an earlier try has made is this one: nobody else knows its name.
    async fn make_set(&self, id: &str, lines: u64) -> Result<(), ApiError> {
        let path = self.path("datasets").await?;
        let body =
            json!({"datasetId": id, "dataset": {"userUploaded": {}, "exampleCount": lines.to_string()}});
        let sent = self.free.post(UPLOAD, &path, ("application/json", Bytes::from(body.to_string())), &[409]);
        sent.await.map(|_| ())
    }

    /// Until all lines of a file are in a data set, and it may be read.
    async fn fill(&self, id: &str, file: &Path) -> Result<(), ApiError> {
        let path = self.set(id).await?;
        let sent = self.free.upload(UPLOAD, &format!("{path}:upload"), &[], file, "input.jsonl").await;
        // A data set takes nothing more once it has its lines: an answer was lost, and the next try is refused.
        let is_again = |error: &ApiError| matches!(error.status, Some(400 | 409));
        if let Err(error) = sent
            && !(is_again(&error) && self.is_filled(&path).await?)
        {
            return Err(error);
        }
        batches::until_ready(&self.free, UPLOAD, &path, |reply| match self.state_of(reply) {
            Ok(true) => Looked::Ready,
            Ok(false) => Looked::NotYet,
            Err(error) => Looked::Bad(error),
        })
        .await
    }

    /// Whether it may be read, so that all lines are there.
    fn state_of(&self, reply: &Reply) -> Result<bool, ApiError> {
        let is_ready = remote::is_ready(&reply.body);
        is_ready.map_err(|why| batches::unreadable(&self.free, UPLOAD, reply, &why))
    }

    async fn is_filled(&self, path: &str) -> Result<bool, ApiError> {
        self.state_of(&self.free.send(UPLOAD, Method::GET, path, &[]).await?)
    }

    /// Brings one file of a data set to `to`; `None`: it is not there any more.
    async fn bring(&self, url: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let refused = |why: String| self.free.error(READ, None, FailureClass::RefusedByProvider, &why);
        let (there, path) = self.elsewhere.at(url).map_err(refused)?;
        there.download(READ, &path, to, bytes_max).await
    }

    /// All files of a data set, one after the other. Who knows an address may read what lies there, for some minutes.
    async fn bring_all(
        &self,
        urls: &[String],
        sheet: &mut Sheet,
        (to, bytes_max): (&Path, u64),
    ) -> Result<u64, ApiError> {
        let local = |error: std::io::Error| self.free.local_error(READ, to, &error);
        let piece = to.with_extension("piece");
        let mut bytes = 0;
        for url in urls {
            let Some(length) = self.bring(url, &piece, bytes_max.saturating_sub(bytes)).await? else {
                let why = "a file of the results is gone while it is read";
                return Err(self.free.error(READ, None, FailureClass::Transient, why));
            };
            let mut input = tokio::fs::File::open(&piece).await.map_err(local)?;
            tokio::io::copy(&mut input, &mut sheet.out).await.map_err(local)?;
            // The last line of a file may have no end.
            sheet.out.write_all(b"\n").await.map_err(local)?;
            tokio::fs::remove_file(&piece).await.map_err(local)?;
            bytes += length + 1;
        }
        Ok(bytes)
    }
}

/// How many lines a file has.
async fn lines_of(file: &Path) -> std::io::Result<u64> {
    use tokio::io::AsyncReadExt as _;
    let (mut input, mut piece, mut lines) = (tokio::fs::File::open(file).await?, vec![0; 1 << 18], 0);
    loop {
        match input.read(&mut piece).await? {
            0 => return Ok(lines),
            read => lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

#[async_trait]
impl BatchApi for SetBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        let (items_max, bytes_max) = match self.dialect.batches {
            Batches::Sets { items_max, bytes_max } | Batches::Yes { items_max, bytes_max, .. } => {
                (items_max, bytes_max)
            }
            Batches::No | Batches::Ask => (0, 0),
        };
        BatchLimits { items_max, bytes_max, embedding_inputs_max: u64::MAX }
    }

    fn facts(&self) -> BatchFacts {
        BatchFacts {
            known_by: KnownBy::Input,
            one_file: true,
            // The job tells of answers that its data set may show a moment later.
            seen_late: true,
            // Nothing says that what is called cancelled was not run.
            cancels_late: true,
            cancel_deletes: true,
            ..BatchFacts::default()
        }
    }

    fn refuses(&self, kind: Kind, _: &str) -> Option<&'static str> {
        batch::none_of(&[Kind::Chat], kind)
    }

    fn input_line(&self, id: WireId, _: Kind, body: &[u8], out: &mut Vec<u8>) {
        bare_line(id, &without_model(body), out);
    }

    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String> {
        self.wire.read_bare_line(kind, line)
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError> {
        let local = |error: std::io::Error| self.free.local_error(UPLOAD, file, &error);
        let id = format!("{}-{}", name.trim_end_matches(".jsonl"), batches::unused());
        self.make_set(&id, lines_of(file).await.map_err(local)?).await?;
        let filled = self.fill(&id, file).await;
        if filled.is_err() {
            // It would only take room there; the error that is told is the first.
            let _ = self.delete_file(&id).await;
        }
        filled.map(|()| id)
    }

    /// The job has the name of its input: a create that arrives twice finds the first one there.
    async fn create(&self, input_file: &str, _: Kind, model: &str, _: &Marker) -> Created {
        let named = async {
            let (jobs, sets) = (self.path("batchInferenceJobs").await?, self.set("").await?);
            Ok::<_, ApiError>((jobs, sets.trim_start_matches("/v1/").to_owned()))
        };
        let (jobs, sets) = match named.await {
            Ok(named) => named,
            Err(error) => return Created::Refused(batches::not_sent(error.to_string())),
        };
        let body = json!({
            "model": model, "inputDatasetId": format!("{sets}{input_file}"),
            "outputDatasetId": format!("{sets}{}", remote::output_of(input_file)),
        });
        let path = format!("{jobs}?batchInferenceJobId={}", in_path(input_file));
        match self.paid.call(&path, Bytes::from(body.to_string()), self.create_timeout).await {
            Ok(reply) => {
                // What is there already may be this one.
                let own = |said: &errors::Said| {
                    (said.is_nested || said.code.is_some()) && !said.message.contains("already exists")
                };
                let refused = batch::refusal(&self.free, &reply, own);
                batches::created(self.free.account(), &reply, remote::read_job(&reply.body), refused)
            }
            Err(error) => batches::unanswered(error),
        }
    }

    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError> {
        let path = self.path(&format!("batchInferenceJobs/{}", in_path(id))).await?;
        let job = batches::poll(&self.free, SHAPE, &path).await?;
        let is_deleted = || self.deleted.lock().unwrap_or_else(PoisonError::into_inner).contains(id);
        Ok(job.or_else(|| is_deleted().then(|| remote::gone(id))))
    }

    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError> {
        let first = self.path("batchInferenceJobs?pageSize=100").await?;
        batches::list_from(&self.free, SHAPE, &first, created_at_min).await
    }

    /// A job is stopped by deleting it. One that writes its results, has ended, or is in a state that is not known is left alone: they
    /// would go with it, and are paid.
    async fn cancel(&self, id: &str) -> Result<(), ApiError> {
        match self.poll(id).await? {
            Some(job) if matches!(job.phase, Phase::Validating | Phase::InProgress) => {
                let path = self.path(&format!("batchInferenceJobs/{}", in_path(id))).await?;
                batches::delete(&self.free, SHAPE, "cancel a batch", &path).await?;
                self.deleted.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let path = format!("{}:getDownloadEndpoint", self.set(file).await?);
        let reply = self.free.send(READ, Method::GET, &path, &[404]).await?;
        let unreadable = |why: &str| batches::unreadable(&self.free, READ, &reply, why);
        if reply.status == 404 {
            let own = errors::read(&reply.body).is_some();
            return if own { Ok(None) } else { Err(unreadable("a page that is not the provider's")) };
        }
        let urls = remote::read_addresses(&reply.body).map_err(|why| unreadable(&why))?;
        let local = |error: std::io::Error| self.free.local_error(READ, to, &error);
        let mut sheet = Sheet::begin(to).await.map_err(local)?;
        match self.bring_all(&urls, &mut sheet, (to, bytes_max)).await {
            Ok(bytes) => sheet.end(to).await.map(|()| Some(bytes)).map_err(local),
            Err(error) => {
                let _ = sheet.discard().await; // what matters is the error
                Err(error)
            }
        }
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        batches::delete(&self.free, SHAPE, "delete a data set", &self.set(file).await?).await
    }
}
