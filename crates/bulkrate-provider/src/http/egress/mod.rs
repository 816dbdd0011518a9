//! Brings here what lies at addresses that stand in a user's data: nobody may be led by them to what only this machine can reach.
//!
//! Invariants
//! - A connection goes to an address that was looked at: names are resolved here, and the client connects to what was found. Addresses
//!   that are not public are refused, but for hosts that the user has named.
//! - Every redirect is looked at like the first address. No key, no cookie and no referrer goes along.
//! - An answer has a largest size and a longest time.

mod hosts;
mod public;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkrate_core::request::{AddressError, media_type_by_bytes};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Response, StatusCode, redirect};
use url::{Host, Url};

pub use self::hosts::Hosts;
use self::hosts::PORTS;
use self::public::is_public;
use super::origin::AGENT;
use super::{proxy, tls, unreached};
use crate::registry::OpenError;
use crate::settings::ProxyFrom;

/// Places that one address may lead on to.
const REDIRECTS_MAX: usize = 3;
/// Connections to one host that are kept for the next address there.
const IDLE_MAX: usize = 4;
/// The types that are asked for; a server that knows no other sends what it has.
const WANTED: &str = "image/png, image/jpeg, image/webp, image/gif, application/pdf, */*;q=0.1";

/// How much is brought, and how long that may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    /// Of one try, redirects included.
    time: Duration,
    /// In all, the first included.
    tries: u32,
    /// Before the second try; doubles.
    wait: Duration,
}

const LIMITS: Limits =
    Limits { bytes: 20_000_000, time: Duration::from_secs(30), tries: 3, wait: Duration::from_millis(500) };

/// What was found at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// By its first bytes, whatever its server calls it.
    pub media_type: &'static str,
    /// In base64.
    pub data: Arc<str>,
}

/// Fetches by the rules above.
#[derive(Debug)]
pub struct Egress {
    hosts: Hosts,
    /// For hosts that nobody named: goes nowhere but to public addresses.
    guarded: reqwest::Client,
    /// For those that the user named.
    trusted: reqwest::Client,
    proxy: ProxyFrom,
    is_allowed: fn(IpAddr) -> bool,
    limits: Limits,
}

fn refused(why: impl Into<String>) -> AddressError {
    AddressError::Refused(why.into())
}

fn failed(why: impl Into<String>) -> AddressError {
    AddressError::Failed(why.into())
}

/// A failure that may pass.
fn passing(why: impl Into<String>) -> AddressError {
    AddressError::Away(why.into())
}

impl Egress {
    /// Behind the proxy of the environment, where there is one. Trusts those in `ca_file` too.
    ///
    /// # Errors
    /// No client could be made.
    pub fn new(hosts: Hosts, ca_file: Option<&Path>) -> Result<Self, OpenError> {
        Self::with(hosts, ProxyFrom::Environment, ca_file, Arc::new(System), is_public)
    }

    fn with(
        hosts: Hosts,
        proxy: ProxyFrom,
        ca_file: Option<&Path>,
        names: Arc<dyn Resolve>,
        is_allowed: fn(IpAddr) -> bool,
    ) -> Result<Self, OpenError> {
        let from = proxy.clone();
        let chosen = move |url: &Url| Some(proxy::choose(&from, url).ok()??.url);
        let trusted = client(ca_file)?.proxy(reqwest::Proxy::custom(chosen)).dns_resolver(Arc::clone(&names));
        let guarded = client(ca_file)?.no_proxy().dns_resolver(Arc::new(Guard { names, is_allowed }));
        let built = |client: reqwest::ClientBuilder| {
            client.build().map_err(|error| OpenError::Tls { why: error.to_string() })
        };
        let (guarded, trusted) = (built(guarded)?, built(trusted)?);
        Ok(Self { hosts, guarded, trusted, proxy, is_allowed, limits: LIMITS })
    }

