//! What each fault does to a client, and that money spent stays on the bill.

use crate::client::{Client, file};
use bulkrate_sim::SimConfig;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn sync_faults_bill_what_was_carried_out() {
    // Fault, expected status (0 = closed), billed or not.
    let cases = [
        ("429@1", 429, 0),
        ("slow-down@1", 429, 0),
        ("F27@1", 429, 0),
        ("reset-early@1", 0, 0),
        ("F06@1", 0, 1),
        ("F10@1", 200, 1),
        ("F11@1", 200, 1),
        ("F07@1", 200, 1),
        ("F08@1", 200, 1),
        ("F12=missing@1", 200, 1),
        ("F13=long@1", 200, 1),
        ("F13=short@1", 200, 1),
        ("F09=0.01@1", 200, 1),
        ("F15@1", 307, 0),
        ("F18@1", 200, 2),
    ];
    for (rule, status, billed) in cases {
        let client = Client::with(&[rule]).await;
        let answer = client.chat("hello").await;
        assert_eq!(answer.as_ref().map_or(0, |answer| answer.status), status, "{rule}");
        assert_eq!(client.bill()["requests"], billed, "{rule}");
        if let Some(answer) = answer.filter(|answer| answer.status == 200) {
            let readable = answer.complete && serde_json::from_slice::<Value>(&answer.body).is_ok();
            assert_eq!(readable, ["F08@1", "F12=missing@1", "F18@1"].contains(&rule), "{rule}");
            assert_eq!(answer.header("content-type").is_none(), rule == "F12=missing@1", "{rule}");
        }
        assert_eq!(client.chat("hello").await.unwrap().status, 200, "only the first call is hit by {rule}");
    }
}

#[tokio::test]
async fn server_errors_come_in_kinds_and_cost_nothing() {
    let client = Client::with(&["5xx"]).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = client.chat("x").await.unwrap();
        assert_eq!([502, 504, 529].contains(&answer.status), answer.body.starts_with(b"<html>"));
        seen.insert(answer.status);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [500, 502, 503, 504, 529]);
    assert_eq!((client.sim.bill_usd_nanos(), client.sim.calls_with_status(200)), (0, 0));
}

#[tokio::test]
async fn answers_are_spoilt_on_demand() {
    let choice = |answer: &Value| {
        (answer["choices"][0]["message"]["content"].clone(), answer["choices"][0]["finish_reason"].clone())
    };
    let refusal = Client::with(&["refusal"]).await.chat("x").await.unwrap().json();
    assert!(refusal["choices"][0]["message"]["refusal"].is_string() && choice(&refusal).0.is_null());
    assert_eq!(choice(&Client::with(&["empty"]).await.chat("x").await.unwrap().json()).0, "");
    assert_eq!(
        choice(&Client::with(&["length"]).await.chat("a long text").await.unwrap().json()).1,
        "length"
    );
    assert!(Client::with(&["F65"]).await.chat("x").await.unwrap().json().get("usage").is_none());
}

#[tokio::test]
async fn lost_creates_exist_and_late_ones_need_their_file() {
    for rule in ["create-lost@1", "F22@1", "F23@1"] {
        let client = Client::with(&[rule]).await;
        let input = client.upload(&file(2)).await;
        let answer = client.create(&input).await;
        assert!(
            answer.is_none_or(|answer| answer.status == 502 || answer.json().get("id").is_none()),
            "{rule}"
        );
        let listed = client.get("/v1/batches").await.json();
        assert_eq!(
            client.ended(listed["data"][0]["id"].as_str().unwrap()).await["status"],
            "completed",
            "{rule}"
        );
    }
    for fenced in [false, true] {
        let config = SimConfig { late_secs: 720.0, ..SimConfig::default() }.with_fault("F17@1").unwrap();
        let client = Client::new(config).await;
        let input = client.upload(&file(2)).await;
        assert!(client.create(&input).await.is_none());
        assert_eq!(client.get("/v1/batches").await.json()["data"].as_array().unwrap().len(), 0);
        if fenced {
            client.call("DELETE", &format!("/v1/files/{input}"), "", b"").await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        let listed = client.get("/v1/batches").await.json()["data"].as_array().unwrap().len();
        assert_eq!(listed, usize::from(!fenced));
    }
}

#[tokio::test]
async fn lines_go_missing_double_and_astray() {
    let client =
        Client::with(&["missing-lines=0.1", "duplicate-lines=0.1", "F56=0.1", "line-errors=0.2"]).await;
    let batch = client.batch(1_000).await;
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut unknown, mut errors_in_200) = (0, 0);
    let mut rows = client.rows(&batch["output_file_id"]).await;
    errors_in_200 += rows.iter().filter(|row| row["response"]["body"].get("error").is_some()).count();
    rows.extend(client.rows(&batch["error_file_id"]).await);
    for row in rows {
        let id = row["custom_id"].as_str().unwrap().to_owned();
        unknown += usize::from(id.starts_with("unknown-"));
        *seen.entry(id).or_default() += 1;
    }
    assert!((60..140).contains(&unknown), "{unknown}");
    assert!(errors_in_200 > 20);
    let known = seen.keys().filter(|id| id.starts_with("i-")).count();
    assert!((850..970).contains(&known), "{known}");
    assert!(seen.values().any(|&count| count > 1));
    let counts = &batch["request_counts"];
    assert_eq!(counts["completed"].as_u64().unwrap() + counts["failed"].as_u64().unwrap(), 1_000);
    assert_eq!(
        client.bill()["requests"],
        counts["completed"],
        "missing lines are billed, failed ones are not"
    );
}

