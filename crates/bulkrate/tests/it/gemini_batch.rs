//! The batch lane at Gemini: files, a name that is our mark, and nothing to be had of what expired or was cancelled.

use serde_json::json;

use super::batch_lane::{Lane, ROWS, job_of, requests, run};
use super::gemini::place;
use super::support::Sim;

const LANE: Lane = Lane {
    create: "POST /v1beta/models/{model}:batchGenerateContent",
    poll: "GET /v1beta/batches/{id}",
    rows: ROWS,
    requests: 37,
    sim: |flags| Sim::of("gemini", flags),
    place,
    job: |place, run| job_of("gemini/gemini-3.8-flash", place, run, ""),
};

#[test]
fn a_job_costs_half_and_leaves_no_file_at_the_provider() {
    let sim = LANE.sim(&[], &["--api-key", "AIza-canary-0123456789"]);
    let place = LANE.with_job(&sim, "batch_items_max = 20");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    let deleted = &requests(&sim)["DELETE /v1beta/files/{id}"]["200"];
    assert_eq!((&LANE.creates(&sim)["200"], deleted), (&json!(2), &json!(4)));
}

#[test]
fn a_lost_create_is_found_by_its_name() {
    LANE.a_lost_create_is_found_by_its_name("batches/");
}

#[test]
fn what_never_arrived_is_sent_again_once_its_file_is_gone() {
    LANE.what_never_arrived_is_sent_again_once_its_input_is_gone();
}

#[test]
fn a_killed_run_goes_on_with_its_batches() {
    let sim = LANE.sim(&[], &["--speed", "200"]);
    let place = LANE.with_job(&sim, "batch_items_max = 20");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| {
        job["batches"]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().any(|batch| batch["batch"].is_string()))
    });
    LANE.whole(&place, &sim, run(&place));
    assert_eq!(LANE.creates(&sim), json!({"200": 2}));
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429"],
        &["output-late", "status-regression"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["cut-tail=line@1", "file-changes"],
        // The upload is gone on with, or begun again.
        &["upload-lost@2"],
        &["reset:upload@1"],
        &["5xx:upload=503@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
    LANE.a_refusal_is_not_paid();
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_twice() {
    LANE.an_upload_whose_answer_was_lost_is_not_sent_twice("POST /upload/v1beta/files");
}

#[test]
fn what_expired_is_asked_again_and_stays_in_doubt() {
    let (_, doubt, bill) = LANE.what_expires_is_asked_again();
    assert!(doubt > 0, "{bill}");
}

#[test]
fn a_line_that_is_missing_stays_in_doubt_beside_the_bill() {
    LANE.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

#[test]
fn a_cancelled_batch_shows_nothing_of_what_it_finished_and_its_price_is_in_doubt() {
    let ((spent, doubt, paid), asked) = LANE.cancelled_in_the_middle();
    assert_eq!(asked["POST /v1beta/batches/{id}:cancel"]["200"], 1, "{asked}");
    assert!(spent == 0 && 0 < paid && paid <= doubt, "{spent} {doubt} {paid}");
}

#[test]
fn a_full_queue_is_waited_for() {
    let sim = LANE.sim(&[], &["--enqueued-tokens", "700"]);
    let place = LANE.with_job(&sim, "batch_items_max = 15");
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], 37, "{bill}");
    let creates = LANE.creates(&sim);
    assert!(creates["429"].as_u64() > Some(0), "{creates}");
}
