//! Paths to calls.

use crate::api::Endpoint;
use crate::bedrock;
use crate::faults::Place;
use crate::gemini;
use crate::like::Own;
use crate::message_batches::Ask;
use crate::vertex;
use http::Method;
use std::collections::HashMap;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Paid(Endpoint),
    /// Gemini's paid call, to this model.
    Generate(String),
    /// Gemini's for vectors, of this model.
    Embed(String),
    Gemini(gemini::Ask),
    /// One of Bedrock's paid calls, to this model.
    Invoke(Endpoint, String),
    Bedrock(bedrock::Ask),
    Vertex(vertex::Ask),
    Upload,
    Files,
    File(String),
    FileDelete(String),
    FileContent(String),
    BatchCreate,
    Batches,
    Batch(String),
    BatchCancel(String),
    MessageBatches(Ask),
    Models,
    Model(String),
    /// A call that only the service simulated has.
    Own(Own),
    Bill,
    Requests,
    Unknown,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        if method == Method::POST
            && let Some(endpoint) = Endpoint::called(path)
        {
            return Self::Paid(endpoint);
        }
        let mut parts = path.trim_start_matches('/').split('/');
        let part = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let owned = |part: &str| part.to_owned();
        match (method.as_str(), part) {
            ("POST", [Some("v1"), Some("files"), None, ..]) => Self::Upload,
            ("GET", [Some("v1"), Some("files"), None, ..]) => Self::Files,
            ("GET", [Some("v1"), Some("files"), Some(id), None, _]) => Self::File(owned(id)),
            ("DELETE", [Some("v1"), Some("files"), Some(id), None, _]) => Self::FileDelete(owned(id)),
            ("GET", [Some("v1"), Some("files"), Some(id), Some("content"), None]) => {
                Self::FileContent(owned(id))
            }
            ("POST", [Some("v1"), Some("batches"), None, ..]) => Self::BatchCreate,
            ("GET", [Some("v1"), Some("batches"), None, ..]) => Self::Batches,
            ("GET", [Some("v1"), Some("batches"), Some(id), None, _]) => Self::Batch(owned(id)),
            ("POST", [Some("v1"), Some("batches"), Some(id), Some("cancel"), None]) => {
                Self::BatchCancel(owned(id))
            }
            ("GET", [Some("v1"), Some("models"), None, ..]) => Self::Models,
            ("GET", [Some("v1"), Some("models"), Some(id), None, _]) => Self::Model(owned(id)),
            ("GET", [Some("sim"), Some("bill"), None, ..]) => Self::Bill,
            ("GET", [Some("sim"), Some("requests"), None, ..]) => Self::Requests,
            _ => Self::Unknown,
        }
    }

    /// The calls of Anthropic's API that are simulated.
    pub(super) fn of_anthropic(method: &Method, path: &str) -> Self {
        if (method.as_str(), path) == ("POST", Endpoint::Messages.path()) {
            return Self::Paid(Endpoint::Messages);
        }
        if let Some(ask) = Ask::of(method, path) {
            return Self::MessageBatches(ask);
        }
        match Self::of(method, path) {
            route @ (Self::Models | Self::Model(_) | Self::Bill | Self::Requests) => route,
            _ => Self::Unknown,
        }
    }

    /// The calls of Gemini's API that are simulated, under either version.
    pub(super) fn of_gemini(method: &Method, path: &str) -> Self {
        let (upload, path) = path.strip_prefix("/upload").map_or((false, path), |path| (true, path));
        let path = path.strip_prefix("/download").unwrap_or(path);
        let rest = ["/v1beta/", "/v1/"].into_iter().find_map(|version| path.strip_prefix(version));
        let Some(rest) = rest else {
            return match Self::of(method, path) {
                route @ (Self::Bill | Self::Requests) => route,
                _ => Self::Unknown,
            };
        };
        let id = |name: &str| {
            rest.strip_prefix(name).filter(|id| !id.is_empty() && !id.contains('/')).map(decoded)
        };
        if let Some(ask) = gemini::Ask::of(method, &decoded(rest), upload) {
            return Self::Gemini(ask);
        }
        match (method.as_str(), rest, id("models/")) {
            ("GET", "models", _) => Self::Models,
            ("GET", _, Some(model)) => Self::Model(model),
            ("POST", _, Some(call)) => match call.rsplit_once(':') {
                Some((model, "generateContent")) => Self::Generate(model.to_owned()),
                Some((model, "embedContent" | "batchEmbedContents")) => Self::Embed(model.to_owned()),
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// The calls of Bedrock, of its jobs and of S3 that are simulated.
    pub(super) fn of_bedrock(method: &Method, path: &str) -> Self {
        if let route @ (Self::Bill | Self::Requests) = Self::of(method, path) {
            return route;
        }
        match (bedrock::paid(method, path), bedrock::Ask::of(method, path)) {
            (Some((endpoint, model)), _) => Self::Invoke(endpoint, model),
            (None, Some(ask)) => Self::Bedrock(ask),
            (None, None) => Self::Unknown,
        }
    }

    /// Whether the answer has S3's shape.
    pub(super) fn is_s3(&self) -> bool {
        matches!(self, Self::Bedrock(ask) if ask.is_s3())
    }

    /// The calls of Vertex AI that are simulated, and those of what it needs.
    pub(super) fn of_vertex(method: &Method, path: &str, query: Option<&str>) -> Self {
        match (vertex::Ask::of(method, path, query), Self::of(method, path)) {
            (Some(ask), _) => Self::Vertex(ask),
            (None, route @ (Self::Bill | Self::Requests)) => route,
            (None, _) => Self::Unknown,
        }
    }

    /// Where faults can strike; the simulator's own pages are spared.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Paid(_) | Self::Generate(_) | Self::Embed(_) | Self::Invoke(..) => Some(Place::Sync),
            Self::Upload => Some(Place::Upload),
            Self::FileContent(_) => Some(Place::Content),
            Self::FileDelete(_) => Some(Place::Delete),
            Self::BatchCreate => Some(Place::Create),
            Self::Batches => Some(Place::List),
            Self::Batch(_) => Some(Place::Poll),
            Self::BatchCancel(_) => Some(Place::Cancel),
            Self::MessageBatches(ask) => Some(ask.place()),
            Self::Gemini(ask) => ask.place(),
            Self::Bedrock(ask) => ask.place(),
            Self::Vertex(ask) => ask.place(),
            Self::Own(own) => Some(own.place),
            Self::Models => Some(Place::Models),
            Self::Files | Self::File(_) | Self::Model(_) | Self::Bill | Self::Requests | Self::Unknown => {
                None
            }
        }
    }

    pub(super) fn is_simulators_own(&self) -> bool {
        matches!(self, Self::Bill | Self::Requests)
    }

    /// The name under which calls are counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Paid(Endpoint::Chat) => "POST /v1/chat/completions",
            Self::Paid(Endpoint::Responses) => "POST /v1/responses",
            Self::Paid(Endpoint::Embeddings) => "POST /v1/embeddings",
            Self::Paid(Endpoint::Moderations) => "POST /v1/moderations",
            Self::Paid(Endpoint::Images) => "POST /v1/images/generations",
            Self::Paid(Endpoint::Decisions) => "POST /v1/decisions",
            Self::Paid(Endpoint::Messages) => "POST /v1/messages",
            Self::Paid(Endpoint::Generate) | Self::Generate(_) => {
                "POST /v1beta/models/{model}:generateContent"
            }
            Self::Paid(Endpoint::Embed) | Self::Embed(_) => "POST /v1beta/models/{model}:batchEmbedContents",
            Self::Paid(Endpoint::Predict) => "POST publishers/google/models/{model}:predict",
            Self::Paid(Endpoint::Invoke | Endpoint::InvokeMessages)
            | Self::Invoke(Endpoint::Invoke | Endpoint::InvokeMessages, _) => "POST /model/{model}/invoke",
            Self::Paid(Endpoint::Converse) | Self::Invoke(..) => "POST /model/{model}/converse",
            Self::Upload => "POST /v1/files",
            Self::Files => "GET /v1/files",
            Self::File(_) => "GET /v1/files/{id}",
            Self::FileDelete(_) => "DELETE /v1/files/{id}",
            Self::FileContent(_) => "GET /v1/files/{id}/content",
            Self::BatchCreate => "POST /v1/batches",
            Self::Batches => "GET /v1/batches",
            Self::Batch(_) => "GET /v1/batches/{id}",
            Self::BatchCancel(_) => "POST /v1/batches/{id}/cancel",
            Self::MessageBatches(ask) => ask.label(),
            Self::Gemini(ask) => ask.label(),
            Self::Bedrock(ask) => ask.label(),
            Self::Vertex(ask) => ask.label(),
            Self::Own(own) => own.label,
            Self::Models => "GET /v1/models",
            Self::Model(_) => "GET /v1/models/{id}",
            Self::Bill => "GET /sim/bill",
            Self::Requests => "GET /sim/requests",
            Self::Unknown => "other",
        }
    }
}

