//! `bulkrate doubt`: what is in doubt is shown, and an operator decides it, beside a run or without one.

use std::process::Child;

use bulkrate_store::{LedgerQuery, SqliteStore, View as _};
use serde_json::Value;

use super::jobs::nanos;
use super::savings::adds_up;
use super::support::{ASK, Place, Sim, reviews, waited};

const BATCH: [&str; 10] = [
    "run",
    "reviews.csv",
    "--yes",
    "--lane",
    "batch",
    "--no-canary",
    "--poll-min",
    "50ms",
    "--out",
    "labels.csv",
];

/// A run whose create is in doubt.
fn in_doubt(sim: &Sim) -> (Place, Child, String) {
    let place = Place::with(sim).set("USER", "ada");
    place.put("reviews.csv", reviews(40));
    let args = BATCH.iter().chain(&ASK);
    let child = place.start(args);
    let mut sub = String::new();
    waited("no doubt", || {
        let lines = place.run("doubt list --json", &[]).json();
        sub = lines[0]["sub"].as_str().unwrap_or("").to_owned();
        lines[0]["state"] == "in_doubt" || lines[0]["state"] == "fencing"
    });
    (place, child, sub)
}

fn killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn lines(place: &Place) -> Value {
    place.run("doubt list --json", &[]).expect(0).json()
}

/// The job to its end, its report, and the proof against the bill.
fn finished(place: &Place, sim: &Sim) -> (Value, i64) {
    let said = place.run("resume reviews --json", &[]);
    assert!([0, 1, 5].contains(&said.code), "{said:?}");
    let bill = place.proved("reviews", sim);
    (said.json(), bill)
}

#[test]
fn a_batch_in_doubt_is_shown_and_adopted_and_a_foreign_one_is_not() {
    let sim = Sim::start(&["--fault", "create-lost=1@1", "--fault", "list-lag", "--list-lag", "20000"]);
    let (place, child, sub) = in_doubt(&sim);
    killed(child);
    let line = &lines(&place)[0];
    assert_eq!((line["items"].as_u64(), line["lane"].as_str()), (Some(37), Some("batch")), "{line}");
    assert!(nanos(line, "price_at_most") > 0 && line["since_ms"].as_i64() > Some(0), "{line}");
    assert!(line["suggestion"].as_str().unwrap().contains("doubt adopt"), "{line}");
    let status = place.run("status reviews", &[]).expect(0).stdout;
    assert!(status.contains("doubt     1 submission, 37 items"), "{status}");
    assert!(status.contains("`bulkrate resume reviews` looks for it"), "{status}");
    assert!(place.run("doubt list", &[]).stdout.contains(&sub));

    let unknown = place.run(&format!("doubt adopt {sub} batch_none"), &[]);
    assert!(unknown.code == 1 && unknown.stderr.contains("batch-not-adopted"), "{unknown:?}");
    let other = Place::with(&sim);
    other.put("reviews.csv", reviews(40));
    other.run(&BATCH.join(" "), &ASK).expect(0);
    let foreign = other.run("status --json", &[]).json()[0]["batches"][0]["batch"].clone();
    let refused = place.run(&format!("doubt adopt {sub} {}", foreign.as_str().unwrap()), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("another state folder"), "{refused:?}");
    let known = lines(&place)[0]["known"].to_string();
    assert!(known.contains("not adopted") && known.contains("another state folder"), "{known}");

    let mut own = String::new();
    waited("the list does not show it", || {
        let list = sim.get("/v1/batches?limit=100");
        let ours = list["data"].as_array().unwrap().iter().find(|batch| batch["metadata"]["br_sub"] == *sub);
        own = ours.and_then(|batch| batch["id"].as_str()).unwrap_or("").to_owned();
        !own.is_empty()
    });
    let adopted = place.run(&format!("doubt adopt {} {own} --json", &sub[..16]), &[]).expect(0).json();
    assert_eq!(adopted["decided"], true, "{adopted}");
    assert_eq!(lines(&place), serde_json::json!([]));
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "in_doubt")), (Some(40), 0), "{report}");
    place.run("verify reviews", &[]).expect(0);
    assert!(place.run("doubt list", &[]).expect(0).stdout.contains("nothing is in doubt"));
    place.run(&format!("doubt release {sub} --absent --yes"), &[]).error(2, "doubt-unknown", &[&sub]);
}

