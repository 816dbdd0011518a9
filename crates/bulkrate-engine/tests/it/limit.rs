//! `--limit` says what a run is asked for; the job stays the same.

use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Reader;
use bulkrate_engine::report::{Ending, Report};

use crate::world::{World, fast};

fn billed(world: &World) -> u64 {
    let bill: serde_json::Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    bill["requests"].as_u64().unwrap()
}

fn balanced(world: &World, report: &Report) {
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "{report:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap(), "{report:?}");
    let proofs = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[]).unwrap();
    assert!(proofs.passed(), "{proofs:?}");
}

/// What a report tells one to type must find this job and no other.
#[tokio::test]
async fn a_job_that_shares_its_name_is_told_by_its_id() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(5), Lane::Sync);
    let first = world.run(&spec).await.unwrap();
    assert_eq!((first.handle.as_str(), first.name.as_str()), ("reviews", "reviews"));
    spec.request.system = Some("Another prompt.".to_owned());
    spec.sink.path = Some(world.path("other.jsonl"));
    let second = world.run(&spec).await.unwrap();
    assert_eq!((second.handle.as_str(), second.name.as_str()), (second.job.as_str(), "reviews"));
    assert_ne!(first.job, second.job);
}

#[tokio::test]
async fn the_whole_file_goes_on_where_the_limited_run_ended() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let mut spec = world.spec(&world.reviews(100), lane);
        spec.source.limit = Some(30);
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.exit_code()), (Ending::Finished, 0), "{lane}: {report:?}");
        assert_eq!(
            (report.items, report.succeeded, report.duplicates, report.open, report.items_beyond_limit),
            (30, 30, 3, 0, 70),
            "{lane}: {report:?}"
        );
        assert_eq!((world.rows().len(), billed(&world)), (30, 27), "{lane}");
        balanced(&world, &report);
        let status = |world: &World| {
            let status = Reader::open(&world.path("state")).unwrap().status(None).unwrap().remove(0);
            (status.state, status.items, status.open_asked, status.limit)
        };
        assert_eq!(status(&world), ("running".to_owned(), 100, 0, Some(30)));

        // The same again asks for nothing.
        let again = world.run(&spec).await.unwrap();
        assert_eq!((again.ending, again.succeeded, billed(&world)), (Ending::Finished, 30, 27), "{again:?}");

        spec.source.limit = None;
        let whole = world.run(&spec).await.unwrap();
        assert_eq!(whole.job, report.job, "one job");
        assert_eq!(
            (whole.ending, whole.items, whole.succeeded, whole.duplicates, whole.items_beyond_limit),
            (Ending::Finished, 100, 100, 10, 0),
            "{lane}: {whole:?}"
        );
        assert_eq!((world.rows().len(), billed(&world)), (100, 90), "{lane}: paid once");
        balanced(&world, &whole);
        assert_eq!(status(&world), ("done".to_owned(), 100, 0, None));
    }
}

#[tokio::test]
async fn a_plan_prices_what_will_run() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(100), Lane::Batch);
    spec.source.limit = Some(30);
    let limited = world.engine().plan(&spec, &*world.ear).await.unwrap();
    assert_eq!(
        (limited.records, limited.beyond_limit, limited.requests, limited.duplicates),
        (30, 70, 27, 3),
        "{limited:?}"
    );
    // Exactly as if the file were so short.
    let short = World::new(fast()).await;
    let alone = short.engine().plan(&short.spec(&short.reviews(30), Lane::Batch), &*short.ear).await.unwrap();
    assert_eq!((&limited.lanes, limited.naive, &limited.models), (&alone.lanes, alone.naive, &alone.models));
    assert!(limited.warnings.iter().all(|warning| !warning.contains("scaled")), "{:?}", limited.warnings);

    world.run(&spec).await.unwrap();
    spec.source.limit = Some(50);
    let more = world.engine().plan(&spec, &*world.ear).await.unwrap();
    assert_eq!((more.records, more.beyond_limit, more.requests), (50, 50, 18), "{more:?}");
    assert!(more.warnings.iter().any(|warning| warning.contains("scaled")), "{:?}", more.warnings);
    spec.source.limit = None;
    let rest = world.engine().plan(&spec, &*world.ear).await.unwrap();
    assert_eq!((rest.records, rest.beyond_limit, rest.requests), (100, 0, 63), "{rest:?}");
}

