//! Addresses that an answer names, such as those of an object store: whoever knows one may write or read what lies there. Nothing of
//! the account goes with it, neither its key nor its headers.

use std::sync::Arc;

use url::{Position, Url};

use super::{Classify, FreeClient};
use crate::api::Exchange;
use crate::http::Account;
use crate::settings::Settings;

/// How such addresses are reached.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    settings: Settings,
    /// What was encrypted until there is encrypted there too.
    tls: bool,
    classify: Classify,
    /// In worlds without a network all goes over the line that is given.
    line: Option<Arc<dyn Exchange>>,
}

impl Elsewhere {
    /// From where a client speaks to.
    pub(crate) fn of(free: &FreeClient, settings: &Settings, classify: Classify) -> Self {
        let (tls, line) = (free.account().is_tls(), free.given_line());
        Self { settings: settings.keyless(), tls, classify, line }
    }

    /// A client for where `url` is, and the path and query there. `Err` says why nothing is sent to it.
    pub(crate) fn at(&self, url: &str) -> Result<(FreeClient, String), String> {
        let refused = |why: &str| format!("the address that the answer names is not used: {why}");
        let named = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
        if self.tls && named.scheme() != "https" {
            return Err(refused("it is not `https`"));
        }
        let origin = named.origin().ascii_serialization();
        let settings = Settings { base_url: Some(origin), ..self.settings.clone() };
        let open = || {
            let account = Account::new(None, "storage", &settings)?;
            match &self.line {
                None => FreeClient::unled(account, &settings, self.classify),
                line => FreeClient::on(line.as_ref(), account, &settings, self.classify),
            }
        };
        let free = open().map_err(|error| refused(&error.to_string()))?;
        Ok((free, named[Position::BeforePath..Position::AfterQuery].to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::openai::errors;
    use crate::settings::ProxyFrom;

    #[test]
    fn nothing_of_the_account_goes_there() {
        let settings = |base: &str| Settings {
            base_url: Some(base.to_owned()),
            api_key: "sk-canary-0123456789".into(),
            extra_headers: vec![("x-team".to_owned(), "canary-9876543210".into())],
            proxy: ProxyFrom::None,
            ..Settings::default()
        };
        let elsewhere = |base: &str| {
            let settings = settings(base);
            let account = Account::new(None, "together", &settings).unwrap();
            let free = FreeClient::unled(account, &settings, errors::classify).unwrap();
            Elsewhere::of(&free, &settings, errors::classify)
        };
        let (free, path) =
            elsewhere("https://api.example.com/v1").at("https://r2.example.com/b/f?X-Sig=a%2Fb#x").unwrap();
        assert_eq!(path, "/b/f?X-Sig=a%2Fb");
        let headers = format!("{:?}", free.account().headers);
        assert!(
            free.account().origin() == "https://r2.example.com" && !headers.contains("canary"),
            "{headers}"
        );
        assert!(
            !free.account().headers.contains_key("authorization")
                && !free.account().headers.contains_key("x-team")
        );
        for (base, url, why) in [
            ("https://api.example.com/v1", "http://r2.example.com/b", Some("https")),
            ("https://api.example.com/v1", "file:///etc/passwd", Some("https")),
            ("https://api.example.com/v1", "/b/f", Some("relative")),
            ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/b", None),
        ] {
            let at = elsewhere(base).at(url);
            assert_eq!(
                at.as_ref().err().map(|said| said.contains(why.unwrap_or("-"))),
                why.map(|_| true),
                "{url}"
            );
        }
    }
}
