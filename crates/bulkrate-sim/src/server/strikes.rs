//! Faults around a call: what strikes before it is carried out, and what becomes of its answer.

use super::call::Outcome;
use super::{Reply, State};
use crate::config::Speaks;
use crate::errors::ApiError;
use crate::faults::{Fault, Place};
use std::time::Duration;

/// Faults that strike before anything is carried out.
pub(super) fn before(state: &State, place: Place, key: u64) -> Option<Outcome> {
    let hit = |fault| state.faults.hit(fault, place);
    if let Some(hit) = state.faults.call(Fault::Vanish, place) {
        state.vanish(hit.amount_or(2.0));
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
    // Vertex's bucket says it in words of its own.
    let in_bucket = place == Place::Content && state.config.speaks == Speaks::Vertex;
    if !in_bucket && hit(Fault::Forbidden) {
        let message = "The caller does not have permission.";
        return Some(Outcome::Reply(Reply::error(&ApiError::new(403, "PERMISSION_DENIED", None, message))));
    }
    if hit(Fault::ExpiredKey) {
        state.access.revoke();
        let message = "Your API key has expired. Create a new one.";
        let error = ApiError::new(401, "invalid_request_error", Some("expired_api_key"), message);
        return Some(Outcome::Reply(Reply::error(&error)));
    }
    if hit(Fault::Redirect) {
        let mut reply = Reply::html(307, "Temporary Redirect");
        reply.header("location", "http://elsewhere.invalid/v1/");
        return Some(Outcome::Reply(reply));
    }
    let pick = state.faults.pick(key);
    if let Some(hit) = state.faults.call(Fault::FiveXx, place) {
        return Some(Outcome::Reply(gateway(hit.word_or(pick))));
    }
    if hit(Fault::Overloaded) {
        return Some(Outcome::Reply(gateway(if pick & 1 == 0 { "503" } else { "529" })));
    }
    if place == Place::Content && state.dark(Fault::Unreadable, place, 48.0 * 3_600.0, 3_600.0) {
        return Some(Outcome::Reply(Reply::error(&overloaded())));
    }
    if !matches!(place, Place::Sync | Place::Create) {
        return None;
    }
    refusal(state, place, pick)
}

/// A 429 of some kind, before anything is carried out.
fn refusal(state: &State, place: Place, pick: u64) -> Option<Outcome> {
    let hit = |fault| state.faults.hit(fault, place);
    let limited = |kind, code, message| ApiError::new(429, kind, Some(code), message);
    if hit(Fault::Quota) {
        let message = "You exceeded your current quota, please check your plan and billing details.";
        let error = limited("insufficient_quota", "insufficient_quota", message);
        return Some(Outcome::Reply(Reply::error(&error)));
    }
    let slow = || limited("rate_limit_error", "slow_down", "Slow down: your traffic rose too fast.");
    let many = || {
        let message = "Rate limit reached for requests. Please try again in 20ms.";
        limited("requests", "rate_limit_exceeded", message)
    };
    let form = state.faults.call(Fault::TooMany, place);
    let storm = state.dark(Fault::Storm, place, 1_800.0, 1.0);
    let mut error = match (hit(Fault::SlowDown), form.is_some() || storm) {
        (true, _) => slow(),
        (false, true) => many(),
        (false, false) => return None,
    };
    error.retry_after = Some(Duration::from_millis(20));
    let Some(word) = form.and_then(|form| form.word) else {
        return Some(Outcome::Reply(Reply::error(&error)));
    };
    error.retry_after = None;
    let mut reply = Reply::error(&error);
    let value = match word {
        "date" => Some(later(state, 1 + pick % 2)),
        "negative" => Some("-5".to_owned()),
        "huge" => Some("1000000000".to_owned()),
        "seconds" => Some("1".to_owned()),
        _ => None,
    };
    if let Some(value) = value {
        reply.header("retry-after", &value);
    }
    Some(Outcome::Reply(reply))
}

/// An HTTP date so many seconds from now.
fn later(state: &State, secs: u64) -> String {
    let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = real.map_or(state.clock.now(), |since| since.as_secs());
    let at = i64::try_from(now + secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// An error of the API, or of a gateway before it.
fn gateway(status: &str) -> Reply {
    match status {
        "502" => Reply::html(502, "Bad Gateway"),
        "503" => Reply::error(&overloaded()),
        "504" => Reply::html(504, "Gateway Time-out"),
        "529" => Reply::html(529, "Site is overloaded"),
        _ => Reply::error(&ApiError::server()),
    }
}

fn overloaded() -> ApiError {
    let message = "The server is currently overloaded. Please try again later.";
    ApiError::new(503, "service_unavailable_error", Some("server_is_overloaded"), message)
}

/// Faults that strike the answer of a call that was carried out.
pub(super) async fn after(state: &State, place: Place, reply: Reply, key: u64) -> Outcome {
    let hit = |fault| state.faults.hit(fault, place);
    let how = |fault| state.faults.call(fault, place);
    let pick = state.faults.pick(key ^ 11);
    if hit(Fault::Slow) {
        tokio::time::sleep(Duration::from_millis(state.config.slow_ms)).await;
    }
    if hit(Fault::Reset) {
        return Outcome::Reset;
    }
    if place == Place::Upload && hit(Fault::UploadLost) {
        return Outcome::Closed;
    }
    if let Some(hit) = how(Fault::Html) {
        return Outcome::Reply(match hit.word {
            Some("502") => Reply::html(502, "Bad Gateway"),
            _ => Reply::html(200, "Just a moment..."),
        });
    }
    if hit(Fault::Malformed) {
        return Outcome::Reply(Reply::bytes(200, &b"{\"id\": \"chatcmpl-1\", \"choices\": [{\"mess"[..]));
    }
    if let Some(hit) = how(Fault::Bomb) {
        return Outcome::Reply(reply.bomb(super::bomb::pieces(hit.amount_or(1_000.0))));
    }
    if hit(Fault::CutBody) {
        return Outcome::Reply(reply.cut(Duration::from_millis(20), std::io::ErrorKind::UnexpectedEof));
    }
    if let Some(hit) = how(Fault::Stall) {
        let silence = Duration::from_secs_f64(hit.amount_or(30.0).min(86_400.0));
        return Outcome::Reply(reply.cut(silence, std::io::ErrorKind::ConnectionReset));
    }
    if let Some(hit) = how(Fault::Length) {
        return Outcome::Reply(reply.lie(hit.word_or(pick) == "long"));
    }
    let reply = match how(Fault::ContentType) {
        Some(hit) => reply.of_type(match hit.word_or(pick) {
            "wrong" => Some("text/plain"),
            _ => None,
        }),
        None => reply,
    };
    Outcome::Reply(match how(Fault::Trickle) {
        Some(hit) if hit.word.is_some() => reply.trickle(usize::MAX, Duration::from_secs(1)),
        Some(_) => reply.trickle(32, Duration::from_millis(20)),
        None => reply,
    })
}
