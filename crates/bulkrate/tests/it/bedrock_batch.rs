//! The batch lane at Bedrock: objects in S3, a token by which a create is made once, and what was processed is to be had however a
//! job ended.

use serde_json::json;

use super::batch_lane::{Lane, requests, run};
use super::bedrock::{pair, place};
use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews};

const ROWS: usize = 280;
/// Of which so many differ.
const REQUESTS: u64 = 253;
const MODEL: &str = "bedrock/us.amazon.nova-lite-v1:0";
pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/batches";

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

const LANE: Lane = Lane {
    create: "POST /model-invocation-job",
    poll: "GET /model-invocation-job/{id}",
    rows: ROWS,
    requests: REQUESTS,
    sim: |flags| Sim::of("bedrock", flags),
    place,
    job: |place, run| job_of(place, ROWS, run, ""),
};

#[test]
fn a_job_costs_half_and_leaves_no_object_behind() {
    let sim = LANE.sim(&[], &["--api-key", &pair(), "--region", "us-east-1"]);
    let place = LANE.with_job(&sim, "batch_items_max = 150");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    // Input, results and sums of each.
    let deleted = &requests(&sim)["DELETE /{bucket}/{key}"]["204"];
    assert_eq!((&LANE.creates(&sim)["200"], deleted), (&json!(2), &json!(6)));
}

/// The price list, with a price for batches of Titan's vectors: no public list has one.
fn prices() -> Vec<u8> {
    let mut list = csv::Reader::from_reader(include_str!("../../../../catalogue/prices.csv").as_bytes());
    let header = list.headers().unwrap().clone();
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&header).unwrap();
    for row in list.records().map(Result::unwrap).filter(|row| row[1].contains("embed-")) {
        out.write_record(header.iter().zip(&row).map(|(column, cell)| match column {
            "batch_input" => "0.01",
            "supports_batch" => "true",
            _ => cell,
        }))
        .unwrap();
    }
    out.into_inner().unwrap()
}

#[test]
fn vectors_of_titan_come_in_batches_where_a_price_of_theirs_is_known() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), prices()).unwrap();
    let sim = Sim::of("bedrock", &["--run-secs", "1", "--prices", list.path().to_str().unwrap()]);
    let place = place(&sim);
    place.put("reviews.csv", reviews(ROWS)).put("prices.csv", prices());
    let storage = ["--role-arn", ROLE, "--storage", "s3://bkt/bulkrate", "--user", ASK[1], "--id", "id"];
    let run = |model: &str, prices: &str| {
        let line = "run reviews.csv --yes --json --kind embedding --lane batch --budget 1 --poll-min 30ms --out out.csv";
        place.run(&format!("{line} --force --name {model}s --model bedrock/{model} {prices}"), &storage)
    };
    let known = "--prices prices.csv";
    let report = run("amazon.titan-embed-text-v2:0", known).expect(0).json();
    let bill = sim.bill();
    assert_eq!(nanos(&report, "spent"), nanos(&bill, "total"), "{bill}");
    assert!(bill["requests_batch"].as_u64() > Some(200), "{bill}");
    place.proved("amazon.titan-embed-text-v2:0s", &sim);
    let (paths, one) = (requests(&sim), json!(1));
    let calls = ["POST /model-invocation-job", "POST /model/{model}/invoke"].map(|path| &paths[path]["200"]);
    assert_eq!(calls, [&one, &one], "a canary, and one job");
    // Results of the others do not say what they cost.
    for (model, prices, why) in [
        ("cohere.embed-v4:0", known, "how many tokens were read"),
        ("amazon.titan-embed-text-v2:0", "--distinct", "no batch price"),
    ] {
        let error = run(model, prices).expect(2).json()["error"].clone();
        assert_eq!(error["code"], "lane-unavailable", "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

#[test]
fn a_create_whose_answer_was_lost_is_sent_again_with_its_token_and_makes_one_job() {
    for (fault, first) in [("create-lost@1", "0"), ("create-5xx@1", "502"), ("delivered-twice", "")] {
        let sim = LANE.sim(&[fault, "foreign-batches"], &[]);
        let place = LANE.with_job(&sim, "");
        let said = run(&place);
        assert!(!said.stderr.contains("may or may not"), "{said:?}");
        let (_, bill) = LANE.whole(&place, &sim, said);
        assert_eq!(bill["requests_batch"], REQUESTS, "{bill}");
        assert_eq!(bill["by_batch"].as_object().unwrap().len(), 1, "{bill}");
        let want = if first.is_empty() { json!({"200": 1}) } else { json!({first: 1, "200": 1}) };
        assert_eq!(LANE.creates(&sim), want);
    }
    // An answer without a name is asked for again as well.
    let sim = LANE.sim(&["create-no-id@1"], &[]);
    let place = LANE.with_job(&sim, "");
    LANE.whole(&place, &sim, run(&place));
    assert_eq!(LANE.creates(&sim), json!({"200": 2}));
}

#[test]
fn a_create_that_is_late_is_found_or_makes_nothing() {
    // It is carried out after the same one was sent again: nothing is made twice.
    let sim = LANE.sim(&["create-late@1"], &["--late-secs", "3600"]);
    let place = LANE.with_job(&sim, "");
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], REQUESTS, "{bill}");
    assert_eq!(LANE.creates(&sim), json!({"0": 1, "200": 1}));
}

