//! Claude at Bedrock in its maker's own words, by calls and in jobs: what was asked for comes back, and the ledger is the bill.

use serde_json::json;

use super::batch_lane::{Lane, requests, run};
use super::bedrock::place;
use super::bedrock_batch::ROLE;
use super::jobs::nanos;
use super::support::{ASK, Place, Sim, reviews};

const ROWS: usize = 280;
/// Of which so many differ.
const REQUESTS: u64 = 253;
const MODEL: &str = "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0";
const SYSTEM: &str = "Give the sentiment. Answer with one of: positive, negative, neutral.";
const NATIVE: &str = "model_invocation_type = \"InvokeModel\"";

fn job_of(place: &Place, (model, system): (&str, &str), rows: usize, run: &str, provider: &str) {
    let request =
        format!("model = \"{model}\"\nsystem = \"{system}\"\nuser = \"{}\"\nmax_output_tokens = 64", ASK[1]);
    let run = format!("budget = \"5\"\n{run}");
    let tables = format!("[sink]\npath = \"out.csv\"\n[provider]\n{provider}");
    place.put("reviews.csv", reviews(rows)).put_job("reviews", &request, &run, &tables);
}

fn batched(setting: &str) -> String {
    format!("role_arn = \"{ROLE}\"\nstorage = \"s3://bkt/bulkrate\"\n{setting}")
}

const LANE: Lane = Lane {
    create: "POST /model-invocation-job",
    poll: "GET /model-invocation-job/{id}",
    rows: ROWS,
    requests: REQUESTS,
    sim: |flags| Sim::of("bedrock", flags),
    place,
    job: |place, run| {
        let run = format!("lane = \"batch\"\ncanary = false\n{run}");
        job_of(place, (MODEL, SYSTEM), ROWS, &run, &batched(NATIVE));
    },
};

/// How often a paid call was answered, in Converse's words and in the maker's.
fn called(sim: &Sim) -> [u64; 2] {
    let paths = requests(sim);
    ["converse", "invoke"]
        .map(|verb| paths[format!("POST /model/{{model}}/{verb}")]["200"].as_u64().unwrap_or(0))
}

#[test]
fn calls_are_answered_and_what_is_kept_for_an_hour_has_its_own_price() {
    let sim = Sim::of("bedrock", &["--latency-ms", "100"]);
    let place = place(&sim);
    let system = "Sort the review by what the customer feels, and answer with one word. ".repeat(90);
    let model = "bedrock/global.anthropic.claude-haiku-5-5";
    let betas = format!("{NATIVE}\nbetas = [\"some-2026-01-01\"]");
    job_of(&place, (model, &system), 40, "lane = \"sync\"", &betas);
    let said = place.run("run reviews.toml --yes --json --prompt-cache 1h", &[]);
    let (report, bill) = super::jobs::whole(&place, &sim, said, 40);
    let kept = &bill["by_model"]["global.anthropic.claude-haiku-5-5"];
    let (written, read) = (kept["written_tokens"].as_u64().unwrap(), kept["cached_tokens"].as_u64().unwrap());
    assert!(written > 1_000 && read > 30 * written, "{bill}");
    assert_eq!(called(&sim), [0, bill["requests"].as_u64().unwrap()]);
    assert_eq!(place.proved("reviews", &sim), nanos(&report, "spent"));
}

#[test]
fn a_job_costs_half_and_leaves_no_object_behind() {
    let sim = LANE.sim(&[], &[]);
    let place = LANE.with_job(&sim, "");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    assert_eq!(called(&sim), [0, 0]);
    let puts = requests(&sim)["PUT /{bucket}/{key}"]["200"].as_u64();
    assert_eq!(requests(&sim)["DELETE /{bucket}/{key}"]["204"].as_u64(), puts.map(|puts| puts * 3));
}

/// Results are read by their own form, whatever the account asks in by then.
#[test]
fn a_setting_that_is_changed_while_a_batch_is_out_pays_once() {
    let sim = LANE.sim(&[], &["--speed", "200"]);
    let place = LANE.with_job(&sim, "");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| job["batches"][0]["batch"].is_string());
    job_of(&place, (MODEL, SYSTEM), ROWS, "lane = \"batch\"\ncanary = false", &batched(""));
    let (_, bill) = LANE.whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], REQUESTS, "{bill}");
    assert_eq!(bill["by_batch"].as_object().unwrap().len(), 1, "{bill}");
    assert_eq!((LANE.creates(&sim), called(&sim)), (json!({"200": 1}), [0, 0]));
}

#[test]
fn what_cannot_be_asked_so_is_told_before_anything_is_sent() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim);
    for (model, setting, code, words) in [
        ("bedrock/us.amazon.nova-lite-v1:0", NATIVE, "item-unsupported", "Claude's models alone"),
        (
            MODEL,
            "model_invocation_type = \"native\"",
            "job-file-invalid",
            "known here are Converse, InvokeModel",
        ),
    ] {
        job_of(&place, (model, SYSTEM), ROWS, "", &batched(setting));
        place.run("run reviews.toml --yes", &[]).error(2, code, &[words]);
    }
    assert_eq!(requests(&sim), json!({}));
}
