//! One call from its head to its answer: authentication, faults before, the work, faults after.

use super::body::SimBody;
use super::route::{Route, query};
use super::{Reply, State, paid};
use crate::batches::{self, Created};
use crate::errors::ApiError;
use crate::faults::{Fault, Place};
use crate::files::{self, UPLOAD_BYTES_MAX};
use crate::like::Like;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BODY_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Multipart heads around the largest file.
const FORM_BYTES: usize = 64 * 1_024;

/// What a call ends with.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Reply),
    /// The connection closes without an answer.
    Closed,
}

/// A call that gets no answer: hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed by a fault")]
pub(super) struct Closed;

pub(super) async fn handle(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Closed> {
    let started = Instant::now();
    let path = request.uri().path();
    let route = match state.like {
        None => Route::of(request.method(), path),
        Some(like) => like.path(path).map_or(Route::Unknown, |path| Route::of(request.method(), &path)),
    };
    let (label, key) = (route.label(), state.keys.fresh());
    let outcome = if route.is_simulators_own() {
        Outcome::Reply(own(&state, &route))
    } else {
        struck(&state, route, request, key).await
    };
    match outcome {
        Outcome::Reply(reply) => {
            let reply = match state.like {
                Some(like) => like.error(reply),
                None => reply,
            };
            state.counts.add(label, reply.status);
            Ok(reply.finish(key, started.elapsed()))
        }
        Outcome::Closed => {
            state.counts.add(label, 0);
            Err(Closed)
        }
    }
}

fn own(state: &State, route: &Route) -> Reply {
    match route {
        Route::Bill => Reply::bytes(200, state.bill.json(&state.models.models)),
        _ => Reply::of(&state.counts.json()),
    }
}

/// Authentication and the faults around the work.
async fn struck(state: &Arc<State>, route: Route, request: Request<Incoming>, key: u64) -> Outcome {
    if let Err(error) = authenticate(state, &request) {
        return Outcome::Reply(Reply::error(&error));
    }
    let Some(place) = route.place().filter(|_| !state.faults.none()) else {
        return work(state, route, request, key).await;
    };
    if let Some(outcome) = before(state, place, key) {
        return outcome;
    }
    match work(state, route, request, key).await {
        Outcome::Reply(reply) => after(state, place, reply).await,
        Outcome::Closed => Outcome::Closed,
    }
}

fn authenticate(state: &State, request: &Request<Incoming>) -> Result<(), ApiError> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let key = given.strip_prefix("Bearer ").unwrap_or_default().trim();
    if key.is_empty() && state.config.api_key.is_none() && state.like.is_some_and(Like::answers_without_key) {
        return Ok(());
    }
    if key.is_empty() {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        return Err(ApiError::new(401, "invalid_request_error", None, message));
    }
    if state.config.api_key.as_deref().is_some_and(|known| known != key) {
        let shown: String = key.chars().take(3).collect();
        let message = format!(
            "Incorrect API key provided: {shown}***. You can find your API key at https://platform.openai.com/account/api-keys."
        );
        return Err(ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message));
    }
    Ok(())
}

/// Faults that strike before anything is carried out.
fn before(state: &State, place: Place, key: u64) -> Option<Outcome> {
    let hit = |fault| state.faults.hit(fault, place);
    if let Some(secs) = state.faults.hit_value(Fault::Vanish, place) {
        state.vanish(secs.unwrap_or(2.0));
        return Some(Outcome::Closed);
    }
    if hit(Fault::ResetEarly) {
        return Some(Outcome::Closed);
    }
    if hit(Fault::Revoked) {
        let message = "Incorrect API key provided: it was revoked.";
        let error = ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message);
        return Some(Outcome::Reply(Reply::error(&error)));
    }
    let pick = state.faults.pick(key);
    if hit(Fault::FiveXx) {
        return Some(Outcome::Reply(match pick % 3 {
            0 => Reply::error(&ApiError::server()),
            1 => Reply::html(502, "Bad Gateway"),
            _ => Reply::error(&overloaded()),
        }));
    }
    if hit(Fault::Overloaded) {
        return Some(Outcome::Reply(if pick & 1 == 0 {
            Reply::error(&overloaded())
        } else {
            Reply::html(529, "Site is overloaded")
        }));
    }
    if !matches!(place, Place::Sync | Place::Create) {
        return None;
    }
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    let refusals = [
        (
            Fault::TooMany,
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached for requests. Please try again in 20ms.",
        ),
        (Fault::SlowDown, "rate_limit_error", "slow_down", "Slow down: your traffic rose too fast."),
        (Fault::Quota, "insufficient_quota", "insufficient_quota", quota),
    ];
    let (fault, kind, code, message) = refusals.into_iter().find(|(fault, ..)| hit(*fault))?;
    let mut error = ApiError::new(429, kind, Some(code), message);
    if fault != Fault::Quota {
        error.retry_after = Some(Duration::from_millis(20));
    }
    Some(Outcome::Reply(Reply::error(&error)))
}

