//! AWS's manners around Bedrock's calls: paths, names of errors in a header, the list of models. One address is all of its hosts.

pub(crate) mod jobs;
mod objects;
mod sigv4;

use crate::api::Endpoint;
use crate::catalogue::{Catalogue, Kind, Lane};
use crate::config::Speaks;
use crate::errors::{ApiError, invalid};
use crate::faults::Place;
use crate::rng::{mix, push_hex};
use crate::server::{Reply, State, decoded};
use crate::tokens::Usage;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use sigv4::hex;

/// What a call asks for, besides what is paid at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Create,
    List,
    Get(String),
    Stop(String),
    Models,
    /// Of S3: what is done, the bucket, and the key.
    Object(Verb, String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Put,
    Get,
    Head,
    Delete,
    List,
}

/// A paid call, and its model.
pub(crate) fn paid(method: &Method, path: &str) -> Option<(Endpoint, String)> {
    let (id, verb) = path.strip_prefix("/model/")?.split_once('/')?;
    let endpoint = match verb {
        "converse" => Endpoint::Converse,
        "invoke" => Endpoint::Invoke,
        _ => return None,
    };
    (method == Method::POST && !id.is_empty()).then(|| (endpoint, decoded(id)))
}

/// In whose words a model is asked where it is invoked.
pub(crate) fn endpoint(endpoint: Endpoint, model: &str) -> Endpoint {
    match endpoint {
        Endpoint::Invoke if model.contains("anthropic.") => Endpoint::InvokeMessages,
        endpoint => endpoint,
    }
}

/// Claude is sold in the usual tier alone, which is told in a header.
pub(crate) fn check_tier(endpoint: Endpoint, headers: &HeaderMap) -> Result<(), ApiError> {
    let tier =
        headers.get("x-amzn-bedrock-service-tier").map_or("default", |tier| tier.to_str().unwrap_or("?"));
    match endpoint {
        Endpoint::InvokeMessages if tier != "default" => {
            Err(invalid(format!("The provided service tier {tier} is not supported for this model.")))
        }
        _ => Ok(()),
    }
}

/// What a call tells beside its answer, which may say nothing of it.
pub(crate) fn tell_tokens(reply: &mut Reply, usage: Usage) {
    reply.header("x-amzn-bedrock-input-token-count", &usage.prompt.to_string());
    reply.header("x-amzn-bedrock-output-token-count", &usage.output.to_string());
}

impl Ask {
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let job = path.strip_prefix("/model-invocation-job/");
        Some(match (method.as_str(), path, job) {
            ("POST", "/model-invocation-job", _) => Self::Create,
            ("GET", "/model-invocation-jobs", _) => Self::List,
            ("GET", "/foundation-models", _) => Self::Models,
            ("GET", _, Some(id)) if !id.contains('/') => Self::Get(decoded(id)),
            ("POST", _, Some(rest)) => {
                Self::Stop(decoded(rest.strip_suffix("/stop").filter(|id| !id.contains('/'))?))
            }
            _ => return Self::of_s3(method, path),
        })
    }

    fn of_s3(method: &Method, path: &str) -> Option<Self> {
        let (bucket, key) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
        let verb = match (method.as_str(), key.is_empty()) {
            ("PUT", false) => Verb::Put,
            ("GET", false) => Verb::Get,
            ("HEAD", false) => Verb::Head,
            ("DELETE", false) => Verb::Delete,
            ("GET", true) if !bucket.is_empty() => Verb::List,
            _ => return None,
        };
        Some(Self::Object(verb, decoded(bucket), decoded(key)))
    }

    pub(crate) fn place(&self) -> Option<Place> {
        Some(match self {
            Self::Create => Place::Create,
            Self::List => Place::List,
            Self::Get(_) => Place::Poll,
            Self::Stop(_) => Place::Cancel,
            Self::Models => Place::Models,
            Self::Object(Verb::Put, ..) => Place::Upload,
            Self::Object(Verb::Get, ..) => Place::Content,
            Self::Object(Verb::Delete, ..) => Place::Delete,
            Self::Object(Verb::Head | Verb::List, ..) => return None,
        })
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Create => "POST /model-invocation-job",
            Self::List => "GET /model-invocation-jobs",
            Self::Get(_) => "GET /model-invocation-job/{id}",
            Self::Stop(_) => "POST /model-invocation-job/{id}/stop",
            Self::Models => "GET /foundation-models",
            Self::Object(Verb::Put, ..) => "PUT /{bucket}/{key}",
            Self::Object(Verb::Get, ..) => "GET /{bucket}/{key}",
            Self::Object(Verb::Head, ..) => "HEAD /{bucket}/{key}",
            Self::Object(Verb::Delete, ..) => "DELETE /{bucket}/{key}",
            Self::Object(Verb::List, ..) => "GET /{bucket}",
        }
    }

    pub(crate) fn is_s3(&self) -> bool {
        matches!(self, Self::Object(..))
    }
}

