//! Each lane does the whole job, and the ledger is the bill.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_sim::SimConfig;

use crate::world::{World, fast};

async fn whole_job(lane: Lane) {
    let world = World::new(fast()).await;
    let source = world.reviews(100);
    let spec = world.spec(&source, lane);
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!(report.ending, Ending::Finished, "{report:?} {heard:?}");
    assert_eq!((report.items, report.succeeded, report.failed, report.duplicates), (100, 100, 0, 10), "{report:?} {heard:?}");
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
    whole_job(Lane::Sync).await;
}

#[tokio::test]
async fn the_flex_lane_does_a_whole_job() {
    whole_job(Lane::Flex).await;
}

#[tokio::test]
async fn the_batch_lane_does_a_whole_job() {
    whole_job(Lane::Batch).await;
}

#[tokio::test]
async fn a_lost_create_is_found_and_adopted() {
    let world = World::new(fast().with_fault("create-lost@1").unwrap()).await;
    let spec = world.spec(&world.reviews(60), Lane::Batch);
    let report = world.run(&spec).await.unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60));
    assert!(world.ear.heard("adopted"), "{:?}", world.ear.heard.lock().unwrap());
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos()).unwrap());
    assert_eq!(report.in_doubt, UsdNanos::ZERO);
}

#[tokio::test]
async fn faults_of_the_batch_lane_lose_no_item() {
    for fault in ["missing-lines=0.1", "duplicate-lines=0.2", "unknown-lines=0.2", "line-errors=0.2", "expire=0.5", "output-late", "error-id-empty", "create-5xx@1", "length=0.1", "bad-json=0.1", "empty=0.1", "refusal=0.05"] {
        let config = SimConfig { seed: 3, ..fast() };
        let world = World::new(config.with_fault(fault).unwrap()).await;
        let spec = world.spec(&world.reviews(80), Lane::Batch);
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.succeeded + report.failed, 80, "{fault}: {report:?} {heard:?}");
        assert_eq!((report.open, world.rows().len()), (0, 80), "{fault}");
        let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert!(report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0, "{fault}: {} <= {bill} <= + {}", report.spent, report.in_doubt);
    }
}

#[tokio::test]
async fn faults_of_the_sync_lane_lose_no_item() {
    for fault in ["429=0.2", "5xx=0.2", "malformed=0.1", "truncated-body=0.1", "reset=0.1", "html=0.1", "overloaded=0.1", "length=0.1", "bad-json=0.1", "empty=0.1"] {
        let world = World::new(SimConfig { seed: 3, ..fast() }.with_fault(fault).unwrap()).await;
        let spec = world.spec(&world.reviews(60), Lane::Sync);
        let report = world.run(&spec).await.unwrap();
        let heard = world.ear.heard.lock().unwrap().clone();
        assert_eq!(report.succeeded + report.failed, 60, "{fault}: {report:?} {heard:?}");
        let bill = i64::try_from(world.sim.bill_usd_nanos()).unwrap();
        assert!(report.spent.0 <= bill && bill <= report.spent.0 + report.in_doubt.0, "{fault}: {} <= {bill} <= + {}", report.spent, report.in_doubt);
    }
}
