//! A server that does exactly what a test says, down to the TCP segment.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkrate_provider::{Provider, ProxyFrom, RetryPolicy, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const KEY: &str = "sk-canary-7f3a9c51d2e84b60";

/// A connection with a client, and what was received on it.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    seen: Arc<Seen>,
    buffer: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

impl Seen {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Serves every connection with `script`; answers the base URL.
pub(crate) async fn start<F, Fut>(script: F) -> (String, Arc<Seen>)
where
    F: Fn(Peer, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let place = shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(script(Peer { stream, seen: Arc::clone(&shared), buffer: Vec::new() }, place));
        }
    });
    (base, seen)
}

/// Answers every request alike.
pub(crate) async fn always(status: &str, body: &str) -> (String, Arc<Seen>) {
    let answer = response(status, "", body);
    start(move |mut peer, _| {
        let answer = answer.clone();
        async move {
            while peer.request().await.is_some() {
                peer.write(&answer).await;
            }
        }
    })
    .await
}

impl Peer {
    /// The next request, head and body; `None` when the client has gone.
    pub(crate) async fn request(&mut self) -> Option<String> {
        loop {
            if let Some(length) = whole_request(&self.buffer) {
                self.seen.requests.fetch_add(1, Ordering::SeqCst);
                let request: Vec<u8> = self.buffer.drain(..length).collect();
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
            let mut chunk = vec![0; 16_384];
            let read = self.stream.read(&mut chunk).await.ok()?;
            if read == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    pub(crate) async fn write(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Whether the client still takes bytes.
    pub(crate) async fn try_write(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).await.is_ok()
    }

    pub(crate) async fn answer(&mut self, status: &str, body: &str) {
        self.write(&response(status, "", body)).await;
    }

    /// Ends the connection with a reset instead of a proper close.
    pub(crate) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Length of the first request, once all of it is there. Multipart uploads come with a length too.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length: usize = text
        .split("\r\ncontent-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

pub(crate) fn settings(base: &str) -> Settings {
    Settings {
        base_url: Some(base.to_owned()),
        api_key: KEY.into(),
        proxy: ProxyFrom::None,
        retry: RetryPolicy {
            tries: 3,
            wait_min: Duration::from_millis(1),
            wait_max: Duration::from_millis(20),
            try_timeout: Duration::from_secs(20),
        },
        ..Settings::default()
    }
}

pub(crate) fn open(name: &str, base: &str) -> Arc<dyn Provider> {
    bulkrate_provider::open(name, &settings(base)).unwrap()
}

pub(crate) const CHAT_OK: &str = include_str!("../../fixtures/openai/chat_ok.json");
