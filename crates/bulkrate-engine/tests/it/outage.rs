//! A provider that cannot be reached, gives out no results, or is not the API at all.

use std::sync::Arc;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Engine, Stop};
use bulkrate_provider::{ProxyFrom, RetryPolicy};
use bulkrate_sim::SimConfig;

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

/// A job of batches at a provider with such faults, and what a person was told.
async fn batches_with(faults: &[&str], tune: impl FnOnce(&mut JobSpec)) -> (World, Report, Vec<String>) {
    let mut config = SimConfig { speed: 1_000.0, ..fast() };
    for fault in faults {
        config = config.with_fault(fault).unwrap();
    }
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(20), Lane::Batch);
    spec.run.canary = false;
    tune(&mut spec);
    let base_url = world.sim.base_url();
    let run = Box::pin(run_at(&world, &base_url, &spec));
    let report = tokio::time::timeout(Duration::from_secs(20), run).await.expect("the run ends");
    let heard = world.ear.heard.lock().unwrap().clone();
    (world, report, heard)
}

fn told(heard: &[String], part: &str) -> usize {
    heard.iter().filter(|line| line.contains(part)).count()
}

#[tokio::test]
async fn an_address_that_sends_one_elsewhere_stops_the_job_and_says_what_next() {
    for place in ["upload", "poll", "content"] {
        let (world, report, heard) = batches_with(&[&format!("redirect:{place}")], |_| ()).await;
        assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 1), "{place}: {report:?}");
        let why = report.reason.clone().unwrap();
        assert!(why.contains("redirect") && why.contains("--base-url"), "{place}: {why}");
        let alerts = told(&heard, "alert batch-unanswered") + told(&heard, "alert download-failed");
        assert_eq!(alerts, 1, "{place}: {heard:?}");
        assert_eq!(report.failed, 0, "the next run goes on where it is: {place}: {report:?}");
        drop(world);
    }
}

#[tokio::test]
async fn one_redirect_is_an_outage() {
    let (_, report, heard) = batches_with(&["redirect:poll@1"], |_| ()).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 20), "{report:?}");
    assert_eq!(
        (told(&heard, "alert batch-unanswered"), told(&heard, "answers for the batches again")),
        (1, 1)
    );
}

#[tokio::test]
async fn uploads_that_fail_are_told_once_and_repeated_ever_less_often() {
    let begun = std::time::Instant::now();
    let (_, report, heard) = batches_with(&["5xx:upload=503@1-6"], |spec| {
        (spec.run.poll_min_ms, spec.run.poll_max_ms) = (20, 160);
    })
    .await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 20), "{report:?}");
    assert_eq!(told(&heard, "alert batch-unanswered"), 1, "{heard:?}");
    // 20 + 31 + 47 + 71 + 107 + 160
    assert!(begun.elapsed() >= Duration::from_millis(430), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_state_that_nobody_knows_is_told_once() {
    let (_, report, heard) = batches_with(&["unknown-status"], |_| ()).await;
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 20), "{report:?}");
    assert_eq!(told(&heard, "alert batch-unanswered"), 1, "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("`paused`")), "{heard:?}");
}

#[tokio::test]
async fn batches_whose_every_request_is_refused_for_now_are_tried_ever_less_often() {
    let config = fast().with_fault("line-errors=429").unwrap();
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(20), Lane::Batch);
    spec.run.canary = false;
    (spec.run.poll_min_ms, spec.run.poll_max_ms) = (20, 60_000);
    let engine = Engine::open(world.settings()).unwrap();
    let stop = Stop::new();
    let ear = Arc::<crate::world::Ear>::clone(&world.ear);
    let run = engine.run(&spec, &|_| true, ear, stop.clone());
    let halt = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        stop.detach();
    };
    let (report, ()) = tokio::join!(run, halt);
    let report = report.unwrap();
    // At 20, 31, 47, 71, ... ms the waits are 3.5 s together after 11 batches.
    assert!((4..=14).contains(&report.batches), "{report:?}");
    assert!(world.ear.heard("alert batches-refused"), "{report:?}");
    assert_eq!((report.spent.0, report.in_doubt.0), (0, 0), "{report:?}");
}

/// A port where nobody listens.
fn nobody() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}/v1")
}

/// Time runs by itself where nothing else does.
#[tokio::test(start_paused = true)]
async fn an_address_where_nobody_has_ever_answered_ends_the_run_within_minutes() {
    for lane in [Lane::Sync, Lane::Flex, Lane::Batch] {
        for canary in [true, false] {
            let world = World::new(fast()).await;
            let mut spec = world.spec(&world.reviews(40), lane);
            spec.run.canary = canary;
            let report = run_at(&world, &nobody(), &spec).await;
            let case = format!("{lane} {canary}: {report:?}");
            assert_eq!((report.ending, report.exit_code()), (Ending::Halted, 1), "{case}");
            assert_eq!(report.halted_by.as_deref(), Some("never_answered"), "{case}");
            assert_eq!((report.in_doubt.0, report.failed), (0, 0), "{case}");
            // What is packed for a batch is not sent by that.
            assert_eq!((report.requests_sent, report.batches), (0, 0), "{case}");
            let why = report.reason.clone().unwrap();
            for part in ["could not reach `http://127.0.0.1:", "nothing listens on port", "--base-url"] {
                assert!(why.contains(part), "{part}: {case}");
            }
            // The clock also runs while the disk is waited for.
            assert!((120.0..3_600.0).contains(&report.seconds), "{case}");
            let heard = world.ear.heard.lock().unwrap().clone();
            assert_eq!(told(&heard, "alert never-answered"), 1, "{heard:?}");
            // The job is as it was: with the right address it runs.
            let report = run_at(&world, &world.sim.base_url(), &spec).await;
            assert_eq!((report.ending, report.succeeded), (Ending::Finished, 40), "{report:?}");
        }
    }
}
