//! A container of Azure Blob Storage that inputs and results of batches lie in: one blob put, read and deleted at a time.
//!
//! Whoever may do so is said by a token of Entra for the storage, or by a shared access signature, which is a secret of its own.

use std::path::Path;
use std::sync::Arc;

use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use bulkrate_core::submission::{Phase, RemoteBatch};
use http::Method;
use url::{Host, Url};

use super::entra::{self, Entra};
use crate::api::{ApiError, Reply};
use crate::http::Account;
use crate::http::batches::{self, unused};
use crate::http::free::FreeClient;
use crate::http::limits::wait_ms;
use crate::http::sign::{ENDED, Sign};
use crate::http::tokens::{self, Tokens, is_secret};
use crate::http::{strange, xml};
use crate::registry::OpenError;
use crate::settings::{Secret, Settings};

/// As Azure's own tools call a shared access signature.
pub(super) const SAS: &str = "AZURE_STORAGE_SAS_TOKEN";
/// Of the service's API: all that is asked for here is older.
const VERSION: (&str, &str) = ("x-ms-version", "2021-08-06");
/// A blob that is written as a whole.
const WHOLE: (&str, &str) = ("x-ms-blob-type", "BlockBlob");
/// In which an error of the service has its name; what stands before it has no such header.
const NAME: &str = "x-ms-error-code";
/// The name of a blob that is not there.
const ABSENT: &str = "BlobNotFound";
/// The code of a blob that lies where `storage` does not reach.
const ELSEWHERE: &str = "other_storage";
const INPUT: &str = "input.jsonl";

/// What `storage` names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    origin: String,
    /// Its path: below an account's where the host is no account's own, as those of stand-ins.
    container: String,
    /// The container, and the folder of it that was named.
    folder: String,
}

impl Place {
    /// Reads `https://ACCOUNT.blob.core.windows.net/CONTAINER`, or a folder of it.
    fn read(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!("`storage` {why}: write `https://ACCOUNT.blob.core.windows.net/CONTAINER`"))
        };
        let Ok(url) = Url::parse(text.trim()) else { return wrong("is no address of a container") };
        let has_user = !url.username().is_empty() || url.password().is_some();
        if url.query().is_some() || url.fragment().is_some() || has_user {
            return wrong(&format!(
                "holds more than an address (a signature is a secret, and goes into `{SAS}`)"
            ));
        }
        if !is_secret(&url) {
            return wrong("is no https");
        }
        let path = url.path().trim_matches('/');
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let parts: Vec<&str> = path.split('/').collect();
        // An account has a host of its own; a stand-in has its name in the path.
        let own = if matches!(url.host(), Some(Host::Domain(name)) if name != "localhost") { 1 } else { 2 };
        if parts.len() < own
            || parts.iter().any(|part| part.is_empty() || part.starts_with('.'))
            || !path.bytes().all(is_plain)
        {
            return wrong("names no container");
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            container: format!("/{}", parts[..own].join("/")),
            folder: format!("/{path}"),
        })
    }

    /// The path of a blob in the container, whoever named it.
    fn path_of(&self, address: &str) -> Option<String> {
        let url = Url::parse(address).ok().filter(|url| url.query().is_none() && url.fragment().is_none())?;
        let is_here = url.origin().ascii_serialization() == self.origin
            && url
                .path()
                .strip_prefix(&self.container)
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
        is_here.then(|| url.path().to_owned())
    }
}

/// Whether a name is that of a blob, and no file's.
pub(super) fn is_blob(name: &str) -> bool {
    name.contains("://")
}

/// The blobs of one account.
#[derive(Debug)]
pub(super) struct Blobs {
    free: FreeClient,
    /// The same, for what is put.
    puts: FreeClient,
    place: Place,
}

