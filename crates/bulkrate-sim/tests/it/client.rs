//! A minimal HTTP client: one call per connection, or many on one.

use bulkrate_sim::{Sim, SimConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back; `complete` is false when the connection closed before the announced length.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

pub(crate) struct Client {
    pub(crate) sim: Sim,
}

impl Client {
    pub(crate) async fn new(config: SimConfig) -> Self {
        Self { sim: Sim::start(config).await.unwrap() }
    }

    pub(crate) async fn with(faults: &[&str]) -> Self {
        let config =
            faults.iter().fold(SimConfig::default(), |config, rule| config.with_fault(rule).unwrap());
        Self::new(config).await
    }

    /// One call; `None` when the connection closes without an answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Option<Answer> {
        self.call_as(method, path, content_type, body, "2023-06-01").await
    }

    /// By a version of Anthropic's API, which OpenAI's passes over.
    async fn call_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
        version: &str,
    ) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.sim.addr()).await.ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer k\r\nanthropic-version: {version}\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(body).await.ok()?;
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw).await;
        parse(&raw)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.call("POST", path, "application/json", body.to_string().as_bytes()).await
    }

    pub(crate) async fn post_as(&self, path: &str, body: &Value, version: &str) -> Option<Answer> {
        self.call_as("POST", path, "application/json", body.to_string().as_bytes(), version).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", b"").await.unwrap()
    }

    pub(crate) async fn chat(&self, text: &str) -> Option<Answer> {
        self.post(
            "/v1/chat/completions",
            &json!({"model": "gpt-6-luna", "messages": [{"role": "user", "content": text}]}),
        )
        .await
    }

    pub(crate) async fn upload(&self, data: &str) -> String {
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{data}\r\n--b--\r\n"
        );
        let answer =
            self.call("POST", "/v1/files", "multipart/form-data; boundary=b", form.as_bytes()).await.unwrap();
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn create(&self, file: &str) -> Option<Answer> {
        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"br_sub": "s"}});
        self.post("/v1/batches", &body).await
    }

    /// Uploads `lines` chat lines and waits for the end of their batch.
    pub(crate) async fn batch(&self, lines: usize) -> Value {
        let file = self.upload(&file(lines)).await;
        let id = self.create(&file).await.unwrap().json()["id"].as_str().unwrap().to_owned();
        self.ended(&id).await
    }

    pub(crate) async fn ended(&self, id: &str) -> Value {
        for _ in 0..2_000 {
            let batch = self.get(&format!("/v1/batches/{id}")).await.json();
            if ["completed", "failed", "expired", "cancelled"].contains(&batch["status"].as_str().unwrap()) {
                return batch;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("batch {id} never ended");
    }

    /// Rows of a result file; none when there is no file.
    pub(crate) async fn rows(&self, file: &Value) -> Vec<Value> {
        let Some(id) = file.as_str() else { return Vec::new() };
        let answer = self.get(&format!("/v1/files/{id}/content")).await;
        assert!(answer.complete);
        answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|row| !row.is_empty())
            .map(|row| serde_json::from_slice(row).unwrap())
            .collect()
    }

    pub(crate) fn bill(&self) -> Value {
        serde_json::from_str(&self.sim.bill_json()).unwrap()
    }
}

pub(crate) fn file(lines: usize) -> String {
    let line = |n| json!({"custom_id": format!("i-{n}"), "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-6-luna", "messages": [{"role": "user", "content": format!("line number {n}")}]}});
    (0..lines).map(|n| format!("{}\n", line(n))).collect()
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let body = raw[end + 4..].to_vec();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head, body, complete: true };
    answer.complete =
        answer.header("content-length").is_none_or(|length| length.parse() == Ok(answer.body.len()));
    Some(answer)
}
