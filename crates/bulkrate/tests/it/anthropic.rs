//! Whole jobs at Anthropic: what was asked for comes back, and the ledger is the bill.

use serde_json::{Value, json};

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

/// A job over lines that name their models, one batch of each account.
fn job_of_accounts(place: &Place, accounts: &[&str], lane: &str, tables: &str) {
    let line = |account: &str, at: usize| {
        let model = format!("{account}/claude-haiku-5-5");
        let turn = json!({"role": "user", "content": format!("Say {at} to {account}.")});
        json!({"custom_id": format!("{account}-{at}"), "model": model, "messages": [turn]}).to_string() + "\n"
    };
    let lines = accounts.iter().flat_map(|account| (0..4).map(|at| line(account, at)));
    place.put("items.jsonl", lines.collect::<String>());
    let run = format!(
        "lane = \"{lane}\"\nbudget = \"1\"\ncanary = false\npoll_min = \"30ms\"\npoll_max = \"100ms\""
    );
    let source = "[source]\npath = \"items.jsonl\"";
    place.put("items.toml", format!("{source}\n[run]\n{run}\n[sink]\npath = \"out.jsonl\"\n{tables}"));
}

/// How often a call had each value of a header.
fn sent(sim: &Sim, header: &str, call: &str) -> Value {
    sim.get("/sim/requests")["headers"][header][call].clone()
}

#[test]
fn each_batch_has_the_betas_of_its_account_and_no_others() {
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    let account = |name: &str, betas: &str| {
        format!(
            "[accounts.{name}]\nprovider = \"anthropic\"\nkey_env = \"ANTHROPIC_API_KEY\"\nbase_url = \"{}\"\nbetas = [{betas}]\n",
            sim.base_url
        )
    };
    let one = account("one", "\"output-300k-2026-03-24\"");
    let two = account("two", "\"context-1m-2025-08-07\", \"files-api-2025-04-14\"");
    job_of_accounts(&place, &["one", "two", "anthropic"], "batch", &format!("{one}{two}"));
    let report = place.run("run items.toml --yes --json", &[]).expect(0).json();
    assert_eq!((&report["succeeded"], &report["batches"]), (&12.into(), &3.into()), "{report}");
    let create = "POST /v1/messages/batches";
    let betas = json!({"output-300k-2026-03-24": 1, "context-1m-2025-08-07,files-api-2025-04-14": 1});
    assert_eq!(sent(&sim, "anthropic-beta", create), betas);
    assert_eq!(sim.get("/sim/requests")["by_path"][create], json!({"200": 3}));
    place.proved("items", &sim);
}

#[test]
fn a_beta_that_anthropic_does_not_know_stops_the_job_and_kills_no_row() {
    for lane in ["sync", "batch"] {
        let sim = Sim::of("anthropic", &[]);
        let place = place(&sim);
        job_of_accounts(&place, &["anthropic"], lane, "[provider]\nbetas = [\"of-tomorrow-2027-01-01\"]");
        let said = place.run("run items.toml --yes --json", &[]);
        let report = said.json();
        assert_eq!((&report["halted_by"], &report["failed"]), (&"auth".into(), &0.into()), "{said:?}");
        let words = "Unexpected value(s) `of-tomorrow-2027-01-01` for the `anthropic-beta` header";
        assert!(report["reason"].as_str().unwrap().contains(words), "{report}");
        assert_eq!((nanos(&report, "in_doubt"), nanos(&sim.bill(), "total")), (0, 0), "{report}");
        // Without it the same rows are answered.
        job_of_accounts(&place, &["anthropic"], lane, "");
        let report = place.run("run items.toml --yes --json", &[]).expect(0).json();
        assert_eq!((&report["succeeded"], nanos(&report, "in_doubt")), (&4.into(), 0), "{report}");
        place.proved("items", &sim);
    }
}

#[test]
fn the_version_that_an_account_names_is_the_one_of_its_calls_and_batches() {
    for (lane, call) in [("sync", "POST /v1/messages"), ("batch", "POST /v1/messages/batches")] {
        for (version, own) in [("2023-06-01", ""), ("2026-10-21", "[provider]\napi_version = \"2026-10-21\"")]
        {
            let sim = Sim::of("anthropic", &[]);
            let place = place(&sim);
            job_of_accounts(&place, &["anthropic"], lane, own);
            let report = place.run("run items.toml --yes --json", &[]).expect(0).json();
            assert_eq!((&report["succeeded"], &report["failed"]), (&4.into(), &0.into()), "{report}");
            let versions = sent(&sim, "anthropic-version", call);
            assert_eq!(versions.as_object().unwrap().keys().collect::<Vec<_>>(), [version], "{versions}");
            place.proved("items", &sim);
        }
    }
    // What that version does not know is told before anything is sent.
    let sim = Sim::of("anthropic", &[]);
    let place = place(&sim);
    job_of_accounts(&place, &["anthropic"], "batch", "[provider]\napi_version = \"2026-10-21\"");
    let lines = place
        .read("items.jsonl")
        .replace("claude-haiku-5-5\"", "claude-haiku-4-5\",\"generation_config\":{\"temperature\":0.5}");
    place.put("items.jsonl", lines);
    let said = place.run("run items.toml --yes", &[]);
    said.error(
        2,
        "item-unsupported",
        &["`temperature`", "this version of the API has no sampling parameters"],
    );
    assert_eq!(sim.bill()["requests"], 0);
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
