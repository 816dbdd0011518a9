//! Whole jobs at Gemini: what was asked for comes back, and the ledger is the bill.

use super::anthropic::{ROWS, ask, whole};
use super::support::{Place, Sim};

const KEY: &str = "AIza-canary-0123456789";
const MODEL: &str = "gemini/gemini-3.8-flash";

pub(super) fn place(sim: &Sim) -> Place {
    Place::new().set("GEMINI_API_KEY", KEY).set("GEMINI_BASE_URL", &sim.base_url)
}

#[test]
fn a_job_is_answered_and_its_ledger_is_the_bill() {
    for (model, line) in [
        (MODEL, "--choices positive,negative,neutral"),
        (MODEL, "--lane flex"),
        ("gemini/gemini-2.5-flash", "--choices positive,negative,neutral"),
        ("gemini/gemini-2.5-pro", "--reasoning low"),
        ("gemini/gemini-4-argon", "--temperature 0.5 --reasoning high"),
    ] {
        let sim = Sim::of("gemini", &["--api-key", KEY, "--cached-share", "0.5"]);
        let place = place(&sim);
        let bill = whole(&place, &sim, ask(&place, model, line));
        let lane = if line.contains("flex") { "requests_flex" } else { "requests_sync" };
        assert_eq!(bill[lane].as_u64(), bill["requests"].as_u64(), "{bill}");
    }
}

#[test]
fn vectors_come_back_in_both_lanes_and_their_ledger_is_the_bill() {
    for lane in ["sync", "batch"] {
        let sim = Sim::of("gemini", &["--api-key", KEY]);
        let place = place(&sim);
        let line = format!("--kind embedding --dimensions 8 --lane {lane} --poll-min 50ms");
        let bill = whole(&place, &sim, ask(&place, "gemini/gemini-embedding-001", &line));
        let of_lane = bill[format!("requests_{lane}")].as_u64().unwrap();
        assert!(of_lane > 0 && bill["requests"].as_u64() <= Some(of_lane + 1), "{bill}");
        let calls = sim.get("/sim/requests");
        let paths = &calls["by_path"];
        let creates = &paths["POST /v1beta/models/{model}:asyncBatchEmbedContent"];
        assert_eq!(creates.is_object(), lane == "batch", "{calls}");
        assert!(paths["POST /v1beta/models/{model}:batchEmbedContents"]["200"].is_u64(), "{calls}");
    }
}

#[test]
fn limits_and_faults_cost_time_and_no_rows() {
    let faults =
        ["--fault", "429=0.1", "--fault", "5xx:0.1=503", "--fault", "refusal@3", "--fault", "length@5"];
    let sim = Sim::of("gemini", &[&["--rpm", "6000"], &faults[..]].concat());
    let place = place(&sim);
    whole(&place, &sim, ask(&place, MODEL, ""));
    let calls = sim.get("/sim/requests");
    let generate = &calls["by_path"]["POST /v1beta/models/{model}:generateContent"];
    assert!(generate["429"].as_u64() > Some(0) && generate["503"].as_u64() > Some(0), "{calls}");
    // Refused and cut answers are paid, and asked for again.
    let calm = Sim::of("gemini", &[]);
    let place = self::place(&calm);
    let bill = whole(&place, &calm, ask(&place, MODEL, ""));
    assert_eq!(generate["200"].as_u64().unwrap(), bill["requests"].as_u64().unwrap() + 2, "{calls}");
}

#[test]
fn an_account_without_a_quota_stops_the_job_whatever_wait_it_names() {
    let sim = Sim::of("gemini", &["--fault", "insufficient-quota"]);
    let said = ask(&place(&sim), MODEL, "");
    assert_eq!(said.json()["halted_by"], "billing", "{said:?}");
    assert!(said.stderr.contains("limit: 0"), "{said:?}");
    let calls = sim.get("/sim/requests");
    assert!(calls["total"].as_u64() < Some(ROWS as u64), "{calls}");
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_is_sent() {
    let sim = Sim::of("gemini", &[]);
    let place = place(&sim);
    let config = r#"{"generationConfig":{"maxOutputTokens":99}}"#;
    place.put(
        "kwargs.json",
        format!(
            r#"{{"custom_id":"a","messages":[{{"role":"user","content":"Hi"}}],"provider_kwargs":{config}}}"#
        ),
    );
    let own = place.run("run kwargs.json --yes --out own.jsonl", &["--model", MODEL]);
    own.error(2, "item-unsupported", &["kwargs.json:1: ", "`provider_kwargs.generationConfig`"]);
    for (model, line, words) in [
        (MODEL, "--reasoning none", ["`reasoning`", "always reasons"]),
        ("gemini/gemini-2.5-pro", "--choices a,b", ["`reasoning`", "leave no room"]),
    ] {
        let refused = ask(&place, model, line);
        assert!(refused.code != 0, "{refused:?}");
        for word in words.iter().chain([&model.trim_start_matches("gemini/")]) {
            assert!(refused.stderr.contains(word) || refused.stdout.contains(word), "{word}: {refused:?}");
        }
    }
    let mistyped = ask(&place, "gemini/gemini-3.8-falsh", "");
    assert!(mistyped.stderr.contains("did you mean `gemini/gemini-3.8-flash`"), "{mistyped:?}");
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
    Place::new().run("run reviews.csv --yes", &["--model", MODEL]).error(
        4,
        "credentials-missing",
        &["GEMINI_API_KEY"],
    );
}

#[test]
fn doctor_checks_the_account_for_free() {
    let sim = Sim::of("gemini", &["--api-key", KEY]);
    let text = place(&sim).run(&format!("doctor --model {MODEL}"), &[]).expect(0).stdout;
    for word in ["`GEMINI_API_KEY` is set", "the provider answers"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for version in ["/v1", "/v1beta/"] {
        let wrong = Place::new()
            .set("GEMINI_API_KEY", "AIza-wrong-canary")
            .set("GEMINI_BASE_URL", &format!("{}{version}", sim.base_url));
        let said = wrong.run(&format!("doctor --model {MODEL}"), &[]).expect(4);
        assert!(said.stdout.contains("API key not valid") && !said.stdout.contains("canary"), "{said:?}");
    }
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}
