//! The adapters against the simulator.

use std::time::Duration;

use bulkrate_provider::conformance::{self, Options};
use bulkrate_sim::{Sim, SimConfig};

use crate::server::{KEY, settings};

async fn sim() -> Sim {
    Sim::start(SimConfig { speed: 36_000.0, api_key: Some(KEY.to_owned()), ..SimConfig::default() })
        .await
        .unwrap()
}

async fn conforms(name: &str) -> Vec<&'static str> {
    let sim = sim().await;
    let folder = tempfile::tempdir().unwrap();
    let provider = bulkrate_provider::open(name, &settings(&sim.base_url())).unwrap();
    let health = provider.probe().await.unwrap();
    assert!(health.batches && health.models.is_some_and(|models| models > 0), "{health:?}");
    let options = Options {
        model: "gpt-4.1-mini",
        folder: folder.path(),
        poll_every: Duration::from_millis(5),
        polls_max: 2_000,
        unix_ms: 1_795_046_400_000,
    };
    let report =
        conformance::run(&*provider, &options).await.unwrap_or_else(|violation| panic!("{violation}"));
    report.passed
}

#[tokio::test]
async fn openai_conforms() {
    assert_eq!(conforms("openai").await.len(), 9);
}

#[tokio::test]
async fn a_custom_endpoint_conforms_once_probed() {
    assert_eq!(conforms("custom").await.len(), 9);
}

#[tokio::test]
async fn a_wrong_key_is_told() {
    let sim = sim().await;
    let mut settings = settings(&sim.base_url());
    settings.api_key = "sk-wrong-canary-000".into();
    let provider = bulkrate_provider::open("openai", &settings).unwrap();
    let error = provider.probe().await.unwrap_err();
    assert_eq!(error.failure.class, bulkrate_core::failure::FailureClass::Auth);
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
