//! The batch lane at OpenRouter: requests in the create, results in the batch, nothing to be written on one, and no way to cancel it.

use serde_json::json;

use super::batch_lane::{Lane, ROWS, job_of, requests, run, sums};
use super::jobs::nanos;
use super::support::{Place, Sim, waited};

const MODEL: &str = "openrouter/openai/gpt-6-luna";
const PRICES: &str = include_str!("../../../../catalogue/prices.csv");
const OURS_ALONE: &str = "exclusive_workspace = true";

const LANE: Lane = Lane {
    create: "POST /v1/batches",
    poll: "GET /v1/batches/{id}",
    rows: ROWS,
    requests: 37,
    sim: |flags| Sim::start(&[&["--like", "openrouter"], flags].concat()),
    place,
    job: |place, run| job_of(MODEL, place, run, OURS_ALONE),
};

/// No list has prices of its batches: the user's own says that they are half of the others.
fn place(sim: &Sim) -> Place {
    let (head, rest) = PRICES.split_once('\n').unwrap();
    let row = rest.lines().find(|line| line.starts_with("openai,gpt-6-luna,,")).unwrap();
    let row = row.replacen("openai,gpt-6-luna", "openrouter,openai/gpt-6-luna", 1);
    let place =
        Place::new().set("OPENROUTER_API_KEY", "sk-or-canary-0").set("OPENROUTER_BASE_URL", &sim.base_url);
    place.put("prices.csv", format!("{head}\n{row}\n")).put("bulkrate.toml", "prices = \"prices.csv\"\n");
    place
}

#[test]
fn a_job_costs_half_and_leaves_nothing_at_the_provider() {
    let sim = LANE.sim(&[], &["--api-key", "canary-0123456789"]);
    let place = LANE.with_job(&sim, "batch_items_max = 20").set("OPENROUTER_API_KEY", "canary-0123456789");
    LANE.costs_half(&LANE.whole(&place, &sim, run(&place)));
    assert_eq!(LANE.creates(&sim), json!({"202": 2}));
    assert_eq!(requests(&sim)["DELETE /v1/batches/{id}"]["200"], 2);
}

/// Its create says nothing of ours, and nobody else makes batches: it is the one that is as large.
#[test]
fn a_lost_create_is_found_by_its_looks() {
    for fault in ["create-lost@1", "create-no-id@1"] {
        let sim = LANE.sim(&[fault], &["--speed", "1000"]);
        let place = LANE.with_job(&sim, "");
        let said = run(&place);
        assert!(said.stderr.contains("was found as batch"), "{fault}: {said:?}");
        LANE.whole(&place, &sim, said);
        let sent = LANE.creates(&sim);
        assert!(["0", "202"].iter().any(|status| sent == json!({*status: 1})), "{sent}");
    }
    // It is made long after its answer was lost, and no list has shown it until then: it waits, and is not sent again.
    let sim = LANE.sim(&["create-lost@1", "list-lag"], &["--list-lag", "3000"]);
    let place = LANE.with_job(&sim, "");
    let said = run(&place);
    assert!(said.stderr.contains("was found as batch"), "{said:?}");
    LANE.whole(&place, &sim, said);
}

/// Beside batches of somebody else it is known by an item in its results, and left to nobody else's word before.
#[test]
fn in_a_shared_workspace_results_tell() {
    let sim = LANE.sim(&["create-lost@1", "foreign-batches"], &["--speed", "1000"]);
    let place = place(&sim);
    job_of(MODEL, &place, "", "");
    let said = run(&place);
    assert!(said.stderr.contains("was found as batch"), "{said:?}");
    LANE.whole(&place, &sim, said);
    assert_eq!(LANE.creates(&sim), json!({"0": 1}));
}

#[test]
fn results_that_are_not_paid_are_waited_for() {
    let sim = LANE.sim(&["results-locked@1-4"], &[]);
    let place = LANE.with_job(&sim, "");
    let said = run(&place);
    assert!(said.stderr.contains("add credits to unlock it"), "{said:?}");
    LANE.whole(&place, &sim, said);
    assert!(requests(&sim)[LANE.poll]["402"].as_u64() >= Some(4));
}

