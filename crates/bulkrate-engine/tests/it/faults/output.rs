//! F50 to F68: what is in the files, and what is not.

use bulkrate_core::lane::Lane;
use bulkrate_sim::SimConfig;

use crate::story::{ASKED, Books, Story, Told};
use crate::world::fast;

async fn batch(faults: &[&str], books: Books) -> Told {
    Story::of(Lane::Batch, faults).await.ends(books).await
}

#[tokio::test]
async fn f50_an_error_file_alone_ends_the_attempts_of_its_items() {
    batch(&["F50@1"], Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f51_a_batch_without_files_may_have_been_paid() {
    batch(&["F51@1"], Books::Doubt).await.all_succeeded();
}

#[tokio::test]
async fn f52_an_empty_file_id_is_no_file() {
    batch(&["F52=error-id-empty"], Books::Exact).await.all_succeeded().paid(ASKED);
    batch(&["F52@1"], Books::Doubt).await.all_succeeded();
}

#[tokio::test]
async fn f53_a_file_that_is_missing_once_is_asked_for_again() {
    batch(&["F53@1"], Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f53_a_file_that_stays_missing_is_a_loss_that_is_booked() {
    batch(&["F53@1-9"], Books::Doubt).await.all_succeeded();
}

#[tokio::test]
async fn f54_the_order_of_results_does_not_matter() {
    let (one, other) = (batch(&["F54"], Books::Exact).await, batch(&["F54=0"], Books::Exact).await);
    let answers = |told: &Told| told.rows.iter().map(|row| row["answer"].clone()).collect::<Vec<_>>();
    assert_eq!(answers(&one), answers(&other));
    one.all_succeeded();
    other.all_succeeded();
}

#[tokio::test]
async fn f55_a_line_that_comes_twice_counts_once() {
    for word in ["same", "other"] {
        let told = batch(&[&format!("F55:0.3={word}")], Books::Exact).await;
        // What came first is what counts; the second body would be empty.
        told.all_succeeded().paid(ASKED).heard("alert batch-anomaly");
    }
}

#[tokio::test]
async fn f56_a_line_that_nobody_asked_for_is_kept_apart() {
    batch(&["F56:0.3"], Books::Exact).await.all_succeeded().paid(ASKED).heard("alert batch-anomaly");
}

#[tokio::test]
async fn f57_missing_lines_are_booked_as_doubt_and_asked_again() {
    let told = batch(&["F57:0.2"], Books::Doubt).await;
    assert!(told.report.succeeded > 50, "{:?}", told.report);
}

#[tokio::test]
async fn f58_an_error_with_200_is_a_failure() {
    // The status says that it ran, so its bound is booked as doubt.
    let told = batch(&["F58:0.3"], Books::Doubt).await;
    assert!(told.bill["requests"].as_u64().unwrap() <= ASKED);
    assert!(told.report.succeeded > 50, "{:?}", told.report);
}

#[tokio::test]
async fn f59_a_refusal_an_empty_and_a_cut_answer_are_told_apart() {
    for (rule, class) in [("F59=refusal", "refusal"), ("F59=empty", "empty"), ("F59=length", "truncated")] {
        for lane in [Lane::Sync, Lane::Batch] {
            let told = Story::of(lane, &[rule]).await.ends(Books::Exact).await;
            told.died(class, 60);
        }
    }
}

#[tokio::test]
async fn f60_a_line_of_200_mb_is_passed_over() {
    let told = batch(&["F60@1"], Books::Doubt).await;
    told.heard("1 cannot be read").all_succeeded();
}

#[tokio::test]
async fn f61_odd_bytes_spoil_no_line_but_their_own() {
    for word in ["bom", "crlf"] {
        batch(&[&format!("F61={word}@3")], Books::Exact).await.all_succeeded().paid(ASKED);
    }
    for word in ["nul", "utf8", "surrogate"] {
        batch(&[&format!("F61={word}@3")], Books::Doubt).await.all_succeeded();
    }
}

#[tokio::test]
async fn f62_a_tail_that_is_cut_is_downloaded_again() {
    batch(&["F62@1"], Books::Exact).await.all_succeeded().paid(ASKED);
    batch(&["F62=newline"], Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f63_deep_nesting_spoils_no_more_than_its_line() {
    let told = Story::of(Lane::Batch, &["F63@3"]).await;
    let report = told.run().await;
    let books = if report.in_doubt.0 > 0 { Books::Doubt } else { Books::Exact };
    told.proved(report, books).all_succeeded();
}

#[tokio::test]
async fn f64_numbers_out_of_range_are_no_usage() {
    for (word, lane) in [
        ("1e400", Lane::Batch),
        ("-0", Lane::Batch),
        ("2^64", Lane::Batch),
        ("1e400", Lane::Sync),
        ("-0", Lane::Sync),
        ("2^64", Lane::Sync),
    ] {
        estimated(&format!("F64={word}@3"), lane).await;
    }
}

#[tokio::test]
async fn f65_an_answer_without_usage_is_settled_at_its_bound() {
    for word in ["missing", "null", "negative", "string"] {
        for lane in [Lane::Batch, Lane::Sync] {
            estimated(&format!("F65={word}@3"), lane).await;
        }
    }
}

/// The bill is known to the provider alone: what is settled is the bound, never less than the bill, and says so.
async fn estimated(rule: &str, lane: Lane) {
    let story = Story::of(lane, &[rule]).await;
    let report = story.run().await;
    let heard = story.world.ear.heard.lock().unwrap().clone();
    assert_eq!(
        (report.succeeded + report.failed, report.open),
        (60, 0),
        "{rule} {lane}: {report:?} {heard:?}"
    );
    assert_eq!(report.failed, 0, "{rule} {lane}: {report:?} {heard:?}");
    assert_eq!(report.reserved.0, 0, "{rule} {lane}: {report:?}");
    let bill = i64::try_from(story.world.sim.bill_usd_nanos()).unwrap();
    assert!(bill <= report.spent.0 + report.in_doubt.0, "{rule} {lane}: {report:?} {bill}");
    let exact = report.spent.0 == bill;
    assert_eq!(
        report.estimated_usage > 0,
        !exact || report.in_doubt.0 > 0,
        "{rule} {lane}: {report:?} {bill}"
    );
}

#[tokio::test]
async fn f67_a_file_that_changes_between_reads_lands_each_line_once() {
    // The first read is cut, the second comes in another order.
    batch(&["F62@1", "F67@2"], Books::Exact).await.all_succeeded().paid(ASKED);
}

#[tokio::test]
async fn f68_results_that_cannot_be_read_for_days_are_waited_for() {
    let config = SimConfig { speed: 200_000.0, ..fast() };
    let told = Story::with(config, Lane::Batch, &["F68@1"]).await.ends(Books::Exact).await;
    told.all_succeeded().paid(ASKED);
}
