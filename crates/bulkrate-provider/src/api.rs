//! What the engine asks of a provider. A provider without a batch API does not implement `BatchApi`.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bulkrate_core::answer::{Failure, Reading};
use bulkrate_core::ids::WireId;
use bulkrate_core::lane::Lane;
use bulkrate_core::prompt_cache::{Marks, Ttl};
use bulkrate_core::request::{Kind, Part, Reasoning, Request, Tongue};
use bulkrate_core::submission::{KnownBy, Marker, RemoteBatch};
use bytes::Bytes;

/// One account at one provider: what it speaks, and over which lanes.
#[async_trait]
pub trait Provider: Send + Sync + Debug {
    /// The provider's name as in `provider/model`.
    fn name(&self) -> &'static str;
    fn wire(&self) -> &dyn Wire;
    /// Paid calls, one request each. `None` where there is no such API.
    fn calls(&self) -> Option<&dyn CallApi>;
    /// The batch API. `None` where there is none.
    fn batches(&self) -> Option<&dyn BatchApi>;
    /// What must be known of the service before anything is sent.
    fn facts(&self) -> Facts;
    /// The model that a deployment is said to serve, where models are called by the names of deployments: its own name, if nothing else
    /// was said. `None`: names are those of models.
    fn deployed<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let _ = name;
        None
    }
    /// Whether this machine has what it takes to send anything; `Err` says what is missing. Nothing is sent.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    /// The settings that its batches need and that are not set. `None`: nothing that a setting gives is missing.
    fn batches_need(&self) -> Option<&'static str> {
        None
    }
    /// Whether calls are signed with credentials that are found on this machine, where there is no key.
    fn signs(&self) -> bool {
        false
    }
    /// Where its calls run and whose they are, as the settings, the environment or a file of credentials say, where that is no part of the
    /// address: a batch of one place is not to be found at another. `None`: all that tells accounts apart is in the settings.
    fn place(&self) -> Option<String> {
        None
    }
    /// Checks credentials and reach by free calls, and finds out whether there is a batch API where that is not known:
    /// `batches` may answer `Some` only after it.
    async fn probe(&self) -> Result<Health, ApiError> {
        Ok(Health { batches: self.batches().is_some(), ..Health::default() })
    }
}

/// What a service is, besides its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether there is a flex lane.
    pub flex: bool,
    pub unlisted: Unlisted,
    /// Whether calls without a key are in vain.
    pub needs_key: bool,
    /// Whether prompts are cached without being marked for it, where its models have a price for cached input.
    pub caches_unmarked: bool,
}

/// What becomes of a model that the price catalogue does not list, when it is named as `provider/model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// All models are listed: it is a mistake.
    Refused,
    /// It needs a price from the user.
    Priced,
    /// Answers say what they cost.
    Reported,
    /// It runs on a machine of one's own.
    Free,
}

/// How one request is to be written.
#[derive(Debug, Clone, Copy)]
pub struct WireOptions<'a> {
    pub lane: Lane,
    /// The id to send for the model: the provider's own name.
    pub model: &'a str,
    /// Takes the place of the request's output maximum (a truncated answer is asked again with a higher one).
    pub max_tokens: Option<u32>,
    /// For how long the provider is to keep what stands before the last turn, where its wire has marks for that and the request
    /// sets none of its own.
    pub mark: Option<Ttl>,
    /// Bytes of the text of the last turn that others begin with too, where the provider is to keep that as well, for five minutes: it goes
    /// out as two blocks of text.
    pub second: Option<u32>,
    /// The log-probabilities of the answer's tokens are asked for, with those of so many that were likely in the place of each.
    pub alternatives: Option<u8>,
}

impl<'a> WireOptions<'a> {
    /// As the request says it, with nothing marked and nothing more asked for.
    #[must_use]
    pub fn new(lane: Lane, model: &'a str) -> Self {
        Self { lane, model, max_tokens: None, mark: None, second: None, alternatives: None }
    }
}

/// A request as the provider's documentation would call it unsupported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` cannot be sent to `{model}`: {why}")]
pub struct Unsupported {
    pub field: &'static str,
    pub model: String,
    pub why: String,
}

