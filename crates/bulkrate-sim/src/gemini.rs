//! Google's manners around Gemini's calls: keys, headers, errors, the list of models.

use crate::api::Endpoint;
use crate::catalogue::{Catalogue, Kind, Model};
use crate::errors::ApiError;
use crate::faults::Place;
use crate::server::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A page of the list of models, unless said otherwise.
const PAGE: usize = 50;

/// What a call asks for, besides what is paid at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Upload,
    File(String),
    FileDelete(String),
    Download(String),
    /// Of batches of this model, whose lines are calls of this endpoint.
    Create(Endpoint, String),
    List,
    Get(String),
    Cancel(String),
    Delete(String),
}

impl Ask {
    /// `rest`: the path below the version; `upload`: the version stands below `/upload`.
    pub(crate) fn of(method: &Method, rest: &str, upload: bool) -> Option<Self> {
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (id, verb) = name.split_once(':').unwrap_or((name, ""));
        let owned = || id.to_owned();
        Some(match (method.as_str(), upload, kind, id.is_empty(), verb) {
            ("POST", true, "files", true, "") => Self::Upload,
            ("GET", false, "files", false, "") => Self::File(owned()),
            ("GET", false, "files", false, "download") => Self::Download(owned()),
            ("DELETE", false, "files", false, "") => Self::FileDelete(owned()),
            ("POST", false, "models", false, "batchGenerateContent") => {
                Self::Create(Endpoint::Generate, owned())
            }
            ("POST", false, "models", false, "asyncBatchEmbedContent") => {
                Self::Create(Endpoint::Embed, owned())
            }
            ("GET", false, "batches", true, "") => Self::List,
            ("GET", false, "batches", false, "") => Self::Get(owned()),
            ("POST", false, "batches", false, "cancel") => Self::Cancel(owned()),
            ("DELETE", false, "batches", false, "") | ("POST", false, "batches", false, "delete") => {
                Self::Delete(owned())
            }
            _ => return None,
        })
    }

    pub(crate) fn place(&self) -> Option<Place> {
        Some(match self {
            Self::Upload => Place::Upload,
            Self::File(_) => return None,
            Self::FileDelete(_) | Self::Delete(_) => Place::Delete,
            Self::Download(_) => Place::Content,
            Self::Create(..) => Place::Create,
            Self::List => Place::List,
            Self::Get(_) => Place::Poll,
            Self::Cancel(_) => Place::Cancel,
        })
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Upload => "POST /upload/v1beta/files",
            Self::File(_) => "GET /v1beta/files/{id}",
            Self::FileDelete(_) => "DELETE /v1beta/files/{id}",
            Self::Download(_) => "GET /v1beta/files/{id}:download",
            Self::Create(Endpoint::Embed, _) => "POST /v1beta/models/{model}:asyncBatchEmbedContent",
            Self::Create(..) => "POST /v1beta/models/{model}:batchGenerateContent",
            Self::List => "GET /v1beta/batches",
            Self::Get(_) => "GET /v1beta/batches/{id}",
            Self::Cancel(_) => "POST /v1beta/batches/{id}:cancel",
            Self::Delete(_) => "DELETE /v1beta/batches/{id}",
        }
    }
}

