//! A fast OpenAI-compatible server: one thread, a fixed plausible answer, latency and limits as asked for.
//!
//! It parses nothing of a body but its size, so that it costs as little as can be beside the client that is measured.

use crate::dice::Dice;
use crate::limits::Limits;
use crate::stats::{Stats, unix_ns};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// Port on 127.0.0.1; 0 takes a free one and prints it.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Median latency in milliseconds; 0 answers at once.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) latency_ms: f64,
    /// Deviation of the latency's logarithm.
    #[arg(long, default_value_t = 0.3)]
    pub(crate) sigma: f64,
    /// Requests per minute, enforced per second.
    #[arg(long)]
    pub(crate) rpm: Option<u64>,
    /// Tokens per minute, enforced per second.
    #[arg(long)]
    pub(crate) tpm: Option<u64>,
    /// Tokens charged for each call; 0 charges a quarter of the body's bytes.
    #[arg(long, default_value_t = 0)]
    pub(crate) tokens_per_call: u64,
    /// Text of every answer.
    #[arg(long, default_value = "positive")]
    pub(crate) answer: String,
}

#[derive(Debug)]
struct State {
    args: ServerArgs,
    body: Bytes,
    stats: Stats,
    limits: Limits,
    dice: Dice,
}

type Shared = Rc<RefCell<State>>;
type Answer = Response<Full<Bytes>>;

pub(crate) fn run(args: &ServerArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(args.clone()))
}

async fn serve(args: ServerArgs) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await.context("could not listen")?;
    println!("listening on http://{}/v1", listener.local_addr()?);
    let state = Rc::new(RefCell::new(State {
        body: answer_body(&args.answer).into(),
        stats: Stats::default(),
        limits: Limits::new(args.rpm, args.tpm, Instant::now()),
        dice: Dice::new(1),
        args,
    }));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok();
        state.borrow_mut().stats.connections += 1;
        let state = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(Rc::clone(&state), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            connection.await.ok(); // a client that hangs up is its own affair
        });
    }
}

async fn answer(state: Shared, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let arrived = unix_ns();
    let path = request.uri().path().to_owned();
    let size = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    Ok(match path.as_str() {
        "/stats" => json(serde_json::to_vec(&state.borrow().stats).unwrap_or_default().into()),
        "/reset" => {
            let mut state = state.borrow_mut();
            state.stats = Stats::default();
            state.limits = Limits::new(state.args.rpm, state.args.tpm, Instant::now());
            json(Bytes::from_static(b"{}"))
        }
        "/v1/chat/completions" | "/v1/responses" | "/v1/embeddings" => paid(&state, arrived, size).await,
        "/v1/models" => json(Bytes::from_static(br#"{"object":"list","data":[]}"#)),
        _ => status(
            StatusCode::NOT_FOUND,
            r#"{"error":{"message":"no such endpoint","type":"invalid_request_error","param":null,"code":null}}"#,
        ),
    })
}

async fn paid(shared: &Shared, arrived: u64, size: usize) -> Answer {
    let (body, latency, headers) = {
        let mut state = shared.borrow_mut();
        let state = &mut *state;
        if state.stats.first_unix_ns == 0 {
            state.stats.first_unix_ns = arrived;
        }
        let by_size = u64::try_from(size / 4).unwrap_or(u64::MAX);
        let tokens = if state.args.tokens_per_call > 0 { state.args.tokens_per_call } else { by_size };
        if let Err(wait) = state.limits.admit(tokens, Instant::now()) {
            state.stats.refused += 1;
            return refused(wait, &state.limits);
        }
        state.stats.answered += 1;
        state.stats.last_admitted_unix_ns = unix_ns();
        state.stats.tokens += tokens;
        state.stats.in_flight += 1;
        state.stats.in_flight_max = state.stats.in_flight_max.max(state.stats.in_flight);
        let latency_ms = if state.args.latency_ms > 0.0 {
            state.dice.log_normal(state.args.latency_ms, state.args.sigma)
        } else {
            0.0
        };
        state.stats.latency_secs += latency_ms / 1e3;
        (state.body.clone(), Duration::from_secs_f64(latency_ms / 1e3), state.limits.headers())
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut stats = shared.borrow_mut();
    stats.stats.in_flight -= 1;
    stats.stats.last_unix_ns = unix_ns();
    with_headers(json(body), &headers)
}

fn refused(wait: Duration, limits: &Limits) -> Answer {
    let ms = wait.as_millis().max(1);
    let text = format!(
        r#"{{"error":{{"message":"Rate limit reached for the benchmark on tokens per min (TPM) or requests per min (RPM). Please try again in {ms}ms.","type":"requests","param":null,"code":"rate_limit_exceeded"}}}}"#
    );
    let mut headers = limits.headers();
    headers.push(("retry-after-ms", ms.to_string()));
    with_headers(status(StatusCode::TOO_MANY_REQUESTS, text), &headers)
}

fn with_headers(mut answer: Answer, headers: &[(&'static str, String)]) -> Answer {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

fn json(body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert("x-request-id", HeaderValue::from_static("req_bench"));
    answer
}

fn status(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = json(text.into());
    *answer.status_mut() = code;
    answer
}

/// A chat completion of the size that providers send.
fn answer_body(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        r#"{{"id":"chatcmpl-bench0000000000000000000","object":"chat.completion","created":1790000000,"model":"gpt-6-luna","choices":[{{"index":0,"message":{{"role":"assistant","content":{text},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":128,"completion_tokens":2,"total_tokens":130,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_bench"}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_json_with_usage() {
        let body: serde_json::Value = serde_json::from_str(&answer_body("a \"word\"")).unwrap();
        assert_eq!(body["choices"][0]["message"]["content"], "a \"word\"");
        assert_eq!(body["usage"]["total_tokens"], 130);
        assert_eq!(answer_body("positive").len(), 577, "docs/benchmarks.md names the size");
    }
}
