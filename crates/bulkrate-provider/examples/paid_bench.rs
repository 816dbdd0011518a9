//! Measures the client of paid calls against a server that answers at once: time per call on loopback.
//!
//! `cargo run --release -p bulkrate-provider --example paid_bench -- [calls] [concurrency]`
#![allow(clippy::unwrap_used, reason = "a bench")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bulkrate_provider::{Provider, ProxyFrom, Settings};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const BODY: &str = include_str!("../fixtures/openai/chat_ok.json");
const REQUEST: &[u8] = br#"{"model":"gpt-4.1-mini","messages":[{"role":"user","content":"Classify: late parcel"}],"max_completion_tokens":64}"#;

/// Answers every request as soon as its last byte is there, with as little work as there can be.
fn serve() -> String {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(format!("http://{}/v1", listener.local_addr().unwrap())).unwrap();
            let answer: Arc<str> = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
                BODY.len()
            )
            .into();
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let mut seen = Vec::new();
                    loop {
                        if seen.ends_with(REQUEST) {
                            seen.clear();
                            stream.write_all(answer.as_bytes()).await.unwrap();
                        }
                        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                });
            }
        });
    });
    receive.recv().unwrap()
}

async fn worker(provider: Arc<dyn Provider>, left: Arc<AtomicU64>) {
    let calls = provider.calls().unwrap();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let reply = calls
            .call("/chat/completions", Bytes::from_static(REQUEST), Duration::from_secs(600))
            .await
            .unwrap();
        assert_eq!(reply.body.len(), BODY.len());
    }
}

/// The same exchange with hyper alone: one connection, no pool, no time-out, no classification.
async fn bare(address: String, left: Arc<AtomicU64>) {
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let body = http_body_util::Full::new(Bytes::from_static(REQUEST));
        let request = http::Request::post("/v1/chat/completions").header("host", "x").body(body).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body.len(), BODY.len());
    }
}

/// Nanoseconds this thread has had a processor; 0 where the system does not say.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let calls = arguments.next().unwrap_or(200_000);
    let concurrency = arguments.next().unwrap_or(32);
    let base = serve();
    let address = base.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let settings = Settings {
        base_url: Some(base),
        api_key: "sk-bench-0123456789".into(),
        proxy: ProxyFrom::None,
        ..Settings::default()
    };
    let provider = bulkrate_provider::open("custom", &settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        for _ in 0..3 {
            for name in ["bare hyper", "this client"] {
                let left = Arc::new(AtomicU64::new(calls));
                let (start, cpu) = (Instant::now(), cpu_ns());
                let mut workers = tokio::task::JoinSet::new();
                for _ in 0..concurrency {
                    if name == "bare hyper" {
                        workers.spawn(bare(address.clone(), Arc::clone(&left)));
                    } else {
                        workers.spawn(worker(Arc::clone(&provider), Arc::clone(&left)));
                    }
                }
                workers.join_all().await;
                let each = |total: f64| total / calls as f64;
                let (wall, cpu) =
                    (each(start.elapsed().as_secs_f64() * 1e6), each((cpu_ns() - cpu) as f64 / 1e3));
                println!("{name}: {wall:.2} us wall a call, {cpu:.2} us CPU of this thread");
            }
        }
    });
}
