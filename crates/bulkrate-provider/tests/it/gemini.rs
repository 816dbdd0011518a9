//! Gemini's batch mode down to the bytes: what is uploaded and gone on with, what a create carries and its answer proves, how lists go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulkrate_core::failure::FailureClass;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Phase};
use bulkrate_provider::Created;

use crate::batches::marker;
use crate::server::{self, KEY, response};

const MODEL: &str = "gemini-3.8-flash";
const FILE: &str = r#"{"file":{"name":"files/abc","state":"ACTIVE"}}"#;

fn operation(id: &str, time: &str, name: &str) -> String {
    format!(
        r#"{{"name":"batches/{id}","metadata":{{"state":"BATCH_STATE_PENDING","displayName":"{name}","createTime":"{time}","inputConfig":{{"fileName":"files/abc"}}}}}}"#
    )
}

#[tokio::test]
async fn a_create_names_the_model_in_its_path_and_the_mark_in_its_name() {
    let (base, seen) = server::start(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let mark = marker();
            let name = format!("br1.{}.{}.{}.{}", mark.inst, mark.sub, mark.items, mark.digest);
            let want =
                format!(r#"{{"batch":{{"displayName":"{name}","inputConfig":{{"fileName":"files/abc"}}}}}}"#);
            let fits = request
                .starts_with("POST /v1beta/models/gemini-3.8-flash:batchGenerateContent HTTP/1.1")
                && request.ends_with(&format!("\r\n\r\n{want}"))
                && request.to_ascii_lowercase().contains(&format!("\r\nx-goog-api-key: {KEY}\r\n"));
            let body = operation("b1", "2026-11-20T10:00:00Z", &name);
            peer.answer("200 OK", if fits { &body } else { "{}" }).await;
        }
    })
    .await;
    let provider = server::open("gemini", &base);
    let api = provider.batches().unwrap();
    let created = api.create("files/abc", Kind::Chat, MODEL, &marker()).await;
    let Created::Accepted(batch) = created else { panic!("{created:?}") };
    assert_eq!(
        (batch.id.as_str(), batch.phase, batch.marker),
        ("batches/b1", Phase::Validating, Some(marker()))
    );
    assert_eq!((seen.requests(), api.facts().known_by, api.facts().one_file), (1, KnownBy::Mark, true));
}

#[tokio::test]
async fn what_the_answer_to_a_create_proves() {
    let error = |code: u16, status: &str, message: &str| {
        format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}"}}}}"#)
    };
    let gone = "You do not have permission to access the File abc or it may not exist.";
    for (status, body, want) in [
        ("200 OK", operation("b1", "2026-11-20T10:00:00Z", "x"), Ok(())),
        ("200 OK", r#"{"metadata":{"state":"BATCH_STATE_PENDING"}}"#.to_owned(), Err(None)),
        ("200 OK", "<html>".to_owned(), Err(None)),
        ("400 Bad Request", error(400, "INVALID_ARGUMENT", "x"), Err(Some(FailureClass::RefusedByProvider))),
        // The file may show up in a moment; that is no matter of the key.
        ("403 Forbidden", error(403, "PERMISSION_DENIED", gone), Err(Some(FailureClass::Transient))),
        ("403 Forbidden", error(403, "PERMISSION_DENIED", "x"), Err(Some(FailureClass::Auth))),
        ("404 Not Found", error(404, "NOT_FOUND", "x"), Err(Some(FailureClass::ModelUnavailable))),
        (
            "429 Too Many Requests",
            error(429, "RESOURCE_EXHAUSTED", "x"),
            Err(Some(FailureClass::RateLimited)),
        ),
        ("403 Forbidden", "<html>".to_owned(), Err(None)),
        ("409 Conflict", error(409, "ABORTED", "x"), Err(None)),
        ("500 Internal Server Error", error(500, "INTERNAL", "x"), Err(None)),
        ("503 Service Unavailable", error(503, "UNAVAILABLE", "x"), Err(None)),
        ("307 Temporary Redirect", String::new(), Err(None)),
    ] {
        let (base, seen) = server::always(status, &body).await;
        let provider = server::open("gemini", &base);
        let got = match provider.batches().unwrap().create("files/abc", Kind::Chat, MODEL, &marker()).await {
            Created::Accepted(_) => Ok(()),
            Created::Refused(failure) => Err(Some(failure.class)),
            Created::InDoubt(_) => Err(None),
        };
        assert_eq!((got, seen.requests()), (want, 1), "{status} {body}");
    }
}

