//! The batch lane at Bedrock: objects in S3, a token by which a create is made once, and what was processed is to be had however a
//! job ended.

use serde_json::{Value, json};

use super::anthropic_batch::{requests, run};
use super::bedrock::{pair, place};
use super::jobs::nanos;
use super::support::{ASK, Place, Said, Sim, reviews, waited};

const ROWS: usize = 280;
/// Of which so many differ.
const REQUESTS: u64 = 253;
const MODEL: &str = "bedrock/us.amazon.nova-lite-v1:0";
const CREATE: &str = "POST /model-invocation-job";
const ROLE: &str = "arn:aws:iam::123456789012:role/batches";

/// A job of so many rows in the batch lane.
fn job_of(place: &Place, rows: usize, run: &str, provider: &str) {
    // Batches take no schema: the prompt says what may be answered.
    let system = "Give the sentiment. Answer with one of: positive, negative, neutral.";
    let request = format!("model = \"{MODEL}\"\nsystem = \"{system}\"\nuser = \"{}\"", ASK[1]);
    let run = format!("lane = \"batch\"\nbudget = \"5\"\ncanary = false\n{run}");
    let own = if provider.is_empty() {
        format!("role_arn = \"{ROLE}\"\nstorage = \"s3://bkt/bulkrate\"")
    } else {
        provider.to_owned()
    };
    let tables = format!("[sink]\npath = \"out.csv\"\n[provider]\n{own}");
    place.put("reviews.csv", reviews(rows)).put_job("reviews", &request, &run, &tables);
}

fn job(place: &Place, run: &str) {
    job_of(place, ROWS, run, "");
}

fn sim(faults: &[&str], flags: &[&str]) -> Sim {
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    Sim::of("bedrock", &[&faults[..], flags].concat())
}

/// How often a create was answered with each status; 0 is none at all.
fn creates(sim: &Sim) -> Value {
    requests(sim)[CREATE].clone()
}

/// Every row has an answer, nothing is in doubt, and the ledger is the bill.
fn whole(place: &Place, sim: &Sim, said: Said) -> (Value, Value) {
    assert!(!format!("{said:?}").contains("canary-"), "{said:?}");
    let (report, bill) = super::jobs::whole(place, sim, said, ROWS);
    assert_eq!(nanos(&report, "in_doubt"), 0, "{report}");
    place.proved("reviews", sim);
    (report, bill)
}

/// What was settled, what is in doubt, and what was paid.
fn sums(report: &Value, sim: &Sim) -> (i64, i64, i64) {
    (nanos(report, "spent"), nanos(report, "in_doubt"), nanos(&sim.bill(), "total"))
}

