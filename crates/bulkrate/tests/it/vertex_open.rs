//! Open models at Vertex AI, in calls and in batches: OpenAI's language, lines with an id, and a price of the user's own.

use serde_json::json;

use super::anthropic::{ask, whole};
use super::batch_lane::{Lane, job_of, requests, run};
use super::support::{Place, Sim};
use super::vertex::{self, BUCKET};

const LLAMA: &str = "vertex/meta/llama-3.3-70b-instruct-maas";

/// The price list, and a model of a maker's own at half the price in batches.
fn prices() -> Vec<u8> {
    let mut list = csv::Reader::from_reader(include_str!("../../../../catalogue/prices.csv").as_bytes());
    let header = list.headers().unwrap().clone();
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&header).unwrap();
    let open = header.iter().map(|column| match column {
        "provider" => "vertex",
        "model_id" => "meta/llama-3.3-70b-instruct-maas",
        "kind" => "chat",
        "input" | "output" => "0.72",
        "batch_input" | "batch_output" => "0.36",
        "context_window" | "max_input" => "128000",
        "max_output" => "8192",
        "supports_batch" => "true",
        column if column.starts_with("supports_") => "unknown",
        "verification" => "one-list",
        "source" => "test",
        "as_of" => "2026-11-12",
        _ => "",
    });
    out.write_record(open).unwrap();
    out.into_inner().unwrap()
}

fn sim(flags: &[&str]) -> Sim {
    // It is read once.
    let lists = Place::new();
    lists.put("prices.csv", prices());
    let list = lists.path("prices.csv").display().to_string();
    vertex::sim(&[&["--prices", &list, "--dataset", "acme_batches"], flags].concat())
}

/// A machine whose jobs know the price.
fn place(sim: &Sim) -> Place {
    let place = vertex::place(sim);
    place.put("prices.csv", prices()).put("bulkrate.toml", "prices = \"prices.csv\"\n");
    place
}

const LANE: Lane =
    Lane { sim, place, job: |place, run| job_of(LLAMA, place, run, BUCKET), ..super::vertex_batch::LANE };

#[test]
fn one_by_one_it_is_asked_in_openais_language_and_its_ledger_is_the_bill() {
    let sim = sim(&[]);
    let place = vertex::place(&sim);
    // Without a price nothing is sent.
    let error = ask(&place, LLAMA, "").expect(2).json()["error"].clone();
    assert_eq!(error["code"], "model-unpriced", "{error}");
    let line = "--price-in 0.72 --price-out 0.72 --choices positive,negative,neutral --lane sync --budget 1";
    let bill = whole(&place, &sim, ask(&place, LLAMA, line));
    assert_eq!(bill["requests_sync"], bill["requests"], "{bill}");
    let calls = requests(&sim);
    assert!(calls["POST endpoints/openapi/chat/completions"]["200"].is_u64(), "{calls}");
    place.proved("reviews", &sim);
}

#[test]
fn a_job_from_a_bucket_or_a_table_costs_half_and_leaves_nothing_there() {
    for (storage, deleted) in [
        (BUCKET, "DELETE /storage/v1/b/{bucket}/o/{object}"),
        ("storage = \"bq://acme_batches\"", "DELETE /bigquery/v2/tables/{table}"),
    ] {
        let sim = LANE.sim(&[], &[]);
        let place = place(&sim);
        job_of(LLAMA, &place, "batch_items_max = 20", storage);
        LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
        assert_eq!((&LANE.creates(&sim)["200"], &requests(&sim)[deleted]), (&json!(2), &json!({"204": 4})));
    }
}

#[test]
fn a_price_given_with_the_job_is_that_of_both_lanes() {
    let sim = LANE.sim(&[], &[]);
    let place = vertex::place(&sim);
    job_of(LLAMA, &place, "price_in = \"0.72\"\nprice_out = \"0.72\"", BUCKET);
    let report = run(&place).expect(0).json();
    // It was said to cost no less in batches: what it did cost is found on the bill alone.
    let (spent, paid) = (&report["spent_usd_nanos"], &sim.bill()["total_usd_nanos"]);
    assert!(spent.as_i64() > paid.as_i64() && report["succeeded"] == 40, "{report} {paid}");
    assert_eq!(LANE.creates(&sim)["200"], 1);
}

#[test]
fn there_are_no_batches_at_global() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim).set("GOOGLE_CLOUD_LOCATION", "global");
    job_of(LLAMA, &place, "", BUCKET);
    let error = run(&place).expect(2).json()["error"].clone();
    assert_eq!(error["code"], "lane-unavailable", "{error}");
    assert!(error["message"].as_str().unwrap().contains("name a region"), "{error}");
    assert_eq!(sim.bill()["requests"], 0);
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
fn a_run_that_is_killed_goes_on_and_pays_once() {
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
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["expired-key:poll@2"],
        &["upload-lost@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
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
