//! Requests for which fixed headers are not enough: each is signed anew, with credentials that may end.

use std::fmt::Debug;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bulkrate_core::answer::Failure;
use bulkrate_core::failure::FailureClass;
use http::{HeaderMap, Method};
use ring::digest;

use super::Account;
use crate::api::Reply;

/// The code of a refusal because of credentials that have ended.
pub(crate) const ENDED: &str = "credentials_expired";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a Method,
    /// As `Host` says it.
    pub(crate) host: &'a str,
    /// Path and query as they stand in the request line.
    pub(crate) target: &'a str,
    pub(crate) body: Covered<'a>,
}

/// A body, as far as a signature covers it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Covered<'a> {
    Bytes(&'a [u8]),
    /// The SHA-256, in hex, of a file that is read while it is sent.
    File(&'a str),
}

/// Why a request was not signed. Nothing of it has left.
#[derive(Debug)]
pub(crate) enum Unsignable {
    /// Who gives out credentials does not answer now.
    Away(String),
    /// There are none: as if the provider had refused the request.
    Refused(Box<Reply>),
}

/// Signs the requests of an account.
#[async_trait]
pub(crate) trait Sign: Send + Sync + Debug {
    /// The headers that a request gets.
    async fn sign(&self, request: Unsigned<'_>) -> Result<HeaderMap, Unsignable>;

    /// What is sent of the credentials that are held now: an answer may repeat it.
    fn held(&self) -> Option<Arc<str>>;

    /// The provider says that the credentials have ended. Whether others can be had.
    fn ended(&self) -> bool;
}

/// What was sent of the last two credentials: a late answer may repeat what was renewed meanwhile.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<Mutex<[Option<Arc<str>>; 2]>>);

impl Sent {
    pub(super) fn note(&self, held: Option<Arc<str>>) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() && sent[0] != held {
            let [last, _] = std::mem::take(&mut *sent);
            *sent = [held, last];
        }
    }

    pub(super) fn last_two(&self) -> [Option<Arc<str>>; 2] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The SHA-256 of a file, in hex.
pub(super) fn file_digest(file: &Path) -> std::io::Result<String> {
    let mut input = std::fs::File::open(file)?;
    let (mut context, mut piece) = (digest::Context::new(&digest::SHA256), vec![0; 1 << 18]);
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(hex(context.finish().as_ref())),
            bytes => context.update(&piece[..bytes]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

impl Account {
    #[must_use]
    pub(crate) fn signed_by(mut self, signer: Arc<dyn Sign>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Whether requests are signed, or have tokens.
    pub(crate) fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// The headers that a request to `path` gets beside those of every call.
    pub(super) async fn sign(
        &self,
        method: &Method,
        path: &str,
        body: Covered<'_>,
    ) -> Result<HeaderMap, Unsignable> {
        let Some(signer) = &self.signer else { return Ok(HeaderMap::new()) };
        let target = self.path(path);
        let signed = signer.sign(Unsigned { method, host: &self.host_text(), target: &target, body }).await;
        self.sent.note(signer.held());
        signed
    }

    /// Whether a refusal is one of credentials that have ended, and others can be had.
    pub(crate) fn may_renew(&self, code: Option<&str>) -> bool {
        code == Some(ENDED) && self.signer.as_ref().is_some_and(|signer| signer.ended())
    }

    /// A refusal of a paid request. What was signed with credentials that have ended did not run, and the next try is signed with
    /// what comes after them.
    pub(crate) fn renewing(&self, failure: Failure) -> Failure {
        match self.may_renew(failure.provider_code.as_deref()) {
            true => Failure { class: FailureClass::Transient, ..failure },
            false => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::settings::Settings;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Signs each request with another token.
    #[derive(Debug, Default)]
    struct Renewed(AtomicUsize);

    #[async_trait]
    impl Sign for Renewed {
        async fn sign(&self, _: Unsigned<'_>) -> Result<HeaderMap, Unsignable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(HeaderMap::new())
        }

        fn held(&self) -> Option<Arc<str>> {
            Some(format!("canary-{}", self.0.load(Ordering::Relaxed)).into())
        }

        fn ended(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn what_was_sent_before_the_last_renewal_is_hidden_too() {
        let account = Account::new(Some("http://127.0.0.1:1"), "x", &Settings::default()).unwrap();
        let account = account.signed_by(Arc::new(Renewed::default()));
        // Clones of an account know what each of them has sent.
        let client = account.clone();
        for _ in 0..2 {
            client.sign(&Method::GET, "/", Covered::Bytes(b"")).await.unwrap();
        }
        assert_eq!(account.hide("canary-1 and canary-2, not canary-3"), "*** and ***, not canary-3");
    }
}
