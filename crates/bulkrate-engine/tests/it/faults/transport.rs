//! F01 to F18: what happens to a call on its way.

use bulkrate_core::lane::Lane;
use bulkrate_core::money::UsdNanos;
use bulkrate_engine::report::Ending;
use bulkrate_sim::SimConfig;

use crate::story::{ASKED, Books, Story};
use crate::world::fast;

/// Each fault on calls in the sync lane, and on everything around a batch that is free.
async fn both_lanes(sync: &[(&str, Books)], batch: &[(&str, Books)]) {
    for (rule, books) in sync {
        Story::of(Lane::Sync, &[rule]).await.ends(*books).await.all_succeeded();
    }
    for (rule, books) in batch {
        Story::of(Lane::Batch, &[rule]).await.ends(*books).await.all_succeeded().paid(ASKED);
    }
}

#[tokio::test]
async fn f01_too_many_requests_wait_as_asked_and_cost_nothing() {
    for word in ["seconds", "date", "missing", "negative"] {
        let rule = format!("F01={word}@2");
        let told = Story::of(Lane::Sync, &[&rule]).await.ends(Books::Exact).await.all_succeeded();
        assert_eq!(told.report.rate_limited, 1, "{word}");
        told.paid(ASKED);
    }
    Story::of(Lane::Batch, &["F01=missing@1"]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f02_a_storm_of_429_counts_as_no_attempt() {
    // Half an hour of it, at a speed that makes it half a second.
    for lane in [Lane::Sync, Lane::Batch] {
        let config = SimConfig { speed: 3_600.0, run_secs: 60.0, ..fast() };
        let told = Story::with(config, lane, &["F02@1"]).await.ends(Books::Exact).await;
        assert!(told.report.rate_limited > 0 || lane == Lane::Batch, "{:?}", told.report);
        assert!(told.rows.iter().all(|row| row["_attempts"] == 1), "waiting is no attempt");
        told.all_succeeded().paid(ASKED);
    }
}

#[tokio::test]
async fn f03_errors_of_a_server_are_tried_again_and_those_of_a_gateway_are_doubt() {
    // JSON of the API says that nothing was done; a gateway's page says nothing of what happened behind it.
    for (status, books) in [
        ("500", Books::Exact),
        ("503", Books::Exact),
        ("502", Books::Doubt),
        ("504", Books::Doubt),
        ("529", Books::Doubt),
    ] {
        let rule = format!("F03:sync={status}@2-4");
        Story::of(Lane::Sync, &[&rule]).await.ends(books).await.all_succeeded().paid(ASKED);
    }
    for place in ["create", "upload", "poll", "list", "content", "delete"] {
        let rule = format!("F03:{place}@1-2");
        Story::of(Lane::Batch, &[&rule]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
    }
}

#[tokio::test]
async fn f04_nobody_there_is_no_doubt() {
    for lane in [Lane::Sync, Lane::Batch] {
        let mut story = Story::of(lane, &["F04=0.2@3"]).await;
        // One call at a time: none is on its way when the listener goes but the one that is cut.
        story.spec.run.concurrency_max = 1;
        let books = if lane == Lane::Sync { Books::Doubt } else { Books::Exact };
        let told = story.ends(books).await.all_succeeded().paid(ASKED);
        if lane == Lane::Sync {
            // The one that was cut went twice; tries at a closed port are no requests.
            assert_eq!(told.report.requests_sent, ASKED + 1, "{:?}", told.report);
        }
    }
}

#[tokio::test]
async fn f06_a_reset_before_the_headers_is_doubt() {
    let told = Story::of(Lane::Sync, &["F06@3"]).await.ends(Books::Doubt).await;
    told.all_succeeded().paid(ASKED + 1); // W3: the one call, no other
    both_lanes(
        &[],
        &[("F06:create@1", Books::Exact), ("F06:upload@1", Books::Exact), ("F06:content@1", Books::Exact)],
    )
    .await;
}

#[tokio::test]
async fn f07_a_body_cut_short_is_no_answer() {
    Story::of(Lane::Sync, &["F07@3"]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    both_lanes(
        &[],
        &[("F07:create@1", Books::Exact), ("F07:content@1", Books::Exact), ("F07:list@1", Books::Exact)],
    )
    .await;
}

#[tokio::test]
async fn f08_a_body_that_trickles_is_read_to_its_end() {
    Story::of(Lane::Sync, &["F08@3"]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f08_a_byte_a_second_ends_with_the_time_out() {
    let mut story = Story::of(Lane::Sync, &["F08=loris@3"]).await;
    story.spec.run.timeout_ms = Some(300);
    story.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
}

#[tokio::test]
async fn f09_a_stall_and_a_reset_are_doubt() {
    Story::of(Lane::Sync, &["F09=0.05@3"]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    let mut story = Story::of(Lane::Sync, &["F09=60@3"]).await;
    story.spec.run.timeout_ms = Some(300);
    story.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    both_lanes(&[], &[("F09:create=0.05@1", Books::Exact), ("F09:content=0.05@1", Books::Exact)]).await;
}

#[tokio::test]
async fn f10_broken_json_with_200_is_doubt_and_never_an_answer() {
    Story::of(Lane::Sync, &["F10@3"]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    both_lanes(
        &[],
        &[
            ("F10:create@1", Books::Exact),
            ("F10:upload@1", Books::Exact),
            ("F10:poll@1", Books::Exact),
            ("F10:list@1", Books::Exact),
            ("F10:content@1", Books::Exact),
        ],
    )
    .await;
}

#[tokio::test]
async fn f11_a_page_is_no_answer() {
    for rule in ["F11=200@3", "F11=502@3"] {
        Story::of(Lane::Sync, &[rule]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    }
    for rule in ["F11:create=200@1", "F11:create=502@1", "F11:content=200@1", "F11:poll@1", "F11:upload@1"] {
        Story::of(Lane::Batch, &[rule]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
    }
}

#[tokio::test]
async fn f12_a_wrong_content_type_does_not_spoil_a_right_body() {
    for rule in ["F12=wrong", "F12=missing"] {
        for lane in [Lane::Sync, Lane::Batch] {
            Story::of(lane, &[rule]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
        }
    }
}

#[tokio::test]
async fn f13_a_length_that_lies_is_doubt() {
    for rule in ["F13=long@3", "F13=short@3"] {
        Story::of(Lane::Sync, &[rule]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    }
    both_lanes(&[], &[("F13:create=short@1", Books::Exact), ("F13:content=long@1", Books::Exact)]).await;
}

#[tokio::test]
async fn f14_a_gzip_bomb_is_not_unpacked() {
    Story::of(Lane::Sync, &["F14@3"]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED + 1);
    both_lanes(&[], &[("F14:create@1", Books::Exact), ("F14:content=100@1", Books::Exact)]).await;
}

#[tokio::test]
async fn f15_a_redirect_is_not_followed() {
    // Whoever redirects may have passed the request on: doubt, with nothing on the bill.
    Story::of(Lane::Sync, &["F15@3"]).await.ends(Books::Doubt).await.all_succeeded().paid(ASKED);
    both_lanes(&[], &[("F15:create@1", Books::Exact)]).await;
}

#[tokio::test]
async fn f17_a_create_that_arrives_late_is_fenced() {
    // Later than every look for it: the input file is gone by then, so it makes no batch.
    let config = SimConfig { late_secs: 3_600.0, speed: 2_000.0, run_secs: 60.0, ..fast() };
    let told = Story::with(config, Lane::Batch, &["F17@1"]).await.ends(Books::Exact).await;
    told.all_succeeded().heard("proved not to exist").paid(ASKED);
    // Within the looks: it is found.
    let config = SimConfig { late_secs: 60.0, speed: 2_000.0, run_secs: 60.0, ..fast() };
    Story::with(config, Lane::Batch, &["F17@1"]).await.ends(Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f18_a_call_delivered_twice_shows_on_the_bill_alone() {
    // Nobody can see it from here: `verify --bill` is what tells.
    let mut story = Story::of(Lane::Sync, &["F18:sync@3"]).await;
    story.spec.run.concurrency_max = 1;
    let report = story.run().await;
    assert_eq!((report.ending, report.succeeded, report.open), (Ending::Finished, 60, 0), "{report:?}");
    assert_eq!(report.in_doubt, UsdNanos::ZERO);
    let bill = i64::try_from(story.world.sim.bill_usd_nanos()).unwrap();
    assert!(report.spent.0 < bill, "{} {bill}", report.spent.0);
    let path = story.world.path("bill.json");
    std::fs::write(&path, story.world.sim.bill_json()).unwrap();
    let proof = bulkrate_engine::Reader::open(&story.world.path("state")).unwrap();
    let proof = proof.verify(&report.job, std::slice::from_ref(&path)).unwrap();
    let failed: Vec<&str> =
        proof.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, ["bill equals ledger"], "{proof:?}");
}