/// They were paid: nothing is sent again, and what they may have cost stays.
#[test]
fn results_that_were_purged_are_lost_and_in_doubt() {
    let sim = LANE.sim(&["results-purged"], &[]);
    let place = LANE.with_job(&sim, "");
    let said = run(&place);
    let report = said.json();
    let (spent, doubt, paid) = sums(&report, &sim);
    assert!(report["succeeded"] == 0 && spent == 0 && paid > 0 && paid <= doubt, "{report}");
    assert!(said.stderr.contains("is unknown to the provider"), "{said:?}");
    assert_eq!(LANE.creates(&sim), json!({"202": 1}));
}

#[test]
fn what_goes_wrong_in_a_batch_costs_time_and_no_rows() {
    for faults in [
        &["line-errors:0.3=500"][..],
        &["duplicate-lines=0.2", "unknown-lines=0.2"],
        &["line-errors:0.3=429", "5xx:poll:0.3=500", "429:create@1", "truncated-body:poll@3"],
        &["output-late", "batch-gone@2"],
    ] {
        LANE.loses_no_row_by(faults);
    }
    LANE.a_refusal_is_not_paid();
}

#[test]
fn a_killed_run_goes_on_with_its_batches() {
    let sim = LANE.sim(&[], &["--speed", "200"]);
    let place = LANE.with_job(&sim, "batch_items_max = 20");
    place.kill_when(["run", "reviews.toml", "--yes"], |job| {
        let batches = job["batches"].as_array().cloned().unwrap_or_default();
        batches.iter().any(|batch| batch["batch"].is_string())
    });
    LANE.whole(&place, &sim, run(&place));
    assert_eq!(LANE.creates(&sim), json!({"202": 2}));
}

/// A cancelled job sends nothing more, and waits for what it has sent.
#[test]
fn what_cannot_be_cancelled_is_refused_by_name_and_collected() {
    let sim = LANE.sim(&[], &["--speed", "300"]);
    let place = LANE.with_job(&sim, "");
    let mut child = place.start(["run", "reviews.toml", "--yes"]);
    place.wait_for(&mut child, |job| job["batches"][0]["batch"].is_string());
    place.run("batch cancel reviews", &[]).error(2, "batch-not-cancellable", &["openrouter"]);
    let noted = place.run("status reviews --json", &[]).json()[0].clone();
    assert_ne!(noted["state"], "cancelled", "{noted}");
    place.run("cancel reviews", &[]).expect(0);
    waited("the run does not end", || child.try_wait().unwrap().is_some());
    let status = place.run("status reviews --json", &[]).json()[0].clone();
    let (spent, doubt, paid) = sums(&status, &sim);
    assert!(spent == paid && paid > 0 && doubt == 0, "{status}");
    assert_eq!(sim.bill()["requests_batch"], LANE.requests);
    place.proved("reviews", &sim);
}

/// Where the day of a batch does not leave time, none is begun: nothing could be called back from it.
#[test]
fn a_deadline_within_a_day_makes_no_batch() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim);
    let ask = |deadline: &str| {
        let line = format!("plan reviews.toml --json --deadline {deadline}");
        let plan = place.run(&line, &[]).expect(0).json();
        (plan["lane"].as_str().unwrap_or_default().to_owned(), plan.to_string())
    };
    job_of(MODEL, &place, "", OURS_ALONE);
    let text = std::fs::read_to_string(place.path("reviews.toml")).unwrap();
    place.put("reviews.toml", text.replace("lane = \"batch\"\n", ""));
    let (near, far) = (ask("6h"), ask("48h"));
    assert_eq!((near.0.as_str(), far.0.as_str()), ("sync", "batch"), "{near:?} {far:?}");
    assert!(near.1.contains("cannot be cancelled"), "{}", near.1);
}

#[test]
fn a_batch_without_a_price_is_refused() {
    let sim = LANE.sim(&[], &[]);
    let place = place(&sim);
    place.put("bulkrate.toml", "");
    job_of(MODEL, &place, "", "");
    let text = std::fs::read_to_string(place.path("reviews.toml")).unwrap();
    place.put("reviews.toml", text.replace("budget = \"5\"\n", ""));
    let said = run(&place);
    assert!(said.code != 0 && said.stderr.contains("do not say what they cost"), "{said:?}");
    assert_eq!(nanos(&sim.bill(), "total"), 0);
}
