//! Google's Vertex AI: tokens, `generateContent` and `rawPredict` of a project at a location, batch prediction jobs, and the bucket or
//! the tables that they read and write.

mod jobs;
mod objects;
mod rows;
mod tables;
mod tokens;

use crate::api::Endpoint;
use crate::errors::{ApiError, invalid};
use crate::faults::Place;
use crate::gemini;
use crate::server::{Reply, State, decoded};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use jobs::{claude_body, view as job};
pub(crate) use objects::Sessions;
pub(crate) use tables::{Loads, SCHEME as TABLE};
pub(crate) use tokens::{Tokens, granted, refused};

/// What a model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Generate,
    /// One vector, or a list of them.
    Embed,
    /// Vectors of older models.
    Predict,
    /// Claude's.
    RawPredict,
    /// Open models', whose body names the model.
    Chat,
}

impl Verb {
    fn of(publisher: &str, word: &str) -> Option<Self> {
        Some(match (publisher, word) {
            ("google", "generateContent") => Self::Generate,
            ("google", "embedContent" | "batchEmbedContents") => Self::Embed,
            ("google", "predict") => Self::Predict,
            ("anthropic", "rawPredict") => Self::RawPredict,
            _ => return None,
        })
    }
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Token,
    /// Something that only the machine knows.
    Machine(String),
    Call(Verb, String),
    Create,
    List,
    Get(String),
    Cancel(String),
    Delete(String),
    Bucket(String),
    Upload(String),
    Objects(String),
    Object(String, String),
    Media(String, String),
    ObjectDelete(String, String),
    Tables(tables::Ask),
}

impl Ask {
    pub(crate) fn of(method: &Method, path: &str, query: Option<&str>) -> Option<Self> {
        if (method.as_str(), path) == ("POST", "/token") {
            return Some(Self::Token);
        }
        if let ("GET", Some(rest)) = (method.as_str(), path.strip_prefix("/computeMetadata/v1/")) {
            return Some(Self::Machine(rest.to_owned()));
        }
        if let Some((_, rest)) = scope(path) {
            return Self::of_project(method, rest);
        }
        tables::Ask::of(method, path).map(Self::Tables).or_else(|| Self::of_storage(method, path, query))
    }

    /// Whether a file comes with it.
    pub(crate) fn uploads(&self) -> bool {
        matches!(self, Self::Upload(_) | Self::Tables(tables::Ask::Load(_)))
    }

    /// `rest`: what stands after the location.
    fn of_project(method: &Method, rest: &str) -> Option<Self> {
        let parts: Vec<&str> = rest.split('/').collect();
        let (last, verb) = parts.last()?.rsplit_once(':').unwrap_or((parts.last()?, ""));
        let last = decoded(last);
        Some(match (method.as_str(), parts.as_slice(), verb) {
            ("POST", ["publishers", publisher, "models", _], word) => {
                Self::Call(Verb::of(publisher, word)?, last)
            }
            ("POST", ["endpoints", "openapi", "chat", "completions"], "") => {
                Self::Call(Verb::Chat, String::new())
            }
            ("POST", ["batchPredictionJobs"], "") => Self::Create,
            ("GET", ["batchPredictionJobs"], "") => Self::List,
            ("GET", ["batchPredictionJobs", _], "") => Self::Get(last),
            ("DELETE", ["batchPredictionJobs", _], "") => Self::Delete(last),
            ("POST", ["batchPredictionJobs", _], "cancel") => Self::Cancel(last),
            _ => return None,
        })
    }

    fn of_storage(method: &Method, path: &str, query: Option<&str>) -> Option<Self> {
        let (kind, rest) = ["/upload", "/download", ""]
            .into_iter()
            .find_map(|kind| Some((kind, path.strip_prefix(kind)?.strip_prefix("/storage/v1/b/")?)))?;
        let parts: Vec<String> = rest.split('/').map(decoded).collect();
        let is_media = || query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=media"));
        Some(match (method.as_str(), kind, parts.as_slice()) {
            ("POST" | "PUT", "/upload", [bucket, o]) if o == "o" => Self::Upload(bucket.clone()),
            ("GET", "", [bucket]) => Self::Bucket(bucket.clone()),
            ("GET", "", [bucket, o]) if o == "o" => Self::Objects(bucket.clone()),
            ("GET", _, [bucket, o, object]) if o == "o" && (kind == "/download" || is_media()) => {
                Self::Media(bucket.clone(), object.clone())
            }
            ("GET", "", [bucket, o, object]) if o == "o" => Self::Object(bucket.clone(), object.clone()),
            ("DELETE", "", [bucket, o, object]) if o == "o" => {
                Self::ObjectDelete(bucket.clone(), object.clone())
            }
            _ => return None,
        })
    }

