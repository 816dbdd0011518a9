//! Batches without faults: money, expiry by the clock, cancellation, memory.

use crate::client::{Client, file};
use bulkrate_sim::SimConfig;
use serde_json::json;
use std::collections::HashSet;

#[tokio::test]
async fn bill_usage_and_lines_agree() {
    let client = Client::new(SimConfig::default()).await;
    let batch = client.batch(500).await;
    let rows = client.rows(&batch["output_file_id"]).await;
    assert_eq!((rows.len(), batch["status"].as_str()), (500, Some("completed")));
    // gpt-6-luna in batch: 0.05 and 0.25 USD a million are 50 and 250 nano-dollars a token.
    let nanos = |row: &serde_json::Value| {
        let usage = &row["response"]["body"]["usage"];
        usage["prompt_tokens"].as_u64().unwrap() * 50 + usage["completion_tokens"].as_u64().unwrap() * 250
    };
    let total: u64 = rows.iter().map(nanos).sum();
    assert_eq!(client.sim.bill_usd_nanos(), total);
    assert_eq!(client.bill()["by_batch"][batch["id"].as_str().unwrap()], total);
    let ids: HashSet<&str> = rows.iter().map(|row| row["custom_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 500);
}

#[tokio::test]
async fn downloads_repeat_byte_for_byte() {
    let client = Client::new(SimConfig::default()).await;
    let batch = client.batch(2_000).await;
    let path = format!("/v1/files/{}/content", batch["output_file_id"].as_str().unwrap());
    let (first, second) = (client.get(&path).await, client.get(&path).await);
    assert!(first.complete && first.body == second.body);
    // More than one piece, and the announced size.
    assert!(first.body.len() > 256 * 1_024);
    let listed = client.get(&path.replace("/content", "")).await.json();
    assert_eq!(listed["bytes"], first.body.len());
}

#[tokio::test]
async fn a_run_longer_than_the_window_expires_in_part() {
    let client =
        Client::new(SimConfig { speed: 1e5, run_secs: 4.0 * 86_400.0, ..SimConfig::default() }).await;
    let batch = client.batch(100).await;
    let ran = batch["request_counts"]["completed"].as_u64().unwrap();
    assert_eq!(batch["status"], "expired");
    assert!((20..=30).contains(&ran), "a quarter of the lines, not {ran}");
    assert_eq!(client.rows(&batch["error_file_id"]).await.len() as u64, 100 - ran);
    assert_eq!(client.bill()["requests"], ran);
}

#[tokio::test]
async fn cancelling_while_validating_leaves_nothing() {
    let client =
        Client::new(SimConfig { speed: 600.0, validating_secs: 3_600.0, ..SimConfig::default() }).await;
    let input = client.upload(&file(3)).await;
    let id = client.create(&input).await.unwrap().json()["id"].as_str().unwrap().to_owned();
    let answer = client.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await.unwrap();
    assert_eq!(answer.json()["status"], "cancelling");
    let batch = client.ended(&id).await;
    assert_eq!((batch["status"].as_str(), batch["output_file_id"].is_null()), (Some("cancelled"), true));
    assert_eq!(client.sim.bill_usd_nanos(), 0);
}

#[tokio::test]
async fn enqueued_tokens_are_held_and_released() {
    let client = Client::new(SimConfig { enqueued_tokens: Some(100), ..SimConfig::default() }).await;
    // 10 lines of 4 + 4 tokens fit; 20 do not, ever.
    assert_eq!(client.batch(10).await["status"], "completed");
    assert_eq!(client.batch(20).await["errors"]["data"][0]["code"], "token_limit_exceeded");
    assert_eq!(client.batch(10).await["status"], "completed");
}

#[tokio::test]
async fn creations_are_limited_per_hour() {
    let client =
        Client::new(SimConfig { batches_per_hour: Some(2), speed: 60.0, ..SimConfig::default() }).await;
    let input = client.upload(&file(1)).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.create(&input).await.unwrap());
    }
    assert_eq!(statuses.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert!(statuses[2].header("retry-after-ms").unwrap().parse::<u64>().unwrap() <= 60_000);
}

#[tokio::test]
async fn new_batches_are_listed_late() {
    let client = Client::new(SimConfig { list_lag_secs: 720.0, ..SimConfig::default() }).await;
    let input = client.upload(&file(1)).await;
    let id = client.create(&input).await.unwrap().json()["id"].as_str().unwrap().to_owned();
    assert_eq!(client.get("/v1/batches").await.json()["data"].as_array().unwrap().len(), 0);
    client.ended(&id).await;
    for _ in 0..400 {
        if client.get("/v1/batches").await.json()["data"][0]["id"] == id.as_str() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the batch was never listed");
}
