//! Which proxy, if any, stands before an origin.

use url::Url;

use crate::registry::OpenError;
use crate::settings::ProxyFrom;

/// A proxy spoken to in plain HTTP.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Basic ...`, where the URL carried a user.
    pub(super) authorization: Option<String>,
    /// For the client of free calls.
    pub(super) url: Url,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port) // never its user
    }
}

/// The proxy for `target`, or `None` to go there directly.
pub(super) fn choose(from: &ProxyFrom, target: &Url) -> Result<Option<Proxy>, OpenError> {
    choose_with(from, target, |name| std::env::var(name).ok())
}

fn choose_with(
    from: &ProxyFrom,
    target: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, OpenError> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    match from {
        ProxyFrom::None => Ok(None),
        ProxyFrom::Url(url) => parse("the settings", url.expose()).map(Some),
        ProxyFrom::Environment => {
            let exempt = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default();
            if is_exempt(target, &exempt) {
                return Ok(None);
            }
            let names = if target.scheme() == "https" {
                ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            } else {
                ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
            };
            names
                .into_iter()
                .find_map(|name| Some((name, set(name)?)))
                .map(|(name, url)| parse(&format!("`{name}`"), &url))
                .transpose()
        }
    }
}

fn parse(from: &str, text: &str) -> Result<Proxy, OpenError> {
    let bad = |why: &str| OpenError::BadProxy { from: from.to_owned(), why: why.to_owned() };
    let text = text.trim();
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|error| bad(&error.to_string()))?;
    if url.scheme() != "http" {
        return Err(bad(&format!("only `http://` proxies are supported, not `{}://`", url.scheme())));
    }
    let host = url.host_str().ok_or_else(|| bad("it names no host"))?.to_owned();
    let authorization = (!url.username().is_empty()).then(|| {
        let decode = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        let user = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or("")));
        format!("Basic {}", base64(user.as_bytes()))
    });
    Ok(Proxy { port: url.port().unwrap_or(80), host, authorization, url })
}

/// `NO_PROXY`: names with their subdomains, addresses, `*`; an entry may carry a port.
fn is_exempt(target: &Url, list: &str) -> bool {
    let host = target.host_str().unwrap_or("").trim_matches(['[', ']']).to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => (name, port.parse::<u16>().ok()),
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
        let same_port = port.is_none_or(|port| target.port_or_known_default() == Some(port));
        let same_host = host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        entry == "*" || (same_port && same_host)
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, &byte| (word << 8) | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[((word >> (18 - 6 * place)) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_environment_decides() {
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:p%40ss@proxy.example:3128".to_owned()),
            "http_proxy" => Some("plain.example".to_owned()),
            "NO_PROXY" => Some("localhost, 127.0.0.1,.internal.example,other.example:8443".to_owned()),
            _ => None,
        };
        for (target, want) in [
            ("https://api.openai.com/v1", Some(("proxy.example", 3128))),
            ("http://api.example.com/v1", Some(("plain.example", 80))),
            ("http://127.0.0.1:9000/v1", None),
            ("https://a.internal.example/v1", None),
            ("https://internal.example/v1", None),
            ("https://notinternal.example/v1", Some(("proxy.example", 3128))),
            ("https://other.example:8443/v1", None),
            ("https://other.example/v1", Some(("proxy.example", 3128))),
        ] {
            let proxy =
                choose_with(&ProxyFrom::Environment, &Url::parse(target).unwrap(), environment).unwrap();
            assert_eq!(proxy.as_ref().map(|proxy| (proxy.host.as_str(), proxy.port)), want, "{target}");
        }
    }

    #[test]
    fn a_user_becomes_a_header_and_is_never_printed() {
        let proxy = parse("the settings", "http://user:p%40ss@proxy.example:3128").unwrap();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.example:3128)");
        assert!(
            parse("the settings", "socks5://user:secret@proxy.example")
                .unwrap_err()
                .to_string()
                .contains("only `http://`")
        );
    }

    #[test]
    fn base64_of_every_length() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
