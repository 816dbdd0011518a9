//! Tokens that a model thinks and nobody sees: a pilot measures them, and what a plan expects is what is paid.

use super::jobs::nanos;
use super::pilot::{LUNA, SOL, billed, pilot, plan, shop};
use super::support::Sim;

/// Simulated models think so many tokens at this effort.
const THOUGHT: u64 = 64;

#[test]
fn what_models_think_is_measured_and_in_the_estimate() {
    let sim = Sim::start(&[]);
    let place = shop(&sim, 600);
    let more: [&[&str]; 2] = [&["--candidate", LUNA], &["--reasoning", "low"]];
    let guessed = pilot(&place, "", &[more[1]]).expect(0).json();
    let found = pilot(&place, "--pilot 150 --yes --lane sync", &more).expect(0).json();
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 2, "{found}");
    for model in models {
        let tokens = |name: &str| model[name].as_u64().unwrap();
        let (answered, thought) = (tokens("answered"), tokens("reasoning_tokens"));
        assert!(answered > 100 && thought == THOUGHT * answered, "{model}");
        assert!(tokens("output_tokens") > thought, "they are a part of the output: {model}");
    }
    // The rest of the job by the strong model, for real.
    let strong = plan(&found, &[SOL], "sync");
    let before = billed(&sim);
    let args: Vec<&str> = [&super::pilot::JOB[..], &super::pilot::CHOICES, more[1]].concat();
    let report = place.run("run --json --yes --lane sync --out a.csv", &args).expect(0).json();
    let paid = billed(&sim) - before;
    assert_eq!((report["succeeded"].as_u64(), nanos(&report, "spent")), (Some(600), paid), "{report}");
    // What a row is expected to cost, in percent off what was paid for one.
    let rows = |of: &serde_json::Value| of["requests"].as_u64().unwrap();
    let asked = i64::try_from(report["requests_sent"].as_u64().unwrap()).unwrap();
    let off = |expected: i64, rows: i64| {
        (expected * 1_000 / rows - paid * 1_000 / asked).abs() * 100 / (paid * 1_000 / asked)
    };
    let all = i64::try_from(rows(&guessed)).unwrap();
    let lane = guessed["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == "sync").unwrap();
    let (blind, measured) = (off(nanos(lane, "expected"), all), off(nanos(strong, "expected"), asked));
    assert!(
        measured <= 2 && blind > 10,
        "{measured} % off by the pilot, {blind} % without: {strong} {lane} {report}"
    );
    assert!(nanos(strong, "p95") >= paid, "{strong}");
}