/// The key in its header, or in the query. More of an upload needs none: its address is secret enough.
pub(crate) fn authenticate(
    known: Option<&str>,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<(), ApiError> {
    let header = headers.get("x-goog-api-key").and_then(|value| value.to_str().ok()).map(str::trim);
    let in_query = || query?.split('&').find_map(|pair| pair.strip_prefix("key="));
    let goes_on = query.is_some_and(|query| query.contains("upload_id="));
    match header.filter(|key| !key.is_empty()).or_else(in_query) {
        None if goes_on => Ok(()),
        None => Err(ApiError::new(
            403,
            "PERMISSION_DENIED",
            None,
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
        )),
        Some(key) if known.is_some_and(|known| known != key) => {
            Err(ApiError::new(401, "INVALID_ARGUMENT", Some("invalid_api_key"), ""))
        }
        Some(_) => Ok(()),
    }
}

/// What every answer has.
pub(crate) fn headers(headers: &mut HeaderMap) {
    for (name, value) in [("server", "scaffolding on HTTPServer2"), ("x-content-type-options", "nosniff")] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// An error in Google's shape. How long to wait stands in the body and in no header.
pub(crate) fn error(reply: Reply) -> Reply {
    let Some(error) = reply.said_error() else { return reply };
    let wait = reply.headers.iter().find(|(name, _)| name == "retry-after-ms");
    let wait_ms = wait.and_then(|(_, value)| value.to_str().ok()?.parse::<u64>().ok());
    let message = error["message"].as_str().unwrap_or_default();
    let (status, body) = error_body(reply.status, error["code"].as_str(), message, wait_ms);
    let mut reply = reply.with_body(Bytes::from(serde_json::to_vec_pretty(&body).unwrap_or_default()));
    reply.status = status;
    if wait_ms.is_some() {
        reply.headers.retain(|(name, _)| name != "retry-after-ms" && name != "retry-after");
    }
    reply
}

const QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";

/// Status and body of an error.
pub(crate) fn error_body(
    status: u16,
    code: Option<&str>,
    message: &str,
    wait_ms: Option<u64>,
) -> (u16, Value) {
    let key_error = |message: &str| {
        let detail = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}});
        (400, message.to_owned(), vec![detail])
    };
    let help = || json!({"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]});
    let (status, message, details) = match (status, code.unwrap_or_default()) {
        (401, "expired_api_key") => key_error("API key expired. Please renew the API key."),
        (401, _) => key_error("API key not valid. Please pass a valid API key."),
        (429, "insufficient_quota") => {
            let metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
            let text = format!(
                "{QUOTA}\n* Quota exceeded for metric: {metric}, limit: 0, model: any\nPlease retry in 11.6s."
            );
            (
                429,
                text,
                vec![
                    help(),
                    violation("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0"),
                    retry(11_600),
                ],
            )
        }
        (429, "slow_down") => (429, "Resource has been exhausted (e.g. check quota).".to_owned(), vec![]),
        (429, _) => {
            let wait_ms = wait_ms.unwrap_or(20);
            let text = format!("{QUOTA}\nPlease retry in {}.", span(wait_ms));
            let id = "GenerateContentPaidTierInputTokensPerModelPerMinute";
            (429, text, vec![violation(id, "1000000"), help(), retry(wait_ms)])
        }
        (403 | 404, "model_not_found") => {
            let model = message.rsplit('`').nth(1).unwrap_or_default();
            let text = format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
            );
            (404, text, vec![])
        }
        (503 | 529, _) => (503, "The model is overloaded. Please try again later.".to_owned(), vec![]),
        (status, _) => (status, message.to_owned(), vec![]),
    };
    let mut shaped = json!({"code": status, "message": message, "status": name(status)});
    if !details.is_empty() {
        shaped["details"] = details.into();
    }
    (status, json!({"error": shaped}))
}

fn violation(id: &str, value: &str) -> Value {
    let metric = "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count";
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaMetric": metric, "quotaId": id, "quotaDimensions": {"location": "global"}, "quotaValue": value}]})
}

fn retry(wait_ms: u64) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": span(wait_ms)})
}

/// A duration as protocol buffers write it.
fn span(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

pub(crate) fn name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..500 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

fn listed(id: &str, model: &Model) -> Value {
    let methods = match model.kind {
        Kind::Embedding => {
            json!(["embedContent", "batchEmbedContents", "countTokens", "asyncBatchEmbedContent"])
        }
        _ => json!(["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"]),
    };
    json!({"name": format!("models/{id}"), "version": "001", "displayName": id, "inputTokenLimit": model.input_max, "outputTokenLimit": model.output_max, "supportedGenerationMethods": methods})
}

pub(crate) fn models(models: &Catalogue, query: &HashMap<String, String>) -> Reply {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (size, start) =
        (number("pageSize").unwrap_or(PAGE).clamp(1, 1_000), number("pageToken").unwrap_or(0));
    let names = models.names();
    let page = names.iter().skip(start).take(size);
    let listed: Vec<Value> =
        page.filter_map(|name| models.find(name).ok().map(|(model, _)| listed(name, model))).collect();
    let mut body = json!({"models": listed});
    if start + size < names.len() {
        body["nextPageToken"] = (start + size).to_string().into();
    }
    Reply::of(&body)
}

pub(crate) fn model(models: &Catalogue, id: &str) -> Result<Reply, ApiError> {
    models.find(id).map(|(model, _)| Reply::of(&listed(id, model)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_the_key_is_wrong_and_how_long_to_wait() {
        for (status, code, wait, want, name, word) in [
            (401, Some("invalid_api_key"), None, 400, "INVALID_ARGUMENT", "API_KEY_INVALID"),
            (401, Some("expired_api_key"), None, 400, "INVALID_ARGUMENT", "API key expired"),
            (
                429,
                Some("rate_limit_exceeded"),
                Some(1_500),
                429,
                "RESOURCE_EXHAUSTED",
                "\"retryDelay\":\"1.500s\"",
            ),
            (429, Some("insufficient_quota"), None, 429, "RESOURCE_EXHAUSTED", "limit: 0,"),
            (429, Some("slow_down"), Some(20), 429, "RESOURCE_EXHAUSTED", "e.g. check quota"),
            (529, None, None, 503, "UNAVAILABLE", "overloaded"),
            (403, Some("model_not_found"), None, 404, "NOT_FOUND", "models/m is not found"),
            (404, Some("model_not_found"), None, 404, "NOT_FOUND", "models/m is not found"),
            (500, None, None, 500, "INTERNAL", "does not exist"),
        ] {
            let (status, body) = error_body(status, code, "The model `m` does not exist", wait);
            assert_eq!((status, body["error"]["code"].as_u64()), (want, Some(u64::from(want))), "{code:?}");
            assert_eq!(body["error"]["status"], name, "{code:?}");
            assert!(body.to_string().contains(word), "{body}");
        }
    }
}
