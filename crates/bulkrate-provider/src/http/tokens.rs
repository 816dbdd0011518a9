//! Access tokens: asked for when one is needed, kept for as long as they hold, and renewed before they end.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use url::{Host, Url};

use super::Account;
use super::free::FreeClient;
use super::limits::now_unix_s;
use super::sign::{Sign, Unsignable, Unsigned};
use super::strange;
use crate::api::{ApiError, Reply};
use crate::json::loose::Count;
use crate::registry::OpenError;
use crate::settings::{ProxyFrom, RetryPolicy, Settings};

/// A token is renewed so long before its end.
const AHEAD: Duration = Duration::from_secs(300);
/// The wait before a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// Calls that were signed with the token before come back within so long of another one.
const STRAGGLERS: Duration = Duration::from_secs(30);
/// A token that is refused so soon after it took the place of a refused one is refused for another reason than its age.
const RENEWED_FOR: Duration = Duration::from_secs(60);
/// The life of a token whose server says none.
const LIFE_UNSAID: Duration = Duration::from_secs(60);
const LIFE_MAX: Duration = Duration::from_secs(86_400);
const WHAT: &str = "get an access token";

/// Who gives out tokens, and how one is asked for.
pub(crate) trait Grants: Send + Sync + Debug {
    /// Whose API the tokens are for.
    fn provider(&self) -> &'static str;
    /// The address where one is had, with its query.
    fn url(&self) -> &str;
    /// Headers of its own.
    fn headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// It stands beside the machine, and answers nobody else: no proxy leads there.
    fn is_local(&self) -> bool {
        false
    }
    /// The form that a token is asked with; `None`: it is fetched. `Err` says what is wrong with the credentials.
    fn form(&self, now_unix_s: i64) -> Result<Option<String>, String>;
    /// What must never be printed; one that lies in a file is what stands there now.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
    /// What the API would answer to credentials that are good for nothing.
    fn refusal(&self, why: &str) -> Reply;
}

/// The tokens of one account.
#[derive(Debug)]
pub(crate) struct Tokens {
    grants: Box<dyn Grants>,
    free: FreeClient,
    /// Of the token's server, under its origin.
    path: String,
    held: Mutex<Held>,
    /// Held by whoever asks: one asks for all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    /// None before the first, and once it was refused.
    token: Option<Token>,
    renewed: Option<Renewed>,
    /// The last one that was given; an answer may repeat it.
    given: Option<Arc<str>>,
}

/// That a token took the place of another.
#[derive(Debug, Clone, Copy)]
struct Renewed {
    at: Instant,
    /// The other one was refused, and not just old.
    was_refused: bool,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    renewed_at: Instant,
    ends_at: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds: a number, or one in quotes.
    #[serde(default)]
    expires_in: Count,
    /// The same as a time, where some tell that alone.
    #[serde(default)]
    expires_on: Count,
}

impl Granted {
    fn life(&self, now_unix_s: i64) -> Duration {
        let now = u64::try_from(now_unix_s).unwrap_or(0);
        life(match self.expires_in.or_zero() {
            0 => self.expires_on.or_zero().saturating_sub(now),
            seconds => seconds,
        })
    }
}

