//! The client of free calls: files, polling, lists. Repeats what may pass, by policy.
//!
//! Nothing that costs money goes through here.

mod download;
mod elsewhere;
pub(crate) mod pieces;
mod put;
mod resumable;
mod skim;

pub(crate) use download::Sheet;
pub(crate) use elsewhere::Elsewhere;
pub(crate) use resumable::Protocol;
pub(crate) use skim::{Keep, Skimmed};

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::{FailureClass, Verdict};
use bytes::Bytes;
use http::HeaderMap;
use reqwest::{Method, RequestBuilder, Response, redirect};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::now_unix_s;
use super::origin::Account;
use super::sign::{Covered, Unsignable};
use super::unreached;
use crate::api::{ApiError, CallError, DISK_FULL, Exchange, LOCAL, NO_ANSWER, Reply};
use crate::registry::OpenError;
use crate::settings::{RetryPolicy, Settings};

/// The longest answer held in memory: a page of 100 batches is far below it.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The code of an answer that is longer than that.
const TOO_LONG: &str = "answer_too_long";

/// Whether fewer of what was asked for may come, where more at once do not.
fn is_too_much(error: &ApiError) -> bool {
    let failure = &error.failure;
    failure.class == FailureClass::Timeout || failure.provider_code.as_deref() == Some(TOO_LONG)
}

/// Files on their way at once: each holds some 0.7 MB of buffers, and a few fill any line.
const TRANSFERS_MAX: usize = 4;
/// Connections kept for the next poll.
const IDLE_MAX: usize = 8;

/// What an adapter's error table says about a reply that is no success.
pub type Classify = fn(&Reply, now_unix_s: i64) -> Failure;

/// Speaks to one origin.
#[derive(Debug)]
pub struct FreeClient {
    line: Line,
    account: Account,
    retry: RetryPolicy,
    jitter: AtomicU64,
    classify: Classify,
    transfers: Semaphore,
}

/// What carries the requests.
#[derive(Debug)]
enum Line {
    Http(reqwest::Client),
    Given(Arc<dyn Exchange>),
}

/// One try that failed.
struct Failed {
    error: ApiError,
    again: bool,
}

impl Failed {
    /// Not one byte of an answer came.
    fn unanswered(mut self) -> Self {
        self.error.failure.provider_code = Some(NO_ANSWER.to_owned());
        self
    }
}

impl FreeClient {
    pub fn new(account: Account, settings: &Settings, classify: Classify) -> Result<Self, OpenError> {
        let policy = redirect::Policy::custom(|attempt| {
            let same_origin =
                attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
            // A key never follows a redirect to another origin.
            if same_origin && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
        });
        let client = client(&account, settings, policy)?;
        Ok(Self::with(Line::Http(client), account, settings, classify))
    }

    /// One that follows nothing: a redirect is an answer.
    pub(crate) fn unled(
        account: Account,
        settings: &Settings,
        classify: Classify,
    ) -> Result<Self, OpenError> {
        let client = client(&account, settings, redirect::Policy::none())?;
        Ok(Self::with(Line::Http(client), account, settings, classify))
    }

    /// Over a line where one is given, for worlds without a network.
    pub(crate) fn on(
        line: Option<&Arc<dyn Exchange>>,
        account: Account,
        settings: &Settings,
        classify: Classify,
    ) -> Result<Self, OpenError> {
        match line {
            Some(line) => Ok(Self::with(Line::Given(Arc::clone(line)), account, settings, classify)),
            None => Self::new(account, settings, classify),
        }
    }

    fn with(line: Line, account: Account, settings: &Settings, classify: Classify) -> Self {
        let jitter = AtomicU64::new(settings.jitter_seed);
        let transfers = Semaphore::new(TRANSFERS_MAX);
        Self { line, account, retry: settings.retry, jitter, classify, transfers }
    }