    pub(crate) fn place(&self) -> Option<Place> {
        Some(match self {
            Self::Call(..) => Place::Sync,
            Self::Upload(_) => Place::Upload,
            Self::Media(..) => Place::Content,
            Self::ObjectDelete(..) | Self::Delete(_) => Place::Delete,
            Self::Create => Place::Create,
            Self::List => Place::List,
            Self::Get(_) => Place::Poll,
            Self::Cancel(_) => Place::Cancel,
            Self::Tables(ask) => return ask.place(),
            Self::Token | Self::Machine(_) | Self::Bucket(_) | Self::Objects(_) | Self::Object(..) => {
                return None;
            }
        })
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Token => "POST /token",
            Self::Machine(_) => "GET /computeMetadata/v1",
            Self::Call(Verb::Generate, _) => "POST publishers/google/models/{model}:generateContent",
            Self::Call(Verb::Embed, _) => "POST publishers/google/models/{model}:embedContent",
            Self::Call(Verb::Predict, _) => "POST publishers/google/models/{model}:predict",
            Self::Call(Verb::Chat, _) => "POST endpoints/openapi/chat/completions",
            Self::Call(Verb::RawPredict, _) => "POST publishers/anthropic/models/{model}:rawPredict",
            Self::Create => "POST batchPredictionJobs",
            Self::List => "GET batchPredictionJobs",
            Self::Get(_) => "GET batchPredictionJobs/{id}",
            Self::Cancel(_) => "POST batchPredictionJobs/{id}:cancel",
            Self::Delete(_) => "DELETE batchPredictionJobs/{id}",
            Self::Bucket(_) => "GET /storage/v1/b/{bucket}",
            Self::Upload(_) => "POST /upload/storage/v1/b/{bucket}/o",
            Self::Objects(_) => "GET /storage/v1/b/{bucket}/o",
            Self::Object(..) => "GET /storage/v1/b/{bucket}/o/{object}",
            Self::Media(..) => "GET /storage/v1/b/{bucket}/o/{object}?alt=media",
            Self::ObjectDelete(..) => "DELETE /storage/v1/b/{bucket}/o/{object}",
            Self::Tables(ask) => ask.label(),
        }
    }

    fn bucket(&self) -> Option<&str> {
        match self {
            Self::Bucket(bucket)
            | Self::Upload(bucket)
            | Self::Objects(bucket)
            | Self::Object(bucket, _)
            | Self::Media(bucket, _)
            | Self::ObjectDelete(bucket, _) => Some(bucket),
            _ => None,
        }
    }
}

/// Project and location that a path stands in, and the rest of it.
fn scope(path: &str) -> Option<((&str, &str), &str)> {
    let rest =
        ["/v1/projects/", "/v1beta1/projects/"].into_iter().find_map(|start| path.strip_prefix(start))?;
    let (project, rest) = rest.split_once('/')?;
    let (location, rest) = rest.strip_prefix("locations/")?.split_once('/')?;
    Some(((project, location), rest))
}

/// Whether a call may be made at all: its token, its project, its location, its bucket. `Err` is the whole answer.
pub(crate) fn admit(
    state: &State,
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Reply> {
    let ask = Ask::of(method, path, query);
    if matches!(ask, Some(Ask::Token | Ask::Machine(_))) {
        return Ok(());
    }
    let config = &state.config;
    let named = scope(path).map(|(named, _)| named);
    if let (Some((_, location)), Some(known)) = (named, &config.location)
        && location != known
    {
        return Err(not_there(path));
    }
    // More of an upload needs no token: its address is secret enough.
    let goes_on = query.is_some_and(|query| query.contains("upload_id="));
    if !(goes_on && ask.as_ref().is_some_and(Ask::uploads)) {
        tokens::check(state, headers)?;
    }
    if let (Some((project, _)), Some(known)) = (named, &config.project)
        && project != known
    {
        let message = format!("Permission denied on resource project {project} (or it may not exist).");
        return Err(Reply::error(&ApiError::new(403, "PERMISSION_DENIED", None, message)));
    }
    if let Some(Ask::Tables(ask)) = &ask {
        ask.admit(state)?;
    }
    match (ask.as_ref().and_then(Ask::bucket), &config.bucket) {
        (Some(bucket), Some(known)) if bucket != known => Err(objects::no_bucket()),
        _ => Ok(()),
    }
}

/// What Google's front says at an address behind which nobody is.
fn not_there(path: &str) -> Reply {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n  <p><b>404.</b> <ins>That\u{2019}s an error.</ins>\n  <p>The requested URL <code>{path}</code> was not found on this server.  <ins>That\u{2019}s all we know.</ins>\n"
    );
    let mut reply = Reply::bytes(404, page);
    reply.content_type = Some("text/html; charset=UTF-8");
    reply
}

