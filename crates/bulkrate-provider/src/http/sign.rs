//! Requests for which fixed headers are not enough: each is signed anew, with credentials that may end.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Method};

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

impl Account {
    #[must_use]
    pub(crate) fn signed_by(mut self, signer: Arc<dyn Sign>) -> Self {
        self.signer = Some(signer);
        self
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
        signer.sign(Unsigned { method, host: &self.host_text(), target: &target, body }).await
    }

    /// Whether a refusal is one of credentials that have ended, and others can be had.
    pub(crate) fn may_renew(&self, code: Option<&str>) -> bool {
        code == Some(ENDED) && self.signer.as_ref().is_some_and(|signer| signer.ended())
    }
}
