//! The batch lane at Anthropic: no files, no marks. What was lost is found by its results, or by its looks where nobody else makes
//! batches; else it waits for the operator, and nothing is paid twice.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::anthropic::{cached_items, place};
use super::batch_lane::{ROWS, job_of, requests, run};
use super::jobs::nanos;
use super::support::{Place, Said, Sim, waited};

const MODEL: &str = "anthropic/claude-haiku-5-5";
const CREATE: &str = "POST /v1/messages/batches";

fn job(place: &Place, run: &str, provider: &str) {
    job_of(MODEL, place, run, provider);
}

const OURS_ALONE: &str = "exclusive_workspace = true";

/// How often a create was answered with each status; 0 is none at all.
fn creates(sim: &Sim) -> Value {
    requests(sim)[CREATE].clone()
}

fn listed(sim: &Sim) -> Vec<Value> {
    let list = sim.get("/v1/messages/batches?limit=1000");
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

fn whole(place: &Place, sim: &Sim, said: Said) -> (Value, Value) {
    super::batch_lane::whole(place, sim, said, ROWS)
}

/// A run whose create is in doubt.
fn in_doubt(place: &Place) -> (Child, Value) {
    let child = place.start(["run", "reviews.toml", "--yes"]);
    let mut line = Value::Null;
    waited("no doubt", || {
        line = place.run("doubt list --json", &[]).json()[0].clone();
        line["state"] == "in_doubt"
    });
    (child, line)
}

#[test]
fn a_job_costs_half_and_leaves_nothing_at_the_provider() {
    let sim = Sim::of("anthropic", &["--api-key", "sk-ant-canary-0123456789"]);
    let place = place(&sim);
    job(&place, "", "");
    let (report, bill) = whole(&place, &sim, run(&place));
    assert_eq!(
        (bill["requests_batch"].as_u64(), bill["requests_sync"].as_u64()),
        (Some(37), Some(0)),
        "{bill}"
    );
    let saved = report["saved_usd_nanos"]["batch"].as_i64();
    assert_eq!(saved, Some(nanos(&report, "spent")), "half of the price: {report}");
    assert_eq!(requests(&sim)["DELETE /v1/messages/batches/{id}"]["200"], 1);
}

#[test]
fn batches_are_kept_at_the_provider_if_one_wants_it() {
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    job(&place, "keep_remote = true\nbatch_items_max = 10", OURS_ALONE);
    whole(&place, &sim, run(&place));
    let sizes: Vec<u64> =
        listed(&sim).iter().map(|batch| batch["request_counts"]["succeeded"].as_u64().unwrap()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<u64>()), (4, 37), "{sizes:?}");
}

#[test]
fn the_prompt_cache_and_the_batch_price_are_stacked_to_the_nano_dollar() {
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    place.put("items.jsonl", cached_items(ROWS));
    let ask = "run items.jsonl --yes --json --lane batch --no-canary --poll-min 30ms --out out.jsonl";
    let report = place.run(ask, &["--model", MODEL]).expect(0).json();
    let bill = sim.bill();
    assert_eq!(nanos(&report, "spent"), nanos(&bill, "total"), "{report} {bill}");
    let tokens = |name: &str| bill["by_model"]["claude-haiku-5-5"][name].as_u64().unwrap();
    assert!(tokens("written_tokens") > 0 && tokens("cached_tokens") > tokens("written_tokens"), "{bill}");
    assert_eq!(bill["requests_batch"].as_u64(), Some(ROWS as u64), "{bill}");
    place.run("verify items", &[]).expect(0);
}

#[test]
fn a_lost_create_is_known_by_its_looks_where_nobody_else_makes_batches() {
    for fault in ["create-lost@1", "create-5xx@1", "create-no-id@1"] {
        // So slow that its results cannot have told.
        let sim = Sim::of("anthropic", &["--fault", fault, "--speed", "300"]);
        let place = place(&sim);
        job(&place, "", OURS_ALONE);
        let said = run(&place);
        for words in ["may or may not have been created", "was found as msgbatch_"] {
            assert!(said.stderr.contains(words), "{words}: {said:?}");
        }
        whole(&place, &sim, said);
        let creates = creates(&sim);
        assert_eq!(
            creates.as_object().map(|all| all.values().filter_map(Value::as_u64).sum()),
            Some(1_u64),
            "{creates}"
        );
    }
}

