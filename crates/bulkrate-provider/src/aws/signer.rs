//! Signs the requests of one service in one region.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::chain::{Chain, Unkeyed};
use super::sigv4::{Canonical, Scope, authorization, sha256_hex};
use crate::api::Reply;
use crate::http::sign::{Covered, Sign, Unsignable, Unsigned};

/// A service as signatures name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Bedrock,
    S3,
}

/// Signs with what the chain brings.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) chain: Arc<Chain>,
    pub(crate) region: String,
    pub(crate) service: Service,
}

#[async_trait]
impl Sign for Signer {
    async fn sign(&self, request: Unsigned<'_>) -> Result<HeaderMap, Unsignable> {
        let keys = self.chain.keys().await.map_err(|error| match error {
            Unkeyed::Away(why) => Unsignable::Away(why),
            Unkeyed::None(why) => Unsignable::Refused(unsigned(&why)),
        })?;
        let body = match request.body {
            Covered::Bytes(bytes) => sha256_hex(bytes),
            Covered::File(digest) => digest.to_owned(),
        };
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let (is_s3, token) = (self.service == Service::S3, keys.token.as_deref());
        let mut signed = vec![("host", request.host)];
        if is_s3 {
            signed.push(("x-amz-content-sha256", &body));
        }
        signed.push(("x-amz-date", &at));
        signed.extend(token.map(|token| ("x-amz-security-token", token)));
        let service = if is_s3 { "s3" } else { "bedrock" };
        let scope = Scope { region: &self.region, service, at: &at };
        let (method, target) = (request.method.as_str(), request.target);
        let canonical = Canonical { method, target, encode_path: !is_s3, headers: &signed, body: &body };
        let said = authorization(&keys.id, keys.secret.expose(), scope, canonical);
        let mut headers = HeaderMap::with_capacity(4);
        for (name, value) in signed.into_iter().skip(1) {
            headers.insert(HeaderName::from_static(name), sensitive(value)?);
        }
        headers.insert(AUTHORIZATION, sensitive(&said)?);
        Ok(headers)
    }

    fn held(&self) -> Option<Arc<str>> {
        self.chain.held()
    }

    fn ended(&self) -> bool {
        self.chain.ended()
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, Unsignable> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Unsignable::Refused(unsigned("the credentials hold letters that no header takes")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The refusal of a request that nobody can sign, in Amazon's shape.
fn unsigned(why: &str) -> Box<Reply> {
    let body = serde_json::json!({"__type": "MissingAuthenticationTokenException", "message": why});
    Box::new(Reply { status: 403, headers: HeaderMap::new(), body: body.to_string().into() })
}