/// Pure translation between the unified shapes and the provider's JSON.
pub trait Wire: Send + Sync + Debug {
    /// The path of the API for this kind, under the base URL: `/chat/completions`. Some name the model in it.
    fn path(&self, kind: Kind, model: &str) -> Cow<'static, str>;
    /// The same, where the lane is said beside the body and not in it.
    fn path_in(&self, lane: Lane, kind: Kind, model: &str) -> Cow<'static, str> {
        let _ = lane;
        self.path(kind, model)
    }
    /// What is kept of a model's prompts in a lane where they are marked for it; `None`: there are no marks, or none that are set
    /// from here.
    fn marks(&self, lane: Lane, model: &str) -> Option<Marks> {
        let _ = (lane, model);
        None
    }
    /// Why chats with a model cannot be asked for the log-probabilities of their tokens; `None`: they can.
    fn tells_no_logprobs(&self, model: &str, reasoning: Option<Reasoning>) -> Option<&'static str> {
        let _ = (model, reasoning);
        Some("its API tells none")
    }
    /// Whether the body of an OpenAI batch line for this API of OpenAI's can go to the model as it is.
    fn takes_openai(&self, kind: Kind, model: &str) -> bool {
        let _ = (kind, model);
        false
    }
    /// Whether bodies to the model are in these words: fields of a request in them can go to it as they are.
    fn speaks(&self, tongue: Tongue, kind: Kind, model: &str) -> bool {
        let _ = (tongue, kind, model);
        false
    }
    /// Whether the service itself reads what lies at the address of an image or a document; where not, it takes bytes alone.
    fn reads(&self, part: &Part<'_>, model: &str) -> bool {
        let _ = (part, model);
        true
    }
    /// Appends the provider's body for `request` to `out`; nothing is appended on an error.
    fn encode(
        &self,
        request: &Request<'_>,
        options: WireOptions<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported>;
    /// What the reply to a paid call means.
    fn read<'a>(&self, kind: Kind, reply: &'a Reply) -> Reading<'a>;
    /// `text` without the account's secrets: for what is kept of an answer that is not good.
    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str>;
}

/// One line of a batch's output or error file.
#[derive(Debug)]
pub struct BatchLine<'a> {
    pub custom_id: Cow<'a, str>,
    pub reading: Reading<'a>,
}

/// An answered HTTP call, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// What a header says; `None`: it is not there, or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The `provider_code` of a failure that proves that nothing left this host.
pub const NOT_SENT: &str = "not_sent";

/// A paid call that brought no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not one byte of the request left this host: surely unpaid.
    #[error("could not reach `{origin}`: {why}")]
    NotSent { origin: String, why: String },
    /// The request may have arrived: it may have been paid.
    #[error("no answer from `{origin}`: {why}")]
    NoAnswer { origin: String, why: String, timeout: bool },
}

/// A file of JSON lines that goes out as one array.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    pub file: &'a Path,
    /// What stands before the first line and after the last.
    pub head: &'a str,
    pub tail: &'static str,
}