    /// What lies at an address: an image or a PDF.
    ///
    /// # Errors
    /// By which rule nothing is asked there, or why nothing came of it after a few tries.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, AddressError> {
        let mut wait = self.limits.wait;
        for left in (0..self.limits.tries).rev() {
            let late = || passing(format!("no whole answer within {} s", self.limits.time.as_secs()));
            let tried = tokio::time::timeout(self.limits.time, self.once(url)).await;
            match tried.unwrap_or_else(|_| Err(late())) {
                Ok(bytes) => return read(&bytes),
                Err(AddressError::Away(_)) if left > 0 => tokio::time::sleep(wait).await,
                Err(why) => return Err(why),
            }
            wait *= 2;
        }
        Err(failed("it was not tried"))
    }

    async fn once(&self, url: &str) -> Result<Vec<u8>, AddressError> {
        let mut at = Url::parse(url).map_err(|error| refused(format!("it is no URL: {error}")))?;
        for _ in 0..=REDIRECTS_MAX {
            let asked = self.client_for(&at)?.get(at.clone()).send().await;
            let response = asked.map_err(|error| unreached(&error, &at))?;
            match next(&response, &at)? {
                Some(next) => at = next,
                None => return self.body(response).await,
            }
        }
        Err(failed(format!("it leads on more than {REDIRECTS_MAX} times")))
    }

    /// Who may ask there, if anybody may. Names are looked at when they are resolved.
    fn client_for(&self, at: &Url) -> Result<&reqwest::Client, AddressError> {
        if !matches!(at.scheme(), "http" | "https") {
            return Err(refused(format!("only `http` and `https` are, not `{}`", at.scheme())));
        }
        if !at.username().is_empty() || at.password().is_some() {
            return Err(refused("it carries a user or a password"));
        }
        let (Some(host), Some(port)) = (at.host(), at.port_or_known_default()) else {
            return Err(refused("it names no host"));
        };
        if self.hosts.has(&host, port) {
            return Ok(&self.trusted);
        }
        if !PORTS.contains(&port) {
            return Err(refused(format!(
                "its port is {port}, and only 80 and 443 are used; name `{host}:{port}` in `fetch_from` if it is yours"
            )));
        }
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        if let Some(address) = address.filter(|address| !(self.is_allowed)(*address)) {
            return Err(NotPublic { host: host.to_string(), address }.refusal());
        }
        let proxied = proxy::choose(&self.proxy, at).map_err(|error| refused(error.to_string()))?;
        if let Some(proxy) = proxied {
            return Err(refused(format!(
                "a proxy ({}:{}) stands before it, so that where it leads cannot be seen from here; name `{host}` in `fetch_from` to trust it, or in `NO_PROXY` to go there directly",
                proxy.host, proxy.port
            )));
        }
        Ok(&self.guarded)
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, AddressError> {
        let status = response.status();
        if status != StatusCode::OK {
            let passes = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            let why = format!("its server answers {status}");
            return Err(if passes { passing(why) } else { failed(why) });
        }
        let most = self.limits.bytes;
        let too_long = |bytes: &str| failed(format!("it has {bytes} bytes, and {most} are the most"));
        if let Some(length) = response.content_length().filter(|length| *length > most) {
            return Err(too_long(&length.to_string()));
        }
        if let Some(coding) = response.headers().get(CONTENT_ENCODING).filter(|coding| *coding != "identity")
        {
            let coding = String::from_utf8_lossy(coding.as_bytes());
            return Err(failed(format!("its server packs it (`{coding}`) unasked")));
        }
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|_| passing("the connection broke within the answer"))?
        {
            if (body.len() + chunk.len()) as u64 > most {
                return Err(too_long("more"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// What was brought, by what it is.
fn read(bytes: &[u8]) -> Result<Fetched, AddressError> {
    let media_type = media_type_by_bytes(bytes).ok_or_else(|| {
        let page = bytes.trim_ascii_start().starts_with(b"<");
        let seen = if page { "it is a web page or other markup" } else { "what came is something else" };
        failed(format!("{seen}, not a PNG, JPEG, GIF, WebP or PDF file"))
    })?;
    Ok(Fetched { media_type, data: STANDARD.encode(bytes).into() })
}

/// Where an answer leads on to.
fn next(response: &Response, at: &Url) -> Result<Option<Url>, AddressError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let told = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
    let next = told.and_then(|place| at.join(place).ok());
    let next = next.ok_or_else(|| failed("its server leads on to nowhere"))?;
    if at.scheme() == "https" && next.scheme() != "https" {
        return Err(refused("it leads on from `https` to what is not encrypted"));
    }
    Ok(Some(next))
}

fn unreached(error: &reqwest::Error, at: &Url) -> AddressError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<NotPublic>() {
            return found.refusal();
        }
        cause = inner.source();
    }
    let (host, port) = (at.host_str().unwrap_or(""), at.port_or_known_default().unwrap_or(0));
    let why = unreached::within(error, host, port);
    passing(why.unwrap_or_else(|| "the connection failed".to_owned()))
}

fn client(ca_file: Option<&Path>) -> Result<reqwest::ClientBuilder, OpenError> {
    let config = tls::client_config(ca_file)?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static(WANTED));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config.as_ref().clone())
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(IDLE_MAX))
}

/// The system's names.
#[derive(Debug)]
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Lets a name through whose addresses are all allowed; the client connects to these and asks for none again.
struct Guard {
    names: Arc<dyn Resolve>,
    is_allowed: fn(IpAddr) -> bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, is_allowed) = (name.as_str().to_owned(), self.is_allowed);
        let found = self.names.resolve(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.collect();
            match found.iter().map(SocketAddr::ip).find(|address| !is_allowed(*address)) {
                Some(address) => Err(NotPublic { host, address }.into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// A host that leads to where strangers' data may not lead.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` leads to {address}, which is no public address")]
struct NotPublic {
    host: String,
    address: IpAddr,
}

impl NotPublic {
    fn refusal(&self) -> AddressError {
        let Self { host, address } = self;
        // A host that is an address is not said twice.
        let same = host.trim_matches(['[', ']']).parse() == Ok(*address);
        let what = if same { format!("`{host}`") } else { format!("`{host}` leads to {address}, which") };
        refused(format!("{what} is no public address; name `{host}` in `fetch_from` if it is yours"))
    }
}
