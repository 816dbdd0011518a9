//! Together and xAI, whose batches are known by their input file: what goes out, what comes back, and what is a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, Phase};
use bulkrate_provider::{Created, Provider};

use crate::server::{self, open};

fn marker() -> Marker {
    let sub = Sub::new(1, 1).to_string();
    Marker { inst: "inst-1".to_owned(), sub, items: 1, digest: "00ff".to_owned() }
}

async fn create(provider: &dyn Provider) -> Created {
    provider.batches().unwrap().create("file-1", Kind::Chat, "any/model", &marker()).await
}

#[tokio::test]
async fn a_create_names_its_input_file_and_little_else() {
    let name = format!(r#""name":"bulkrate-{}""#, marker().sub);
    for (service, words, answer) in [
        (
            "together",
            vec![r#""input_file_id":"file-1""#, r#""endpoint":"/v1/chat/completions""#],
            r#"{"job":{"id":"b1","status":"VALIDATING","input_file_id":"file-1"},"warning":null}"#,
        ),
        (
            "xai",
            vec![r#""input_file_id":"file-1""#, &name],
            r#"{"batch_id":"b1","input_file_id":"file-1","state":{"num_requests":0}}"#,
        ),
    ] {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let (base, seen) = server::start(move |mut peer, _| {
            let words = words.clone();
            async move {
                while let Some(asked) = peer.request().await {
                    assert!(asked.starts_with("POST /v1/batches HTTP/1.1"), "{asked}");
                    assert!(words.iter().all(|word| asked.contains(word)), "{asked}");
                    let body = asked.split_once("\r\n\r\n").unwrap().1;
                    let body: serde_json::Value = serde_json::from_str(body).unwrap();
                    assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{asked}");
                    peer.answer("200 OK", answer).await;
                }
            }
        })
        .await;
        let provider = open(service, &base);
        let Created::Accepted(batch) = create(&*provider).await else { panic!("{service}") };
        assert_eq!((batch.id.as_str(), batch.phase), ("b1", Phase::Validating));
        assert_eq!((batch.input_file.as_deref(), seen.requests()), (Some("file-1"), 1));
        let batches = provider.batches().unwrap();
        assert_eq!((batches.facts().known_by, batches.facts().one_file), (KnownBy::Input, service == "xai"));
        assert!(
            batches.refuses(Kind::Embedding, "m").is_some() && batches.refuses(Kind::Chat, "m").is_none()
        );
    }
}

/// Only "it has ended already" is as good as a cancel: a bad request has cancelled nothing.
#[tokio::test]
async fn a_cancel_that_is_refused_is_none() {
    for service in ["together", "xai"] {
        for (status, body, taken) in [
            ("200 OK", "{}", true),
            ("409 Conflict", r#"{"code":"x","error":{"message":"it has ended"}}"#, true),
            ("400 Bad", r#"{"code":"x","error":{"message":"Incorrect API key provided"}}"#, false),
        ] {
            let (base, _) = server::always(status, body).await;
            let cancelled = open(service, &base).batches().unwrap().cancel("b1").await;
            assert_eq!(cancelled.is_ok(), taken, "{service} {status}: {cancelled:?}");
        }
    }
}

/// Together knows a file by its checksum from the moment it was told of it, whether its bytes came or not.
#[tokio::test]
async fn a_file_whose_bytes_never_came_is_uploaded_anew() {
    for (there, asked_for, id) in [
        (r#"{"id":"file-1","Processed":false}"#, "POST GET DELETE POST PUT POST", "file-2"),
        (r#"{"id":"file-1","Processed":true}"#, "POST GET", "file-1"),
        (r#"{"id":"file-1","Processed":false,"processing_status":"COMPLETED"}"#, "POST GET", "file-1"),
    ] {
        let (told, asked) = tokio::sync::mpsc::unbounded_channel();
        let deleted = Arc::new(AtomicBool::new(false));
        let (base, _) = server::start(move |mut peer, _| {
            let (told, deleted) = (told.clone(), Arc::clone(&deleted));
            async move {
                while let Some(request) = peer.request().await {
                    let verb = request.split(' ').next().unwrap().to_owned();
                    let is_deleted = deleted.fetch_or(verb == "DELETE", Ordering::SeqCst);
                    let to = request.split("\r\n").find_map(|line| line.strip_prefix("host: "));
                    let to =
                        format!("location: http://{}/v1/r2/x\r\nx-together-file-id: file-2\r\n", to.unwrap());
                    told.send(verb.clone()).unwrap();
                    match verb.as_str() {
                        "GET" => peer.answer("200 OK", there).await,
                        "DELETE" => peer.answer("200 OK", r#"{"id":"file-1","deleted":true}"#).await,
                        "PUT" => peer.answer("200 OK", "").await,
                        _ if request.contains("/preprocess") => {
                            peer.answer("200 OK", r#"{"id":"file-2","processing_status":"COMPLETED"}"#).await;
                        }
                        _ if is_deleted => peer.write(&server::response("302 Found", &to, "")).await,
                        _ => peer.answer("409 Conflict", r#"{"file_id":"file-1"}"#).await,
                    }
                }
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("input.jsonl");
        std::fs::write(&input, "{}\n").unwrap();
        let uploaded = open("together", &base).batches().unwrap().upload(&input, "input").await.unwrap();
        let mut asked = asked;
        let verbs: Vec<String> = std::iter::from_fn(|| asked.try_recv().ok()).collect();
        assert_eq!((uploaded.as_str(), verbs.join(" ").as_str()), (id, asked_for));
    }
}

/// A refusal in a service's own words is one; what a gateway says is not, and nothing is sent again for it.
#[tokio::test]
async fn refusals_are_told_from_pages_of_a_gateway() {
    use FailureClass::{Auth, Billing, RateLimited, RefusedByProvider};
    for (service, status, body, class) in [
        (
            "together",
            "400 Bad",
            r#"{"error":{"message":"x","type":"invalid_request_error"}}"#,
            Some(RefusedByProvider),
        ),
        ("together", "402 Pay", r#"{"error":{"message":"x","type":"credit_limit"}}"#, Some(Billing)),
        ("together", "403 Forbidden", r#"{"message":"Forbidden"}"#, None),
        ("together", "500 Internal", r#"{"error":{"message":"x","type":"server_error"}}"#, None),
        (
            "xai",
            "400 Bad",
            r#"{"code":"Client specified an invalid argument","error":"x"}"#,
            Some(RefusedByProvider),
        ),
        ("xai", "403 Forbidden", r#"{"code":"The caller does not have permission","error":"x"}"#, Some(Auth)),
        (
            "xai",
            "429 Too Many",
            r#"{"code":"Some resource has been exhausted","error":"x"}"#,
            Some(RateLimited),
        ),
        ("xai", "403 Forbidden", r#"{"error":"Forbidden"}"#, None),
        ("xai", "403 Forbidden", "<html>", None),
        ("xai", "200 OK", r#"{"name":"a batch without an id"}"#, None),
    ] {
        let (base, seen) = server::always(status, body).await;
        let got = match create(&*open(service, &base)).await {
            Created::Refused(failure) if !failure.maybe_paid => Some(failure.class),
            Created::InDoubt(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!((got, seen.requests()), (class, 1), "{service} {status} {body}");
    }
}
