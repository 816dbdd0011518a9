//! W5: the state folder is restored from an old backup, or a copy of it is at work. What was sent meanwhile is found, booked,
//! and waits for the operator.

use std::path::Path;
use std::time::Duration;

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::Reader;
use bulkrate_engine::decision::{Act, Decision};
use bulkrate_engine::report::{Ending, Report};
use bulkrate_engine::spec::JobSpec;
use bulkrate_engine::view::DoubtLine;
use bulkrate_sim::SimConfig;
use serde_json::Value;

use crate::story::ASKED;
use crate::world::{World, fast};

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            std::fs::copy(&entry, &to).unwrap();
        }
    }
}

pub(crate) fn restore(world: &World, backup: &str) {
    std::fs::remove_dir_all(world.path("state")).unwrap();
    copy(&world.path(backup), &world.path("state"));
    std::fs::remove_file(world.path("out.jsonl")).unwrap(); // which is foreign to what is restored
}

/// Two batches, the second of 24 items.
pub(crate) fn spec(world: &World) -> JobSpec {
    let mut spec = world.spec(&world.reviews(60), Lane::Batch);
    spec.run.budget = Some(UsdNanos::dollars(5));
    spec.run.canary = false;
    spec.run.keep_remote = true;
    spec.run.batch_items_max = 30;
    spec.run.batches_max = 1;
    spec
}

pub(crate) fn doubts(world: &World) -> Vec<DoubtLine> {
    Reader::open(&world.path("state")).unwrap().doubts(None).unwrap()
}

pub(crate) fn billed(world: &World) -> i64 {
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    bill["total_usd_nanos"].as_i64().unwrap()
}

async fn decide(world: &World, sub: &str, act: Act) {
    let decision = Decision { sub: sub.to_owned(), act, who: "ada".into() };
    world.engine().decide(&decision, world.ear.clone()).await.unwrap();
}

/// `verify --bill`.
fn proved(world: &World, report: &Report) -> String {
    let path = world.path("bill.json");
    std::fs::write(&path, world.sim.bill_json()).unwrap();
    let proof =
        Reader::open(&world.path("state")).unwrap().verify(&report.job, std::slice::from_ref(&path)).unwrap();
    assert!(proof.passed(), "{proof:?}");
    format!("{proof:?}")
}

fn alerts(world: &World) -> usize {
    world.ear.heard.lock().unwrap().iter().filter(|line| line.contains("alert batch-unknown")).count()
}

/// A job that was done, and whose state folder is that of its first batch again.
async fn restored() -> (World, JobSpec) {
    let world = World::new(SimConfig::default()).await;
    let spec = spec(&world);
    world.until("state", &spec, "batch in_progress", 1).await;
    copy(&world.path("state"), &world.path("backup"));
    let whole = world.run(&spec).await.unwrap();
    assert_eq!(
        (whole.ending, whole.succeeded, whole.spent.0),
        (Ending::Finished, 60, billed(&world)),
        "{whole:?}"
    );
    restore(&world, "backup");
    (world, spec)
}

