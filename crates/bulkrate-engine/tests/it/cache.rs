//! An answer that an earlier job paid for is not paid for again.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_core::request::CacheMode;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_store::{LedgerQuery, SqliteStore, Store, View};

use crate::world::{World, fast};

/// The same requests as another job, with its own output.
fn other(world: &World, spec: &JobSpec, name: &str) -> JobSpec {
    let mut spec = spec.clone();
    spec.tags.insert("run".to_owned(), name.to_owned());
    spec.sink.path = Some(world.path(&format!("{name}.jsonl")));
    spec
}

fn rows(spec: &JobSpec) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(spec.sink.path.as_ref().unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `naive - savings = spend`, and the ledger is the bill since `before`.
fn balanced(world: &World, report: &Report, before: u64) {
    let saved: UsdNanos = report.saved.values().copied().sum();
    assert_eq!(report.naive - saved, report.spent, "{report:?}");
    assert_eq!(report.spent.0, i64::try_from(world.sim.bill_usd_nanos() - before).unwrap(), "{report:?}");
}

#[tokio::test]
async fn a_second_job_pays_only_for_what_is_new() {
    for lane in [Lane::Sync, Lane::Batch] {
        let world = World::new(fast()).await;
        let first = world.spec(&world.reviews(100), lane);
        let paid = world.run(&first).await.unwrap();
        assert_eq!((paid.succeeded, paid.cached), (100, 0));
        let answers = rows(&first);

        // The same rows: nothing is asked, nobody is asked to confirm.
        let bill = world.sim.bill_usd_nanos();
        let again = other(&world, &first, "again");
        let report = world.run(&again).await.unwrap();
        assert_eq!(
            (report.ending, report.succeeded, report.cached, report.duplicates, report.requests_sent),
            (Ending::Finished, 100, 90, 10, 0),
            "{report:?}"
        );
        assert_eq!((report.spent, report.naive), (UsdNanos::ZERO, paid.naive), "{report:?}");
        assert!(
            report.saved["cache"] > UsdNanos::ZERO && report.saved["dedup"] > UsdNanos::ZERO,
            "{report:?}"
        );
        balanced(&world, &report, bill);
        for (row, paid) in rows(&again).iter().zip(&answers) {
            assert_eq!(
                (&row["id"], &row["answer"], &row["_model"]),
                (&paid["id"], &paid["answer"], &paid["_model"])
            );
            assert_eq!((&row["_lane"], &row["_status"]), (&"cache".into(), &"succeeded".into()), "{row}");
        }

        // More rows: the first ones are cached, the rest is asked, canary included.
        let more = other(&world, &world.spec(&world.reviews(160), lane), "more");
        let plan = world.engine().plan(&more, &*world.ear).await.unwrap();
        assert_eq!((plan.requests, plan.cached, plan.duplicates), (54, 90, 16), "{plan:?}");
        let planned = SqliteStore::open_reader(&world.path("state"))
            .unwrap()
            .ledger_totals(&LedgerQuery::of_job(3))
            .unwrap();
        assert!(planned.is_empty(), "a plan books nothing: {planned:?}");
        let report = world.run(&more).await.unwrap();
        assert_eq!(
            (report.ending, report.succeeded, report.cached, report.requests_sent > 0),
            (Ending::Finished, 160, 90, true),
            "{report:?}"
        );
        balanced(&world, &report, bill);
        let done = rows(&more);
        assert_eq!(done.iter().filter(|row| row["_lane"] == "cache").count(), 106);
        assert_eq!(
            done.iter().filter(|row| row["_lane"] == "sync").count(),
            if lane == Lane::Sync { 54 } else { 1 },
            "the canary"
        );

        // What was cached is kept on: the answers outlive the job that paid.
        let bill = world.sim.bill_usd_nanos();
        std::fs::remove_file(world.path(&format!("state/cache/{}.keys", paid.job))).unwrap();
        let report = world.run(&other(&world, &more, "third")).await.unwrap();
        assert_eq!((report.cached, world.sim.bill_usd_nanos()), (144, bill), "{report:?}");
    }
}

#[tokio::test]
async fn a_job_may_leave_the_cache_alone() {
    let world = World::new(fast()).await;
    let first = world.spec(&world.reviews(40), Lane::Sync);
    world.run(&first).await.unwrap();
    for (name, mode, distinct, cached) in [
        ("off", CacheMode::Off, false, 0),
        ("refresh", CacheMode::Refresh, false, 0),
        ("distinct", CacheMode::Default, true, 0),
        ("default", CacheMode::Default, false, 36),
    ] {
        let bill = world.sim.bill_usd_nanos();
        let mut spec = other(&world, &first, name);
        (spec.run.cache, spec.run.distinct) = (mode, distinct);
        let report = world.run(&spec).await.unwrap();
        assert_eq!((report.succeeded, report.cached), (40, cached), "{name}: {report:?}");
        balanced(&world, &report, bill);
        let keys = world.path(&format!("state/cache/{}.keys", report.job));
        assert_eq!(keys.exists(), mode != CacheMode::Off, "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_an_older_snapshot_does_not_count() {
    let world = World::new(fast()).await;
    let first = world.spec(&world.reviews(30), Lane::Sync);
    world.run(&first).await.unwrap();
    {
        let mut store = SqliteStore::open(&world.path("state"), "", 0).unwrap();
        store.set_meta("snapshot/openai/gpt-6-luna", "gpt-6-luna-2099-01-01").unwrap();
    }
    let report = world.run(&other(&world, &first, "newer")).await.unwrap();
    assert_eq!((report.succeeded, report.cached), (30, 0), "{report:?}");
    // That run saw the old snapshot again: it is the newest now.
    let report = world.run(&other(&world, &first, "back")).await.unwrap();
    assert_eq!((report.succeeded, report.cached), (30, 27), "{report:?}");
}

#[tokio::test]
async fn a_damaged_cache_is_a_note() {
    for lost in ["keys", "results"] {
        let world = World::new(fast()).await;
        let first = world.spec(&world.reviews(30), Lane::Sync);
        let report = world.run(&first).await.unwrap();
        match lost {
            "keys" => {
                std::fs::write(world.path(&format!("state/cache/{}.keys", report.job)), b"BRKEYS\r\nnothing")
                    .unwrap();
            }
            _ => {
                std::fs::write(world.path(&format!("state/jobs/{}/results.jsonl", report.job)), b"").unwrap();
            }
        }
        let bill = world.sim.bill_usd_nanos();
        let report = world.run(&other(&world, &first, "next")).await.unwrap();
        assert_eq!((report.ending, report.succeeded, report.cached), (Ending::Finished, 30, 0), "{lost}");
        assert!(world.ear.heard("cannot be used"), "{lost}: {:?}", world.ear.heard.lock().unwrap());
        balanced(&world, &report, bill);
    }
}