/// Paid calls. Nothing in here sends twice.
#[async_trait]
pub trait CallApi: Send + Sync + Debug {
    /// Posts `body` to `path` under the base URL.
    async fn call(&self, path: &str, body: Bytes, timeout: Duration) -> Result<Reply, CallError> {
        self.call_watched(path, body, timeout, &AtomicBool::new(false)).await
    }
    /// The same for one that may be given up: `left` is set before its first byte can leave this host, so that one that is dropped
    /// before was surely not sent.
    async fn call_watched(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
        left: &AtomicBool,
    ) -> Result<Reply, CallError>;
    /// The same with a file that is read while it is sent, for which more time is given.
    async fn call_lines(&self, path: &str, lines: Lines<'_>, timeout: Duration) -> Result<Reply, CallError>;

    /// Closes the connections that no call uses: a thousand of them hold some 20 MB.
    async fn rest(&self) {}
}

/// One HTTP exchange, without a network: what a simulated world gives an adapter instead of connections.
#[async_trait]
pub trait Exchange: Send + Sync + Debug {
    /// `path` as under the base URL, with its query. Sent once.
    async fn exchange(&self, method: http::Method, path: &str, body: Bytes) -> Result<Reply, CallError>;
    /// What comes before the first byte of a paid call: as long as it lasts nothing has left.
    async fn connect(&self, path: &str, body: &Bytes) {
        let _ = (path, body);
    }
}

/// Paid calls over a line that is given.
#[derive(Debug)]
pub struct GivenCalls(pub std::sync::Arc<dyn Exchange>);

#[async_trait]
impl CallApi for GivenCalls {
    async fn call_watched(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
        left: &AtomicBool,
    ) -> Result<Reply, CallError> {
        let sent = async {
            self.0.connect(path, &body).await;
            left.store(true, Ordering::Relaxed);
            self.0.exchange(http::Method::POST, path, body.clone()).await
        };
        tokio::time::timeout(timeout, sent).await.unwrap_or_else(|_| {
            let (origin, ms) = ("the provider".to_owned(), timeout.as_millis());
            match left.load(Ordering::Relaxed) {
                true => {
                    Err(CallError::NoAnswer { origin, why: format!("nothing within {ms} ms"), timeout: true })
                }
                false => Err(CallError::NotSent { origin, why: format!("no connection within {ms} ms") }),
            }
        })
    }

    async fn call_lines(&self, path: &str, lines: Lines<'_>, timeout: Duration) -> Result<Reply, CallError> {
        let text = std::fs::read_to_string(lines.file).map_err(|error| CallError::NotSent {
            origin: "the provider".to_owned(),
            why: error.to_string(),
        })?;
        let joined = text.trim_end().replace('\n', ",");
        self.call(path, Bytes::from(format!("{}{joined}{}", lines.head, lines.tail)), timeout).await
    }
}

/// What the reply to a call tells about the account's limits. All optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitHints {
    pub requests_limit: Option<u64>,
    pub requests_left: Option<u64>,
    pub requests_reset_ms: Option<u64>,
    pub tokens_limit: Option<u64>,
    pub tokens_left: Option<u64>,
    pub tokens_reset_ms: Option<u64>,
}

/// Limits of a provider's batch API for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub items_max: u32,
    pub bytes_max: u64,
    /// Inputs of all lines together, for embeddings.
    pub embedding_inputs_max: u64,
}

/// What a batch API is besides its verbs: asked for, so that nobody asks for the provider's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchFacts {
    pub known_by: KnownBy,
    /// Failures stand among the answers: there is no file of errors.
    pub one_file: bool,
    /// So many batches may run at once: they share a machine.
    pub at_once: Option<u32>,
    /// A batch of fewer items is not taken.
    pub items_min: u32,
    /// Results may be seen in part for a while after the end: they are read again until as many are there as the counts tell of.
    pub seen_late: bool,
    /// What a batch calls cancelled may have run, and its answer be there a moment later: no count of it proves anything unpaid.
    pub cancels_late: bool,
    /// A batch cannot be cancelled: it runs to its end, and what it does until then is paid.
    pub cannot_cancel: bool,
    /// A batch is cancelled by deleting it: what it had answered is gone with it, and paid.
    pub cancel_deletes: bool,
    /// What a batch had answered when it was cancelled is handed out, by the provider's own documentation.
    pub cut_shows: bool,
    /// Answers of batches cannot be held to a schema.
    pub takes_no_schema: bool,
    /// Images and documents cannot go to a batch.
    pub takes_no_media: bool,
    /// Results do not say what they cost, though answers to calls do: without a price nobody would know it.
    pub needs_price: bool,
    /// A result repeats its request, and is as long as both.
    pub repeats_requests: bool,
    /// Batches tell no counts. One that has ended names a file where anything of it ran.
    pub uncounted: bool,
}

/// The answer to a paid batch create, by the classification table of the core (`submission::classify`).
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one is made for each batch; a box would only add noise")]
pub enum Created {
    Accepted(RemoteBatch),
    /// Proved unpaid.
    Refused(Failure),
    /// May have been accepted: only evidence may decide now.
    InDoubt(String),
}

