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
use tokio::io::AsyncReadExt as _;
use tokio::sync::OnceCell;

use super::batch::{self, UPLOAD};
use super::dialect::Dialect;
use super::errors;
use super::form::{bare_line, without_model};
use super::wire::OpenAiWire;
use crate::api::{ApiError, BatchApi, BatchFacts, BatchLimits, BatchLine, CallApi, Created, Exchange, Reply};
use crate::http::Account;
use crate::http::batches::{self, Looked, Shape, in_path};
use crate::http::free::{Elsewhere, FreeClient, pieces};
use crate::http::paid::calls;
use crate::registry::OpenError;
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
fn beside(dialect: Dialect, settings: &Settings) -> Settings {
    let base = settings.base_url.as_deref().or(dialect.base_url).unwrap_or_default();
    let base = base.trim().trim_end_matches('/');
    let base_url = Some(base.strip_suffix(CALLS).unwrap_or(base).to_owned());
    Settings { base_url, project: None, ..settings.clone() } // an account's id is no header
}

/// The batch API of one account.
#[derive(Debug)]
pub(super) struct SetBatches {
    limits: BatchLimits,
    wire: Arc<OpenAiWire>,
    paid: Arc<dyn CallApi>,
    free: FreeClient,
    elsewhere: Elsewhere,
    /// The account's id: named in the settings, or the only one of the key.
    account: OnceCell<String>,
    /// Jobs that were deleted from here: that they are unknown is their end, and no loss.
    deleted: Mutex<BTreeSet<String>>,
    create_timeout: Duration,
}

impl SetBatches {
    /// Sends nothing. Over a line where one is given.
    pub(super) fn new(
        dialect: Dialect,
        limits: BatchLimits,
        wire: Arc<OpenAiWire>,
        settings: &Settings,
        line: Option<&Arc<dyn Exchange>>,
    ) -> Result<Self, OpenError> {
        let own = beside(dialect, settings);
        let account = Account::new(None, dialect.name, &own)?;
        let paid = calls(line, account.clone(), &[], &own)?;
        let free = FreeClient::on(line, account, &own, errors::classify)?;
        let elsewhere = Elsewhere::of(&free, settings, errors::classify);
        let account = OnceCell::new_with(settings.project.clone());
        let (deleted, create_timeout) = (Mutex::default(), settings.create_timeout);
        Ok(Self { limits, wire, paid, free, elsewhere, account, deleted, create_timeout })
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

    async fn job(&self, id: &str) -> Result<String, ApiError> {
        self.path(&format!("batchInferenceJobs/{}", in_path(id))).await
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
    async fn bring_all(&self, urls: &[String], to: &Path, bytes_max: u64) -> Result<u64, ApiError> {
        let (mut whole, mut left) = (Vec::new(), bytes_max);
        for (place, url) in urls.iter().enumerate() {
            let piece = pieces::beside(to, place);
            let Some(bytes) = self.bring(url, &piece, left).await? else {
                let why = "a file of the results is gone while it is read";
                return Err(self.free.error(READ, None, FailureClass::Transient, why));
            };
            left = left.saturating_sub(bytes);
            whole.push(piece);
        }
        pieces::join(&whole, to).await.map_err(|error| self.free.local_error(READ, to, &error))
    }
}

/// How many lines a file has.
async fn lines_of(file: &Path) -> std::io::Result<u64> {
    let (mut input, mut piece, mut lines) = (tokio::fs::File::open(file).await?, vec![0; 1 << 18], 0);
    loop {
        match input.read(&mut piece).await? {
            0 => return Ok(lines),
            read => lines += memchr::memchr_iter(b'\n', &piece[..read]).count() as u64,
        }
    }
}

#[async_trait]
impl BatchApi for SetBatches {
    fn limits(&self, _: Kind) -> BatchLimits {
        self.limits
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
        let job = batches::poll(&self.free, SHAPE, &self.job(id).await?).await?;
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
                batches::delete(&self.free, SHAPE, "cancel a batch", &self.job(id).await?).await?;
                self.deleted.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError> {
        let path = format!("{}:getDownloadEndpoint", self.set(file).await?);
        let Some(reply) = batches::found(&self.free, SHAPE, READ, &path).await? else { return Ok(None) };
        let urls = remote::read_addresses(&reply.body)
            .map_err(|why| batches::unreadable(&self.free, READ, &reply, &why))?;
        self.bring_all(&urls, to, bytes_max).await.map(Some)
    }

    async fn delete_file(&self, file: &str) -> Result<(), ApiError> {
        batches::delete(&self.free, SHAPE, "delete a data set", &self.set(file).await?).await
    }
}
