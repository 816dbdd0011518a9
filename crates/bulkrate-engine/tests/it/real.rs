//! Whole jobs over real text, from the folder that `BULKRATE_TEST_DATA` names.

use std::path::PathBuf;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Reader;
use bulkrate_engine::report::Ending;
use serde_json::Value;

use crate::world::{World, fast};

const ROWS: usize = 5_574;

/// `None`, told loudly, where there is no such folder.
fn messages() -> Option<PathBuf> {
    let root = std::env::var_os("BULKRATE_TEST_DATA").map(PathBuf::from);
    if root.is_none() {
        eprintln!("SKIPPED: BULKRATE_TEST_DATA is not set; no job was run on real data");
    }
    root.map(|root| root.join("jobs/sms_spam.jsonl.gz"))
}

async fn whole(lane: Lane) {
    let Some(source) = messages() else { return };
    let world = World::new(fast()).await;
    let mut spec = world.spec(&source, lane);
    spec.request.system = Some("Say whether a text message is spam.".into());
    spec.request.user = Some("{{ text }}".into());
    spec.request.choices = vec!["spam".into(), "ham".into()];
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.batch_items_max = 1_500;
    let report = world.run(&spec).await.unwrap();
    let heard = world.ear.heard.lock().unwrap().clone();
    assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{report:?} {heard:?}");
    assert_eq!((report.succeeded, report.duplicates), (ROWS as u64, 403), "{report:?} {heard:?}");
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["requests"], ROWS as u64 - 403, "equal messages are asked once");
    assert_eq!(
        (report.spent.0, report.in_doubt.0, report.reserved.0),
        (bill["total_usd_nanos"].as_i64().unwrap(), 0, 0),
        "ledger = bill"
    );
    let rows = world.rows();
    assert_eq!(rows.len(), ROWS);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], format!("sms-{at:05}"));
        let answer = row["answer"].as_str().unwrap();
        assert!(row["_status"] == "succeeded" && ["spam", "ham"].contains(&answer), "{row}");
    }
    std::fs::write(world.path("bill.json"), world.sim.bill_json()).unwrap();
    let reader = Reader::open(&world.path("state")).unwrap();
    let proof = reader.verify(&report.job, &[world.path("bill.json")]).unwrap();
    assert!(proof.passed(), "{proof:?}");
    drop(reader);

    let again = world.run(&spec).await.unwrap();
    assert_eq!((again.succeeded, again.spent), (ROWS as u64, report.spent));
    let bill_after: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill_after, bill, "paid once");
}

#[tokio::test]
async fn real_messages_in_the_batch_lane() {
    Box::pin(whole(Lane::Batch)).await;
}

#[tokio::test]
async fn real_messages_in_the_sync_lane() {
    Box::pin(whole(Lane::Sync)).await;
}