#[test]
fn of_several_that_look_alike_results_tell() {
    let sim = Sim::of("anthropic", &["--fault", "create-lost@1", "--fault", "foreign-batches"]);
    let place = place(&sim);
    job(&place, "", OURS_ALONE);
    whole(&place, &sim, run(&place));
    assert_eq!(creates(&sim), serde_json::json!({"0": 1}));
    // Somebody else's batch is left as it is.
    let left = listed(&sim);
    assert_eq!((left.len(), left[0]["request_counts"]["canceled"].as_u64()), (1, Some(37)), "{left:?}");
}

#[test]
fn in_a_shared_workspace_a_lost_create_is_found_by_its_results_and_not_before() {
    let sim =
        Sim::of("anthropic", &["--fault", "create-lost@1", "--fault", "foreign-batches", "--speed", "1000"]);
    let place = place(&sim);
    job(&place, "", "");
    let said = run(&place);
    assert!(said.stderr.contains("was found as msgbatch_"), "{said:?}");
    whole(&place, &sim, said);
    assert_eq!(creates(&sim), serde_json::json!({"0": 1}));
    // A line of each of both batches, and all of ours.
    let read = requests(&sim)["GET /v1/messages/batches/{id}/results"]["200"].as_u64();
    assert!(read > Some(2), "{read:?}");
}

#[test]
fn what_never_arrived_is_sent_again_only_where_its_absence_can_be_proved() {
    let sim = Sim::of("anthropic", &["--fault", "reset-early:create=1@1"]);
    let place = place(&sim);
    job(&place, "", OURS_ALONE);
    let began = Instant::now();
    let said = run(&place);
    assert!(began.elapsed() >= Duration::from_secs(1), "a create may be under way for so long");
    assert!(said.stderr.contains("proved not to exist"), "{said:?}");
    whole(&place, &sim, said);
    assert_eq!(creates(&sim), serde_json::json!({"0": 1, "200": 1}));
}

