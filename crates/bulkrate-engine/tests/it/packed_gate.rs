//! Gate E1 of `docs/levers.md`: what mistakes of models cost a job in bundles of twenty, and that they reach no row.

use std::fmt::Write as _;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_sim::SimConfig;
use serde_json::Value;

use crate::world::{World, fast};

const ROWS: usize = 5_000;
const SIZE: u32 = 20;
/// Calls that mistakes may add, of the items.
const BAR: f64 = 0.08;
const KINDS: [(&str, &str); 3] = [("great", "positive"), ("terrible", "negative"), ("plain", "neutral")];

/// No two items that follow one another, or stand side by side in a prompt, are sure to be answered alike.
fn kind(row: usize) -> (&'static str, &'static str) {
    KINDS[(row.wrapping_mul(2_654_435_761) >> 7) % 3]
}

/// One run over all rows; answers the requests that were sent, and what was spent.
async fn run(lane: Lane, bundle_faults: bool) -> (u64, Report) {
    let world = World::new(SimConfig { bundle_faults, ..fast() }).await;
    let path = world.path("rows.csv");
    let mut text = "id,text\n".to_owned();
    for row in 0..ROWS {
        let _ = writeln!(text, "r{row},{} product {row}", kind(row).0);
    }
    std::fs::write(&path, text).unwrap();
    let mut spec = world.spec(&path, lane);
    spec.request.bundle = Some(SIZE);
    spec.request.system =
        Some("Say how the customer feels about the product, not about the shop. ".repeat(24));
    spec.run.budget = Some(UsdNanos::dollars(50));
    spec.run.canary = false;
    let report = Box::pin(world.run(&spec)).await.unwrap();
    assert_eq!((report.ending, report.open), (Ending::Finished, 0), "{report:?}");
    let mut succeeded = 0;
    for (row, found) in world.rows().iter().enumerate() {
        assert_eq!(found["id"], format!("r{row}"));
        if found["_status"] == "succeeded" {
            assert_eq!(found["answer"], kind(row).1, "another item's answer: {found}");
            succeeded += 1;
        }
    }
    assert_eq!((succeeded, report.succeeded + report.failed), (report.succeeded, ROWS as u64), "{report:?}");
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["total_usd_nanos"].as_i64(), Some(report.spent.0), "{report:?} {bill}");
    (bill["requests"].as_u64().unwrap(), report)
}

#[tokio::test]
#[allow(clippy::cast_precision_loss, reason = "counts of calls")]
async fn e1_mistakes_reach_no_row_and_cost_few_calls() {
    for lane in [Lane::Sync, Lane::Batch] {
        let (fewest, without) = run(lane, false).await;
        let (sent, with) = run(lane, true).await;
        assert_eq!((without.failed, with.failed), (0, 0), "alone, every item is answered");
        let extra = (sent - fewest) as f64;
        let of_items = extra / ROWS as f64;
        let dearer = (with.spent.0 - without.spent.0) as f64 / 1e9;
        println!(
            "E1 {lane}: extra calls, of {ROWS} items: {of_items:.4} (bar {BAR}); of {fewest} bundles: {:.3}; USD {dearer:.6} more than {:.6} \
             ({:.3})",
            extra / fewest as f64,
            without.spent.0 as f64 / 1e9,
            (with.spent.0 as f64 / without.spent.0 as f64) - 1.0
        );
        assert!(of_items > 0.0 && of_items < BAR, "{lane}: {extra} extra calls for {ROWS} items");
    }
}
