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

/// CPU seconds of this thread's process so far, server included, from the system's table; 0 where there is none.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let calls = arguments.next().unwrap_or(200_000);
    let concurrency = arguments.next().unwrap_or(32);
    let settings = Settings {
        base_url: Some(serve()),
        api_key: "sk-bench-0123456789".into(),
        proxy: ProxyFrom::None,
        ..Settings::default()
    };
    let provider = bulkrate_provider::open("custom", &settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        for round in 0..3 {
            let left = Arc::new(AtomicU64::new(calls));
            let (start, ticks) = (Instant::now(), cpu_ticks());
            let workers: Vec<_> = (0..concurrency)
                .map(|_| tokio::spawn(worker(Arc::clone(&provider), Arc::clone(&left))))
                .collect();
            for worker in workers {
                worker.await.unwrap();
            }
            let wall = start.elapsed();
            let cpu_us = (cpu_ticks() - ticks) * 10_000 / calls.max(1);
            println!(
                "round {round}: {:.1} us wall a call, {cpu_us} us CPU a call with the server's",
                wall.as_secs_f64() * 1e6 / calls as f64
            );
        }
    });
}
