//! Why no connection came about: each cause has a cure of its own, so each has words of its own.

use std::error::Error;
use std::io;

/// The name has no address.
pub(super) fn name(host: &str, error: &dyn Error) -> String {
    format!("the name `{host}` is not known (DNS: {error}): check how it is written, and the network")
}

/// There is an address, and no connection to it.
pub(super) fn connection(host: &str, port: u16, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        format!("nothing listens on port {port} of `{host}` ({error})")
    } else {
        format!("no connection to port {port} of `{host}` ({error})")
    }
}

/// There is a connection, and whoever is there cannot be trusted or speaks no TLS.
pub(super) fn tls(error: &dyn Error) -> String {
    let text = error.to_string();
    let cure = if text.contains("certificate") {
        ": its certificate is not trusted; `ca_file` names an authority of your own"
    } else if text.contains("InvalidContentType") {
        ": the server speaks no TLS there; is it `http://`?"
    } else {
        ""
    };
    format!("no TLS connection ({text}){cure}")
}

/// The same, where a client tells only what lies below its error.
pub(super) fn within(error: &dyn Error, host: &str, port: u16) -> Option<String> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.to_string() == "dns error" {
            return Some(name(host, inner.source().unwrap_or(inner)));
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return Some(if is_tls(error) { tls(error) } else { connection(host, port, error) });
        }
        if inner.is::<rustls::Error>() {
            return Some(tls(inner));
        }
        cause = inner.source();
    }
    None
}

/// Whether an error of a stream is one of TLS; they are wrapped once or twice.
fn is_tls(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    inner.is::<rustls::Error>() || inner.downcast_ref::<io::Error>().is_some_and(is_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Above(&'static str, Option<Box<dyn Error + 'static>>);

    impl std::fmt::Display for Above {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Above {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    fn told(below: impl Error + 'static) -> Option<String> {
        within(&Above("client error", Some(Box::new(Above("connect", Some(Box::new(below)))))), "api.x", 443)
    }

    #[test]
    fn each_cause_has_words_of_its_own() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let far = io::Error::from(io::ErrorKind::NetworkUnreachable);
        let cut = io::Error::other(io::Error::other(rustls::Error::InvalidMessage(
            rustls::InvalidMessage::InvalidContentType,
        )));
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let dns = Above("dns error", Some(Box::new(Above("no such host", None))));
        for (told, part) in [
            (told(refused), "nothing listens on port 443 of `api.x`"),
            (told(far), "no connection to port 443 of `api.x`"),
            (told(cut), "is it `http://`?"),
            (told(unknown), "`ca_file`"),
            (told(dns), "the name `api.x` is not known (DNS: no such host)"),
        ] {
            assert!(told.as_deref().is_some_and(|told| told.contains(part)), "{part}: {told:?}");
        }
        assert_eq!(told(Above("something else", None)), None);
    }
}
