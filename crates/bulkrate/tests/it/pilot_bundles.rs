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
    // Each size that is proved is a plan, in three lanes.
    let names: Vec<&str> =
        found["plans"].as_array().unwrap().iter().map(|plan| plan["name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("@x")).count(), 2 * 3 * 3, "{names:?}");
    let again = ask(&place, line, &["--candidate", LUNA]).expect(0).json();
    assert_eq!((billed(&sim), nanos(&again, "spent")), (paid, paid), "the same again costs nothing");

    let run = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let report = ask(&place, run, &[]).expect(0).json();
    assert_eq!(report["succeeded"], 1_200);
    assert_eq!(billed(&sim) - paid, nanos(&report, "spent"));
    assert!(nanos(&report, "spent") <= nanos(best, "p95"), "{report} {best}");
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
fn what_bundles_do_not_answer_is_priced_and_those_that_do_not_pay_are_not_tried() {
    // Where rows are asked together answers are left out, exchanged and cut; those rows are asked again, in the end alone.
    let sim = Sim::start(&["--bundle-faults"]);
    let place = shop(&sim, 600);
    let line = "plan --json --pilot 200 --yes --quality-loss 5% --bundle 12";
    let found = ask(&place, line, &[]).expect(0).json();
    assert_eq!(sizes(&found, SOL), [5, 10, 12], "{found}");
    let best = winner(&found);
    assert!(
        best["bundle"].as_u64().unwrap() > 1 && best["quality"]["high"].as_f64().unwrap() <= 0.05,
        "{best}"
    );
    let paid = billed(&sim);
    let run = "run --json --plan cheapest --quality-loss 5% --yes --poll-min 50ms --out a.csv";
    let report = ask(&place, run, &[]).expect(0).json();
    let spent = nanos(&report, "spent");
    assert_eq!((billed(&sim) - paid, report["succeeded"].as_u64()), (spent, Some(600)));
    assert!(spent <= nanos(best, "p95"), "{report} {best}");
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
