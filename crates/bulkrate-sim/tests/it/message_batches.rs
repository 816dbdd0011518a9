//! Anthropic's batches: what a create makes, what faults leave of it, and the bill.

use crate::client::Client;
use bulkrate_sim::{SimConfig, Speaks};
use serde_json::{Value, json};

const ROOT: &str = "/v1/messages/batches";

async fn client(faults: &[&str]) -> Client {
    let config = SimConfig { speaks: Speaks::Anthropic, ..SimConfig::default() };
    Client::new(faults.iter().fold(config, |config, rule| config.with_fault(rule).unwrap())).await
}

fn order(lines: usize) -> Value {
    let one = |n| json!({"custom_id": format!("i-{n}"), "params": {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": format!("line {n}")}]}});
    json!({"requests": (0..lines).map(one).collect::<Vec<_>>()})
}

async fn listed(client: &Client) -> Vec<Value> {
    client.get(ROOT).await.json()["data"].as_array().unwrap().clone()
}

async fn ended(client: &Client, id: &str) -> Value {
    for _ in 0..2_000 {
        let batch = client.get(&format!("{ROOT}/{id}")).await.json();
        if batch["processing_status"] == "ended" {
            return batch;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("batch {id} never ended");
}

async fn lines(client: &Client, id: &str) -> Vec<Value> {
    let answer = client.get(&format!("{ROOT}/{id}/results")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-jsonl")));
    let rows = answer.body.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
    rows.map(|row| serde_json::from_slice(row).unwrap()).collect()
}

/// A whole batch: the object when it has ended, and its lines.
async fn batch(client: &Client, size: usize) -> (Value, Vec<Value>) {
    let made = client.post(ROOT, &order(size)).await.unwrap().json();
    let id = made["id"].as_str().unwrap();
    let done = ended(client, id).await;
    (done, lines(client, id).await)
}

#[tokio::test]
async fn counts_lines_and_bill_agree() {
    let client = client(&["line-errors=0.2", "expire=0.5@1"]).await;
    let (done, lines) = batch(&client, 200).await;
    let counts = &done["request_counts"];
    let of = |kind: &str| lines.iter().filter(|line| line["result"]["type"] == kind).count() as u64;
    for kind in ["succeeded", "errored", "canceled", "expired"] {
        assert_eq!(counts[kind].as_u64(), Some(of(kind)), "{kind} {counts}");
    }
    assert!(of("errored") > 5 && of("expired") == 100, "{counts}");
    // claude-haiku-5-5 in batch: 0.05 and 0.25 USD a million are 50 and 250 nano-dollars a token.
    let nanos = |line: &Value| {
        let usage = &line["result"]["message"]["usage"];
        usage["input_tokens"].as_u64().unwrap_or(0) * 50 + usage["output_tokens"].as_u64().unwrap_or(0) * 250
    };
    let total: u64 = lines.iter().map(nanos).sum();
    assert_eq!(client.sim.bill_usd_nanos(), total);
    assert_eq!(client.bill()["by_batch"][done["id"].as_str().unwrap()], total);
    assert_eq!(done["results_url"], format!("http://sim{ROOT}/{}/results", done["id"].as_str().unwrap()));
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_made_once_or_twice_or_later() {
    for (fault, answered, made) in [
        ("create-lost@1", None, 1),
        ("marker-twice@1", None, 2),
        ("delivered-twice@1", Some(200), 2),
        ("create-5xx@1", Some(502), 1),
        ("create-no-id@1", Some(200), 1),
        ("create-late@1", None, 1),
        ("reset-early:create@1", None, 0),
    ] {
        let client = client(&[fault]).await;
        let answer = client.post(ROOT, &order(2)).await;
        assert_eq!(answer.as_ref().map(|answer| answer.status), answered, "{fault}");
        let has_id = answer.is_some_and(|answer| answer.status == 200 && answer.json()["id"].is_string());
        assert_eq!(has_id, fault == "delivered-twice@1", "{fault}");
        if fault == "create-late@1" {
            assert!(listed(&client).await.is_empty());
        }
        for _ in 0..400 {
            if listed(&client).await.len() >= made {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(listed(&client).await.len(), made, "{fault}");
    }
}

#[tokio::test]
async fn faults_of_lists_looks_and_results() {
    let lag = client(&["list-lag"]).await;
    lag.post(ROOT, &order(1)).await.unwrap();
    assert!(listed(&lag).await.is_empty(), "a new batch is not shown");

    let foreign = client(&["foreign-batches"]).await;
    foreign.post(ROOT, &order(3)).await.unwrap();
    let all = listed(&foreign).await;
    assert_eq!((all.len(), all[1]["request_counts"]["canceled"].as_u64()), (2, Some(3)), "{all:?}");
    let theirs = lines(&foreign, all[1]["id"].as_str().unwrap()).await;
    assert!(theirs.iter().all(|line| line["custom_id"].as_str().unwrap().starts_with("row-")));

    let late = client(&["output-late", "batch-gone@2"]).await;
    let id = late.post(ROOT, &order(1)).await.unwrap().json()["id"].as_str().unwrap().to_owned();
    let path = format!("{ROOT}/{id}");
    assert_eq!((late.get(&path).await.status, late.get(&path).await.status), (200, 404));
    let early = late.get(&format!("{path}/results")).await;
    assert_eq!((early.status, early.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    assert!(ended(&late, &id).await["results_url"].is_null(), "it ends before its results are there");

    let odd = client(&["missing-lines=0.3", "duplicate-lines=0.3", "unknown-lines=0.3"]).await;
    let (done, rows) = batch(&odd, 100).await;
    let ids: std::collections::HashSet<&str> =
        rows.iter().map(|row| row["custom_id"].as_str().unwrap()).collect();
    let ours = ids.iter().filter(|id| id.starts_with("i-")).count();
    assert!(
        ours < 90 && ids.len() > ours + 10 && rows.len() > ids.len(),
        "{ours} {} {}",
        ids.len(),
        rows.len()
    );
    assert_eq!(done["request_counts"]["succeeded"], 100, "what is missing ran and is billed");
    assert_eq!(odd.bill()["requests"], 100);
}

#[tokio::test]
async fn the_newer_version_takes_no_sampling_parameters_and_says_so_late() {
    let client = client(&[]).await;
    let mut orders = order(2);
    orders["requests"][0]["params"]["temperature"] = json!(1.0);
    for (version, errored) in [("2023-06-01", 0), ("2026-10-21", 1)] {
        let made = client.post_as(ROOT, &orders, version).await.unwrap().json();
        let done = ended(&client, made["id"].as_str().unwrap()).await;
        assert_eq!(done["request_counts"]["errored"], errored, "{version} {done}");
    }
}
