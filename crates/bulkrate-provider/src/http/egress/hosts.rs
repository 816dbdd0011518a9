//! Hosts that the user names: what is fetched from them may have any address, and a port that is named with them.

use url::{Host, Url};

/// Exact names, each with the one port that was written with it, or with the usual two.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<(Host<String>, Option<u16>)>);

/// The ports that are used unasked.
pub(super) const PORTS: [u16; 2] = [80, 443];

impl Hosts {
    /// Reads `HOST` or `HOST:PORT`, as `images.internal`, `10.0.0.7:8080` or `[fd00::7]:8080`.
    ///
    /// # Errors
    /// Why one of them is no such thing.
    pub fn parse<T: AsRef<str>>(names: &[T]) -> Result<Self, String> {
        names.iter().map(|name| one(name.as_ref().trim())).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn has(&self, host: &Host<&str>, port: u16) -> bool {
        self.0.iter().any(|(known, own)| {
            known.to_string() == host.to_string() && own.map_or(PORTS.contains(&port), |own| own == port)
        })
    }
}

fn one(name: &str) -> Result<(Host<String>, Option<u16>), String> {
    let bad = || format!("`{name}` is no host: write `images.internal` or `images.internal:8080`");
    // A name with more to it would be read as a URL's user, path or query, and say less than it seems to.
    let url = Url::parse(&format!("http://{name}")).map_err(|_| bad())?;
    let plain = !name.contains(['/', '@', '?', '#', '*', '\\', ' ']) && !name.ends_with(':');
    match url.host() {
        Some(host) if plain => {
            let written = name.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
            let port = written.map(|port| port.parse().map_err(|_| bad())).transpose()?;
            Ok((host.to_owned(), port))
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_host_is_itself_at_its_port_and_nothing_else() {
        let hosts =
            Hosts::parse(&["Images.Internal", "10.0.0.7:8080", "[fd00::7]:8080", "fast.example:80"]).unwrap();
        for (url, want) in [
            ("http://images.internal/a", true),
            ("https://images.internal/a", true),
            ("https://images.internal:443/a", true),
            ("http://images.internal:8080/a", false),
            ("http://a.images.internal/a", false),
            ("http://images.internal.evil.example/a", false),
            ("http://10.0.0.7:8080/a", true),
            ("http://0x0a000007:8080/a", true),
            ("http://10.0.0.7/a", false),
            ("http://[fd00::7]:8080/a", true),
            ("http://[fd00::8]:8080/a", false),
            ("http://fast.example/a", true),
            ("https://fast.example/a", false),
        ] {
            let url = Url::parse(url).unwrap();
            let port = url.port_or_known_default().unwrap();
            assert_eq!(hosts.has(&url.host().unwrap(), port), want, "{url}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for name in
            ["", "*", "*.internal", "http://x", "x/y", "x@y", "x:port", "x:", "x:70000", "a b", "x?y", "x#y"]
        {
            assert!(Hosts::parse(&[name]).unwrap_err().contains("is no host"), "{name}");
        }
    }
}
