//! A run that dies between the intent of a bundle and its landing: each item is doubted, or landed, by itself, and the books hold.

use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::{Reader, Stop};
use bulkrate_sim::SimConfig;
use bulkrate_store::{SqliteStore, Submission, View};
use serde_json::Value;

use crate::bundles::{adds_up, all_their_own, bundled};
use crate::world::{World, fast};

fn job(world: &World, lane: Lane) -> JobSpec {
    let mut spec = world.spec(&world.reviews(60), lane);
    bundled(&mut spec, 6);
    spec.run.canary = false;
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.max_in_doubt = Some(UsdNanos::dollars(5));
    spec.run.concurrency_max = 2;
    spec
}

/// A run that is ended without a word to what is out, a moment after the store shows this.
async fn dies(world: &World, spec: &JobSpec, shown: impl Fn(&[Submission]) -> bool) -> Report {
    let (stop, engine) = (Stop::new(), world.engine());
    let ended = stop.clone();
    let seen = || {
        let rows = SqliteStore::open_reader(&world.path("state")).and_then(|store| store.submissions(1));
        rows.is_ok_and(|rows| shown(&rows))
    };
    let watch = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // what is leased is sent
        ended.abort();
    };
    let run = Box::pin(engine.run(spec, &|_| true, world.ear.clone(), stop));
    let run = async { tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends") };
    let report = tokio::select! {
        report = run => report.unwrap(),
        report = async { watch.await; std::future::pending().await } => report,
    };
    assert_eq!(report.ending, Ending::Aborted, "{report:?}");
    report
}

/// The next run ends the job; answers its report and the bill.
async fn goes_on(world: &World, spec: &JobSpec) -> (Report, i64) {
    let report = world.run(spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?} {heard:?}");
    assert_eq!(report.reserved, UsdNanos::ZERO, "{report:?}");
    all_their_own(&world.rows());
    adds_up(&report);
    let path = world.path("bill.json");
    std::fs::write(&path, world.sim.bill_json()).unwrap();
    let proof = Reader::open(&world.path("state")).unwrap().verify(&report.job, &[path]).unwrap();
    assert!(proof.passed(), "{proof:?}");
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    (report, bill["total_usd_nanos"].as_i64().unwrap())
}

#[tokio::test]
async fn calls_of_bundles_that_were_lost_are_in_doubt_item_by_item() {
    for lane in [Lane::Sync, Lane::Flex] {
        let config = SimConfig { slow_ms: 60_000, ..fast() };
        let world = World::new(config.with_fault("slow:sync@2-3").unwrap()).await;
        let spec = job(&world, lane);
        // The first call went alone; two bundles are out.
        let out = |rows: &[Submission]| rows.iter().map(|row| row.items).sum::<u32>() >= 13;
        let left = dies(&world, &spec, out).await;
        assert_eq!(left.in_flight, 2, "{lane}: {left:?}");
        assert!(left.reserved > UsdNanos::ZERO, "{lane}: {left:?}");
        let (done, bill) = goes_on(&world, &spec).await;
        assert_eq!(done.in_doubt, left.reserved, "{lane}: each bound once: {done:?}");
        assert!(
            (done.spent.0..=done.spent.0 + done.in_doubt.0).contains(&bill),
            "{lane}: {bill} of {done:?}"
        );
    }
}

#[tokio::test]
async fn a_batch_of_bundles_survives_a_crash_while_it_is_sent_and_while_it_runs() {
    for state in ["sending", "accepted"] {
        // Its create takes a moment, so that the run dies in it.
        let config = SimConfig { slow_ms: 300, speed: 2_000.0, ..SimConfig::default() };
        let faults = ["slow:create@1", "slow:content@1"];
        let config = faults.iter().fold(config, |config, rule| config.with_fault(rule).unwrap());
        let world = World::new(config).await;
        let spec = job(&world, Lane::Batch);
        let left = dies(&world, &spec, |rows| rows.iter().any(|row| row.state.name() == state)).await;
        assert!(left.reserved > UsdNanos::ZERO && left.succeeded == 0, "{state}: {left:?}");
        let (done, bill) = goes_on(&world, &spec).await;
        assert_eq!((done.spent.0, done.in_doubt), (bill, UsdNanos::ZERO), "{state}: {done:?}");
        let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
        assert_eq!(bill["requests"], 9, "{state}: nothing is paid twice: {bill}");
    }
}
