//! Pilots of routers in bundles: each model of a router is asked in the largest bundles that it keeps its quality in.

use serde_json::Value;

use super::jobs::nanos;
use super::pilot::{CHOICES, LUNA, SOL, billed, winner};
use super::support::{Place, Said, Sim, table};

/// Luna answers what a clause is about as if it had not read it.
const WEAK: [&str; 2] = ["--weak", "gpt-6-luna=1@clause"];
const ROWS: usize = 2_000;
const LOSS_ALLOWED: f64 = 0.05;

/// One row in four is about a clause.
fn rows() -> String {
    let said = ["great, I love it", "terrible, I want my money back", "it is a lamp"];
    let mut csv = String::from("id,text\n");
    for row in 0..ROWS {
        let about = if row % 4 == 0 { "the clause of a contract: " } else { "" };
        csv.push_str(&format!("r-{row},\"{about}{} ({row})\"\n", said[row / 4 % said.len()]));
    }
    csv
}

/// Long enough that saying it once for many rows pays.
fn ask(place: &Place, line: &str, model: &[&str]) -> Said {
    let system = "Say whether a review is positive, negative or neutral. ".repeat(20);
    let job = ["reviews.csv", "--user", "Review: {{ text }}", "--system", &system, "--id", "id"];
    place.run(line, &[&job[..], &CHOICES, model].concat())
}

fn piloted(weak: &[&str]) -> (Sim, Place, Value) {
    let sim = Sim::start(&[&WEAK[..], weak].concat());
    let place = Place::with(&sim);
    place.put("reviews.csv", rows());
    let line = format!("plan --json --pilot 600 --yes --quality-loss 5% --bundle 20 --candidate {LUNA}");
    let found = ask(&place, &line, &["--model", SOL]).expect(0).json();
    assert_eq!(nanos(&found, "spent"), billed(&sim));
    (sim, place, found)
}

/// The plan of this name, in the winner's lane.
fn plan<'v>(found: &'v Value, name: &str) -> Option<&'v Value> {
    let name = format!("{name}/{}", winner(found)["lane"].as_str().unwrap());
    found["plans"].as_array().unwrap().iter().find(|plan| plan["name"] == name.as_str())
}

/// The answers of a file, by its rows.
fn answers(place: &Place, file: &str) -> Vec<String> {
    let (header, rows) = table(&place.path(file));
    let at = header.iter().position(|column| column == "answer").unwrap();
    rows.into_iter().map(|mut row| row.remove(at)).collect()
}

/// Runs the cheapest plan: the bill is what the ledger says, within the P95, step by step below naive, and what the strong model says is lost no
/// more often than was promised. Answers the report, and the requests that went out.
fn run(sim: &Sim, place: &Place, found: &Value) -> (Value, u64) {
    let (paid, asked) = (billed(sim), sim.bill()["requests"].as_u64().unwrap());
    let line = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let report = ask(place, line, &["--model", SOL]).expect(0).json();
    assert_eq!(report["succeeded"], ROWS, "{report}");
    let (spent, best) = (nanos(&report, "spent"), winner(found));
    assert_eq!(billed(sim) - paid, spent);
    let (expected, p95) = (nanos(best, "expected"), nanos(best, "p95"));
    println!("{}: {spent} spent, {expected} expected, {p95} at P95", best["name"]);
    assert!(spent <= p95 && (expected - spent).abs() * 100 <= spent * 15, "{spent} spent, {best}");
    let saved = report["saved_usd_nanos"].as_object().unwrap();
    assert!(["routing", "bundle"].iter().all(|lever| saved[*lever].as_i64() > Some(0)), "{saved:?}");
    let saved: i64 = saved.values().map(|usd| usd.as_i64().unwrap()).sum();
    assert_eq!(nanos(&report, "naive") - saved, spent);
    place.run("verify reviews", &[]).expect(0);
    let asked = sim.bill()["requests"].as_u64().unwrap() - asked;
    // The same again is the same plan and costs nothing.
    ask(place, line, &["--model", SOL]).expect(0);
    assert_eq!(billed(sim) - paid, spent);

    ask(place, "run --yes --lane sync --cache off --sample 0 --out strong.csv", &["--model", SOL]).expect(0);
    let (by_plan, strong) = (answers(place, "a.csv"), answers(place, "strong.csv"));
    assert_eq!((by_plan.len(), strong.len()), (ROWS, ROWS));
    let lost = by_plan.iter().zip(&strong).filter(|(plan, strong)| plan != strong).count();
    let most = LOSS_ALLOWED * f64::from(u32::try_from(ROWS).unwrap());
    assert!(f64::from(u32::try_from(lost).unwrap()) <= most, "{lost} of {ROWS}");
    (report, asked)
}