/// The answer; `None`: the connection closes without one.
pub(crate) fn answer(
    state: &Arc<State>,
    ask: &Ask,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Option<Reply>, ApiError> {
    match ask {
        Ask::Create => jobs::create(state, body),
        Ask::List => jobs::list(state, query).map(Some),
        Ask::Get(id) => jobs::get(state, id).map(Some),
        Ask::Stop(id) => jobs::stop(state, id).map(Some),
        Ask::Models => Ok(Some(models(&state.models))),
        Ask::Object(verb, bucket, key) => objects::answer(state, *verb, bucket, key, query, body).map(Some),
    }
}

/// A request as far as it says who asks, and what that covers.
struct Signed<'a> {
    method: &'a Method,
    /// Path and query, as they came.
    target: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

/// Whether AWS would let the caller in: it signs each request with its body. Other services have looked at the head alone.
pub(crate) fn let_in(state: &State, head: &http::request::Parts, body: &[u8]) -> Result<(), ApiError> {
    if state.config.speaks != Speaks::Bedrock {
        return Ok(());
    }
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let signed = Signed { method: &head.method, target, headers: &head.headers, body };
    authenticate(state.config.api_key.as_deref(), state.config.region.as_deref(), &signed)
}

/// A signature, or a key of the service's own. `known`: `ID:SECRET`, or such a key; without it anybody is let in who says who he is.
fn authenticate(known: Option<&str>, region: Option<&str>, signed: &Signed<'_>) -> Result<(), ApiError> {
    let said = signed.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(key) = said.strip_prefix("Bearer ") {
        return match known.is_none_or(|known| known == key.trim()) {
            true => Ok(()),
            false => Err(denied(
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
            )),
        };
    }
    if said.is_empty() {
        return Err(denied("MissingAuthenticationTokenException", "Missing Authentication Token"));
    }
    sigv4::check(said, known, region, signed)
}

fn denied(name: &'static str, message: &str) -> ApiError {
    ApiError::new(403, name, None, message)
}

/// What every answer has.
pub(crate) fn headers(headers: &mut HeaderMap, key: u64) {
    let mut id = Vec::new();
    push_hex(&mut id, key, 32);
    for at in [8, 13, 18, 23] {
        id.insert(at, b'-');
    }
    for name in ["x-amzn-requestid", "x-amz-request-id"] {
        if let Ok(id) = HeaderValue::from_bytes(&id) {
            headers.insert(HeaderName::from_static(name), id);
        }
    }
}

/// An error in AWS's shape. How long to wait stands nowhere.
pub(crate) fn error(reply: Reply, of_s3: bool) -> Reply {
    let Some(error) = reply.said_error() else { return reply };
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let (status, name, message) = named(reply.status, text("type"), text("code"), text("message"));
    let mut reply = match of_s3 {
        true => objects::error(status, name, &message),
        false => {
            let body = json!({"message": message}).to_string();
            let mut reply = reply.with_body(Bytes::from(body));
            reply.status = status;
            reply.headers.retain(|(name, _)| name != "retry-after-ms");
            reply
        }
    };
    if !of_s3 {
        reply.header(
            "x-amzn-errortype",
            &format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
        );
    }
    reply
}

/// Status, name and message of an error.
pub(crate) fn named(status: u16, kind: &str, code: &str, message: &str) -> (u16, &'static str, String) {
    const NAMES: &[&str] = &[
        "AccessDeniedException",
        "ConflictException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "UnrecognizedClientException",
        "ValidationException",
    ];
    if let Some(name) = NAMES.iter().find(|name| **name == kind) {
        return (status, name, message.to_owned());
    }
    let (status, name, own) = match (status, code) {
        (401, "expired_api_key") => {
            (403, "ExpiredTokenException", "The security token included in the request is expired")
        }
        (401, _) => {
            (403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        (403, "model_not_found") => {
            (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.")
        }
        (404, "model_not_found") => (400, "ValidationException", "The provided model identifier is invalid."),
        (403, _) => (403, "AccessDeniedException", ""),
        (404, _) => (404, "ResourceNotFoundException", ""),
        (429, "insufficient_quota") => (
            403,
            "AccessDeniedException",
            "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided. Your AWS Marketplace subscription for this model cannot be completed at this time.",
        ),
        (429, _) => (429, "ThrottlingException", "Too many requests, please wait before trying again."),
        (408, _) => (
            408,
            "ModelTimeoutException",
            "Model has timed out in processing the request. Try your request again.",
        ),
        (503 | 529, _) => (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
        (400..500, _) => (400, "ValidationException", ""),
        _ => (
            500,
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
    };
    (status, name, if own.is_empty() { message.to_owned() } else { own.to_owned() })
}

/// GET /foundation-models
fn models(models: &Catalogue) -> Reply {
    let listed = models.names().into_iter().filter_map(|name| {
        let (model, _) = models.find(name).ok()?;
        let modes = if model.kind == Kind::Embedding { "EMBEDDING" } else { "TEXT" };
        let batch = model.tariff.rates(Lane::Batch).is_some();
        Some(json!({
            "modelArn": format!("arn:aws:bedrock:us-east-1::foundation-model/{name}"), "modelId": name, "modelName": name,
            "providerName": name.split('.').next(), "inputModalities": ["TEXT"], "outputModalities": [modes],
            "responseStreamingSupported": false, "inferenceTypesSupported": if batch { json!(["ON_DEMAND"]) } else { json!(["INFERENCE_PROFILE"]) },
            "modelLifecycle": {"status": "ACTIVE"},
        }))
    });
    Reply::of(&json!({"modelSummaries": listed.collect::<Vec<Value>>()}))
}

/// A number that is the same for the same text.
fn digest(text: &str) -> u64 {
    mix(crate::rng::hash(text.as_bytes(), 0xA5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let object =
            |verb, bucket: &str, key: &str| Some(Ask::Object(verb, bucket.to_owned(), key.to_owned()));
        let arn = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl";
        for (method, path, want) in [
            (Method::POST, "/model-invocation-job", Some(Ask::Create)),
            (Method::GET, "/model-invocation-jobs", Some(Ask::List)),
            (
                Method::GET,
                "/model-invocation-job/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Amodel-invocation-job%2Fabcdefghijkl",
                Some(Ask::Get(arn.to_owned())),
            ),
            (
                Method::POST,
                "/model-invocation-job/abcdefghijkl/stop",
                Some(Ask::Stop("abcdefghijkl".to_owned())),
            ),
            (Method::POST, "/model-invocation-job/abcdefghijkl/start", None),
            (Method::PUT, "/bkt/in/part%201.jsonl", object(Verb::Put, "bkt", "in/part 1.jsonl")),
            (Method::DELETE, "/bkt/in/x", object(Verb::Delete, "bkt", "in/x")),
            (Method::GET, "/bkt", object(Verb::List, "bkt", "")),
            (Method::GET, "/bkt/", object(Verb::List, "bkt", "")),
            (Method::GET, "/", None),
            (Method::POST, "/bkt/x", None),
        ] {
            assert_eq!(Ask::of(&method, path), want, "{method} {path}");
        }
        let nova = (Endpoint::Converse, "us.amazon.nova-lite-v1:0".to_owned());
        assert_eq!(paid(&Method::POST, "/model/us.amazon.nova-lite-v1%3A0/converse"), Some(nova));
        assert_eq!(paid(&Method::POST, "/model/a/invoke"), Some((Endpoint::Invoke, "a".to_owned())));
        for (method, path) in [
            (Method::GET, "/model/a/converse"),
            (Method::POST, "/model/a/b/invoke"),
            (Method::POST, "/model//invoke"),
        ] {
            assert_eq!(paid(&method, path), None, "{path}");
        }
    }

    #[test]
    fn errors_have_their_names() {
        for (status, kind, code, want) in [
            (401, "", "expired_api_key", (403, "ExpiredTokenException")),
            (401, "", "invalid_api_key", (403, "UnrecognizedClientException")),
            (403, "PERMISSION_DENIED", "", (403, "AccessDeniedException")),
            (403, "", "model_not_found", (403, "AccessDeniedException")),
            (404, "", "model_not_found", (400, "ValidationException")),
            (404, "", "", (404, "ResourceNotFoundException")),
            (429, "", "rate_limit_exceeded", (429, "ThrottlingException")),
            (529, "", "", (503, "ServiceUnavailableException")),
            (500, "", "", (500, "InternalServerException")),
            (413, "", "", (400, "ValidationException")),
            (400, "ConflictException", "", (400, "ConflictException")),
        ] {
            let (status, name, message) = named(status, kind, code, "so");
            assert_eq!((status, name), want, "{kind} {code}");
            assert!(!message.is_empty());
        }
    }
}
