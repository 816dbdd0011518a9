//! The batch lane at Vertex AI: inputs and results in a bucket, a name that is our mark, rows that are known by a label of their request.

use serde_json::{Value, json};

use super::anthropic_batch::{ROWS, job_of, requests, run, whole};
use super::jobs::nanos;
use super::support::{Place, Sim, waited};
use super::vertex::{BUCKET, MODEL, place, sim as vertex};

const CREATE: &str = "POST batchPredictionJobs";

fn job(place: &Place, run: &str) {
    job_of(MODEL, place, run, BUCKET);
}

/// How often a create was answered with each status; 0 is none at all.
fn creates(sim: &Sim) -> Value {
    requests(sim)[CREATE].clone()
}

fn sim(faults: &[&str], flags: &[&str]) -> Sim {
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    vertex(&[&faults[..], flags].concat())
}

/// What was settled, what is in doubt, and what was paid.
fn sums(report: &Value, sim: &Sim) -> (i64, i64, i64) {
    (nanos(report, "spent"), nanos(report, "in_doubt"), nanos(&sim.bill(), "total"))
}

#[test]
fn a_job_costs_half_and_leaves_nothing_in_the_bucket() {
    for model in [MODEL, "vertex/claude-haiku-5-5"] {
        let sim = sim(&[], &[]);
        let place = place(&sim);
        job_of(model, &place, "batch_items_max = 20", BUCKET);
        let (report, bill) = whole(&place, &sim, run(&place));
        let lanes = (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64());
        assert_eq!(lanes, (Some(37), Some(0)), "{bill}");
        let saved = report["saved_usd_nanos"]["batch"].as_i64();
        assert_eq!(saved, Some(nanos(&report, "spent")), "half of the price: {report}");
        let calls = requests(&sim);
        let deleted = &calls["DELETE /storage/v1/b/{bucket}/o/{object}"];
        assert_eq!((&calls[CREATE]["200"], deleted), (&json!(2), &json!({"204": 4})), "{calls}");
    }
}

