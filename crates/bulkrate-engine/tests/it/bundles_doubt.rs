//! Batches of bundles that are in doubt: they count requests, and what they cost is that of their items.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::settings::Settings;
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Stop};
use bulkrate_sim::{SimConfig, Speaks};
use serde_json::Value;

use crate::bundles::{SYSTEM, all_their_own};
use crate::ghosts::{billed, copy, doubts, restore, spec};
use crate::world::{Ear, World};

/// Another job of the same folder, over the same rows.
fn another(world: &World, first: &JobSpec, name: &str) -> JobSpec {
    let mut spec = first.clone();
    spec.name = name.to_owned();
    spec.request.system = Some(format!("{SYSTEM} Be brief."));
    spec.sink.path = Some(world.path(&format!("{name}.jsonl")));
    spec
}

/// What stands in doubt for a batch of 24 items of a restored folder, and what was billed for it; `by`: the job that meets it bundles
/// itself.
async fn ghost(bundle: Option<u32>, by_itself: bool) -> (UsdNanos, u64, i64) {
    let world = World::new(SimConfig::default()).await;
    let mut first = spec(&world);
    first.request.system = Some(SYSTEM.to_owned());
    first.request.bundle = bundle;
    let left = world.until("state", &first, "batch in_progress", 1).await;
    copy(&world.path("state"), &world.path("backup"));
    let whole = world.run(&first).await.unwrap();
    assert_eq!((whole.ending, whole.succeeded), (Ending::Finished, 60), "{whole:?}");
    restore(&world, "backup");
    let mut second = another(&world, &first, "second");
    second.request.system.clone_from(&first.request.system);
    second.request.bundle = None;
    let met = world.run(if by_itself { &first } else { &second }).await.unwrap();
    assert_eq!(met.ending, Ending::InDoubt, "{met:?}");
    let lines = doubts(&world);
    assert_eq!((lines.len(), lines[0].state.as_str()), (1, "ghost"), "{lines:?}");
    drop(left);
    (lines[0].price_at_most, lines[0].items, billed(&world))
}

#[tokio::test]
async fn a_ghost_of_bundles_is_priced_by_its_items_whichever_job_meets_it() {
    let (alone, items, _) = Box::pin(ghost(None, true)).await;
    assert_eq!(items, 24);
    for by_itself in [true, false] {
        let (bundled, items, _) = Box::pin(ghost(Some(6), by_itself)).await;
        assert_eq!((bundled, items), (alone, 24), "{by_itself}");
    }
}

/// A provider that writes no marks on batches, in a workspace that is this folder's alone.
fn unmarked(world: &World) -> Settings {
    let mut settings = world.settings();
    let provider = bulkrate_provider::Settings {
        base_url: Some(world.sim.base_url()),
        api_key: "sk-test".into(),
        exclusive_workspace: true,
        ..Default::default()
    };
    let account = &mut settings.accounts[0];
    account.provider = "anthropic".into();
    account.api = bulkrate_provider::open("anthropic", &provider).unwrap();
    settings
}

async fn run(world: &World, spec: &JobSpec, until: Option<&str>) -> (Report, Vec<String>) {
    let (stop, ear) = (Stop::new(), Arc::new(Ear::default()));
    let engine = Engine::open(unmarked(world)).unwrap();
    let watch = async {
        while let Some(part) = until
            && !ear.heard(part)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if until.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await; // and looks at the list
            stop.detach();
        }
    };
    let run = Box::pin(engine.run(spec, &|_| true, ear.clone(), stop.clone()));
    let run = async { tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends") };
    let (report, ()) = tokio::join!(run, watch);
    let heard = ear.heard.lock().unwrap().clone();
    (report.unwrap(), heard)
}

#[tokio::test]
async fn a_batch_in_doubt_is_not_taken_for_that_of_another_job_with_as_many_requests() {
    let config =
        SimConfig { speaks: Speaks::Anthropic, speed: 1_500.0, slow_ms: 300, ..SimConfig::default() };
    // The first is left while it is looked for.
    let faults = ["create-lost@1", "create-late@2", "slow:list@1"];
    let config = faults.iter().fold(config, |config, rule| config.with_fault(rule).unwrap());
    let world = World::new(config).await;
    let mut first = world.spec(&world.reviews(60), Lane::Batch);
    first.request.model = Some("anthropic/claude-haiku-5-5".into());
    first.request.system = Some(SYSTEM.to_owned());
    first.request.bundle = Some(6);
    first.run.canary = false;
    first.run.budget = Some(UsdNanos::dollars(5));
    first.run.max_in_doubt = Some(UsdNanos::dollars(5));
    let second = another(&world, &first, "second");
    let (left, heard) = run(&world, &first, Some("alert batch-in-doubt")).await;
    assert_eq!(left.ending, Ending::Detached, "{left:?} {heard:?}");
    assert_eq!(doubts(&world).len(), 1, "{heard:?}");

    // Its own create is carried out late: for a while the other's batch is all that there is.
    let (left, heard) = run(&world, &second, Some("alert batch-in-doubt")).await;
    assert_eq!(left.ending, Ending::Detached, "{left:?} {heard:?}");
    assert!(!heard.iter().any(|line| line.contains("adopted")), "{heard:?}");

    // Once they have ended, their results tell.
    tokio::time::sleep(Duration::from_millis(800)).await;
    for spec in [&second, &first] {
        let (done, heard) = run(&world, spec, None).await;
        assert_eq!((done.ending, done.succeeded), (Ending::Finished, 60), "{done:?} {heard:?}");
        assert!(heard.iter().any(|line| line.contains("adopted")), "{heard:?}");
    }
    all_their_own(&world.rows());
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["requests"], 18, "neither was paid twice: {bill}");
}