#[tokio::test]
async fn a_ghost_is_booked_once_and_holds_the_job_until_the_operator_speaks() {
    let (world, spec) = restored().await;
    let before = billed(&world);
    let held = world.run(&spec).await.unwrap();
    assert_eq!((held.ending, held.exit_code(), billed(&world)), (Ending::InDoubt, 6, before), "{held:?}");
    assert!(held.reason.as_ref().is_some_and(|why| why.contains("knows nothing of")), "{held:?}");
    let lines = doubts(&world);
    assert_eq!((lines.len(), lines[0].state.as_str(), lines[0].items), (1, "ghost", 24), "{lines:?}");
    assert!(lines[0].known[0].starts_with("W5: batch "), "{lines:?}");
    assert_eq!((alerts(&world), held.in_doubt), (1, lines[0].price_at_most));
    let cost = UsdNanos(before - held.spent.0);
    assert!(cost > UsdNanos::ZERO && cost <= held.in_doubt, "{cost} of {held:?}");

    // However often it is run: the doubt and the hold come from the ledger.
    let again = world.run(&spec).await.unwrap();
    assert_eq!(
        (again.ending, again.in_doubt, again.spent),
        (Ending::InDoubt, held.in_doubt, held.spent),
        "{again:?}"
    );
    assert_eq!((alerts(&world), billed(&world), doubts(&world).len()), (1, before, 1));

    let sub = lines[0].sub.clone().unwrap();
    decide(&world, &sub, Act::Adopt { batch: "batch_1".into() }).await;
    assert!(world.ear.heard("no row here says which items it has"));
    assert_eq!(doubts(&world).len(), 1);
    decide(&world, &sub, Act::Paid { cost: Some(cost), again: false }).await;
    assert!(doubts(&world).is_empty());
    let done = world.run(&spec).await.unwrap();
    assert_eq!((done.ending, done.succeeded, done.open), (Ending::Finished, 60, 0), "{done:?}");
    assert_eq!((done.spent.0, done.in_doubt), (billed(&world), UsdNanos::ZERO), "{done:?}");
    let proof = proved(&world, &done);
    assert!(proof.contains(&format!("USD {cost} were paid twice, booked as duplicates")), "{proof}");
    assert_eq!(alerts(&world), 1, "it stands in the ledger, so it is no ghost any more");
}

#[tokio::test]
async fn a_ghost_that_was_paid_at_an_unknown_cost_stays_in_doubt_and_holds_nothing() {
    let (world, spec) = restored().await;
    world.run(&spec).await.unwrap();
    let sub = doubts(&world)[0].sub.clone().unwrap();
    decide(&world, &sub, Act::Paid { cost: None, again: false }).await;
    let done = world.run(&spec).await.unwrap();
    let line = doubts(&world).remove(0);
    assert_eq!(
        (done.ending, line.state.as_str(), line.price_at_most),
        (Ending::Finished, "kept", done.in_doubt)
    );
    assert!((done.spent.0..=done.spent.0 + done.in_doubt.0).contains(&billed(&world)), "{done:?}");
    proved(&world, &done);
}

#[tokio::test]
async fn the_batch_of_a_copy_at_work_holds_a_run_until_an_order_comes() {
    let config = SimConfig { speed: 1_000.0, run_secs: 3_000.0, ..SimConfig::default() };
    let world = World::new(config).await;
    let mut spec = spec(&world);
    world.until("state", &spec, "batch in_progress", 1).await;
    copy(&world.path("state"), &world.path("copy"));
    spec.run.batches_max = 2;
    world.until("copy", &spec, "batch in_progress", 2).await;
    let word = async {
        // It is told a moment before its row is there.
        while alerts(&world) == 0 || doubts(&world).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let line = doubts(&world).remove(0);
        assert_eq!((line.state.as_str(), line.items), ("ghost", 24), "{line:?}");
        let decision = Decision { sub: line.sub.unwrap(), act: Act::Absent, who: "ada".into() };
        let reader = Reader::open(&world.path("state")).unwrap();
        assert!(!reader.order_doubt(&decision, 0).unwrap(), "an engine is at work and takes it");
    };
    let run = tokio::time::timeout(Duration::from_secs(30), world.run(&spec));
    let (report, ()) = tokio::join!(run, word);
    let report = report.unwrap().unwrap();
    assert_eq!(
        (report.ending, report.succeeded, report.in_doubt),
        (Ending::Finished, 60, UsdNanos::ZERO),
        "{report:?}"
    );
    assert_eq!(report.requests_sent, 24, "the second batch was sent once the word had come: {report:?}");
}