/// The pairs of a query string, with `%XX` decoded.
pub(crate) fn query(text: Option<&str>) -> HashMap<String, String> {
    let pairs = text.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
}

pub(crate) fn decoded(text: &str) -> String {
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
                let value =
                    std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                out.push(value.unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let cases = [
            (Method::POST, "/v1/chat/completions", Route::Paid(Endpoint::Chat)),
            (Method::GET, "/v1/files/file-1/content", Route::FileContent("file-1".to_owned())),
            (Method::POST, "/v1/batches/b/cancel", Route::BatchCancel("b".to_owned())),
            (Method::GET, "/v1/batches", Route::Batches),
            (Method::GET, "/v1/batches/b/cancel", Route::Unknown),
            (Method::GET, "/v1/chat/completions", Route::Unknown),
            (Method::GET, "/v1/files/a/content/more", Route::Unknown),
            (Method::GET, "/sim/bill", Route::Bill),
            (Method::GET, "/", Route::Unknown),
        ];
        for (method, path, route) in cases {
            assert_eq!(Route::of(&method, path), route, "{method} {path}");
        }
    }

    #[test]
    fn the_model_of_a_call_stands_in_its_path() {
        let generate = |model: &str| Route::Generate(model.to_owned());
        for (method, path, route) in [
            (Method::POST, "/v1beta/models/gemini-2.5-flash:generateContent", generate("gemini-2.5-flash")),
            (Method::POST, "/v1/models/a%2Fb:generateContent", generate("a/b")),
            (
                Method::POST,
                "/v1/models/a:batchGenerateContent",
                Route::Gemini(gemini::Ask::Create(Endpoint::Generate, "a".to_owned())),
            ),
            (
                Method::POST,
                "/v1beta/models/a:asyncBatchEmbedContent",
                Route::Gemini(gemini::Ask::Create(Endpoint::Embed, "a".to_owned())),
            ),
            (Method::POST, "/v1beta/models/a:batchEmbedContents", Route::Embed("a".to_owned())),
            (Method::GET, "/v1beta/batches/b", Route::Gemini(gemini::Ask::Get("b".to_owned()))),
            (Method::POST, "/upload/v1/files", Route::Gemini(gemini::Ask::Upload)),
            (
                Method::GET,
                "/download/v1beta/files/f:download",
                Route::Gemini(gemini::Ask::Download("f".to_owned())),
            ),
            (Method::POST, "/v1/models/a:countTokens", Route::Unknown),
            (Method::POST, "/v2/models/a:generateContent", Route::Unknown),
            (Method::GET, "/v1beta/models", Route::Models),
            (Method::GET, "/v1/models/a", Route::Model("a".to_owned())),
            (Method::POST, "/v1/chat/completions", Route::Unknown),
            (Method::GET, "/sim/bill", Route::Bill),
        ] {
            assert_eq!(Route::of_gemini(&method, path), route, "{method} {path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = query(Some("after=batch%5F1&limit=2&x=a+b"));
        assert_eq!(
            (query["after"].as_str(), query["limit"].as_str(), query["x"].as_str()),
            ("batch_1", "2", "a b")
        );
    }
}
