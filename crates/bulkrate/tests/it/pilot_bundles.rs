//! Pilots of bundles: each model is asked in several sizes, and the largest that is proved is a plan.

use serde_json::Value;

use super::jobs::nanos;
use super::pilot::{CHOICES, LUNA, SOL, billed, shop, winner};
use super::support::{Place, Said, Sim};

/// Long enough that saying it once for many rows pays.
fn job() -> Vec<String> {
    let system = "Say whether a review is positive, negative or neutral. ".repeat(20);
    let job = ["reviews.csv", "--user", "Review of a {{ product }}: {{ text }}", "--system", &system];
    [&job[..], &["--id", "id", "--model", SOL], &CHOICES].concat().into_iter().map(str::to_owned).collect()
}

fn ask(place: &Place, line: &str, more: &[&str]) -> Said {
    let job = job();
    let args: Vec<&str> = job.iter().map(String::as_str).chain(more.iter().copied()).collect();
    place.run(line, &args)
}

/// What the pilot paid for the rows of a model in bundles of this size.
fn paid_for(found: &Value, model: &str, size: u64) -> i64 {
    let models = found["models"].as_array().unwrap();
    nanos(models.iter().find(|one| one["model"] == model && one["bundle"] == size).unwrap(), "spent")
}

/// The expected cost of luna's plans in the sync lane, by the size of their bundles.
fn expected(found: &Value, sizes: [u64; 3]) -> [i64; 3] {
    let plans = found["plans"].as_array().unwrap();
    sizes.map(|size| {
        let name = format!("gpt-6-luna@x{size}/sync");
        nanos(plans.iter().find(|plan| plan["name"] == name.as_str()).unwrap(), "expected")
    })
}

/// By how much one is off the other, in thousandths of it.
fn off(one: i64, other: i64) -> i64 {
    (one - other).abs() * 1_000 / other
}

/// The sizes that took part, of a model.
fn sizes(found: &Value, model: &str) -> Vec<u64> {
    let models = found["models"].as_array().unwrap();
    let took_part = models.iter().filter(|one| one["model"] == model && one["failed"].is_null());
    took_part.filter_map(|one| one["bundle"].as_u64()).collect()
}

#[test]
fn the_largest_bundle_that_keeps_the_promise_is_a_plan_and_is_run() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 1_200);
    let line = "plan --json --pilot 260 --yes --quality-loss 5% --bundle 20";
    let found = ask(&place, line, &["--candidate", LUNA]).expect(0).json();
    let paid = billed(&sim);
    assert_eq!((sizes(&found, SOL), sizes(&found, LUNA)), (vec![5, 10, 20], vec![5, 10, 20]), "{found}");
    assert_eq!(nanos(&found, "spent"), paid);
    // Four manners of each model are four jobs; in bundles the same 260 items are few requests.
    assert!(sim.bill()["requests"].as_u64().unwrap() < 2 * (260 + 52 + 26 + 13) + 20);
    let best = winner(&found);
    let name = best["name"].as_str().unwrap();
    assert!(name.starts_with("gpt-6-luna@x20/") && best["bundle"] == 20, "{best}");
    assert_eq!(best["quality"]["labels"], 260);
    // Each size that is proved is a plan, of each model and of the cascade of both, in three lanes.
    let names: Vec<&str> =
        found["plans"].as_array().unwrap().iter().map(|plan| plan["name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("@x")).count(), 3 * 3 * 3, "{names:?}");
    // The sizes cost in the plans, to one another, what the pilot has paid for them.
    let (costs, paid_for) =
        (expected(&found, [5, 10, 20]), [5, 10, 20].map(|size| paid_for(&found, LUNA, size)));
    assert!(costs[2] < costs[1] && costs[1] < costs[0], "{costs:?}");
    for (cost, paid) in costs.into_iter().zip(paid_for) {
        assert!(off(cost * paid_for[2], costs[2] * paid) <= 15, "{costs:?} expected, {paid_for:?} paid");
    }
    let again = ask(&place, line, &["--candidate", LUNA]).expect(0).json();
    assert_eq!((billed(&sim), nanos(&again, "spent")), (paid, paid), "the same again costs nothing");

    let run = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let report = ask(&place, run, &[]).expect(0).json();
    assert_eq!(report["succeeded"], 1_200);
    assert_eq!(billed(&sim) - paid, nanos(&report, "spent"));
    // A pilot of 260 rows asks one of them alone, a run of 940 one as well: that is a hundredth of its bundles' price.
    let (spent, best) = (nanos(&report, "spent"), (nanos(best, "expected"), nanos(best, "p95")));
    assert!(off(best.0, spent) <= 30, "{spent} spent, {best:?}");
    assert!(spent <= best.1 && best.1 < 2 * spent, "{spent} spent, {best:?}");
    assert!(report["saved_usd_nanos"]["bundle"].as_i64().unwrap() > 0, "{report}");
    // What luna answered alone is taken; the rest goes out in twenties.
    assert!(report["cached"].as_u64().unwrap() > 150, "{report}");
    place.run("verify reviews", &[]).expect(0);
    // A second run is of the same plan.
    let sent = billed(&sim);
    ask(&place, run, &[]).expect(0);
    assert_eq!(billed(&sim), sent);
}

#[test]
fn a_cascade_of_bundles_is_priced_by_what_its_models_used_in_them_and_is_run() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 800);
    let schema = r#"{"type":"object","additionalProperties":false,"required":["sentiment","confidence"],
        "properties":{"sentiment":{"enum":["positive","negative","neutral"]},
        "confidence":{"type":"number","minimum":0,"maximum":1}}}"#;
    place.put("sure.json", schema);
    let system = "Say whether a review is positive, negative or neutral, and how sure you are. ".repeat(20);
    let job = ["reviews.csv", "--user", "Review of a {{ product }}: {{ text }}", "--system", &system];
    let job = [&job[..], &["--id", "id", "--model", SOL, "--schema", "sure.json"]].concat();
    let line = format!("plan --json --pilot 200 --yes --quality-loss 5% --bundle 10 --candidate {LUNA}");
    let found = place.run(&line, &job).expect(0).json();
    let plans = found["plans"].as_array().unwrap();
    let of = |bundle: u64| {
        let is_it = |plan: &&Value| {
            plan["accept"].as_str().is_some_and(|rule| rule.starts_with("confidence"))
                && plan["bundle"] == bundle
                && plan["lane"] == "sync"
        };
        plans.iter().find(is_it).unwrap()
    };
    let (alone, bundled) = (of(1), of(10));
    assert_eq!(bundled["models"], serde_json::json!([LUNA, SOL]));
    assert!(
        nanos(bundled, "expected") < nanos(alone, "expected"),
        "the system prompt is said once: {bundled} {alone}"
    );
    assert!(bundled["rejected_permille"].as_u64() > Some(0), "{bundled}");

    let paid = billed(&sim);
    let name = bundled["name"].as_str().unwrap();
    let report = place.run(&format!("run --json --plan {name} --yes --out a.csv"), &job).expect(0).json();
    let spent = nanos(&report, "spent");
    assert_eq!((billed(&sim) - paid, report["succeeded"].as_u64()), (spent, Some(800)));
    let cascade = &report["cascade"];
    assert!(
        cascade["accepted"].as_u64() > Some(100) && cascade["rejected"]["not_accepted"].as_u64() > Some(0),
        "{report}"
    );
    assert!(report["saved_usd_nanos"]["bundle"].as_i64() > Some(0), "{report}");
    let (expected, p95) = (nanos(bundled, "expected"), nanos(bundled, "p95"));
    println!("a cascade of bundles: {spent} spent, {expected} expected, {p95} at P95");
    // One draw of some forty bundles of the strong model: chance alone moves it by a tenth.
    assert!(off(expected, spent) <= 200 && spent <= p95, "{spent} spent, {bundled}");
    place.run("verify reviews", &[]).expect(0);
}