#[test]
fn a_lost_create_is_found_by_its_name() {
    for fault in ["create-lost@1", "create-5xx@1", "create-no-id@1"] {
        let sim = sim(&[fault, "foreign-batches"], &["--speed", "300"]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        for words in ["may or may not have been created", "was found as projects/acme-labels/"] {
            assert!(said.stderr.contains(words), "{words}: {said:?}");
        }
        whole(&place, &sim, said);
        let creates = creates(&sim);
        let all: u64 = creates.as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(all, 1, "{creates}");
    }
}

#[test]
fn what_never_arrived_is_sent_again_once_its_input_is_gone() {
    // The second one is carried out so late that it finds no input.
    for (fault, first) in [("reset-early:create=1@1", "0"), ("create-late@1", "0")] {
        let sim = sim(&[fault], &["--late-secs", "1200"]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        assert!(said.stderr.contains("proved not to exist"), "{said:?}");
        let (_, bill) = whole(&place, &sim, said);
        assert_eq!(creates(&sim), json!({first: 1, "200": 1}));
        assert_eq!(bill["requests_batch"], 37, "{bill}");
    }
}

#[test]
fn a_run_that_is_killed_between_upload_and_create_or_later_goes_on_and_pays_once() {
    let reached: [fn(&Value) -> bool; 2] = [
        |job| job["batches"].as_array().is_some_and(|all| !all.is_empty()),
        |job| job["batches"].as_array().is_some_and(|all| all.iter().any(|batch| batch["batch"].is_string())),
    ];
    for reached in reached {
        let sim = sim(&[], &["--speed", "200"]);
        let place = place(&sim);
        job(&place, "batch_items_max = 20");
        place.kill_when(["run", "reviews.toml", "--yes"], reached);
        let (_, bill) = whole(&place, &sim, run(&place));
        assert_eq!((&creates(&sim)["200"], &bill["requests_batch"]), (&json!(2), &json!(37)));
    }
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
        let sim = sim(faults, &[]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        let shown = format!("{faults:?} {said:?}");
        let (report, _) = super::jobs::whole(&place, &sim, said, ROWS);
        assert_eq!(nanos(&report, "in_doubt"), 0, "{shown}");
    }
}

#[test]
fn a_job_that_is_refused_as_a_whole_is_not_paid() {
    let sim = sim(&["validation-fails@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    let said = run(&place);
    assert_eq!(said.json()["succeeded"], 0, "{said:?}");
    assert!(said.stderr.contains("Failed to import data"), "{said:?}");
    assert_eq!(nanos(&sim.bill(), "total"), 0);
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_twice() {
    let sim = sim(&["upload-lost@2"], &[]);
    let place = place(&sim);
    job(&place, "");
    whole(&place, &sim, run(&place));
    // The beginning, the file, and the question what became of it.
    assert_eq!(requests(&sim)["POST /upload/storage/v1/b/{bucket}/o"], json!({"0": 1, "200": 2}));
}

#[test]
fn what_expired_is_kept_as_far_as_it_came_and_the_rest_is_asked_again() {
    let sim = sim(&["expire@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    let report = run(&place).expect(0).json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(report["succeeded"] == 40 && doubt > 0 && spent <= paid && paid <= spent + doubt, "{report}");
    // Half of the rows were there, and were not asked again.
    let bill = sim.bill();
    assert_eq!(bill["requests"], 37, "{bill}");
    place.proved("reviews", &sim);
}

#[test]
fn a_row_that_is_missing_stays_in_doubt_beside_the_bill() {
    let sim = sim(&["missing-lines=0.2"], &[]);
    let place = place(&sim);
    job(&place, "");
    let report = run(&place).expect(0).json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(spent < paid && paid <= spent + doubt, "{spent} {paid} {doubt}");
    place.proved("reviews", &sim);
}

#[test]
fn what_a_cancelled_job_has_finished_is_kept_and_paid() {
    let sim = sim(&[], &["--speed", "60"]);
    let place = place(&sim);
    job(&place, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    // A few of its requests have run, and it is not done.
    let polls = || requests(&sim)["GET batchPredictionJobs/{id}"]["200"].as_u64();
    waited("it is not looked at", || polls() >= Some(10));
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let ran = sim.bill()["requests"].as_u64().unwrap();
    assert!((1..37).contains(&ran), "{ran}");
    assert_eq!(requests(&sim)["POST batchPredictionJobs/{id}:cancel"]["200"], 1);
    let status = place.run("status reviews --json", &[]).json()[0].clone();
    let (spent, doubt, paid) = sums(&status, &sim);
    assert!(spent == paid && paid > 0 && doubt > 0, "{status}");
    place.proved("reviews", &sim);
}

#[test]
fn results_that_may_not_be_read_wait_for_the_right_to_and_nothing_is_paid_twice() {
    let sim = sim(&["forbidden:content@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    let said = run(&place);
    assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
    assert!(said.stderr.contains("storage.objects.get"), "{said:?}");
    // The right was given back: the same results are read.
    let (_, bill) = whole(&place, &sim, run(&place));
    assert_eq!((&creates(&sim)["200"], &bill["requests_batch"]), (&json!(1), &json!(37)));
}

#[test]
fn a_bucket_that_is_not_there_is_told_before_anything_is_paid() {
    let sim = sim(&[], &[]);
    let place = place(&sim);
    job_of(MODEL, &place, "", "storage = \"gs://nobodys-bucket\"");
    let said = run(&place);
    assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
    assert!(said.stderr.contains("bucket does not exist"), "{said:?}");
    // No bucket at all is no batch lane.
    job_of(MODEL, &place, "name = \"other\"", "");
    let said = run(&place);
    assert!(said.code != 0, "{said:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}

#[test]
fn a_create_in_doubt_is_not_looked_for_at_another_location_and_not_sent_again() {
    // The job was made at the one location; nothing of it is listed at another.
    let sim = sim(&["create-lost@1", "5xx:list=503"], &[]);
    let place = place(&sim);
    job(&place, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    waited("no doubt", || place.run("doubt list --json", &[]).json()[0]["state"] == "in_doubt");
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = creates(&sim);
    let with = |name: &str, value: &str| {
        let mut command = place.command(["resume", "reviews", "--json"]);
        super::support::Said::from(command.env(name, value).output().unwrap())
    };
    for (name, value) in [("GOOGLE_CLOUD_LOCATION", "europe-west4"), ("GOOGLE_CLOUD_PROJECT", "acme-other")] {
        let said = with(name, value);
        assert_eq!(said.expect(2).json()["error"]["code"], "account-changed", "{name}");
    }
    let said = with("GOOGLE_CLOUD_LOCATION", " ");
    assert_eq!(said.expect(2).json()["error"]["code"], "provider-not-ready");
    let deleted = requests(&sim)["DELETE /storage/v1/b/{bucket}/o/{object}"].clone();
    assert_eq!((creates(&sim), deleted), (sent, Value::Null));
}
