//! Sync calls: limits, faults, the answer, the bill.

use super::call::Outcome;
use super::{Reply, State};
use crate::anthropic;
use crate::api::{Endpoint, Twist, prepare};
use crate::bedrock;
use crate::bill::{Sums, cost, usd};
use crate::catalogue::Lane;
use crate::config::Speaks;
use crate::errors::ApiError;
use crate::faults::{Fault, Place};
use crate::limits::Headroom;
use crate::rng::{mix, unit};
use std::time::Duration;

/// Answers one call; `asked`: its endpoint, and the model where the path names it. It is billed as soon as it is answered, whatever happens to the answer on its way.
pub(super) async fn answer(
    state: &State,
    asked: (Endpoint, Option<&str>),
    body: &[u8],
    client: Option<&str>,
    key: u64,
) -> Outcome {
    let (reply, wait) = immediate(state, asked, body, client, key);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Outcome::Reply(reply)
}

fn immediate(
    state: &State,
    (endpoint, named): (Endpoint, Option<&str>),
    body: &[u8],
    client: Option<&str>,
    key: u64,
) -> (Reply, Duration) {
    let refused = |error: &ApiError, headroom: Headroom| {
        let mut reply = Reply::error(error);
        headers(state, &mut reply, &headroom);
        (reply, Duration::ZERO)
    };
    let asked = body;
    let translated =
        match state.like.filter(|_| endpoint == Endpoint::Chat).map(|like| like.chat(body)).transpose() {
            Ok(translated) => translated,
            Err(error) => return refused(&error, Headroom::default()),
        };
    let body = translated.as_deref().unwrap_or(body);
    let prepared = match prepare(&state.models, endpoint, named, body, false) {
        Ok(prepared) => prepared,
        Err(error) => return refused(&error, Headroom::default()),
    };
    let headroom = match state.limits.admit(prepared.model.index, &prepared.served, prepared.token_estimate())
    {
        Ok(headroom) => headroom,
        Err(refusal) => return refused(&refusal.error, refusal.left),
    };
    if prepared.lane == Lane::Flex && state.faults.hit(Fault::Flex, Place::Sync) {
        let mut error =
            ApiError::new(429, "rate_limit_error", Some("resource_unavailable"), "Resource Unavailable");
        error.retry_after = Some(Duration::from_millis(500));
        return refused(&error, headroom);
    }
    let twist = Twist::of(|fault| state.faults.call(fault, Place::Sync), key);
    if let Some(error) = filtered(state, twist, key) {
        return refused(&error, headroom);
    }
    let wait = latency(state, key);
    let context = state.context(key, state.clock.now_ms(), twist, wait);
    let mut out = Vec::with_capacity(1_024);
    let usage = match prepared.answer(&context, &mut out) {
        Ok(usage) => usage,
        Err(error) => return refused(&error, headroom),
    };
    let usd_nanos = cost(prepared.model, prepared.lane, usage);
    let mut sums = Sums::default();
    let times = if state.faults.hit(Fault::Twice, Place::Sync) { 2 } else { 1 };
    (0..times).for_each(|_| sums.add(usage, usd_nanos));
    state.bill.charge(
        prepared.model,
        prepared.lane,
        sums,
        None,
        client.filter(|_| state.config.bill_by_client),
    );
    let mut reply = Reply::bytes(200, out);
    if let Some(like) = state.like.filter(|_| endpoint == Endpoint::Chat) {
        reply = like.answered(asked, reply, usd_nanos);
    }
    if matches!(endpoint, Endpoint::Invoke | Endpoint::InvokeMessages) && twist != Twist::UsageMissing {
        bedrock::tell_tokens(&mut reply, usage);
    }
    headers(state, &mut reply, &headroom);
    if let Some(name) = &state.config.cost_header {
        let bad = state.faults.call(Fault::CostBad, Place::Sync);
        let values = match bad.map(|hit| hit.word_or(key)) {
            Some("nan") => vec!["NaN".to_owned()],
            Some("words") => vec!["a dime".to_owned()],
            Some(_) => vec![usd(usd_nanos), usd(usd_nanos * 2)],
            None => vec![usd(usd_nanos)],
        };
        for value in values {
            let pair = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value));
            if let (Ok(name), Ok(value)) = pair {
                reply.headers.push((name, value));
            }
        }
    }
    (reply, wait)
}

/// A prompt that never reaches the model: nothing is paid.
pub(crate) fn filtered(state: &State, twist: Twist, key: u64) -> Option<ApiError> {
    state.manners().filter(|_| twist == Twist::Refusal)?.filtered(key)
}

fn headers(state: &State, reply: &mut Reply, headroom: &Headroom) {
    match state.config.speaks {
        Speaks::OpenAi => reply.headroom(headroom),
        Speaks::Anthropic => anthropic::headroom(reply, headroom),
        Speaks::Gemini | Speaks::Vertex | Speaks::Bedrock => {} // they say nothing of limits before one is met
    }
}

/// Log-normal around the median.
fn latency(state: &State, key: u64) -> Duration {
    let median = state.config.latency_ms;
    if median <= 0.0 {
        return Duration::ZERO;
    }
    let (u, v) = (unit(mix(key ^ 0x1A7E)).max(1e-12), unit(mix(key ^ 0xBEEF)));
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    Duration::from_secs_f64((median * (state.config.latency_sigma * normal).exp() / 1_000.0).min(3_600.0))
}
