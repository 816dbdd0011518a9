//! F20 to F29: uploads, creates and lists.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::{Ending, Report};
use bulkrate_sim::SimConfig;

use crate::story::{ASKED, Books, Story};
use crate::world::fast;

/// One batch, one fault, everything paid once.
async fn once(faults: &[&str]) -> crate::story::Told {
    Story::of(Lane::Batch, faults).await.ends(Books::Exact).await.all_succeeded().paid(ASKED)
}

#[tokio::test]
async fn f20_upload_answer_lost_is_uploaded_again() {
    let told = once(&["F20@1"]).await;
    assert_eq!(told.report.batches, 1);
}

#[tokio::test]
async fn f21_create_answer_lost_is_adopted() {
    let told = once(&["F21@1"]).await.heard("alert batch-in-doubt").heard("adopted: nothing is paid twice");
    assert_eq!(told.report.batches, 1, "{:?}", told.report);
    // The third of six.
    let mut story = Story::of(Lane::Batch, &["F21@3"]).await;
    story.spec.run.batch_items_max = 10;
    story.ends(Books::Exact).await.all_succeeded().paid(ASKED).heard("adopted");
}

#[tokio::test]
async fn f22_create_answered_5xx_is_adopted() {
    once(&["F22@1"]).await.heard("alert batch-in-doubt").heard("adopted");
}

#[tokio::test]
async fn f23_create_without_an_id_is_adopted() {
    once(&["F23@1"]).await.heard("alert batch-in-doubt").heard("adopted");
}

#[tokio::test]
async fn f24_a_list_that_lags_delays_the_adoption_and_no_more() {
    // 120 virtual seconds of lag are 60 ms; the fence waits longer than that.
    let config = SimConfig { speed: 2_000.0, run_secs: 60.0, ..fast() };
    let mut story = Story::with(config, Lane::Batch, &["F21@1", "F24"]).await;
    story.spec.run.t_lag_ms = 400;
    story.ends(Books::Exact).await.all_succeeded().paid(ASKED).heard("adopted");
}

#[tokio::test]
async fn f25_a_list_page_that_fails_or_repeats_proves_nothing() {
    for word in ["fails", "repeats"] {
        once(&["F21@1", &format!("F25={word}@1-3")]).await.heard("adopted");
    }
}

#[tokio::test]
async fn f25_a_page_that_skips_the_batch_is_not_believed_once() {
    once(&["F21@1", "F25=skips@1-2"]).await.heard("adopted");
}

#[tokio::test]
async fn f26_an_empty_list_is_not_believed_once() {
    once(&["F21@1", "F26@1-2"]).await.heard("adopted");
}

