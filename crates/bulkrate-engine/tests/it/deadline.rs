//! A batch job that would miss its deadline goes over to the sync lane in time.

use std::time::{Duration, Instant};

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::plan::Plan;
use bulkrate_engine::report::Ending;
use bulkrate_engine::spec::{JobSpec, RunSpec};
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

/// The rest is taken to need 22.1 s (20 s for the slowest call, next to nothing for the rest, and a tenth) and a cancel a twentieth of
/// the whole, so batches may be waited for less than two seconds of these 25. They would need six.
#[tokio::test]
async fn near_the_deadline_open_batches_are_cancelled_and_the_rest_runs_in_the_sync_lane() {
    let world = World::new(SimConfig { speed: 100.0, ..SimConfig::default() }).await;
    let mut spec = world.spec(&world.reviews(100), Lane::Batch);
    // Auto, with a model that has no flex price: batch is the cheapest.
    spec.run.lane = None;
    spec.request.model = Some("openai/gpt-4.1-mini".into());
    spec.run.rpm = Some(60_000);
    spec.run.deadline_ms = Some(25_200);
    spec.run.budget = Some(UsdNanos::dollars(5));
    let started = Instant::now();
    let report = world.run(&spec).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(25_200), "the deadline is met");

    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 100), "{report:?} {heard:?}");
    assert!(world.ear.heard("alert deadline-switch") && !world.ear.heard("deadline-missed"), "{heard:?}");
    assert!(world.ear.heard("batch cancelling") && !world.ear.heard("batch completed"), "{heard:?}");

    assert_eq!(report.batches, 7, "89 rows behind the canary, an eighth of the 100 in each: {heard:?}");
    // What the batches had finished is kept, the rest was called for.
    let rows = world.rows();
    let of = |lane: &str| rows.iter().filter(|row| row["_lane"] == lane).count();
    assert!(of("batch") > 0 && of("sync") > 1 && of("batch") + of("sync") == 100, "{heard:?}");

    // Nothing was paid twice, and the ledger knows all of it.
    let bill: serde_json::Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["requests"], 90, "{bill}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
    assert_eq!((report.in_doubt, report.reserved), (UsdNanos::ZERO, UsdNanos::ZERO));
}

/// The canary's headers tell the limit: the rest would take 22 s of these 34, and batches need three. By an assumed ten calls a
/// second it would take 33, and the batches would be cancelled after a second.
#[tokio::test]
async fn the_deadline_is_watched_at_the_rate_that_the_canary_learned() {
    let config = SimConfig { speed: 200.0, rpm: Some(60_000), tpm: Some(60_000_000), ..SimConfig::default() };
    let world = World::new(config).await;
    let mut spec = world.spec(&world.reviews(100), Lane::Batch);
    spec.run.lane = None;
    spec.request.model = Some("openai/gpt-4.1-mini".into());
    spec.run.concurrency_max = 2_000;
    spec.run.deadline_ms = Some(34_000);
    spec.run.budget = Some(UsdNanos::dollars(5));
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 100), "{report:?} {heard:?}");
    assert!(!world.ear.heard("deadline-switch") && world.ear.heard("batch settled"), "{heard:?}");
}

/// Batches of earlier jobs say how long the next one will take, and whether it would be over in time.
#[tokio::test]
async fn earlier_batches_tell_whether_the_next_one_would_be_in_time() {
    let world = World::new(fast()).await;
    let mut spec = world.spec(&world.reviews(120), Lane::Batch);
    spec.run.lane = None;
    spec.run.rpm = Some(1); // more than an hour of calls: nothing but the deadline speaks against a batch
    let plan = async |hours: u64, spec: &JobSpec| {
        let spec = JobSpec {
            name: "next".into(),
            run: RunSpec { deadline_ms: Some(hours * 3_600_000), ..spec.run.clone() },
            ..spec.clone()
        };
        world.engine().plan(&spec, &*world.ear).await.unwrap()
    };
    let time = |plan: &Plan| {
        let batch = plan.lanes.iter().find(|lane| lane.lane == Lane::Batch).unwrap();
        (batch.seconds.unwrap(), batch.seconds_p95)
    };
    let before = plan(6, &spec).await;
    assert_eq!((before.lane, time(&before)), (Lane::Batch, (3_600, None)), "nothing has run yet");

    // Thirty batches of a moment each: not even the longest of so few is surely the P95, so a fifth of a day is added.
    let mut first = spec.clone();
    first.source.path = Some(world.path("first.csv"));
    let text: String = (0..31).map(|row| format!("f{row},another text {row}\n")).collect();
    std::fs::write(world.path("first.csv"), format!("id,text\n{text}")).unwrap();
    (first.name, first.run.lane, first.run.rpm) = ("first".into(), Some(Lane::Batch), None);
    first.run.batch_items_max = 1;
    first.sink.path = None;
    let ran = world.run(&first).await.unwrap();
    assert!(ran.succeeded == 31 && ran.batches >= 30, "{ran:?}");

    let after = plan(6, &spec).await;
    let (median_s, most_s) = time(&after);
    assert!(median_s < 60 && most_s.is_some_and(|most| (3 * 3_600..6 * 3_600).contains(&most)), "{after:?}");
    assert_eq!(after.lane, Lane::Flex, "{}", after.why);
    assert!(after.why.contains("95 of 100 batches"), "{}", after.why);
    assert_eq!(plan(23, &spec).await.lane, Lane::Batch, "a day leaves time for it");
}