impl Blobs {
    /// Sends nothing. `None`: no storage is named. The inner error is what the user can put right.
    pub(super) fn open(settings: &Settings) -> Result<Result<Option<Self>, String>, OpenError> {
        let Some(text) = settings.storage.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(Ok(None));
        };
        let (place, who) = match Place::read(text).and_then(|place| Ok((place, Who::find(settings)?))) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let own = Settings { base_url: Some(place.origin.clone()), query: who.query(), ..settings.keyless() };
        let account = Account::new(None, "azure", &own)?.with_headers(&[VERSION]).hiding(who.secrets());
        let (account, secret) = match who {
            Who::Signature(_) => (account, Ok(())),
            Who::Entra(entra) => {
                let tokens: Arc<dyn Sign> = Arc::new(Tokens::new(Box::new(entra), settings)?);
                tokens::signed(account, Some(&tokens))
            }
        };
        if let Err(why) = secret {
            return Ok(Err(why));
        }
        let puts = FreeClient::new(account.clone().with_headers(&[WHOLE]), &own, classify)?;
        let free = FreeClient::new(account, &own, classify)?;
        Ok(Ok(Some(Self { free, puts, place })))
    }

    /// Where results are to go: below it each batch makes a folder of its own.
    pub(super) fn folder(&self) -> String {
        format!("{}{}", self.place.origin, self.place.folder)
    }

    /// Whether the container is there, and may be looked into.
    pub(super) async fn look(&self) -> Result<(), ApiError> {
        const WHAT: &str = "look into the container";
        let path = format!("{}?restype=container&comp=list&maxresults=1", self.place.container);
        let reply = self.free.send(WHAT, Method::GET, &path, &[]).await?;
        match std::str::from_utf8(&reply.body).is_ok_and(|body| body.contains("<EnumerationResults")) {
            true => Ok(()),
            false => Err(self.strange(WHAT, &reply)),
        }
    }

    /// Under a name that nothing else has.
    pub(super) async fn upload(&self, what: &str, file: &Path, name: &str) -> Result<String, ApiError> {
        let name = name.strip_suffix(".jsonl").unwrap_or(name);
        let path = format!("{}/{name}/{}/{INPUT}", self.place.folder, unused());
        self.puts.put_file(what, &path, file).await?;
        Ok(format!("{}{path}", self.place.origin))
    }

    /// `None`: there is none, by the service's own word.
    pub(super) async fn download(
        &self,
        what: &str,
        address: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<Option<u64>, ApiError> {
        let path = self.path_of(what, address)?;
        let found = self.free.download(what, &path, to, bytes_max).await?;
        if found.is_none() && self.is_there(what, &path).await? {
            let why = "the blob was not there a moment ago";
            return Err(self.free.error(what, None, FailureClass::Transient, why));
        }
        Ok(found)
    }

    /// The fence of a create in doubt may stand on this: only the service's own word counts.
    pub(super) async fn delete(&self, what: &str, address: &str) -> Result<(), ApiError> {
        let path = self.path_of(what, address)?;
        let reply = self.free.send(what, Method::DELETE, &path, &[404]).await?;
        match reply.status {
            202 if reply.headers.contains_key("x-ms-request-id") => Ok(()),
            404 if reply.header(NAME) == Some(ABSENT) => Ok(()),
            404 => self.free.accept(what, reply, &[]).map(|_| ()),
            _ => Err(self.strange(what, &reply)),
        }
    }

    /// A batch that has ended names blobs that it never made: they are left out. What it has written although it failed is paid, and may
    /// be read.
    pub(super) async fn ended(&self, batch: &mut RemoteBatch) -> Result<(), ApiError> {
        const WHAT: &str = "look for the results of a batch";
        for file in [&mut batch.output_file, &mut batch.error_file] {
            let Some(address) = file.as_deref().filter(|name| is_blob(name)) else { continue };
            if !self.is_there(WHAT, &self.path_of(WHAT, address)?).await? {
                *file = None;
            }
        }
        let has_run = batch.counts.completed > 0 || batch.output_file.as_deref().is_some_and(is_blob);
        if batch.phase == Phase::Failed && has_run {
            batch.phase = Phase::Completed;
        }
        Ok(())
    }

    async fn is_there(&self, what: &str, path: &str) -> Result<bool, ApiError> {
        let reply = self.free.send(what, Method::HEAD, path, &[404]).await?;
        match reply.status {
            404 if reply.header(NAME) == Some(ABSENT) => Ok(false),
            404 => self.free.accept(what, reply, &[]).map(|_| false),
            _ if reply.headers.contains_key("x-ms-request-id") => Ok(true),
            _ => Err(self.strange(what, &reply)),
        }
    }

    /// A blob elsewhere is none that is gone: `storage` named another place when the batch was made.
    fn path_of(&self, what: &str, address: &str) -> Result<String, ApiError> {
        self.place.path_of(address).ok_or_else(|| elsewhere(&self.free, what, address))
    }

    fn strange(&self, what: &str, reply: &Reply) -> ApiError {
        batches::unreadable(&self.free, what, reply, "a page that is not the service's")
    }
}