#[tokio::test]
async fn f27_no_quota_halts_the_job_and_what_was_enqueued_is_kept() {
    let config = SimConfig { speed: 10_000.0, ..fast() };
    let mut story = Story::with(config, Lane::Batch, &["F27:create@3-4"]).await;
    story.spec.run.batch_items_max = 10;
    story.spec.run.batches_max = 2;
    let report = story.run().await;
    assert_eq!((report.ending, report.halted_by.as_deref()), (Ending::Halted, Some("billing")), "{report:?}");
    assert_eq!(report.in_doubt, UsdNanos::ZERO, "{report:?}");
    // With credit again the same command goes on, and what was enqueued is not paid again.
    let mut report = story.run().await;
    if report.ending == Ending::Halted {
        report = story.run().await; // the fourth create was refused too
    }
    story.proved(report, Books::Exact).all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f28_two_batches_with_one_marker_are_both_told() {
    let story = Story::of(Lane::Batch, &["F28@1"]).await;
    let report = story.run().await;
    assert_eq!((report.ending, report.succeeded, report.open), (Ending::Finished, 60, 0), "{report:?}");
    let heard = story.world.ear.heard.lock().unwrap().clone();
    assert!(story.world.ear.heard("alert batch-anomaly") && story.world.ear.heard("made twice"), "{heard:?}");
    // One of them landed, each item once; what the other costs is not paid for by sending anything again.
    let bill: serde_json::Value = serde_json::from_str(&story.world.sim.bill_json()).unwrap();
    assert!(bill["requests"].as_u64().unwrap() <= 2 * ASKED, "{bill}");
    assert_eq!((report.requests_sent, report.reserved), (ASKED, UsdNanos::ZERO), "{report:?}");
}

#[tokio::test]
async fn f28_what_the_twin_costs_is_booked() {
    for rule in ["F28@1", "F18:create@1"] {
        let story = Story::of(Lane::Batch, &[rule]).await;
        let report = story.run().await;
        assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{rule}: {report:?}");
        let heard = story.world.ear.heard.lock().unwrap().clone();
        assert!(story.world.ear.heard("was made twice"), "{rule}: {heard:?}");
        let (bill, path) = (story.world.sim.bill_json(), story.world.path("bill.json"));
        std::fs::write(&path, &bill).unwrap();
        let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
        let twice = bill["requests"].as_u64().unwrap() - ASKED;
        assert!(rule != "F18:create@1" || twice == ASKED, "nobody knows of it before it has run: {bill}");
        assert_eq!(
            (report.spent.0, report.in_doubt, report.reserved),
            (bill["total_usd_nanos"].as_i64().unwrap(), UsdNanos::ZERO, UsdNanos::ZERO),
            "{rule}: {twice} answers twice: {report:?} {heard:?}"
        );
        let reader = bulkrate_engine::Reader::open(&story.world.path("state")).unwrap();
        let proof = reader.verify(&report.job, std::slice::from_ref(&path)).unwrap();
        assert!(proof.passed(), "{rule}: {proof:?}");
        let proved = format!("{proof:?}");
        assert_eq!(proved.contains("paid twice, booked as duplicates"), twice > 0, "{rule}: {proved}");
        // It is booked once, however often the job is run again.
        assert_eq!(story.run().await.spent, report.spent, "{rule}");
    }
}

/// Ledger and bill are equal, of one batch of sixty and so many answers twice.
fn exact(story: &Story, report: &Report) -> u64 {
    let bill: serde_json::Value = serde_json::from_str(&story.world.sim.bill_json()).unwrap();
    assert_eq!((report.ending, report.succeeded), (Ending::Finished, 60), "{report:?}");
    assert_eq!(
        (report.spent.0, report.in_doubt, report.reserved),
        (bill["total_usd_nanos"].as_i64().unwrap(), UsdNanos::ZERO, UsdNanos::ZERO),
        "{report:?} {:?}",
        story.world.ear.heard.lock().unwrap()
    );
    bill["requests"].as_u64().unwrap() - ASKED
}

#[tokio::test]
async fn f28_a_twin_that_the_last_list_did_not_show_is_booked_by_the_next_run() {
    let story = Story::of(Lane::Batch, &["F18:create@1", "F26@1"]).await;
    let report = story.run().await;
    let bill: serde_json::Value = serde_json::from_str(&story.world.sim.bill_json()).unwrap();
    assert!(report.ending == Ending::Finished && report.spent.0 < bill["total_usd_nanos"].as_i64().unwrap());
    // Every item has its answer: the run asks nothing, and sweeps all the same.
    let again = story.run().await;
    assert_eq!((exact(&story, &again), again.requests_sent), (ASKED, 0));
    assert!(story.world.ear.heard("was made twice"));
}

#[tokio::test]
async fn f18_the_twin_of_a_batch_at_work_is_cancelled_at_the_next_start() {
    let config = SimConfig { speed: 1_000.0, run_secs: 2_000.0, ..fast() };
    let story = Story::with(config, Lane::Batch, &["F18:create@1"]).await;
    let left = story.world.until("state", &story.spec, "batch in_progress", 1).await;
    assert_eq!(left.ending, Ending::Detached, "{left:?}");
    let report = story.run().await;
    let twice = exact(&story, &report);
    assert!(twice < ASKED, "{twice} answers twice: it was not waited for");
    let heard = story.world.ear.heard.lock().unwrap().clone();
    let at = |part: &str| heard.iter().position(|line| line.contains(part));
    assert!(at("was made twice").is_some_and(|told| Some(told) < at("batch ended")), "{heard:?}");
}

#[tokio::test]
async fn f29_foreign_batches_are_left_alone() {
    let told = once(&["F21@1", "F29"]).await.heard("adopted");
    assert!(!told.heard_all().iter().any(|line| line.contains("another tool")));
}
