//! Each lane does the whole job, and the ledger is the bill.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_sim::SimConfig;
use bulkrate_store::{SqliteStore, View};

use crate::world::{World, fast};

async fn whole_job(lane: Lane) {
    let world = World::new(fast()).await;
    let source = world.reviews(100);
    let spec = world.spec(&source, lane);
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!(report.ending, Ending::Finished, "{report:?} {heard:?}");
    assert_eq!(
        (report.items, report.succeeded, report.failed, report.duplicates),
        (100, 100, 0, 10),
        "{report:?} {heard:?}"
    );
    assert_eq!(report.spent, UsdNanos(i64::try_from(world.sim.bill_usd_nanos()).unwrap()), "ledger = bill");
    assert_eq!((report.reserved, report.in_doubt), (UsdNanos::ZERO, UsdNanos::ZERO));
    assert!(report.spent > UsdNanos::ZERO);
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "naive - savings = spend: {:?}", report.saved);

    let rows = world.rows();
    assert_eq!(rows.len(), 100);
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], format!("r{place}"));
        assert_eq!(row["_status"], "succeeded", "{row}");
        let want = if place % 10 == 9 { "positive" } else { ["positive", "negative", "neutral"][place % 3] };
        assert_eq!(row["answer"], want, "{row}");
    }

    // The same job again: nothing is sent, the output is written again.
    let bill = world.sim.bill_usd_nanos();
    let again = world.run(&spec).await.unwrap();
    assert_eq!((again.ending, again.succeeded, again.spent), (Ending::Finished, 100, report.spent));
    assert_eq!(world.sim.bill_usd_nanos(), bill, "paid once");
}

#[tokio::test]
async fn the_sync_lane_does_a_whole_job() {
    Box::pin(whole_job(Lane::Sync)).await;
}

#[tokio::test]
async fn the_flex_lane_does_a_whole_job() {
    Box::pin(whole_job(Lane::Flex)).await;
}

#[tokio::test]
async fn the_batch_lane_does_a_whole_job() {
    Box::pin(whole_job(Lane::Batch)).await;
}

#[tokio::test]
async fn a_lost_create_is_found_and_adopted() {
    let world = World::new(fast().with_fault("create-lost@1").unwrap()).await;
    let spec = world.spec(&world.reviews(60), Lane::Batch);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60));
    let heard = world.ear.heard.lock().unwrap().clone();
    assert!(heard.iter().any(|line| line.contains("adopted")), "{heard:?}");
    let ends = heard.iter().filter(|line| line.starts_with("batch settled")).count();
    assert_eq!(ends, 1, "an end is told once: {heard:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
    assert_eq!(report.in_doubt, UsdNanos::ZERO);
}

#[tokio::test]
async fn faults_of_the_batch_lane_lose_no_item() {
    for fault in [
        "missing-lines=0.1",
        "duplicate-lines=0.2",
        "unknown-lines=0.2",
        "line-errors=0.2",
        "expire=0.5",
        "output-late",
        "error-id-empty",
        "create-5xx@1",
        "length=0.1",
        "bad-json=0.1",
        "empty=0.1",
        "refusal=0.05",
    ] {
        let config = SimConfig { seed: 3, ..fast() };
        let world = World::new(config.with_fault(fault).unwrap()).await;
        let spec = world.spec(&world.reviews(80), Lane::Batch);
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.succeeded + report.failed, 80, "{fault}: {report:?} {heard:?}");
        assert_eq!((report.open, world.rows().len()), (0, 80), "{fault}");
        let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert!(
            report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0,
            "{fault}: {} <= {bill} <= + {}",
            report.spent,
            report.in_doubt
        );
    }
}

#[tokio::test]
async fn faults_of_the_sync_lane_lose_no_item() {
    for fault in [
        "429=0.2",
        "5xx=0.2",
        "malformed=0.1",
        "truncated-body=0.1",
        "reset=0.1",
        "html=0.1",
        "overloaded=0.1",
        "length=0.1",
        "bad-json=0.1",
        "empty=0.1",
    ] {
        let world = World::new(SimConfig { seed: 3, ..fast() }.with_fault(fault).unwrap()).await;
        let spec = world.spec(&world.reviews(60), Lane::Sync);
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.succeeded + report.failed, 60, "{fault}: {report:?} {heard:?}");
        let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert!(
            report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0,
            "{fault}: {} <= {bill} <= + {}",
            report.spent,
            report.in_doubt
        );
    }
}