impl Tokens {
    /// Sends nothing.
    pub(crate) fn new(grants: Box<dyn Grants>, settings: &Settings) -> Result<Self, OpenError> {
        let (origin, path) = split(grants.url());
        let own = Settings {
            base_url: Some(origin.to_owned()),
            usual_headers: grants.headers(),
            proxy: if grants.is_local() { ProxyFrom::None } else { settings.proxy.clone() },
            ca_file: settings.ca_file.clone(),
            connect_timeout: settings.connect_timeout,
            // Whoever wants the token asks again.
            retry: RetryPolicy { tries: settings.retry.tries.min(2), ..settings.retry },
            jitter_seed: settings.jitter_seed,
            ..Settings::default()
        };
        let account = Account::new(None, grants.provider(), &own)?.hiding(grants.secrets());
        let said = if grants.is_local() { classify_beside } else { classify };
        let free = FreeClient::new(account, &own, said)?;
        let path = path.to_owned();
        Ok(Self { grants, free, path, held: Mutex::default(), asking: tokio::sync::Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that need not be renewed yet.
    fn fresh(&self) -> Option<HeaderValue> {
        let held = self.lock();
        held.token
            .as_ref()
            .filter(|token| Instant::now() < token.renewed_at)
            .map(|token| token.header.clone())
    }

    async fn header(&self) -> Result<HeaderValue, Unsignable> {
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        let _turn = self.asking.lock().await;
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        let error = match self.ask().await {
            Ok(header) => return Ok(header),
            Err(error) => error,
        };
        match self.stretched() {
            Some(header) => {
                tracing::debug!(%error, "the access token could not be renewed yet");
                Ok(header)
            }
            None if error.failure.class == FailureClass::Auth => {
                Err(Unsignable::Refused(Box::new(self.grants.refusal(&error.to_string()))))
            }
            None => Err(Unsignable::Away(error.to_string())),
        }
    }

    /// A token that holds a little longer does, until another can be had; that is not tried with every call.
    fn stretched(&self) -> Option<HeaderValue> {
        let (now, mut held) = (Instant::now(), self.lock());
        let token = held.token.as_mut().filter(|token| now < token.ends_at)?;
        token.renewed_at = now + AGAIN;
        Some(token.header.clone())
    }

    async fn ask(&self) -> Result<HeaderValue, ApiError> {
        let own_fault = |why: String| self.free.error(WHAT, None, FailureClass::Auth, &why);
        let asked_at = Instant::now();
        for secret in self.grants.secrets() {
            self.free.account().sent.note(Some(secret.into())); // it may have changed
        }
        let reply = match self.grants.form(now_unix_s()).map_err(own_fault)? {
            None => self.free.send(WHAT, Method::GET, &self.path, &[]).await?,
            Some(form) => self.free.post_form(WHAT, &self.path, Bytes::from(form), &[]).await?,
        };
        let unreadable = || {
            let why = "the answer holds no access token";
            self.free.error(WHAT, Some(reply.status), FailureClass::Transient, why)
        };
        let granted: Granted = serde_json::from_slice(&reply.body).map_err(|_| unreadable())?;
        let mut header =
            HeaderValue::from_str(&format!("Bearer {}", granted.access_token)).map_err(|_| unreadable())?;
        header.set_sensitive(true);
        let life = granted.life(now_unix_s());
        // A short life is not all spent on renewing.
        let renewed_at = asked_at + life.saturating_sub(AHEAD.min(life / 4));
        let token = Token { header: header.clone(), renewed_at, ends_at: asked_at + life };
        self.lock().take_in(token, granted.access_token.into(), Instant::now());
        Ok(header)
    }
}

impl Held {
    fn take_in(&mut self, token: Token, given: Arc<str>, now: Instant) {
        if self.given.is_some() {
            self.renewed = Some(Renewed { at: now, was_refused: self.token.is_none() });
        }
        (self.token, self.given) = (Some(token), Some(given));
    }

    /// A call was refused, with this token or the one before. Whether the next one may have another.
    fn refused(&mut self, now: Instant) -> bool {
        let renewed = self.renewed.filter(|_| self.token.is_some());
        let since = |renewed: Renewed| (now.saturating_duration_since(renewed.at), renewed.was_refused);
        match renewed.map(since) {
            Some((since, _)) if since < STRAGGLERS => true,
            Some((since, true)) if since < RENEWED_FOR => false,
            _ => {
                self.token = None;
                true
            }
        }
    }
}

#[async_trait]
impl Sign for Tokens {
    async fn sign(&self, _: Unsigned<'_>) -> Result<HeaderMap, Unsignable> {
        Ok(HeaderMap::from_iter([(AUTHORIZATION, self.header().await?)]))
    }

    fn held(&self) -> Option<Arc<str>> {
        self.lock().given.clone()
    }

    fn ended(&self) -> bool {
        self.lock().refused(Instant::now())
    }
}

/// Whether what is sent there is read by nobody on the way.
pub(crate) fn is_secret(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// Whether it stands beside this machine: no router leads there.
pub(crate) fn is_beside(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_unicast_link_local(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// An account with tokens, if they are secret on their way; the second says that they are not.
pub(crate) fn signed(account: Account, tokens: Option<&Arc<dyn Sign>>) -> (Account, Result<(), String>) {
    match tokens {
        Some(tokens) if is_secret(account.base()) => (account.signed_by(Arc::clone(tokens)), Ok(())),
        Some(_) => {
            let why = format!("no token is sent to `{}`, which is no https", account.origin());
            (account, Err(why))
        }
        None => (account, Ok(())),
    }
}

/// How long a token is taken to hold: a server that says nothing sensible is asked neither with every call nor never again.
fn life(expires_in_s: u64) -> Duration {
    if expires_in_s == 0 { LIFE_UNSAID } else { Duration::from_secs(expires_in_s).min(LIFE_MAX) }
}

/// Origin and path of an address.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| host + at);
    url.split_at(path)
}

#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What a server of tokens says where it gives none.
fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    let said = serde_json::from_slice::<Denied>(&reply.body).ok();
    let Some(Denied { error, error_description }) = said else {
        let failure = strange::foreign(reply, now_unix_s);
        // Whoever asks is unknown there, or may not have this token.
        let denied = matches!(reply.status, 403 | 404);
        return if denied { Failure { class: FailureClass::Auth, ..failure } } else { failure };
    };
    let class = match reply.status {
        429 => FailureClass::RateLimited,
        400..=499 => FailureClass::Auth,
        _ => FailureClass::Transient,
    };
    let message =
        if error_description.is_empty() { error.clone() } else { format!("{error}: {error_description}") };
    Failure { class, message, provider_code: Some(error), wait_ms: None, maybe_paid: false }
}

/// What one that stands beside the machine says: while it starts, or is brought up to date, its path is not there.
fn classify_beside(reply: &Reply, now_unix_s: i64) -> Failure {
    let failure = classify(reply, now_unix_s);
    let is_passing = matches!(reply.status, 404 | 410);
    if is_passing { Failure { class: FailureClass::Transient, ..failure } } else { failure }
}

#[cfg(test)]
mod tests;