/// A free call that failed; free calls are repeated inside, so this is after all tries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {}", .failure.message)]
pub struct ApiError {
    pub what: String,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    pub failure: Failure,
}

/// The code of a free call that failed on this machine: the file cannot be read or written.
pub const LOCAL: &str = "local_file";
/// The code of one that failed because a disk here is full.
pub const DISK_FULL: &str = "local_disk_full";
/// The code of one that brought no byte of an answer: nobody was there, or nobody spoke.
pub const NO_ANSWER: &str = "no_answer";

impl ApiError {
    /// Whether nothing came back, not even a refusal.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.status.is_none() && self.failure.provider_code.as_deref() == Some(NO_ANSWER)
    }

    /// A redirect that was not followed: the same address will say the same again.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        self.status.is_some_and(|status| (300..400).contains(&status))
    }

    /// What this machine failed with, where it was not the provider; asking again helps nothing.
    #[must_use]
    pub fn local(&self) -> Option<std::io::Error> {
        // With a status it is a server that says so.
        match self.failure.provider_code.as_deref().filter(|_| self.status.is_none())? {
            DISK_FULL => Some(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            LOCAL => Some(std::io::Error::other(self.failure.message.clone())),
            _ => None,
        }
    }
}

/// A provider's batch API. Everything but `create` is free and may be repeated.
#[async_trait]
pub trait BatchApi: Send + Sync + Debug {
    fn limits(&self, kind: Kind) -> BatchLimits;
    fn facts(&self) -> BatchFacts {
        BatchFacts::default()
    }
    /// Why no batches are made of such items for this model, though there may be a price for them; `None`: they are.
    fn refuses(&self, kind: Kind, model: &str) -> Option<&'static str> {
        let _ = (kind, model);
        None
    }
    /// Appends one line of an input file, newline included, around an encoded body.
    fn input_line(&self, id: WireId, kind: Kind, body: &[u8], out: &mut Vec<u8>);
    /// What one line of an output or error file means. `Err` says why the line is no result at all.
    fn read_line<'a>(&self, kind: Kind, line: &'a [u8]) -> Result<BatchLine<'a>, String>;
    /// Uploads an input file; answers the remote file's id. Where the create carries the file itself, a look at it that sends
    /// nothing and answers its name here.
    async fn upload(&self, file: &Path, name: &str) -> Result<String, ApiError>;
    /// The one paid call, for items of one model. Never repeated inside.
    async fn create(&self, input_file: &str, kind: Kind, model: &str, marker: &Marker) -> Created;
    /// `Ok(None)`: the provider does not know the id.
    async fn poll(&self, id: &str) -> Result<Option<RemoteBatch>, ApiError>;
    /// Every batch created since (seconds since the epoch, by the provider's clock), newest first, all pages.
    async fn list_since(&self, created_at_min: u64) -> Result<Vec<RemoteBatch>, ApiError>;
    async fn cancel(&self, id: &str) -> Result<(), ApiError>;
    /// Downloads a remote file to `to`, whole or not at all; answers its length. `Ok(None)`: it does not exist.
    /// One of more than `bytes_max` bytes is an error.
    async fn download(&self, file: &str, to: &Path, bytes_max: u64) -> Result<Option<u64>, ApiError>;
    /// Deletes a remote file, or what else holds the results; `Ok` also when it is gone already.
    async fn delete_file(&self, file: &str) -> Result<(), ApiError>;
    /// The id of an item in an ended batch's results, where that is what a batch is known by. `Ok(None)`: none is to be seen.
    async fn first_item(&self, batch: &RemoteBatch) -> Result<Option<String>, ApiError> {
        let _ = batch;
        Ok(None)
    }
}

/// A free check of credentials and reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    pub models: Option<u64>,
    /// Their ids, where the list has them: the first thousands.
    pub names: Vec<String>,
    /// Whether the batch list answered.
    pub batches: bool,
    /// The provider's clock minus ours, in seconds.
    pub clock_skew_s: Option<i64>,
    /// What a free call tells of the limits of paid ones.
    pub limits: LimitHints,
}