/// The worst case of this job is far above its budget: it runs in waves, and never passes the cap.
#[tokio::test]
async fn a_job_larger_than_its_budget_runs_in_waves() {
    for lane in [Lane::Batch, Lane::Sync] {
        let world = World::new(fast()).await;
        let mut spec = world.spec(&world.reviews(400), lane);
        spec.run.budget = Some(UsdNanos::parse("0.012").unwrap());
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 400), "{lane}: {report:?}");
        assert!(report.spent <= UsdNanos::parse("0.012").unwrap());
        assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
    }
}

#[tokio::test]
async fn a_budget_below_the_plan_is_refused_before_anything_is_sent() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(400), Lane::Batch);
    spec.run.budget = Some(UsdNanos(1_000));
    let error = world.run(&spec).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("budget-too-small", 3));
    assert_eq!(world.sim.bill_usd_nanos(), 0);
}

/// Dropping the run between two steps is a crash that leaves the files as they are.
async fn dropped_anywhere(lane: Lane, config: SimConfig, first_ms: u64) {
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(200), lane);
    // Every drop leaves doubt, which counts against the cap: a slow machine must not run out of it.
    spec.run.budget = Some(UsdNanos::dollars(5));
    let mut patience = std::time::Duration::from_millis(first_ms);
    let mut crashes = 0;
    let report = loop {
        match tokio::time::timeout(patience, world.run(&spec)).await {
            Ok(report) => break report.unwrap(),
            Err(_) => {
                crashes += 1;
                patience += std::time::Duration::from_millis(first_ms + 13);
            }
        }
        assert!(crashes < 200, "{lane}: no progress");
    };
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!(
        (report.ending, report.succeeded, report.open),
        (Ending::Finished, 200, 0),
        "{lane} {first_ms} after {crashes} crashes: {report:?} {heard:?}"
    );
    assert_eq!(world.rows().len(), 200);
    let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
    assert!(
        report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0,
        "{lane} {first_ms}: {} <= {bill} <= {}",
        report.spent.0,
        report.in_doubt.0
    );
    if lane == Lane::Batch {
        // The canary is the one call of a batch job, so it is the one thing that may be paid twice (W3).
        assert!(
            world.sim.bill_json().contains("\"requests_batch\":179")
                || world.sim.bill_json().contains("\"requests_batch\":180"),
            "{}",
            world.sim.bill_json()
        );
    }
}

#[tokio::test]
async fn a_batch_run_dropped_anywhere_pays_no_batch_twice() {
    for first_ms in [3, 10, 25, 60] {
        Box::pin(dropped_anywhere(Lane::Batch, fast(), first_ms)).await;
    }
}

#[tokio::test]
async fn a_sync_run_dropped_anywhere_stays_within_its_doubt() {
    for first_ms in [3, 10, 25] {
        Box::pin(dropped_anywhere(Lane::Sync, SimConfig { latency_ms: 5.0, ..fast() }, first_ms)).await;
    }
}

/// Items of two models alternate; each batch file still has one model, and there are two files, not two hundred.
#[tokio::test]
async fn rules_send_items_to_two_models_in_two_batches() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(200), Lane::Batch);
    let rule =
        bulkrate_engine::spec::RuleSpec { when: "'great' in text".into(), model: "openai/gpt-6-sol".into() };
    spec.request.rules = vec![rule];
    spec.run.budget = Some(UsdNanos::dollars(5));
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded, report.batches), (Ending::Finished, 200, 2), "{report:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
    let rows = world.rows();
    let strong = rows.iter().filter(|row| row["_model"].as_str().unwrap().contains("sol")).count();
    let great = rows.iter().filter(|row| row["text"].as_str().unwrap().contains("great")).count();
    assert_eq!(strong, great);
}

/// Many items wait for a call while their batches are gone, the run is dropped again and again, and few calls may be in
/// flight: an item parked for its call must not be packed into a batch as well.
#[tokio::test]
async fn items_that_wait_for_a_call_are_in_no_batch() {
    let config = SimConfig { seed: 5, latency_ms: 2.0, ..fast() }.with_fault("line-errors=0.7").unwrap();
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(200), Lane::Batch);
    spec.run.concurrency_max = 2;
    spec.run.canary = false;
    spec.run.budget = Some(UsdNanos::dollars(5));
    let mut patience = std::time::Duration::from_millis(60);
    let report = loop {
        match tokio::time::timeout(patience, world.run(&spec)).await {
            Ok(report) => break report.unwrap(),
            Err(_) => patience += std::time::Duration::from_millis(60),
        }
        assert!(patience < std::time::Duration::from_secs(20), "no progress");
    };
    assert_eq!((report.ending, report.open, report.succeeded + report.failed), (Ending::Finished, 0, 200));
    assert_eq!(report.reserved, UsdNanos::ZERO, "every bound left the reservation once: {report:?}");
    let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
    assert!(
        report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0,
        "{} <= {bill} <= + {}",
        report.spent,
        report.in_doubt
    );
}