#[test]
fn what_bundles_do_not_answer_is_priced_and_those_that_do_not_pay_are_not_tried() {
    // Where rows are asked together answers are left out, exchanged and cut; those rows are asked again, in the end alone.
    let sim = Sim::start(&["--bundle-faults"]);
    let place = shop(&sim, 2_000);
    let line = "plan --json --pilot 800 --yes --quality-loss 5% --bundle 12";
    let found = ask(&place, line, &[]).expect(0).json();
    assert_eq!(sizes(&found, SOL), [5, 10, 12], "{found}");
    let best = winner(&found);
    assert!(
        best["bundle"].as_u64().unwrap() > 1 && best["quality"]["high"].as_f64().unwrap() <= 0.05,
        "{best}"
    );
    // What was asked again is in the price: the pilot's, a row, in calls. A batch costs half.
    let size = best["bundle"].as_u64().unwrap();
    let each = paid_for(&found, SOL, size) * 1_200 / 800 / if best["lane"] == "sync" { 1 } else { 2 };
    assert!(off(nanos(best, "expected"), each) <= 15, "{best}: {each} by the pilot");
    let paid = billed(&sim);
    let run = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let report = ask(&place, run, &[]).expect(0).json();
    let spent = nanos(&report, "spent");
    assert_eq!((billed(&sim) - paid, report["succeeded"].as_u64()), (spent, Some(2_000)));
    // A hundred bundles by what seventy told, of which one in three failed in a part: one in twelve off is common; the P95 covers it.
    // That it is right on the whole a hundred jobs show (`cargo xtask levers mistakes`).
    let (expected, p95) = (nanos(best, "expected"), nanos(best, "p95"));
    println!("bundles that fail: {spent} spent, {expected} expected, {p95} at P95");
    assert!(off(expected, spent) <= 200, "{spent} spent, {expected} expected");
    assert!(spent <= p95 && p95 < 2 * spent, "{spent} spent, {p95} at P95");
    place.run("verify reviews", &[]).expect(0);

    // Ten words that all rows share: saying them once saves less than ids cost.
    let short = ["reviews.csv", "--user", "{{ text }}", "--id", "id", "--model", SOL];
    let args = [&short[..], &CHOICES].concat();
    let paid = billed(&sim);
    let said = place.run("plan --json --pilot 100 --yes --bundle 10 --name short", &args).expect(0).json();
    assert!(sizes(&said, SOL).is_empty(), "{said}");
    let models = said["models"].as_array().unwrap();
    assert_eq!(models.len(), 3, "{said}");
    assert!(models[1]["failed"].as_str().unwrap().contains("bundles of 5 items"), "{said}");
    assert!(billed(&sim) > paid, "the model itself was asked");
    let told = place.run("plan --pilot 100 --yes --bundle 10 --name short", &args).expect(0);
    assert!(told.stdout.contains("openai/gpt-6.1-sol x10 took no part"), "{told:?}");
    // A sample that does not fill enough bundles says nothing of them.
    let few = ask(&place, "plan --json --pilot 60 --yes --bundle 10 --name few", &[]).expect(0).json();
    assert_eq!(sizes(&few, SOL), [5], "{few}");
    assert!(few["models"][2]["failed"].as_str().unwrap().contains("fewer than 10 bundles"), "{few}");
}
