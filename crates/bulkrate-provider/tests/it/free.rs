//! Free calls: what is repeated, what is not, and files that arrive whole or not at all.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulkrate_core::failure::FailureClass;
use bulkrate_core::submission::{BatchCounts, Owner, Phase, RemoteBatch};
use tokio::sync::Barrier;

use crate::server::{self, open, response};

const BATCH: &str = r#"{"id":"batch_1","object":"batch","status":"in_progress"}"#;
const BUSY: &str = r#"{"error":{"message":"busy","type":"server_error","param":null,"code":null}}"#;

#[tokio::test]
async fn what_is_too_large_for_a_gateway_is_refused_at_once() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            peer.write(&response("413 Payload Too Large", "content-type: text/html\r\n", "<html>413</html>"))
                .await;
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input.jsonl");
    std::fs::write(&file, "{}\n").unwrap();
    let error = open("openai", &base).batches().unwrap().upload(&file, "input.jsonl").await.unwrap_err();
    assert_eq!((error.failure.class, seen.requests()), (FailureClass::RefusedByProvider, 1), "{error:?}");
    assert!(error.to_string().contains("`batch_bytes_max`"), "{error}");
}

#[tokio::test]
async fn what_may_pass_is_repeated() {
    for (first, tries) in [
        (response("503 Service Unavailable", "", BUSY), 2),
        (response("502 Bad Gateway", "", "<html>"), 2),
        (response("429 Too Many Requests", "retry-after-ms: 2\r\n", BUSY), 2),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(), 2),
        (String::new(), 2),
        (response("200 OK", "", BATCH), 1),
    ] {
        let (base, seen) = server::start(move |mut peer, place| {
            let first = first.clone();
            async move {
                let mut answered = place;
                while peer.request().await.is_some() {
                    let text = if answered == 0 { first.clone() } else { response("200 OK", "", BATCH) };
                    peer.write(&text).await;
                    if answered == 0 {
                        return; // the second try comes on a connection of its own
                    }
                    answered += 1;
                }
            }
        })
        .await;
        let batch = open("openai", &base).batches().unwrap().poll("batch_1").await.unwrap().unwrap();
        assert_eq!((batch.id.as_str(), seen.requests()), ("batch_1", tries));
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_repeated() {
    for (status, headers, body, class, tries) in [
        (
            "401 Unauthorized",
            "",
            r#"{"error":{"message":"no","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            FailureClass::Auth,
            1,
        ),
        (
            "400 Bad Request",
            "",
            r#"{"error":{"message":"no","type":"invalid_request_error","code":null}}"#,
            FailureClass::RefusedByProvider,
            1,
        ),
        (
            "429 Too Many Requests",
            "",
            r#"{"error":{"message":"no","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            FailureClass::Billing,
            1,
        ),
        ("503 Service Unavailable", "x-should-retry: false\r\n", BUSY, FailureClass::Transient, 1),
        ("307 Temporary Redirect", "location: http://elsewhere.invalid/\r\n", "", FailureClass::Transient, 1),
        ("503 Service Unavailable", "", BUSY, FailureClass::Transient, 3),
    ] {
        let (base, seen) = server::start(move |mut peer, _| async move {
            while peer.request().await.is_some() {
                peer.write(&response(status, headers, body)).await;
            }
        })
        .await;
        let error = open("openai", &base).batches().unwrap().poll("batch_1").await.unwrap_err();
        assert_eq!(
            (error.failure.class, error.failure.maybe_paid, seen.requests()),
            (class, false, tries),
            "{status}"
        );
    }
}

#[tokio::test]
async fn four_files_at_most_are_on_their_way_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let four = Arc::new(Barrier::new(4));
    let (now, top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen_now, seen_top) = (Arc::clone(&now), Arc::clone(&top));
    let (base, seen) = server::start(move |mut peer, _| {
        let (four, now, top) = (Arc::clone(&four), Arc::clone(&seen_now), Arc::clone(&seen_top));
        async move {
            while peer.request().await.is_some() {
                top.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                four.wait().await;
                for _ in 0..1_000 {
                    tokio::task::yield_now().await; // a fifth would come meanwhile
                }
                now.fetch_sub(1, Ordering::SeqCst);
                peer.answer("200 OK", "{}\n").await;
            }
        }
    })
    .await;
    let provider = open("openai", &base);
    let batches = provider.batches().unwrap();
    let files: Vec<_> = (0..12).map(|place| folder.path().join(format!("{place}.jsonl"))).collect();
    let downloads = files.iter().map(|to| batches.download("file-1", to, 1_000));
    for found in futures_util::future::join_all(downloads).await {
        assert_eq!(found.unwrap(), Some(3));
    }
    assert_eq!((top.load(Ordering::SeqCst), seen.requests()), (4, 12));
}

