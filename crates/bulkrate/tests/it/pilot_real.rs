//! A pilot on real complaints: what its plan promises holds for the whole job, in money and in quality.

use std::collections::BTreeMap;

use super::jobs::nanos;
use super::support::{Place, Sim, table};

const ASK: [&str; 8] = [
    "--user",
    "{{ text }}",
    "--system",
    "Which product is this complaint about?",
    "--choices",
    "Credit card,Mortgage,Debt collection,Credit reporting,Student loan,Bank account",
    "--id",
    "id",
];

/// The answers by id.
fn answers(place: &Place, file: &str) -> BTreeMap<String, String> {
    let (header, rows) = table(&place.path(file));
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    rows.iter().map(|row| (row[at("id")].clone(), row[at("answer")].clone())).collect()
}

#[test]
fn the_plan_of_real_complaints_keeps_its_promises() {
    let Some(root) = std::env::var_os("BULKRATE_TEST_DATA").map(std::path::PathBuf::from) else {
        eprintln!("SKIPPED: BULKRATE_TEST_DATA is not set; no pilot was made of real complaints");
        return;
    };
    let complaints = std::fs::read(root.join("jobs/cfpb_complaints.jsonl.gz")).unwrap();
    // The cheap model has not read six of a thousand complaints.
    let sim = Sim::start(&["--weak", "gpt-6-luna=0.006"]);
    let place = Place::with(&sim);
    place.put("complaints.jsonl.gz", complaints);
    let run = |line: &str, model: &str| {
        let line = format!("{line} complaints.jsonl.gz --model openai/{model} --json");
        place.run(&line, &ASK).expect(0).json()
    };
    let budget = "--budget 2 --poll-min 50ms";
    let found = run(&format!("plan --pilot 600 --candidate openai/gpt-6-luna {budget}"), "gpt-6.1-sol");
    let number = usize::try_from(found["winner"].as_u64().unwrap()).unwrap();
    let plan = &found["plans"][number - 1];
    assert_eq!(plan["models"], serde_json::json!(["openai/gpt-6-luna"]), "{plan}");
    let report = run(&format!("run --plan cheapest {budget} --out cheap.csv"), "gpt-6.1-sol");
    assert_eq!(report["succeeded"], 3_947);

    // The bill: within the P95 of the plan, the budget, and a quarter of what the strong model costs one by one.
    let (pilot, spent) = (nanos(&found, "spent"), nanos(&report, "spent"));
    let billed = nanos(&sim.bill(), "total");
    assert_eq!(billed, pilot + spent);
    assert!(spent <= nanos(plan, "p95"), "{spent} {plan}");
    assert!(
        billed <= 2_000_000_000 && billed * 4 <= nanos(&found, "naive"),
        "{billed} {}",
        found["naive_usd"]
    );
    // What was saved, lever by lever, leads from the naive cost to the spend.
    let saved = report["saved_usd_nanos"].as_object().unwrap();
    let lever = |name: &str| saved.get(name).and_then(serde_json::Value::as_i64).unwrap_or_default();
    assert!(lever("cache") > 0 && lever("batch") + lever("flex") > 0, "{saved:?}");
    // Most of it by the plan's choice: the books begin with all at the strong model, and what the pilot cost stands beside them.
    assert!(lever("routing") * 2 > nanos(&report, "naive"), "{saved:?}");
    let all: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
    assert_eq!(nanos(&report, "naive") - all, spent);
    assert_eq!(nanos(&report["pilot"], "spent"), pilot, "{report}");

    // The quality: what the strong model says of all of them differs in no more than was promised.
    let by_strong = run("run --yes --lane sync --cache off --sample 0 --out strong.csv", "gpt-6.1-sol");
    assert_eq!(
        (nanos(&report, "naive"), &report["naive_model"]),
        (nanos(&by_strong, "naive"), &by_strong["naive_model"])
    );
    let (cheap, strong) = (answers(&place, "cheap.csv"), answers(&place, "strong.csv"));
    let lost = strong.iter().filter(|(id, answer)| cheap[*id] != **answer).count();
    assert!(lost > 0 && lost * 100 <= strong.len() * 2, "{lost} of {}", strong.len());
}
