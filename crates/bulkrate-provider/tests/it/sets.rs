//! Fireworks: whose account it is, how a job is named, and what is a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::Sub;
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{KnownBy, Marker, Phase};
use bulkrate_provider::Created;

use crate::server::{self, open};

const SET: &str = "bulkrate-01k-0f";
const ONE: &str = r#"{"accounts":[{"name":"accounts/mine"}]}"#;

/// A create at an API that tells of these accounts, and answers the create like this; with the number of requests.
async fn create(accounts: &'static str, status: &'static str, body: &'static str) -> (Created, usize) {
    let (base, seen) = server::start(move |mut peer, _| async move {
        while let Some(asked) = peer.request().await {
            if asked.starts_with("GET /v1/accounts?pageSize=2 HTTP/1.1") {
                peer.answer("200 OK", accounts).await;
                continue;
            }
            let path =
                format!("POST /v1/accounts/mine/batchInferenceJobs?batchInferenceJobId={SET} HTTP/1.1");
            assert!(asked.starts_with(&path), "{asked}");
            for word in [
                format!(r#""inputDatasetId":"accounts/mine/datasets/{SET}""#),
                format!(r#""outputDatasetId":"accounts/mine/datasets/{SET}-out""#),
                r#""model":"any/model""#.to_owned(),
            ] {
                assert!(asked.contains(&word), "{word}: {asked}");
            }
            peer.answer(status, body).await;
        }
    })
    .await;
    let provider = open("fireworks", &base.replace("/v1", "/inference/v1"));
    let marker = Marker {
        inst: "inst-1".to_owned(),
        sub: Sub::new(1, 1).to_string(),
        items: 1,
        digest: "00ff".to_owned(),
    };
    let batches = provider.batches().unwrap();
    assert_eq!((batches.facts().known_by, batches.facts().one_file), (KnownBy::Input, true));
    assert!(batches.refuses(Kind::Embedding, "m").is_some() && batches.refuses(Kind::Chat, "m").is_none());
    (batches.create(SET, Kind::Chat, "any/model", &marker).await, seen.requests())
}

#[tokio::test]
async fn a_job_has_the_name_of_its_input() {
    let (made, requests) = create(ONE, "200 OK", include_str!("../../fixtures/fireworks/job.json")).await;
    let Created::Accepted(job) = made else { panic!("{made:?}") };
    assert_eq!((job.id.as_str(), job.input_file.as_deref(), requests), (SET, Some(SET), 2));
    assert_eq!(job.phase, Phase::Completed);
}

/// Who pays is not guessed: no job is made.
#[tokio::test]
async fn a_key_of_several_accounts_makes_none() {
    for (accounts, said) in [
        (r#"{"accounts":[{"name":"accounts/a"},{"name":"accounts/b"}]}"#, "several accounts"),
        (r#"{"accounts":[]}"#, "no accounts"),
    ] {
        let (made, requests) = create(accounts, "500 Never", "").await;
        let Created::Refused(failure) = made else { panic!("{made:?}") };
        assert!(failure.message.contains(said) && !failure.maybe_paid && requests == 1, "{failure:?}");
    }
}

#[tokio::test]
async fn refusals_are_told_from_what_may_have_been_made() {
    use FailureClass::{Auth, RateLimited, RefusedByProvider};
    for (status, body, class) in [
        ("400 Bad", r#"{"code":3,"message":"x","details":[]}"#, Some(RefusedByProvider)),
        (
            "401 No",
            r#"{"error":{"message":"x","param":null,"code":"UNAUTHORIZED","type":"error"}}"#,
            Some(Auth),
        ),
        (
            "403 Forbidden",
            r#"{"error":{"message":"The API key you provided is invalid.","param":null,"code":"UNAUTHORIZED","type":"error"},"request_id":"r"}"#,
            Some(Auth),
        ),
        ("429 Too Many", r#"{"code":8,"message":"x","details":[]}"#, Some(RateLimited)),
        // An earlier one has the name: it may be this.
        ("409 Conflict", r#"{"code":6,"message":"job already exists","details":[]}"#, None),
        ("400 Bad", r#"{"code":3,"message":"job already exists","details":[]}"#, None),
        ("403 Forbidden", r#"{"message":"Forbidden"}"#, None),
        ("403 Forbidden", "<html>", None),
        ("500 Internal", r#"{"code":13,"message":"x","details":[]}"#, None),
        ("200 OK", r#"{"state":"JOB_STATE_CREATING"}"#, None),
    ] {
        let (made, requests) = create(ONE, status, body).await;
        let got = match made {
            Created::Refused(failure) if !failure.maybe_paid => Some(failure.class),
            Created::InDoubt(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!((got, requests), (class, 2), "{status} {body}");
    }
}

/// It is stopped by deleting it: one that has ended is left alone, and one that is gone by our own hand has ended.
#[tokio::test]
async fn only_a_job_that_runs_is_deleted_and_then_it_has_ended() {
    const GONE: &str = r#"{"code":5,"message":"resource not found","details":[]}"#;
    for (state, delete, verbs, end) in [
        ("RUNNING", ("200 OK", "{}"), "GET GET DELETE GET", Some(Phase::Cancelled)),
        ("RUNNING", ("404 Not Found", GONE), "GET GET DELETE GET", Some(Phase::Cancelled)),
        // Nothing was deleted by this answer: what is unknown after it may be lost.
        ("RUNNING", ("400 Bad", r#"{"code":3,"message":"x","details":[]}"#), "GET GET DELETE GET", None),
        // Its answers are paid, and can be had in a moment.
        ("WRITING_RESULTS", ("500 Never", ""), "GET GET GET", None),
        ("OF_TOMORROW", ("500 Never", ""), "GET GET GET", None),
        ("DELETING", ("500 Never", ""), "GET GET GET", None),
        ("COMPLETED", ("500 Never", ""), "GET GET GET", None),
    ] {
        let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let looked = Arc::new(AtomicBool::new(false));
        let (base, _) = server::start(move |mut peer, _| {
            let (told, looked) = (told.clone(), Arc::clone(&looked));
            async move {
                while let Some(request) = peer.request().await {
                    let verb = request.split(' ').next().unwrap().to_owned();
                    let is_account = request.starts_with("GET /v1/accounts?");
                    told.send(verb.clone()).unwrap();
                    match verb.as_str() {
                        _ if is_account => peer.answer("200 OK", ONE).await,
                        "DELETE" => peer.answer(delete.0, delete.1).await,
                        _ if looked.swap(true, Ordering::SeqCst) => peer.answer("404 Not Found", GONE).await,
                        _ => {
                            let job = format!(r#"{{"name":"accounts/mine/batchInferenceJobs/{SET}","state":"JOB_STATE_{state}"}}"#);
                            peer.answer("200 OK", &job).await;
                        }
                    }
                }
            }
        })
        .await;
        let provider = open("fireworks", &base.replace("/v1", "/inference/v1"));
        let batches = provider.batches().unwrap();
        let cancelled = batches.cancel(SET).await;
        assert_eq!(cancelled.is_ok(), delete.0 != "400 Bad", "{state} {delete:?}: {cancelled:?}");
        let polled = batches.poll(SET).await.unwrap();
        assert_eq!(polled.map(|job| job.phase), end, "{state} {delete:?}");
        let seen: Vec<String> = std::iter::from_fn(|| asked.try_recv().ok()).collect();
        assert_eq!(seen.join(" "), verbs, "{state} {delete:?}");
    }
}

/// A data set without its lines would only take room.
#[tokio::test]
async fn a_data_set_that_cannot_be_filled_is_deleted() {
    let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let (base, _) = server::start(move |mut peer, _| {
        let told = told.clone();
        async move {
            while let Some(request) = peer.request().await {
                let line = request.split(" HTTP").next().unwrap().to_owned();
                let answer = match line.as_str() {
                    line if line.starts_with("GET /v1/accounts?") => ("200 OK", ONE),
                    line if line.ends_with(":upload") => {
                        ("400 Bad", r#"{"code":3,"message":"no lines","details":[]}"#)
                    }
                    line if line.starts_with("GET") => ("200 OK", r#"{"state":"UPLOADING"}"#),
                    _ => ("200 OK", "{}"),
                };
                told.send(line).unwrap();
                peer.answer(answer.0, answer.1).await;
            }
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("input.jsonl");
    std::fs::write(&input, "{}\n").unwrap();
    let provider = open("fireworks", &base.replace("/v1", "/inference/v1"));
    let error = provider.batches().unwrap().upload(&input, "br1").await.unwrap_err();
    assert!(error.to_string().contains("no lines"), "{error}");
    let seen: Vec<String> = std::iter::from_fn(|| asked.try_recv().ok()).collect();
    let [_, make, fill, look, delete] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(make, "POST /v1/accounts/mine/datasets");
    let set = fill.trim_start_matches("POST ").trim_end_matches(":upload");
    assert!(set.starts_with("/v1/accounts/mine/datasets/br1-"), "{seen:?}");
    assert_eq!((look, delete), (&format!("GET {set}"), &format!("DELETE {set}")));
}