    /// Sends without a body; the answer whole. `ok` names statuses that are answers, besides 2xx.
    pub async fn send(&self, what: &str, method: Method, path: &str, ok: &[u16]) -> Result<Reply, ApiError> {
        self.repeat(|| async {
            let reply = match &self.line {
                Line::Given(line) => {
                    self.given(what, line.exchange(method.clone(), path, Bytes::new()).await)?
                }
                Line::Http(client) => {
                    let request = self.request(what, client, &method, path, Covered::Bytes(b"")).await?;
                    let sent = request.timeout(self.retry.try_timeout).send().await;
                    self.reply(what, sent).await?
                }
            };
            self.check(what, reply, ok)
        })
        .await
    }

    /// Posts a form; the answer whole. `ok` names statuses that are answers, besides 2xx.
    pub(crate) async fn post_form(
        &self,
        what: &str,
        path: &str,
        form: Bytes,
        ok: &[u16],
    ) -> Result<Reply, ApiError> {
        self.post(what, path, ("application/x-www-form-urlencoded", form), ok).await
    }

    /// The same of a body of any type.
    pub(crate) async fn post(
        &self,
        what: &str,
        path: &str,
        (kind, body): (&str, Bytes),
        ok: &[u16],
    ) -> Result<Reply, ApiError> {
        self.repeat(|| async {
            let reply = match &self.line {
                Line::Given(line) => {
                    self.given(what, line.exchange(Method::POST, path, body.clone()).await)?
                }
                Line::Http(client) => {
                    let request =
                        self.request(what, client, &Method::POST, path, Covered::Bytes(&body)).await?;
                    let request = request.body(body.clone()).header("content-type", kind);
                    self.reply(what, request.timeout(self.retry.try_timeout).send().await).await?
                }
            };
            self.check(what, reply, ok)
        })
        .await
    }

