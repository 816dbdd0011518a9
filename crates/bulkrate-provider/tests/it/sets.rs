//! Fireworks: whose account it is, how a job is named, and what is a refusal.

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