/// A server that takes uploads and breaks the first one off after `arrives` bytes; what it was asked, and what it holds in the end.
async fn breaks_off(arrives: Option<usize>) -> (Vec<String>, String) {
    let (asked, held) =
        (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(std::sync::Mutex::new(String::new())));
    let (to_ask, to_hold, sends) = (asked.clone(), held.clone(), Arc::new(AtomicUsize::new(0)));
    let (base, _) = server::start(move |mut peer, _| {
        let (asked, held, sends) = (to_ask.clone(), to_hold.clone(), sends.clone());
        async move {
            while let Some(request) = peer.request().await {
                let head = request.to_ascii_lowercase();
                let header = |name: &str| {
                    head.split(&format!("\r\n{name}: ")).nth(1).and_then(|rest| rest.split("\r\n").next()).map(str::to_owned)
                };
                let (command, body) = (header("x-goog-upload-command").unwrap(), request.split_once("\r\n\r\n").unwrap().1);
                let (path, offset) = (request.split(' ').nth(1).unwrap().to_owned(), header("x-goog-upload-offset"));
                asked.lock().unwrap().push(format!("{path} {command} {}", offset.clone().unwrap_or_default()));
                let say = |status: &str, more: &str, body: &str| {
                    response("200 OK", &format!("x-goog-upload-status: {status}\r\n{more}"), body)
                };
                let answer = match command.as_str() {
                    "start" => {
                        assert!(body.contains("displayName") && header("x-goog-upload-header-content-length").as_deref() == Some("10"));
                        // The key goes to no origin that an answer names.
                        say("active", "x-goog-upload-url: https://elsewhere.invalid/upload/v1beta/files?upload_id=u1\r\n", "")
                    }
                    "query" => match arrives {
                        Some(bytes) => say("active", &format!("x-goog-upload-size-received: {bytes}\r\n"), ""),
                        None => response("404 Not Found", "", r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#),
                    },
                    _ if sends.fetch_add(1, Ordering::SeqCst) == 0 => {
                        held.lock().unwrap().push_str(&body[..arrives.unwrap_or(0)]);
                        return peer.reset();
                    }
                    _ => {
                        held.lock().unwrap().push_str(body);
                        say("final", "", FILE)
                    }
                };
                peer.write(&answer).await;
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.jsonl");
    std::fs::write(&path, "0123456789").unwrap();
    let provider = server::open("gemini", &base);
    let name = provider.batches().unwrap().upload(&path, "x.jsonl").await.unwrap();
    assert_eq!(name, "files/abc");
    let (asked, held) = (asked.lock().unwrap().clone(), held.lock().unwrap().clone());
    (asked, held)
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_gone_on_with_from_what_has_arrived() {
    const BEGIN: &str = "/upload/v1beta/files start ";
    let more = |command: &str| format!("/upload/v1beta/files?upload_id=u1 {command}");
    let (asked, held) = breaks_off(Some(4)).await;
    let want = [BEGIN.to_owned(), more("upload, finalize 0"), more("query "), more("upload, finalize 4")];
    assert_eq!((asked, held.as_str()), (want.to_vec(), "0123456789"));
    // One that is not known any more begins again.
    let (asked, held) = breaks_off(None).await;
    let want = [
        BEGIN.to_owned(),
        more("upload, finalize 0"),
        more("query "),
        BEGIN.to_owned(),
        more("upload, finalize 0"),
    ];
    assert_eq!((asked, held.as_str()), (want.to_vec(), "0123456789"));
}

#[tokio::test]
async fn lists_go_on_by_their_tokens_whatever_their_order_and_what_is_gone_is_gone() {
    let gone = r#"{"error":{"code":403,"message":"You do not have permission to access the File f or it may not exist.","status":"PERMISSION_DENIED"}}"#;
    let page = |rows: &[String], token: &str| {
        format!(r#"{{"operations":[{}],"nextPageToken":"{token}"}}"#, rows.join(","))
    };
    let (old, new) = ("2026-11-01T10:00:00Z", "2026-11-20T10:00:00Z");
    let pages = [
        ("GET /v1beta/batches?pageSize=100 ", "200 OK", page(&[operation("old", old, "x")], "a/b")),
        ("GET /v1beta/batches?pageSize=100&pageToken=a%2Fb ", "200 OK", page(&[], "c")),
        ("GET /v1beta/batches?pageSize=100&pageToken=c ", "200 OK", page(&[operation("new", new, "x")], "")),
        ("DELETE /v1beta/files/there ", "200 OK", "{}".to_owned()),
        ("DELETE /v1beta/files/f ", "403 Forbidden", gone.to_owned()),
        ("GET /v1beta/files/f:download?alt=media ", "403 Forbidden", gone.to_owned()),
        ("DELETE /v1beta/files/page ", "200 OK", "<html>".to_owned()),
        ("DELETE /v1beta/files/mine ", "403 Forbidden", gone.replace("may not exist", "is another's")),
    ];
    let (base, seen) = server::start(move |mut peer, _| {
        let pages = pages.clone();
        async move {
            while let Some(request) = peer.request().await {
                let page = pages.iter().find(|(start, ..)| request.starts_with(start));
                let (_, status, body) = page.unwrap_or_else(|| panic!("{request}"));
                peer.answer(status, body).await;
            }
        }
    })
    .await;
    let provider = server::open("gemini", &base);
    let api = provider.batches().unwrap();
    let listed = api.list_since(1_795_000_000).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|batch| batch.id.as_str()).collect();
    assert_eq!((ids, seen.requests()), (vec!["batches/new"], 3));
    api.delete_file("files/there").await.unwrap();
    api.delete_file("files/f").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("results.jsonl");
    assert_eq!(api.download("files/f", &to, 1 << 20).await.unwrap(), None);
    for denied in ["files/page", "files/mine"] {
        assert!(api.delete_file(denied).await.is_err(), "{denied}: nothing says that it is gone");
    }
}
