//! One call from its head to its answer: authentication, faults before, the work, faults after.

use super::body::SimBody;
use super::route::{Route, query};
use super::{Reply, State, paid, strikes};
use crate::anthropic;
use crate::api::Endpoint;
use crate::batches;
use crate::bedrock;
use crate::config::Speaks;
use crate::errors::ApiError;
use crate::files::{self, UPLOAD_BYTES_MAX};
use crate::gemini;
use crate::like::{Call, Entered, Like, bearer};
use crate::message_batches;
use crate::pieces::Pieces;
use crate::uploads;
use crate::vertex;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

const BODY_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Multipart heads around the largest file.
const FORM_BYTES: usize = 64 * 1_024;

/// What a call ends with.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Reply),
    /// The connection closes without an answer.
    Closed,
    /// The same with a reset.
    Reset,
}

/// A call that gets no answer: hyper closes the connection, which `reset` turns into a reset.
#[derive(Debug, thiserror::Error)]
#[error("closed by a fault")]
pub(super) struct Closed {
    pub(super) reset: bool,
}

pub(super) async fn handle(
    state: Arc<State>,
    mut request: Request<Incoming>,
) -> Result<Response<SimBody>, Closed> {
    let started = Instant::now();
    let entered = enter(&state, &request);
    let path = request.uri().path();
    let route = match (state.config.speaks, &entered) {
        (Speaks::Anthropic, _) => Route::of_anthropic(request.method(), path),
        (Speaks::Gemini, _) => Route::of_gemini(request.method(), path),
        (Speaks::Bedrock, _) => Route::of_bedrock(request.method(), path),
        (Speaks::Vertex, _) => Route::of_vertex(request.method(), path, request.uri().query()),
        (Speaks::OpenAi, Ok(Entered { own: Some(own), .. })) => Route::Own(*own),
        (Speaks::OpenAi, Ok(Entered { path: Some(path), is_post: true, .. })) => {
            Route::of(&Method::POST, path)
        }
        (Speaks::OpenAi, Ok(Entered { path: Some(path), .. })) => Route::of(request.method(), path),
        (Speaks::OpenAi, _) => Route::Unknown,
    };
    let (label, of_s3, key) = (route.label(), route.is_s3(), state.keys.fresh());
    if state.config.speaks == Speaks::Anthropic {
        for (name, value) in anthropic::told(request.headers()) {
            state.counts.add_header(name, label, value);
        }
    }
    let outcome = match entered {
        Err(error) => Outcome::Reply(Reply::error(&error)),
        Ok(_) if route.is_simulators_own() => Outcome::Reply(own(&state, &route)),
        Ok(entered) => {
            request.extensions_mut().insert(entered.clone());
            match (struck(&state, route, request, key).await, state.manners()) {
                (Outcome::Reply(reply), Some(manners)) => Outcome::Reply(match entered.own {
                    Some(own) => manners.leave_own(own, reply),
                    None => manners.leave(&state, &entered, reply),
                }),
                (outcome, _) => outcome,
            }
        }
    };
    match outcome {
        Outcome::Reply(reply) => {
            let reply = match (state.config.speaks, state.like) {
                (Speaks::Anthropic, _) => anthropic::error(reply, key),
                (Speaks::Gemini, _) => gemini::error(reply),
                (Speaks::Bedrock, _) => bedrock::error(reply, of_s3),
                (Speaks::Vertex, _) => vertex::error(reply),
                (Speaks::OpenAi, Some(like)) => like.error(reply),
                (Speaks::OpenAi, None) => reply,
            };
            state.counts.add(label, reply.status);
            Ok(reply.finish(state.config.speaks, key, started.elapsed()))
        }
        Outcome::Closed | Outcome::Reset => {
            state.counts.add(label, 0);
            Err(Closed { reset: matches!(outcome, Outcome::Reset) })
        }
    }
}