#[test]
fn what_was_not_run_is_asked_again_and_the_ledger_says_who_said_so() {
    let sim = Sim::start(&["--fault", "reset-early:create=1@1", "--fault", "list-empty"]);
    let (place, child, sub) = in_doubt(&sim);
    killed(child);
    place.run(&format!("doubt release {sub} --absent"), &[]).error(
        3,
        "not-confirmed",
        &["nothing was changed"],
    );
    place.run(&format!("doubt release {sub}"), &[]).expect(2);
    place.run(&format!("doubt release {sub} --absent --yes"), &[]).expect(0);
    let entries = ledger(&place, &sub);
    assert!(entries.contains(&"doubt_cleared operator ada: it was not run".to_owned()), "{entries:?}");
    assert!(entries.iter().any(|entry| entry.starts_with("release")), "{entries:?}");
    let (report, bill) = finished(&place, &sim);
    assert_eq!(
        (report["succeeded"].as_u64(), nanos(&report, "spent"), nanos(&report, "in_doubt")),
        (Some(40), bill, 0)
    );
}

#[test]
fn what_was_paid_is_booked_and_its_items_are_dead_letters() {
    let sim = Sim::start(&["--fault", "create-lost=1@1", "--fault", "list-empty"]);
    let (place, child, sub) = in_doubt(&sim);
    killed(child);
    let most = nanos(&lines(&place)[0], "price_at_most");
    place.run(&format!("doubt release {sub} --paid --cost 1000 --yes"), &[]).error(
        2,
        "option-invalid",
        &["at most"],
    );
    place.run(&format!("doubt release {sub} --paid --yes"), &[]).expect(0);
    let line = &lines(&place)[0];
    assert_eq!((line["state"].as_str(), nanos(line, "price_at_most")), (Some("kept"), most), "{line}");
    // At the provider it goes on, and is billed.
    waited("no bill", || sim.bill()["requests"] == 37);
    let (report, bill) = finished(&place, &sim);
    assert_eq!(report["failures"]["maybe_paid_unresolved"], 40, "{report}");
    assert!(bill > 0 && bill <= most && nanos(&report, "spent") == 0, "{bill} {report}");
    // The bill has come: from now on the ledger equals it.
    let cost = format!("{}.{:09}", bill / 1_000_000_000, bill % 1_000_000_000);
    place.run(&format!("doubt release {sub} --paid --cost {cost} --yes"), &[]).expect(0);
    let (report, _) = finished(&place, &sim);
    assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (bill, 0), "{report}");
    assert_eq!(lines(&place), serde_json::json!([]));
}

/// Paid on an operator's word and asked again: naive less the savings, and that on top, is what was spent, whoever is asked.
#[test]
fn what_was_paid_without_an_answer_adds_up_in_every_book() {
    let sim = Sim::start(&["--fault", "create-lost=1@1", "--fault", "list-empty"]);
    let (place, child, sub) = in_doubt(&sim);
    killed(child);
    let paid = 100_000;
    place.run(&format!("doubt release {sub} --paid --cost 0.0001 --again --yes"), &[]).expect(0);
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    let sum = |of: &Value| of.as_object().unwrap().values().map(|usd| usd.as_i64().unwrap()).sum::<i64>();
    let (naive, spent) = (nanos(&report, "naive"), nanos(&report, "spent"));
    let saved = sum(&report["saved_usd_nanos"]);
    assert_eq!(report["beside_usd_nanos"], serde_json::json!({ "paid without an answer": paid }), "{report}");
    assert!(saved > 0 && naive - saved + paid == spent, "{report}");

    let found = place.run("cost --savings reviews --json", &[]).expect(0).json();
    assert!(adds_up(&found).contains(&"paid without an answer".to_owned()), "{found}");
    assert_eq!((nanos(&found, "naive"), nanos(&found, "spent")), (naive, spent));
    for by in ["job", "lane"] {
        let rows = place.run(&format!("cost --by {by} --json"), &[]).expect(0).json();
        let of = |key: &str| rows.as_array().unwrap().iter().map(|row| nanos(row, key)).sum::<i64>();
        assert_eq!((of("beside"), of("spent") + of("saved") - of("beside")), (paid, naive), "{rows}");
    }
    for (line, words) in [
        ("cost --by job", "beside: of what was spent, paid twice or without an answer"),
        ("cost --savings reviews", "what was paid twice or without an answer saves less than nothing"),
        ("resume reviews", "paid without an answer: USD 0.000100 of the sum"),
        ("verify reviews", "+ paid without an answer USD 0.0001 = spent USD"),
    ] {
        let said = place.run(line, &[]).expect(0);
        assert!(said.stdout.contains(words) || said.stderr.contains(words), "{line}: {said:?}");
    }
}

