//! The batch lane at Gemini: files, a name that is our mark, and nothing to be had of what expired or was cancelled.

use serde_json::{Value, json};

use super::anthropic_batch::{ROWS, job_of, requests, run, whole};
use super::gemini::place;
use super::jobs::nanos;
use super::support::{Place, Sim, waited};

const MODEL: &str = "gemini/gemini-3.8-flash";
const CREATE: &str = "POST /v1beta/models/{model}:batchGenerateContent";

fn job(place: &Place, run: &str) {
    job_of(MODEL, place, run, "");
}

/// How often a create was answered with each status; 0 is none at all.
fn creates(sim: &Sim) -> Value {
    requests(sim)[CREATE].clone()
}

fn sim(faults: &[&str], flags: &[&str]) -> Sim {
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    Sim::of("gemini", &[&faults[..], flags].concat())
}

/// What was settled, what is in doubt, and what was paid.
fn sums(report: &Value, sim: &Sim) -> (i64, i64, i64) {
    (nanos(report, "spent"), nanos(report, "in_doubt"), nanos(&sim.bill(), "total"))
}

#[test]
fn a_job_costs_half_and_leaves_no_file_at_the_provider() {
    let sim = Sim::of("gemini", &["--api-key", "AIza-canary-0123456789"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 20");
    let (report, bill) = whole(&place, &sim, run(&place));
    let lanes = (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64());
    assert_eq!(lanes, (Some(37), Some(0)), "{bill}");
    let saved = report["saved_usd_nanos"]["batch"].as_i64();
    assert_eq!(saved, Some(nanos(&report, "spent")), "half of the price: {report}");
    let calls = requests(&sim);
    assert_eq!(
        (&calls[CREATE]["200"], &calls["DELETE /v1beta/files/{id}"]["200"]),
        (&json!(2), &json!(4)),
        "{calls}"
    );
}

#[test]
fn a_lost_create_is_found_by_its_name() {
    for fault in ["create-lost@1", "create-5xx@1", "create-no-id@1"] {
        let sim = sim(&[fault, "foreign-batches"], &["--speed", "300"]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        for words in ["may or may not have been created", "was found as batches/"] {
            assert!(said.stderr.contains(words), "{words}: {said:?}");
        }
        whole(&place, &sim, said);
        let creates = creates(&sim);
        let all: u64 = creates.as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(all, 1, "{creates}");
    }
}

#[test]
fn what_never_arrived_is_sent_again_once_its_file_is_gone() {
    // The second one is carried out so late that it finds no file.
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
fn a_killed_run_goes_on_with_its_batches() {
    let sim = sim(&[], &["--speed", "200"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 20");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| {
        job["batches"]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().any(|batch| batch["batch"].is_string()))
    });
    whole(&place, &sim, run(&place));
    assert_eq!(creates(&sim), json!({"200": 2}));
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429"],
        &["validation-fails@1"],
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
        let sim = sim(faults, &[]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        let shown = format!("{faults:?} {said:?}");
        let failed = faults.contains(&"validation-fails@1");
        if failed {
            // Refused as a whole: nothing ran and nothing was paid.
            assert_eq!(said.json()["succeeded"], 0, "{shown}");
            assert_eq!(nanos(&sim.bill(), "total"), 0, "{shown}");
            continue;
        }
        let (report, _) = super::jobs::whole(&place, &sim, said, ROWS);
        assert_eq!(nanos(&report, "in_doubt"), 0, "{shown}");
    }
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_twice() {
    let sim = sim(&["upload-lost@2"], &[]);
    let place = place(&sim);
    job(&place, "");
    whole(&place, &sim, run(&place));
    // The beginning, the file, and the question what became of it.
    assert_eq!(requests(&sim)["POST /upload/v1beta/files"], json!({"0": 1, "200": 2}));
}

#[test]
fn what_expired_is_asked_again_and_stays_in_doubt() {
    let sim = sim(&["expire@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    let report = run(&place).expect(0).json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(report["succeeded"] == 40 && doubt > 0 && spent <= paid && paid <= spent + doubt, "{report}");
    place.proved("reviews", &sim);
}

#[test]
fn a_line_that_is_missing_stays_in_doubt_beside_the_bill() {
    let sim = sim(&["missing-lines=0.2"], &[]);
    let place = place(&sim);
    job(&place, "");
    let report = run(&place).expect(0).json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(spent < paid && paid <= spent + doubt, "{spent} {paid} {doubt}");
    place.proved("reviews", &sim);
}

#[test]
fn a_cancelled_batch_shows_nothing_of_what_it_finished_and_its_price_is_in_doubt() {
    let sim = sim(&[], &["--speed", "60"]);
    let place = place(&sim);
    job(&place, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    // A few of its requests have run, and it is not done.
    let polls = || requests(&sim)["GET /v1beta/batches/{id}"]["200"].as_u64();
    waited("it is not looked at", || polls() >= Some(10));
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let ran = sim.bill()["requests"].as_u64().unwrap();
    assert!((1..37).contains(&ran), "{ran}");
    assert_eq!(requests(&sim)["POST /v1beta/batches/{id}:cancel"]["200"], 1);
    let status = place.run("status reviews --json", &[]).json()[0].clone();
    let (spent, doubt, paid) = sums(&status, &sim);
    assert!(spent == 0 && 0 < paid && paid <= doubt, "{status}");
    place.proved("reviews", &sim);
}

#[test]
fn a_full_queue_is_waited_for() {
    let sim = sim(&[], &["--enqueued-tokens", "700"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 15");
    let (_, bill) = whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], 37, "{bill}");
    let creates = creates(&sim);
    assert!(creates["429"].as_u64() > Some(0), "{creates}");
}