#[tokio::test]
async fn the_whole_source_is_checked_whatever_the_limit() {
    let world = World::new(fast()).await;
    let source = world.path("reviews.jsonl");
    let mut text: String =
        (0..40).map(|row| format!("{{\"id\":\"r{row}\",\"text\":\"great product {row}\"}}\n")).collect();
    text.push_str("{\"id\":\"r40\"\n");
    std::fs::write(&source, text).unwrap();
    let mut spec = world.spec(&source, Lane::Sync);
    spec.source.limit = Some(10);
    assert_eq!(world.run(&spec).await.unwrap_err().code(), "source-bad-json");
    assert_eq!(billed(&world), 0);
}

/// The cache answers the whole source when a job is prepared; what it saved beyond the limit is no saving of the run.
#[tokio::test]
async fn a_limited_run_saves_what_its_own_items_took_from_the_cache() {
    let world = World::new(fast()).await;
    let paid = world.run(&world.spec(&world.reviews(100), Lane::Sync)).await.unwrap();
    let bill = world.sim.bill_usd_nanos();
    let mut spec = world.spec(&world.reviews(110), Lane::Sync);
    spec.source.limit = Some(30);
    spec.sink.path = Some(world.path("limited.jsonl"));
    let saved = |report: &Report| report.saved.values().copied().sum::<UsdNanos>();
    let limited = world.run(&spec).await.unwrap();
    assert_eq!(
        (limited.succeeded, limited.cached, limited.duplicates, limited.spent),
        (30, 27, 3, UsdNanos::ZERO)
    );
    // Exactly what the first 30 rows cost one by one.
    let alone = World::new(fast()).await;
    let short = alone.run(&alone.spec(&alone.reviews(30), Lane::Sync)).await.unwrap();
    assert_eq!((limited.naive, saved(&limited)), (short.naive, short.naive), "{limited:?}");

    // The same again, and then all of it.
    let again = world.run(&spec).await.unwrap();
    assert_eq!((again.naive, &again.saved), (limited.naive, &limited.saved), "{again:?}");
    spec.source.limit = None;
    let whole = world.run(&spec).await.unwrap();
    assert_eq!((whole.succeeded, whole.cached), (110, 90), "{whole:?}");
    assert!(whole.naive > paid.naive, "{whole:?}");
    assert_eq!(whole.naive - saved(&whole), whole.spent, "{whole:?}");
    assert_eq!(whole.spent.0, i64::try_from(world.sim.bill_usd_nanos() - bill).unwrap(), "{whole:?}");
    let proofs = Reader::open(&world.path("state")).unwrap().verify(&whole.job, &[]).unwrap();
    assert!(proofs.passed(), "{proofs:?}");
}

/// Batches of an earlier run without a limit are collected, whatever they hold; nothing else beyond the limit is sent.
#[tokio::test]
async fn open_batches_are_collected_by_a_limited_run() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(100), Lane::Batch);
    (spec.run.poll_min_ms, spec.run.poll_max_ms) = (300, 300);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.canary = false;
    spec.run.batch_items_max = 40;
    spec.run.batches_max = 1;
    let cut = tokio::time::timeout(Duration::from_millis(250), world.run(&spec)).await;
    assert!(cut.is_err(), "the first run was to be cut short");
    spec.source.limit = Some(10);
    let limit = Duration::from_secs(20);
    let report = tokio::time::timeout(limit, world.run(&spec)).await.expect("it ends").unwrap();
    assert_eq!((report.ending, report.items, report.succeeded), (Ending::Finished, 10, 10), "{report:?}");
    assert_eq!((report.reserved, world.rows().len()), (UsdNanos::ZERO, 10), "{report:?}");
    assert_eq!(billed(&world), 40, "the one batch that was sent");
    balanced(&world, &report);
}