#[test]
fn a_run_that_was_killed_between_upload_and_create_pays_once() {
    for reached in ["staged", "sending", "accepted"] {
        let sim = LANE.sim(&["slow:create"], &["--slow-ms", "300", "--speed", "200"]);
        let place = LANE.with_job(&sim, "");
        place.kill_when(["run", "reviews.toml", "--yes"], |job| match reached {
            "accepted" => job["batches"][0]["batch"].is_string(),
            _ => requests(&sim)["PUT /{bucket}/{key}"]["200"].as_u64() >= Some(1),
        });
        let (_, bill) = LANE.whole(&place, &sim, run(&place));
        assert_eq!(bill["requests_batch"], REQUESTS, "{reached}: {bill}");
        assert_eq!(bill["by_batch"].as_object().unwrap().len(), 1, "{reached}: {bill}");
    }
}

#[test]
fn what_goes_wrong_in_a_job_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.5=500"][..],
        &["status-regression"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["cut-tail=line@1", "file-changes"],
        &["upload-lost@1"],
        &["5xx:upload=503@1", "reset:upload@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
    LANE.a_refusal_is_not_paid();
}

#[test]
fn what_ran_out_of_time_keeps_what_was_processed() {
    let (_, _, bill) = LANE.what_expires_is_asked_again();
    // Half of it was processed and is not asked for again.
    assert_eq!(bill["requests"], REQUESTS, "{bill}");
}

#[test]
fn a_stopped_job_keeps_what_was_processed() {
    let ((spent, doubt, paid), _) = LANE.cancelled_in_the_middle();
    assert!(spent == paid && doubt > 0, "{spent} {doubt} {paid}");
}

#[test]
fn a_line_that_is_missing_stays_in_doubt_beside_the_bill() {
    LANE.a_line_that_is_missing_stays_in_doubt_beside_the_bill();
}

#[test]
fn too_few_for_a_batch_go_one_by_one_and_it_is_said() {
    let sim = LANE.sim(&[], &[]);
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
    let sim = LANE.sim(&[], &[]);
    let place = LANE.with_job(&sim, "batch_items_max = 200");
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
    let sim = LANE.sim(&[], &[]);
    let place = LANE.with_job(&sim, "");
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
        let sim = LANE.sim(&[], &flags);
        let place = place(&sim);
        job_of(&place, ROWS, "", &provider);
        let said = run(&place);
        assert!(said.code != 0 && said.stderr.contains(words), "{words}: {said:?}");
        assert_eq!(nanos(&sim.bill(), "total"), 0, "{said:?}");
    }
    let sim = LANE.sim(&[], &flags);
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
    place.run("run reviews.toml --yes", &[]).error(
        2,
        "lane-unavailable",
        &["no batch API", "--storage s3://", "--role-arn"],
    );
    assert_eq!(requests(&sim), json!({}));
}

#[test]
fn credentials_that_end_in_the_middle_stop_the_job_and_the_next_run_goes_on() {
    // A poll, and a bucket that no longer lets us in once the job has ended.
    for fault in ["expired-key:poll", "revoked:content"] {
        let sim = LANE.sim(&[fault], &["--speed", "600"]);
        let place = LANE.with_job(&sim, "");
        let said = run(&place);
        assert_eq!(said.json()["halted_by"], "auth", "{said:?}");
        let status = place.run("status reviews --json", &[]).json()[0].clone();
        assert_eq!(status["failed"], 0, "{status}");
        let created = LANE.creates(&sim);
        assert_eq!(created, json!({"200": 1}), "{said:?}");
    }
    // The same with a token that ends once, and that a process gives out anew.
    let sim = LANE.sim(&["expired-key:poll@2", "expired-key:content@1"], &[]);
    let place = Place::new().set("AWS_REGION", "us-east-1").set("BEDROCK_BASE_URL", &sim.base_url);
    let said = r#"printf '{"Version":1,"AccessKeyId":"ASIA%s","SecretAccessKey":"s","SessionToken":"canary-token"}' $$"#;
    place.put("said.sh", said);
    std::fs::create_dir_all(place.path(".aws")).unwrap();
    place.put(
        ".aws/config",
        format!("[default]\ncredential_process = sh '{}'\n", place.path("said.sh").display()),
    );
    (LANE.job)(&place, "");
    LANE.whole(&place, &sim, run(&place));
}
