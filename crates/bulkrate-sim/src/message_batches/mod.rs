//! Anthropic's Message Batches: create, look, list, cancel, delete, results. A task per batch takes it to its end in virtual time.

mod read;
mod run;
mod store;

use crate::anthropic;
use crate::batches::{self, Listing};
use crate::errors::{ApiError, invalid};
use crate::faults::{Fault, Place};
use crate::files::page_size;
use crate::server::{Reply, State};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
pub(crate) use store::MessageBatches;
use store::{Batch, Status};

/// The longest body of a create.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 20;
const ROOT: &str = "/v1/messages/batches";

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Create,
    List,
    Get(String),
    Cancel(String),
    Delete(String),
    Results(String),
}

impl Ask {
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        let mut parts = rest.split('/').skip(1);
        let part = (parts.next().map(str::to_owned), parts.next(), parts.next());
        Some(match (method.as_str(), rest.is_empty() || rest.starts_with('/'), part) {
            ("POST", true, (None, ..)) => Self::Create,
            ("GET", true, (None, ..)) => Self::List,
            ("GET", true, (Some(id), None, _)) => Self::Get(id),
            ("DELETE", true, (Some(id), None, _)) => Self::Delete(id),
            ("POST", true, (Some(id), Some("cancel"), None)) => Self::Cancel(id),
            ("GET", true, (Some(id), Some("results"), None)) => Self::Results(id),
            _ => return None,
        })
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Create => Place::Create,
            Self::List => Place::List,
            Self::Get(_) => Place::Poll,
            Self::Cancel(_) => Place::Cancel,
            Self::Delete(_) => Place::Delete,
            Self::Results(_) => Place::Content,
        }
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Create => "POST /v1/messages/batches",
            Self::List => "GET /v1/messages/batches",
            Self::Get(_) => "GET /v1/messages/batches/{id}",
            Self::Cancel(_) => "POST /v1/messages/batches/{id}/cancel",
            Self::Delete(_) => "DELETE /v1/messages/batches/{id}",
            Self::Results(_) => "GET /v1/messages/batches/{id}/results",
        }
    }
}

/// The answer; `None`: the connection closes without one.
pub(crate) fn answer(
    state: &Arc<State>,
    ask: &Ask,
    headers: &HeaderMap,
    query: &HashMap<String, String>,
    body: Bytes,
) -> Result<Option<Reply>, ApiError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    match ask {
        Ask::Create => create(state, headers, host, body),
        Ask::List => list(state, host, query).map(Some),
        Ask::Get(id) => {
            let batch = find(state, id)?;
            if state.faults.hit(Fault::Gone, Place::Poll) {
                return Err(unknown(id));
            }
            Ok(Some(Reply::of(&batch.view(state, host, true))))
        }
        Ask::Cancel(id) => cancel(state, host, id).map(Some),
        Ask::Delete(id) => delete(state, id).map(Some),
        Ask::Results(id) => results(state, id).map(Some),
    }
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("Message batch {id} not found."))
}

fn find(state: &State, id: &str) -> Result<Arc<Batch>, ApiError> {
    state.message_batches.get(id).ok_or_else(|| unknown(id))
}

fn create(
    state: &Arc<State>,
    headers: &HeaderMap,
    host: &str,
    body: Bytes,
) -> Result<Option<Reply>, ApiError> {
    let orders = read::orders(&body)?;
    if let Some(most) = state.config.queued_requests
        && state.message_batches.waiting(state.clock.now_ms()) + orders.len() as u64 > most
    {
        let message = format!("Number of requests in the batch queue would exceed your limit of {most}.");
        return Err(ApiError::new(429, "rate_limit_error", None, message));
    }
    let work = run::Work { body, orders: orders.into(), samples: anthropic::knows_sampling(headers) };
    if state.faults.hit(Fault::CreateLate, Place::Create) {
        // It carries all that it needs, so that nothing stops it.
        state.spawn_late(|state| drop(start(state, work)));
        return Ok(None);
    }
    Ok(batches::made(state, || start(state, work.clone()), |batch| batch.view(state, host, false)))
}

fn start(state: &Arc<State>, work: run::Work) -> Arc<Batch> {
    if state.faults.has(Fault::Foreign) {
        state.message_batches.add_foreign(state, work.orders.len());
    }
    let batch = state.message_batches.add(state, work.orders.len());
    let (owner, task) = (state.clone(), batch.clone());
    state.spawn(async move { run::drive(&owner, &task, work).await });
    batch
}

