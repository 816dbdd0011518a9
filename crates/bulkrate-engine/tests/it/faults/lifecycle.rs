//! F30 to F40: how batches live and end.

use std::sync::Arc;

use bulkrate_core::lane::Lane;
use bulkrate_engine::ground::{Ground, Pulse, Views};
use bulkrate_engine::report::Ending;
use bulkrate_engine::{Engine, Stop};
use bulkrate_sim::SimConfig;
use bulkrate_store::{SqliteStore, Writer};

use crate::story::{ASKED, Books, Story, Told};
use crate::world::fast;

async fn batch(faults: &[&str]) -> Told {
    Story::of(Lane::Batch, faults).await.ends(Books::Exact).await.all_succeeded()
}

/// A batch that takes some 60 looks.
fn slower() -> SimConfig {
    SimConfig { speed: 3_000.0, run_secs: 1_800.0, ..fast() }
}

#[tokio::test]
async fn f30_a_status_that_goes_back_is_not_believed() {
    let told = Story::with(slower(), Lane::Batch, &["F30"]).await.ends(Books::Exact).await;
    told.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f31_an_unknown_status_is_waited_through() {
    let told = Story::with(slower(), Lane::Batch, &["F31"]).await.ends(Books::Exact).await;
    told.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f32_finalizing_for_hours_is_waited_for() {
    batch(&["F32"]).await.paid(ASKED);
}

#[tokio::test]
async fn f33_a_batch_that_validates_for_ever_can_be_cancelled() {
    let story = Story::of(Lane::Batch, &["F33@1"]).await;
    let (stop, engine) = (Stop::new(), story.world.engine());
    let cancel = stop.clone();
    let watch = async {
        while !story.world.ear.heard("batch validating") {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        cancel.detach();
    };
    let run = engine.run(&story.spec, &|_| true, story.world.ear.clone(), stop);
    let (report, ()) = tokio::join!(run, watch);
    let report = report.unwrap();
    assert_eq!((report.ending, report.open), (Ending::Detached, 60), "{report:?}");
    assert_eq!(report.spent.0, 0);
    drop(engine);
    // The operator gives up on it: nothing was run, so nothing is paid and nothing stays reserved.
    let reader = bulkrate_engine::Reader::open(&story.world.path("state")).unwrap();
    reader.cancel(&report.job).unwrap();
    drop(reader);
    let report = story.run().await;
    assert_eq!((report.ending, report.cancelled, report.open), (Ending::Cancelled, 60, 0), "{report:?}");
    assert_eq!((report.reserved.0, story.world.sim.bill_usd_nanos()), (0, 0), "{report:?}");
}

#[tokio::test]
async fn f34_what_ran_before_an_expiry_is_kept_and_the_rest_is_sent_again() {
    batch(&["F34=0.4@1"]).await.paid(ASKED);
}

#[tokio::test]
async fn f35_a_failed_batch_was_not_paid_and_says_why() {
    let story = Story::of(Lane::Batch, &["F35@1"]).await;
    let report = story.run().await;
    // A file that the provider cannot take is a mistake of ours: the same file would fail again.
    assert_eq!((report.ending, report.in_doubt.0), (Ending::Halted, 0), "{report:?}");
    assert_eq!((report.reserved.0, story.world.sim.bill_usd_nanos()), (0, 0), "{report:?}");
    assert_eq!(report.halted_by.as_deref(), Some("refused_by_provider"), "{report:?}");
    let report = story.run().await;
    story.proved(report, Books::Exact).all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f36_a_cancelled_batch_is_collected_all_the_same() {
    let config = SimConfig { cancel_secs: 10.0, run_secs: 15_000.0, ..slower() };
    let story = Story::with(config, Lane::Batch, &["F36"]).await;
    let engine = story.world.engine();
    let order = async {
        while !story.world.ear.heard("batch in_progress") {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let reader = bulkrate_engine::Reader::open(&story.world.path("state")).unwrap();
        reader.cancel("reviews").unwrap();
    };
    let run = engine.run(&story.spec, &|_| true, story.world.ear.clone(), Stop::new());
    let (report, ()) = tokio::join!(run, order);
    let report = report.unwrap();
    // Every line ran, so every answer is there and paid.
    assert_eq!((report.ending, report.succeeded, report.open), (Ending::Cancelled, 60, 0), "{report:?}");
    let bill = i64::try_from(story.world.sim.bill_usd_nanos()).unwrap();
    assert_eq!((report.spent.0, report.in_doubt.0, report.reserved.0), (bill, 0, 0), "{report:?}");
}

#[tokio::test]
async fn f37_a_batch_that_is_gone_once_is_looked_for() {
    batch(&["F37@1"]).await.paid(ASKED);
}

#[tokio::test]
async fn f37_a_batch_that_stays_gone_is_a_loss_and_no_retry() {
    let told = Story::of(Lane::Batch, &["F37", "F26@1-9999"]).await.ends(Books::Doubt).await;
    told.died("result_lost_at_provider", 60).paid(ASKED);
}

#[tokio::test]
async fn f38_a_batch_that_is_over_at_once_is_collected() {
    batch(&["F38"]).await.paid(ASKED);
    batch(&["F38", "F21@1"]).await.paid(ASKED).heard("adopted");
}

#[tokio::test]
async fn f39_a_run_longer_than_the_window_is_waited_for() {
    for hours in [25, 48] {
        let config = SimConfig { speed: 1_000_000.0, ..fast() };
        let rule = format!("F39={hours}");
        Story::with(config, Lane::Batch, &[&rule]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
    }
}

/// An engine whose wall clock stands at `unix_ms`.
fn engine_at(story: &Story, unix_ms: u64) -> Engine {
    let settings = story.world.settings();
    let dir = settings.state_dir.clone();
    let store = SqliteStore::open(&dir, "it", i64::try_from(unix_ms).unwrap()).unwrap();
    let views: Views = Arc::new(move || Ok(Box::new(SqliteStore::open_reader(&dir)?)));
    let writer = Writer::spawn(Box::new(store)).unwrap();
    Engine::on(settings, Ground { writer, views, unix_ms, pulse: Pulse::default() }).unwrap()
}

#[tokio::test]
async fn f39_a_batch_that_is_not_back_after_its_window_is_told_of_once() {
    let config = SimConfig { speed: 30_000.0, ..fast() };
    let story = Story::with(config, Lane::Batch, &["F39=25"]).await;
    let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let (stop, engine) = (Stop::new(), engine_at(&story, now_ms));
    let leave = stop.clone();
    let watch = async {
        while !story.world.ear.heard("batch in_progress") {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        leave.detach();
    };
    let run = engine.run(&story.spec, &|_| true, story.world.ear.clone(), stop);
    let (report, ()) = tokio::join!(run, watch);
    let report = report.unwrap();
    assert_eq!((report.ending, report.batches_open), (Ending::Detached, 1), "{report:?}");
    assert!(!story.world.ear.heard("batch-overdue"), "not before its time");
    drop(engine);

    // 26 hours later by this machine's clock, while the provider is still at it.
    let engine = engine_at(&story, now_ms + 26 * 3_600_000);
    let report = engine.run(&story.spec, &|_| true, story.world.ear.clone(), Stop::new()).await.unwrap();
    drop(engine);
    let told = story.proved(report, Books::Exact).all_succeeded().paid(ASKED);
    let overdue =
        told.heard_all().iter().filter(|line| line.starts_with("alert batch-overdue: batch")).count();
    assert_eq!(overdue, 1, "{:?}", told.heard_all());
}

#[tokio::test]
async fn f40_clocks_an_hour_apart_hide_no_batch() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for start in [now - 3_600, now + 3_600] {
        let config = SimConfig { start_unix: Some(start), speed: 1_000.0, run_secs: 30.0, ..fast() };
        let told = Story::with(config, Lane::Batch, &["F21@1"]).await.ends(Books::Exact).await;
        told.all_succeeded().heard("adopted").paid(ASKED);
    }
}
