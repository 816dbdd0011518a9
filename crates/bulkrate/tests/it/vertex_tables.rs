//! The batch lane at Vertex AI from and to tables of BigQuery: a table for each input, and one beside it for its results.

use serde_json::{Value, json};

use super::batch_lane::{Lane, ROWS, job_of, requests, run};
use super::support::Sim;
use super::vertex::{BUCKET, MODEL, place, sim as vertex};

const DATASET: &str = "storage = \"bq://acme_batches\"";

fn sim(flags: &[&str]) -> Sim {
    vertex(&[&["--dataset", "acme_batches"], flags].concat())
}

const LANE: Lane =
    Lane { sim, job: |place, run| job_of(MODEL, place, run, DATASET), ..super::vertex_batch::LANE };

/// A load, as the simulator counts it.
const LOAD: &str = "POST /upload/bigquery/v2/jobs";

#[test]
fn a_job_costs_half_and_leaves_no_table() {
    for model in [MODEL, "vertex/claude-haiku-5-5"] {
        let sim = LANE.sim(&[], &[]);
        let place = place(&sim);
        job_of(model, &place, "batch_items_max = 20", DATASET);
        LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
        let asked = requests(&sim);
        // Input and output of two batches.
        let deleted = &asked["DELETE /bigquery/v2/tables/{table}"];
        assert_eq!((&LANE.creates(&sim)["200"], deleted), (&json!(2), &json!({"204": 4})));
        // What is deleted is gone, as it is looked after.
        assert_eq!(asked["GET /bigquery/v2/tables/{table}"], json!({"200": 2, "404": 4}));
        // The beginning and the file, of each; where the dataset is, is asked once.
        assert_eq!(asked[LOAD], json!({"200": 4}));
        assert_eq!(asked["GET /bigquery/v2/datasets/{dataset}"], json!({"200": 1}));
        assert_eq!(asked["POST /upload/storage/v1/b/{bucket}/o"], Value::Null);
    }
}

#[test]
fn a_lost_create_is_found_by_its_name() {
    LANE.a_lost_create_is_found_by_its_name("projects/acme-labels/");
}

#[test]
fn what_never_arrived_is_sent_again_once_its_input_is_gone() {
    LANE.what_never_arrived_is_sent_again_once_its_input_is_gone();
}