/// A blob that `storage` does not reach: the job stops, with all that it has.
pub(super) fn elsewhere(free: &FreeClient, what: &str, address: &str) -> ApiError {
    let place = told(address);
    let why = format!("`{place}` is not where `storage` is now: name what it named when this batch was made");
    let mut error = free.error(what, None, FailureClass::Auth, &why);
    error.failure.provider_code = Some(ELSEWHERE.to_owned());
    error
}

/// As much of an address as may be told: what else it holds may be a signature.
fn told(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default()
}

/// Who may read and write there.
#[derive(Debug)]
enum Who {
    Signature(Secret),
    Entra(Entra),
}

impl Who {
    fn find(settings: &Settings) -> Result<Self, String> {
        let signature = settings.variables.get(SAS).filter(|text| !text.is_empty());
        if let Some(signature) = signature {
            return Ok(Self::Signature(Secret::new(signature.expose().trim_start_matches('?'))));
        }
        Entra::find(settings, entra::STORAGE)?.map(Self::Entra).ok_or_else(|| {
            format!("`storage` is named, and nobody who may read it: set `{SAS}`, or credentials of Entra (`AZURE_TENANT_ID` and what goes with it)")
        })
    }

    fn query(&self) -> Option<String> {
        match self {
            Self::Signature(signature) => Some(signature.expose().to_owned()),
            Self::Entra(_) => None,
        }
    }

    /// The signature itself, in either spelling.
    fn secrets(&self) -> Vec<String> {
        let Self::Signature(signature) = self else { return Vec::new() };
        let pairs = signature.expose().split('&').filter_map(|pair| pair.strip_prefix("sig="));
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        pairs.flat_map(|text| [text.to_owned(), plain(text)]).collect()
    }
}