#[test]
fn a_job_costs_half_and_leaves_no_object_behind() {
    let sim = sim(&[], &["--api-key", &pair(), "--region", "us-east-1"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 150");
    let (report, bill) = whole(&place, &sim, run(&place));
    let lanes = (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64());
    assert_eq!(lanes, (Some(REQUESTS), Some(0)), "{bill}");
    let saved = report["saved_usd_nanos"]["batch"].as_i64();
    assert_eq!(saved, Some(nanos(&report, "spent")), "half of the price: {report}");
    let calls = requests(&sim);
    // Input, results and sums of each.
    assert_eq!(
        (&calls[CREATE]["200"], &calls["DELETE /{bucket}/{key}"]["204"]),
        (&json!(2), &json!(6)),
        "{calls}"
    );
}

#[test]
fn a_create_whose_answer_was_lost_is_sent_again_with_its_token_and_makes_one_job() {
    for (fault, first) in [("create-lost@1", "0"), ("create-5xx@1", "502"), ("delivered-twice", "")] {
        let sim = sim(&[fault, "foreign-batches"], &[]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        assert!(!said.stderr.contains("may or may not"), "{said:?}");
        let (_, bill) = whole(&place, &sim, said);
        assert_eq!(bill["requests_batch"], REQUESTS, "{bill}");
        assert_eq!(bill["by_batch"].as_object().unwrap().len(), 1, "{bill}");
        let want = if first.is_empty() { json!({"200": 1}) } else { json!({first: 1, "200": 1}) };
        assert_eq!(creates(&sim), want);
    }
    // An answer without a name is asked for again as well.
    let sim = sim(&["create-no-id@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    whole(&place, &sim, run(&place));
    assert_eq!(creates(&sim), json!({"200": 2}));
}

#[test]
fn a_create_that_is_late_is_found_or_makes_nothing() {
    // It is carried out after the same one was sent again: nothing is made twice.
    let sim = sim(&["create-late@1"], &["--late-secs", "3600"]);
    let place = place(&sim);
    job(&place, "");
    let (_, bill) = whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], REQUESTS, "{bill}");
    assert_eq!(creates(&sim), json!({"0": 1, "200": 1}));
}

#[test]
fn a_run_that_was_killed_between_upload_and_create_pays_once() {
    for reached in ["staged", "sending", "accepted"] {
        let sim = sim(&["slow:create"], &["--slow-ms", "300", "--speed", "200"]);
        let place = place(&sim);
        job(&place, "");
        place.kill_when(["run", "reviews.toml", "--yes"], |job| match reached {
            "accepted" => job["batches"][0]["batch"].is_string(),
            _ => requests(&sim)["PUT /{bucket}/{key}"]["200"].as_u64() >= Some(1),
        });
        let (_, bill) = whole(&place, &sim, run(&place));
        assert_eq!(bill["requests_batch"], REQUESTS, "{reached}: {bill}");
        assert_eq!(bill["by_batch"].as_object().unwrap().len(), 1, "{reached}: {bill}");
    }
}

#[test]
fn what_goes_wrong_in_a_job_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.5=500"][..],
        &["validation-fails@1"],
        &["status-regression"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["cut-tail=line@1", "file-changes"],
        &["upload-lost@1"],
        &["5xx:upload=503@1", "reset:upload@2"],
    ] {
        let sim = sim(faults, &[]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        let shown = format!("{faults:?} {said:?}");
        if faults.contains(&"validation-fails@1") {
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
fn what_ran_out_of_time_keeps_what_was_processed() {
    let sim = sim(&["expire@1"], &[]);
    let place = place(&sim);
    job(&place, "");
    let report = run(&place).expect(0).json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(report["succeeded"] == ROWS as u64 && spent <= paid && paid <= spent + doubt, "{report}");
    // Half of it was processed and is not asked for again.
    let bill = sim.bill();
    let asked = bill["requests"].as_u64().unwrap();
    assert_eq!(asked, REQUESTS, "{bill}");
    place.proved("reviews", &sim);
}

#[test]
fn a_stopped_job_keeps_what_was_processed() {
    let sim = sim(&[], &["--speed", "60"]);
    let place = place(&sim);
    job(&place, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    let polls = || requests(&sim)["GET /model-invocation-job/{id}"]["200"].as_u64();
    waited("it is not looked at", || polls() >= Some(10));
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let ran = sim.bill()["requests"].as_u64().unwrap();
    assert!((1..REQUESTS).contains(&ran), "{ran}");
    let status = place.run("status reviews --json", &[]).json()[0].clone();
    let (spent, doubt, paid) = sums(&status, &sim);
    assert!(spent == paid && doubt > 0, "{status}");
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
fn too_few_for_a_batch_go_one_by_one_and_it_is_said() {
    let sim = sim(&[], &[]);
    let place = place(&sim);
    job_of(&place, 40, "", "");
    let plan = place.run("plan reviews.toml", &[]).expect(0);
    assert!(plan.stdout.contains("no fewer than 100 items"), "{plan:?}");
    let said = run(&place);
    let (_, bill) = super::jobs::whole(&place, &sim, said, 40);
    assert_eq!(
        (bill["requests_sync"].as_u64(), bill["requests_batch"].as_u64()),
        (Some(37), Some(0)),
        "{bill}"
    );
    // What is left over of larger batches is too little too.
    let sim = self::sim(&[], &[]);
    let place = self::place(&sim);
    job(&place, "batch_items_max = 200");
    let said = run(&place);
    assert!(said.stderr.contains("53 items are too few for a batch of `bedrock`"), "{said:?}");
    let (_, bill) = super::jobs::whole(&place, &sim, said, ROWS);
    assert_eq!(
        (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64()),
        (Some(200), Some(53)),
        "{bill}"
    );
}

#[test]
fn a_schema_keeps_a_job_out_of_the_batch_lane() {
    let sim = sim(&[], &[]);
    let place = place(&sim);
    job(&place, "");
    place.put("schema.json", r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#);
    let text = place
        .read("reviews.toml")
        .replace("choices = [\"positive\", \"negative\", \"neutral\"]", "schema = \"schema.json\"");
    place.put("reviews.toml", text);
    place.run("run reviews.toml --yes", &[]).error(
        2,
        "lane-unavailable",
        &["cannot be held to a schema", "`structured_outputs = false`"],
    );
    assert_eq!(nanos(&sim.bill(), "total"), 0);
}

#[test]
fn a_wrong_place_role_or_region_has_its_own_message_and_loses_nothing() {
    let flags = ["--bucket", "bkt", "--role", ROLE, "--region", "us-east-1", "--api-key", &pair()];
    let own = |role: &str, storage: &str| format!("role_arn = \"{role}\"\nstorage = \"{storage}\"");
    for (provider, words) in [
        (own(ROLE, "s3://other/x"), "The specified bucket does not exist"),
        (own("arn:aws:iam::123456789012:role/other", "s3://bkt/x"), "Could not assume provided IAM role"),
        (format!("{}\nregion = \"eu-west-1\"", own(ROLE, "s3://bkt/x")), "'eu-west-1' is wrong"),
    ] {
        let sim = sim(&[], &flags);
        let place = place(&sim);
        job_of(&place, ROWS, "", &provider);
        let said = run(&place);
        assert!(said.code != 0 && said.stderr.contains(words), "{words}: {said:?}");
        assert_eq!(nanos(&sim.bill(), "total"), 0, "{said:?}");
    }
    let sim = sim(&[], &flags);
    for (provider, words) in [
        (own("batches", "s3://bkt/x"), "`role_arn`"),
        (own(ROLE, "bkt/x"), "`storage`"),
        (own(ROLE, "s3://bkt/a b"), "`storage`"),
        (format!("{}\nregion = \"US East\"", own(ROLE, "s3://bkt/x")), "no region of AWS"),
    ] {
        let place = place(&sim);
        job_of(&place, ROWS, "", &provider);
        place.run("run reviews.toml --yes", &[]).error(2, "provider-not-ready", &[words]);
    }
    // Without a place there is no batch lane.
    let place = place(&sim);
    job_of(&place, ROWS, "", "organization = \"x\"");
    place.run("run reviews.toml --yes", &[]).error(2, "lane-unavailable", &["no batch API"]);
    assert_eq!(requests(&sim), json!({}));
}

#[test]
fn credentials_that_end_in_the_middle_stop_the_job_and_the_next_run_goes_on() {
    // A poll, and a bucket that no longer lets us in once the job has ended.
    for fault in ["expired-key:poll", "revoked:content"] {
        let sim = sim(&[fault], &["--speed", "600"]);
        let place = place(&sim);
        job(&place, "");
        let said = run(&place);
        assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
        let status = place.run("status reviews --json", &[]).json()[0].clone();
        assert_eq!(status["failed"], 0, "{status}");
        let created = creates(&sim);
        assert_eq!(created, json!({"200": 1}), "{said:?}");
    }
    // The same with a token that ends once, and that a process gives out anew.
    let sim = sim(&["expired-key:poll@2", "expired-key:content@1"], &[]);
    let place = Place::new().set("AWS_REGION", "us-east-1").set("BEDROCK_BASE_URL", &sim.base_url);
    let said = r#"printf '{"Version":1,"AccessKeyId":"ASIA%s","SecretAccessKey":"s","SessionToken":"canary-token"}' $$"#;
    place.put("said.sh", said);
    std::fs::create_dir_all(place.path(".aws")).unwrap();
    place.put(
        ".aws/config",
        format!("[default]\ncredential_process = sh '{}'\n", place.path("said.sh").display()),
    );
    job(&place, "");
    whole(&place, &sim, run(&place));
}