fn cancel(state: &State, host: &str, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    if !batch.ask_cancel(state.clock.now_ms()) {
        return Err(invalid("Batch cannot be canceled because it has already ended."));
    }
    Ok(Reply::of(&batch.view(state, host, false)))
}

fn delete(state: &State, id: &str) -> Result<Reply, ApiError> {
    if find(state, id)?.life().status != Status::Ended {
        return Err(invalid("Batch cannot be deleted while it is being processed; cancel it first."));
    }
    state.message_batches.remove(id);
    Ok(Reply::of(&json!({"id": id, "type": "message_batch_deleted"})))
}

fn results(state: &State, id: &str) -> Result<Reply, ApiError> {
    let batch = find(state, id)?;
    let hit = |fault| state.faults.hit(fault, Place::Content);
    let none = || ApiError::not_found(format!("Results of message batch {id} are not available."));
    if batch.is_archived(state.clock.now_ms()) || hit(Fault::FileGone) {
        return Err(none());
    }
    let lines = batch.life().results.clone().ok_or_else(none)?;
    let cut = match state.faults.call(Fault::CutTail, Place::Content) {
        Some(hit) if hit.word == Some("newline") => 1,
        Some(_) => 10,
        None => 0,
    };
    let lines = if hit(Fault::FileChanges) { rotated(&lines) } else { lines };
    let mut reply = Reply::bytes(200, lines.slice(..lines.len().saturating_sub(cut)));
    reply.content_type = Some("application/x-jsonl");
    Ok(reply)
}

/// The first line last.
fn rotated(lines: &Bytes) -> Bytes {
    let end = memchr::memchr(b'\n', lines).map_or(0, |at| at + 1);
    [&lines[end..], &lines[..end]].concat().into()
}

/// Newest first. `after_id`: older than that; `before_id`: those that are next newer.
fn list(state: &State, host: &str, query: &HashMap<String, String>) -> Result<Reply, ApiError> {
    let limit = page_size(query, 20, 1_000)?;
    let listing = Listing::of(state, query.contains_key("after_id"))?;
    let batches = state.message_batches.visible(state.clock.now_ms(), listing.lag_ms);
    let at = |id: &String| batches.iter().position(|batch| batch.id == *id);
    let (start, end) = match (query.get("after_id").filter(|_| !listing.repeats), query.get("before_id")) {
        (Some(after), _) => {
            let start = at(after).map_or(batches.len(), |at| at + 1);
            (start, start.saturating_add(limit))
        }
        (None, Some(before)) => {
            let end = at(before).unwrap_or(0);
            (end.saturating_sub(limit), end)
        }
        (None, None) => (0, limit),
    };
    let start = (start + usize::from(listing.skips)).min(batches.len());
    let page = &batches[start..end.clamp(start, batches.len())];
    let data: Vec<Value> = page.iter().map(|batch| batch.view(state, host, false)).collect();
    let has_more = match query.contains_key("before_id") {
        true => start > 0,
        false => start + page.len() < batches.len(),
    };
    Ok(Reply::of(&json!({
        "data": data,
        "has_more": has_more,
        "first_id": page.first().map(|batch| &batch.id),
        "last_id": page.last().map(|batch| &batch.id),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let id = || "msgbatch_1".to_owned();
        for (method, path, want) in [
            (Method::POST, "/v1/messages/batches", Some(Ask::Create)),
            (Method::GET, "/v1/messages/batches", Some(Ask::List)),
            (Method::GET, "/v1/messages/batches/msgbatch_1", Some(Ask::Get(id()))),
            (Method::DELETE, "/v1/messages/batches/msgbatch_1", Some(Ask::Delete(id()))),
            (Method::POST, "/v1/messages/batches/msgbatch_1/cancel", Some(Ask::Cancel(id()))),
            (Method::GET, "/v1/messages/batches/msgbatch_1/results", Some(Ask::Results(id()))),
            (Method::GET, "/v1/messages/batches/msgbatch_1/results/more", None),
            (Method::PUT, "/v1/messages/batches", None),
            (Method::POST, "/v1/messages/batchesque", None),
            (Method::POST, "/v1/messages", None),
        ] {
            assert_eq!(Ask::of(&method, path), want, "{method} {path}");
        }
    }
}