#[tokio::test]
async fn a_download_arrives_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.jsonl");
    let (base, _) = server::start(|mut peer, place| async move {
        while let Some(request) = peer.request().await {
            if request.starts_with("GET /v1/files/file-gone/content ") {
                peer.answer("404 Not Found", r#"{"error":{"message":"No such File object: file-gone","type":"invalid_request_error"}}"#).await;
            } else if request.starts_with("GET /v1/files/file-cut/content ") || place == 0 {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":").await;
                return;
            } else {
                peer.answer("200 OK", "{}\n{}\n").await;
            }
        }
    })
    .await;
    let provider = open("openai", &base);
    let batches = provider.batches().unwrap();
    assert_eq!(batches.download("file-out", &to, 1_000).await.unwrap(), Some(6)); // the second try
    assert_eq!(std::fs::read(&to).unwrap(), b"{}\n{}\n");
    std::fs::remove_file(&to).unwrap();
    assert!(batches.download("file-cut", &to, 1_000).await.is_err());
    assert_eq!(batches.download("file-gone", &to, 1_000).await.unwrap(), None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half is left behind");
}

#[tokio::test]
async fn an_upload_names_its_purpose_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in");
    std::fs::write(&file, "{\"custom_id\":\"a\"}\n").unwrap();
    let (base, seen) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let purpose = request.find("name=\"purpose\"\r\n\r\nbatch\r\n");
            let content = request.find("name=\"file\"; filename=\"br1.jsonl\"");
            let sound = request.starts_with("POST /v1/files ")
                && purpose < content
                && purpose.is_some()
                && request.contains("{\"custom_id\":\"a\"}\n");
            let answer = if sound {
                r#"{"id":"file-1","object":"file"}"#.to_owned()
            } else {
                format!("{{\"got\":{request:?}}}")
            };
            peer.answer("200 OK", &answer).await;
        }
    })
    .await;
    let provider = open("openai", &base);
    assert_eq!(provider.batches().unwrap().upload(&file, "br1").await.unwrap(), "file-1");
    assert_eq!(seen.requests(), 1);
    let error = provider.batches().unwrap().upload(&folder.path().join("absent"), "x").await.unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[tokio::test]