/// The call in OpenAI's words.
fn enter(state: &State, request: &Request<Incoming>) -> Result<Entered, ApiError> {
    let path = request.uri().path();
    match (state.like, state.manners()) {
        (_, Some(manners)) => manners.enter(request.method(), path, &query(request.uri().query())),
        (Some(like), None) => Ok(Entered { path: like.path(path), ..Entered::default() }),
        (None, None) => Ok(Entered { path: Some(path.to_owned()), ..Entered::default() }),
    }
}

fn own(state: &State, route: &Route) -> Reply {
    match route {
        Route::Bill => Reply::bytes(200, state.bill.json(&state.models.models)),
        _ => Reply::of(&state.counts.json()),
    }
}

/// A call that only the service simulated has.
fn own_call(
    state: &Arc<State>,
    head: &http::request::Parts,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
    let call = Call { method, path, query, headers, body };
    state
        .manners()
        .map_or_else(|| Err(ApiError::not_found("Not found")), |manners| manners.serve(state, &call))
}

/// Authentication and the faults around the work.
async fn struck(state: &Arc<State>, route: Route, request: Request<Incoming>, key: u64) -> Outcome {
    if let Err(refusal) = authenticate(state, &request) {
        return unread(request, Outcome::Reply(refusal)).await;
    }
    let Some(place) = route.place().filter(|_| !state.faults.none()) else {
        return work(state, route, request, key).await;
    };
    if let Some(outcome) = strikes::before(state, place, key) {
        return unread(request, outcome).await;
    }
    match work(state, route, request, key).await {
        Outcome::Reply(reply) => strikes::after(state, place, reply, key).await,
        closed => closed,
    }
}

/// Takes the body of a call that is answered without it. Whatever is still to come of it when the answer leaves has hyper close the
/// connection, unannounced, under the client's next call.
async fn unread(request: Request<Incoming>, outcome: Outcome) -> Outcome {
    if matches!(outcome, Outcome::Reply(_)) {
        drop(read(request.into_body(), BODY_BYTES_MAX).await);
    }
    outcome
}

/// `Err` is the whole answer.
fn authenticate(state: &State, request: &Request<Incoming>) -> Result<(), Reply> {
    if state.config.speaks == Speaks::Vertex {
        let uri = request.uri();
        return vertex::admit(state, request.method(), uri.path(), uri.query(), request.headers());
    }
    knows_key(state, request).map_err(|error| Reply::error(&error))
}

fn knows_key(state: &State, request: &Request<Incoming>) -> Result<(), ApiError> {
    let known = state.config.api_key.as_deref();
    match state.config.speaks {
        Speaks::Anthropic => return anthropic::authenticate(known, request.headers()),
        Speaks::Gemini => return gemini::authenticate(known, request.headers(), request.uri().query()),
        // Signatures cover the body, which is not there yet.
        Speaks::Bedrock => return Ok(()),
        Speaks::OpenAi | Speaks::Vertex => {}
    }
    if request.extensions().get::<Entered>().is_some_and(|entered| entered.is_open) {
        return Ok(());
    }
    let headers = request.headers();
    let key = state.manners().map_or_else(|| bearer(headers), |manners| manners.key(headers));
    if key.is_empty() && state.config.api_key.is_none() && state.like.is_some_and(Like::answers_without_key) {
        return Ok(());
    }
    if key.is_empty() {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        return Err(ApiError::new(401, "invalid_request_error", None, message));
    }
    let token = state.manners().and_then(|manners| manners.holds(state, key));
    let is_known = || state.config.api_key.as_deref().is_none_or(|known| known == key);
    if !token.unwrap_or_else(is_known) {
        let shown: String = key.chars().take(3).collect();
        let message = format!(
            "Incorrect API key provided: {shown}***. You can find your API key at https://platform.openai.com/account/api-keys."
        );
        return Err(ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), message));
    }
    let named = headers.get("openai-project").and_then(|value| value.to_str().ok());
    if named.zip(state.config.project.as_deref()).is_some_and(|(named, own)| named != own) {
        let message = "OpenAI-Project header should match project for API key";
        return Err(ApiError::new(401, "invalid_request_error", Some("mismatched_project"), message));
    }
    Ok(())
}

