//! An account as both clients see it: where it is, how it signs, and what must never be printed.

use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use url::Url;

use super::proxy::{self, Proxy};
use super::redact::SECRET_MIN;
use super::sign::{Sent, Sign};
use super::tls;
use crate::registry::OpenError;
use crate::settings::Settings;

/// One account, ready to be spoken to.
#[derive(Clone)]
pub struct Account {
    /// Without a trailing slash.
    pub(super) base: Url,
    /// Of every call, such as the version of the API.
    query: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    /// Headers of every call but `Host` and `Content-Type`; the key is marked sensitive.
    pub(super) headers: HeaderMap,
    pub(super) proxy: Option<Proxy>,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) secrets: Vec<String>,
    pub(super) signer: Option<Arc<dyn Sign>>,
    pub(super) sent: Sent,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("origin", &self.origin())
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Account {
    pub fn new(
        default_base: Option<&str>,
        provider: &'static str,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let text = settings.base_url.as_deref().or(default_base).ok_or(OpenError::NoBaseUrl { provider })?;
        let base = parse_base(text)?;
        let host = base.host_str().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let port = base.port_or_known_default().unwrap_or(443);
        let headers = signed_headers(settings)?;
        let proxy = proxy::choose(&settings.proxy, &base)?;
        let tls = if base.scheme() == "https" {
            Some(tls::client_config(settings.ca_file.as_deref())?)
        } else {
            None
        };
        let mut secrets: Vec<String> =
            settings.extra_headers.iter().map(|(_, value)| value.expose().to_owned()).collect();
        secrets.push(settings.api_key.expose().to_owned());
        secrets.retain(|secret| secret.len() >= SECRET_MIN);
        let query = settings.query.clone();
        Ok(Self {
            base,
            query,
            host,
            port,
            headers,
            proxy,
            tls,
            secrets,
            signer: None,
            sent: Sent::default(),
        })
    }

    /// The same account, with more that must never be printed.
    pub(crate) fn hiding(mut self, secrets: Vec<String>) -> Self {
        self.secrets.extend(secrets.into_iter().filter(|secret| secret.len() >= SECRET_MIN));
        self
    }

    /// The same account, whose calls say something more.
    pub(crate) fn with_headers(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        self.headers.extend(pairs);
        self
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// `https://api.example.com`, for messages.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What `Host` carries: the port only where it is not the scheme's own.
    pub(super) fn host_header(&self) -> Result<HeaderValue, OpenError> {
        HeaderValue::from_str(&self.host_text())
            .map_err(|_| OpenError::BadHeader { name: HOST.to_string(), why: "the host is not plain text" })
    }

    pub(super) fn host_text(&self) -> String {
        let host = self.base.host_str().unwrap_or("");
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Path of `path` under the base URL, for a request line: `/v1/chat/completions`.
    pub(super) fn path(&self, path: &str) -> String {
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        match &self.query {
            None => path,
            Some(query) => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{}", self.origin(), self.path(path))
    }
}

fn parse_base(text: &str) -> Result<Url, OpenError> {
    let text = text.trim();
    // What stands before an `@` may be a user and a password: it is not repeated.
    let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("...@{host}"));
    let bad = |why: &str| OpenError::BadBaseUrl { url: shown.clone(), why: why.to_owned() };
    let base = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            bad("it has no scheme: write `https://host/v1` or `http://host:port/v1`")
        }
        error => bad(&error.to_string()),
    })?;
    if !base.username().is_empty() || base.password().is_some() {
        return Err(bad("it carries a user; give the key as the API key"));
    }
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(bad("write `https://host/v1` or `http://host:port/v1`"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(bad("it must end with a path"));
    }
    Ok(base)
}

/// As which everybody is asked.
pub(super) const AGENT: &str = concat!("bulkrate/", env!("CARGO_PKG_VERSION"));

fn signed_headers(settings: &Settings) -> Result<HeaderMap, OpenError> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // Without it a server may encode as it likes; nothing here decodes, so nothing can grow.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let bad = |name: &str, why| OpenError::BadHeader { name: name.to_owned(), why };
    let value = |name: &str, text: &str| {
        HeaderValue::from_str(text).map_err(|_| bad(name, "its value is not plain text"))
    };
    if !settings.api_key.is_empty() {
        let key = settings.api_key.expose();
        let (name, text) = match settings.key_header {
            Some(name) => (HeaderName::from_static(name), key.to_owned()),
            None => (AUTHORIZATION, format!("Bearer {key}")),
        };
        let mut signed = value(name.as_str(), &text)?;
        signed.set_sensitive(true);
        headers.insert(name, signed);
    }
    for (name, text) in
        [("openai-organization", &settings.organization), ("openai-project", &settings.project)]
    {
        if let Some(text) = text {
            headers.insert(name, value(name, text)?);
        }
    }
    for (name, text) in &settings.usual_headers {
        headers.insert(*name, value(name, text)?);
    }
    for (name, text) in &settings.extra_headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(name, "its name is not a header name"))?;
        if [
            HOST,
            CONTENT_TYPE,
            ACCEPT_ENCODING,
            http::header::CONTENT_LENGTH,
            http::header::TRANSFER_ENCODING,
        ]
        .contains(&header)
        {
            return Err(bad(name, "it is set by bulkrate"));
        }
        let mut value = value(name, text.expose())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::settings::ProxyFrom;

    fn settings(base: &str) -> Settings {
        Settings {
            base_url: Some(base.to_owned()),
            proxy: ProxyFrom::None,
            api_key: "sk-canary-0123456789".into(),
            ..Settings::default()
        }
    }

    #[test]
    fn base_urls() {
        for (base, path, host) in [
            ("http://127.0.0.1:8080/v1", "/v1/models", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/v1/", "/v1/models", "127.0.0.1:8080"),
            ("http://[::1]:8080", "/models", "[::1]:8080"),
            ("https://api.example.com/openai/v1", "/openai/v1/models", "api.example.com"),
        ] {
            let account = Account::new(None, "custom", &settings(base)).unwrap();
            assert_eq!(account.path("/models"), path, "{base}");
            assert_eq!(account.host_header().unwrap(), host, "{base}");
        }
        for base in ["", "ftp://x/v1", "http://user:secret@host/v1", "http://host/v1?key=secret", "host/v1"] {
            let error = Account::new(None, "custom", &settings(base)).unwrap_err().to_string();
            assert!(!error.contains("user:"), "{error}");
        }
        assert!(matches!(
            Account::new(None, "custom", &Settings::default()),
            Err(OpenError::NoBaseUrl { .. })
        ));
    }

    #[test]
    fn secrets_are_never_printed() {
        let mut settings = settings("http://127.0.0.1:1/v1");
        settings.extra_headers = vec![("x-gateway-key".to_owned(), "gw-canary-987654321".into())];
        let account = Account::new(None, "custom", &settings).unwrap();
        for text in [
            format!("{settings:?} {account:?}"),
            account.redact("key sk-canary-0123456789 and gw-canary-987654321"),
            format!("{:?}", account.headers),
        ] {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