#[test]
fn a_run_at_work_takes_the_order_and_goes_on() {
    let sim = Sim::start(&["--fault", "reset-early:create=1@1", "--fault", "list-empty"]);
    let (place, mut child, sub) = in_doubt(&sim);
    let said = place.run(&format!("doubt release {sub} --absent --yes --json"), &[]).expect(0).json();
    assert_eq!((said["ordered"].as_bool(), said["decided"].as_bool()), (Some(false), Some(true)), "{said}");
    let mut code = None;
    waited("the run does not end", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
    let (report, bill) = finished(&place, &sim);
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "spent")), (Some(40), bill), "{report}");
}

#[test]
fn a_call_without_an_answer_is_settled_by_the_bill() {
    let sim = Sim::start(&["--fault", "reset:sync=1@3"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(20));
    let report =
        place.run("run reviews.csv --yes --lane sync --out labels.csv --json", &ASK).expect(0).json();
    let line = &lines(&place)[0];
    assert_eq!((line["state"].as_str(), line["items"].as_u64()), (Some("booked"), Some(1)), "{line}");
    let sub = line["sub"].as_str().unwrap();
    assert_eq!(nanos(line, "price_at_most"), nanos(&report, "in_doubt"));
    place.run(&format!("doubt adopt {sub} batch_1"), &[]).error(2, "option-invalid", &["no batch to adopt"]);
    let bill = sim.bill();
    let paid = bill["total_usd_nanos"].as_i64().unwrap() - nanos(&report, "spent");
    assert!(paid > 0, "{bill} {report}");
    place.run(&format!("doubt release {sub} --paid --cost 0.{paid:09} --yes"), &[]).expect(0);
    let (report, bill) = finished(&place, &sim);
    assert_eq!((nanos(&report, "spent"), nanos(&report, "in_doubt")), (bill, 0), "{report}");
    assert_eq!(lines(&place), serde_json::json!([]));
}

#[test]
fn calls_of_a_killed_run_are_shown_and_released() {
    let sim = Sim::start(&["--latency-ms", "3000"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(20));
    let args = ["run", "reviews.csv", "--yes", "--lane", "sync", "--out", "labels.csv"];
    place.kill_when(args.iter().chain(&ASK), |job| job["in_flight"].as_u64() > Some(0));
    let all = lines(&place);
    assert!(!all.as_array().unwrap().is_empty(), "{all}");
    for line in all.as_array().unwrap() {
        assert_eq!(line["state"], "unanswered", "{line}");
        let sub = line["sub"].as_str().unwrap();
        place.run(&format!("doubt release {sub} --absent --yes"), &[]).expect(0);
        assert!(!lines(&place).to_string().contains(sub));
    }
    let report = place.run("resume reviews --json", &[]).expect(0).json();
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "in_doubt")), (Some(20), 0), "{report}");
}

/// The ledger's entries about a submission: kind and note.
fn ledger(place: &Place, sub: &str) -> Vec<String> {
    let store = SqliteStore::open_reader(&place.path(".bulkrate")).unwrap();
    let mut entries = Vec::new();
    store
        .ledger_scan(&LedgerQuery::default(), &mut |entry| {
            if entry.sub.is_some_and(|of| of.to_string() == sub) {
                entries.push(format!("{} {}", entry.kind, entry.note.as_deref().unwrap_or("")));
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    entries
}