#[test]
fn a_router_in_bundles_wins_and_is_run() {
    let (sim, place, found) = piloted(&[]);
    let best = winner(&found);
    let lane = best["lane"].as_str().unwrap();
    assert_eq!(best["name"], format!("gpt-6-luna+gpt-6.1-sol@router@x20/{lane}"), "{found}");
    assert_eq!((&best["bundle"], &best["bundles"]), (&20.into(), &Value::Null));
    assert!(
        best["quality"]["high"].as_f64() <= Some(LOSS_ALLOWED) && best["quality"]["labels"] == 300,
        "{best}"
    );
    // It is cheaper than a router without bundles, than bundles without a router, and than the cheap model, which is not good enough.
    for (name, reason) in [
        ("gpt-6-luna+gpt-6.1-sol@router", "dearer"),
        ("gpt-6.1-sol@x20", "dearer"),
        ("gpt-6-luna", "quality_unproved"),
    ] {
        assert_eq!(plan(&found, name).unwrap()["lost"]["reason"], reason, "{name} {found}");
    }
    let (_, asked) = run(&sim, &place, &found);
    // What the pilot has not asked alone goes out in twenties.
    assert!(asked < 1_400 / 20 + 40, "{asked} requests");

    // A router of one's own and bundles: the bill is what the ledger says.
    let file = "route train --pilot reviews --text text --quality-loss 5% --out own.router";
    place.run(file, &[]).expect(0);
    let auto = ["--model", "auto", "--router", "own.router", "--model-weak", LUNA, "--model-strong", SOL];
    let (paid, line) =
        (billed(&sim), "run --json --name auto --bundle 10 --cache off --lane sync --yes --out b.csv");
    let report = ask(&place, line, &auto).expect(0).json();
    assert_eq!(
        (billed(&sim) - paid, report["succeeded"].as_u64()),
        (nanos(&report, "spent"), Some(ROWS as u64))
    );
    assert!(report["saved_usd_nanos"]["bundle"].as_i64() > Some(0), "{report}");
    place.run("verify auto", &[]).expect(0);
}

#[test]
fn bundles_that_break_the_promise_for_one_model_are_refused_for_that_one() {
    // In fives and more luna answers three of ten blindly.
    let (sim, place, found) = piloted(&["--weak", "gpt-6-luna x5=0.3"]);
    let told = found["warnings"].as_array().unwrap();
    let told = told.iter().find(|one| one.as_str().unwrap().starts_with("no router asks")).unwrap();
    assert!(
        told.as_str()
            .unwrap()
            .starts_with("no router asks openai/gpt-6-luna in bundles of 5 or more: there it is wrong on "),
        "{told}"
    );
    let best = winner(&found);
    let lane = best["lane"].as_str().unwrap();
    assert_eq!(best["name"], format!("gpt-6-luna+gpt-6.1-sol@router@x1,20/{lane}"), "{found}");
    assert_eq!((&best["bundle"], &best["bundles"]), (&20.into(), &serde_json::json!([1, 20])));
    assert!(plan(&found, "gpt-6-luna+gpt-6.1-sol@router@x20").is_none());
    let name = format!("run --yes --plan gpt-6-luna+gpt-6.1-sol@router@x20/{lane} --out c.csv");
    let refused = ask(&place, &name, &["--model", SOL]);
    assert!(refused.code != 0 && refused.stderr.contains("@router@x20"), "{refused:?}");
    let (_, asked) = run(&sim, &place, &found);
    // Each of luna's rows by itself, and sol's in twenties.
    assert!((900..1_200).contains(&asked), "{asked} requests");
}