#[test]
fn in_a_shared_workspace_it_waits_for_the_operator() {
    let sim = Sim::of("anthropic", &["--fault", "reset-early:create=1@1"]);
    let place = place(&sim).set("USER", "ada");
    job(&place, "", "");
    let (mut child, line) = in_doubt(&place);
    assert!(line["known"].to_string().contains("only its results can tell"), "{line}");
    assert!(line["suggestion"].as_str().unwrap().contains("of 37 requests"), "{line}");
    // The first look that could have proved something is over, and counts as none that another might agree with.
    let known = || place.run("doubt list --json", &[]).json()[0]["known"].to_string();
    waited("it is not looked for", || known().contains("looked for 2 times"));
    assert!(!known().contains("a complete list did not show it"), "{}", known());
    assert_eq!(creates(&sim), serde_json::json!({"0": 1}), "it is not sent again");
    child.kill().unwrap();
    child.wait().unwrap();
    let sub = line["sub"].as_str().unwrap();
    // A batch of somebody else is not taken, whoever says so.
    let other = self::place(&sim);
    job(&other, "keep_remote = true", "");
    run(&other).expect(0);
    let theirs = listed(&sim)[0]["id"].as_str().unwrap().to_owned();
    let refused = place.run(&format!("doubt adopt {sub} {theirs}"), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("belongs to submission"), "{refused:?}");
    place.run(&format!("doubt release {sub} --absent --yes"), &[]).expect(0);
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "in_doubt")), (Some(40), 0), "{report}");
    assert_eq!(creates(&sim), serde_json::json!({"0": 1, "200": 2}));
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn an_operator_may_adopt_a_batch_that_nothing_speaks_against() {
    // While it runs there are no results to tell.
    let sim = Sim::of("anthropic", &["--fault", "create-lost@1", "--speed", "120"]);
    let place = place(&sim);
    job(&place, "", "");
    let (mut child, line) = in_doubt(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    let sub = line["sub"].as_str().unwrap();
    let ours = listed(&sim)[0]["id"].as_str().unwrap().to_owned();
    let adopted = place.run(&format!("doubt adopt {sub} {ours} --json"), &[]).expect(0).json();
    assert_eq!(adopted["decided"], true, "{adopted}");
    whole(&place, &sim, place.run("resume reviews --json", &[]));
    assert_eq!(creates(&sim), serde_json::json!({"0": 1}));
}

#[test]
fn creates_go_one_after_the_other_while_one_is_in_doubt() {
    let sim =
        Sim::of("anthropic", &["--fault", "create-lost@2", "--fault", "list-lag", "--list-lag", "3000"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 10", OURS_ALONE);
    let said = run(&place);
    whole(&place, &sim, said);
    assert_eq!(creates(&sim), serde_json::json!({"0": 1, "200": 3}));
}

#[test]
fn a_killed_run_goes_on_with_its_batches() {
    let sim = Sim::of("anthropic", &["--speed", "200"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 20", "");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| {
        job["batches"]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().any(|batch| batch["batch"].is_string()))
    });
    whole(&place, &sim, run(&place));
    assert_eq!(creates(&sim), serde_json::json!({"200": 2}));
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["line-errors:0.3=429"],
        &["expire=0.4@1"],
        &["batch-gone@2", "output-late"],
        &["truncated-body:content@1", "duplicate-lines=0.2", "unknown-lines=0.2"],
        &["status-regression", "unknown-status", "5xx:poll:0.3=500"],
        &["429:create@1", "5xx:list=503@1", "content-503=1"],
        &["list-page=fails@1", "cut-tail=line@1", "file-changes"],
    ] {
        let flags: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        let sim = Sim::of("anthropic", &flags);
        let place = place(&sim);
        job(&place, "", OURS_ALONE);
        let said = run(&place);
        let shown = format!("{faults:?} {said:?}");
        let (report, _) = super::jobs::whole(&place, &sim, said, ROWS);
        assert_eq!(nanos(&report, "in_doubt"), 0, "{shown}");
    }
}

#[test]
fn a_line_that_is_missing_stays_in_doubt_beside_the_bill() {
    let sim = Sim::of("anthropic", &["--fault", "missing-lines=0.2"]);
    let place = place(&sim);
    job(&place, "", OURS_ALONE);
    let report = run(&place).expect(0).json();
    let bill = sim.bill();
    let (spent, doubt, paid) = (nanos(&report, "spent"), nanos(&report, "in_doubt"), nanos(&bill, "total"));
    assert!(spent < paid && paid <= spent + doubt, "{spent} {paid} {doubt}");
    place.proved("reviews", &sim);
}

#[test]
fn a_cancelled_job_keeps_what_its_batch_finished() {
    let sim = Sim::of("anthropic", &["--speed", "60"]);
    let place = place(&sim);
    job(&place, "", "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    // A few of its requests have run, and it is not done.
    let polls = || requests(&sim)["GET /v1/messages/batches/{id}"]["200"].as_u64();
    waited("it is not looked at", || polls() >= Some(10));
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let bill = sim.bill();
    let status = place.run("status reviews --json", &[]).json();
    let ran = bill["requests"].as_u64().unwrap();
    assert!((1..37).contains(&ran), "{bill}");
    assert_eq!(requests(&sim)["POST /v1/messages/batches/{id}/cancel"]["200"], 1);
    place.proved("reviews", &sim);
    assert_eq!(nanos(&status[0], "spent"), nanos(&bill, "total"), "{status} {bill}");
}

#[test]
fn a_full_queue_and_an_empty_purse_are_told_apart() {
    let sim = Sim::of("anthropic", &["--queued-requests", "20"]);
    let place = place(&sim);
    job(&place, "batch_items_max = 15", OURS_ALONE);
    let (_, bill) = whole(&place, &sim, run(&place));
    assert_eq!(bill["requests_batch"], 37, "{bill}");
    let poor = Sim::of("anthropic", &["--fault", "insufficient-quota:create"]);
    let place = self::place(&poor);
    job(&place, "", OURS_ALONE);
    let said = run(&place);
    assert!(said.code != 0 && said.stderr.contains("quota"), "{said:?}");
    assert_eq!(creates(&poor), serde_json::json!({"429": 1}));
}