/// What a reply that is no success means. Whatever is wrong with the account or its container is so for every blob.
fn classify(reply: &Reply, now_unix_s: i64) -> Failure {
    let Some(name) = reply.header(NAME) else { return strange::foreign(reply, now_unix_s) };
    let message = std::str::from_utf8(&reply.body).ok().and_then(|body| xml::text(body, "Message"));
    let message = message.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
    let class = match (name, reply.status) {
        (ABSENT, _) => FailureClass::ResultLostAtProvider,
        ("ServerBusy", _) => FailureClass::RateLimited,
        ("OperationTimedOut", _) => FailureClass::Timeout,
        ("RequestBodyTooLarge", _) => FailureClass::RefusedByProvider,
        (_, 500..) => FailureClass::Transient,
        _ => FailureClass::Auth,
    };
    let code = if reply.status == 401 { ENDED } else { name };
    Failure {
        class,
        message: format!("Azure Blob Storage: {message} ({name})"),
        provider_code: Some(code.to_owned()),
        wait_ms: wait_ms(&reply.headers, "", now_unix_s),
        maybe_paid: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    #[test]
    fn a_container_may_come_with_a_folder_and_never_with_a_secret() {
        for (text, origin, container, folder) in [
            (
                "https://acct.blob.core.windows.net/batches",
                "https://acct.blob.core.windows.net",
                "/batches",
                "/batches",
            ),
            (
                " https://acct.blob.core.windows.net/batches/a/b/ ",
                "https://acct.blob.core.windows.net",
                "/batches",
                "/batches/a/b",
            ),
            (
                "http://127.0.0.1:10000/devstoreaccount1/batches",
                "http://127.0.0.1:10000",
                "/devstoreaccount1/batches",
                "/devstoreaccount1/batches",
            ),
        ] {
            let place = Place {
                origin: origin.to_owned(),
                container: container.to_owned(),
                folder: folder.to_owned(),
            };
            assert_eq!(Place::read(text), Ok(place), "{text}");
        }
        for (text, word) in [
            ("batches", "no address"),
            ("https://acct.blob.core.windows.net/", "no container"),
            ("https://acct.blob.core.windows.net/a//b", "no container"),
            ("https://acct.blob.core.windows.net/a%20b", "no container"),
            ("http://127.0.0.1:10000/devstoreaccount1", "no container"),
            ("http://acct.blob.core.windows.net/batches", "no https"),
            ("https://acct.blob.core.windows.net/batches?sv=2024&sig=canary", SAS),
            ("https://:canary@acct.blob.core.windows.net/batches", "more than an address"),
        ] {
            let why = Place::read(text).unwrap_err();
            assert!(why.contains(word) && !why.contains("canary"), "{text}: {why}");
        }
    }

    #[test]
    fn only_what_is_in_the_container_is_read_or_deleted() {
        let place = Place::read("https://acct.blob.core.windows.net/batches/labels").unwrap();
        for (address, path) in [
            // Results lie beside the folder where the service made one of its own.
            (
                "https://acct.blob.core.windows.net/batches/0b1c/results.jsonl",
                Some("/batches/0b1c/results.jsonl"),
            ),
            ("https://acct.blob.core.windows.net/batches/a%20b", Some("/batches/a%20b")),
            ("https://acct.blob.core.windows.net/batches", None),
            ("https://acct.blob.core.windows.net/batches2/a", None),
            ("https://acct.blob.core.windows.net/batches/../other/a", None),
            ("https://acct.blob.core.windows.net/batches/a?sig=x", None),
            ("https://other.blob.core.windows.net/batches/a", None),
            ("http://acct.blob.core.windows.net/batches/a", None),
            ("file-123", None),
        ] {
            assert_eq!(place.path_of(address).as_deref(), path, "{address}");
            assert!(!told(address).contains("sig="), "{address}");
        }
    }

    #[test]
    fn errors_have_their_names_in_a_header() {
        let of = |status: u16, name: Option<&'static str>| {
            let headers = name.map(|name| (NAME.parse().unwrap(), name.parse().unwrap()));
            let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>x</Code><Message>Why &amp; what.\nRequestId:1</Message></Error>";
            let reply = Reply {
                status,
                headers: HeaderMap::from_iter(headers),
                body: Bytes::from_static(body.as_bytes()),
            };
            let failure = classify(&reply, 0);
            (failure.class, failure.provider_code.unwrap(), failure.message)
        };
        for (status, name, class, code) in [
            (404, ABSENT, FailureClass::ResultLostAtProvider, ABSENT),
            (404, "ContainerNotFound", FailureClass::Auth, "ContainerNotFound"),
            (401, "InvalidAuthenticationInfo", FailureClass::Auth, ENDED),
            (403, "AuthorizationPermissionMismatch", FailureClass::Auth, "AuthorizationPermissionMismatch"),
            (503, "ServerBusy", FailureClass::RateLimited, "ServerBusy"),
            (500, "InternalError", FailureClass::Transient, "InternalError"),
        ] {
            let said = of(status, Some(name));
            assert_eq!((said.0, said.1.as_str()), (class, code));
            assert_eq!(said.2, format!("Azure Blob Storage: Why & what. ({name})"));
        }
        assert_eq!(of(404, None).0, FailureClass::Transient);
    }

    #[test]
    fn a_signature_is_hidden_in_either_spelling() {
        let who = Who::Signature(Secret::new("sv=2024-11-04&sig=abc%2Fdef%3D&se=2026"));
        assert_eq!(who.secrets(), ["abc%2Fdef%3D", "abc/def="]);
        assert_eq!(who.query().as_deref(), Some("sv=2024-11-04&sig=abc%2Fdef%3D&se=2026"));
    }
}
