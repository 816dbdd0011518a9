//! Sync calls: keys, limits, keep-alive, the pages of the simulator.

use crate::client::Client;
use bulkrate_sim::SimConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn keys_are_checked() {
    let client = Client::new(SimConfig { api_key: Some("other".to_owned()), ..SimConfig::default() }).await;
    let answer = client.chat("x").await.unwrap();
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    let mut stream = TcpStream::connect(client.sim.addr()).await.unwrap();
    stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn token_limits_charge_prompt_and_maximum() {
    let client = Client::new(SimConfig { tpm: Some(6_000), ..SimConfig::default() }).await;
    let ask = |max: u64| json!({"model": "gpt-6-luna", "messages": [{"role": "user", "content": "abcd"}], "max_completion_tokens": max});
    let first = client.post("/v1/chat/completions", &ask(95)).await.unwrap();
    assert_eq!(
        (
            first.status,
            first.header("x-ratelimit-remaining-tokens"),
            first.header("x-ratelimit-limit-tokens")
        ),
        (200, Some("0"), Some("6000"))
    );
    let second = client.post("/v1/chat/completions", &ask(95)).await.unwrap();
    assert_eq!((second.status, second.json()["error"]["type"].as_str()), (429, Some("tokens")));
    let never = client.post("/v1/chat/completions", &ask(7_000)).await.unwrap();
    assert!(
        never.json()["error"]["message"].as_str().unwrap().starts_with("Request too large")
            && never.header("retry-after").is_none()
    );
}

#[tokio::test]
async fn equal_prompts_get_equal_answers_and_cached_tokens_cost_less() {
    let text = "word ".repeat(2_000);
    let mut bills = Vec::new();
    for cached_share in [0.0, 1.0] {
        let client = Client::new(SimConfig { cached_share, ..SimConfig::default() }).await;
        let (one, two) = (client.chat(&text).await.unwrap().json(), client.chat(&text).await.unwrap().json());
        assert_eq!((&one["choices"], &one["usage"]), (&two["choices"], &two["usage"]));
        let usage = &one["usage"];
        let (prompt, cached) = (
            usage["prompt_tokens"].as_u64().unwrap(),
            usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap(),
        );
        let output = usage["completion_tokens"].as_u64().unwrap();
        assert_eq!(client.sim.bill_usd_nanos(), 2 * ((prompt - cached) * 100 + cached * 10 + output * 500));
        bills.push(client.sim.bill_usd_nanos());
    }
    assert!(bills[1] < bills[0] / 2);
}

#[tokio::test]
async fn any_model_is_free_when_allowed() {
    let client = Client::new(SimConfig { any_model: true, ..SimConfig::default() }).await;
    let answer = client
        .post(
            "/v1/chat/completions",
            &json!({"model": "my-llama", "messages": [{"role": "user", "content": "x"}]}),
        )
        .await
        .unwrap();
    assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("my-llama")));
    assert_eq!((client.sim.bill_usd_nanos(), client.bill()["requests"].as_u64()), (0, Some(1)));
}

#[tokio::test]
async fn connections_are_kept_and_calls_counted() {
    let client = Client::new(SimConfig::default()).await;
    let mut stream = TcpStream::connect(client.sim.addr()).await.unwrap();
    let body = r#"{"model":"gpt-6-luna","messages":[{"role":"user","content":"hi"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\nauthorization: Bearer k\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut buffer = vec![0; 64 * 1_024];
    for _ in 0..50 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = 0;
        while !buffer[..got].ends_with(b"\"metadata\":null}") {
            got += stream.read(&mut buffer[got..]).await.unwrap();
        }
    }
    let page = client.get("/sim/requests").await.json();
    assert_eq!(page["by_path"]["POST /v1/chat/completions"]["200"], 50);
    assert_eq!(client.get("/sim/bill").await.json()["requests"], 50);
    assert_eq!(client.get("/v2/nope").await.status, 404);
}

#[tokio::test]
async fn dropping_a_simulator_frees_its_port() {
    let client = Client::new(SimConfig::default()).await;
    let addr = client.sim.addr();
    drop(client);
    for _ in 0..200 {
        if TcpStream::connect(addr).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("still listening on {addr}");
}
