//! Mistral's batch jobs: what goes out, and numbered pages of a list.

use std::collections::BTreeSet;

use bulkrate_core::failure::FailureClass;
use bulkrate_core::ids::{Sub, WireId};
use bulkrate_core::request::Kind;
use bulkrate_core::submission::{Marker, Phase};
use bulkrate_provider::{Created, Provider};
use bulkrate_sim::{Sim, SimConfig};

use crate::server::{self, KEY, open};

const MODEL: &str = "mistral-small-2603";

async fn sim() -> Sim {
    let (api_key, like) = (Some(KEY.to_owned()), Some("mistral".to_owned()));
    Sim::start(SimConfig { speed: 36_000.0, api_key, like, ..SimConfig::default() }).await.unwrap()
}

fn marker(of: u64) -> Marker {
    Marker {
        inst: "inst-1".to_owned(),
        sub: Sub::new(of, 1).to_string(),
        items: 1,
        digest: "00ff".to_owned(),
    }
}

async fn uploaded(provider: &dyn Provider, body: &[u8]) -> String {
    let batches = provider.batches().unwrap();
    let mut line = Vec::new();
    batches.input_line(WireId::one(Sub::new(1, 2), 0), Kind::Chat, body, &mut line);
    let file = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    std::fs::write(file.path(), line).unwrap();
    batches.upload(file.path(), "input").await.unwrap()
}

const ASK: &[u8] = br#"{"model":"mistral-small-2603","max_tokens":9,"random_seed":7,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn every_page_of_the_list_is_read() {
    let sim = sim().await;
    let provider = open("mistral", &sim.base_url());
    let batches = provider.batches().unwrap();
    let file = uploaded(&*provider, ASK).await;
    for at in 0..230 {
        let created = batches.create(&file, Kind::Chat, MODEL, &marker(at)).await;
        assert!(matches!(created, Created::Accepted(_)), "{created:?}");
    }
    let listed = batches.list_since(0).await.unwrap();
    let marked: BTreeSet<String> = listed.iter().map(|batch| batch.marker.clone().unwrap().sub).collect();
    assert_eq!((listed.len(), marked.len()), (230, 230));
}

#[tokio::test]
async fn a_create_names_the_model_that_its_lines_do_not_name() {
    let (base, _) = server::start(|mut peer, _| async move {
        while let Some(asked) = peer.request().await {
            assert!(asked.starts_with("POST /v1/batch/jobs HTTP/1.1"), "{asked}");
            for words in [
                r#""input_files":["file-1"]"#,
                r#""model":"mistral-small-2603""#,
                r#""endpoint":"/v1/chat/completions""#,
                r#""timeout_hours":24"#,
                r#""br_inst":"inst-1""#,
            ] {
                assert!(asked.contains(words), "{words}: {asked}");
            }
            peer.answer("200 OK", r#"{"id":"j1","status":"QUEUED","total_requests":0}"#).await;
        }
    })
    .await;
    let provider = open("mistral", &base);
    let created = provider.batches().unwrap().create("file-1", Kind::Chat, MODEL, &marker(1)).await;
    let Created::Accepted(batch) = created else { panic!("{created:?}") };
    assert_eq!((batch.id.as_str(), batch.phase), ("j1", Phase::Validating));
}

/// A refusal in its own words is one, be it flat or a list; a gateway's page is not.
#[tokio::test]
async fn refusals_are_told_from_pages_of_a_gateway() {
    for (status, body, class) in [
        (
            "422 Unprocessable",
            r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"}]}"#,
            Some(FailureClass::RefusedByProvider),
        ),
        (
            "429 Too Many",
            r#"{"object":"error","message":"Requests rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#,
            Some(FailureClass::RateLimited),
        ),
        ("401 Unauthorized", r#"{"detail":"Unauthorized"}"#, Some(FailureClass::Auth)),
        ("403 Forbidden", "<html>", None),
        ("403 Forbidden", r#"{"message":"Forbidden"}"#, None),
        ("500 Internal", r#"{"object":"error","message":"x","type":"internal"}"#, None),
    ] {
        let (base, seen) = server::always(status, body).await;
        let created =
            open("mistral", &base).batches().unwrap().create("f", Kind::Chat, MODEL, &marker(1)).await;
        let got = match created {
            Created::Refused(failure) => Some(failure.class),
            _ => None,
        };
        assert_eq!((got, seen.requests()), (class, 1), "{status} {body}");
    }
}