type Holds = fn(&Value) -> bool;

#[tokio::test]
async fn ends_of_batches_in_every_shape() {
    let cases: [(&str, &str, Holds); 7] = [
        ("F34=0.4", "expired", |batch| batch["request_counts"]["completed"] == 4),
        ("error-only", "completed", |batch| {
            batch["output_file_id"].is_null() && batch["request_counts"]["failed"] == 10
        }),
        ("F51", "completed", |batch| batch["output_file_id"].is_null() && batch["error_file_id"].is_null()),
        ("F52", "completed", |batch| batch["output_file_id"] == ""),
        ("error-id-empty", "completed", |batch| batch["error_file_id"] == ""),
        ("F35", "failed", |batch| batch["errors"]["data"][0]["code"] == "invalid_request"),
        ("output-late", "completed", |batch| batch["output_file_id"].is_null()),
    ];
    for (rule, status, holds) in cases {
        let client = Client::with(&[rule]).await;
        let batch = client.batch(10).await;
        assert!(batch["status"] == status && holds(&batch), "{rule}: {batch}");
        if rule == "output-late" {
            for _ in 0..3 {
                client.ended(batch["id"].as_str().unwrap()).await;
            }
            assert!(client.ended(batch["id"].as_str().unwrap()).await["output_file_id"].is_string());
        }
    }
}

#[tokio::test]
async fn a_retry_after_comes_in_every_form() {
    for (word, holds) in [
        ("seconds", (|text| text == Some("1")) as fn(Option<&str>) -> bool),
        ("date", |text| text.is_some_and(|text| text.ends_with(" GMT"))),
        ("missing", |text| text.is_none()),
        ("negative", |text| text == Some("-5")),
        ("huge", |text| text == Some("1000000000")),
    ] {
        let answer = Client::with(&[&format!("F01={word}")]).await.chat("x").await.unwrap();
        assert!(answer.status == 429 && holds(answer.header("retry-after")), "{word}: {}", answer.head);
    }
}

#[tokio::test]
async fn what_lasts_begins_with_its_call_and_ends() {
    let client = Client::with(&["F02=720@2", "F68=0.2@1"]).await;
    let mut seen = Vec::new();
    while seen.len() < 400 && seen.iter().filter(|status| **status == 200).count() < 2 {
        seen.push(client.chat("x").await.unwrap().status);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(seen[0] == 200 && seen[1] == 429 && seen.last() == Some(&200), "{seen:?}");
    let batch = client.batch(2).await;
    let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.status, 503);
    assert_eq!(client.get(&path).await.status, 503);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(client.get(&path).await.status, 200);
}

#[tokio::test]
async fn large_things_are_made_while_they_are_sent() {
    let client = Client::with(&["F60=3@1"]).await;
    let batch = client.batch(3).await;
    let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    let answer = client.get(&path).await;
    let longest = answer.body.split(|byte| *byte == b'\n').max_by_key(|line| line.len()).unwrap();
    assert!(answer.complete && longest.len() > 3_000_000);
    // The spaces are within the object: whoever can hold it can read it.
    assert!(serde_json::from_slice::<Value>(longest).unwrap()["custom_id"].is_string());
}

#[tokio::test]
async fn a_file_changes_between_reads() {
    let client = Client::with(&["F67@2"]).await;
    let batch = client.batch(9).await;
    let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    let (first, second) = (client.get(&path).await, client.get(&path).await);
    assert!(first.body != second.body && first.body.len() == second.body.len());
}

#[tokio::test]
async fn downloads_break() {
    let client = Client::with(&["truncated-body:content@1", "F53@2", "F62@3"]).await;
    let batch = client.batch(20).await;
    let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    assert!(!client.get(&path).await.complete);
    assert_eq!(client.get(&path).await.status, 404);
    assert!(!client.get(&path).await.body.ends_with(b"}\n"));
    assert!(client.get(&path).await.body.ends_with(b"}\n"));
}

#[tokio::test]
async fn the_account_vanishes_and_comes_back() {
    let client = Client::with(&["vanish=0.2@1"]).await;
    assert!(client.chat("x").await.is_none());
    assert!(client.chat("x").await.is_none(), "nobody listens");
    for _ in 0..200 {
        if client.chat("x").await.is_some_and(|answer| answer.status == 200) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the listener never came back");
}

/// A client whose body comes after its head may call again over the same connection.
#[tokio::test]
async fn what_is_refused_before_its_body_has_come_leaves_the_connection_open() {
    for (rule, status) in [("5xx=503@1", "503"), ("429@1", "429")] {
        let client = Client::with(&[rule]).await;
        let mut stream = TcpStream::connect(client.sim.addr()).await.unwrap();
        let body = r#"{"model":"gpt-6-luna","messages":[{"role":"user","content":"Hi"}]}"#;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), stream.readable()).await;
        assert!(early.is_err(), "{rule}: nothing is answered before the body is there");
        for (rest, want) in [(body.to_owned(), status), (format!("{head}{body}"), "200")] {
            stream.write_all(rest.as_bytes()).await.unwrap();
            let mut answer = vec![0; 65_536];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {want} ")), "{rule}: {answer}");
        }
    }
}