async fn a_probe_finds_out_whether_there_are_batches_and_what_is_told_of_limits() {
    for (list, want) in [
        ((("200 OK"), r#"{"object":"list","data":[],"has_more":false}"#), true),
        (("404 Not Found", r#"{"detail":"Not Found"}"#), false),
        (("200 OK", "<html>hello</html>"), false),
    ] {
        let (base, _) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                if request.starts_with("GET /v1/batches?limit=1 ") {
                    peer.answer(list.0, list.1).await;
                } else {
                    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\nx-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\n";
                    peer.write(&response(
                        "200 OK",
                        date,
                        r#"{"object":"list","data":[{"id":"m"},{"id":"n"}]}"#,
                    ))
                    .await;
                }
            }
        })
        .await;
        let provider = open("custom", &base);
        assert!(provider.batches().is_none());
        let health = provider.probe().await.unwrap();
        assert_eq!((health.models, health.batches, provider.batches().is_some()), (Some(2), want, want));
        assert!(health.clock_skew_s.unwrap() < -86_400 * 365);
        let limits = (health.limits.requests_limit, health.limits.requests_left, health.limits.tokens_limit);
        assert_eq!(limits, (Some(60), Some(59), None));
    }
}

/// A download under `settings` with a short patience, and how many requests it took.
async fn download_of(answer: fn(&mut server::Peer) -> Slow<'_>, bytes_max: u64) -> (String, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (base, seen) = server::start(move |mut peer, _| async move {
        while peer.request().await.is_some() {
            answer(&mut peer).await;
        }
    })
    .await;
    let mut settings = server::settings(&base);
    settings.retry.try_timeout = std::time::Duration::from_millis(300);
    let provider = bulkrate_provider::open("openai", &settings).unwrap();
    let result =
        provider.batches().unwrap().download("file-1", &folder.path().join("out.jsonl"), bytes_max).await;
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    (result.unwrap_err().to_string(), seen.requests(), left)
}

type Slow<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

fn drips(peer: &mut server::Peer) -> Slow<'_> {
    Box::pin(async {
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while peer.try_write("x").await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
}

fn never_ends(peer: &mut server::Peer) -> Slow<'_> {
    Box::pin(async {
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        while peer.try_write(&chunk).await {}
    })
}

fn announces_too_much(peer: &mut server::Peer) -> Slow<'_> {
    Box::pin(async { peer.write("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{").await })
}

fn says_it_is_gzip(peer: &mut server::Peer) -> Slow<'_> {
    Box::pin(async { peer.write(&response("200 OK", "content-encoding: gzip\r\n", "\u{1f}bomb")).await })
}

fn never_answers(peer: &mut server::Peer) -> Slow<'_> {
    Box::pin(async { while peer.try_write("").await && peer.request().await.is_some() {} })
}

#[tokio::test]
async fn a_download_that_drips_never_ends_or_is_encoded_is_given_up() {
    for (answer, bytes_max, why, requests) in [
        (
            drips as fn(&mut server::Peer) -> Slow<'_>,
            1_000_000,
            "less than 16 KiB of the file within 300 ms",
            3,
        ),
        (never_answers, 1_000_000, "no answer within 300 ms", 3),
        (never_ends, 1_000_000, "longer than 1000000 bytes", 1),
        (announces_too_much, 1_000_000, "longer than 1000000 bytes", 1),
        (says_it_is_gzip, 1_000_000, "encoded (`gzip`)", 1),
    ] {
        let (error, tries, left) = download_of(answer, bytes_max).await;
        assert!(error.contains(why), "{error}");
        assert_eq!((tries, left), (requests, 0), "{why}");
    }
}

/// The look at whose a batch is waits no longer for a server that drips than a download does.
#[tokio::test]
async fn a_look_at_a_first_line_that_drips_is_given_up() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while peer.request().await.is_some() {
            drips(&mut peer).await;
        }
    })
    .await;
    let mut settings = server::settings(&base);
    settings.retry.try_timeout = std::time::Duration::from_millis(300);
    let provider = bulkrate_provider::open("anthropic", &settings).unwrap();
    let batch = RemoteBatch {
        id: "msgbatch_1".to_owned(),
        phase: Phase::Completed,
        status: "ended".to_owned(),
        input_file: None,
        output_file: None,
        error_file: None,
        counts: BatchCounts::default(),
        errors: Vec::new(),
        created_at: None,
        ended_at: None,
        expires_at: None,
        marker: None,
        owner: Owner::default(),
    };
    let error = provider.batches().unwrap().first_item(&batch).await.unwrap_err().to_string();
    assert!(error.contains("less than 16 KiB of the file within 300 ms"), "{error}");
    assert_eq!(seen.requests(), 3);
}