/// An error in Google's shape.
pub(crate) fn error(reply: Reply) -> Reply {
    let Some(said) = reply.said_error() else { return reply };
    // Tokens and buckets have shapes of their own.
    if said.is_string() || said["errors"].is_array() {
        return reply;
    }
    let (status, body) =
        error_body(reply.status, said["code"].as_str(), said["message"].as_str().unwrap_or_default());
    let mut reply = reply.with_body(Bytes::from(serde_json::to_vec_pretty(&body).unwrap_or_default()));
    reply.status = status;
    reply.headers.retain(|(name, _)| name != "retry-after-ms" && name != "retry-after");
    reply
}

/// Status and body of an error.
pub(crate) fn error_body(status: u16, code: Option<&str>, message: &str) -> (u16, Value) {
    let mut details = Vec::new();
    let (status, message) = match (status, code.unwrap_or_default()) {
        (401, _) => (
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.".to_owned(),
        ),
        (429, "insufficient_quota") => {
            details.push(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BILLING_DISABLED", "domain": "googleapis.com"}));
            (403, "This API method requires billing to be enabled. Please enable billing on the project, then retry.".to_owned())
        }
        (429, _) => (
            429,
            "Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.".to_owned(),
        ),
        (403 | 404, "model_not_found") => {
            let model = message.rsplit('`').nth(1).unwrap_or_default();
            (404, format!("Publisher Model `publishers/google/models/{model}` was not found or your project does not have access to it. Please ensure you are using a valid model version."))
        }
        (503 | 529, _) => (503, "The service is currently unavailable.".to_owned()),
        (status, _) => (status, message.to_owned()),
    };
    let mut shaped = json!({"code": status, "message": message, "status": gemini::name(status)});
    if !details.is_empty() {
        shaped["details"] = details.into();
    }
    (status, json!({"error": shaped}))
}

/// Free calls, and the create. `None`: the connection closes without an answer.
pub(crate) fn answer(
    state: &Arc<State>,
    ask: &Ask,
    head: &http::request::Parts,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Option<Reply>, ApiError> {
    let headers = &head.headers;
    let scope = scope(head.uri.path()).map_or(("", ""), |(named, _)| named);
    Ok(Some(match ask {
        Ask::Token => tokens::grant(state, body),
        Ask::Machine(what) => tokens::machine(state, what, headers),
        Ask::Create => return jobs::create(state, scope, body),
        Ask::List => jobs::list(state, query)?,
        Ask::Get(id) => jobs::get(state, id)?,
        Ask::Cancel(id) => jobs::cancel(state, id)?,
        Ask::Delete(id) => jobs::delete(state, id)?,
        Ask::Bucket(bucket) => objects::bucket(bucket),
        Ask::Upload(bucket) => objects::upload(state, bucket, head, query, body),
        Ask::Objects(bucket) => objects::list(state, bucket, query),
        Ask::Object(bucket, object) => objects::retrieve(state, bucket, object),
        Ask::Media(bucket, object) => objects::media(state, bucket, object),
        Ask::ObjectDelete(bucket, object) => objects::delete(state, bucket, object),
        Ask::Tables(ask) => ask.answer(state, head, query, body),
        Ask::Call(..) => return Err(invalid("a paid call")),
    }))
}

/// A paid call as its maker's API would have it: endpoint, model, body. `flex`: whether the shared tier was asked for that is cheap.
pub(crate) fn paid(
    ask: &Ask,
    head: &http::request::Parts,
    body: &Bytes,
) -> Result<(Endpoint, Bytes), ApiError> {
    let Ask::Call(verb, model) = ask else { return Err(invalid("no paid call")) };
    match verb {
        Verb::RawPredict => return claude_body(body, model).map(|body| (Endpoint::Messages, body)),
        // Not all models are asked in both ways.
        Verb::Embed if !model.starts_with("gemini") => {
            return Err(invalid(format!("{model} is not supported for EmbedContent.")));
        }
        Verb::Embed => return Ok((Endpoint::Embed, body.clone())),
        Verb::Predict => return Ok((Endpoint::Predict, body.clone())),
        Verb::Chat => return Ok((Endpoint::Chat, body.clone())),
        Verb::Generate => {}
    }
    let unknown = |name: &str| {
        invalid(format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."))
    };
    let mut fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if let Some(name) =
        ["serviceTier", "service_tier", "store", "model"].into_iter().find(|name| fields.contains_key(*name))
    {
        return Err(unknown(name));
    }
    if !is_flex(&head.headers) {
        return Ok((Endpoint::Generate, body.clone()));
    }
    if scope(head.uri.path()).is_none_or(|((_, location), _)| location != "global") {
        return Err(invalid("Flex PayGo is available at the global endpoint only."));
    }
    fields.insert("serviceTier".to_owned(), "flex".into());
    Ok((Endpoint::Generate, Bytes::from(serde_json::to_vec(&fields).unwrap_or_default())))
}

fn is_flex(headers: &HeaderMap) -> bool {
    headers.get("x-vertex-ai-llm-shared-request-type").is_some_and(|kind| kind == "flex")
}

/// An answer with what only this house says in it.
pub(crate) fn told(reply: Reply, headers: &HeaderMap) -> Reply {
    let Some(mut said) = reply
        .whole()
        .filter(|_| reply.status == 200)
        .and_then(|body| serde_json::from_slice::<Value>(body).ok())
    else {
        return reply;
    };
    let kind = if is_flex(headers) { "ON_DEMAND_FLEX" } else { "ON_DEMAND" };
    match said.get_mut("usageMetadata").and_then(Value::as_object_mut) {
        Some(usage) => usage.insert("trafficType".to_owned(), kind.into()),
        None => return reply,
    };
    reply.with_body(Bytes::from(serde_json::to_vec(&said).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let job = "/v1/projects/p/locations/us-central1/batchPredictionJobs";
        let named = |bucket: &str, object: &str| (bucket.to_owned(), object.to_owned());
        let (bucket, object) = named("b", "in/x y.jsonl");
        for (method, path, query, want) in [
            (Method::POST, "/token".to_owned(), None, Some(Ask::Token)),
            (Method::POST, job.to_owned(), None, Some(Ask::Create)),
            (Method::GET, format!("{job}/12"), None, Some(Ask::Get("12".to_owned()))),
            (Method::POST, format!("{job}/12:cancel"), None, Some(Ask::Cancel("12".to_owned()))),
            (
                Method::POST,
                "/v1beta1/projects/p/locations/global/publishers/google/models/m:generateContent".to_owned(),
                None,
                Some(Ask::Call(Verb::Generate, "m".to_owned())),
            ),
            (
                Method::POST,
                "/v1/projects/p/locations/global/publishers/anthropic/models/c%4020251001:rawPredict"
                    .to_owned(),
                None,
                Some(Ask::Call(Verb::RawPredict, "c@20251001".to_owned())),
            ),
            (
                Method::POST,
                "/v1/projects/p/locations/global/publishers/google/models/m:rawPredict".to_owned(),
                None,
                None,
            ),
            (Method::PUT, "/upload/storage/v1/b/b/o".to_owned(), None, Some(Ask::Upload("b".to_owned()))),
            (Method::GET, "/storage/v1/b/b/o".to_owned(), None, Some(Ask::Objects("b".to_owned()))),
            (
                Method::GET,
                "/storage/v1/b/b/o/in%2Fx%20y.jsonl".to_owned(),
                Some("alt=media"),
                Some(Ask::Media(bucket.clone(), object.clone())),
            ),
            (
                Method::GET,
                "/storage/v1/b/b/o/in%2Fx%20y.jsonl".to_owned(),
                None,
                Some(Ask::Object(bucket.clone(), object.clone())),
            ),
            (
                Method::DELETE,
                "/storage/v1/b/b/o/in%2Fx%20y.jsonl".to_owned(),
                None,
                Some(Ask::ObjectDelete(bucket, object)),
            ),
            // Slashes of a name are not those of a path.
            (Method::DELETE, "/storage/v1/b/b/o/in/x".to_owned(), None, None),
        ] {
            assert_eq!(Ask::of(&method, &path, query), want, "{method} {path}");
        }
    }
}