    /// One try of bringing a file there or here; what waits before the next try does not count.
    async fn transfer(&self) -> Option<SemaphorePermit<'_>> {
        self.transfers.acquire().await.ok() // it is never closed
    }

    /// One page of a list, of fewer rows where so many do not come. `path`: for so many rows at most, of which `rows` keeps the last number.
    ///
    /// A page is held whole until its turn is dropped: as many at once as files are on their way.
    pub(crate) async fn page(
        &self,
        what: &str,
        rows: &mut u32,
        path: impl Fn(u32) -> String,
        ok: &[u16],
    ) -> Result<(Reply, Option<SemaphorePermit<'_>>), ApiError> {
        loop {
            let turn = self.transfer().await;
            match self.send(what, Method::GET, &path(*rows), ok).await {
                Err(error) if *rows > 1 && is_too_much(&error) => *rows /= 2,
                reply => return reply.map(|reply| (reply, turn)),
            }
        }
    }

    /// A file as a body that is read while it is sent, and its length.
    async fn body_of(&self, what: &str, file: &Path) -> Result<(reqwest::Body, u64), Failed> {
        let local = |error: std::io::Error| self.local(what, file, &error);
        let input = tokio::fs::File::open(file).await.map_err(local)?;
        let length = input.metadata().await.map_err(local)?.len();
        let pieces = tokio_util::io::ReaderStream::with_capacity(input, 1 << 18);
        Ok((reqwest::Body::wrap_stream(pieces), length))
    }

    /// A file over a line that is given.
    async fn give(
        &self,
        what: &str,
        line: &dyn Exchange,
        (method, path): (Method, &str),
        file: &Path,
    ) -> Result<Reply, Failed> {
        let body = std::fs::read(file).map_err(|error| self.local(what, file, &error))?;
        let reply = self.given(what, line.exchange(method, path, Bytes::from(body)).await)?;
        self.check(what, reply, &[])
    }

    /// A request with what its account adds to it.
    async fn request(
        &self,
        what: &str,
        client: &reqwest::Client,
        method: &Method,
        path: &str,
        body: Covered<'_>,
    ) -> Result<RequestBuilder, Failed> {
        let signed = self.signature(what, method, path, body).await?;
        Ok(client.request(method.clone(), self.account.url(path)).headers(signed))
    }

    async fn signature(
        &self,
        what: &str,
        method: &Method,
        path: &str,
        body: Covered<'_>,
    ) -> Result<HeaderMap, Failed> {
        self.account.sign(method, path, body).await.map_err(|unsigned| match unsigned {
            Unsignable::Away(why) => {
                self.failed(what, None, FailureClass::Transient, &why, true).unanswered()
            }
            Unsignable::Refused(reply) => self.refused(what, &reply),
        })
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The line that is given in place of connections.
    fn given_line(&self) -> Option<Arc<dyn Exchange>> {
        match &self.line {
            Line::Given(line) => Some(Arc::clone(line)),
            Line::Http(_) => None,
        }
    }

    fn given(&self, what: &str, sent: Result<Reply, CallError>) -> Result<Reply, Failed> {
        sent.map_err(|error| {
            let timeout = matches!(error, CallError::NoAnswer { timeout: true, .. });
            let class = if timeout { FailureClass::Timeout } else { FailureClass::Transient };
            self.failed(what, None, class, &error.to_string(), true).unanswered()
        })
    }

    fn late(&self, what: &str, brought: &str) -> Failed {
        let why = format!("timed out: {brought} within {} ms", self.retry.try_timeout.as_millis());
        self.failed(what, None, FailureClass::Timeout, &why, true)
    }

    async fn reply(&self, what: &str, sent: Result<Response, reqwest::Error>) -> Result<Reply, Failed> {
        let mut response = sent.map_err(|error| {
            let failed = self.broken(what, &error);
            // A file that could not be read to its end says nothing about who would have answered.
            if error.is_body() { failed } else { failed.unanswered() }
        })?;
        self.plain(what, &response)?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(what, &error))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                let why = "the answer is too long";
                let mut failed = self.failed(what, Some(status), FailureClass::Transient, why, false);
                failed.error.failure.provider_code = Some(TOO_LONG.to_owned());
                return Err(failed);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body: Bytes::from(body) })
    }

    /// The reply, if it is an answer by now.
    pub(crate) fn accept(&self, what: &str, reply: Reply, ok: &[u16]) -> Result<Reply, ApiError> {
        self.check(what, reply, ok).map_err(|failed| failed.error)
    }

    fn check(&self, what: &str, reply: Reply, ok: &[u16]) -> Result<Reply, Failed> {
        if (200..300).contains(&reply.status) || ok.contains(&reply.status) {
            return Ok(reply);
        }
        Err(self.refused(what, &reply))
    }

    /// What a reply means that is no success.
    fn refused(&self, what: &str, reply: &Reply) -> Failed {
        let mut failure = self.account.redacted_failure((self.classify)(reply, now_unix_s()));
        if failure.maybe_paid && reply.status == 413 {
            // A gateway's own page: the next try would be as large.
            failure.class = FailureClass::RefusedByProvider;
            failure.message.push_str(
                "; what was sent is larger than a server on the way takes: set a lower `batch_bytes_max`",
            );
        }
        failure.maybe_paid = false; // free calls
        let told = reply.header("x-should-retry");
        let again = match told {
            Some("true") => true,
            Some("false") => false,
            // A redirect is an answer from a place that will say the same again; a conflict is a final no.
            _ if self.account.may_renew(failure.provider_code.as_deref()) => true,
            _ => failure.class.verdict() == Verdict::RetryLater && reply.status >= 400 && reply.status != 409,
        };
        Failed { error: ApiError { what: what.to_owned(), status: Some(reply.status), failure }, again }
    }

    /// Runs `attempt` until it succeeds, may not pass, or the tries are used up.
    async fn repeat<T, F: Future<Output = Result<T, Failed>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ApiError> {
        let mut tried: u32 = 0;
        loop {
            let failed = match attempt().await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            tried += 1;
            if !failed.again || tried >= self.retry.tries {
                return Err(failed.error);
            }
            let wait = self.wait(tried, failed.error.failure.wait_ms);
            tracing::debug!(error = %failed.error, wait_ms = wait.as_millis(), tried, "a free call failed");
            tokio::time::sleep(wait).await;
        }
    }

    /// Half of an exponential step and up to as much again; never below what the provider asks, never above the cap.
    fn wait(&self, tried: u32, asked_ms: Option<u64>) -> Duration {
        let step = self
            .retry
            .wait_min
            .saturating_mul(1_u32.checked_shl(tried.saturating_sub(1).min(16)).unwrap_or(u32::MAX));
        let half = step.min(self.retry.wait_max) / 2;
        let share = u32::try_from(split_mix(&self.jitter) >> 32).unwrap_or(0) >> 16;
        let jittered = half + half.saturating_mul(share) / (1 << 16);
        jittered.max(Duration::from_millis(asked_ms.unwrap_or(0))).min(self.retry.wait_max)
    }

    fn broken(&self, what: &str, error: &reqwest::Error) -> Failed {
        let class = if error.is_timeout() { FailureClass::Timeout } else { FailureClass::Transient };
        let status = error.status().map(|status| status.as_u16());
        let why = if error.is_connect() { self.unreached(error) } else { describe(error) };
        self.failed(what, status, class, &why, !error.is_builder())
    }

    fn unreached(&self, error: &reqwest::Error) -> String {
        let account = &self.account;
        let own = (account.host.as_str(), account.port);
        let (host, port) = account.proxy.as_ref().map_or(own, |proxy| (proxy.host.as_str(), proxy.port));
        let why = unreached::within(error, host, port).unwrap_or_else(|| describe(error));
        format!("could not reach `{}`: {why}", account.origin())
    }

    /// What this machine's disk says.
    pub(crate) fn local_error(&self, what: &str, path: &Path, error: &std::io::Error) -> ApiError {
        self.local(what, path, error).error
    }

    fn local(&self, what: &str, path: &Path, error: &std::io::Error) -> Failed {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = matches!(error.kind(), StorageFull | QuotaExceeded);
        let why = format!("`{}`: {error}", path.display());
        let mut failed = self.failed(what, None, FailureClass::Transient, &why, false);
        failed.error.failure.provider_code = Some(if full { DISK_FULL } else { LOCAL }.to_owned());
        failed
    }

    fn failed(
        &self,
        what: &str,
        status: Option<u16>,
        class: FailureClass,
        message: &str,
        again: bool,
    ) -> Failed {
        Failed { error: self.error(what, status, class, message), again }
    }

    /// An error of this origin, without secrets.
    pub fn error(&self, what: &str, status: Option<u16>, class: FailureClass, message: &str) -> ApiError {
        let failure = Failure {
            class,
            message: self.account.redact(message),
            provider_code: None,
            wait_ms: None,
            maybe_paid: false,
        };
        ApiError { what: what.to_owned(), status, failure }
    }
}