/// A job begun in batches and resumed in the sync lane, while a batch is still open, ends.
#[tokio::test]
async fn a_batch_job_may_be_resumed_in_the_sync_lane() {
    let world = World::new(SimConfig { seed: 2, ..fast() }.with_fault("line-errors=0.5").unwrap()).await;
    let mut spec = world.spec(&world.reviews(100), Lane::Batch);
    spec.run.poll_min_ms = 300;
    spec.run.poll_max_ms = 300;
    spec.run.budget = Some(UsdNanos::dollars(5));
    let cut = tokio::time::timeout(std::time::Duration::from_millis(250), world.run(&spec)).await;
    assert!(cut.is_err(), "the first run was to be cut short");
    spec.run.lane = Some(Lane::Sync);
    let limit = std::time::Duration::from_secs(30);
    let report = tokio::time::timeout(limit, world.run(&spec)).await.expect("it ends").unwrap();
    assert_eq!(
        (report.ending, report.open, report.reserved),
        (Ending::Finished, 0, UsdNanos::ZERO),
        "{report:?}"
    );
}

/// With one item a batch every other retry is taken and put back, the last item of the job among them.
#[tokio::test]
async fn a_retry_that_does_not_fit_its_batch_waits_for_the_next_one() {
    let world = World::new(fast().with_fault("missing-lines=1").unwrap()).await;
    let mut spec = world.spec(&world.reviews(4), Lane::Batch);
    spec.run.canary = false;
    spec.run.batch_items_max = 1;
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.max_in_doubt = Some(UsdNanos::dollars(5)); // a line that is missing may have been paid
    let run = tokio::time::timeout(std::time::Duration::from_secs(60), world.run(&spec));
    let report = run.await.expect("no item is forgotten").unwrap();
    assert_eq!((report.ending, report.succeeded, report.open), (Ending::Finished, 4, 0), "{report:?}");
}

/// Files that the tokens bound, and a ratio of tokens to bytes that the first answers teach: what is counted for a batch when
/// it is packed is what is taken away when it ends, or the room for the next shrinks from file to file.
#[tokio::test]
async fn enqueued_tokens_do_not_drift_while_the_ratio_is_learned() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(400), Lane::Batch);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.batches_max = 1;
    spec.run.batch_items_max = 40;
    // Some thirty items by the quarter of their bytes, all forty by what is learned.
    spec.run.enqueued_tokens_max = Some(2_600);
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 400), "{report:?} {heard:?}");
    let sizes: Vec<u64> = heard
        .iter()
        .filter_map(|line| line.strip_prefix("batch validating ").and_then(|items| items.parse().ok()))
        .collect();
    let last = sizes.len() - 1;
    assert!(sizes.iter().skip(1).take(last - 1).all(|items| *items >= sizes[1]), "{sizes:?}");
}

/// A limit of enqueued tokens binds one model: while the first one's batch has it used up, the other's are created.
#[tokio::test]
async fn a_model_whose_queue_is_full_holds_no_other_up() {
    let world = World::new(SimConfig { speed: 200.0, run_secs: 60.0, ..fast() }).await;
    let line = |row: usize| {
        let model = if row < 40 { "openai/gpt-6-luna" } else { "openai/gpt-4.1-mini" };
        format!(
            r#"{{"custom_id":"r{row}","model":"{model}","messages":[{{"role":"user","content":"Is number {row} even?"}}],"generation_config":{{"choices":["yes","no"]}}}}"#
        )
    };
    let source = world.path("mixed.jsonl");
    std::fs::write(&source, (0..60).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let mut spec = world.spec(&source, Lane::Batch);
    spec.request = Default::default();
    spec.source.id = None;
    spec.run.canary = false;
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.batch_items_max = 20;
    spec.run.enqueued_tokens_max = Some(200);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap(), "ledger = bill");

    let mut batches = SqliteStore::open_reader(&world.path("state")).unwrap().submissions(1).unwrap();
    batches.sort_by_key(|row| row.sub);
    let models: Vec<&str> = batches.iter().map(|row| row.model.as_str()).collect();
    let first = |model: &str| models.iter().position(|name| name.contains(model)).unwrap();
    let waits = models.iter().skip(first("4.1-mini")).filter(|name| name.contains("luna")).count();
    assert!(first("luna") == 0 && waits > 0, "the other goes before the first one's last: {models:?}");
    let ended_first = batches[0].ended_at_ms.unwrap();
    assert!(
        batches[first("4.1-mini")].created_at_ms < ended_first,
        "and does not wait for its first to end: {models:?}"
    );
}