#[test]
fn a_run_that_is_killed_between_load_and_create_or_later_goes_on_and_pays_once() {
    LANE.pays_once_when_it_is_killed();
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["output-late", "status-regression"],
        // Named nowhere, and found all the same.
        &["no-files"],
        &["output-id-empty"],
        &["duplicate-lines=0.2", "unknown-lines=0.2"],
        // A page lacks a row of those that the table says it has.
        &["cut-tail@1"],
        &["file-gone@1"],
        &["5xx:content=503@1", "truncated-body:content@2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        // The token is taken back in the middle of a poll, of a load, before a create and before the results.
        &["expired-key:poll@2"],
        &["expired-key:upload@2"],
        &["expired-key:create@1"],
        &["expired-key:content@1"],
        &["upload-lost@2"],
        &["reset:upload@1"],
        &["5xx:upload=503@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
}

#[test]
fn a_load_whose_answer_was_lost_is_one_load() {
    LANE.an_upload_whose_answer_was_lost_is_not_sent_twice(LOAD);
}

#[test]
fn a_job_that_is_refused_as_a_whole_is_not_paid() {
    let said = LANE.a_refusal_is_not_paid();
    assert!(said.stderr.contains("Failed to import data from bq://acme-labels.acme_batches."), "{said:?}");
}

#[test]
fn what_expired_is_kept_as_far_as_it_came_and_the_rest_is_asked_again() {
    let (_, doubt, bill) = LANE.what_expires_is_asked_again();
    assert!(doubt > 0, "{bill}");
    assert_eq!(bill["requests"], 37, "{bill}");
}

#[test]
fn a_row_that_is_missing_stays_in_doubt_beside_the_bill() {
    LANE.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

#[test]
fn results_that_are_seen_late_are_waited_for_and_nothing_is_asked_again() {
    // So often as results that are nowhere are looked for elsewhere, and more.
    let sim = LANE.sim(&["file-gone@1-7"], &[]);
    let place = LANE.with_job(&sim, "");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    assert_eq!(LANE.creates(&sim)["200"], 1);
    assert_eq!(requests(&sim)["GET /bigquery/v2/tables/{table}/data"]["404"], 7);
}

#[test]
fn results_that_lack_rows_which_were_paid_are_left_where_they_are() {
    let sim = LANE.sim(&["missing-lines=0.2"], &[]);
    let place = LANE.with_job(&sim, "");
    let said = run(&place).expect(0);
    assert!(said.stderr.contains("are not in its results, which are left at the provider"), "{said:?}");
    // Of the first batch the input alone was deleted.
    let tables = requests(&sim)["DELETE /bigquery/v2/tables/{table}"]["204"].as_u64().unwrap();
    let made = LANE.creates(&sim)["200"].as_u64().unwrap();
    assert!(made > 1 && tables < 2 * made, "{tables} {made}");
}

#[test]
fn pages_of_three_rows_bring_the_same() {
    let sim = LANE.sim(&[], &["--page-rows", "3"]);
    let place = LANE.with_job(&sim, "");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    assert!(requests(&sim)["GET /bigquery/v2/tables/{table}/data"]["200"].as_u64() > Some(10));
}

#[test]
fn what_a_cancelled_job_has_finished_is_kept_and_paid() {
    let ((spent, doubt, paid), _) = LANE.cancelled_in_the_middle();
    assert!(spent == paid && paid > 0 && doubt > 0, "{spent} {doubt} {paid}");
}

#[test]
fn what_is_wrong_with_a_dataset_is_told_before_anything_is_paid() {
    let sim = LANE.sim(&[], &[]);
    let nobodys = place(&sim);
    job_of(MODEL, &nobodys, "", "storage = \"bq://nobodys\"");
    LANE.stops_unpaid(&sim, &nobodys, "Not found: Dataset acme-labels:nobodys");
    let sim = LANE.sim(&[], &["--dataset-location", "EU"]);
    let elsewhere = LANE.with_job(&sim, "");
    LANE.stops_unpaid(
        &sim,
        &elsewhere,
        "the dataset `acme_batches` is at `EU`, and batches run at `us-central1`",
    );
    let sim = LANE.sim(&[], &["--table-days", "3"]);
    let passing = LANE.with_job(&sim, "");
    LANE.stops_unpaid(&sim, &passing, "tables of the dataset `acme_batches` are deleted after 3.0 days");
    let sim = LANE.sim(&["forbidden:upload@1"], &[]);
    let denied = LANE.with_job(&sim, "");
    LANE.stops_unpaid(&sim, &denied, "does not have permission");
    // What is no dataset is told before anything is sent.
    let odd = place(&sim);
    job_of(MODEL, &odd, "", "storage = \"bq://acme-batches\"");
    let said = run(&odd).expect(2);
    assert_eq!(said.json()["error"]["code"], "lane-unavailable", "{said:?}");
    assert!(said.stderr.contains("no dataset of BigQuery"), "{said:?}");
}

#[test]
fn results_that_may_not_be_read_wait_for_the_right_to_and_nothing_is_paid_twice() {
    LANE.waits_for_the_right_to_read_and_pays_nothing_twice("Access Denied: Table acme-labels:acme_batches.");
}

#[test]
fn a_bucket_in_the_place_of_the_dataset_takes_nothing_for_gone() {
    let sim = LANE.sim(&[], &["--speed", "200"]);
    let place = LANE.with_job(&sim, "");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| job["batches"][0]["batch"].is_string());
    job_of(MODEL, &place, "", BUCKET);
    let said = run(&place);
    assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
    assert!(said.stderr.contains("name what it named when this batch was made"), "{said:?}");
    (LANE.job)(&place, "");
    LANE.whole(&place, &sim, run(&place));
    assert_eq!(LANE.creates(&sim), json!({"200": 1}));
}

#[test]
fn vectors_are_not_asked_for_in_tables() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim);
    place.put("reviews.csv", super::support::reviews(ROWS));
    let line =
        "run reviews.csv --yes --out out.csv --kind embedding --lane batch --storage bq://acme_batches";
    let ask = ["--user", "{{ text }}", "--model", "vertex/gemini-embedding-001", "--id", "id"];
    place.run(line, &ask).error(2, "lane-unavailable", &["from a bucket and from no table"]);
    assert_eq!(sim.bill()["requests"], 0);
}

#[test]
fn doctor_looks_into_the_dataset_for_free() {
    let doctor = |sim: &Sim, storage: &str| {
        place(sim).run(&format!("doctor --model {MODEL} --storage {storage}"), &[])
    };
    let sim = LANE.sim(&[], &["--location", "us-central1"]);
    let said = doctor(&sim, "bq://acme_batches").expect(0);
    assert!(said.stdout.contains("the provider answers"), "{said:?}");
    let said = doctor(&sim, "bq://nobodys").expect(4);
    assert!(said.stdout.contains("Not found: Dataset"), "{said:?}");
    assert_eq!(sim.bill()["requests"], 0);
}
