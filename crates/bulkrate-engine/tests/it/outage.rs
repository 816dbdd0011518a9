//! A provider that cannot be reached, gives out no results, or is not the API at all.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Stop};
use bulkrate_provider::{ProxyFrom, RetryPolicy};

use crate::world::{World, fast};

/// Runs with a client that tries free calls once, so that the engine sees each failure.
async fn run_at(world: &World, base_url: &str, spec: &JobSpec) -> Report {
    let mut settings = world.settings();
    let wire = bulkrate_provider::Settings {
        base_url: Some(base_url.to_owned()),
        api_key: "sk-test".into(),
        proxy: ProxyFrom::None,
        retry: RetryPolicy { tries: 1, wait_max: Duration::from_millis(10), ..RetryPolicy::default() },
        ..Default::default()
    };
    settings.accounts[0].api = bulkrate_provider::open("openai", &wire).unwrap();
    let engine = Engine::open(settings).unwrap();
    engine.run(spec, &|_| true, Arc::<crate::world::Ear>::clone(&world.ear), Stop::new()).await.unwrap()
}

#[tokio::test]
async fn an_outage_of_downloads_is_told_once_and_so_is_its_end() {
    let mut config = fast();
    for nth in 1..=4 {
        config = config.with_fault(&format!("reset-early:content@{nth}")).unwrap();
    }
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(20), Lane::Batch);
    spec.run.canary = false;
    let report = run_at(&world, &world.sim.base_url(), &spec).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 20), "{report:?}");
    let heard = world.ear.heard.lock().unwrap().clone();
    let told = |part: &str| heard.iter().filter(|line| line.contains(part)).count();
    assert_eq!((told("alert download-failed"), told("gives out results again")), (1, 1), "{heard:?}");
}
