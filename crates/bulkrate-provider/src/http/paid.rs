//! The client of paid calls: HTTP/1.1, one connection per call in flight, nothing hidden.
//!
//! Invariants
//! - A call goes out once. It is moved to a fresh connection only when the kept one took not one byte of it.
//! - `NotSent` is a proof: the request was never given to the system's network stack.
//! - No redirect is followed.
//!
//! HTTP/2 is not spoken here: one connection per call has no head-of-line blocking and an exact byte count (ADR 8).

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use super::flow;
use super::lines::{PaidBody, Payload};
use super::origin::Account;
use super::sign::{Covered, Unsignable};
use crate::api::{CallApi, CallError, Exchange, GivenCalls, Lines, Reply};
use crate::registry::OpenError;
use crate::settings::Settings;

/// The longest answer read.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// Answers up to this are read at once; some 16,000 tokens.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// All longer answers together take no more than this, from their first byte until the engine has dropped them: 2,000 calls in
/// flight that each bring 32 MiB would take 64 GB.
const LARGE_BYTES_MAX: usize = 256 << 20;
/// Kept connections older than this are not trusted: servers and middle boxes close them without a word.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long to wait for connections that are being closed.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A pool of connections to one origin.
#[derive(Debug)]
pub struct PaidClient {
    account: Account,
    headers: HeaderMap,
    uris: Vec<(&'static str, Uri)>,
    /// The most recently used last.
    idle: Mutex<VecDeque<(Connection, Instant)>>,
    slots: Semaphore,
    /// Room for long answers, in units of [`SMALL_BYTES_MAX`].
    large: Arc<Semaphore>,
    connect_timeout: Duration,
}

/// Paid calls over a line where one is given. `paths` as in [`PaidClient::new`].
pub(crate) fn calls(
    line: Option<&Arc<dyn Exchange>>,
    account: Account,
    paths: &[&'static str],
    settings: &Settings,
) -> Result<Arc<dyn CallApi>, OpenError> {
    Ok(match line {
        Some(line) => Arc::new(GivenCalls(Arc::clone(line))),
        None => Arc::new(PaidClient::new(account, paths, settings)?),
    })
}

/// How one exchange on one connection ended without a reply.
enum Lost {
    /// The connection took nothing of the request.
    Unsent(String),
    Unknown(String),
}

impl PaidClient {
    /// `paths`: the ones that will be called, to write their request lines once.
    pub fn new(account: Account, paths: &[&'static str], settings: &Settings) -> Result<Self, OpenError> {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(HOST, account.host_header()?);
        headers.extend(account.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let (Some(proxy), false) = (&account.proxy, account.is_tls())
            && let Some(authorization) = &proxy.authorization
        {
            let bad = |_| OpenError::BadHeader {
                name: PROXY_AUTHORIZATION.to_string(),
                why: "its value is not plain text",
            };
            let mut value = HeaderValue::from_str(authorization).map_err(bad)?;
            value.set_sensitive(true);
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        let uris =
            paths.iter().map(|&path| Ok((path, uri(&account, path)?))).collect::<Result<_, OpenError>>()?;
        let slots = Semaphore::new(settings.connections_max.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self {
            account,
            headers,
            uris,
            idle: Mutex::default(),
            slots,
            large: Arc::new(Semaphore::new(LARGE_BYTES_MAX / SMALL_BYTES_MAX)),
            connect_timeout: settings.connect_timeout,
        })
    }

    async fn exchange(
        &self,
        path: &str,
        payload: &Payload<'_>,
        dispatched: &AtomicBool,
    ) -> Result<Reply, CallError> {
        let _slot = self.slots.acquire().await.map_err(|_| self.not_sent("the client is closed"))?;
        let signed = match self.sign(path, payload).await {
            Ok(signed) => signed,
            Err(Unsignable::Away(why)) => return Err(self.not_sent(why)),
            Err(Unsignable::Refused(reply)) => return Ok(*reply),
        };
        if let Some(kept) = self.take_kept().await {
            match self.send(kept, path, (&signed, payload), dispatched).await {
                Ok(reply) => return Ok(reply),
                Err(Lost::Unknown(why)) => return Err(self.no_answer(why, false)),
                Err(Lost::Unsent(why)) => tracing::debug!(why, "a kept connection had been closed"),
            }
        }
        dispatched.store(false, Ordering::Relaxed);
        let fresh = self.connect().await?;
        self.send(fresh, path, (&signed, payload), dispatched).await.map_err(|lost| match lost {
            Lost::Unsent(why) => self.not_sent(why),
            Lost::Unknown(why) => self.no_answer(why, false),
        })
    }

    async fn send(
        &self,
        mut connection: Connection,
        path: &str,
        (signed, payload): (&HeaderMap, &Payload<'_>),
        dispatched: &AtomicBool,
    ) -> Result<Reply, Lost> {
        let mut request = self.request(path, payload).map_err(Lost::Unsent)?;
        request.headers_mut().extend(signed.iter().map(|(name, value)| (name.clone(), value.clone())));
        let before = connection.written();
        dispatched.store(true, Ordering::Relaxed);
        let response = match connection.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message().is_some() || connection.written() == before;
                let why = describe(error.error());
                return Err(if unsent { Lost::Unsent(why) } else { Lost::Unknown(why) });
            }
        };
        let (parts, body) = Response::into_parts(response);
        if let Some(encoding) = flow::encoding(&parts.headers) {
            return Err(Lost::Unknown(format!(
                "status {}, then an answer encoded (`{encoding}`) although that was not asked for",
                parts.status.as_u16()
            )));
        }
        let body = read_body(body, &self.large)
            .await
            .map_err(|why| Lost::Unknown(format!("status {}, then {why}", parts.status.as_u16())))?;
        self.keep(connection);
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    async fn sign(&self, path: &str, payload: &Payload<'_>) -> Result<HeaderMap, Unsignable> {
        match payload {
            Payload::Whole(bytes) => self.account.sign(&Method::POST, path, Covered::Bytes(bytes)).await,
            // No service that wants signatures takes its batches within the create.
            Payload::Lines(_) => Ok(HeaderMap::new()),
        }
    }

    fn request(&self, path: &str, payload: &Payload<'_>) -> Result<Request<PaidBody>, String> {
        let body = payload.body().map_err(|error| format!("the staged file cannot be read: {error}"))?;
        let uri = match self.uris.iter().find(|(known, _)| *known == path) {
            Some((_, uri)) => uri.clone(),
            None => uri(&self.account, path).map_err(|error| error.to_string())?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let opening = tokio::time::timeout(self.connect_timeout, Connection::open(&self.account)).await;
        let mut connection = match opening {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.not_sent(error.to_string())),
            Err(_) => {
                return Err(
                    self.not_sent(format!("no connection within {} ms", self.connect_timeout.as_millis()))
                );
            }
        };
        connection.sender.ready().await.map_err(|error| self.not_sent(describe(&error)))?;
        Ok(connection)
    }

    /// The connection used last, if it is still open.
    async fn take_kept(&self) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle().pop_back()?;
            if since.elapsed() > IDLE_MAX {
                self.idle().clear(); // the others have rested longer
                return None;
            }
            if connection.sender.is_ready() || connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.front().is_some_and(|(_, since)| now.duration_since(*since) > IDLE_MAX) {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_sent(&self, why: impl Into<String>) -> CallError {
        CallError::NotSent { origin: self.account.origin(), why: self.account.redact(&why.into()) }
    }

    fn no_answer(&self, why: impl Into<String>, timeout: bool) -> CallError {
        CallError::NoAnswer { origin: self.account.origin(), why: self.account.redact(&why.into()), timeout }
    }
}

impl PaidClient {
    /// `dispatched`: what is sent may have left.
    async fn timed(
        &self,
        path: &str,
        payload: &Payload<'_>,
        timeout: Duration,
        dispatched: &AtomicBool,
    ) -> Result<Reply, CallError> {
        match tokio::time::timeout(timeout, self.exchange(path, payload, dispatched)).await {
            Ok(result) => result,
            Err(_) if dispatched.load(Ordering::Relaxed) => {
                Err(self.no_answer(format!("nothing within {} ms", timeout.as_millis()), true))
            }
            Err(_) => Err(self.not_sent(format!("no connection within {} ms", timeout.as_millis()))),
        }
    }
}

#[async_trait]
impl CallApi for PaidClient {
    async fn call_watched(
        &self,
        path: &str,
        body: Bytes,
        timeout: Duration,
        left: &AtomicBool,
    ) -> Result<Reply, CallError> {
        self.timed(path, &Payload::Whole(body), timeout, left).await
    }

    async fn call_lines(&self, path: &str, lines: Lines<'_>, timeout: Duration) -> Result<Reply, CallError> {
        let bytes = std::fs::metadata(lines.file).map_or(0, |file| file.len());
        let timeout = flow::upload_time(bytes, timeout);
        self.timed(path, &Payload::Lines(lines), timeout, &AtomicBool::new(false)).await
    }

    async fn rest(&self) {
        let idle = std::mem::take(&mut *self.idle());
        let closing: Vec<_> = idle.into_iter().map(|(connection, _)| connection.close()).collect();
        let closed = async {
            for driver in closing {
                drop(driver.await); // it ends either way
            }
        };
        drop(tokio::time::timeout(CLOSE_MAX, closed).await); // what is not closed by then closes later
    }
}

/// `/v1/x` for a server; the absolute form for a proxy that forwards plain HTTP.
fn uri(account: &Account, path: &str) -> Result<Uri, OpenError> {
    let text =
        if account.proxy.is_some() && !account.is_tls() { account.url(path) } else { account.path(path) };
    text.parse().map_err(|_| OpenError::BadBaseUrl { url: text, why: "it gives no request line".to_owned() })
}

/// The whole body; the bytes are not copied where they came in one piece.
async fn read_body(mut body: Incoming, large: &Arc<Semaphore>) -> Result<Bytes, String> {
    let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let expected = announced.unwrap_or(0);
    let too_long = || format!("an answer of more than {BODY_BYTES_MAX} bytes");
    if expected > BODY_BYTES_MAX {
        return Err(too_long());
    }
    let mut room = if expected > SMALL_BYTES_MAX { Some(hold(large, expected).await?) } else { None };
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| describe(&error))?.into_data() else { continue };
        let length = all.len() + first.len() + data.len();
        if length > BODY_BYTES_MAX {
            return Err(too_long());
        }
        if length > SMALL_BYTES_MAX && room.is_none() {
            // Its length is not known: it has room for the longest, and never has to wait again.
            room = Some(hold(large, BODY_BYTES_MAX).await?);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(expected.max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok(match room {
        Some(room) => Bytes::from_owner(Held { bytes, _room: room }),
        None => bytes,
    })
}

/// Waits until there is room for an answer of `bytes`; the server waits meanwhile, as nobody reads.
async fn hold(large: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, String> {
    let units = u32::try_from(bytes.div_ceil(SMALL_BYTES_MAX)).unwrap_or(u32::MAX);
    Arc::clone(large).acquire_many_owned(units).await.map_err(|_| "the client is closed".to_owned())
}

/// A long answer, and the room it takes until it is dropped.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// An error with its causes, in one line.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
