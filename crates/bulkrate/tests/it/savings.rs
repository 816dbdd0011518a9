//! `cost --savings`: from the naive cost to what was paid, to the nano-dollar.

use std::ops::ControlFlow;

use bulkrate_core::money::UsdNanos;
use bulkrate_store::{LedgerEntry, LedgerKind, LedgerQuery, SqliteStore, Store as _, Tx, View as _};
use serde_json::Value;

use super::jobs::nanos;
use super::route::{AUTO, shop};
use super::support::{ASK, Place, Sim, reviews};

/// The steps lead from the naive cost to the spend; answers the levers.
#[track_caller]
pub(super) fn adds_up(of: &Value) -> Vec<String> {
    let mut left = nanos(of, "naive");
    let steps = of["steps"].as_array().unwrap();
    for step in steps {
        left -= nanos(step, "saved");
        assert_eq!(left, nanos(step, "cost"), "{of}");
    }
    assert_eq!(left, nanos(of, "spent"), "{of}");
    steps.iter().map(|step| step["lever"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_lever_of_a_routed_batch_job_is_a_step() {
    let sim = Sim::start(&[]);
    let place = shop(&sim);
    let line = "run items.csv --yes --json --lane batch --poll-min 1s --out labels.csv";
    let report = place.run(line, &AUTO).expect(0).json();
    let found = place.run("cost --savings items --json", &[]).expect(0).json();
    assert_eq!(adds_up(&found), ["routing", "dedup", "batch"], "{found}");
    for key in ["naive", "spent", "in_doubt", "reserved"] {
        assert_eq!(nanos(&found, key), nanos(&report, key), "{key}: {found}");
    }
    for step in found["steps"].as_array().unwrap() {
        let lever = step["lever"].as_str().unwrap();
        assert_eq!(nanos(step, "saved"), report["saved_usd_nanos"][lever].as_i64().unwrap(), "{found}");
    }
    assert_eq!(place.proved("items", &sim), nanos(&found, "spent"));
    assert_eq!(found["naive_plan"]["model"], "openai/gpt-6.1-sol");

    let text = place.run("cost --savings items", &[]).expect(0).stdout;
    for words in [
        "naive: every item to openai/gpt-6.1-sol, one by one in the sync lane, equal items and answers of earlier jobs too",
        "saves USD  leaves USD",
        "% of naive",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn answers_of_earlier_jobs_and_a_killed_run_add_up_too() {
    let sim = Sim::start(&["--latency-ms", "300"]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(40)).put("more.csv", reviews(80));
    let args = |line: &'static str| line.split(' ').chain(ASK).collect::<Vec<_>>();
    let line = "run reviews.csv --yes --lane sync --out a.csv --rpm 3000 --poll-min 1s";
    place.kill_when(args(line), |status| status["succeeded"].as_u64() > Some(5));
    // Cut short, it adds up as well: what is in flight is on neither side.
    adds_up(&place.run("cost --savings reviews --json", &[]).expect(0).json());
    place.run("resume reviews", &[]).expect(0);
    adds_up(&place.run("cost --savings reviews --json", &[]).expect(0).json());

    place.run("run more.csv --yes --lane flex --out b.csv --poll-min 1s", &ASK).expect(0);
    let found = place.run("cost --savings more --json", &[]).expect(0).json();
    assert_eq!(adds_up(&found), ["dedup", "cache", "flex"], "{found}");
    assert_eq!(found["naive_plan"]["model"], "openai/gpt-6-luna");
    let cached = found["steps"][1]["items"].as_u64().unwrap();
    assert!(cached > 30, "{found}");
    place.run("verify more", &[]).expect(0);
}

#[test]
fn what_rules_send_to_another_model_is_compared_with_the_jobs_own() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(60));
    let ask = |model: &'static str| {
        let mut ask = ASK;
        ask[7] = model;
        ask
    };
    for (own, other, saves) in [
        ("openai/gpt-6.1-sol", "openai/gpt-6-luna", true),
        ("openai/gpt-6-luna", "openai/gpt-6.1-sol", false),
    ] {
        let all = place.run("plan reviews.csv --json", &ask(own)).expect(0).json();
        let rule = format!("'great' in text=>{other}");
        let ask = [&ask(own)[..], &["--rule", &rule]].concat();
        let plan = place.run("plan reviews.csv --json", &ask).expect(0).json();
        assert_eq!(plan["naive_model"], own);
        let (ruled, whole) = (nanos(&plan, "naive"), nanos(&all, "naive"));
        // A token more at most, rounded up for each model that is asked.
        assert!(
            (0..10_000).contains(&(ruled - whole)),
            "naive is the job's own model for every row: {own} {ruled} {whole}"
        );
        let line = format!(
            "run reviews.csv --yes --json --lane sync --cache off --name {} --out {saves}.csv",
            if saves { "saves" } else { "costs" }
        );
        let report = place.run(&line, &ask).expect(0).json();
        let job = report["job"].as_str().unwrap();
        let found = place.run(&format!("cost --savings {job} --json"), &[]).expect(0).json();
        assert_eq!(adds_up(&found)[0], "routing", "{found}");
        assert_eq!(found["naive_plan"]["model"], own);
        // A dearer one is no saving, and is not called one.
        assert_eq!(nanos(&found["steps"][0], "saved") > 0, saves, "{found}");
        place.run(&format!("verify {job}"), &[]).expect(0);
    }
}

#[test]
fn a_saving_that_is_booked_twice_is_found() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(20));
    place.run("run reviews.csv --yes --lane sync --out a.csv", &ASK).expect(0);
    let mut store = SqliteStore::open(&place.path(".bulkrate"), "", 0).unwrap();
    let job = store.jobs().unwrap().remove(0);
    let query = LedgerQuery { kind: Some(LedgerKind::Saving), ..LedgerQuery::of_job(job.no) };
    let mut tx = Tx::new(job.no);
    store
        .ledger_scan(&query, &mut |entry| {
            tx.ledger.push(LedgerEntry { usd: UsdNanos(5), ..entry.clone() });
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(tx.ledger.len(), 1);
    store.commit(&[tx]).unwrap();
    drop(store);
    let said = place.run("verify reviews", &[]).expect(7);
    assert!(said.stdout.contains("FAILED savings add up"), "{said:?}");
    let found = place.run("cost --savings reviews --json", &[]).expect(0).json();
    assert!(adds_up(&found).contains(&"not explained".to_owned()), "{found}");
}

/// What a limit leaves out is told in each book, and no item is nowhere.
#[test]
fn a_limited_job_says_what_each_book_counts() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("reviews.csv", reviews(200));
    let line = "run reviews.csv --yes --json --lane sync --limit 100 --out a.csv";
    let report = place.run(line, &ASK).expect(0).json();
    let status = place.run("status reviews --json", &[]).expect(0).json()[0].clone();
    let of = |of: &Value, key: &str| of[key].as_u64().unwrap();
    // All rows that end in 9 are equal: ten within the limit, ten beyond it, one of them asked.
    assert_eq!((of(&report, "succeeded"), of(&report, "duplicates")), (100, 9), "{report}");
    assert_eq!(
        (of(&status, "succeeded"), of(&status, "duplicates"), of(&status, "open")),
        (110, 19, 90),
        "{status}"
    );
    assert_eq!(status["forecast"], Value::Null, "what was asked for is done: {status}");
    let text = place.run("status reviews", &[]).expect(0).stdout;
    assert!(text.contains("the first 100 items are asked for; the counts here are of all"), "{text}");
    let text = place.run("cost --savings reviews", &[]).expect(0).stdout;
    assert!(
        text.contains(
            "all 200 items are counted, answered ones beyond `--limit 100` too; the report counts those"
        ),
        "{text}"
    );
    let said = place.run("resume reviews --no-limit", &[]).expect(0).stderr;
    assert!(said.contains("110 done, 90 to go"), "{said}");
    let status = place.run("status reviews", &[]).expect(0).stdout;
    assert!(!status.contains("expected") && !status.contains("asked for"), "{status}");
}

#[test]
fn a_job_must_be_named() {
    let place = Place::new();
    place.run("cost --savings nobody", &[]).error(1, "state-missing", &[]);
    let said = place.run("cost --savings a --by model", &[]).expect(2);
    assert!(said.stderr.contains("cannot be used with"), "{said:?}");
}