/// A client that carries no key and follows nothing, for those who give out credentials.
pub(crate) fn plain_client(base: &str, settings: &Settings) -> Result<reqwest::Client, OpenError> {
    let own = settings.keyless();
    client(&Account::new(Some(base), "credentials", &own)?, &own, redirect::Policy::none())
}

fn client(
    account: &Account,
    settings: &Settings,
    policy: redirect::Policy,
) -> Result<reqwest::Client, OpenError> {
    let mut builder = reqwest::Client::builder()
        .redirect(policy)
        .default_headers(account.headers.clone())
        .connect_timeout(settings.connect_timeout)
        .pool_max_idle_per_host(IDLE_MAX)
        .no_proxy();
    if let Some(proxy) = &account.proxy {
        let bad = |_| OpenError::BadProxy {
            from: "the settings".to_owned(),
            why: "the client refused it".to_owned(),
        };
        builder = builder.proxy(reqwest::Proxy::all(proxy.url.clone()).map_err(bad)?);
    }
    let tls = match &account.tls {
        Some(config) => Arc::clone(config),
        None => super::tls::client_config(None)?, // the client wants one even where it goes unused
    };
    builder
        .tls_backend_preconfigured(tls.as_ref().clone())
        .build()
        .map_err(|error| OpenError::Tls { why: describe(&error) })
}

/// The next number of a splitmix64 sequence.
fn split_mix(state: &AtomicU64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An error with its causes, without the URL: that may hold a remote id, and stands in `what` anyway.
fn describe(error: &reqwest::Error) -> String {
    let mut text =
        if error.is_timeout() { "timed out".to_owned() } else { "the connection failed".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