#[tokio::test]
async fn a_batch_that_the_restored_row_has_not_sent_yet_is_adopted() {
    let slow = SimConfig { slow_ms: 1_000, ..fast() };
    let world = World::new(slow.with_fault("slow:upload@1").unwrap()).await;
    let spec = spec(&world);
    let left = world.until("state", &spec, "batch staging", 1).await;
    assert!(left.ending == Ending::Detached && left.reserved > UsdNanos::ZERO, "staged, not sent: {left:?}");
    assert_eq!((left.requests_sent, left.batches, left.batches_open), (0, 0, 0), "{left:?}");
    copy(&world.path("state"), &world.path("backup"));
    world.run(&spec).await.unwrap();
    let before = billed(&world);
    restore(&world, "backup");
    let held = world.run(&spec).await.unwrap();
    assert!(world.ear.heard("which this state folder has not sent") && world.ear.heard("adopted"));
    // The first batch is ours again; of the second no row knows.
    let lines = doubts(&world);
    assert_eq!((held.ending, billed(&world), held.open), (Ending::InDoubt, before, 24), "{held:?} {lines:?}");
    let cost = UsdNanos(before - held.spent.0);
    decide(&world, lines[0].sub.as_ref().unwrap(), Act::Paid { cost: Some(cost), again: false }).await;
    let done = world.run(&spec).await.unwrap();
    assert_eq!((done.ending, done.spent.0), (Ending::Finished, billed(&world)), "{done:?}");
    let bill: Value = serde_json::from_str(&world.sim.bill_json()).unwrap();
    assert_eq!(bill["requests"], ASKED + 24);
    proved(&world, &done);
}

#[tokio::test]
async fn a_job_that_the_backup_did_not_have_yet_finds_its_batches() {
    let world = World::new(SimConfig::default()).await;
    let first = spec(&world);
    world.run(&first).await.unwrap();
    copy(&world.path("state"), &world.path("backup"));
    let mut second = first.clone();
    second.name = "again".into();
    second.request.system = Some("Classify the mood.".into());
    second.sink.path = Some(world.path("again.jsonl"));
    second.run.batch_items_max = 100;
    world.run(&second).await.unwrap();
    let before = billed(&world);
    restore(&world, "backup");
    std::fs::remove_file(world.path("again.jsonl")).unwrap();
    let held = world.run(&second).await.unwrap();
    assert_eq!(
        (held.ending, held.spent, billed(&world)),
        (Ending::InDoubt, UsdNanos::ZERO, before),
        "{held:?}"
    );
    let line = doubts(&world).remove(0);
    assert_eq!((line.state.as_str(), line.items, &line.job), ("ghost", ASKED, &held.job), "{line:?}");
    // No job of the folder sends anything before the word, and the word may come by any of them.
    let mut third = first.clone();
    third.name = "third".into();
    third.request.system = Some("Classify the tone.".into());
    third.sink.path = Some(world.path("third.jsonl"));
    assert_eq!(world.run(&third).await.unwrap().ending, Ending::InDoubt);
    assert_eq!((billed(&world), doubts(&world).len()), (before, 1));
    decide(&world, line.sub.as_ref().unwrap(), Act::Absent).await;
    let done = world.run(&third).await.unwrap();
    assert_eq!((done.ending, done.open), (Ending::Finished, 0), "{done:?}");
}

/// The copy is older than the job itself: no row of it, nor of any other, is there.
#[tokio::test]
async fn a_folder_restored_from_before_its_first_job_finds_what_that_has_sent() {
    let world = World::new(SimConfig::default()).await;
    drop(world.engine());
    copy(&world.path("state"), &world.path("backup"));
    let spec = spec(&world);
    let whole = world.run(&spec).await.unwrap();
    assert_eq!((whole.ending, whole.succeeded), (Ending::Finished, 60), "{whole:?}");
    restore(&world, "backup");
    let held = world.run(&spec).await.unwrap();
    assert_eq!((held.ending, billed(&world)), (Ending::InDoubt, whole.spent.0), "{held:?}");
    assert_eq!(doubts(&world).len(), 2, "both of its batches");
}
