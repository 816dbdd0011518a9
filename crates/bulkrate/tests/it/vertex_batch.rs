//! The batch lane at Vertex AI: inputs and results in a bucket, a name that is our mark, rows that are known by a label of their request.

use serde_json::{Value, json};

use super::batch_lane::{Lane, ROWS, job_of, requests, run};
use super::support::{Said, waited};
use super::vertex::{BUCKET, MODEL, place, sim};

pub(super) const LANE: Lane = Lane {
    create: "POST batchPredictionJobs",
    poll: "GET batchPredictionJobs/{id}",
    rows: ROWS,
    requests: 37,
    sim,
    place,
    job: |place, run| job_of(MODEL, place, run, BUCKET),
};

#[test]
fn a_job_costs_half_and_leaves_nothing_in_the_bucket() {
    for model in [MODEL, "vertex/claude-haiku-5-5"] {
        let sim = LANE.sim(&[], &[]);
        let place = place(&sim);
        job_of(model, &place, "batch_items_max = 20", BUCKET);
        LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
        let deleted = &requests(&sim)["DELETE /storage/v1/b/{bucket}/o/{object}"];
        assert_eq!((&LANE.creates(&sim)["200"], deleted), (&json!(2), &json!({"204": 4})));
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
fn a_run_that_is_killed_between_upload_and_create_or_later_goes_on_and_pays_once() {
    LANE.pays_once_when_it_is_killed();
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429"],
        &["output-late", "status-regression"],
        // Named nowhere, and found all the same.
        &["no-files"],
        &["output-id-empty"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["cut-tail=line@1", "file-changes"],
        // The token is taken back in the middle of a poll, of an upload, before a create and before the results.
        &["expired-key:poll@2"],
        &["expired-key:upload@2"],
        &["expired-key:create@1"],
        &["expired-key:content@1"],
        // The upload is gone on with, or begun again.
        &["upload-lost@2"],
        &["reset:upload@1"],
        &["5xx:upload=503@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
}

#[test]
fn a_job_that_is_refused_as_a_whole_is_not_paid() {
    let said = LANE.a_refusal_is_not_paid();
    assert!(said.stderr.contains("Failed to import data"), "{said:?}");
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_twice() {
    LANE.an_upload_whose_answer_was_lost_is_not_sent_twice("POST /upload/storage/v1/b/{bucket}/o");
}

#[test]
fn what_expired_is_kept_as_far_as_it_came_and_the_rest_is_asked_again() {
    let (_, doubt, bill) = LANE.what_expires_is_asked_again();
    assert!(doubt > 0, "{bill}");
    // Half of the rows were there, and were not asked again.
    assert_eq!(bill["requests"], 37, "{bill}");
}

#[test]
fn a_row_that_is_missing_stays_in_doubt_beside_the_bill() {
    LANE.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

#[test]
fn what_a_cancelled_job_has_finished_is_kept_and_paid() {
    let ((spent, doubt, paid), asked) = LANE.cancelled_in_the_middle();
    assert_eq!(asked["POST batchPredictionJobs/{id}:cancel"]["200"], 1, "{asked}");
    assert!(spent == paid && paid > 0 && doubt > 0, "{spent} {doubt} {paid}");
}

#[test]
fn results_that_may_not_be_read_wait_for_the_right_to_and_nothing_is_paid_twice() {
    LANE.waits_for_the_right_to_read_and_pays_nothing_twice("storage.objects.get");
}

#[test]
fn a_bucket_that_is_not_there_is_told_before_anything_is_paid() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim);
    job_of(MODEL, &place, "", "storage = \"gs://nobodys-bucket\"");
    LANE.stops_unpaid(&sim, &place, "bucket does not exist");
    // No bucket at all is no batch lane.
    let place = self::place(&sim);
    job_of(MODEL, &place, "", "");
    let said = run(&place).expect(2);
    assert_eq!(said.json()["error"]["code"], "lane-unavailable", "{said:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}

#[test]
fn a_create_in_doubt_is_not_looked_for_at_another_location_and_not_sent_again() {
    // The job was made at the one location; nothing of it is listed at another.
    let sim = LANE.sim(&["create-lost@1", "5xx:list=503"], &[]);
    let place = LANE.with_job(&sim, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    waited("no doubt", || place.run("doubt list --json", &[]).json()[0]["state"] == "in_doubt");
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = LANE.creates(&sim);
    let with = |name: &str, value: &str| {
        let mut command = place.command(["resume", "reviews", "--json"]);
        Said::from(command.env(name, value).output().unwrap())
    };
    for (name, value) in [("GOOGLE_CLOUD_LOCATION", "europe-west4"), ("GOOGLE_CLOUD_PROJECT", "acme-other")] {
        let said = with(name, value);
        assert_eq!(said.expect(2).json()["error"]["code"], "account-changed", "{name}");
    }
    let said = with("GOOGLE_CLOUD_LOCATION", " ");
    assert_eq!(said.expect(2).json()["error"]["code"], "provider-not-ready");
    let deleted = requests(&sim)["DELETE /storage/v1/b/{bucket}/o/{object}"].clone();
    assert_eq!((LANE.creates(&sim), deleted), (sent, Value::Null));
}
