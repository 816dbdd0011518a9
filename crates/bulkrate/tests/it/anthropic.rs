//! Whole jobs at Anthropic: what was asked for comes back, and the ledger is the bill.

use serde_json::Value;

use super::jobs::nanos;
use super::support::{Place, Said, Sim, reviews};

const KEY: &str = "sk-ant-canary-0123456789";
pub(super) const ROWS: usize = 40;

pub(super) fn place(sim: &Sim) -> Place {
    Place::new().set("ANTHROPIC_API_KEY", KEY).set("ANTHROPIC_BASE_URL", &sim.base_url)
}

pub(super) fn ask(place: &Place, model: &str, line: &str) -> Said {
    place.put("reviews.csv", reviews(ROWS));
    let ask =
        ["--system", "Give the sentiment.", "--user", "Review: {{ text }}", "--model", model, "--id", "id"];
    let lane = if line.contains("--lane") { "" } else { "--lane sync" };
    place.run(&format!("run reviews.csv --yes --json --out out.csv {lane} {line}"), &ask)
}

/// The job's bill: for all rows, not for nothing, and nobody printed the key.
pub(super) fn whole(place: &Place, sim: &Sim, said: Said) -> Value {
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    let (_, bill) = super::jobs::whole(place, sim, said, ROWS);
    assert!(nanos(&bill, "total") > 0, "{bill}");
    bill
}

#[test]
fn a_job_is_answered_and_its_ledger_is_the_bill() {
    for (model, line) in [
        ("anthropic/claude-haiku-5-5", "--choices positive,negative,neutral"),
        ("claude-sonnet-5-5", "--reasoning low"),
        ("anthropic/claude-haiku-4-5", "--temperature 0.5"),
    ] {
        let sim = Sim::of("anthropic", &["--api-key", KEY]);
        let place = place(&sim);
        let bill = whole(&place, &sim, ask(&place, model, line));
        assert_eq!(bill["requests_sync"].as_u64(), bill["requests"].as_u64(), "{bill}");
    }
}

/// Items whose prompts share a long beginning that is marked.
pub(super) fn cached_items(rows: usize) -> String {
    // The prompt is the same for all rows up to the last block, so that all but the first few read it.
    let text = "Some words about sentiment. ".repeat(300);
    (0..rows)
        .map(|at| {
            let system = format!(r#"[{{"type":"text","text":"{text}","cache_control":{{"type":"ephemeral"}}}}]"#);
            format!(
                "{{\"custom_id\":\"r{at}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Review {at}\"}}],\"provider_kwargs\":{{\"system\":{system}}}}}\n"
            )
        })
        .collect()
}

#[test]
fn what_is_written_to_the_prompt_cache_and_read_from_it_is_settled_at_its_own_price() {
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    place.put("items.jsonl", cached_items(ROWS));
    let model = ["--model", "anthropic/claude-haiku-5-5"];
    let report =
        place.run("run items.jsonl --yes --json --lane sync --out out.jsonl", &model).expect(0).json();
    let bill = sim.bill();
    assert_eq!(nanos(&report, "spent"), bill["total_usd_nanos"].as_i64().unwrap(), "{report} {bill}");
    let model = &bill["by_model"]["claude-haiku-5-5"];
    let tokens = |name: &str| model[name].as_u64().unwrap();
    assert!(tokens("written_tokens") > 0 && tokens("cached_tokens") > tokens("written_tokens"), "{bill}");
    place.run("verify items", &[]).expect(0);
}

#[test]
fn limits_and_faults_cost_time_and_no_rows() {
    let faults =
        ["--fault", "429=0.1", "--fault", "5xx:0.1=503", "--fault", "refusal@3", "--fault", "length@5"];
    let sim = Sim::of("anthropic", &[&["--rpm", "6000"], &faults[..]].concat());
    let place = place(&sim);
    whole(&place, &sim, ask(&place, "anthropic/claude-haiku-5-5", ""));
    let calls = sim.get("/sim/requests");
    let messages = &calls["by_path"]["POST /v1/messages"];
    assert!(messages["429"].as_u64() > Some(0) && messages["529"].as_u64() > Some(0), "{calls}");
    // Refused and cut answers are paid, and asked for again.
    let calm = Sim::of("anthropic", &[]);
    let place = self::place(&calm);
    let bill = whole(&place, &calm, ask(&place, "anthropic/claude-haiku-5-5", ""));
    assert_eq!(messages["200"].as_u64().unwrap(), bill["requests"].as_u64().unwrap() + 2, "{calls}");
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_is_sent() {
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    let beta = r#"{"betas":["output-300k-2026-03-24"]}"#;
    place.put(
        "kwargs.json",
        format!(
            r#"{{"custom_id":"a","messages":[{{"role":"user","content":"Hi"}}],"provider_kwargs":{beta}}}"#
        ),
    );
    let own = place.run("run kwargs.json --yes --out own.jsonl", &["--model", "anthropic/claude-haiku-5-5"]);
    own.error(2, "item-unsupported", &["kwargs.json:1: ", "`provider_kwargs.betas`"]);
    let sampled = ask(&place, "anthropic/claude-haiku-5-5", "--temperature 0.5");
    assert!(sampled.code != 0, "{sampled:?}");
    for word in ["`temperature`", "claude-haiku-5-5"] {
        assert!(sampled.stderr.contains(word) || sampled.stdout.contains(word), "{word}: {sampled:?}");
    }
    let mistyped = ask(&place, "anthropic/claude-hiku-5-5", "");
    assert!(mistyped.stderr.contains("did you mean `anthropic/claude-haiku-5-5`?"), "{mistyped:?}");
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
    Place::new().run("run reviews.csv --yes", &["--model", "anthropic/claude-haiku-5-5"]).error(
        4,
        "credentials-missing",
        &["ANTHROPIC_API_KEY"],
    );
}

#[test]
fn doctor_checks_the_account_for_free() {
    let sim = Sim::of("anthropic", &["--api-key", KEY]);
    let text = place(&sim).run("doctor --model anthropic/claude-haiku-5-5", &[]).expect(0).stdout;
    for word in ["`ANTHROPIC_API_KEY` is set", "the provider answers", "there is a batch API"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let wrong = Place::new()
        .set("ANTHROPIC_API_KEY", "sk-ant-wrong-canary")
        .set("ANTHROPIC_BASE_URL", &format!("{}/v1", sim.base_url));
    let said = wrong.run("doctor --model anthropic/claude-haiku-5-5", &[]).expect(4);
    assert!(said.stdout.contains("invalid x-api-key") && !said.stdout.contains("canary"), "{said:?}");
    let bill = sim.bill();
    assert_eq!(bill["requests"], 0, "{bill}");
}