async fn work(state: &Arc<State>, route: Route, request: Request<Incoming>, key: u64) -> Outcome {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = match &route {
        Route::Paid(endpoint) => Some((*endpoint, None)),
        Route::Generate(model) => Some((Endpoint::Generate, Some(model.as_str()))),
        Route::Embed(model) => Some((Endpoint::Embed, Some(model.as_str()))),
        Route::Invoke(endpoint, model) => Some((bedrock::endpoint(*endpoint, model), Some(model.as_str()))),
        _ => None,
    };
    if let Some(asked) = asked {
        let body = match read(body, BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        if let Err(error) = bedrock::let_in(state, &head, &body) {
            return Outcome::Reply(Reply::error(&error));
        }
        if let Err(error) = bedrock::check_tier(asked.0, &head.headers) {
            return Outcome::Reply(Reply::error(&error));
        }
        if state.config.speaks == Speaks::Anthropic
            && let Err(error) = anthropic::check_fields(anthropic::knows_sampling(&head.headers), &body)
        {
            return Outcome::Reply(Reply::error(&error));
        }
        let body = match head.extensions.get().and_then(|entered: &Entered| entered.model.as_deref()) {
            Some(model) => with_model(body, model),
            None => body,
        };
        return paid::answer(state, asked, &body, text("x-client-request-id"), key).await;
    }
    if let Route::Vertex(ask @ vertex::Ask::Call(_, model)) = &route {
        let body = match read(body, BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        let (endpoint, body) = match vertex::paid(ask, &head, &body) {
            Ok(asked) => asked,
            Err(error) => return Outcome::Reply(Reply::error(&error)),
        };
        let named = Some(model.as_str()).filter(|model| !model.is_empty());
        return match paid::answer(state, (endpoint, named), &body, text("x-client-request-id"), key).await {
            Outcome::Reply(reply) => Outcome::Reply(vertex::told(reply, &head.headers)),
            closed => closed,
        };
    }
    let limit = match &route {
        Route::Upload | Route::Gemini(gemini::Ask::Upload) | Route::Bedrock(_) => {
            UPLOAD_BYTES_MAX + FORM_BYTES
        }
        Route::Own(_) => UPLOAD_BYTES_MAX + FORM_BYTES,
        Route::Vertex(ask) if ask.uploads() => UPLOAD_BYTES_MAX + FORM_BYTES,
        Route::MessageBatches(_) => message_batches::BODY_BYTES_MAX,
        _ => BODY_BYTES_MAX,
    };
    let body = match read(body, limit).await {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    if let Err(error) = bedrock::let_in(state, &head, &body) {
        return Outcome::Reply(Reply::error(&error));
    }
    let own = head.extensions.get().and_then(|entered: &Entered| entered.query.clone());
    let query = own.unwrap_or_else(|| query(head.uri.query()));
    let result = match &route {
        Route::Upload => files::upload(state, text("content-type").unwrap_or_default(), &body),
        Route::Files => files::list(state, &query),
        Route::File(id) => files::retrieve(state, id),
        Route::FileDelete(id) => files::delete(state, id),
        Route::FileContent(id) => files::content(state, id, &files::Spoilt::drawn(state)),
        Route::Gemini(ask) => match of_gemini(state, ask, &head.headers, &query, &body).transpose() {
            Some(answer) => answer,
            None => return Outcome::Closed,
        },
        Route::Vertex(ask) => match vertex::answer(state, ask, &head, &query, &body).transpose() {
            Some(answer) => answer,
            None => return Outcome::Closed,
        },
        Route::Bedrock(ask) => match bedrock::answer(state, ask, &query, &body).transpose() {
            Some(answer) => answer,
            None => return Outcome::Closed,
        },
        Route::Own(_) => own_call(state, &head, &query, &body),
        Route::BatchCreate => match batches::create(state, &body, &query).transpose() {
            Some(made) => made,
            None => return Outcome::Closed,
        },
        Route::Batches => batches::list(state, &query),
        Route::Batch(id) => batches::retrieve(state, id),
        Route::BatchCancel(id) => batches::cancel(state, id),
        Route::MessageBatches(ask) => {
            match message_batches::answer(state, ask, &head.headers, &query, body).transpose() {
                Some(answer) => answer,
                None => return Outcome::Closed,
            }
        }
        Route::Models if state.config.speaks == Speaks::Anthropic => Ok(anthropic::models(&state.models)),
        Route::Model(id) if state.config.speaks == Speaks::Anthropic => anthropic::model(&state.models, id),
        Route::Models if state.config.speaks == Speaks::Gemini => Ok(gemini::models(&state.models, &query)),
        Route::Model(id) if state.config.speaks == Speaks::Gemini => gemini::model(&state.models, id),
        Route::Models => Ok(models(state)),
        Route::Model(id) => state.models.find(id).map(|_| Reply::of(&model(id))),
        Route::Paid(_)
        | Route::Generate(_)
        | Route::Embed(_)
        | Route::Invoke(..)
        | Route::Bill
        | Route::Requests
        | Route::Unknown => Err(ApiError::unknown_url(head.method.as_str(), head.uri.path())),
    };
    Outcome::Reply(result.unwrap_or_else(|error| Reply::error(&error)))
}

/// Gemini's free calls, and its create. `None`: the connection closes without an answer.
fn of_gemini(
    state: &Arc<State>,
    ask: &gemini::Ask,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    body: &Bytes,
) -> Result<Option<Reply>, ApiError> {
    use gemini::Ask;
    let nothing = || Reply::of(&serde_json::json!({}));
    match ask {
        Ask::Upload => uploads::upload(state, headers, query, body).map(Some),
        Ask::File(id) => uploads::retrieve(state, id).map(Some),
        Ask::FileDelete(id) if state.files.remove(id) => Ok(Some(nothing())),
        Ask::FileDelete(id) => Err(files::forbidden(id)),
        Ask::Download(id) => {
            let spoilt = files::Spoilt::drawn(state);
            uploads::is_downloadable(state, id)?;
            match spoilt.gone {
                true => Err(files::forbidden(id)),
                false => files::content(state, id, &spoilt).map(Some),
            }
        }
        Ask::Create(endpoint, model) => batches::create_of(state, *endpoint, model, body),
        Ask::List => batches::operations(state, query).map(Some),
        Ask::Get(id) => batches::retrieve(state, id).map(Some),
        Ask::Cancel(id) => batches::cancel(state, id).map(Some),
        Ask::Delete(id) => batches::forget(state, id).map(|()| Some(nothing())),
    }
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
    let mut pieces = Pieces::default();
    while let Some(frame) = body.frame().await {
        // The client went away in the middle of its request.
        let Ok(data) = frame.map_err(|_| ()).and_then(|frame| frame.into_data().map_err(|_| ())) else {
            return Err(Outcome::Closed);
        };
        pieces.add(data, announced);
        if pieces.len() > limit {
            return Err(too_large());
        }
    }
    Ok(pieces.take())
}

/// A body as if it named the model that its path names.
fn with_model(body: Bytes, model: &str) -> Bytes {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body) {
        Ok(mut fields) => {
            fields.insert("model".to_owned(), model.into());
            serde_json::to_vec(&fields).unwrap_or_default().into()
        }
        Err(_) => body,
    }
}

fn model(id: &str) -> serde_json::Value {
    serde_json::json!({"id": id, "object": "model", "created": 1_790_000_000, "owned_by": "system"})
}

fn models(state: &State) -> Reply {
    let data: Vec<serde_json::Value> = state.models.names().into_iter().map(model).collect();
    Reply::of(&serde_json::json!({"object": "list", "data": data}))
}