fn overloaded() -> ApiError {
    let message = "The server is currently overloaded. Please try again later.";
    ApiError::new(503, "service_unavailable_error", Some("server_is_overloaded"), message)
}

/// Faults that strike the answer of a call that was carried out.
async fn after(state: &State, place: Place, reply: Reply) -> Outcome {
    let hit = |fault| state.faults.hit(fault, place);
    if hit(Fault::Slow) {
        tokio::time::sleep(Duration::from_millis(state.config.slow_ms)).await;
    }
    if hit(Fault::Reset) || place == Place::Upload && hit(Fault::UploadLost) {
        return Outcome::Closed;
    }
    if hit(Fault::Html) {
        return Outcome::Reply(Reply::html(200, "Just a moment..."));
    }
    if hit(Fault::Malformed) {
        return Outcome::Reply(Reply::bytes(200, &b"{\"id\": \"chatcmpl-1\", \"choices\": [{\"mess"[..]));
    }
    if hit(Fault::CutBody) {
        return Outcome::Reply(reply.cut());
    }
    Outcome::Reply(if hit(Fault::Trickle) { reply.trickle() } else { reply })
}

async fn work(state: &Arc<State>, route: Route, request: Request<Incoming>, key: u64) -> Outcome {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Route::Paid(endpoint) = route {
        return match read(body, BODY_BYTES_MAX).await {
            Ok(body) => paid::answer(state, endpoint, &body, text("x-client-request-id"), key).await,
            Err(outcome) => outcome,
        };
    }
    let limit = if route == Route::Upload { UPLOAD_BYTES_MAX + FORM_BYTES } else { BODY_BYTES_MAX };
    let body = match read(body, limit).await {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    let hit = |fault| state.faults.hit(fault, Place::Content);
    let query = query(head.uri.query());
    let result = match &route {
        Route::Upload => files::upload(state, text("content-type").unwrap_or_default(), &body),
        Route::Files => files::list(state, &query),
        Route::File(id) => files::retrieve(state, id),
        Route::FileDelete(id) => files::delete(state, id),
        Route::FileContent(id) => files::content(state, id, hit(Fault::FileGone), hit(Fault::CutTail)),
        Route::BatchCreate => match batches::create(state, &body) {
            Ok(Created::Lost) => return Outcome::Closed,
            Ok(Created::Answer(reply)) => Ok(reply),
            Err(error) => Err(error),
        },
        Route::Batches => batches::list(state, &query),
        Route::Batch(id) => batches::retrieve(state, id),
        Route::BatchCancel(id) => batches::cancel(state, id),
        Route::Models => Ok(models(state)),
        Route::Model(id) => state.models.find(id).map(|_| Reply::of(&model(id))),
        Route::Paid(_) | Route::Bill | Route::Requests | Route::Unknown => {
            Err(ApiError::unknown_url(head.method.as_str(), head.uri.path()))
        }
    };
    Outcome::Reply(result.unwrap_or_else(|error| Reply::error(&error)))
}

/// Reads a body into one piece, without a copy when it came in one.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Outcome> {
    let too_large = || {
        Outcome::Reply(Reply::error(&ApiError::new(
            413,
            "invalid_request_error",
            None,
            "Maximum content size limit exceeded.",
        )))
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        // The client went away in the middle of its request.
        let Ok(data) = frame.map_err(|_| ()).and_then(|frame| frame.into_data().map_err(|_| ())) else {
            return Err(Outcome::Closed);
        };
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.reserve(announced);
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
        if joined.len() > limit {
            return Err(too_large());
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

fn model(id: &str) -> serde_json::Value {
    serde_json::json!({"id": id, "object": "model", "created": 1_790_000_000, "owned_by": "system"})
}

fn models(state: &State) -> Reply {
    let data: Vec<serde_json::Value> = state.models.names().into_iter().map(model).collect();
    Reply::of(&serde_json::json!({"object": "list", "data": data}))
}
