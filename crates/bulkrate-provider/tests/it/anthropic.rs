//! Message Batches down to the bytes: what a create carries, what its answer proves, where the key goes.

use std::path::Path;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Phase};
use bulkrate_provider::{Created, Settings};

use crate::batches::marker;
use crate::server::{self, settings};

/// A staged file of two requests, its lines as the adapter writes them.
fn staged(folder: &Path) -> (String, String) {
    let provider = server::open("anthropic", "http://127.0.0.1:1");
    let api = provider.batches().unwrap();
    let sub = Sub::new(1_795_046_400_000, 7);
    let mut lines = Vec::new();
    for seq in 0..2 {
        api.input_line(WireId::one(sub, seq), Kind::Chat, b"{\"model\":\"m\",\"n\":\"a\\nb\"}", &mut lines);
    }
    let path = folder.join("input.jsonl");
    std::fs::write(&path, &lines).unwrap();
    let request = |seq| format!(r#"{{"custom_id":"br1-{sub}-{seq}","params":{{"model":"m","n":"a\nb"}}}}"#);
    (path.to_str().unwrap().to_owned(), format!(r#"{{"requests":[{},{}]}}"#, request(0), request(1)))
}

const BATCH: &str = r#"{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress","request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},"created_at":"2026-11-20T10:00:00Z","results_url":null}"#;

#[tokio::test]
async fn a_create_carries_its_file_once_with_its_length_and_the_betas() {
    let folder = tempfile::tempdir().unwrap();
    let (file, want) = staged(folder.path());
    let (base, seen) = server::start(move |mut peer, _| {
        let want = want.clone();
        async move {
            while let Some(request) = peer.request().await {
                let head = request.to_ascii_lowercase();
                let fits = request.starts_with("POST /v1/messages/batches HTTP/1.1")
                    && request.ends_with(&format!("\r\n\r\n{want}"))
                    && head.contains(&format!("\r\ncontent-length: {}\r\n", want.len()))
                    && head.contains("\r\nanthropic-version: 2023-06-01\r\n")
                    && head.contains("\r\nanthropic-beta: one-2026,two-2026\r\n")
                    && !head.contains("transfer-encoding");
                peer.answer("200 OK", if fits { BATCH } else { "{}" }).await;
            }
        }
    })
    .await;
    let settings = Settings { betas: vec!["one-2026".into(), "two-2026".into()], ..settings(&base) };
    let provider = bulkrate_provider::open("anthropic", &settings).unwrap();
    let api = provider.batches().unwrap();
    assert_eq!(api.upload(Path::new(&file), "ignored").await.unwrap(), file);
    assert_eq!(seen.requests(), 0, "a look at the file sends nothing");
    let created = api.create(&file, Kind::Chat, "claude-haiku-5-5", &marker()).await;
    let Created::Accepted(batch) = created else { panic!("{created:?}") };
    assert_eq!((batch.id.as_str(), batch.phase, batch.counts.total), ("msgbatch_1", Phase::InProgress, 2));
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn what_the_answer_to_a_create_proves() {
    let error = |kind: &str, message: &str| {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = staged(folder.path());
    for (status, body, want) in [
        ("200 OK", BATCH.to_owned(), Ok(())),
        ("200 OK", r#"{"processing_status":"in_progress"}"#.to_owned(), Err(None)),
        ("200 OK", "<html>".to_owned(), Err(None)),
        ("400 Bad Request", error("invalid_request_error", "x"), Err(Some(FailureClass::RefusedByProvider))),
        ("401 Unauthorized", error("authentication_error", "x"), Err(Some(FailureClass::Auth))),
        ("429 Too Many Requests", error("rate_limit_error", "x"), Err(Some(FailureClass::RateLimited))),
        ("413 Payload Too Large", "<html>".to_owned(), Err(None)),
        ("403 Forbidden", "<html>".to_owned(), Err(None)),
        ("409 Conflict", error("conflict_error", "x"), Err(None)),
        ("500 Internal Server Error", error("api_error", "x"), Err(None)),
        ("529 Overloaded", error("overloaded_error", "x"), Err(None)),
        ("307 Temporary Redirect", String::new(), Err(None)),
    ] {
        let (base, seen) = server::always(status, &body).await;
        let provider = server::open("anthropic", &base);
        let got = match provider
            .batches()
            .unwrap()
            .create(&file, Kind::Chat, "claude-haiku-5-5", &marker())
            .await
        {
            Created::Accepted(_) => Ok(()),
            Created::Refused(failure) => Err(Some(failure.class)),
            Created::InDoubt(_) => Err(None),
        };
        assert_eq!((got, seen.requests()), (want, 1), "{status} {body}");
    }
}

#[tokio::test]
async fn a_create_whose_file_is_gone_sends_nothing() {
    let (base, seen) =
        server::start(|mut peer, _| async move { while peer.request().await.is_some() {} }).await;
    let provider = server::open("anthropic", &base);
    let api = provider.batches().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.jsonl");
    let created = api.create(gone.to_str().unwrap(), Kind::Chat, "claude-haiku-5-5", &marker()).await;
    let Created::Refused(failure) = created else { panic!("{created:?}") };
    assert_eq!((failure.provider_code.as_deref(), failure.maybe_paid), (Some("not_sent"), false));
    for empty in [gone.clone(), folder.path().to_owned()] {
        let error = api.upload(&empty, "x").await.unwrap_err();
        assert!(error.local().is_some(), "{error}");
    }
    assert_eq!(seen.requests(), 0);
}

#[tokio::test]
async fn a_create_that_breaks_off_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = staged(folder.path());
    let (base, seen) = server::start(|mut peer, _| async move {
        peer.request().await;
        peer.reset();
    })
    .await;
    let provider = server::open("anthropic", &base);
    let created = provider.batches().unwrap().create(&file, Kind::Chat, "claude-haiku-5-5", &marker()).await;
    assert!(matches!(created, Created::InDoubt(_)), "{created:?}");
    assert_eq!(seen.requests(), 1);
}

#[tokio::test]
async fn a_list_goes_on_after_the_last_id_and_results_are_asked_of_the_account_alone() {
    let row = |at: u64, phase: &str| {
        let time = format!("2026-11-20T10:00:{at:02}Z");
        format!(
            r#"{{"id":"msgbatch_{at}","processing_status":"{phase}","created_at":"{time}","request_counts":{{"processing":1}},"results_url":"https://elsewhere.invalid/v1/messages/batches/msgbatch_{at}/results"}}"#
        )
    };
    let pages = [
        (
            "GET /v1/messages/batches?limit=1000 ",
            format!(r#"{{"data":[{},{}],"has_more":true}}"#, row(9, "ended"), row(8, "ended")),
        ),
        (
            "GET /v1/messages/batches?limit=1000&after_id=msgbatch_8 ",
            format!(r#"{{"data":[{}],"has_more":false}}"#, row(7, "ended")),
        ),
        (
            "GET /v1/messages/batches/msgbatch_9/results ",
            "{\"custom_id\":\"br1-x\",\"result\":{\"type\":\"expired\"}}\nnot read".to_owned(),
        ),
        (
            "DELETE /v1/messages/batches/msgbatch_9 ",
            r#"{"id":"msgbatch_9","type":"message_batch_deleted"}"#.to_owned(),
        ),
    ];
    let (base, seen) = server::start(move |mut peer, _| {
        let pages = pages.clone();
        async move {
            while let Some(request) = peer.request().await {
                let page = pages.iter().find(|(start, _)| request.starts_with(start));
                peer.answer("200 OK", page.map_or("{}", |(_, body)| body)).await;
            }
        }
    })
    .await;
    let provider = server::open("anthropic", &base);
    let api = provider.batches().unwrap();
    let listed = api.list_since(0).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|batch| batch.id.as_str()).collect();
    assert_eq!((ids, seen.requests()), (vec!["msgbatch_9", "msgbatch_8", "msgbatch_7"], 2));
    assert_eq!(api.first_item(&listed[0]).await.unwrap().as_deref(), Some("br1-x"));
    let url = listed[0].output_file.as_deref().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("results.jsonl");
    assert!(api.download(url, &to, 1 << 20).await.unwrap().is_some());
    api.delete_file(url).await.unwrap();
    assert_eq!(seen.requests(), 5);
    // What was staged here was never there.
    api.delete_file("/state/input.jsonl").await.unwrap();
    assert_eq!(seen.requests(), 5);
}

#[test]
fn what_a_batch_is_known_by_is_what_the_account_says() {
    for (exclusive_workspace, want) in [(false, KnownBy::Results), (true, KnownBy::Looks)] {
        let settings = Settings { exclusive_workspace, ..settings("http://127.0.0.1:1") };
        let provider = bulkrate_provider::open("anthropic", &settings).unwrap();
        let facts = provider.batches().unwrap().facts();
        assert_eq!((facts.known_by, facts.one_file), (want, true));
    }
    let limits = server::open("anthropic", "http://127.0.0.1:1").batches().unwrap().limits(Kind::Chat);
    assert_eq!((limits.items_max, limits.bytes_max), (10_000, (32 << 20) - 15));
}

/// A version holds for a whole batch: it stands in the header of its create.
#[tokio::test]
async fn the_version_that_is_asked_for_is_that_of_every_request() {
    for (asked, want) in
        [(None, "2023-06-01"), (Some("2023-06-01"), "2023-06-01"), (Some(" 2026-10-21 "), "2026-10-21")]
    {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = staged(folder.path());
        let (base, seen) = server::start(move |mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let fits =
                    request.to_ascii_lowercase().contains(&format!("\r\nanthropic-version: {want}\r\n"));
                peer.answer("200 OK", if fits { BATCH } else { "{}" }).await;
            }
        })
        .await;
        let settings = Settings { api_version: asked.map(str::to_owned), ..settings(&base) };
        let provider = bulkrate_provider::open("anthropic", &settings).unwrap();
        let api = provider.batches().unwrap();
        let created = api.create(&file, Kind::Chat, "claude-haiku-5-5", &marker()).await;
        assert!(matches!(created, Created::Accepted(_)), "{asked:?}: {created:?}");
        assert!(api.poll("msgbatch_1").await.unwrap().is_some(), "{asked:?}");
        assert_eq!(seen.requests(), 2);
    }
    let settings = Settings { api_version: Some("2024-10-21".into()), ..settings("http://127.0.0.1:1") };
    let refused = bulkrate_provider::open("anthropic", &settings).unwrap_err().to_string();
    assert!(refused.contains("2024-10-21") && refused.contains("2023-06-01 and 2026-10-21"), "{refused}");
}
