//! An answer before it becomes HTTP.

use super::body::SimBody;
use crate::config::Speaks;
use crate::errors::ApiError;
use crate::limits::{Headroom, Left, go_duration};
use crate::rng::push_hex;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;

/// Status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Payload,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Whole(Bytes),
    /// Length, if it is told, and pieces.
    Pieces(Option<u64>, mpsc::Receiver<std::io::Result<Bytes>>),
}

const JSON: &str = "application/json";

impl Reply {
    pub(crate) fn bytes(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: Some(JSON), headers: Vec::new(), body: Payload::Whole(body.into()) }
    }

    /// A status, and nothing else.
    pub(crate) fn empty(status: u16) -> Self {
        Self { content_type: None, ..Self::bytes(status, "") }
    }

    pub(crate) fn of<T: Serialize>(value: &T) -> Self {
        Self::bytes(200, serde_json::to_vec_pretty(value).unwrap_or_default())
    }

    pub(crate) fn pieces(status: u16, length: u64, pieces: mpsc::Receiver<std::io::Result<Bytes>>) -> Self {
        Self {
            status,
            content_type: Some(JSON),
            headers: Vec::new(),
            body: Payload::Pieces(Some(length), pieces),
        }
    }

    /// A page of a proxy in front of the API.
    pub(crate) fn html(status: u16, title: &str) -> Self {
        let page = format!(
            "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
        );
        let mut reply = Self::bytes(status, page);
        reply.content_type = Some("text/html; charset=UTF-8");
        reply
    }

    pub(crate) fn error(error: &ApiError) -> Self {
        let mut body = Vec::with_capacity(256);
        error.write(&mut body);
        let mut reply = Self::bytes(error.status, body);
        if let Some(wait) = error.retry_after {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            reply.header("retry-after-ms", &ms.to_string());
            reply.header("retry-after", &ms.div_ceil(1_000).to_string());
        }
        reply
    }

    /// The body, where it is in one piece.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match &self.body {
            Payload::Whole(bytes) => Some(bytes),
            Payload::Pieces(..) => None,
        }
    }

    /// What OpenAI's API would say is wrong, where it says so.
    pub(crate) fn said_error(&self) -> Option<Value> {
        let body = self.whole().filter(|_| self.status >= 400)?;
        let mut said = serde_json::from_slice::<Value>(body).ok()?;
        // A batch may have an error among its own fields.
        said.get_mut("error").map(Value::take).filter(|_| said["object"] != "batch")
    }

    pub(crate) fn with_body(self, body: Bytes) -> Self {
        Self { body: Payload::Whole(body), ..self }
    }

    /// Adds a header; an impossible value is left out.
    pub(crate) fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
    }

    pub(crate) fn headroom(&mut self, headroom: &Headroom) {
        let mut add = |names: [&'static str; 3], left: Left| {
            self.header(names[0], itoa::Buffer::new().format(left.limit));
            self.header(names[1], itoa::Buffer::new().format(left.remaining));
            self.header(names[2], &go_duration(left.reset));
        };
        if let Some(left) = headroom.requests {
            add(
                [
                    "x-ratelimit-limit-requests",
                    "x-ratelimit-remaining-requests",
                    "x-ratelimit-reset-requests",
                ],
                left,
            );
        }
        if let Some(left) = headroom.tokens {
            add(
                ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
                left,
            );
        }
    }

    /// Keeps the announced length, sends half (of the first piece), waits, and breaks off.
    pub(crate) fn cut(self, silence: Duration, end: std::io::ErrorKind) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let (length, first) = match self.body {
            Payload::Whole(bytes) => (Some(bytes.len() as u64), Ok(bytes)),
            Payload::Pieces(length, pieces) => (length, Err(pieces)),
        };
        tokio::spawn(async move {
            let first = match first {
                Ok(bytes) => Some(Ok(bytes)),
                Err(mut pieces) => pieces.recv().await,
            };
            if let Some(Ok(piece)) = first {
                let _ = sender.send(Ok(piece.slice(..piece.len() / 2))).await;
            }
            // An error that comes at once would take the unsent half with it.
            tokio::time::sleep(silence).await;
            let _ = sender.send(Err(end.into())).await;
        });
        Self { body: Payload::Pieces(length, receiver), ..self }
    }

    /// Sends the body in so many pieces, one per `pause`.
    pub(crate) fn trickle(self, pieces: usize, pause: Duration) -> Self {
        let Payload::Whole(bytes) = self.body else { return self };
        let (sender, receiver) = mpsc::channel(1);
        let whole = bytes.clone();
        tokio::spawn(async move {
            let step = (whole.len() / pieces).max(1);
            for start in (0..whole.len()).step_by(step) {
                tokio::time::sleep(pause).await;
                let piece = whole.slice(start..whole.len().min(start + step));
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
        });
        Self { body: Payload::Pieces(Some(bytes.len() as u64), receiver), ..self }
    }

    /// Announces twice the body and closes after it, or announces half of it.
    pub(crate) fn lie(self, long: bool) -> Self {
        let Payload::Whole(bytes) = self.body else {
            return if long { self.cut(Duration::ZERO, std::io::ErrorKind::UnexpectedEof) } else { self };
        };
        let (sender, receiver) = mpsc::channel(2);
        let length = bytes.len() as u64;
        tokio::spawn(async move {
            let _ = sender.send(Ok(bytes)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = sender.send(Err(std::io::ErrorKind::UnexpectedEof.into())).await;
        });
        Self { body: Payload::Pieces(Some(if long { length * 2 } else { length / 2 }), receiver), ..self }
    }

    /// The same body under another content type, or none.
    pub(crate) fn of_type(self, content_type: Option<&'static str>) -> Self {
        Self { content_type, ..self }
    }

    /// These pieces instead of the body, as gzip.
    pub(crate) fn bomb(mut self, pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for piece in pieces {
                if sender.send(Ok(piece)).await.is_err() {
                    return; // the client has had enough
                }
            }
        });
        self.header("content-encoding", "gzip");
        Self { body: Payload::Pieces(None, receiver), ..self }
    }

    /// The HTTP response, with the headers that every answer has.
    pub(crate) fn finish(self, speaks: Speaks, key: u64, took: Duration) -> Response<SimBody> {
        let (body, length) = match self.body {
            Payload::Whole(bytes) => (SimBody::Whole(bytes), None),
            Payload::Pieces(length, pieces) => (SimBody::Pieces(pieces), length),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Some(kind) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        match speaks {
            Speaks::OpenAi => openai_headers(headers, key, took),
            Speaks::Anthropic => crate::anthropic::headers(headers, key),
            Speaks::Gemini | Speaks::Vertex => crate::gemini::headers(headers),
            Speaks::Bedrock => crate::bedrock::headers(headers, key),
        }
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

fn openai_headers(headers: &mut HeaderMap, key: u64, took: Duration) {
    let mut id = b"req_".to_vec();
    push_hex(&mut id, key, 32);
    if let Ok(id) = HeaderValue::from_bytes(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.insert(
        HeaderName::from_static("openai-processing-ms"),
        HeaderValue::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    );
    headers.insert(HeaderName::from_static("openai-version"), HeaderValue::from_static("2020-10-01"));
    headers.insert(HeaderName::from_static("openai-organization"), HeaderValue::from_static("org-sim"));
}
