//! A semantic cache over embeddings, as a person meets it: what plan, report and savings say, and that it goes with its job.

use super::jobs::nanos;
use super::semantic::{ASK, messages};
use super::support::{Place, Sim};

/// The words of a job with the cache, over embeddings.
fn ask() -> Vec<&'static str> {
    let embed = ["--semantic-embed", "openai/text-embedding-3-small", "--semantic-dimensions", "256"];
    [&ASK[..], &embed].concat()
}

#[test]
fn what_embeddings_cost_is_told_before_and_after() {
    let sim = Sim::start(&[]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(600));
    let plan = place.run("plan rows.csv --lane sync", &ask()).expect(0).stdout;
    let line = plan.lines().find(|line| line.contains("embeddings:")).unwrap_or_else(|| panic!("{plan}"));
    for part in [
        "600 texts by openai/text-embedding-3-small",
        "before the run in the sync lane",
        "they pay where more than",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let said = place.run("run rows.csv --budget 1 --lane sync --out a.csv", &ask()).expect(0);
    for part in [
        "embedding 600 texts first: job `rows-embed`",
        "  embeddings: 600 vectors by openai/text-embedding-3-small, USD ",
    ] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    let report = place.run("run rows.csv --budget 1 --lane sync --out a.csv --json", &ask()).expect(0).json();
    assert_eq!(place.proved("rows", &sim), nanos(&report, "spent"), "{report}");
    place.run("verify rows-embed", &[]).expect(0);
    assert!(report["similar"].as_u64() > Some(60), "{report}");
    let embedded = report["embedding"]["spent_usd_nanos"].as_i64().unwrap();
    assert_eq!(report["saved_usd_nanos"]["embedding"].as_i64(), Some(-embedded), "{report}");
    let savings = place.run("cost --savings rows", &[]).expect(0).stdout;
    let steps: Vec<&str> = savings.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let places = ["semantic", "embedding", "spent"].map(|step| steps.iter().position(|known| *known == step));
    let [Some(semantic), Some(embedding), Some(spent)] = places else { panic!("{places:?}: {savings}") };
    assert!(semantic < embedding && embedding < spent, "{savings}");
    // With the job goes the one that embedded for it, and what it knew of the rows.
    place.run("rm rows --yes", &[]).expect(0);
    assert_eq!(place.run("status --json", &[]).expect(0).json().as_array().map(Vec::len), Some(0));
    assert_eq!(std::fs::read_dir(place.path(".bulkrate/jobs")).unwrap().count(), 0);
}

#[test]
fn a_killed_run_pays_for_no_text_twice() {
    let sim = Sim::start(&["--latency-ms", "4"]);
    let place = Place::with(&sim);
    place.put("rows.csv", messages(400));
    let run: Vec<&str> = "run rows.csv --budget 1 --lane sync --out a.csv".split(' ').chain(ask()).collect();
    let of = |name: &'static str, least: u64| {
        move |job: &serde_json::Value| job["name"] == name && job["succeeded"].as_u64() >= Some(least)
    };
    place.kill_when_any(run.clone(), of("rows-embed", 100));
    place.kill_when_any(run, of("rows", 50));
    let report = place.run("run rows.csv --budget 1 --lane sync --out a.csv --json", &ask()).expect(0).json();
    assert_eq!(report["succeeded"].as_u64(), Some(400), "{report}");
    assert_eq!(report["embedding"]["vectors"].as_u64(), Some(400), "{report}");
    // What was out when it was killed is in doubt, and all else was paid once.
    place.proved("rows", &sim);
    place.run("verify rows-embed", &[]).expect(0);
    let requests = sim.bill()["requests"].as_u64().unwrap();
    let asked = 800 - report["similar"].as_u64().unwrap();
    assert!((asked..asked + 60).contains(&requests), "{requests} requests, {report}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    place.put("rows.csv", messages(3));
    let plan =
        |more: &[&str]| place.run("plan rows.csv --user x --choices a,b --model openai/gpt-6-luna", more);
    plan(&["--semantic-embed", "openai/text-embedding-3-small"]).error(
        2,
        "option-invalid",
        &["--semantic-cache PERCENT"],
    );
    plan(&["--semantic-cache", "2%", "--semantic-dimensions", "256"]).error(
        2,
        "option-invalid",
        &["--semantic-embed"],
    );
    let model = |model| plan(&["--semantic-cache", "2%", "--semantic-embed", model]);
    model("openai/gpt-6-luna").error(2, "option-invalid", &["makes no embeddings", "kind chat"]);
    model("openai/text-embedding-3-smal").error(2, "unknown-model", &["text-embedding-3-small"]);
}
